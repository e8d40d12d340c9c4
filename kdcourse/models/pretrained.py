"""ImageNet weights for networks with any number of input channels and classes."""

from __future__ import annotations

import pickle
from typing import TYPE_CHECKING

import torch
from torch import nn

from kdcourse.common.errors import DownloadError, UsageError, unknown

if TYPE_CHECKING:
    from torchvision.models import WeightsEnum

STEMS = ("imagenet", "small")


def check_arguments(channels: int, classes: int, stem: str = "imagenet") -> None:
    """Raises UsageError for a network that cannot be built."""
    if channels < 1 or classes < 2:
        raise UsageError(
            f"channels={channels}, classes={classes}: expected at least 1 channel and 2 classes"
        )
    if stem not in STEMS:
        raise unknown("stem", stem, STEMS)


def adapt_first_convolution(weight: torch.Tensor, channels: int) -> torch.Tensor:
    """A filter bank for RGB, (O, 3, k, k), made one for `channels` bands: (O, channels, k, k).

    Three channels keep their filters. Otherwise every band gets the mean of the RGB filters
    (cross-modality pre-training: Wang et al. 2016, "Temporal Segment Networks", sec. 3.2) times 3 /
    channels, so that an image whose bands are all alike is answered exactly as its grey RGB version
    was, and the next layer sees the scale it knows.
    """
    if channels == 3:
        return weight
    return (weight.mean(1, keepdim=True) * 3 / channels).repeat(1, channels, 1, 1)


def load_imagenet(model: nn.Module, weights: WeightsEnum, first: str, head: str) -> None:
    """Fill `model` with torchvision's ImageNet weights, all but its classifier, which stays fresh.

    first, head: paths of the first convolution and of the classifier. A first convolution of
    another kernel size (the small stem of a ResNet) stays fresh too. Downloaded once, into torch's
    own cache.

    Raises DownloadError without a network, or if the file is damaged.
    """
    try:
        state = weights.get_state_dict(progress=True, check_hash=True, weights_only=True)
    except (
        OSError,
        RuntimeError,
        EOFError,
        pickle.UnpicklingError,
    ) as error:  # no network, wrong checksum, bad file
        name = str(weights).split("_Weights")[0]
        raise DownloadError(
            f"ImageNet weights of {name} could not be had from {weights.url} ({error}). Build it "
            "with pretrained=False and train it from scratch, or lay the file into "
            f"{torch.hub.get_dir()}/checkpoints/"
        ) from error
    convolution = model.get_submodule(first)
    adapted = adapt_first_convolution(state.pop(f"{first}.weight"), convolution.in_channels)
    if adapted.shape == convolution.weight.shape:
        state[f"{first}.weight"] = adapted
    fresh = {f"{head}.weight", f"{head}.bias"}
    model.load_state_dict(
        {**model.state_dict(), **{k: v for k, v in state.items() if k not in fresh}}
    )
