"""The networks of the published benchmark on CIFAR-100 (Tian et al. 2020, "CRD"; code: RepDistiller).

Four pairs, teacher → student: `resnet32x4` → `resnet8x4`, `wrn_40_2` → `wrn_16_2`, `resnet56` → `resnet20`,
`vgg13` → `vgg8`. Layers, parameters and initialisation are those of RepDistiller. Input: images (B, channels, H, W),
made for 32×32; output: logits (B, classes). Batches of images whose last map is a single point need two or more images
to train, for batch norm's sake.

`network.stages` are the paths of the features that RepDistiller compares. Beside its names:

  feat[1:-1]  network.stages      attention transfer (one side: 32, 16, 8; VGG: 16, 8, 4, 4 for 32×32 images)
  feat[2]     network.stages[1]   FitNets, `--hint_layer 2`
  feat[-2]    network.stages[-1]  similarity-preserving
  feat[-1]    "avgpool"           relational KD, PKT, CRD

As there, features of ResNet and VGG are taken after the ReLU, those of WRN are the sums that leave a stage, before the
batch norm and ReLU of the next.
"""

from collections import OrderedDict

import torch
from torch import nn
from torch.nn import functional as F
from torchvision.models.resnet import BasicBlock

from kdcourse.models.weights import check_arguments


class CifarResNet(nn.Sequential):
    """"conv1", "bn1", "relu", three stages of basic blocks, "avgpool", "flatten", "fc": see `resnet20`."""

    stages = ("layer1", "layer2", "layer3")


class WideResNet(nn.Sequential):
    """"conv1", three stages of pre-activation blocks, "bn1", "relu", "avgpool", "flatten", "fc": see `wrn_16_2`."""

    stages = ("layer1", "layer2", "layer3")


class VGG(nn.Sequential):
    """"block0", "pool0", … "block3", "block4", "avgpool", "flatten", "fc": see `vgg8`."""

    stages = ("block1", "block2", "block3", "block4")  # "block0" is the stem


def resnet20(channels: int = 3, classes: int = 100) -> CifarResNet:
    """ResNet-20 for small images (He et al. 2016, sec. 4.2), of 16, 32 and 64 channels at full, half, quarter size.

    Shortcuts that change shape are 1×1 convolutions (option B; the paper's figures for CIFAR-10 are of option A, which
    pads with zeros). Any image size. Raises UsageError for arguments that cannot be right.
    """
    return _resnet(20, (16, 16, 32, 64), channels, classes)


def resnet56(channels: int = 3, classes: int = 100) -> CifarResNet:
    """ResNet-56, nine blocks a stage where `resnet20` has three."""
    return _resnet(56, (16, 16, 32, 64), channels, classes)


def resnet8x4(channels: int = 3, classes: int = 100) -> CifarResNet:
    """ResNet-8, one block a stage, of four times the channels of `resnet20`; its stem of twice as many."""
    return _resnet(8, (32, 64, 128, 256), channels, classes)


def resnet32x4(channels: int = 3, classes: int = 100) -> CifarResNet:
    """ResNet-32, five blocks a stage, as wide as `resnet8x4`."""
    return _resnet(32, (32, 64, 128, 256), channels, classes)


def wrn_16_2(channels: int = 3, classes: int = 100) -> WideResNet:
    """WRN-16-2 (Zagoruyko & Komodakis 2016, "Wide residual networks"), of 32, 64 and 128 channels; no dropout.

    Any image size. Raises UsageError for arguments that cannot be right.
    """
    return _wide_resnet(16, 2, channels, classes)


def wrn_40_2(channels: int = 3, classes: int = 100) -> WideResNet:
    """WRN-40-2, six blocks a stage where `wrn_16_2` has two."""
    return _wide_resnet(40, 2, channels, classes)


def vgg8(channels: int = 3, classes: int = 100) -> VGG:
    """VGG (Simonyan & Zisserman 2015) of five blocks of one convolution, with batch norm and one linear layer.

    Three max-pools, after "block0" to "block2", and one average over what is left: images from 8×8 up. (For 64×64
    images RepDistiller pools a fourth time, after "block3"; this does not.) Raises UsageError for arguments that cannot
    be right.
    """
    return _vgg(1, 1, channels, classes)
