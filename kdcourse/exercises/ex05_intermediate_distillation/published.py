"""The judges of the largest weight and of claims about published results."""

import math

import torch
from torch.nn import functional as F

from kdcourse.checking import expect
from kdcourse.checking.task import Answer, Wrong, task
from kdcourse.exercises.ex05_intermediate_distillation.relations import any_number, unit_length
from kdcourse.experiments.benchmark import Benchmark

TABLE = Benchmark.PUBLISHED.published.unstack().droplevel(
    "data"
)  # (4 pairs, 9 arms), test accuracy, %


NOISE = 0.3  # points by which two runs of the same code may differ


@task(
    "ex05",
    title="How heavy may a hint be?",
    minutes=10,
    difficulty="medium",
    points=2,
    hints=[
        "To first order, a step −η·s changes a loss with gradient g by −η g·s. Here s = g_label "
        "+ w·g_hint.",
        "The label's loss falls while g_label·g_label + w·(g_label·g_hint) > 0. When can a large "
        "w make it negative?",
        "Lay all tensors of a list end to end, so that each gradient is one long vector. If "
        "their product is 0 or more, no weight is too large: float('inf').",
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
        hint = length * (cosine * unit_length(label) + (1 - cosine**2).sqrt() * unit_length(across))
        label, hint = label * 0.7, hint * label.norm()
        product, square = label @ hint, label @ label
        came = answer(*map(_as_layers, (label, hint)))
        value = None if came is None and not opposed else any_number(came, of="the largest weight")
        if not opposed:
            if value == math.inf:
                continue
            raise Wrong(
                "Here the two gradients pull the same way: their product is positive, so a step "
                "down either lowers the label's loss, whatever the weight. Expected "
                f"float('inf'), got {'None' if value is None else f'{value:g}'}.",
                "no_limit",
            )
        expected = -square / product
        if math.isinf(value):
            raise Wrong(
                f"The answer is {value:g}, but here the gradients pull apart (their product is "
                f"{product:.3g}): with a heavy hint the label's loss rises.",
                "always_infinite",
            )
        mistakes = _weight_mistakes(label, hint, product, square, expected)
        expect.close(value, expected, mistakes, of="the largest weight")


def _weight_mistakes(label, hint, product, square, expected):
    """Values of the likely mistakes by name, each with a sentence to the learner."""
    each = [
        -(a * a).sum() / (a * b).sum() for a, b in zip(*map(_as_layers, (label, hint)), strict=True)
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
            "once. Sum the products over all of them first.",
        ),
        "first_layer": (each[0], "Only the first tensor was used: sum over all of them."),
        "least_layer": (
            min([e for e in each if e > 0], default=expected),
            "The least over the layers: a step is taken in all layers at once. Sum the products "
            "over all of them.",
        ),
    }
    return mistakes


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
            f"FitNets is {hint[first]:+.2f} points from KD there, one figure each, and two runs "
            f"of the same code may differ by {NOISE} points.",
        ),
        "c": (
            bool((hint.drop(first) < -NOISE).all()),
            "noise",
            "FitNets less KD on the other three pairs: "
            f"{', '.join(f'{gain:+.2f}' for gain in hint.drop(first))}. Compare that with "
            f"{NOISE} points.",
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
            "need not hold on another.",
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
