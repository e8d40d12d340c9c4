"""What checks hand to a learner's code beside plain data: see `safe_call.AnswerPart`. Each function
makes one.
"""

from collections.abc import Callable

import numpy as np
import torch
from torch import nn
from torch.nn import functional as F


def tiny_network(seed: int, channels: int = 3, classes: int = 4) -> nn.Module:
    """A network for images (B, channels, H, W) → logits (B, classes), with batch norm, in training
    mode.

    Its layers, by name: conv, norm, relu, pool, flatten, linear. The same seed gives the same
      weights.
    """
    layers = nn.Sequential()
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        layers.add_module("conv", nn.Conv2d(channels, 6, 3, padding=1))
        layers.add_module("norm", nn.BatchNorm2d(6))
        layers.add_module("relu", nn.ReLU())
        layers.add_module("pool", nn.AdaptiveAvgPool2d(1))
        layers.add_module("flatten", nn.Flatten())
        layers.add_module("linear", nn.Linear(6, classes))
    return layers


def pixel_network(seed: int, pixels: int, classes: int = 4) -> nn.Module:
    """A network in eval mode for images (B, C, H, W) of C·H·W pixels: one linear layer, so that
    each pixel matters.
    """
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return nn.Sequential(nn.Flatten(), nn.Linear(pixels, classes)).eval()


def pointwise(seed: int, before: int, after: int) -> nn.Module:
    """A 1×1 convolution, maps (B, before, H, W) → (B, after, H, W): an adapter."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return nn.Conv2d(before, after, 1)


def random_views(pad: int = 1):
    """An augmentation of images (B, C, H, W): each is flipped or not and shifted by up to `pad`
    pixels, at random.
    """

    def augment(images):
        size, padded = images.shape[2:], F.pad(images, 4 * [pad], mode="reflect")
        views = []
        for image in padded:
            top, left = torch.randint(0, 2 * pad + 1, (2,)).tolist()
            view = image[:, top : top + size[0], left : left + size[1]]
            views.append(view.flip(2) if torch.rand(()) < 0.5 else view)
        return torch.stack(views)

    return augment


def histories(runs: int = 60, seed: int = 9) -> dict[str, dict[str, np.ndarray]]:
    """Accuracies in % of two made-up methods: {method: {"val", "test": (runs, epochs)}}.

    The two learn the same and have stopped learning: what is left is each run's level (0.3 points)
    and, from epoch to epoch, the chance of 1,000 validation and 1,000 test images. "distilled" goes
    on four times as long.
    """
    rng = np.random.default_rng(seed)
    made = {}
    for method, epochs in (("plain", 10), ("distilled", 40)):
        level = np.broadcast_to(85 + 0.3 * rng.standard_normal((runs, 1)), (runs, epochs))
        made[method] = {name: rng.binomial(1000, level / 100) / 10 for name in ("val", "test")}
    return made


MAKERS: dict[str, Callable] = {
    maker.__name__: maker
    for maker in (tiny_network, pixel_network, pointwise, random_views, histories)
}


def provide(name: str, maker: Callable) -> None:
    """Let an exercise add a kind of part: `AnswerPart(name, arguments)` becomes
    `maker(*arguments)`.
    """
    MAKERS[name] = maker
