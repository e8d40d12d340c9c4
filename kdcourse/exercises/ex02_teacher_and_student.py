"""Exercise 02, teacher and student: map sizes, cost of a convolution, a block by hand, a pair read
off and chosen.
"""

from collections.abc import Callable
from functools import lru_cache, partial

import pandas as pd
import torch
from torch import nn
from torch.nn import functional as F
from torchvision.models.resnet import BasicBlock

from kdcourse import models
from kdcourse.checking import expect
from kdcourse.checking.task import Answer, Wrong, task

TILE = (13, 64, 64)  # EuroSAT's own size; D1 made its tiles 32×32
POINTS, TIMES = (
    3,
    5,
)  # what makes a pair worth distilling: points of accuracy, times fewer multiply–adds


def _between(low: int, high: int, rng: torch.Generator) -> int:
    return int(torch.randint(low, high + 1, (), generator=rng))


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
    layers = [(_between(1, 7, rng), _between(1, 3, rng), _between(0, 3, rng)) for _ in range(4)]
    cases = [
        (32, [(7, 2, 3), (3, 2, 1)]),
        (33, [(3, 2, 1), (3, 2, 0), (2, 2, 0)]),
        (32, [(5, 3, 1), (4, 3, 0)]),
        (
            _between(260, 340, rng),
            [(k, s, min(p, k // 2)) for k, s, p in layers],
        ),  # 260: room for four of 7 by 3
        (_between(24, 96, rng), [(5, 3, 0)]),
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
    said = f"A map of {side} and the layers (kernel, stride, padding) {layers}: "
    said += f"expected {right[first]}, got {given[first]}."
    for fault, size, why in _WRONG_SIZES:
        if came == [_chain(side, layers, size) for side, layers in cases]:
            raise Wrong(f"{said} {why}", fault)
    if came == [[_pooled(side, *layer) for layer in layers] for side, layers in cases]:
        raise Wrong(
            f"{said} Each layer was given the first map. It sees what the layer before it put out.",
            "not chained",
        )
    raise Wrong(said, "sizes")


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
    channels = 8 * _between(2, 6, rng)
    even, odd = 2 * _between(6, 16, rng), 2 * _between(6, 16, rng) + 1
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
    what = f"{shape[1]}×{shape[2]}, {shape[0]} → {out} channels, kernel {kernel}, stride {stride}, padding {padding}"
    what += f", groups {groups}, {'with' if bias else 'no'} bias"
    _, height, width = shape
    weights = cost.parameters - out * bias
    pixels = cost.macs // weights  # of the output map
    grouped = f"with groups = {groups} a filter sees only {shape[0] // groups} channels."
    mistakes = {
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
    exact = dict(rtol=1e-9, atol=1e-9)
    said = {
        name: (value, f"Too many or too few parameters: {why}")
        for name, (value, why) in mistakes.items()
    }
    expect.close(got[0], cost.parameters, said, of=f"the parameters ({what})", **exact)
    mistakes = {
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
    said = {
        name: (value, f"Too many or too few multiply–adds: {why}")
        for name, (value, why) in mistakes.items()
    }
    expect.close(got[1], cost.macs, said, of=f"the multiply–adds ({what})", **exact)


# --- a residual block in eval mode ----------------------------------------------------------------


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


def _wrong_blocks() -> dict:
    def none(x, w, stride, norm):
        return 0

    def bare(x, w, stride, norm):
        return (
            F.conv2d(x, w["downsample.0.weight"], stride=stride)
            if "downsample.0.weight" in w
            else x
        )

    def pooled(x, w, stride, norm):
        return (
            F.conv2d(F.avg_pool2d(x, stride), w["downsample.0.weight"])
            if "downsample.0.weight" in w
            else x
        )

    def early(x, w, stride):
        y = F.relu(_norm(F.conv2d(x, w["conv1.weight"], stride=stride, padding=1), w, "bn1"))
        y = F.relu(_norm(F.conv2d(y, w["conv2.weight"], padding=1), w, "bn2"))
        return y + _shortcut(x, w, stride, _norm)

    def twice(x, w, stride):
        y = F.relu(_norm(F.conv2d(x, w["conv1.weight"], stride=stride, padding=1), w, "bn1"))
        y = F.relu(_norm(F.conv2d(y, w["conv2.weight"], padding=1), w, "bn2"))
        return F.relu(y + _shortcut(x, w, stride, _norm))

    def with_(**new):
        return lambda x, w, stride: _forward(x, w, stride, **new)

    def norm_by(**new):
        return with_(norm=lambda x, w, name: _norm(x, w, name, **new))

    return {
        "no shortcut": (
            with_(shortcut=none),
            "The shortcut is missing: x is added before the last ReLU.",
        ),
        "batch statistics": (
            with_(norm=_of_batch),
            "Batch norm took mean and variance of the batch, as in train mode. "
            "In eval mode it takes running_mean and running_var.",
        ),
        "relu before adding": (early, "The last ReLU comes *after* the addition."),
        "relu too often": (twice, "There is no ReLU between bn2 and the addition."),
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
            with_(shortcut=bare),
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
    said = answer.value()
    keys = ("stage", "share", "ratio")
    if not isinstance(said, dict) or set(said) != set(keys):
        raise Wrong(
            f"Expected a dict with the keys {', '.join(map(repr, keys))}, got {said!r}.", "type"
        )
    stage = expect.one_of(said["stage"], teacher.index.tolist(), of='"stage"')
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
        said["share"],
        100 * bar / total,
        within=2,
        of='"share", in %',
        mistakes={
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
        },
    )
    ratio = student.macs.sum() / teacher.macs.sum()
    expect.read_off(
        said["ratio"],
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


@lru_cache(maxsize=1)
def _stages() -> tuple[pd.DataFrame, pd.DataFrame]:
    return tuple(
        models.stages(model, TILE).set_index("stage")
        for model in (models.d1_teacher(), models.d1_student())
    )


# --- choose a pair --------------------------------------------------------------------------------


@task(
    "ex02",
    title="Choose a pair",
    minutes=12,
    difficulty="medium",
    points=2,
    hints=(
        "Which columns count? Neither the parameters nor the test accuracy.",
        "Look at all pairs with two loops, and keep those that fulfil both conditions.",
        "Of those, the best student; if several teachers fit it, the most accurate of them: "
        "max(pairs, key=lambda pair: (student's accuracy, teacher's accuracy)).",
    ),
)
def choose_pair(answer: Answer, rng: torch.Generator) -> None:
    """(teacher, student) of a table of networks, or None: a better teacher, a cheaper student, by
    the right columns.
    """
    tables = [_exactly()] + [
        _networks(rng, lambda networks: _pair(networks) is None) for _ in range(2)
    ]
    for _, wrong, _ in _WRONG_PAIRS:  # a table for every mistake, on which it shows
        tables.append(
            _networks(
                rng, lambda networks, wrong=wrong: _pair(networks) not in (None, wrong(networks))
            )
        )
    came = []
    for networks in tables:
        got, names = answer(networks), [network["name"] for network in networks]
        if got is not None and not (
            isinstance(got, list | tuple)
            and len(got) == 2
            and all(isinstance(each, str) and each in names for each in got)
        ):
            raise Wrong(
                f"Expected a pair of names (teacher, student), or None, got {got!r}.", "type"
            )
        came.append(got if got is None else tuple(got))
    right = [_pair(networks) for networks in tables]
    if came == right:
        return
    first = next(i for i in range(len(tables)) if came[i] != right[i])
    shown = pd.DataFrame(tables[first]).to_string(index=False)
    said = f"In this table\n{shown}\nexpected {right[first]}, got {came[first]}."
    for whole in (True, False):  # if no mistake explains the pairs, one may explain the students
        for fault, wrong, why in _WRONG_PAIRS:
            instead = [wrong(networks) for networks in tables]
            if (
                came == instead
                or not whole
                and _students(right) != _students(came) == _students(instead)
            ):
                raise Wrong(f"{said}\n{why}", fault)
    if came[0] is None and came[1:] == right[1:]:
        raise Wrong(
            f"{said}\nExactly {POINTS} points and exactly {TIMES} times are enough: `>=`, not `>`.",
            "exactly",
        )
    raise Wrong(
        f"{said}\n{_facts(tables[first], came[first])}", "pair" if came[first] else "none found"
    )


def _networks(rng: torch.Generator, wanted: Callable) -> list[dict]:
    """A wanted table, in which parameters, test accuracy, and the order of the rows mislead."""
    names = [f"net-{letter}" for letter in "ABCDEF"]
    while True:
        macs = (10 ** (5.5 + 3 * torch.rand(len(names), generator=rng))).round().long().tolist()
        accuracies = [
            78 + torch.randperm(60, generator=rng)[: len(names)] / 4 for _ in range(2)
        ]  # no two alike
        networks = [
            dict(
                name=name,
                parameters=1000 * _between(50, 30_000, rng),
                macs=each,
                val_accuracy=val,
                test_accuracy=test,
            )
            for name, each, val, test in zip(
                names, macs, *(each.tolist() for each in accuracies), strict=True
            )
        ]
        leads = {
            abs(one["val_accuracy"] - other["val_accuracy"])
            for one in networks
            for other in networks
        }
        if POINTS not in leads and wanted(networks):
            return networks


def _exactly() -> list[dict]:
    """A table whose only pair just fulfils both conditions."""
    columns = ("name", "parameters", "macs", "val_accuracy", "test_accuracy")
    rows = (
        ("net-A", 2_000_000, 10_000_000, 86.5, 85.0),
        ("net-B", 1_000_000, 2_000_000, 83.5, 84.0),
    )
    return [dict(zip(columns, row, strict=True)) for row in rows]


def _pair(
    networks: list[dict],
    accuracy: str = "val_accuracy",
    size: str = "macs",
    points: float = POINTS,
    times: float = TIMES,
    factor: float = 1.0,
    best: Callable | None = None,
) -> tuple[str, str] | None:
    """The pair with the most accurate student, and of those the one with the most accurate
    teacher.
    """
    best = best or (lambda teacher, student: (student[accuracy], teacher[accuracy]))
    pairs = [
        (teacher, student)
        for teacher in networks
        for student in networks
        if teacher is not student
        and teacher[accuracy] >= factor * student[accuracy] + points
        and teacher[size] >= times * student[size]
    ]
    return tuple(one["name"] for one in max(pairs, key=lambda pair: best(*pair))) if pairs else None


def _students(pairs: list[tuple | None]) -> list[str | None]:
    return [pair and pair[1] for pair in pairs]


def _extremes(networks: list[dict], column: str) -> tuple[str, str]:
    ranked = sorted(networks, key=lambda network: network[column])
    return ranked[-1]["name"], ranked[0]["name"]


_WRONG_PAIRS = (
    (
        "parameters",
        partial(_pair, size="parameters"),
        "Parameters are not cost: compare multiply–adds.",
    ),
    (
        "test",
        partial(_pair, accuracy="test_accuracy"),
        "You chose by test accuracy. Validation chooses; test is for the end.",
    ),
    (
        "swapped",
        lambda networks: (_pair(networks) or ())[::-1] or None,
        "The order is (teacher, student).",
    ),
    (
        "best teacher first",
        partial(
            _pair, best=lambda teacher, student: (teacher["val_accuracy"], student["val_accuracy"])
        ),
        "You took the best teacher and then a student. It is the student that will be used: the "
        "best *student* first.",
    ),
    (
        "cheapest student",
        partial(_pair, best=lambda teacher, student: (-student["macs"], teacher["val_accuracy"])),
        "You took the cheapest student. Of those that are cheap enough, the most accurate was "
        "asked for.",
    ),
    (
        "widest lead",
        partial(
            _pair, best=lambda teacher, student: teacher["val_accuracy"] - student["val_accuracy"]
        ),
        "You took the widest lead, which a poor student makes wide. The most accurate student was "
        "asked for.",
    ),
    (
        "cheapest teacher",
        partial(_pair, best=lambda teacher, student: (student["val_accuracy"], -teacher["macs"])),
        "The student is right; of the teachers that fit it, the most accurate was asked for.",
    ),
    (
        "not better",
        partial(_pair, points=0),
        f"The teacher must be at least {POINTS} points better, by validation.",
    ),
    (
        "not better",
        partial(_pair, points=-100),
        f"The teacher must be at least {POINTS} points better, by validation.",
    ),
    (
        "percent",
        partial(_pair, points=0, factor=1 + POINTS / 100),
        f"{POINTS} points were asked for, not {POINTS} % of the student's accuracy: subtract.",
    ),
    (
        "not cheaper",
        partial(_pair, times=1),
        f"The student must need at least {TIMES} times fewer multiply–adds.",
    ),
    (
        "not cheaper",
        partial(_pair, times=0),
        f"The student must need at least {TIMES} times fewer multiply–adds.",
    ),
    (
        "not cheaper",
        partial(_pair, times=1 / TIMES),
        f"The student must need {TIMES} times fewer: turn the ratio over.",
    ),
    (
        "largest and smallest",
        partial(_extremes, column="macs"),
        "The largest network need not be the best: look at accuracy.",
    ),
    (
        "best and worst",
        partial(_extremes, column="val_accuracy"),
        "The best and the worst: look at what they cost.",
    ),
)


def _facts(networks: list[dict], pair: tuple[str, str] | None) -> str:
    if pair is None:
        return "There is a pair that fulfils both conditions."
    teacher, student = (next(each for each in networks if each["name"] == name) for name in pair)
    lead, ratio = (
        teacher["val_accuracy"] - student["val_accuracy"],
        teacher["macs"] / student["macs"],
    )
    return f"On validation your teacher leads by {lead:+g} points; your student needs 1/{ratio:.2f} of its multiply–adds."


# --- which of these hold? -------------------------------------------------------------------------


@task(
    "ex02",
    title="Statements that hold",
    minutes=8,
    difficulty="medium",
    points=2,
    hints=(
        "Each can be tried in a line or two: models.cost(network, (13, 32, 32), latency=False), or "
        "its answers.",
        "For D and E build a thin network, put it into the mode that the statement names, and ask "
        "it twice.",
    ),
)
def claims(answer: Answer, rng: torch.Generator) -> None:
    """The letters of the statements that hold."""
    known = _claims()
    letters = expect.letters(answer.value(), known)
    for letter, (holds, seen) in known.items():
        if (letter in letters) != holds:
            raise Wrong(f"Look at {letter} again. Measured: {seen}.", f"claim {letter}")


@lru_cache(maxsize=1)
def _claims() -> dict[str, tuple[bool, str]]:
    """Each statement of the notebook tried: whether it holds, and what was seen."""

    def cost(network, side=32):
        return models.cost(network, (13, side, side), latency=False)

    wide, narrow = (cost(models.thin_resnet(8, width, channels=13)) for width in (32, 16))
    small, large = cost(models.d1_teacher()), cost(models.d1_teacher(), side=64)
    student = cost(models.d1_student())
    ordinary = models.cost(nn.Conv2d(64, 64, 3, padding=1), (64, 16, 16), latency=False).macs
    separable = nn.Sequential(nn.Conv2d(64, 64, 3, padding=1, groups=64), nn.Conv2d(64, 64, 1))
    share = models.cost(separable, (64, 16, 16), latency=False).macs / ordinary

    torch.manual_seed(0)
    network, images = models.thin_resnet(8, 8, channels=13), torch.randn(8, 13, 16, 16)
    with torch.no_grad():
        network.eval()
        apart = (network(images)[0] - network(images[:2])[0]).abs().max().item()
        before = {name: value.clone() for name, value in network.state_dict().items()}
        network.train()(images)
    moved = [
        name for name, value in network.state_dict().items() if not torch.equal(value, before[name])
    ]
    return {
        "A": (
            wide.macs < 2.5 * narrow.macs,
            f"{wide.macs / narrow.macs:.2f} times the multiply–adds",
        ),
        "B": (
            small.parameters == large.parameters and abs(large.macs / small.macs - 4) < 0.1,
            f"{large.parameters / small.parameters:g} times the parameters, "
            f"{large.macs / small.macs:.2f} times the "
            "multiply–adds",
        ),
        "C": (share < 1 / 5, f"{share:.3f} of the multiply–adds"),
        "D": (
            apart > 1e-3,
            f"the logits of one image, in two batches, differ by at most {apart:.1g}",
        ),
        "E": (
            bool(moved),
            f"{len(moved)} entries of the state dict have changed, for example {moved[:1]}",
        ),
        "F": (
            student.parameters < small.parameters and student.macs < small.macs,
            f"{student.parameters / small.parameters:.2f} times the teacher's parameters, "
            f"{student.macs / small.macs:.2f} times its multiply–adds",
        ),
    }
