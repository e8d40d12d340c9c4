"""The judge of the affine map from floats to int8."""

import numpy as np
import torch

from kdcourse.checking import expect
from kdcourse.checking.task import Answer, Wrong, task

LOW, HIGH = -128, 127  # of int8


# --- eight bits -----------------------------------------------------------------------------------


@task(
    "ex08",
    title="Eight bits by hand",
    minutes=12,
    difficulty="medium",
    points=3,
    hints=[
        "256 levels have 255 steps between them. The range must hold zero, so that zero (padding, "
        "a ReLU) is exact: low = min(low, 0), high = max(high, 0).",
        "scale = (high − low) / 255. The zero point is the q of x = 0: the q for which low comes "
        "out as −128, rounded.",
        "zero_point = round(−128 − low / scale); q = round(values / scale) + zero_point, clamped "
        "to −128 … 127.",
        "A range of nothing but zero has no scale: any number above 0 will do, such as 1.",
    ],
)
def int8(answer: Answer, rng: torch.Generator) -> None:
    """Quantise values to int8 with scale and zero point, from a range that calibration has
    found.
    """
    draw = torch.rand(3, generator=rng)
    below = [
        80 + 40 * draw[0] // 1 + part for part in (0.3, 0.7)
    ]  # steps below zero: cut off, one of them is wrong
    cases = (
        *(((2.0 + draw[1]) * -steps / (255 - steps), 2.0 + draw[1]) for steps in below),
        (torch.tensor(0.0), 6.0 * (1 + draw[2])),
        (3.0 + draw[0], 7.0 + draw[1]),
        (-9.0 - draw[1], -4.0 - draw[2]),
    )
    for low, high in cases:
        low, high = low.item(), high.item()
        span = high - low
        values = (
            low - 0.2 * span + 1.4 * span * torch.rand(2, 50, generator=rng)
        )  # some outside of the range
        values[0, 0], values[0, 1], values[0, 2] = 0.0, high + span, low - span
        _int8_is_right(answer(values, low, high), values, low, high)
    q, scale, zero = _three(
        answer(torch.zeros(1, 4), 0.0, 0.0), (1, 4), because="low and high are both 0 here."
    )
    if scale <= 0 or (scale * (q - zero)).abs().max() > 0:
        raise Wrong(
            "Where low and high are 0, all values are 0 and must come back as 0 with a scale above "
            f"0: got scale {scale:g}.",
            "nothing but zero",
        )


def _three(value, shape, because: str = "") -> tuple[torch.Tensor, float, int]:
    if not isinstance(value, list | tuple) or len(value) != 3:
        raise Wrong("Expected three things back, (q, scale, zero_point).", "form")
    scale = expect.scalar(expect.finite(value[1], "the scale", because), "the scale")
    zero = expect.scalar(expect.finite(value[2], "the zero point", because), "the zero point")
    if zero != round(zero):
        raise Wrong(
            f"The zero point is the q of zero, so it is a whole number; got {zero:g}.",
            "zero point not whole",
        )
    q = expect.finite(expect.shape(value[0], shape, "q"), "q", because)
    if (q != q.round()).any():
        raise Wrong(
            f"q are whole numbers, got {q[q != q.round()][0]:g}. Is it x that was returned?",
            "q not whole",
        )
    return q, scale, int(zero)


def _int8_is_right(value, values: torch.Tensor, low: float, high: float) -> None:
    q, scale, zero = _three(value, values.shape)
    span = max(high, 0.0) - min(low, 0.0)
    where = f"for the range {low:.3g} … {high:.3g}"
    _check_range(q)
    expect.close(
        scale,
        span / 255,
        _scale_mistakes(values, low, high, span),
        of=f"the scale {where}",
        rtol=1e-3,
        atol=0,
    )
    right = round(LOW - min(low, 0.0) / scale)
    if zero != right:
        exact = LOW - min(low, 0.0) / scale
        if abs(zero - exact) <= 1 and abs(zero - exact) > 0.5 + 1e-3:
            raise Wrong(
                f"The zero point is cut off, not rounded: {exact:.2f} became {zero}.",
                "truncated zero point",
            )
        if abs(zero - exact) > 1:
            side = (
                ": the sign of low is the other way round"
                if zero == round(LOW + min(low, 0.0) / scale)
                else ""
            )
            raise Wrong(
                f"{where.capitalize()}, x = 0 must be q = {right}, so that low comes out as −128; "
                f"got {zero}{side}.",
                "zero point",
            )
    _check_values(values, low, high, q, scale, zero, where)


def _check_values(values, low, high, q, scale, zero, where) -> None:
    """Raise Wrong unless scale · (q − zero point) gives the values back."""
    inside = values.double().clamp(min(low, 0.0), max(high, 0.0))
    off = (scale * (q - zero) - inside).abs() / scale  # in steps
    if off.max() > 0.51:
        at = np.unravel_index(int(off.argmax()), off.shape)
        difference = (
            f"{values[at]:.4g} came back as {scale * (q[at] - zero):.4g}, {off.max():.2f} steps off"
        )
        if off.max() <= 1.01:
            raise Wrong(
                f"{difference}: half a step is the most if q is rounded, not cut off.", "truncated"
            )
        if off.max() > 200:
            raise Wrong(
                f"{difference}: out at one end, in at the other. Clamp before the cast to int8.",
                "wrapped",
            )
        raise Wrong(
            f"{difference}, {where}: scale · (q − zero_point) must give the value back.",
            "not the value",
        )


def _check_range(q) -> None:
    """Raise Wrong unless every q is in −128 … 127."""
    if (q < LOW).any() or (q > HIGH).any():
        if q.min() >= 0 and q.max() <= 255:
            raise Wrong(
                f"q runs from {q.min():g} to {q.max():g}: that is uint8. int8 is −128 … 127.",
                "unsigned",
            )
        worst = q.flatten()[(q - (LOW + HIGH) / 2).abs().argmax()]
        raise Wrong(
            f"q reaches {worst:g}, outside of −128 … 127: values outside of the range are clamped.",
            "no clamp",
        )


def _scale_mistakes(values, low, high, span) -> dict:
    """Values of the likely mistakes for the scale, each with a sentence."""
    return {
        "256 steps": (span / 256, "256 levels have 255 steps between them."),
        "254 steps": (span / 254, "−128 … 127 has 255 steps: 254 is that of −127 … 127."),
        "127 steps": (span / 127, "−128 … 127 has 255 steps, not 127."),
        "zero not in range": (
            (high - low) / 255,
            "The range must hold zero: padding and ReLU need a zero that is exact.",
        ),
        "symmetric": (
            2 * max(abs(low), abs(high)) / 255,
            "This is a symmetric range: here low and high are two numbers, and the zero point "
            "makes up for it.",
        ),
        "symmetric, 127": (
            max(abs(low), abs(high)) / 127,
            "This is a symmetric scale: here low and high are two numbers, and the zero point "
            "makes up for it.",
        ),
        "inverse": (255 / span, "This is steps per unit: the scale is what one step is worth."),
        "range of the values": (
            (max(values.max().item(), 0) - min(values.min().item(), 0)) / 255,
            "The range is that of calibration, low and high, not that of these values.",
        ),
    }
