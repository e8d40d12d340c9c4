"""The judges of the soft-target loss, its gradient and another code's weight."""

import torch
from torch.nn import functional as F

from kdcourse.checking import expect
from kdcourse.checking.task import Answer, task
from kdcourse.distillation import soft_target_loss as package_loss
from kdcourse.exercises.draws import random_logits, uniform, whole_number


@task(
    "ex04",
    title="The loss from log-probabilities",
    minutes=8,
    difficulty="easy",
    points=2,
    hints=[
        "log p is the logits less a constant a row. What does log_softmax make of logits that "
        "are shifted by one?",
        "So log p / T can replace z / T; but it is not normalised any more, for either network.",
        "log_p_s = F.log_softmax(student_log_probs / temperature, dim=1), the teacher alike; "
        "then T² · (p_t · (log p_t − log p_s)).sum(dim=1).mean().",
    ],
)
def soft_target_loss(answer: Answer, rng: torch.Generator) -> None:
    """T² · KL(p_t(T) ‖ p_s(T)), mean over the batch, from log-probabilities at T = 1."""
    batch, classes = whole_number(rng, 4, 8), whole_number(rng, 5, 11)
    T = uniform(rng, 2, 6)
    student, teacher = (random_logits(rng, batch, classes).log_softmax(1) for _ in range(2))
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
        slips = _slips(classes, T, student, teacher, log_p_s, log_p_t, p_s, p_t, each)
        for fault, (value, sentence) in slips.items():
            mistakes[fault + (" and no T²" if more else "")] = (times * value, sentence + more)
    expect.close(answer(student, teacher, T), right, mistakes, of="the loss")

    expect.close(
        answer(student, student, T),
        0,
        of="the loss of a student that agrees with its teacher",
        atol=1e-4,
    )
    student, teacher = (random_logits(rng, 3, classes, spread=150).log_softmax(1) for _ in range(2))
    value = expect.finite(
        answer(student, teacher, 1.0),
        "the loss of very sure networks",
        because="Stay in logarithms: the log of a probability that is too small for a float is "
        "−infinity.",
    )
    expect.close(
        value, package_loss(student, teacher, 1), of="the loss of very sure networks", rtol=1e-3
    )


def _slips(classes, T, student, teacher, log_p_s, log_p_t, p_s, p_t, each) -> dict:
    """What slips in the sum over the classes give, without T²."""
    return {
        "mean over classes": (
            each.mean() / classes,
            'The mean is taken over classes too, as reduction="mean" does: sum over classes, '
            "mean over the batch.",
        ),
        "sum over batch": (each.sum(), "The batch is summed: take its mean."),
        "not normalised": (
            (p_t * (teacher - student) / T).sum(1).mean(),
            "log p / T is not normalised: its exponentials do not sum to 1. Apply log_softmax to "
            "it.",
        ),
        "student not normalised": (
            (p_t * (log_p_t - student / T)).sum(1).mean(),
            "log p / T of the student is not normalised. Apply log_softmax to it.",
        ),
        "nothing normalised": (
            ((teacher / T).exp() * (teacher - student) / T).sum(1).mean(),
            "log p / T is not normalised: its exponentials do not sum to 1. Apply log_softmax to "
            "it, for both.",
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


# --- 2. its gradient ------------------------------------------------------------------------------


@task(
    "ex04",
    title="The gradient by hand",
    minutes=12,
    difficulty="medium",
    points=3,
    hints=[
        "Section 3 of the notebook has ∂KL/∂z_s for one sample: (p_s − p_t) / T. Now there is "
        "T², a weight, and the mean over B samples.",
        "The label term is a cross-entropy at T = 1. Its gradient is softmax(z_s) − onehot, by "
        "the same derivation.",
        "soft_weight · T · (p_s(T) − p_t(T)) / B + label_weight · (p_s(1) − onehot) / B, with "
        "F.one_hot(labels, C).",
    ],
)
def distillation_gradient(answer: Answer, rng: torch.Generator) -> None:
    """∂L/∂z_s, (B, C), of soft_weight · T² · KL + label_weight · cross-entropy, without autograd's
    help.
    """
    batch, classes = whole_number(rng, 3, 6), whole_number(rng, 4, 8)
    T, soft_weight = uniform(rng, 2, 6), uniform(rng, 0.55, 0.95)
    label_weight = uniform(rng, 0.1, 0.45)
    z_s, z_t = random_logits(rng, batch, classes), random_logits(rng, batch, classes)
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


# --- 4. another code's weight ---------------------------------------------------------------------


@task(
    "ex04",
    title="Another code's weight in ours",
    minutes=8,
    difficulty="medium",
    points=2,
    hints=[
        "Write both losses as a number times the sum over batch and classes of p_t · (log p_t − "
        "log p_s). Ours has soft_weight · T² / B in front of it.",
        'In front of theirs: reduction="sum" 1, "batchmean" 1 / B, "mean" 1 / (B · C); times '
        "weight; times T² if they have it.",
        "soft_weight = theirs · B / T²: what is left after B and T² cancel where both have them.",
    ],
)
def translated_weight(answer: Answer, rng: torch.Generator) -> None:
    """The soft_weight with which our loss is the same as another code's."""
    for reduction in ("batchmean", "mean", "sum"):
        for squared in (True, False):
            T, weight = uniform(rng, 2, 8), uniform(rng, 0.2, 3)
            batch, classes = whole_number(rng, 8, 127), whole_number(rng, 5, 119)
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
                        'reduction="mean" divides by the number of classes too, which ours does '
                        "not.",
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
