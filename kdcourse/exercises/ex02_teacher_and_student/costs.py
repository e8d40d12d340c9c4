"""The judges of map sizes, the cost of a convolution and where a network works."""

from collections.abc import Callable
from functools import lru_cache

import pandas as pd
import torch
from torch import nn
from torch.nn import functional as F

from kdcourse import models
from kdcourse.checking import expect
from kdcourse.checking.task import Answer, Wrong, task
from kdcourse.exercises.draws import whole_number

TILE = (13, 64, 64)  # EuroSAT's own size; D1 made its tiles 32×32


# --- map sizes ------------------------------------------------------------------------------------


@task(
    "ex02",
    title="The size of the map",
    minutes=6,
    difficulty="easy",
    points=1,
    hints=(
        "Padding adds 2 · padding pixels; the kernel's first place uses up `kernel` of them; then "
        "count the steps.",
        "⌊(n + 2 · padding − kernel) / stride⌋ + 1. Each layer gets what the one before it put "
        "out.",
    ),
)
def map_sizes(answer: Answer, rng: torch.Generator) -> None:
    """The side of the map after each of some layers (kernel, stride, padding), for an input of any
    side.
    """
    layers = [
        (whole_number(rng, 1, 7), whole_number(rng, 1, 3), whole_number(rng, 0, 3))
        for _ in range(4)
    ]
    cases = [
        (32, [(7, 2, 3), (3, 2, 1)]),
        (33, [(3, 2, 1), (3, 2, 0), (2, 2, 0)]),
        (32, [(5, 3, 1), (4, 3, 0)]),
        (
            whole_number(rng, 260, 340),
            [(k, s, min(p, k // 2)) for k, s, p in layers],
        ),  # 260: room for four of 7 by 3
        (whole_number(rng, 24, 96), [(5, 3, 0)]),
    ]
    given = [answer(side, layers) for side, layers in cases]
    came = [
        expect.shape(got, (len(layers),), of="the sizes").tolist()
        for got, (_, layers) in zip(given, cases, strict=True)
    ]
    right = [_chain(side, layers, _pooled) for side, layers in cases]
    if came == right:
        return
    first = next(i for i in range(len(cases)) if came[i] != right[i])
    side, layers = cases[first]
    message = f"A map of {side} and the layers (kernel, stride, padding) {layers}: "
    message += f"expected {right[first]}, got {given[first]}."
    for fault, size, why in _WRONG_SIZES:
        if came == [_chain(side, layers, size) for side, layers in cases]:
            raise Wrong(f"{message} {why}", fault)
    if came == [[_pooled(side, *layer) for layer in layers] for side, layers in cases]:
        raise Wrong(
            f"{message} Each layer was given the first map. It sees what the layer before it put "
            "out.",
            "not chained",
        )
    raise Wrong(message, "sizes")


_WRONG_SIZES = (  # n: side, k: kernel, s: stride, p: padding
    (
        "stride only",
        lambda n, k, s, p: n // s,
        "Kernel and padding count as well, not only the stride.",
    ),
    (
        "plus one",
        lambda n, k, s, p: (n + 2 * p - k) // s,
        "One is missing: the kernel's first place counts too.",
    ),
    ("one side", lambda n, k, s, p: (n + p - k) // s + 1, "Padding is added on *both* sides."),
    ("no padding", lambda n, k, s, p: (n - k) // s + 1, "The padding is missing."),
    (
        "rounded up",
        lambda n, k, s, p: -((k - n - 2 * p) // s) + 1,
        "Where the kernel does not fit wholly: round down.",
    ),
    (
        "nearest",
        lambda n, k, s, p: round((n + 2 * p - k) / s) + 1,
        "Round down, not to the nearest.",
    ),
    (
        "nearest",
        lambda n, k, s, p: round((n + 2 * p - k) / s + 1),
        "Round down, not to the nearest.",
    ),
    (
        "stride later",
        lambda n, k, s, p: (n + 2 * p - k + 1) // s,
        "The stride does not divide the one: it is added last.",
    ),
    ("fraction", lambda n, k, s, p: (n + 2 * p - k) / s + 1, "A map has whole pixels: round down."),
)


def _chain(side: int, layers: list[tuple[int, int, int]], size: Callable) -> list:
    sizes = []
    for layer in layers:
        side = size(side, *layer)
        sizes.append(side)
    return sizes


def _pooled(side: int, kernel: int, stride: int, padding: int) -> int:
    return F.conv1d(
        torch.zeros(1, 1, side), torch.zeros(1, 1, kernel), stride=stride, padding=padding
    ).shape[2]


# --- cost of a convolution ------------------------------------------------------------------------


@task(
    "ex02",
    title="The cost of a convolution",
    minutes=10,
    difficulty="medium",
    points=2,
    hints=(
        "First the size of the output map: the formula of task 1, for height and width.",
        "With groups, each filter sees in_channels / groups channels. That holds for weights and "
        "for multiply–adds.",
        "A bias is out_channels more parameters. It is an addition, not a multiply–add: MACs do "
        "not count it.",
    ),
)
def convolution_cost(answer: Answer, rng: torch.Generator) -> None:
    """(parameters, multiply–adds) of a convolution with any kernel, stride, padding, groups and
    bias.
    """
    channels = 8 * whole_number(rng, 2, 6)
    even, odd = 2 * whole_number(rng, 6, 16), 2 * whole_number(rng, 6, 16) + 1
    cases = [  # (C, H, W), out_channels, kernel, stride, padding, groups, bias
        ((channels, even, even), channels, 3, 1, 1, 1, False),
        ((channels, even, odd), 2 * channels, 3, 2, 1, 1, True),
        (
            (channels, even, even),
            channels,
            3,
            2,
            1,
            channels,
            False,
        ),  # depthwise, as in MobileNetV2
        ((channels, odd, even), 2 * channels, 5, 2, 0, 4, True),
    ]
    for shape, *rest in cases:
        _one_cost(answer, shape, *rest)


def _one_cost(
    answer: Answer,
    shape: tuple,
    out: int,
    kernel: int,
    stride: int,
    padding: int,
    groups: int,
    bias: bool,
):
    layer = nn.Conv2d(shape[0], out, kernel, stride, padding, groups=groups, bias=bias)
    cost = models.cost(layer, shape, latency=False)
    got = expect.shape(
        answer(shape, out, kernel, stride, padding, groups, bias), (2,), of="(parameters, macs)"
    )
    if got.tolist() == [cost.macs, cost.parameters]:
        raise Wrong(
            "The two are swapped: (parameters, macs) is the order that was asked for.", "swapped"
        )
    layer_text = (
        f"{shape[1]}×{shape[2]}, {shape[0]} → {out} channels, kernel {kernel}, stride {stride}, "
        f"padding {padding}"
    )
    layer_text += f", groups {groups}, {'with' if bias else 'no'} bias"
    _, height, width = shape
    weights = cost.parameters - out * bias
    pixels = cost.macs // weights  # of the output map
    grouped = f"with groups = {groups} a filter sees only {shape[0] // groups} channels."
    mistakes = _parameter_mistakes(shape, out, kernel, groups, bias, cost, weights, grouped)
    exact = dict(rtol=1e-9, atol=1e-9)
    named = {
        name: (value, f"Too many or too few parameters: {why}")
        for name, (value, why) in mistakes.items()
    }
    expect.close(got[0], cost.parameters, named, of=f"the parameters ({layer_text})", **exact)
    mistakes = _mac_mistakes(
        out, kernel, stride, groups, bias, cost, height, width, weights, pixels, grouped
    )
    named = {
        name: (value, f"Too many or too few multiply–adds: {why}")
        for name, (value, why) in mistakes.items()
    }
    expect.close(got[1], cost.macs, named, of=f"the multiply–adds ({layer_text})", **exact)


def _mac_mistakes(
    out, kernel, stride, groups, bias, cost, height, width, weights, pixels, grouped
) -> dict:
    """Values of the likely mistakes for the multiply–adds, each with a sentence."""
    return {
        "input size": (
            weights * height * width,
            "these are the pixels of the input. The kernel stands at those of the *output* map.",
        ),
        "stride only": (
            weights * (height // stride) * (width // stride),
            "the output map is not size // stride here: kernel and padding count (task 1).",
        ),
        "flops": (2 * cost.macs, "a multiplication and its addition are *one* multiply–add."),
        "bias in macs": (
            cost.macs + out * bias * pixels,
            "a bias is added, not multiplied: MACs leave it out.",
        ),
        "bias counted once": (
            cost.macs + out * bias,
            "a bias is added, not multiplied: MACs leave it out.",
        ),
        "groups": (cost.macs * groups, grouped),
        "groups twice": (
            cost.macs / groups,
            "groups count twice. Only the *input* channels are shared out.",
        ),
        "kernel": (cost.macs / kernel, "a kernel has kernel · kernel places."),
        "no map": (
            cost.parameters,
            "those are the parameters. Each is used at every pixel of the output map.",
        ),
        "no weights": (pixels * out, "each of those numbers is a sum over channels and kernel."),
    }


def _parameter_mistakes(shape, out, kernel, groups, bias, cost, weights, grouped) -> dict:
    """Values of the likely mistakes for the parameters, each with a sentence."""
    return {
        "bias": (
            weights if bias else weights + out,
            f"the bias, a number for each of {out} output channels, is "
            + ("missing." if bias else "counted, though there is none."),
        ),
        "bias of inputs": (weights + shape[0], "a bias is one number for each *output* channel."),
        "groups": (weights * groups + out * bias, grouped),
        "groups twice": (
            weights / groups + out * bias,
            "groups count twice. Only the *input* channels are shared out.",
        ),
        "kernel": (weights / kernel + out * bias, "a kernel has kernel · kernel places."),
        "parameters per pixel": (
            cost.macs,
            "those are multiply–adds. A weight is one parameter, however often it is used.",
        ),
    }


# --- where the work is ----------------------------------------------------------------------------


@task(
    "ex02",
    title="Where the work is",
    minutes=6,
    difficulty="easy",
    points=1,
    hints=(
        "The bars are multiply–adds, not parameters. The title has their sum.",
        "share = 100 · bar / sum. The ratio is the student's sum over the teacher's.",
    ),
)
def work(answer: Answer, rng: torch.Generator) -> None:
    """{"stage": the teacher's busiest, "share": its share of that network's work in %, "ratio":
    student / teacher}.
    """
    teacher, student = _stages()
    given = answer.value()
    keys = ("stage", "share", "ratio")
    if not isinstance(given, dict) or set(given) != set(keys):
        raise Wrong(
            f"Expected a dict with the keys {', '.join(map(repr, keys))}, got {given!r}.", "type"
        )
    stage = expect.one_of(given["stage"], teacher.index.tolist(), of='"stage"')
    busiest = teacher.macs.idxmax()
    if stage != busiest:
        most = teacher.parameters.idxmax()
        if stage == most:
            raise Wrong(
                f"{stage} holds most parameters. Another stage does most of the work: read the "
                "bars.",
                "parameters",
            )
        raise Wrong(f"The bar of {stage} is not the highest of the teacher's.", "stage")
    bar, total = teacher.macs[busiest], teacher.macs.sum()
    expect.read_off(
        given["share"],
        100 * bar / total,
        within=2,
        of='"share", in %',
        mistakes=_share_mistakes(teacher, student, busiest, bar, total),
    )
    ratio = student.macs.sum() / teacher.macs.sum()
    expect.read_off(
        given["ratio"],
        ratio,
        within=0.03 * ratio,
        of='"ratio"',
        mistakes={
            "turned over": (
                1 / ratio,
                "That is the teacher's work over the student's; the student's is the larger.",
            ),
            "parameters": (
                student.parameters.sum() / teacher.parameters.sum(),
                "That is a ratio of parameters.",
            ),
        },
    )


def _share_mistakes(teacher, student, busiest, bar, total) -> dict:
    """Values of the likely mistakes for the share, each with a sentence."""
    return {
        "fraction": (bar / total, "In %, please."),
        "parameters": (
            100 * teacher.parameters[busiest] / teacher.parameters.sum(),
            "That is its share of parameters.",
        ),
        "of the student": (
            100 * bar / student.macs.sum(),
            "You divided by the student's work.",
        ),
        "of both": (
            100 * bar / (total + student.macs.sum()),
            "You divided by the work of both networks.",
        ),
        "millions": (bar / 1e6, "That is the bar itself, in millions: divide by the sum."),
    }


@lru_cache(maxsize=1)
def _stages() -> tuple[pd.DataFrame, pd.DataFrame]:
    return tuple(
        models.stages(model, TILE).set_index("stage")
        for model in (models.d1_teacher(), models.d1_student())
    )
