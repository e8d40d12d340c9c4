"""Exercise 08: right answers written otherwise than the solution, and wrong ones with what they
must be told.
"""

import numpy as np
import torch
from torch.nn import functional as F

from kdcourse.exercises.ex08_shipping_the_student.shipping import WARM_UP, timings

# --- folded ---------------------------------------------------------------------------------------


def folded_by_loops(weight, bias, mean, std):
    weight, bias = weight.clone(), bias.clone()
    for o in range(weight.shape[0]):
        for c in range(weight.shape[1]):
            weight[o, c] /= std[c]
            bias[o] -= weight[o, c].sum() * mean[c]
    return [weight, bias]


def folded_by_numpy(weight, bias, mean, std):
    weight = np.einsum("ocij,c->ocij", weight.numpy(), 1 / std.numpy())
    return weight, bias.numpy() - np.einsum("ocij,c->o", weight, mean.numpy())


def folded_by_probe(weight, bias, mean, std):
    """What the old layer answers to raw zeros is the new bias."""
    size = weight.shape[-1]
    zeros = (-mean / std).reshape(1, -1, 1, 1).expand(1, -1, size, size)
    new = weight.double().div(std.double().reshape(-1, 1, 1))
    return new, F.conv2d(zeros.double(), weight.double(), bias.double()).flatten()


def fold(
    of_weight=lambda w, s: w / s,
    of_bias=lambda b, shift: b - shift,
    sum_of=lambda t: t.sum((1, 2, 3)),
    old=False,
):
    def folded(weight, bias, mean, std):
        mean, std = (v.reshape(1, -1, 1, 1) for v in (mean, std))
        new = of_weight(weight, std)
        return new, of_bias(bias, sum_of((weight if old else new) * mean))

    return folded


def fold_last_axis(weight, bias, mean, std):
    if weight.shape[-1] != len(std):
        return fold()(weight, bias, mean, std)
    return weight / std, bias


def fold_first_axis(weight, bias, mean, std):
    if len(weight) != len(std):
        return fold()(weight, bias, mean, std)
    return weight / std.reshape(-1, 1, 1, 1), bias


# --- int8 -----------------------------------------------------------------------------------------


def int8_by_numpy(values, low, high):
    low, high = np.minimum(low, 0), np.maximum(high, 0)
    scale = (high - low) / 255 if high > low else 0.5
    zero = np.rint(-128 - low / scale).astype(np.int8)
    return np.clip(np.rint(values.numpy() / scale) + zero, -128, 127).astype(np.int8), scale, zero


def int8_by_torch(values, low, high):
    low, high = torch.tensor(low).clamp(max=0), torch.tensor(high).clamp(min=0)
    scale = ((high - low) / 255).clamp(min=1e-12)
    zero = (-128 - torch.round(low / scale)).to(torch.int8)
    return torch.round(values / scale + zero.float()).clamp(-128, 127).to(torch.int8), scale, zero


def int8_with_doubles(values, low, high):
    low, high = min(0, low), max(0, high)
    if low == high:
        return values.double(), 1, 0
    scale = (high - low) / 255
    zero = int(np.round(127 - high / scale))
    return [torch.div(values.double(), scale).add(zero).round().clamp(-128, 127), scale, zero]


def int8(
    scale=lambda low, high: (high - low) / 255,
    with_zero=True,
    zero=round,
    cast=None,
    rounding=torch.round,
    shift=0,
):
    def quantised(values, low, high):
        if with_zero:
            low, high = min(low, 0.0), max(high, 0.0)
        step = scale(low, high) or 1.0
        point = zero(-128 + shift - low / step)
        q = rounding(values / step) + point
        return (cast or (lambda q: q.clamp(-128 + shift, 127 + shift)))(q), step, point

    return quantised


def int8_of_the_values(values, low, high):
    return int8()(values, values.min().item(), values.max().item())


def int8_restored(values, low, high):
    q, scale, zero = int8()(values, low, high)
    return scale * (q - zero), scale, zero


def int8_symmetric(values, low, high):
    scale = max(abs(low), abs(high)) / 127 or 1.0
    return torch.round(values / scale).clamp(-128, 127), scale, 0


def int8_sign(values, low, high):
    low, high = min(low, 0.0), max(high, 0.0)
    scale = (high - low) / 255 or 1.0
    zero = round(-128 + low / scale)
    return (torch.round(values / scale) + zero).clamp(-128, 127), scale, zero


def int8_no_guard(values, low, high):
    low, high = min(low, 0.0), max(high, 0.0)
    scale = torch.tensor((high - low) / 255)
    zero = torch.round(-128 - low / scale)
    return (torch.round(values / scale) + zero).clamp(-128, 127), scale, zero


# --- rounded_weight -------------------------------------------------------------------------------


def weight_by_loops(weight, per_channel):
    rows = []
    for row in weight:
        largest = (row if per_channel else weight).abs().max().item()
        rows.append(row if largest == 0 else torch.round(row * 127 / largest) * largest / 127)
    return torch.stack(rows)


def weight_by_numpy(weight, per_channel):
    weight = weight.numpy().astype(np.float64)
    flat = weight.reshape(len(weight), -1)
    scale = np.abs(flat).max(1, keepdims=True) if per_channel else np.abs(flat).max()
    scale = np.maximum(scale, 1e-9) / 127
    return (np.rint(flat / scale) * scale).reshape(weight.shape)


def weight_by_fake(weight, per_channel):
    flat = weight.reshape(len(weight), -1)
    if not per_channel:
        return torch.fake_quantize_per_tensor_affine(
            weight, weight.abs().max().item() / 127, 0, -127, 127
        )
    scale = flat.abs().amax(1).clamp(min=1e-9) / 127
    zero = torch.zeros(len(scale), dtype=torch.int32)
    return torch.fake_quantize_per_channel_affine(weight, scale, zero, 0, -127, 127)


def weight_with(
    steps=127, low=-127, rounding=torch.round, axis=0, largest=torch.abs, back=True, guard=True
):
    """axis: what a scale is kept for if per_channel is asked for; "all": one scale anyway;
    "always": never one.
    """

    def rounded(weight, per_channel):
        keep = {"all": None, "always": 0}.get(axis, axis if per_channel else None)
        axes = [a for a in range(weight.dim()) if a != keep]
        scale = largest(weight).amax(axes, keepdim=True) / steps
        if guard:
            scale = torch.where(scale > 0, scale, 1.0)
        q = rounding(weight / scale).clamp(low, 127)
        return q * scale if back else q

    return rounded


# --- windows --------------------------------------------------------------------------------------


def windows_by_numpy(height, width, tile):
    tops, lefts = (np.minimum(np.arange(-(-n // tile)) * tile, n - tile) for n in (height, width))
    return np.stack(np.meshgrid(tops, lefts, indexing="ij"), -1).reshape(-1, 2)


def windows_from_below(height, width, tile):
    """From the far corner to the near one: the first tiles overlap."""
    found = []
    top = height - tile
    while True:
        left = width - tile
        while True:
            found.append([top, left])
            if left == 0:
                break
            left = max(left - tile, 0)
        if top == 0:
            return torch.tensor(found)
        top = max(top - tile, 0)


def windows_spread(height, width, tile):
    """As many as are needed, at equal distances."""

    def starts(length):
        count = -(-length // tile)
        return [0] if count == 1 else [i * (length - tile) // (count - 1) for i in range(count)]

    return {(top, left): 0 for top in starts(height) for left in starts(width)} and [
        (top, left) for left in starts(width) for top in starts(height)
    ]


def windows(starts, swap=False):
    def listed(height, width, tile):
        pairs = [(top, left) for top in starts(height, tile) for left in starts(width, tile)]
        return [pair[::-1] for pair in pairs] if swap else pairs

    return listed


def inwards(length, tile):
    return [min(start, length - tile) for start in range(0, length, tile)]


def windows_moved_rows(height, width, tile):
    return [(top, left) for top in inwards(height, tile) for left in range(0, width, tile)]


def diagonal(height, width, tile):
    return list(zip(inwards(height, tile), inwards(width, tile), strict=False))


# --- the values -----------------------------------------------------------------------------------

MS = timings()
WARM = MS[WARM_UP:]
MEDIAN, P95 = np.median(WARM), np.percentile(WARM, 95)

RIGHT = {
    "folded": [folded_by_loops, folded_by_numpy, folded_by_probe],
    "int8": [int8_by_numpy, int8_by_torch, int8_with_doubles],
    "rounded_weight": [weight_by_loops, weight_by_numpy, weight_by_fake],
    "latency": [
        [round(MEDIAN, 1), round(P95, 1)],
        {"median": torch.tensor(MEDIAN), "p95": sorted(WARM)[189]},
        (np.sort(WARM)[100], np.percentile(WARM, 95, method="higher")),
        {"p95": P95, "median": f"{MEDIAN:.1f} ms"},
    ],
    "windows": [windows_by_numpy, windows_from_below, windows_spread],
    "to_ship": ["C", "(c)", ["c"], {"c"}, np.array(["c"])],
}

WRONG = {
    "folded": [
        (fold(lambda w, s: w), "unchanged", "divide by std"),
        (fold(lambda w, s: w * s), "times std", "divides"),
        (fold(lambda w, s: w / s.sqrt()), "square root", "variance"),
        (fold(of_bias=lambda b, shift: b), "bias unchanged", "mean"),
        (fold(of_bias=lambda b, shift: b + shift), "sign", "subtracts"),
        (fold(of_bias=lambda b, shift: -shift), "bias forgotten", "own bias"),
        (fold(old=True), "old weight", "weight / std"),
        (fold(sum_of=lambda t: t.mean((2, 3)).sum(1)), "kernel averaged", "not a mean"),
        (
            fold(sum_of=lambda t: t[:, :, t.shape[2] // 2, t.shape[3] // 2].sum(1)),
            "centre pixel",
            "all of them",
        ),
        (fold(sum_of=lambda t: t.sum()), "all outputs", "of its own"),
        (fold_first_axis, "axis", "second axis"),
        (fold_last_axis, "last axis", "second axis"),
        (lambda weight, bias, mean, std: weight / std.reshape(1, -1, 1, 1), "form", "two things"),
    ],
    "int8": [
        (int8(lambda low, high: (high - low) / 256), "256 steps", "255 steps"),
        (int8(lambda low, high: (high - low) / 254), "254 steps", "255 steps"),
        (int8(with_zero=False), "zero not in range", "hold zero"),
        (int8(shift=128), "unsigned", "uint8"),
        (int8(cast=lambda q: q), "no clamp", "clamped"),
        (int8(cast=lambda q: q.to(torch.int32).to(torch.int8)), "wrapped", "Clamp before"),
        (int8(rounding=torch.trunc), "truncated", "half a step"),
        (int8(rounding=torch.floor), "truncated", "half a step"),
        (int8(zero=float), "zero point not whole", "whole number"),
        (int8(zero=int), "truncated zero point", "cut off"),
        (int8(rounding=lambda q: q), "q not whole", "whole numbers"),
        (int8_of_the_values, "range of the values", "calibration"),
        (int8_restored, "q not whole", "returned"),
        (int8_symmetric, "symmetric, 127", "two numbers"),
        (int8_sign, "zero point", "sign of low"),
        (int8_no_guard, "nan", "both 0"),
    ],
    "rounded_weight": [
        (weight_with(axis="all"), "whole tensor", "for each output channel"),
        (weight_with(axis="always"), "each channel", "one scale for the whole"),
        (weight_with(axis=1), "input channels", "first axis"),
        (weight_with(back=False), "q", "scale · q"),
        (weight_with(rounding=torch.trunc), "truncated", "cut off"),
        (weight_with(rounding=torch.floor), "floored", "nearest"),
        (weight_with(steps=128, low=-128), "128", "127"),
        (weight_with(steps=127.5, low=-128), "255 steps", "254 steps"),
        (weight_with(steps=255), "half the range", "half"),
        (weight_with(largest=lambda weight: weight), "signed maximum", "largest |weight|"),
        (weight_with(guard=False), "nan", "all zeros"),
        (lambda weight, per_channel: weight, "not rounded", "as it was"),
    ],
    "latency": [
        ((MEDIAN, "fast"), "type", "p95"),
        ((WARM.mean(), P95), "mean", "mean"),
        ((np.median(MS), np.percentile(MS, 95)), "warm-up in it", "warm-up"),
        ((MEDIAN, np.percentile(MS, 95)), "warm-up in p95", "warm-up"),
        ((P95, MEDIAN), "order", "first"),
        ((MEDIAN / 1000, P95 / 1000), "seconds", "not in s"),
        ((MEDIAN, WARM.max()), "slowest", "slowest"),
        ((MEDIAN, np.percentile(WARM, 99)), "p99", "p99"),
        ((MEDIAN, WARM.mean() + 1.645 * WARM.std()), "two sigma", "normal"),
        ((MEDIAN, np.percentile(WARM, 90)), "p90", "p90"),
        (MEDIAN, "form", "two numbers"),
    ],
    "windows": [
        (windows(lambda n, t: range(0, n - t + 1, t)), "edges left out", "edges"),
        (windows(lambda n, t: range(0, n, t)), "outside", "moved inwards"),
        (windows_moved_rows, "outside", "full size"),
        (windows(inwards, swap=True), "swapped", "(top, left)"),
        (windows(lambda n, t: [*range(0, n - t + 1, t), n - t]), "double", "twice"),
        (
            windows(lambda n, t: sorted({*range(0, n - t + 1, max(1, t // 2)), n - t})),
            "too many",
            "enough",
        ),
        (windows(lambda n, t: range(n - t + 1)), "too many", "enough"),
        (windows(lambda n, t: range(0, n - t, t)), "gap", "in no tile"),
        (diagonal, "gap", "in no tile"),
        (lambda height, width, tile: inwards(height, tile), "form", "pairs"),
    ],
    "to_ship": [
        ("a", "too slow", "61 ms"),
        ("b", "too large", "1,240 kB"),
        ("d", "loses", "below zero"),
        ("e", "too slow", "median is fast"),
        ("student, int8", "type", "one of"),
        (3, "type", "one of"),
    ],
}
