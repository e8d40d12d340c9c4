"""Exercise 09: right and wrong answers on cases 1 to 3, losses."""

import numpy as np
import torch
from clinic_common import found, logits, refuses
from torch.nn import functional as F

from kdcourse.distillation import soft_target_loss
from kdcourse.exercises import bug_cases


def by_padding(loss):
    """Classes that nobody considers must change nothing."""
    z_s, z_t = logits(), logits()
    wide_s, wide_t = (torch.cat([z, torch.full((8, 15), -1e4)], 1) for z in (z_s, z_t))
    assert abs(loss(z_s, z_t, 4.0) / loss(wide_s, wide_t, 4.0) - 1) < 0.01


def by_package(loss):
    for temperature in (1.0, 4.0):
        z_s, z_t = logits(), logits()
        torch.testing.assert_close(
            loss(z_s, z_t, temperature),
            soft_target_loss(z_s, z_t, temperature),
            rtol=1e-3,
            atol=1e-4,
        )


def by_numpy(loss):
    z_s, z_t = logits().numpy(), logits().numpy()
    p_s, p_t = (np.exp(z / 3) / np.exp(z / 3).sum(1, keepdims=True) for z in (z_s, z_t))
    expected = 9 * (p_t * np.log(p_t / p_s)).sum() / len(z_s)
    np.testing.assert_allclose(loss(torch.tensor(z_s), torch.tensor(z_t), 3.0), expected, rtol=1e-3)


def is_positive(loss):
    assert loss(logits(), logits(), 4.0) >= 0


def is_zero_where_equal(loss):
    z = logits()
    assert abs(loss(z, z, 4.0)) < 1e-5


def is_a_number(loss):
    assert loss(logits(), logits(), 4.0).shape == ()


def says(loss):
    z_s, z_t = logits(), logits()
    return torch.allclose(loss(z_s, z_t, 4.0), soft_target_loss(z_s, z_t, 4.0), rtol=1e-3)


def against_no_square(loss):
    z_s, z_t = logits(), logits()
    assert torch.allclose(loss(z_s, z_t, 4.0), soft_target_loss(z_s, z_t, 4.0) / 16, rtol=1e-3)


def raises_value_error(loss):
    z_s, z_t = logits(), logits()
    if not torch.allclose(loss(z_s, z_t, 4.0), soft_target_loss(z_s, z_t, 4.0), rtol=1e-3):
        raise ValueError("divided by the classes")


def kl(reduce, factor=lambda t: t**2, swap=False, log=True):
    def loss(student_logits, teacher_logits, temperature=4.0):
        if swap:
            student_logits, teacher_logits = teacher_logits, student_logits
        p_t = (teacher_logits / temperature).softmax(1)
        first = (student_logits / temperature).log_softmax(1)
        first = first if log else first.exp()
        return factor(temperature) * reduce(F.kl_div(first, p_t, reduction="none"))

    return loss


def batchmean(values):
    return values.sum(1).mean()


def loss_as_a_number(student_logits, teacher_logits, temperature=4.0):
    return soft_target_loss(student_logits, teacher_logits, temperature).item()


def branches_detached(
    student_logits, teacher_logits, labels=None, temperature=4.0, soft_weight=0.9
):
    with torch.no_grad():
        return bug_cases.losses.both_branches(
            student_logits, teacher_logits, labels, temperature, soft_weight
        )


def label_term_softened(
    student_logits, teacher_logits, labels=None, temperature=4.0, soft_weight=0.9
):
    soft = soft_weight * soft_target_loss(student_logits, teacher_logits, temperature)
    if labels is None:
        return soft
    return soft + (1 - soft_weight) * F.cross_entropy(student_logits / temperature, labels)


def label_term_unweighted(
    student_logits, teacher_logits, labels=None, temperature=4.0, soft_weight=0.9
):
    soft = soft_weight * soft_target_loss(student_logits, teacher_logits, temperature)
    return soft if labels is None else soft + F.cross_entropy(student_logits, labels)


def underflow_in_doubles(student_logits, teacher_logits, temperature=4.0):
    return bug_cases.losses.underflow(
        student_logits.double(), teacher_logits.double(), temperature
    ).float()


def numpy_loss(student_logits, teacher_logits, temperature=4.0):
    def log_softmax(z):
        z = z.numpy().astype(np.float64) / temperature
        z = z - z.max(1, keepdims=True)
        return z - np.log(np.exp(z).sum(1, keepdims=True))

    log_p_s, log_p_t = log_softmax(student_logits), log_softmax(teacher_logits)
    return temperature**2 * (np.exp(log_p_t) * (log_p_t - log_p_s)).sum() / len(log_p_s)


def cross_entropy_alone(student_logits, teacher_logits, temperature=4.0):
    return temperature**2 * F.cross_entropy(
        student_logits / temperature, (teacher_logits / temperature).softmax(1)
    )


def branches_by_formula(loss):
    z_s, z_t, labels = logits(), logits(), torch.tensor([0, 1, 2, 3, 4, 0, 1, 2])
    soft = 0.9 * soft_target_loss(z_s, z_t, 4.0)
    torch.testing.assert_close(loss(z_s, z_t), soft, rtol=1e-3, atol=1e-4)
    hard = 0.1 * F.cross_entropy(z_s, labels)
    torch.testing.assert_close(loss(z_s, z_t, labels), soft + hard, rtol=1e-3, atol=1e-4)


def branches_by_ratio(loss):
    """A student sure of the label: the label term is nothing, so labels must change nothing."""
    z_s, z_t, labels = 40 * torch.eye(5), logits(5), torch.arange(5)
    ratio = loss(z_s, z_t, labels=labels, temperature=2.0) / loss(z_s, z_t, temperature=2.0)
    assert abs(ratio - 1) < 0.01, ratio


def branch_at_one(loss):
    z_s, z_t, labels = logits(), logits(), torch.zeros(8, dtype=torch.int64)
    difference = loss(z_s, z_t, labels, 1.0, 0.9) - loss(z_s, z_t, None, 1.0, 0.9)
    assert torch.allclose(difference, 0.1 * F.cross_entropy(z_s, labels), atol=1e-4)


def branch_with_labels_alone(loss):
    z_s, z_t, labels = logits(), logits(), torch.zeros(8, dtype=torch.int64)
    right = 0.9 * soft_target_loss(z_s, z_t, 4.0) + 0.1 * F.cross_entropy(z_s, labels)
    assert torch.allclose(loss(z_s, z_t, labels), right, rtol=1e-3)


def branch_without_labels_alone(loss):
    z_s, z_t = logits(), logits()
    assert torch.allclose(loss(z_s, z_t), 0.9 * soft_target_loss(z_s, z_t, 4.0), rtol=1e-3)


def branches_equal(loss):
    z_s, z_t, labels = logits(), logits(), torch.zeros(8, dtype=torch.int64)
    assert torch.allclose(loss(z_s, z_t, labels), loss(z_s, z_t), rtol=1e-3)


def branches_differ(loss):
    z_s, z_t, labels = logits(), logits(), torch.zeros(8, dtype=torch.int64)
    assert loss(z_s, z_t, labels) != loss(z_s, z_t)


def labels_first(loss):
    loss(torch.zeros(8, dtype=torch.int64), logits(), logits())


def says_branches(loss):
    z_s, z_t, labels = logits(), logits(), torch.zeros(8, dtype=torch.int64)
    difference = loss(z_s, z_t, labels) - loss(z_s, z_t)
    return bool(torch.allclose(difference, 0.1 * F.cross_entropy(z_s, labels), atol=1e-4))


def branches(with_labels, without):
    """A loss with (soft, hard, T, weight) → loss for each branch; soft has no T²."""

    def loss(student_logits, teacher_logits, labels=None, temperature=4.0, soft_weight=0.9):
        soft = soft_target_loss(student_logits, teacher_logits, temperature) / temperature**2
        if labels is None:
            return without(soft, temperature, soft_weight)
        return with_labels(soft, F.cross_entropy(student_logits, labels), temperature, soft_weight)

    return loss


def labelled(s, h, t, w):
    return w * t**2 * s + (1 - w) * h


def unlabelled(s, t, w):
    return w * t**2 * s


def finite_gradient(loss):
    for scale in (1.0, -1.0):
        z_s = (scale * torch.tensor([[500.0, 0.0, -500.0]])).requires_grad_()
        for z_t in (torch.zeros(1, 3), -2 * z_s.detach()):
            came = loss(z_s, z_t, temperature=1.0)
            came.backward()
            assert torch.isfinite(came) and torch.isfinite(z_s.grad).all()
        assert loss(torch.zeros(1, 3), z_s.detach(), temperature=1.0).isfinite()


def value_far(loss):
    for z_s, z_t in (
        (torch.tensor([[0.0, 4000.0]]), torch.zeros(1, 2)),
        (torch.zeros(1, 2), torch.tensor([[0.0, 4000.0]])),
    ):
        expected = soft_target_loss(z_s.double(), z_t.double(), 4.0).float()
        assert torch.allclose(loss(z_s, z_t).float(), expected, rtol=1e-3)


def finite(student, teacher, temperature=1.0, ask=torch.isfinite):
    def check(loss):
        assert ask(loss(torch.tensor([student]), torch.tensor([teacher]), temperature))

    return check


def not_nan_thrice(loss):
    for z_s, z_t in (
        ([300.0, 0.0], [0.0, 0.0]),
        ([0.0, 0.0], [300.0, 0.0]),
        ([300.0, 0.0], [0.0, 300.0]),
    ):
        assert not loss(torch.tensor([z_s]), torch.tensor([z_t]), 1.0).isnan()


def small_where_far(loss):
    assert loss(torch.tensor([[300.0, 0.0]]), torch.tensor([[0.0, 300.0]]), 1.0) < 100


def finite_at_infinity(loss):
    assert torch.isfinite(loss(torch.tensor([[0.0, -torch.inf]]), torch.tensor([[0.0, 0.0]]), 1.0))


def with_epsilon(epsilon):
    def loss(student_logits, teacher_logits, temperature=4.0):
        p_s, p_t = ((z / temperature).softmax(1) for z in (student_logits, teacher_logits))
        return (
            temperature**2 * (p_t * ((p_t + epsilon).log() - (p_s + epsilon).log())).sum(1).mean()
        )

    return loss


def clamped(student_logits, teacher_logits, temperature=4.0):
    p_s, p_t = (
        (z / temperature).softmax(1).clamp(min=1e-30) for z in (student_logits, teacher_logits)
    )
    return temperature**2 * (p_t * (p_t.log() - p_s.log())).sum(1).mean()


def to_zero(student_logits, teacher_logits, temperature=4.0):
    p_s, p_t = ((z / temperature).softmax(1) for z in (student_logits, teacher_logits))
    kl = (p_t * (p_t.log() - p_s.log())).nan_to_num(0.0, posinf=0.0)
    return temperature**2 * kl.sum(1).mean()


def teacher_side_alone(student_logits, teacher_logits, temperature=4.0):
    p_t = (teacher_logits / temperature).softmax(1)
    log_p_s = (student_logits / temperature).softmax(1).log()
    return temperature**2 * F.kl_div(log_p_s, p_t, reduction="batchmean")


def where_after_the_log(student_logits, teacher_logits, temperature=4.0):
    """The value is right, and the gradient of what `where` left out is NaN."""
    p_s = (student_logits / temperature).softmax(1)
    log_p_s = torch.where(p_s > 0, p_s.log(), (student_logits / temperature).log_softmax(1))
    log_p_t = (teacher_logits / temperature).log_softmax(1)
    return temperature**2 * (log_p_t.exp() * (log_p_t - log_p_s)).sum(1).mean()


RIGHT = {
    "found_losses": found("losses"),
    "prove_1": [by_padding, by_package, by_numpy],
    "mend_1": [
        bug_cases.losses.soft_by_hand,
        bug_cases.losses.soft_cross_entropy,
        bug_cases.losses.soft_sample_by_sample,
        numpy_loss,
    ],
    "prove_2": [branches_by_formula, branches_by_ratio],
    "mend_2": [
        bug_cases.losses.both_branches,
        bug_cases.losses.both_branches_by_weight,
        bug_cases.losses.both_branches_apart,
    ],
    "prove_3": [finite_gradient, value_far],
    "mend_3": [bug_cases.losses.soft_batchmean, numpy_loss, bug_cases.losses.soft_cross_entropy],
}


WRONG = {
    "found_losses": [
        ({1: "a", 2: "d", 3: "e"}, "case 1: no T²", "Case 1 is not (a)"),
        ({1: "b", 2: "a", 3: "e"}, "case 2: no T²", "2 of 3"),
        ({1: "b", 2: "d", 3: "c"}, "case 3: softmax for log", "kl_div"),
        ({1: "c", 2: "f", 3: "c"}, "case 1: softmax for log", "0 of 3"),
        ({1: "b", 2: "d"}, "form", "a letter for each case"),
        ("bd", "form", "expected"),
        ({1: "b", 2: "d", 3: "g"}, "type", "case 3"),
    ],
    "prove_1": [
        (is_positive, "misses", "more than one class"),
        (is_zero_where_equal, "misses", "value decide"),
        (is_a_number, "misses", "shape"),
        (says, "returns", "assert"),
        (against_no_square, "fails right", "right"),
        (raises_value_error, "raised", "ValueError"),
        (refuses, "fails right", "broken"),
    ],
    "mend_1": [
        (loss_as_a_number, "no gradient", "item()"),
        (kl(torch.mean), "divided by C", "mean is still"),
        (kl(torch.sum), "sum", "batch size"),
        (kl(batchmean, lambda t: 1), "no T²", "T²"),
        (kl(batchmean, lambda t: t), "T", "T stands"),
        (kl(batchmean, swap=True), "swapped", "swapped"),
        (kl(batchmean, log=False), "softmax for log", "log-probabilities"),
        (cross_entropy_alone, "cross-entropy", "entropy"),
    ],
    "prove_2": [
        (branch_at_one, "misses", "other than 1"),
        (branch_with_labels_alone, "misses variant", "T² with labels, none without"),
        (branch_without_labels_alone, "misses", "labels and without"),
        (branches_equal, "fails right", "right"),
        (branches_differ, "misses", "through"),
        (labels_first, "raised", "stopped with"),
        (says_branches, "returns", "assert"),
    ],
    "mend_2": [
        (branches_detached, "no gradient", "trained"),
        (label_term_softened, "T in the label term", "temperature belongs"),
        (label_term_unweighted, "label term unweighted", "1 − soft_weight"),
        (bug_cases.losses.labelled_without, "no T²", "still missing"),
        (bug_cases.losses.unlabelled_without, "no T²", "Without labels"),
        (bug_cases.losses.labelled_with_t, "T", "T stands"),
        (branches(labelled, lambda s, t, w: w * t**4 * s), "T twice", "still has its own"),
        (
            branches(lambda s, h, t, w: t**2 * (w * s + (1 - w) * h), unlabelled),
            "T² on the labels",
            "soft term alone",
        ),
        (
            branches(lambda s, h, t, w: (1 - w) * t**2 * s + w * h, unlabelled),
            "weights swapped",
            "swapped",
        ),
        (branches(labelled, lambda s, t, w: t**2 * s), "no weight", "soft_weight"),
        (branches(lambda s, h, t, w: w * t**2 * s, unlabelled), "no label term", "missing"),
    ],
    "prove_3": [
        (finite([3.0, 0.0], [0.0, 3.0]), "misses", "far enough"),
        (finite([200.0, 0.0], [0.0, 200.0], 4.0), "misses", "T divides"),
        (finite([300.0, 0.0], [0.0, 0.0]), "misses variant", "log_softmax for the student"),
        (finite([0.0, 0.0], [300.0, 0.0]), "misses variant", "log_softmax for the teacher"),
        (not_nan_thrice, "misses variant", "student"),
        (small_where_far, "fails right", "right"),
        (finite_at_infinity, "fails right", "right"),
        (
            lambda loss: bool(loss(300 * torch.eye(3), -300 * torch.eye(3), 1.0).isfinite()),
            "returns",
            "assert",
        ),
    ],
    "mend_3": [
        (underflow_in_doubles, "nan", "rounded to 0"),
        (loss_as_a_number, "no gradient", "item()"),
        (bug_cases.losses.underflow, "nan", "rounded to 0"),
        (bug_cases.losses.underflow_in_ratio, "nan", "log"),
        (with_epsilon(1e-8), "epsilon", "caps"),
        (with_epsilon(1e-12), "epsilon", "ε"),
        (clamped, "epsilon", "clamp"),
        (to_zero, "epsilon", "nan_to_num"),
        (teacher_side_alone, "nan", "rounded to 0"),
        (where_after_the_log, "nan", "gradient"),
    ],
}
