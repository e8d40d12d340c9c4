"""Cases 1 to 3: right and broken losses."""

import functools
from collections.abc import Callable

import torch
from torch.nn import functional as F


def _in_doubles(loss: Callable) -> Callable:
    """The loss computed in float64: a check with tolerances for float32 must not fail on what is
    right.
    """

    @functools.wraps(loss)
    def precise(student_logits, teacher_logits, temperature=4.0):
        return loss(student_logits.double(), teacher_logits.double(), temperature).to(
            student_logits.dtype
        )

    return precise


@_in_doubles
def soft_batchmean(student_logits, teacher_logits, temperature=4.0):
    """F.kl_div with reduction="batchmean\""""
    log_p_s, log_p_t = (F.log_softmax(z / temperature, 1) for z in (student_logits, teacher_logits))
    return temperature**2 * F.kl_div(log_p_s, log_p_t, reduction="batchmean", log_target=True)


@_in_doubles
def soft_by_hand(student_logits, teacher_logits, temperature=4.0):
    """a sum over classes and a mean over the batch, by hand"""
    log_p_s, log_p_t = (F.log_softmax(z / temperature, 1) for z in (student_logits, teacher_logits))
    return (log_p_t.exp() * (log_p_t - log_p_s)).sum(1).mean() * temperature**2


@_in_doubles
def soft_cross_entropy(student_logits, teacher_logits, temperature=4.0):
    """the soft cross-entropy less the teacher's entropy"""
    p_t = F.softmax(teacher_logits / temperature, 1)
    entropy = F.cross_entropy(teacher_logits / temperature, p_t)
    return (F.cross_entropy(student_logits / temperature, p_t) - entropy) * temperature**2


@_in_doubles
def soft_sample_by_sample(student_logits, teacher_logits, temperature=4.0):
    """a loop over the samples"""
    pairs = zip(student_logits, teacher_logits, strict=True)
    return torch.stack(
        [soft_by_hand(z_s[None], z_t[None], temperature) for z_s, z_t in pairs]
    ).mean()


def soft_mean(student_logits, teacher_logits, temperature=4.0):
    """the code of case 1"""
    log_p_s = F.log_softmax(student_logits / temperature, dim=1)
    p_t = F.softmax(teacher_logits / temperature, dim=1)
    return (
        F.kl_div(log_p_s, p_t, reduction="none").mean() * temperature**2
    )  # as "mean", without torch's warning


def soft_mean_by_hand(student_logits, teacher_logits, temperature=4.0):
    """.mean() over batch and classes, by hand"""
    log_p_s, log_p_t = (F.log_softmax(z / temperature, 1) for z in (student_logits, teacher_logits))
    return temperature**2 * (log_p_t.exp() * (log_p_t - log_p_s)).mean()


def soft_sum_over_numel(student_logits, teacher_logits, temperature=4.0):
    """the sum over all elements ÷ their number"""
    log_p_s, log_p_t = (F.log_softmax(z / temperature, 1) for z in (student_logits, teacher_logits))
    loss = F.kl_div(log_p_s, log_p_t, reduction="sum", log_target=True)
    return temperature**2 * loss / student_logits.numel()


# --- case 2: soft_weight · T² · KL, and (1 − soft_weight) · CE where there are labels -------------


def both_branches(student_logits, teacher_logits, labels=None, temperature=4.0, soft_weight=0.9):
    """T² inside the soft term, before the branches part"""
    loss = soft_weight * soft_batchmean(student_logits, teacher_logits, temperature)
    return (
        loss
        if labels is None
        else loss + (1 - soft_weight) * F.cross_entropy(student_logits, labels)
    )


def both_branches_apart(
    student_logits, teacher_logits, labels=None, temperature=4.0, soft_weight=0.9
):
    """T² written once in each branch"""
    soft = soft_by_hand(student_logits, teacher_logits, temperature) / temperature**2
    if labels is None:
        return temperature * temperature * soft_weight * soft
    hard = F.nll_loss(F.log_softmax(student_logits, 1), labels)
    return temperature * temperature * soft_weight * soft + (1 - soft_weight) * hard


def both_branches_by_weight(
    student_logits, teacher_logits, labels=None, temperature=4.0, soft_weight=0.9
):
    """a label term that is zero where there are no labels"""
    hard = (
        student_logits.new_zeros(()) if labels is None else F.cross_entropy(student_logits, labels)
    )
    return (
        soft_weight * soft_cross_entropy(student_logits, teacher_logits, temperature)
        + (1 - soft_weight) * hard
    )


def _branches(labelled: Callable, unlabelled: Callable, told: str) -> Callable:
    """A loss of case 2 with a factor of its own, a function of T, in each branch."""

    def loss(student_logits, teacher_logits, labels=None, temperature=4.0, soft_weight=0.9):
        soft = (
            soft_weight * soft_by_hand(student_logits, teacher_logits, temperature) / temperature**2
        )
        if labels is None:
            return unlabelled(temperature) * soft
        return labelled(temperature) * soft + (1 - soft_weight) * F.cross_entropy(
            student_logits, labels
        )

    loss.__doc__ = told
    return loss


labelled_without = _branches(lambda t: 1, lambda t: t**2, "the code of case 2")


unlabelled_without = _branches(lambda t: t**2, lambda t: 1, "T² with labels, none without")


labelled_with_t = _branches(lambda t: t, lambda t: t**2, "T in place of T² with labels")


unlabelled_with_t = _branches(lambda t: t**2, lambda t: t, "T in place of T² without labels")


# --- case 3: the same loss as case 1, for logits of any size --------------------------------------


def underflow(student_logits, teacher_logits, temperature=4.0):
    """the code of case 3"""
    p_s, p_t = (torch.softmax(z / temperature, 1) for z in (student_logits, teacher_logits))
    return (p_t * (p_t.log() - p_s.log())).sum(1).mean() * temperature**2


def underflow_in_ratio(student_logits, teacher_logits, temperature=4.0):
    """p_t · log(p_t / p_s)"""
    p_s, p_t = (torch.softmax(z / temperature, 1) for z in (student_logits, teacher_logits))
    return (p_t * (p_t / p_s).log()).sum(1).mean() * temperature**2


def underflow_of_student(student_logits, teacher_logits, temperature=4.0):
    """log_softmax for the teacher, log(softmax) for the student"""
    log_p_t = F.log_softmax(teacher_logits / temperature, 1)
    log_p_s = torch.softmax(student_logits / temperature, 1).log()
    return (log_p_t.exp() * (log_p_t - log_p_s)).sum(1).mean() * temperature**2


def underflow_of_teacher(student_logits, teacher_logits, temperature=4.0):
    """log_softmax for the student, log(softmax) for the teacher"""
    p_t = torch.softmax(teacher_logits / temperature, 1)
    log_p_s = F.log_softmax(student_logits / temperature, 1)
    return (p_t * (p_t.log() - log_p_s)).sum(1).mean() * temperature**2
