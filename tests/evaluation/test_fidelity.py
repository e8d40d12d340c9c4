"""Fidelity against answers counted by hand."""

import math

import numpy as np
import pytest
import torch

from kdcourse.common.errors import UsageError
from kdcourse.evaluation import fidelity, per_class_transfer, score


def logits_of(answers, classes=3, height=4.0):
    """Logits (N, C) of a network that gives these answers, each with the same confidence."""
    return height * torch.eye(classes)[torch.as_tensor(answers)]


LABELS = torch.tensor([0, 0, 0, 0, 1, 1, 1, 2])
TEACHER = [0, 0, 1, 2, 1, 1, 0, 2]  # wrong at 2, 3 and 6
STUDENT = [0, 1, 1, 1, 1, 1, 0, 0]  # repeats the errors at 2 and 6, another one at 3


def test_agreement_by_hand():
    result = fidelity(logits_of(STUDENT), logits_of(TEACHER), LABELS)
    assert result.agreement == pytest.approx(100 * 5 / 8)
    assert result.agreement_right == pytest.approx(100 * 3 / 5)
    assert result.agreement_wrong == pytest.approx(100 * 2 / 3)
    # class 0: of four answers the student's are 1 three times and 2 never; class 1: of three one is
    # 0
    assert result.expected_wrong == pytest.approx(100 * (3 / 4 + 0 + 1 / 3) / 3)
    assert result.n == 8 and result.row()["agreement"] == result.agreement


def test_expected_is_what_a_shuffle_within_the_classes_gives():
    rng = np.random.default_rng(0)
    labels = torch.from_numpy(rng.integers(0, 4, 400))
    student, teacher = torch.from_numpy(rng.normal(size=(2, 400, 4))) + 0.5 * torch.eye(4)[labels]
    shuffles = 25
    shares = []
    for _ in range(shuffles):
        order = np.lexsort([rng.random(400), labels])  # random within each class
        mixed = torch.empty_like(student)
        mixed[np.lexsort([np.arange(400), labels])] = student[order]
        shares.append(fidelity(mixed, teacher, labels).agreement_wrong)
    error = np.std(shares) / math.sqrt(shuffles)
    assert np.mean(shares) == pytest.approx(
        fidelity(student, teacher, labels).expected_wrong, abs=4 * error
    )


def test_kl_by_hand_and_the_scores_of_both():
    student, teacher = torch.tensor([[0.5, 0.5]]).log(), torch.tensor([[0.8, 0.2]]).log()
    labels = torch.tensor([0])
    result = fidelity(student, teacher, labels)
    assert result.kl == pytest.approx(
        0.8 * math.log(0.8 / 0.5) + 0.2 * math.log(0.2 / 0.5), abs=1e-6
    )
    of_teacher, of_student = score(teacher, labels, "xy"), score(student, labels, "xy")
    assert (result.teacher_nll, result.teacher_ece) == (of_teacher.nll, of_teacher.ece)
    assert (result.student_nll, result.student_ece) == (of_student.nll, of_student.ece)
    assert fidelity(teacher + 7, teacher, labels).kl == pytest.approx(
        0, abs=1e-6
    )  # softmax knows no offset


def test_a_teacher_without_errors():
    result = fidelity(logits_of(STUDENT), logits_of(LABELS), LABELS)
    assert result.agreement == result.agreement_right == pytest.approx(100 * 3 / 8)
    assert math.isnan(result.agreement_wrong) and math.isnan(result.expected_wrong)


def test_transfer_by_hand():
    plain = [0, 1, 1, 1, 1, 0, 0, 2]
    table = per_class_transfer(
        *map(logits_of, (STUDENT, plain, TEACHER)), LABELS, ["sea", "land", "ice"]
    )
    assert list(table.index) == ["sea", "land", "ice"] and table.support.tolist() == [4, 3, 1]
    assert table.teacher.tolist() == pytest.approx([50, 200 / 3, 100])
    assert table.plain.tolist() == pytest.approx([25, 100 / 3, 100])
    assert table.distilled.tolist() == pytest.approx([25, 200 / 3, 0])
    assert table.gain.tolist() == pytest.approx([0, 100 / 3, -100])
    assert table.lead.tolist() == pytest.approx([25, 100 / 3, 0])


def test_luck_of_the_plain_student_correlates_gain_with_lead():
    rng = np.random.default_rng(0)
    classes, labels = 400, torch.arange(400).repeat_interleave(20)

    def unrelated():
        """Right on 70 % of the samples, whichever they are."""
        return logits_of(
            torch.where(torch.from_numpy(rng.random(8000) < 0.7), labels, (labels + 1) % classes),
            classes,
        )

    first = per_class_transfer(unrelated(), unrelated(), unrelated(), labels, range(classes))
    other = per_class_transfer(unrelated(), unrelated(), unrelated(), labels, range(classes))
    error = 4 / math.sqrt(classes)
    assert first.gain.corr(first.lead) == pytest.approx(0.5, abs=error)
    assert first.gain.corr(other.lead) == pytest.approx(0, abs=error)


def test_bad_input_says_whose():
    good = logits_of(STUDENT)
    with pytest.raises(UsageError, match="teacher_logits: logits of shape .* expected \\(8, 3\\)"):
        fidelity(good, good[:5], LABELS)
    with pytest.raises(UsageError, match="student_logits: labels from 1 to 3"):
        fidelity(good, good, LABELS + 1)
    with pytest.raises(UsageError, match="no samples"):
        fidelity(good[:0], good[:0], LABELS[:0])
    with pytest.raises(
        UsageError, match="baseline_logits: logits of 8 of 8 samples are not finite"
    ):
        per_class_transfer(good, good * math.nan, good, LABELS, "xyz")
    with pytest.raises(UsageError, match="8 labels and 2 classes"):
        per_class_transfer(good, good, good, LABELS, "xy")
