"""How faithfully a student copies its teacher, and whether it gains where the teacher leads."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass

import numpy as np
import pandas as pd
import torch
from torch.nn import functional as F

from kdcourse.common.errors import UsageError
from kdcourse.evaluation.metrics import Evaluation, score


@dataclass(frozen=True)
class Fidelity:
    """A student beside its teacher on the same samples."""

    agreement: float  # %: samples to which both give the same answer
    agreement_right: float  # %: the same, where the teacher is right
    agreement_wrong: (
        float  # %: the same, where the teacher is wrong: the student repeats the very error
    )
    expected_wrong: float  # %: the last, if the student knew a sample's class but not the sample
    kl: float  # nats: mean KL(teacher ‖ student) at T = 1
    student_nll: float  # nats
    teacher_nll: float
    student_ece: float  # %
    teacher_ece: float
    n: int

    def row(self) -> dict[str, float]:
        """A row of a table of results."""
        return asdict(self)


def fidelity(
    student_logits: torch.Tensor, teacher_logits: torch.Tensor, labels: torch.Tensor
) -> Fidelity:
    """Compare what student and teacher answer: logits (N, C) of both, labels (N,), on samples that
    trained neither.

    Agreement and KL are equations 2 and 3 of Stanton et al. 2021 ("Does knowledge distillation
    really work?"); ECE and NLL are `score`'s. Two good networks agree because both are right, and
    fail on the same hard samples. Only what goes beyond the same figures of a student that never
    saw this teacher is copied (their section 3.2).

    expected_wrong keeps the true class y and shuffles the samples in it: over the teacher's errors,
    the mean share of the student's answers to class y that are the teacher's wrong answer. Without
    errors the figures for them are nan.

    Raises UsageError as `score` does, naming whose logits are wrong.
    """
    classes = range(student_logits.shape[-1])
    student, teacher = _scores(
        labels, classes, student_logits=student_logits, teacher_logits=teacher_logits
    )
    same = student_logits.argmax(1) == teacher_logits.argmax(1)
    right = teacher_logits.argmax(1) == labels
    log_student, log_teacher = (
        student_logits.double().log_softmax(1),
        teacher_logits.double().log_softmax(1),
    )

    support = student.confusion.sum(1, keepdims=True)
    answers = student.confusion / support.clip(
        min=1
    )  # row: true class, column: share of the student's answers
    errors = teacher.confusion - np.diag(np.diag(teacher.confusion))
    expected = (errors * answers).sum() / errors.sum() if errors.any() else np.nan
    return Fidelity(
        agreement=_percent(same),
        agreement_right=_percent(same[right]),
        agreement_wrong=_percent(same[~right]),
        expected_wrong=float(100 * expected),
        kl=F.kl_div(log_student, log_teacher, reduction="batchmean", log_target=True).item(),
        student_nll=student.nll,
        teacher_nll=teacher.nll,
        student_ece=student.ece,
        teacher_ece=teacher.ece,
        n=len(labels),
    )


def per_class_transfer(
    student_logits: torch.Tensor,
    baseline_logits: torch.Tensor,
    teacher_logits: torch.Tensor,
    labels: torch.Tensor,
    classes: Sequence[str],
) -> pd.DataFrame:
    """Recall (%) of each class by teacher, plain student (the baseline) and distilled student;
    logits (N, C).

    Also gain = distilled − plain and lead = teacher − plain, in points, and support, the number of
    samples. A class without samples has nan.

    Whether gains lie where the teacher leads is not to be read off one plain student: gain and lead
    both subtract its recall, so its luck alone makes them go together (three unrelated networks,
    equally noisy: correlation 1/2). Take the lead from the table of another seed's plain student.

    Raises UsageError as `score` does, naming whose logits are wrong.
    """
    student, baseline, teacher = _scores(
        labels,
        classes,
        student_logits=student_logits,
        baseline_logits=baseline_logits,
        teacher_logits=teacher_logits,
    )
    table = pd.DataFrame(
        dict(
            teacher=teacher.per_class.recall,
            plain=baseline.per_class.recall,
            distilled=student.per_class.recall,
        )
    )
    return table.assign(
        gain=table.distilled - table.plain,
        lead=table.teacher - table.plain,
        support=student.per_class.support,
    )


def _scores(labels: torch.Tensor, classes: Sequence, **logits: torch.Tensor) -> list[Evaluation]:
    """Score each network's logits; an error says whose they are."""
    scores = []
    for name, each in logits.items():
        try:
            scores.append(score(each, labels, classes))
        except UsageError as error:
            raise UsageError(f"{name}: {error}") from error
    return scores


def _percent(hits: torch.Tensor) -> float:
    """Share of True in %; of nothing: nan."""
    return 100 * hits.double().mean().item()
