"""The networks of the published benchmark on CIFAR-100 (Tian et al. 2020, "CRD"; code:
RepDistiller).

Four pairs, teacher → student: `resnet32x4` → `resnet8x4`, `wrn_40_2` → `wrn_16_2`, `resnet56` →
`resnet20`, `vgg13` → `vgg8`. Layers, parameters and initialisation are those of RepDistiller.
Input: images (B, channels, H, W), made for 32×32; output: logits (B, classes).

`network.stages` are the paths of the features that RepDistiller compares. In its code's names:

  feat[1:-1]  network.stages      attention transfer
  feat[2]     network.stages[1]   FitNets (`--hint_layer 2`)
  feat[-2]    network.stages[-1]  similarity-preserving
  feat[-1]    "avgpool"           relational KD, PKT, CRD

For 32×32 images the stages of ResNet and WRN leave maps 32, 16 and 8 high, those of VGG 16, 8, 4
and 4. As there, features of ResNet and VGG are taken after the ReLU; those of WRN are the sums that
leave a stage, before the next batch norm and ReLU.
"""

from collections import OrderedDict
from itertools import pairwise

import torch
from torch import nn
from torch.nn import functional as F

from kdcourse.models.pretrained import check_arguments


class CifarResNet(nn.Sequential):
    """Stem "conv1", "bn1", "relu"; stages of basic blocks; "avgpool", "flatten", "fc". See
    `resnet20`.
    """

    stages = ("layer1", "layer2", "layer3")


class WideResNet(nn.Sequential):
    """Stem "conv1"; stages of pre-activation blocks; "bn1", "relu", "avgpool", "flatten", "fc". See
    `wrn_16_2`.
    """

    stages = ("layer1", "layer2", "layer3")


class VGG(nn.Sequential):
    """Five blocks from "block0", "pool0" after the first to "pool2"; "avgpool", "flatten", "fc".
    See `vgg8`.
    """

    stages = ("block1", "block2", "block3", "block4")  # "block0" counts as the stem


def resnet20(channels: int = 3, classes: int = 100) -> CifarResNet:
    """ResNet-20 for small images (He et al. 2016, sec. 4.2): 16, 32 and 64 channels at full, half
    and quarter size.

    Shortcuts that change shape are 1×1 convolutions (option B); the paper's own for CIFAR-10 have
    no parameters (option A). Takes images of any size. Raises UsageError for arguments that cannot
    be right.
    """
    return _resnet(20, (16, 16, 32, 64), channels, classes)


def resnet56(channels: int = 3, classes: int = 100) -> CifarResNet:
    """ResNet-56: nine blocks a stage, where `resnet20` has three."""
    return _resnet(56, (16, 16, 32, 64), channels, classes)


def resnet8x4(channels: int = 3, classes: int = 100) -> CifarResNet:
    """ResNet-8: one block a stage, four times as wide as `resnet20`, with a stem twice as wide."""
    return _resnet(8, (32, 64, 128, 256), channels, classes)


def resnet32x4(channels: int = 3, classes: int = 100) -> CifarResNet:
    """ResNet-32: five blocks a stage, as wide as `resnet8x4`."""
    return _resnet(32, (32, 64, 128, 256), channels, classes)


def wrn_16_2(channels: int = 3, classes: int = 100) -> WideResNet:
    """WRN-16-2 (Zagoruyko & Komodakis 2016, "Wide residual networks"): 32, 64 and 128 channels, no
    dropout.

    Takes images of any size. Raises UsageError for arguments that cannot be right.
    """
    return _wide_resnet(16, 2, channels, classes)


def wrn_40_2(channels: int = 3, classes: int = 100) -> WideResNet:
    """WRN-40-2: six blocks a stage, where `wrn_16_2` has two."""
    return _wide_resnet(40, 2, channels, classes)


def vgg8(channels: int = 3, classes: int = 100) -> VGG:
    """VGG (Simonyan & Zisserman 2015) of one convolution a block, with batch norm and a single
    linear layer.

    Three max-pools, then the average over what is left: images from 8×8 up. RepDistiller pools a
    fourth time, after "block3", if images are 64 high; this does not. Raises UsageError for
    arguments that cannot be right.
    """
    return _vgg(1, channels, classes)


def vgg13(channels: int = 3, classes: int = 100) -> VGG:
    """VGG of two convolutions a block; otherwise `vgg8`."""
    return _vgg(2, channels, classes)


def _resnet(
    depth: int, widths: tuple[int, int, int, int], channels: int, classes: int
) -> CifarResNet:
    """widths: channels of the stem and of the three stages."""
    from torchvision.models.resnet import BasicBlock  # torchvision takes seconds to import

    check_arguments(channels, classes)
    blocks = (depth - 2) // 6  # two convolutions each; the stem and the linear layer count too
    layers = OrderedDict(
        conv1=nn.Conv2d(channels, widths[0], 3, padding=1, bias=False),
        bn1=nn.BatchNorm2d(widths[0]),
        relu=nn.ReLU(inplace=True),
    )
    for i, (before, after) in enumerate(pairwise(widths)):
        stride = 1 if i == 0 else 2
        first = BasicBlock(before, after, stride, _shortcut(before, after, stride))
        layers[f"layer{i + 1}"] = nn.Sequential(
            first, *(BasicBlock(after, after) for _ in range(blocks - 1))
        )
    return _initialised(CifarResNet(layers | _head(widths[-1], classes)))


def _shortcut(before: int, after: int, stride: int) -> nn.Module | None:
    """Where a block changes shape. No fewer than 16 channels here: see
    `kdcourse.models.resnet._shortcut`.
    """
    if before == after and stride == 1:
        return None
    return nn.Sequential(nn.Conv2d(before, after, 1, stride, bias=False), nn.BatchNorm2d(after))


class PreActivationBlock(nn.Module):
    """x + conv(relu(bn(conv(relu(bn(x)))))); where the width changes, a 1×1 convolution of
    relu(bn(x)) stands for x.
    """

    def __init__(self, before: int, after: int, stride: int = 1):
        super().__init__()
        self.bn1 = nn.BatchNorm2d(before)
        self.conv1 = nn.Conv2d(before, after, 3, stride, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(after)
        self.conv2 = nn.Conv2d(after, after, 3, padding=1, bias=False)
        self.shortcut = nn.Conv2d(before, after, 1, stride, bias=False) if before != after else None

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        active = F.relu(self.bn1(x))
        out = self.conv2(F.relu(self.bn2(self.conv1(active))))
        return out + (x if self.shortcut is None else self.shortcut(active))


def _wide_resnet(depth: int, widen: int, channels: int, classes: int) -> WideResNet:
    check_arguments(channels, classes)
    blocks = (depth - 4) // 6  # two convolutions each; the stem and the three shortcuts count too
    widths = (16, 16 * widen, 32 * widen, 64 * widen)
    layers = OrderedDict(conv1=nn.Conv2d(channels, widths[0], 3, padding=1, bias=False))
    for i, (before, after) in enumerate(pairwise(widths)):
        first = PreActivationBlock(before, after, stride=1 if i == 0 else 2)
        layers[f"layer{i + 1}"] = nn.Sequential(
            first, *(PreActivationBlock(after, after) for _ in range(blocks - 1))
        )
    layers |= OrderedDict(bn1=nn.BatchNorm2d(widths[-1]), relu=nn.ReLU(inplace=True))
    model = _initialised(WideResNet(layers | _head(widths[-1], classes)))
    nn.init.zeros_(model.fc.bias)
    return model


def _vgg(convolutions: int, channels: int, classes: int) -> VGG:
    check_arguments(channels, classes)
    layers = OrderedDict()
    before = channels
    for i, after in enumerate((64, 128, 256, 512, 512)):
        block = []
        for _ in range(convolutions):
            block += [
                nn.Conv2d(before, after, 3, padding=1),
                nn.BatchNorm2d(after),
                nn.ReLU(inplace=True),
            ]
            before = after
        layers[f"block{i}"] = nn.Sequential(*block)
        if i < 3:
            layers[f"pool{i}"] = nn.MaxPool2d(2)
    model = _initialised(VGG(layers | _head(before, classes)))
    nn.init.normal_(model.fc.weight, std=0.01)
    nn.init.zeros_(model.fc.bias)
    return model


def _head(width: int, classes: int) -> OrderedDict:
    return OrderedDict(
        avgpool=nn.AdaptiveAvgPool2d(1), flatten=nn.Flatten(), fc=nn.Linear(width, classes)
    )


def _initialised(model: nn.Sequential) -> nn.Sequential:
    """Convolutions drawn for ReLU, by fan-out (He et al. 2015), their biases 0; the rest stays as
    torch has it.
    """
    for module in model.modules():
        if isinstance(module, nn.Conv2d):
            nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")
            if module.bias is not None:
                nn.init.zeros_(module.bias)
    return model
