"""Residual networks (He et al. 2016): D1's pair, torchvision's own with any stem, and thin ones for
students.

Every network here has the module paths "conv1", "bn1", "layer1" … "layer4" (thin ones of three
stages: to "layer3"), "layer2.0", …, "fc", so that hooks find features by path. Input: images (B,
channels, H, W); output: logits (B, classes).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import nn

from kdcourse.common.errors import UsageError, unknown
from kdcourse.models.pretrained import check_arguments, load_imagenet

if TYPE_CHECKING:  # torchvision takes seconds to import: only the functions that build need it
    from torchvision.models import ResNet


def d1_teacher(channels: int = 13, classes: int = 10) -> ResNet:
    """D1's teacher: ResNet-50 with ImageNet's stem, 7×7 at stride 2 and a max-pool, on 32×32 tiles.

    Its first block sees 8×8 maps and its last 1×1: made for 224×224 photographs.
    """
    from torchvision.models import resnet50

    check_arguments(channels, classes)
    model = resnet50(weights=None)
    model.conv1 = nn.Conv2d(channels, 64, 7, stride=2, padding=3, bias=False)
    model.bn1 = nn.BatchNorm2d(64)
    model.fc = nn.Linear(model.fc.in_features, classes)
    return model


def d1_student(channels: int = 13, classes: int = 10) -> ResNet:
    """D1's student: ResNet-18 whose stem keeps the full resolution, 3×3 at stride 1, no max-pool,
    32 channels.

    The convolutions of "layer1.0" that were replaced have a bias, which the batch norm after them
    makes idle.
    """
    from torchvision.models import resnet18

    check_arguments(channels, classes)
    model = resnet18(weights=None)
    model.conv1 = nn.Conv2d(channels, 32, 3, stride=1, padding=1, bias=False)
    model.bn1 = nn.BatchNorm2d(32)
    model.maxpool = nn.Identity()
    model.layer1[0].conv1 = nn.Conv2d(32, 64, 3, 1, 1)
    model.layer1[0].bn1 = nn.BatchNorm2d(64)
    model.layer1[0].downsample = nn.Sequential(nn.Conv2d(32, 64, 1), nn.BatchNorm2d(64))
    model.fc = nn.Linear(model.fc.in_features, classes)
    return model


def resnet18(
    channels: int = 3, classes: int = 10, stem: str = "imagenet", pretrained: bool = False
) -> ResNet:
    """torchvision's ResNet-18 for any number of channels and classes.

    stem: "imagenet" is a 7×7 convolution at stride 2 and a max-pool, a quarter of the resolution,
      for 224×224 images; "small" is a 3×3 convolution at stride 1 and no max-pool, for images of
      about 32×32 (He et al. 2016, sec. 4.2).
    pretrained: start from ImageNet weights (torchvision's IMAGENET1K_V1, one training recipe for
      all sizes). Their first convolution is adapted to `channels` by `adapt_first_convolution`; the
      classifier is always new, and so is the first convolution of the small stem.

    Raises UsageError for arguments that cannot be right, DownloadError if the weights cannot be
    fetched.
    """
    return _resnet("resnet18", channels, classes, stem, pretrained)


def resnet34(
    channels: int = 3, classes: int = 10, stem: str = "imagenet", pretrained: bool = False
) -> ResNet:
    """torchvision's ResNet-34; arguments as for `resnet18`."""
    return _resnet("resnet34", channels, classes, stem, pretrained)


def resnet50(
    channels: int = 3, classes: int = 10, stem: str = "imagenet", pretrained: bool = False
) -> ResNet:
    """torchvision's ResNet-50 (bottleneck blocks, stride in the 3×3 convolution); arguments as for
    `resnet18`.
    """
    return _resnet("resnet50", channels, classes, stem, pretrained)


def resnet152(
    channels: int = 3, classes: int = 10, stem: str = "imagenet", pretrained: bool = False
) -> ResNet:
    """torchvision's ResNet-152; arguments as for `resnet18`."""
    return _resnet("resnet152", channels, classes, stem, pretrained)


def _resnet(name: str, channels: int, classes: int, stem: str, pretrained: bool) -> ResNet:
    from torchvision.models import get_model, get_model_weights

    check_arguments(channels, classes, stem)
    model = get_model(name, weights=None, num_classes=classes)
    if stem == "small":
        model.conv1 = nn.Conv2d(channels, 64, 3, stride=1, padding=1, bias=False)
        model.maxpool = nn.Identity()
    else:
        model.conv1 = nn.Conv2d(channels, 64, 7, stride=2, padding=3, bias=False)
    nn.init.kaiming_normal_(
        model.conv1.weight, mode="fan_out", nonlinearity="relu"
    )  # as torchvision's others
    if pretrained:
        weights = get_model_weights(name).IMAGENET1K_V1
        load_imagenet(model, weights, first="conv1", head="fc")
    return model


THIN = {
    8: (1, 1, 1),
    10: (1, 1, 1, 1),
    14: (2, 2, 2),
}  # depth → basic blocks in each stage; depth = 2 · blocks + 2


class ThinResNet(nn.Module):
    """A ResNet of basic blocks for small images: see `thin_resnet`."""

    def __init__(
        self, blocks: tuple[int, ...], width: int, channels: int, classes: int, stem_stride: int
    ):
        from torchvision.models.resnet import BasicBlock

        super().__init__()
        size = max(3, stem_stride)  # no pixel is skipped
        self.conv1 = nn.Conv2d(
            channels,
            width,
            size,
            stride=stem_stride,
            padding=(size - stem_stride + 1) // 2,
            bias=False,
        )
        self.bn1 = nn.BatchNorm2d(width)
        self.relu = nn.ReLU(inplace=True)
        self.stages = [f"layer{i + 1}" for i in range(len(blocks))]
        before = width
        for i, (stage, count) in enumerate(zip(self.stages, blocks, strict=True)):
            after, stride = width * 2**i, 1 if i == 0 else 2
            first = BasicBlock(before, after, stride, _shortcut(before, after, stride))
            setattr(
                self,
                stage,
                nn.Sequential(first, *(BasicBlock(after, after) for _ in range(count - 1))),
            )
            before = after
        self.avgpool = nn.AdaptiveAvgPool2d(1)
        self.fc = nn.Linear(before, classes)
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        x = self.relu(self.bn1(self.conv1(images)))  # (B, width, H, W)
        for stage in self.stages:
            x = getattr(self, stage)(x)  # half the size and twice the channels from "layer2" on
        return self.fc(self.avgpool(x).flatten(1))


def _shortcut(before: int, after: int, stride: int) -> nn.Module | None:
    """Where a block changes shape: average-pool, then a 1×1 convolution (He et al. 2019, "Bag of
    tricks", ResNet-D).

    Not a 1×1 convolution at stride 2: it would skip three pixels of four, and in torch 2.15 (oneDNN
    3.14, AVX-512) its backward pass writes past its memory for fewer than 16 channels in
    channels_last: the process dies.
    """
    if before == after and stride == 1:
        return None
    pool = (
        nn.AvgPool2d(2, ceil_mode=True, count_include_pad=False) if stride == 2 else nn.Identity()
    )
    return nn.Sequential(pool, nn.Conv2d(before, after, 1, bias=False), nn.BatchNorm2d(after))


def thin_resnet(
    depth: int = 8, width: int = 16, channels: int = 3, classes: int = 10, stem_stride: int = 1
) -> ThinResNet:
    """A thin ResNet in the CIFAR style: 3×3 stem, then stages of `width`, 2·width, 4·width …
    channels.

    depth 8 and 14: three stages of one and of two basic blocks (He et al. 2016, sec. 4.2, with
    pooled 1×1 shortcuts). depth 10: four stages of one block. The cost grows with width², so the
    width is the finer knob. stem_stride 2 or 4 reduces the resolution at once, to a quarter or a
    sixteenth of the cost: at 4 the stem is a 4×4 convolution that cuts the image into patches, and
    much of the fine texture is lost.
    """
    if depth not in THIN:
        raise unknown("depth of a thin ResNet", depth, THIN)
    check_arguments(channels, classes)
    if width < 1 or stem_stride not in (1, 2, 4):
        raise UsageError(
            f"width={width}, stem_stride={stem_stride}: expected a width of 1 or more, a stride of "
            "1, 2 or 4"
        )
    return ThinResNet(THIN[depth], width, channels, classes, stem_stride)
