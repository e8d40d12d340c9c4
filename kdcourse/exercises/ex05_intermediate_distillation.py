"""Checks of exercise 05: intermediate distillation."""

import math
from collections.abc import Mapping
from functools import cache
from itertools import product

import numpy as np
import torch
from torch.nn import functional as F

from kdcourse.checking import expect, safe_call
from kdcourse.checking.task import Answer, Wrong, task
from kdcourse.distillation import forward_with_features, intermediate
from kdcourse.experiments.benchmark import Benchmark
from kdcourse.models.resnet import d1_student, d1_teacher

STAGES = ("layer1", "layer2", "layer3", "layer4")
TABLE = Benchmark.PUBLISHED.published.unstack().droplevel(
    "data"
)  # (4 pairs, 9 arms), test accuracy, %
NOISE = 0.3  # points by which two runs of the same code may differ


@cache
def _stage_shapes() -> dict[str, dict[str, tuple]]:
    """{"student" or "teacher": {stage: (C, H, W)}} of D1's two networks, for images of 32×32."""
    images = torch.zeros(1, 13, 32, 32)
    with torch.random.fork_rng(devices=[]), torch.no_grad():
        networks = {"student": d1_student().eval(), "teacher": d1_teacher().eval()}
        seen = {
            who: forward_with_features(network, images, STAGES).features
            for who, network in networks.items()
        }
    return {
        who: {stage: tuple(f.shape[1:]) for stage, f in features.items()}
        for who, features in seen.items()
    }


@task(
    "ex05",
    title="Which layers fit?",
    minutes=6,
    difficulty="easy",
    points=1,
    hints=[
        "Height and width are the last two numbers of a shape. The first is the number of "
        "channels.",
        "Go through the student's stages one by one, and look for the same height and width among "
        "the teacher's.",
        "A loop does it: for s in STAGES, for t in STAGES, compare shapes['student'][s][1:] with "
        "shapes['teacher'][t][1:].",
    ],
)
def same_size(answer: Answer, rng: torch.Generator) -> None:
    """Read off which stages of D1's student and teacher have maps of the same height and width."""
    form = 'expected a list of pairs, the student\'s stage first, such as [("layer1", "layer1")]'
    value = answer.value()
    if isinstance(value, Mapping):  # {"layer1": "layer1"}, or a set of pairs
        value = (
            list(value) if all(inner is True for inner in value.values()) else list(value.items())
        )
    if isinstance(value, np.ndarray):
        value = value.tolist()
    if not isinstance(value, list | tuple):
        raise Wrong(f"The answer is {safe_call.type_name(value)}: {form}.", "form")
    pairs = [
        tuple(str(name).lower() for name in pair) if isinstance(pair, list | tuple) else pair
        for pair in value
    ]
    if not all(
        isinstance(pair, tuple) and len(pair) == 2 and set(pair) <= set(STAGES) for pair in pairs
    ):
        raise Wrong(f"The answer is {value!r}: {form}. The stages are {', '.join(STAGES)}.", "form")
    student, teacher = _stage_shapes().values()
    right = {(s, t) for s, t in product(STAGES, STAGES) if student[s][1:] == teacher[t][1:]}
    chosen = set(pairs)
    if chosen == {pair[::-1] for pair in right}:
        raise Wrong(
            "These are the pairs, but the other way round: the student's stage comes first.",
            "swapped",
        )
    for s, t in sorted(chosen - right):
        name, fault = (
            ("The same name does not mean the same size", "names")
            if s == t
            else ("These differ", "size")
        )
        sizes = f"the student's {s} has maps of {_by(student[s])}, the teacher's {t} of {_by(teacher[t])}"
        raise Wrong(f"{name}: {sizes}.", fault)
    if chosen != right:
        raise Wrong(
            f"All of these are right, but there are more: {len(right)} pairs in all.", "missing"
        )


def _by(shape: tuple) -> str:
    return f"{shape[1]}×{shape[2]}"


@task(
    "ex05",
    title="A hint with an adapter of plain tensors",
    minutes=8,
    difficulty="easy",
    points=2,
    hints=[
        "Two things keep the maps from being compared: their sizes and their channels. Settle the "
        "size first. Either "
        "of the two may be the larger.",
        "F.adaptive_avg_pool2d(maps, (h, w)) with the smaller height and width; it leaves maps of "
        "that size as they "
        "are. A 1×1 convolution mixes the channels of each position: torch.einsum('ts,bshw->bthw', "
        "weight, maps).",
        "The bias (Ct,) needs the shape (Ct, 1, 1) to be added to (B, Ct, h, w). Then the mean of "
        "the squares.",
    ],
)
def hint_loss(answer: Answer, rng: torch.Generator) -> None:
    """Write FitNets' loss with an adapter that is two tensors, for maps of any two sizes."""
    for ours, theirs, batch in (
        ((4, 4), (4, 4), 3),
        ((8, 8), (4, 4), 2),
        ((3, 6), (6, 6), 4),
        ((4, 4), (8, 8), 1),
        ((9, 3), (3, 6), 2),
    ):
        student = torch.randn(batch, 3, *ours, generator=rng).relu()
        teacher = 2 * torch.randn(batch, 5, *theirs, generator=rng).relu()
        weight, bias = torch.randn(5, 3, generator=rng), 1 + torch.randn(5, generator=rng)
        size = [min(pair) for pair in zip(ours, theirs, strict=True)]
        larger = [max(pair) for pair in zip(ours, theirs, strict=True)]

        def adapted(maps, bias=bias, weight=weight):
            return F.conv2d(maps, weight[:, :, None, None], bias)

        def resized(size, change, student=student, teacher=teacher):
            return adapted(change(student, size)), change(teacher, size)

        right = resized(size, F.adaptive_avg_pool2d)
        expected = F.mse_loss(*right)
        mistakes = {
            "sum": (
                expected * right[0].numel(),
                "It is the sum of the squares: divide by how many there are.",
            ),
            "batch": (
                expected * right[0][0].numel(),
                "It is the mean over the batch alone: divide by C·h·w too.",
            ),
            "half": (expected / 2, "It is half of what it should be: the formula here has no ½."),
            "root": (
                expected.sqrt(),
                "It is the root of what it should be: the formula has the squares.",
            ),
            "absolute": (F.l1_loss(*right), "It is the mean of |s − t|: take the squares."),
            "bias": (
                F.mse_loss(adapted(F.adaptive_avg_pool2d(student, size), None), right[1]),
                "The bias is missing.",
            ),
            "upsampled": (
                F.mse_loss(*resized(larger, lambda maps, size: F.interpolate(maps, size))),
                "The smaller map was made larger. Average-pool the larger one: to invent pixels "
                "teaches nothing.",
            ),
            "max_pooled": (
                F.mse_loss(*resized(size, F.adaptive_max_pool2d)),
                "The larger map was max-pooled: average.",
            ),
            "skipped": (
                F.mse_loss(*resized(size, lambda maps, size: F.interpolate(maps, size))),
                "Pixels of the larger map were left out. Average-pool it, so that each of them "
                "counts.",
            ),
            "interpolated": (
                F.mse_loss(
                    *resized(size, lambda maps, size: F.interpolate(maps, size, mode="bilinear"))
                ),
                "The larger map was interpolated, which may leave out some of its pixels: "
                "average-pool it.",
            ),
        }
        for name, one in (("student's size", ours), ("teacher's size", theirs)):
            mistakes[name] = (
                F.mse_loss(*resized(one, F.adaptive_avg_pool2d)),
                f"Both were brought to the {name}: take the smaller height and the smaller width "
                "of the two.",
            )
        if ours == theirs:
            mistakes = {name: mistake for name, mistake in mistakes.items() if name not in RESIZING}
        value = expect.scalar(answer(student, teacher, weight, bias), of="the hint loss")
        expect.close(
            value,
            expected,
            mistakes,
            of=f"the hint loss of maps of {_by((0, *ours))} and {_by((0, *theirs))}",
        )


RESIZING = (
    "upsampled",
    "max_pooled",
    "skipped",
    "interpolated",
    "student's size",
    "teacher's size",
)


@task(
    "ex05",
    title="The paper's loss, the code's weight",
    minutes=12,
    difficulty="medium",
    points=2,
    hints=[
        "First q of both networks: the squares summed over the channels, flattened to (B, H·W), "
        "each row divided by "
        "its own length.",
        "With d = q_s − q_t, (B, H·W): the paper has the mean over the batch of the length of d, "
        "the code the mean of "
        "all squares of d.",
        "w · code = β/2 · paper. Solve it for w.",
    ],
)
def code_weight(answer: Answer, rng: torch.Generator) -> None:
    """Find the weight that makes the code's attention term as large as the paper's."""
    for batch, size in ((4, 3), (1, 4), (6, 2)):
        student = torch.randn(batch, 3, size, size, generator=rng) + torch.rand(
            batch, 3, 1, 1, generator=rng
        )
        student = (
            student * torch.logspace(-1, 1, batch)[:, None, None, None]
        )  # of images of unequal strength
        teacher = 2 * torch.randn(batch, 5, size, size, generator=rng)
        beta = 1 + 9 * torch.rand((), generator=rng).item()
        paper, code = (
            intermediate.attention_transfer_loss(student, teacher, mode)
            for mode in ("paper", "code")
        )
        expected = beta / 2 * paper / code

        def of(normalise, power=2, student=student, teacher=teacher, beta=beta):
            q_s, q_t = (
                normalise(intermediate.attention_map(f, power).flatten(1))
                for f in (student, teacher)
            )
            d = q_s - q_t
            return beta / 2 * d.norm(dim=1).mean() / d.pow(2).mean()

        d = (
            F.normalize(intermediate.attention_map(student).flatten(1))
            - F.normalize(intermediate.attention_map(teacher).flatten(1))
        )  # fmt: skip
        mistakes = {
            "half": (
                2 * expected,
                "It is twice as large as it should be: the paper's formula has β/2.",
            ),
            "beta": (expected / beta, "β is missing: the paper's term is β/2 times the length."),
            "inverse": (
                1 / expected,
                "This is how many times the code's term fits the other way: w · code = paper.",
            ),
            "inverse_beta": (
                beta / 2 * code / paper,
                "Code and paper have changed places: w · code = β/2 · paper.",
            ),
            "pixels": (
                expected / size**2,
                "It is H·W times too small: the code's term is a *mean*, over images and pixels.",
            ),
            "squared": (
                beta / 2 * d.pow(2).sum(1).mean() / code,
                "The paper's term is the length of d, not its square: a root is missing.",
            ),
            "whole": (
                beta / 2 * d.norm() / code,
                "The length was taken over the whole batch at once. It is one length an image, "
                "then their mean.",
            ),
            "mean_outside": (
                beta / 2 * d.pow(2).sum(1).mean().sqrt() / code,
                "The mean over the images was taken before the root. Take each image's length "
                "first.",
            ),
            "not_normalised": (
                of(lambda q: q),
                "The attention maps were not divided by their lengths.",
            ),
            "batch_normalised": (
                of(lambda q: q / q.norm()),
                "The maps were divided by one length of the whole batch: each image has its own.",
            ),
            "sum_normalised": (
                of(lambda q: q / q.sum(1, keepdim=True)),
                "Each map was divided by its sum: the formula divides by its length ‖·‖₂.",
            ),
            "absolute": (
                of(F.normalize, 1),
                "The attention map sums |A|: it should sum the squares.",
            ),
        }
        if batch == 1:  # where these are no mistakes
            for name in ("whole", "mean_outside", "batch_normalised"):
                del mistakes[name]
        value = expect.scalar(answer(student, teacher, beta), of="the weight")
        expect.close(
            value, expected, mistakes, of=f"the weight for {batch} image(s) of {size}×{size}"
        )


@task(
    "ex05",
    title="Angles between three images",
    minutes=15,
    difficulty="hard",
    points=3,
    hints=[
        "Start from differences: e[j, i] = f_i − f_j, of shape (B, B, C), is features[None] − "
        "features[:, None].",
        "Divide each by its length, then multiply: cosines[j, i, k] = e[j, i] · e[j, k] is e @ "
        "e.transpose(1, 2). "
        "The difference of an image from itself has length 0: F.normalize leaves it at 0.",
        "F.smooth_l1_loss is the Huber loss that turns linear at 1, with the mean over all B³ "
        "entries.",
    ],
)
def angle_loss(answer: Answer, rng: torch.Generator) -> None:
    """Write the angle part of relational distillation, which compares images by threes."""
    for batch, ours, theirs in ((5, 2, 3), (8, 4, 6), (3, 7, 2), (1, 3, 4)):
        student = torch.randn(batch, ours, generator=rng) + 3
        teacher = torch.randn(batch, theirs, generator=rng) * torch.rand(theirs, generator=rng)
        expected = intermediate.relational_angle_loss(student, teacher)
        value = _number(answer(student, teacher), of="the angle loss")
        if not math.isfinite(value):
            raise Wrong(
                f"The loss is {value:g}. The difference of an image from itself has length 0, and "
                "0 / 0 is not a "
                "number: leave such a vector at 0. F.normalize does.",
                "zero_vector",
            )
        expect.close(
            value,
            expected,
            _angle_mistakes(student, teacher, expected),
            of="the angle loss",
            atol=1e-5,
        )


def _angle_mistakes(student: torch.Tensor, teacher: torch.Tensor, expected: torch.Tensor) -> dict:
    features, batch = (student, teacher), len(student)
    differences = [f[None] - f[:, None] for f in features]
    cosines = [e @ e.mT for e in map(_unit, differences)]
    lengths = [e @ e.mT for e in differences]
    pairs = [_unit(f) @ _unit(f).T for f in features]
    gap = cosines[0] - cosines[1]
    i = torch.arange(batch)
    distinct = (i[:, None, None] != i[:, None]) & (i[:, None, None] != i) & (i[:, None] != i)
    return {
        "sum": (
            expected * batch**3,
            "It is the sum over all threes: take the mean over all B³ of them.",
        ),
        "squared": (
            gap.pow(2).mean(),
            "It is the mean square: the Huber loss is ½x² up to 1, and |x| − ½ beyond.",
        ),
        "half_square": (
            gap.pow(2).mean() / 2,
            "It is ½x² everywhere: the Huber loss turns linear at 1, |x| − ½. Cosines may differ "
            "by up to 2.",
        ),
        "absolute": (
            gap.abs().mean(),
            "It is the mean of |x|: the Huber loss is ½x² up to 1, and |x| − ½ beyond.",
        ),
        "lengths": (
            F.smooth_l1_loss(*lengths),
            "These are products of the differences, not cosines: divide each difference by its "
            "length first.",
        ),
        "not_relative": (
            F.smooth_l1_loss(*pairs),
            "This compares the features themselves, two at a time. The angle is at image j, "
            "between the ways from "
            "it to i and to k: take differences first.",
        ),
        "radians": (
            F.smooth_l1_loss(*(c.clamp(-1, 1).acos() for c in cosines)),
            "These are the angles themselves: the loss compares their cosines.",
        ),
        "distinct": (
            F.smooth_l1_loss(*(c[distinct] for c in cosines)),
            "This is the mean over three *different* images. The formula averages all B³, of which "
            "some are 0.",
        ),
        "neighbours": (
            _without_self(cosines),
            "The threes with i = j or k = j were left out of the mean. The formula averages all "
            "B³; these are 0.",
        ),
    }


def _number(value, of: str) -> float:
    """One number, which may be NaN or infinite."""
    came = expect.tensor(value, of)
    return came.item() if came.numel() == 1 else expect.scalar(value, of)


def _unit(vectors: torch.Tensor) -> torch.Tensor:
    return F.normalize(vectors, dim=-1)


def _without_self(cosines: list[torch.Tensor]) -> torch.Tensor:
    """The loss over the (j, i, k) in which neither i nor k is j."""
    other = ~torch.eye(len(cosines[0]), dtype=torch.bool)
    kept = other[:, :, None] & other[:, None]
    return F.smooth_l1_loss(*(c[kept] for c in cosines))


@task(
    "ex05",
    title="How heavy may a hint be?",
    minutes=10,
    difficulty="medium",
    points=2,
    hints=[
        "To first order, a step −η·s changes a loss with gradient g by −η g·s. Here s = g_label + "
        "w·g_hint.",
        "The label's loss falls while g_label·g_label + w·(g_label·g_hint) > 0. When can a large w "
        "make it negative?",
        "Lay all tensors of a list end to end, so that each gradient is one long vector. If their "
        "product is 0 or "
        "more, no weight is too large: float('inf').",
    ],
)
def largest_weight(answer: Answer, rng: torch.Generator) -> None:
    """Find the weight of the hint beyond which a small step raises the label's loss."""
    for opposed in (True, False, True):
        label = torch.randn(20, generator=rng)
        across = torch.randn(20, generator=rng)
        across -= label * (across @ label) / (label @ label)
        cosine = (0.3 + 0.6 * torch.rand((), generator=rng)) * (-1 if opposed else 1)
        length = 0.5 + 4 * torch.rand((), generator=rng)
        hint = length * (cosine * _unit(label) + (1 - cosine**2).sqrt() * _unit(across))
        label, hint = label * 0.7, hint * label.norm()
        product, square = label @ hint, label @ label
        came = answer(*map(_as_layers, (label, hint)))
        value = None if came is None and not opposed else _number(came, of="the largest weight")
        if not opposed:
            if value == math.inf:
                continue
            raise Wrong(
                "Here the two gradients pull the same way: their product is positive, so a step "
                "down either lowers "
                "the label's loss, whatever the weight. Expected float('inf'), got "
                f"{'None' if value is None else f'{value:g}'}.",
                "no_limit",
            )
        expected = -square / product
        if math.isinf(value):
            raise Wrong(
                f"The answer is {value:g}, but here the gradients pull apart (their product is "
                f"{product:.3g}): with a "
                "heavy hint the label's loss rises.",
                "always_infinite",
            )
        each = [
            -(a * a).sum() / (a * b).sum()
            for a, b in zip(*map(_as_layers, (label, hint)), strict=True)
        ]
        mistakes = {
            "sign": (
                -expected,
                "The size is right, but a weight is positive: look at the sign of the product.",
            ),
            "inverse": (
                1 / expected,
                "This is the inverse: solve ‖g_label‖² + w (g_label · g_hint) = 0 for w.",
            ),
            "hint_length": (
                -(hint @ hint) / product,
                "‖g_hint‖² stands where ‖g_label‖² belongs: it is the label's loss that must fall.",
            ),
            "length": (
                -square.sqrt() / product,
                "‖g_label‖ is not squared: the product g_label · g_label is.",
            ),
            "cosine": (
                -1 / F.cosine_similarity(label, hint, dim=0),
                "The cosine forgets how long the gradients are: use their product.",
            ),
            "lengths": (
                label.norm() / hint.norm(),
                "This makes the two equally long. It forgets their angle.",
            ),
            "per_layer": (
                torch.stack(each).mean(),
                "The mean over the layers of each layer's answer: a step is taken in all layers at "
                "once. Sum the "
                "products over all of them first.",
            ),
            "first_layer": (each[0], "Only the first tensor was used: sum over all of them."),
            "least_layer": (
                min([e for e in each if e > 0], default=expected),
                "The least over the layers: a step is taken in all layers at once. Sum the "
                "products over all of them.",
            ),
        }
        expect.close(value, expected, mistakes, of="the largest weight")


def _as_layers(vector: torch.Tensor) -> list[torch.Tensor]:
    """20 numbers as the gradients of three parameters."""
    return [vector[:12].reshape(3, 4), vector[12:16], vector[16:].reshape(1, 1, 2, 2)]


def _published_sentences() -> dict[str, tuple[bool, str, str]]:
    """Letter → whether the published table bears the sentence out, the fault of those who err,
    where to look.
    """
    gains = TABLE.sub(TABLE["labels"], axis=0)
    features = ["FitNets", "AT", "SP", "relational KD", "CRD"]
    over_kd = TABLE[features].sub(TABLE["KD"], axis=0)
    first = "ResNet32x4 → ResNet8x4"
    worst = gains[features].stack().idxmin()
    hint = over_kd["FitNets"]
    orders = TABLE["AT"] > TABLE["SP"]
    above_teacher = TABLE.drop(columns=["teacher"]).max(axis=1) - TABLE["teacher"]
    return {
        "a": (
            bool((gains[features] > 0).all(axis=None)),
            "every pair",
            f"Look at {worst[1]} on {worst[0]}: {gains.loc[worst]:+.2f} points against labels.",
        ),
        "b": (
            bool(abs(hint[first]) > NOISE),
            "noise",
            f"FitNets is {hint[first]:+.2f} points from KD there, one figure each, and two runs of "
            "the same code may "
            f"differ by {NOISE} points.",
        ),
        "c": (
            bool((hint.drop(first) < -NOISE).all()),
            "noise",
            "FitNets less KD on the other three pairs: "
            f"{', '.join(f'{gain:+.2f}' for gain in hint.drop(first))}. "
            f"Compare that with {NOISE} points.",
        ),
        "d": (
            list(over_kd.columns[(over_kd > 0).all()]) == ["CRD"],
            "only one",
            "Subtract the column of KD: see which of the five has four positive figures.",
        ),
        "e": (
            orders.nunique() == 1,
            "one ranking",
            f"AT is above SP on {orders.sum()} pairs of {len(orders)}: a ranking from one pair "
            "need not hold on "
            "another.",
        ),
        "f": (
            bool((above_teacher > NOISE).any()),
            "above teacher",
            "The best student less its teacher, by pair: "
            f"{', '.join(f'{gap:+.2f}' for gap in above_teacher)} points.",
        ),
    }


@task(
    "ex05",
    title="What does the table say?",
    minutes=7,
    difficulty="medium",
    points=2,
    hints=[
        "Do not trust the eye: let pandas subtract a column from the others, "
        "table.sub(table['KD'], axis=0).",
        "For each sentence ask two things: is it so in the table, and does it claim more than "
        "these figures can show?",
        "Three of the six sentences hold.",
    ],
)
def supported(answer: Answer, rng: torch.Generator) -> None:
    """Judge which of six sentences the published table bears out."""
    expect.statements(answer.value(), _published_sentences())
