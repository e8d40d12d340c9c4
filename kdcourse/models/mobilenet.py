"""MobileNetV2 (Sandler et al. 2018): a network made to be cheap, D3's student."""

from __future__ import annotations

from typing import TYPE_CHECKING

from torch import nn

from kdcourse.models.pretrained import check_arguments, load_imagenet

if TYPE_CHECKING:  # torchvision takes seconds to import: only the function that builds needs it
    from torchvision.models import MobileNetV2


def mobilenet_v2(
    channels: int = 3, classes: int = 10, stem: str = "imagenet", pretrained: bool = False
) -> MobileNetV2:
    """torchvision's MobileNetV2 for any number of channels and classes.

    stem: "imagenet" halves the resolution five times, for 224×224 images; "small" sets the first
      two strides to 1 (the first convolution, "features.0.0", and the first 24-channel block,
      "features.2"), so that a 32×32 image ends as a 4×4 map and not as one point. All weights keep
      their shapes.
    pretrained: start from ImageNet weights (IMAGENET1K_V1); the first convolution is adapted to
      `channels` by `adapt_first_convolution`, the classifier is new.

    Raises UsageError for arguments that cannot be right, DownloadError if the weights cannot be
    fetched.
    """
    import torchvision

    check_arguments(channels, classes, stem)
    model = torchvision.models.mobilenet_v2(weights=None, num_classes=classes)
    model.features[0][0] = nn.Conv2d(channels, 32, 3, stride=2, padding=1, bias=False)
    nn.init.kaiming_normal_(model.features[0][0].weight, mode="fan_out")
    if stem == "small":
        depthwise = model.features[2].conv[1][0]
        for convolution in (model.features[0][0], depthwise):
            convolution.stride = (1, 1)
    if pretrained:
        weights = torchvision.models.MobileNet_V2_Weights.IMAGENET1K_V1
        load_imagenet(model, weights, first="features.0.0", head="classifier.1")
    return model
