"""The judges of a folded batch norm and of rounded weights."""

import torch
from torch.nn import functional as F

from kdcourse.checking import expect
from kdcourse.checking.task import Answer, Wrong, task


@task(
    "ex08",
    title="Normalisation inside the first layer",
    minutes=10,
    difficulty="medium",
    points=3,
    hints=[
        "Write one output pixel as a sum: Σ w · (x − mean) / std + b. What multiplies x, and what "
        "does not?",
        "What multiplies x in input channel c is w / std of that channel. weight is (O, C, k, k): "
        "mean and std belong to its second axis.",
        "What does not: the old bias less Σ w · mean / std, over channels and kernel, one number "
        "for each output.",
    ],
)
def folded(answer: Answer, rng: torch.Generator) -> None:
    """Fold (x − mean) / std into a convolution's weight and bias."""
    for outputs, channels, size in ((3, 3, 3), (5, 13, 3), (1, 3, 1), (8, 4, 5)):
        weight = torch.randn(outputs, channels, size, size, generator=rng)
        bias = torch.randn(outputs, generator=rng)
        mean = 1000 + 500 * torch.rand(channels, generator=rng)
        std = 100 + 300 * torch.rand(channels, generator=rng)
        value = answer(weight, bias, mean, std)
        if not isinstance(value, list | tuple) or len(value) != 2:
            raise Wrong("Expected two things back, (weight, bias).", "form")
        w, m, s = weight.double(), *(v.double().reshape(1, -1, 1, 1) for v in (mean, std))
        new = w / s
        shift = (new * m).sum((1, 2, 3))
        expect.close(
            value[0],
            new,
            {
                "unchanged": (w, "The weight is still the old one: it has to divide by std."),
                "times std": (w * s, "The weight is multiplied by std: (x − mean) / std divides."),
                "std twice": (w / s**2, "The weight is divided by std twice."),
                "square root": (w / s.sqrt(), "The weight is divided by √std: std is no variance."),
                **({} if outputs != channels else _wrong_axes(w, std.double())),
            },
            of="the weight",
            atol=1e-9,
        )
        b = bias.double()
        expect.close(
            value[1],
            b - shift,
            _bias_mistakes(size, w, m, new, shift, b),
            of="the bias",
            rtol=1e-3,
        )
        images = mean.reshape(1, -1, 1, 1) + std.reshape(1, -1, 1, 1) * torch.randn(
            2, channels, 8, 8, generator=rng
        )
        images = images.double()
        came = F.conv2d(images, *(expect.tensor(part) for part in value))
        expect.close(
            came, F.conv2d((images - m) / s, w, b), of="the layer's output", rtol=1e-2, atol=1e-3
        )


def _bias_mistakes(size, w, m, new, shift, b) -> dict:
    """Values of the likely mistakes for the bias, each with a sentence."""
    return {
        "bias unchanged": (b, "The bias is still the old one: where did the mean go?"),
        "sign": (b + shift, "The mean is added: (x − mean) subtracts it."),
        "bias forgotten": (-shift, "The layer's own bias is lost."),
        "old weight": (
            b - (w * m).sum((1, 2, 3)),
            "The mean is weighted by the old weight, not by weight / std.",
        ),
        "centre pixel": (
            b - (new * m)[:, :, size // 2, size // 2].sum(1),
            "Every pixel under the kernel has a mean: the sum goes over all of them, not over one.",
        ),
        "kernel averaged": (
            b - (new * m).mean((2, 3)).sum(1),
            "Over the kernel it is a sum, not a mean: every pixel under it has its own weight.",
        ),
        "all outputs": (
            b - shift.sum(),
            "The sum goes over channels and kernel, not over outputs: each has a bias of its own.",
        ),
    }


def _wrong_axes(weight: torch.Tensor, std: torch.Tensor) -> dict:
    sentence = "std belongs to the input channels, the second axis of the weight: (1, C, 1, 1)."
    return {
        "axis": (weight / std.reshape(-1, 1, 1, 1), sentence),
        "last axis": (weight / std, sentence),
    }


@task(
    "ex08",
    title="One scale, or one for each channel",
    minutes=10,
    difficulty="medium",
    points=3,
    hints=[
        "Symmetric: zero point 0 and q in −127 … 127. The scale is the largest |weight| over 127.",
        "A scale for each output channel is a maximum over all axes but the first; keep the axes, "
        "so that it broadcasts. It works for (O, C, k, k) and for (O, I).",
        "scale = weight.abs().flatten(1).amax(1) / 127, reshaped to (-1, 1, 1, 1); a channel of "
        "zeros has scale 0: divide by 1 there.",
    ],
)
def rounded_weight(answer: Answer, rng: torch.Generator) -> None:
    """What becomes of a layer's weight in eight bits, with one scale or with one for each output
    channel.
    """
    for shape in ((6, 6, 3, 3), (1, 4, 1, 1), (5, 12)):
        weight = torch.randn(shape, generator=rng)
        weight *= 10 ** (2 * torch.rand(shape[0], generator=rng) - 1).reshape(
            -1, *[1] * (weight.dim() - 1)
        )
        if shape[0] > 1:
            weight[2] = 0  # a channel that was pruned
        for per_channel in (True, False):
            given = answer(weight, per_channel)
            because = "One output channel is all zeros: what is its scale?"
            came = expect.finite(expect.shape(given, shape, "the weight"), "the weight", because)
            _rounded_is_right(came, weight.double(), per_channel)


def _scale(weight: torch.Tensor, keep: int | None) -> torch.Tensor:
    """Largest |weight| / 127, over all axes but `keep`; it broadcasts."""
    axes = [axis for axis in range(weight.dim()) if axis != keep]
    scale = weight.abs().amax(axes, keepdim=True) / 127
    return torch.where(scale > 0, scale, torch.ones_like(scale))


def _rounded_is_right(came: torch.Tensor, weight: torch.Tensor, per_channel: bool) -> None:
    scale = _scale(weight, 0 if per_channel else None)
    off = (came - weight).abs() / scale
    steps = came / scale
    whole = (steps - steps.round()).abs().max() < 1e-2
    if whole and off.max() <= 0.51:
        return
    if whole and off.max() <= 1.01:
        if (came.abs() <= weight.abs() + 0.01 * scale).all():
            raise Wrong(
                "q was cut off towards zero, not rounded: weights are up to a whole step off.",
                "truncated",
            )
        if (came <= weight + 0.01 * scale).all():
            raise Wrong(
                "q was rounded down, not to the nearest: weights are up to a whole step off.",
                "floored",
            )

    def rounds(other, low=-127, high=127):
        return (weight / other).round().clamp(low, high) * other

    one, many, inputs = _scale(weight, None), _scale(weight, 0), _scale(weight, 1)
    kind = "one scale for each output channel" if per_channel else "one scale for the whole tensor"
    expect.close(
        came,
        rounds(scale),
        _rounding_mistakes(rounds, weight, per_channel, scale, one, many, inputs, kind),
        of=f"the weight with {kind}",
        rtol=1e-3,
        atol=1e-5,
    )


def _rounding_mistakes(rounds, weight, per_channel, scale, one, many, inputs, kind) -> dict:
    """Values of the likely mistakes by name, each with a sentence to the learner."""
    return {
        "not rounded": (weight, "This is the weight as it was."),
        "whole tensor": (rounds(one), f"One scale was used for all: expected {kind}."),
        "each channel": (
            rounds(many),
            f"Each output channel has its own scale: expected {kind}.",
        ),
        "input channels": (
            rounds(inputs),
            "There is a scale for each *input* channel: outputs are the first axis, and each is a "
            "sum over inputs.",
        ),
        "q": (rounds(scale) / scale, "This is q: what the layer computes with is scale · q."),
        "255 steps": (
            rounds(scale * 254 / 255, -128),
            "−127 … 127 has 254 steps, not 255: largest / 127.",
        ),
        "half the range": (
            rounds(scale * 127 / 255),
            "Largest / 255 leaves room for half of the range alone.",
        ),
        "128": (
            rounds(scale * 127 / 128, -128),
            "Symmetric is −127 … 127: the largest |weight| is 127, not 128.",
        ),
        "signed maximum": (
            rounds(_signed(weight, 0 if per_channel else None)),
            "The scale is from the largest weight: large negative weights are cut off. Take the "
            "largest |weight|.",
        ),
    }


def _signed(weight: torch.Tensor, keep: int | None) -> torch.Tensor:
    scale = weight.amax([axis for axis in range(weight.dim()) if axis != keep], keepdim=True) / 127
    return torch.where(scale > 0, scale, torch.ones_like(scale))
