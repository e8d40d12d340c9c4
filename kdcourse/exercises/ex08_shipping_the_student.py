"""Checks of exercise 08: shipping the student."""

from collections.abc import Mapping

import numpy as np
import pandas as pd
import torch
from torch.nn import functional as F

from kdcourse.checking import expect
from kdcourse.checking.task import Answer, Wrong, task

LOW, HIGH = -128, 127  # of int8
SLOWEST, LARGEST = 20.0, 500.0  # ms (p95) and kB: what the machine in the field allows
WARM_UP = 30  # calls

# --- normalisation in the first layer -------------------------------------------------------------


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
        "mean and std belong "
        "to its second axis.",
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
            {
                "bias unchanged": (b, "The bias is still the old one: where did the mean go?"),
                "sign": (b + shift, "The mean is added: (x − mean) subtracts it."),
                "bias forgotten": (-shift, "The layer's own bias is lost."),
                "old weight": (
                    b - (w * m).sum((1, 2, 3)),
                    "The mean is weighted by the old weight, not by weight / std.",
                ),
                "centre pixel": (
                    b - (new * m)[:, :, size // 2, size // 2].sum(1),
                    "Every pixel under the kernel has a mean: the sum goes over all of them, not "
                    "over one.",
                ),
                "kernel averaged": (
                    b - (new * m).mean((2, 3)).sum(1),
                    "Over the kernel it is a sum, not a mean: every pixel under it has its own "
                    "weight.",
                ),
                "all outputs": (
                    b - shift.sum(),
                    "The sum goes over channels and kernel, not over outputs: each has a bias of "
                    "its own.",
                ),
            },
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


def _wrong_axes(weight: torch.Tensor, std: torch.Tensor) -> dict:
    sentence = "std belongs to the input channels, the second axis of the weight: (1, C, 1, 1)."
    return {
        "axis": (weight / std.reshape(-1, 1, 1, 1), sentence),
        "last axis": (weight / std, sentence),
    }


# --- eight bits -----------------------------------------------------------------------------------


@task(
    "ex08",
    title="Eight bits by hand",
    minutes=12,
    difficulty="medium",
    points=3,
    hints=[
        "256 levels have 255 steps between them. The range must hold zero, so that zero (padding, "
        "a ReLU) is exact: "
        "low = min(low, 0), high = max(high, 0).",
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
            "Where low and high are 0, all values are 0 and must come back as 0 with a scale "
            "above 0: got scale "
            f"{scale:g}.",
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
    expect.close(
        scale,
        span / 255,
        {
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
        },
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
    inside = values.double().clamp(min(low, 0.0), max(high, 0.0))
    off = (scale * (q - zero) - inside).abs() / scale  # in steps
    if off.max() > 0.51:
        at = np.unravel_index(int(off.argmax()), off.shape)
        what = (
            f"{values[at]:.4g} came back as {scale * (q[at] - zero):.4g}, {off.max():.2f} steps off"
        )
        if off.max() <= 1.01:
            raise Wrong(
                f"{what}: half a step is the most if q is rounded, not cut off.", "truncated"
            )
        if off.max() > 200:
            raise Wrong(
                f"{what}: out at one end, in at the other. Clamp before the cast to int8.",
                "wrapped",
            )
        raise Wrong(
            f"{what}, {where}: scale · (q − zero_point) must give the value back.", "not the value"
        )


@task(
    "ex08",
    title="One scale, or one for each channel",
    minutes=10,
    difficulty="medium",
    points=3,
    hints=[
        "Symmetric: zero point 0 and q in −127 … 127. The scale is the largest |weight| over 127.",
        "A scale for each output channel is a maximum over all axes but the first; keep the axes, "
        "so that it "
        "broadcasts. It works for (O, C, k, k) and for (O, I).",
        "scale = weight.abs().flatten(1).amax(1) / 127, reshaped to (-1, 1, 1, 1); a channel of "
        "zeros has scale 0: "
        "divide by 1 there.",
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
        {
            "not rounded": (weight, "This is the weight as it was."),
            "whole tensor": (rounds(one), f"One scale was used for all: expected {kind}."),
            "each channel": (
                rounds(many),
                f"Each output channel has its own scale: expected {kind}.",
            ),
            "input channels": (
                rounds(inputs),
                "There is a scale for each *input* channel: outputs are the first axis, and each "
                "is a sum over inputs.",
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
                "The scale is from the largest weight: large negative weights are cut off. Take "
                "the largest |weight|.",
            ),
        },
        of=f"the weight with {kind}",
        rtol=1e-3,
        atol=1e-5,
    )


def _signed(weight: torch.Tensor, keep: int | None) -> torch.Tensor:
    scale = weight.amax([axis for axis in range(weight.dim()) if axis != keep], keepdim=True) / 127
    return torch.where(scale > 0, scale, torch.ones_like(scale))


# --- time -----------------------------------------------------------------------------------------


def timings() -> np.ndarray:
    """Made-up times in ms of 230 single images, one after the other: the first calls warm up, some
    others wait.
    """
    rng = np.random.default_rng(8)
    ms = 6 + rng.gamma(2, 0.7, 230)
    ms += (rng.random(230) < 0.08) * rng.uniform(8, 30, 230)
    ms[:WARM_UP] += np.linspace(90, 10, WARM_UP)
    return ms.round(2)


@task(
    "ex08",
    title="How long does one image take?",
    minutes=5,
    difficulty="easy",
    points=2,
    hints=[
        "Leave out the calls that warm up. Sort the others: the median is in the middle, and 95 % "
        "are no longer than "
        "p95.",
        "np.median(ms[30:]) and np.percentile(ms[30:], 95)",
    ],
)
def latency(answer: Answer, rng: torch.Generator) -> None:
    """Read off the median and the 95th percentile of the times, without the warm-up."""
    value = answer.value()
    if isinstance(value, Mapping):
        named = {str(name).lower(): number for name, number in value.items()}
        value = [named[name] for name in ("median", "p95") if name in named]
    if not isinstance(value, list | tuple | np.ndarray | torch.Tensor) or len(value) != 2:
        raise Wrong("Expected two numbers, (median, p95), in ms.", "form")
    median, p95 = (
        expect.scalar(expect.typed(number, of), of)
        for number, of in zip(value, ("the median", "p95"), strict=True)
    )
    every = timings()
    warm, cold = every[WARM_UP:], every
    low, high = (np.percentile(warm, 95, method=method) for method in ("lower", "higher"))
    if median > p95:
        raise Wrong("The median comes first, then p95, which is the longer one.", "order")
    expect.read_off(
        median,
        np.median(warm),
        0.06,
        {
            "mean": (warm.mean(), "That is the mean: a few long waits move it."),
            "warm-up in it": (np.median(cold), "The warm-up is in it: leave out the first calls."),
            "mean, warm-up in it": (cold.mean(), "That is the mean, and the warm-up is in it."),
            "seconds": (np.median(warm) / 1000, "In ms, not in s."),
            "fastest": (warm.min(), "That is the fastest."),
        },
        of="the median",
    )
    if low - 0.05 <= p95 <= high + 0.05:
        return
    expect.read_off(
        p95,
        np.percentile(warm, 95),
        0.05,
        {
            "warm-up in p95": (
                np.percentile(cold, 95),
                "The warm-up is in it: leave out the first calls.",
            ),
            "slowest": (
                warm.max(),
                "That is the slowest: 95 % of the calls are to be no longer than p95.",
            ),
            "p99": (np.percentile(warm, 99), "That is p99."),
            "p90": (np.percentile(warm, 90), "That is p90."),
            "two sigma": (
                warm.mean() + 1.645 * warm.std(),
                "That is mean + 1.645 standard deviations: these times are far from normal. Count, "
                "don't assume.",
            ),
            "95 % of the slowest": (
                0.95 * warm.max(),
                "95 % of the *calls*, not of the longest time.",
            ),
        },
        of="p95",
    )


# --- tiles ----------------------------------------------------------------------------------------


@task(
    "ex08",
    title="Tiles for a whole scene",
    minutes=10,
    difficulty="medium",
    points=3,
    hints=[
        "Do it along one axis first: where do tiles begin so that they cover `length` pixels, and "
        "as few as possible?",
        "range(0, length, tile) covers, but its last tile may stick out. Move that one inwards: "
        "min(start, length − "
        "tile).",
        "Then every start of the rows with every start of the columns. min(…) makes no double: a "
        "length that is a "
        "multiple of the tile has no tile to move.",
    ],
)
def windows(answer: Answer, rng: torch.Generator) -> None:
    """Say where tiles begin that cover a scene: all inside, as few as possible, the last ones moved
    inwards.
    """
    tile = int(torch.randint(5, 12, (), generator=rng))
    extra = [int(torch.randint(1, tile, (), generator=rng)) for _ in range(2)]
    for height, width in (
        (3 * tile, 2 * tile),
        (2 * tile + extra[0], 4 * tile),
        (tile, 3 * tile + extra[1]),
        (3 * tile + extra[1], 2 * tile + extra[0]),
        (tile, tile),
    ):
        _covers(answer(height, width, tile), height, width, tile)


def _covers(value, height: int, width: int, tile: int) -> None:
    scene = f"a scene of {height} rows and {width} columns, in tiles of {tile}"
    if value is None:
        raise Wrong("Expected a list of (top, left), got None. Is there a `return`?", "none")
    if isinstance(value, list | tuple) and not len(value):
        raise Wrong(f"No tiles for {scene}.", "none")
    came = expect.finite(expect.tensor(value, "the list of (top, left)"), "the list")
    if came.dim() != 2 or came.shape[1] != 2 or (came != came.round()).any():
        raise Wrong("Expected a list of pairs of whole numbers, (top, left).", "form")
    if max(came.shape) > 10_000:
        raise Wrong(f"{len(came)} tiles for {scene}.", "too many")
    tiles = [(int(top), int(left)) for top, left in came.tolist()]
    beyond = [
        (top, left) for top, left in tiles if not (0 <= top <= height - tile and 0 <= left <= width - tile)
    ]  # fmt: skip
    covered = torch.zeros(height, width, dtype=torch.bool)
    for top, left in tiles:
        covered[max(top, 0) : top + tile, max(left, 0) : left + tile] = True
    other = torch.zeros(height, width, dtype=torch.bool)
    for top, left in tiles:
        other[max(left, 0) : left + tile, max(top, 0) : top + tile] = True
    if (beyond or not covered.all()) and other.all() and height != width:
        raise Wrong(f"Rows and columns are swapped: a pair is (top, left). For {scene}.", "swapped")
    if beyond:
        raise Wrong(
            f"For {scene}: the tile at {beyond[0]} reaches outside. The last tile is moved "
            "inwards, so that it has "
            "its full size.",
            "outside",
        )
    if not covered.all():
        row, column = (~covered).nonzero()[0].tolist()
        edge = covered[: height - height % tile, : width - width % tile].all()
        where = (
            "the rest at the edges is not looked at"
            if edge
            else f"pixel ({row}, {column}) is in no tile"
        )
        raise Wrong(f"For {scene}: {where}.", "edges left out" if edge else "gap")
    if len(set(tiles)) < len(tiles):
        double = next(tile for tile in tiles if tiles.count(tile) > 1)
        raise Wrong(
            f"For {scene}: {double} is there twice, and would be classified twice.", "double"
        )
    fewest = -(-height // tile) * -(-width // tile)
    if len(tiles) > fewest:
        raise Wrong(
            f"For {scene}: {len(tiles)} tiles, and {fewest} are enough. Time is a tile's time.",
            "too many",
        )


# --- which one ------------------------------------------------------------------------------------


def candidates() -> pd.DataFrame:
    """Made-up measurements of five files. gain: over the float32 student, in points ± 95 %, paired
    over five seeds.
    """
    rows = {
        "a": ("teacher, float32", 94_200, 48.0, 61.0, +0.9, 0.6),
        "b": ("student, float32", 1_240, 7.4, 13.1, 0.0, 0.0),
        "c": ("student, int8", 340, 5.2, 9.9, -0.2, 0.4),
        "d": ("small student, int8", 130, 2.3, 4.4, -2.4, 0.7),
        "e": ("wide student, int8", 460, 4.1, 27.5, +0.1, 0.5),
    }
    columns = ["network", "kB", "median, ms", "p95, ms", "gain", "± 95 %"]
    return pd.DataFrame.from_dict(rows, orient="index", columns=columns)


@task(
    "ex08",
    title="Which one do you ship?",
    minutes=6,
    difficulty="easy",
    points=2,
    hints=[
        "Strike out what the machine cannot take: two columns decide, and neither of them is the "
        "median.",
        "Of those left: is a loss shown? That is, does the interval gain ± half lie below zero? An "
        "interval that "
        "includes zero shows none.",
    ],
)
def to_ship(answer: Answer, rng: torch.Generator) -> None:
    """Judge which of five files to ship."""
    table = candidates()
    fits = (table["kB"] <= LARGEST) & (table["p95, ms"] <= SLOWEST)
    loses = table["gain"] + table["± 95 %"] < 0
    right = table.index[fits & ~loses]
    why = {}
    for letter, row in table.iterrows():
        if row["p95, ms"] > SLOWEST:
            fast = "Its median is fast, but one" if row["median, ms"] <= SLOWEST else "One"
            why[letter] = (
                "too slow",
                f"{fast} image in twenty takes longer than {row['p95, ms']:g} ms (p95).",
            )
        elif row["kB"] > LARGEST:
            why[letter] = (
                "too large",
                f"It is fast enough, but {row['kB']:,} kB do not fit into {LARGEST:g}.",
            )
        elif loses[letter]:
            low, high = row["gain"] - row["± 95 %"], row["gain"] + row["± 95 %"]
            why[letter] = (
                "loses",
                f"It fits, but loses: its interval, {low:+.1f} … {high:+.1f}, lies below zero.",
            )
    (only,) = right
    expect.choice(answer.value(), only, why)
