"""The judges of a temperature read off a figure and of what a table of accuracies shows."""

from functools import cache
from math import log

import numpy as np
import pandas as pd
import torch
from matplotlib.figure import Figure
from scipy.optimize import brentq
from torch.nn import functional as F

from kdcourse import plots
from kdcourse.checking import expect
from kdcourse.checking.task import Answer, task
from kdcourse.evaluation import in_words, paired_interval

SOFT_WEIGHT, LABEL_WEIGHT = 0.9, 0.1  # as in the notebook


TEMPERATURES = np.geomspace(1, 20, 14)


@cache
def made_up_logits() -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Logits of a student and a teacher (256, 10) and labels (256,): made up, always the same."""
    rng = torch.Generator().manual_seed(4)
    labels = torch.randint(10, (256,), generator=rng)
    onehot, noise = F.one_hot(labels, 10), torch.randn(256, 10, generator=rng)
    student = 2.5 * onehot + noise + 0.8 * torch.randn(256, 10, generator=rng)
    teacher = 5.0 * onehot + 1.5 * noise + 0.5 * torch.randn(256, 10, generator=rng)
    return student, teacher, labels


def pulls(temperature: float) -> tuple[float, float]:
    """Length of the gradient at a sample's logits, mean over the samples, of 0.9 · KL, without T²,
    and of 0.1 · cross-entropy."""
    z_s, z_t, labels = made_up_logits()
    soft = ((z_s / temperature).softmax(1) - (z_t / temperature).softmax(1)) / temperature
    label = z_s.softmax(1) - F.one_hot(labels, 10)
    return SOFT_WEIGHT * soft.norm(dim=1).mean().item(), LABEL_WEIGHT * label.norm(
        dim=1
    ).mean().item()


def gradient_lengths() -> Figure:
    """The picture of task 3."""
    soft, label = np.array([pulls(temperature) for temperature in TEMPERATURES]).T
    fig = plots.gradient_norms(TEMPERATURES, {"0.9 · KL, no T²": soft, "0.1 · label": label})
    fig.axes[0].set_xticks([1, 2, 3, 4, 5, 6, 8, 10, 15, 20], minor=False)
    fig.axes[0].minorticks_off()
    fig.axes[0].grid(alpha=0.4)
    return fig


@task(
    "ex04",
    title="Where the label takes over",
    minutes=6,
    difficulty="easy",
    points=2,
    hints=[
        "Both axes are logarithmic. You need the place along the temperature axis where the two "
        "lines meet.",
        "The dashed line is flat, since the label term knows no T. Follow it to where the other "
        "one falls below it.",
    ],
)
def crossing(answer: Answer, rng: torch.Generator) -> None:
    """The temperature above which the label term pulls harder, read off the picture."""
    at = brentq(lambda temperature: np.subtract(*pulls(temperature)), 1, 20)
    height = pulls(at)[1]
    mistakes = {
        "height": (
            height,
            "That is the height at which the lines meet. The temperature is on the other axis.",
        ),
        "the notebook's temperature": (
            4,
            "4 is the temperature that the notebook trains at. Where do the lines meet?",
        ),
        "exponent": (log(at, 10), "That is the power of ten. The axis shows T itself."),
    }
    expect.read_off(
        answer.value(), at, 0.12 * at, mistakes, of="the temperature where the lines meet"
    )


# --- 6. a judgement -------------------------------------------------------------------------------


def made_up_accuracies() -> pd.DataFrame:
    """Test accuracies in %, one row per seed, one column per method: made up, always the same."""
    rng = np.random.default_rng(28)
    seed = rng.normal(81.0, 1.6, 6)  # what initial weights and order do to all methods alike
    means = {"cross-entropy": 0.0, "label smoothing": 1.3, "distilled": 1.7}
    table = pd.DataFrame(
        {name: seed + mean + rng.normal(0, 0.55, 6) for name, mean in means.items()}
    )
    return table.round(1).rename_axis("seed")


@task(
    "ex04",
    title="What the table shows",
    minutes=10,
    difficulty="medium",
    points=2,
    hints=[
        "Rows are pairs: the same seed, the same initial weights, the same crops. Take "
        "differences in a row first.",
        "paired_interval(distilled, other) gives the mean difference and half its interval. "
        "Which include zero?",
        "An interval that includes zero shows neither a gain nor that there is none. And a gain "
        "over hard labels may come from softness alone: that is what label smoothing is there "
        "for.",
    ],
)
def what_is_shown(answer: Answer, rng: torch.Generator) -> None:
    """The letters of the statements that the table shows."""
    table = made_up_accuracies()

    def shown(other: str) -> bool:
        return in_words(*paired_interval(table["distilled"], table[other])).startswith("a gain")

    statements = {
        "a": (
            shown("cross-entropy"),
            "unpaired",
            "Take the differences of each row, distilled less cross-entropy, and their interval.",
        ),
        "b": (
            shown("label smoothing"),
            "zero included",
            "Does the interval of distilled less label smoothing lie above zero?",
        ),
        "c": (
            not shown("cross-entropy"),
            "unpaired",
            "Accuracies of different seeds overlap, but what a seed does to both methods cancels "
            "in a pair.",
        ),
        "d": (
            False,
            "absence of evidence",
            "An interval that includes zero does not show that there is no difference: look how "
            "far it reaches.",
        ),
        "e": (
            shown("label smoothing"),
            "no control",
            "Label smoothing has no teacher. What distillation gains over hard labels it may "
            "gain by softness alone.",
        ),
        "f": (
            True,
            "one teacher",
            "All students had one teacher and one set of test images: what others would do is "
            "not in the interval.",
        ),
    }
    expect.statements(answer.value(), statements)
