"""The judge of a residual block in eval mode."""

import torch
from torch import nn
from torch.nn import functional as F
from torchvision.models.resnet import BasicBlock

from kdcourse.checking import expect
from kdcourse.checking.task import Answer, task


@task(
    "ex02",
    title="A residual block, in eval mode",
    minutes=15,
    difficulty="hard",
    points=3,
    hints=(
        "Batch norm in eval mode: γ (x − running mean) / √(running variance + 1e-5) + β, each of "
        "shape (1, C, 1, 1).",
        "conv1 (with the stride) → bn1 → ReLU → conv2 → bn2, then add the shortcut, then ReLU.",
        "With a key 'downsample.0.weight' the shortcut is a 1×1 convolution with the stride, then "
        "'downsample.1'.",
    ),
)
def residual_block(answer: Answer, rng: torch.Generator) -> None:
    """A basic block's answer (B, C_out, H / stride, W / stride) in eval mode, from its state
    dict.
    """
    for before, after, stride, batch in ((4, 8, 2, 3), (6, 6, 1, 2), (4, 4, 2, 1)):
        block, x = (
            _block(before, after, stride, rng),
            torch.randn(batch, before, 8, 8, generator=rng),
        )
        weights = block.state_dict()
        with torch.no_grad():
            expected = block(x)
            got = answer(x, weights, stride)
            mistakes = {
                name: (run(x, weights, stride), why) for name, (run, why) in _wrong_blocks().items()
            }
        if not block.downsample:
            del mistakes["shortcut without norm"], mistakes["shortcut as bn2"]
        expect.close(
            got, expected, of="the block's answer", mistakes=mistakes, rtol=2e-4, atol=2e-4
        )


def _block(before: int, after: int, stride: int, rng: torch.Generator) -> BasicBlock:
    shortcut = None
    if before != after or stride != 1:
        shortcut = nn.Sequential(
            nn.Conv2d(before, after, 1, stride, bias=False), nn.BatchNorm2d(after)
        )
    block = BasicBlock(before, after, stride, shortcut)
    for name, value in block.state_dict().items():
        if name.endswith("running_var"):
            value.copy_(
                10 ** (-4 * torch.rand(value.shape, generator=rng))
            )  # some channels hardly vary: 1e-5 shows
            value[0] = 1e-5
        elif "bn" in name or "downsample.1" in name:
            if value.ndim:  # not the count of batches
                value.copy_(0.3 * torch.randn(value.shape, generator=rng) + ("weight" in name))
                if "weight" in name:
                    value[0] *= 0.02
        else:
            value.copy_(torch.randn(value.shape, generator=rng) / value[0].numel() ** 0.5)
    return block.eval()


def _forward(x, w, stride, norm=None, shortcut=None, end=F.relu, strides=(1,), middle=F.relu):
    """The block with one of its steps exchanged."""
    norm = norm or _norm
    y = middle(norm(F.conv2d(x, w["conv1.weight"], stride=stride, padding=1), w, "bn1"))
    y = norm(F.conv2d(y, w["conv2.weight"], padding=1), w, "bn2")
    return end(y + (shortcut or _shortcut)(x, w, stride, norm))


def _norm(x, w, name, eps=1e-5, power=0.5):
    mean, var, scale, shift = (
        w[f"{name}.{key}"][:, None, None]
        for key in ("running_mean", "running_var", "weight", "bias")
    )
    return scale * (x - mean) / (var + eps) ** power + shift


def _shortcut(x, w, stride, norm):
    if "downsample.0.weight" not in w:
        return x
    return norm(F.conv2d(x, w["downsample.0.weight"], stride=stride), w, "downsample.1")


def _of_batch(x, w, name):
    return F.batch_norm(x, None, None, w[f"{name}.weight"], w[f"{name}.bias"], training=True)


def _no_shortcut(x, w, stride, norm):
    return 0


def _bare_shortcut(x, w, stride, norm):
    return F.conv2d(x, w["downsample.0.weight"], stride=stride) if "downsample.0.weight" in w else x


def _relu_before_adding(x, w, stride):
    y = F.relu(_norm(F.conv2d(x, w["conv1.weight"], stride=stride, padding=1), w, "bn1"))
    y = F.relu(_norm(F.conv2d(y, w["conv2.weight"], padding=1), w, "bn2"))
    return y + _shortcut(x, w, stride, _norm)


def _relu_twice(x, w, stride):
    y = F.relu(_norm(F.conv2d(x, w["conv1.weight"], stride=stride, padding=1), w, "bn1"))
    y = F.relu(_norm(F.conv2d(y, w["conv2.weight"], padding=1), w, "bn2"))
    return F.relu(y + _shortcut(x, w, stride, _norm))


def _wrong_blocks() -> dict:
    """The block with one mistake each, and a sentence to the learner, by the fault's name."""

    def with_(**new):
        return lambda x, w, stride: _forward(x, w, stride, **new)

    def norm_by(**new):
        return with_(norm=lambda x, w, name: _norm(x, w, name, **new))

    return {
        "no shortcut": (
            with_(shortcut=_no_shortcut),
            "The shortcut is missing: x is added before the last ReLU.",
        ),
        "batch statistics": (
            with_(norm=_of_batch),
            "Batch norm took mean and variance of the batch, as in train mode. In eval mode it "
            "takes running_mean and running_var.",
        ),
        "relu before adding": (_relu_before_adding, "The last ReLU comes *after* the addition."),
        "relu too often": (_relu_twice, "There is no ReLU between bn2 and the addition."),
        "no last relu": (with_(end=lambda y: y), "The ReLU after the addition is missing."),
        "no first relu": (with_(middle=lambda y: y), "The ReLU after bn1 is missing."),
        "variance": (
            norm_by(power=1),
            "Batch norm divides by the standard deviation, the root of the variance.",
        ),
        "epsilon": (
            norm_by(eps=0.0),
            "The 1e-5 under the root is missing. It counts where a channel hardly varies.",
        ),
        "shortcut without norm": (
            with_(shortcut=_bare_shortcut),
            "The shortcut's batch norm, 'downsample.1', is missing.",
        ),
        "shortcut as bn2": (
            with_(
                shortcut=lambda x, w, s, norm: (
                    x
                    if "downsample.0.weight" not in w
                    else norm(F.conv2d(x, w["downsample.0.weight"], stride=s), w, "bn2")
                )
            ),
            "The shortcut has a batch norm of its own, 'downsample.1'.",
        ),
    }
