"""Checks of exercise 04, response-based distillation."""

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
from kdcourse.distillation import soft_target_loss as package_loss
from kdcourse.evaluation import in_words, paired_interval


def _uniform(rng: torch.Generator, low: float, high: float) -> float:
    return low + (high - low) * torch.rand((), generator=rng).item()


def _whole(rng: torch.Generator, low: int, high: int) -> int:
    """From low to high − 1."""
    return int(torch.randint(low, high, (), generator=rng))


def _logits(rng: torch.Generator, *sizes: int, spread: float = 3.0) -> torch.Tensor:
    return spread * torch.randn(*sizes, generator=rng)


# --- 1. the loss ----------------------------------------------------------------------------------


@task(
    "ex04",
    title="The loss from log-probabilities",
    minutes=8,
    difficulty="easy",
    points=2,
    hints=[
        "log p is the logits less a constant a row. What does log_softmax make of logits that are "
        "shifted by one?",
        "So log p / T can stand in the place of z / T; but it is not normalised any more, for "
        "either network.",
        "log_p_s = F.log_softmax(student_log_probs / temperature, dim=1), the teacher alike; then "
        "T² · (p_t · (log p_t − log p_s)).sum(dim=1).mean().",
    ],
)
def soft_target_loss(answer: Answer, rng: torch.Generator) -> None:
    """T² · KL(p_t(T) ‖ p_s(T)), mean over the batch, from log-probabilities at T = 1."""
    batch, classes = _whole(rng, 4, 9), _whole(rng, 5, 12)
    T = _uniform(rng, 2, 6)
    student, teacher = (_logits(rng, batch, classes).log_softmax(1) for _ in range(2))
    log_p_s, log_p_t = (student / T).log_softmax(1), (teacher / T).log_softmax(1)
    p_s, p_t = log_p_s.exp(), log_p_t.exp()
    each = (p_t * (log_p_t - log_p_s)).sum(1)  # (B,)
    right = package_loss(student, teacher, T)
    mistakes = {
        "no T²": (each.mean(), "Is T² missing?"),
        "T for T²": (T * each.mean(), "Is it T where T² belongs?"),
        "not softened": (package_loss(student, teacher, 1), "Is the temperature used at all?"),
        "per sample": (T**2 * each, "Take the mean over the batch: one number is asked for."),
    }
    for times, more in ((T**2, ""), (1, " T² is missing, too.")):
        slips = {
            "mean over classes": (
                each.mean() / classes,
                'The mean is taken over classes too, as reduction="mean" does: sum over classes, mean over the batch.',
            ),
            "sum over batch": (each.sum(), "The batch is summed: take its mean."),
            "not normalised": (
                (p_t * (teacher - student) / T).sum(1).mean(),
                "log p / T is not normalised: its exponentials do not sum to 1. Apply log_softmax "
                "to it.",
            ),
            "student not normalised": (
                (p_t * (log_p_t - student / T)).sum(1).mean(),
                "log p / T of the student is not normalised. Apply log_softmax to it.",
            ),
            "nothing normalised": (
                ((teacher / T).exp() * (teacher - student) / T).sum(1).mean(),
                "log p / T is not normalised: its exponentials do not sum to 1. Apply log_softmax "
                "to it, for both.",
            ),
            "swapped": (
                (p_s * (log_p_s - log_p_t)).sum(1).mean(),
                "Student and teacher are swapped: KL(p_t ‖ p_s) takes the mean under the teacher's "
                "probabilities.",
            ),
            "cross-entropy": (
                -(p_t * log_p_s).sum(1).mean(),
                "This is the cross-entropy. KL is that less the teacher's entropy, so 0 where the "
                "two agree.",
            ),
            "no log": (
                F.kl_div(p_s, p_t, reduction="batchmean"),
                "kl_div expects the student's log-probabilities, and got probabilities.",
            ),
            "teacher not softened": (
                (teacher.exp() * (teacher - log_p_s)).sum(1).mean(),
                "Only the student is softened: divide the teacher's by T too.",
            ),
            "student not softened": (
                (p_t * (log_p_t - student)).sum(1).mean(),
                "Only the teacher is softened: divide the student's by T too.",
            ),
        }
        for fault, (value, sentence) in slips.items():
            mistakes[fault + (" and no T²" if more else "")] = (times * value, sentence + more)
    expect.close(answer(student, teacher, T), right, mistakes, of="the loss")

    expect.close(
        answer(student, student, T),
        0,
        of="the loss of a student that agrees with its teacher",
        atol=1e-4,
    )
    student, teacher = (_logits(rng, 3, classes, spread=150).log_softmax(1) for _ in range(2))
    value = expect.finite(
        answer(student, teacher, 1.0),
        "the loss of very sure networks",
        because="Stay in logarithms: the log of a probability that is too small for a float is −infinity.",
    )
    expect.close(
        value, package_loss(student, teacher, 1), of="the loss of very sure networks", rtol=1e-3
    )


# --- 2. its gradient ------------------------------------------------------------------------------


@task(
    "ex04",
    title="The gradient by hand",
    minutes=12,
    difficulty="medium",
    points=3,
    hints=[
        "Section 3 of the notebook has ∂KL/∂z_s for one sample: (p_s − p_t) / T. Now there is T², "
        "a weight, and the "
        "mean over B samples.",
        "The label term is a cross-entropy at T = 1. Its gradient is softmax(z_s) − onehot, by the "
        "same derivation.",
        "soft_weight · T · (p_s(T) − p_t(T)) / B + label_weight · (p_s(1) − onehot) / B, with "
        "F.one_hot(labels, C).",
    ],
)
def distillation_gradient(answer: Answer, rng: torch.Generator) -> None:
    """∂L/∂z_s, (B, C), of soft_weight · T² · KL + label_weight · cross-entropy, without autograd's
    help.
    """
    batch, classes = _whole(rng, 3, 7), _whole(rng, 4, 9)
    T, soft_weight = _uniform(rng, 2, 6), _uniform(rng, 0.55, 0.95)
    label_weight = _uniform(rng, 0.1, 0.45)
    z_s, z_t = _logits(rng, batch, classes), _logits(rng, batch, classes)
    labels = torch.randint(classes, (batch,), generator=rng)

    p_s, p_t, p_1 = (z_s / T).softmax(1), (z_t / T).softmax(1), z_s.softmax(1)
    onehot = F.one_hot(labels, classes)
    soft, label = (p_s - p_t) / batch, (p_1 - onehot) / batch

    z = z_s.clone().requires_grad_()
    loss = soft_weight * package_loss(z, z_t, T) + label_weight * F.cross_entropy(z, labels)
    (right,) = torch.autograd.grad(loss, z)
    mistakes = {
        "no mean over batch": (right * batch, "The loss is a mean over the batch: divide by B."),
        "sign": (
            -right,
            "The sign is the other way round: student less teacher, student less one-hot.",
        ),
        "no T": (
            soft_weight * soft + label_weight * label,
            "The soft part is T times too small: T² from the loss, 1 / T from the derivative.",
        ),
        "no T²": (
            soft_weight * soft / T + label_weight * label,
            "The soft part is T² times too small: the loss has T² in front of KL.",
        ),
        "T² for T": (
            soft_weight * T**2 * soft + label_weight * label,
            "The soft part is T times too large: the derivative of z_s / T brings 1 / T.",
        ),
        "label softened": (
            soft_weight * T * soft + label_weight * (p_s - onehot) / batch,
            "The label part is softened: the cross-entropy with labels has T = 1.",
        ),
        "soft part not softened": (
            soft_weight * T * (p_1 - z_t.softmax(1)) / batch + label_weight * label,
            "The soft part's probabilities are those at T = 1: divide the logits by T first.",
        ),
        "label part missing": (soft_weight * T * soft, "The label part is missing."),
        "soft part missing": (label_weight * label, "The soft part is missing."),
        "weights swapped": (
            label_weight * T * soft + soft_weight * label,
            "The two weights are swapped.",
        ),
        "no weights": (T * soft + label, "The weights are missing."),
        "teacher in the label part": (
            soft_weight * T * soft + label_weight * (z_t.softmax(1) - onehot) / batch,
            "The label part holds the teacher's probabilities. The gradient is the student's.",
        ),
    }
    came = answer(z_s, z_t, labels, T, soft_weight, label_weight)
    expect.close(came, right, mistakes, of="the gradient")


# --- 3. read off ----------------------------------------------------------------------------------

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


# --- 4. another code's weight ---------------------------------------------------------------------


@task(
    "ex04",
    title="Another code's weight in ours",
    minutes=8,
    difficulty="medium",
    points=2,
    hints=[
        "Write both losses as a number times the sum over batch and classes of p_t · (log p_t − "
        "log p_s). Ours has "
        "soft_weight · T² / B in front of it.",
        'In front of theirs: reduction="sum" 1, "batchmean" 1 / B, "mean" 1 / (B · C); times weight; times T² if they '
        "have it.",
        "soft_weight = theirs · B / T²: what is left after B and T² cancel where both have them.",
    ],
)
def translated_weight(answer: Answer, rng: torch.Generator) -> None:
    """The soft_weight with which our loss is the same as another code's."""
    for reduction in ("batchmean", "mean", "sum"):
        for squared in (True, False):
            T, weight = _uniform(rng, 2, 8), _uniform(rng, 0.2, 3)
            batch, classes = _whole(rng, 8, 128), _whole(rng, 5, 120)
            front = {"batchmean": 1.0, "mean": 1 / classes, "sum": float(batch)}[reduction]
            right = weight * front * (1 if squared else T**-2)
            mistakes = {}
            if not squared:
                mistakes |= {
                    "T² forgotten": (right * T**2, "Their loss has no T², ours has: divide by T²."),
                    "T² the wrong way": (
                        right * T**4,
                        "The factor goes the other way: ours has T², theirs has not.",
                    ),
                    "T for T²": (right * T, "Divided by T where T² belongs."),
                }
            else:
                mistakes |= {
                    "T² twice": (right * T**2, "Both losses have T²: it cancels."),
                    "T² taken away": (right / T**2, "Both losses have T²: it cancels."),
                }
            if reduction == "mean":
                mistakes |= {
                    "classes forgotten": (
                        right * classes,
                        'reduction="mean" divides by the number of classes too, which ours does not.',
                    ),
                    "classes the wrong way": (
                        right * classes**2,
                        "C goes the other way: theirs is C times smaller.",
                    ),
                    "batch divided": (right / batch, "Both losses divide by B here: it cancels."),
                }
            if reduction == "sum":
                mistakes |= {
                    "batch forgotten": (
                        right / batch,
                        'reduction="sum" takes no mean over the batch, ours does.',
                    ),
                    "batch the wrong way": (
                        right / batch**2,
                        "B goes the other way: without the mean their term is B times larger.",
                    ),
                }
            mistakes["as it is"] = (weight, "Their weight as it stands gives another loss.")
            value = answer(weight, T, batch, classes, reduction, squared)
            of = f'soft_weight for reduction="{reduction}", {"with" if squared else "without"} T²'
            expect.close(expect.scalar(value, of), right, mistakes, of=of)


# --- 5. kept answers ------------------------------------------------------------------------------


@task(
    "ex04",
    title="A table of the teacher's answers",
    minutes=12,
    difficulty="medium",
    points=3,
    hints=[
        "Begin with a table (views, images, C) in which every row says: not answered yet.",
        "An epoch's view is epoch % views. A batch's rows belong to the images that index names, "
        "in that order.",
        "table = torch.full((views, images, C), float('nan')), then for each batch "
        "table[epoch % views, index] = logits.",
    ],
)
def kept_answers(answer: Answer, rng: torch.Generator) -> None:
    """The teacher's logits by view and image, (V, N, C), from batches in the order in which they
    were asked for.
    """
    views, images, classes = _whole(rng, 2, 5), _whole(rng, 9, 14), _whole(rng, 3, 6)
    size, epochs = 4, views + _whole(rng, 1, views)  # some views come twice, all at least once
    table = _logits(rng, views, images, classes)
    unanswered = int(torch.randint(images, (), generator=rng))  # an image that no epoch has drawn
    asked = []
    for epoch in range(epochs):
        order = torch.randperm(images, generator=rng)
        order = order[order != unanswered]
        asked += [(epoch, index, table[epoch % views, index]) for index in order.split(size)]

    known = table.clone()
    known[:, unanswered] = float("nan")
    drawn = [torch.cat([index for epoch, index, _ in asked if epoch == e]) for e in range(views)]
    in_order = torch.full_like(table, float("nan"))
    for view, order in enumerate(drawn):
        in_order[view, : len(order)] = table[view, order]
    by_division, last_first = (
        torch.full_like(table, float("nan")),
        torch.full_like(table, float("nan")),
    )
    for epoch, index, logits in asked:
        by_division[min(epoch // views, views - 1), index] = logits
        last_first[-1 if epoch >= views else epoch, index] = logits
    first_only = torch.full_like(table, float("nan"))
    first_only[0] = known[(epochs - 1) % views]
    mistakes = {
        "unanswered as zeros": (
            known.nan_to_num(0),
            "An image that was never asked for has zeros, which look like an answer: leave NaN "
            "there.",
        ),
        "order of asking": (
            in_order,
            "The rows stand in the order in which they were asked for. `index` says to which image "
            "each belongs.",
        ),
        "order of asking, zeros": (
            in_order.nan_to_num(0),
            "The rows stand in the order in which they were asked for. `index` says to which image "
            "each belongs.",
        ),
        "view by division": (
            by_division,
            "The view is the remainder epoch % views, not the quotient.",
        ),
        "one view": (first_only, "All epochs went to view 0: epoch e shows view e % views."),
        "late epochs in the last view": (
            last_first,
            "Epochs beyond the first `views` begin again: epoch % views.",
        ),
        "mean over views": (
            known.mean(0).expand_as(known),
            "The views are averaged. Each crop has an answer of its own.",
        ),
        "mean over views, one table": (
            known.mean(0),
            "The views are averaged. Each crop has an answer of its own.",
        ),
        "transposed": (known.transpose(0, 1), "The first axis is the view, the second the image."),
    }
    expect.close(answer(asked, images, views), known, mistakes, of="the table")


# --- 6. a judgement -------------------------------------------------------------------------------


def made_up_accuracies() -> pd.DataFrame:
    """Test accuracies in %, a row a seed, a column a method: made up, always the same."""
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
        "Rows are pairs: the same seed, the same initial weights, the same crops. Take differences "
        "in a row first.",
        "paired_interval(distilled, other) gives the mean difference and half its interval. Which "
        "include zero?",
        "An interval that includes zero shows neither a gain nor that there is none. And a gain "
        "over hard labels may "
        "come from softness alone: that is what label smoothing is there for.",
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
            "Label smoothing has no teacher. What distillation gains over hard labels it may gain "
            "by softness alone.",
        ),
        "f": (
            True,
            "one teacher",
            "All students had one teacher and one set of test images: what others would do is not "
            "in the interval.",
        ),
    }
    expect.statements(answer.value(), statements)
