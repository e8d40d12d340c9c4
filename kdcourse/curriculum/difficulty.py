"""How hard a sample is.

A scorer is a callable (teacher_logits (N, C), student_logits (N, C), labels (N,)) → difficulty
(N,), where larger is harder. `d3_difficulty`, `student_loss`, `teacher_margin` and a
`ForgettingEvents` are scorers; `split_difficulty` asks one about a whole split. Strategies look at
ranks alone, so scorers need not agree on a scale.
"""

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
import torch
from torch import nn
from torch.nn import functional as F

from kdcourse.common.errors import UsageError
from kdcourse.data.batches import Batches
from kdcourse.data.splits import Split
from kdcourse.distillation.teacher import Teacher
from kdcourse.models.cost import device_of, evaluating


class Difficulty(NamedTuple):
    """D3's difficulty of N samples and its parts, each (N,) in [0, 1]."""

    confidence: torch.Tensor  # 1 − max p_t: how unsure the teacher is of its answer
    entropy: torch.Tensor  # H(p_t) / ln C: over how many classes it spreads
    divergence: torch.Tensor  # min(KL(p_t ‖ p_s) / kl_scale, 1): how far the student is from it
    total: torch.Tensor  # their weighted sum


def sample_difficulty(
    teacher_logits: torch.Tensor,
    student_logits: torch.Tensor,
    weights: tuple[float, float, float] = (0.3, 0.3, 0.4),
    kl_scale: float = 5.0,
) -> Difficulty:
    """0.3 · (1 − max p_t) + 0.3 · H(p_t) / ln C + 0.4 · min(KL(p_t ‖ p_s) / 5, 1). Logits (N, C) →
    (N,) each, from D3.

    p = softmax(z); H and KL are in nats, so kl_scale is too. weights: of confidence, entropy and
    divergence. They must sum to 1, so that the total stays in [0, 1]. Labels are not asked: a
    teacher that is sure of a wrong answer makes a sample easy.

    Raises UsageError for logits, weights or a kl_scale that cannot be right.
    """
    teacher, student = _checked(teacher_logits, student_logits)
    if (
        len(weights) != 3
        or not all(weight >= 0 for weight in weights)
        or abs(sum(weights) - 1) > 1e-6
    ):
        raise UsageError(
            f"weights={tuple(weights)}: expected three numbers, 0 or more, that sum to 1: of "
            "confidence, entropy and divergence. Divide them by their sum"
        )
    if not 0 < kl_scale < float("inf"):
        raise UsageError(
            f"kl_scale={kl_scale}: expected a finite number above 0, in nats. D3 takes 5"
        )
    log_p_t, log_p_s = (
        F.log_softmax(teacher, 1),
        F.log_softmax(student, 1),
    )  # finite even where p rounds to 0
    p_t = log_p_t.exp()
    confidence = -torch.expm1(log_p_t.max(1).values)  # 1 − p without cancellation where p is near 1
    entropy = -(p_t * log_p_t).sum(1) / np.log(teacher.shape[1])
    divergence = (p_t * (log_p_t - log_p_s)).sum(1) / kl_scale
    parts = [
        part.clamp(0, 1) for part in (confidence, entropy, divergence)
    ]  # of the first two, rounding errors alone
    return Difficulty(
        *parts, total=sum(weight * part for weight, part in zip(weights, parts, strict=True))
    )


def d3_difficulty(
    teacher_logits: torch.Tensor, student_logits: torch.Tensor, labels: torch.Tensor | None = None
) -> torch.Tensor:
    """The total of `sample_difficulty`, as a scorer. (N, C), (N, C) → (N,) in [0, 1]."""
    return sample_difficulty(teacher_logits, student_logits).total


def student_loss(
    teacher_logits: torch.Tensor | None, student_logits: torch.Tensor, labels: torch.Tensor
) -> torch.Tensor:
    """−log p_s(label), nats: what the student finds hard now. (N, C) and labels (N,) → (N,), 0 or
    more.

    The measure of self-paced learning (Kumar, Packer & Koller 2010). A wrong label may look hard
    for ever. Raises UsageError for logits that cannot be right and for labels that are no columns.
    """
    student = _checked(student_logits)[0]
    if labels.shape != student.shape[:1] or labels.is_floating_point():
        raise UsageError(
            f"labels are {labels.dtype} of shape {tuple(labels.shape)}: expected whole numbers of "
            f"shape ({len(student)},), the class of each row of the logits"
        )
    if len(labels) and not 0 <= labels.min() <= labels.max() < student.shape[1]:
        raise UsageError(
            f"labels from {labels.min()} to {labels.max()}: expected 0 to {student.shape[1] - 1}"
        )
    return F.cross_entropy(student, labels, reduction="none")


def teacher_margin(
    teacher_logits: torch.Tensor,
    student_logits: torch.Tensor | None = None,
    labels: torch.Tensor | None = None,
) -> torch.Tensor:
    """1 − (p_first − p_second) of the teacher's two likeliest classes. (N, C) → (N,) in [0, 1], 1
    at a tie.

    Margin sampling of active learning (Scheffer, Decomain & Wrobel 2001). Neither label nor student
    is asked: a teacher that is sure of a wrong answer makes a sample easy. Raises UsageError for
    logits that cannot be right.
    """
    first, second = F.softmax(_checked(teacher_logits)[0], 1).topk(2).values.unbind(1)
    return 1 - (first - second)


class ForgettingEvents:
    """How often each of N samples was forgotten: right when last seen, wrong now (Toneva et al.
    2019, sec. 3).

    Call `update` with each batch that the student answered in training, then ask it like any
    scorer; it looks at no logits. A sample that was never right, or never seen, counts as hardest,
    with as many events as the sample that was seen most often was seen, which is more than any can
    have. The paper says infinitely many, to sort by.
    """

    def __init__(self, samples: int):
        if samples < 1:
            raise UsageError(
                f"samples={samples}: expected 1 or more, the number of training images"
            )
        self.seen = np.zeros(samples, np.int64)  # how often
        self.events = np.zeros(samples, np.int64)  # right → wrong
        self.was_right = np.zeros(samples, bool)  # when last seen
        self.learned = np.zeros(samples, bool)  # ever right

    def update(self, index, correct) -> None:
        """index (B,): places in the split, each once; correct (B,) bool. Raises UsageError if they
        cannot be right.
        """
        index, correct = (
            np.asarray(x.cpu() if torch.is_tensor(x) else x) for x in (index, correct)
        )
        if index.ndim != 1 or index.shape != correct.shape or correct.dtype != bool:
            raise UsageError(
                f"index {index.shape} and correct {correct.shape} ({correct.dtype}): expected one "
                "bool an index"
            )
        if len(np.unique(index)) < len(index) or (
            len(index) and not 0 <= index.min() <= index.max() < len(self.seen)
        ):
            raise UsageError(
                f"index: expected different places from 0 to {len(self.seen) - 1}, each once an "
                "update"
            )
        self.events[index] += self.was_right[index] & ~correct
        self.was_right[index] = correct
        self.learned[index] |= correct
        self.seen[index] += 1

    def __call__(self, teacher_logits, student_logits, labels: torch.Tensor) -> torch.Tensor:
        """(N,) float32: events, of never learned samples the most."""
        if len(labels) != len(self.seen):
            raise UsageError(
                f"{len(labels)} labels: expected {len(self.seen)}, as many as samples were watched"
            )
        hardest = max(1, self.seen.max())
        return torch.from_numpy(np.where(self.learned, self.events, hardest)).float()


def split_difficulty(
    split: Split,
    teacher: Teacher,
    student: nn.Module,
    scorer: Callable = d3_difficulty,
    device=None,
    batch_size: int = 256,
) -> np.ndarray:
    """The difficulty of every sample of a split, in the split's order: (N,) float32, larger is
    harder.

    Measured on the images as they are, never augmented (D3 measures on random crops, so its ranks
    have luck in them). A CachedTeacher answers from what it has kept. The student is in eval mode,
    without gradients, and afterwards in the mode in which it was. The scorer is asked once, about
    all samples, so batch_size does not matter to it.

    device: where both networks compute, by default where the student is; they are moved there, as
    by `fit`. Raises UsageError for an empty split, a teacher that cannot teach this student, and a
    scorer's wrong answer.
    """
    if not isinstance(teacher, Teacher):
        raise UsageError(
            f"teacher= is a {type(teacher).__name__}: expected a Teacher: Teacher(network)"
        )
    device = device or device_of(student)
    batches = Batches(split, batch_size, device=device)
    teacher.to(device)
    student.to(device)
    teacher.check(student, next(batches.epoch()))
    with evaluating(student):
        answers = [
            (teacher(batch).cpu(), student(batch.images).float().cpu()) for batch in batches.epoch()
        ]
        teacher_logits, student_logits = (
            torch.cat(logits) for logits in zip(*answers, strict=True)
        )
    difficulty = torch.as_tensor(scorer(teacher_logits, student_logits, torch.tensor(split.labels)))
    if difficulty.shape != (len(split),) or not difficulty.isfinite().all():
        raise UsageError(
            f"scorer= answered with shape {tuple(difficulty.shape)}, or not with finite numbers: "
            f"expected ({len(split)},), a difficulty a sample"
        )
    return difficulty.numpy().astype(np.float32)


def _checked(*inputs: torch.Tensor) -> list[torch.Tensor]:
    """Logits (N, C) in float32 or better, without gradient; UsageError for what cannot be right."""
    shapes = " and ".join(str(tuple(logits.shape)) for logits in inputs)
    if (
        len({logits.shape for logits in inputs}) > 1
        or inputs[0].ndim != 2
        or inputs[0].shape[1] < 2
    ):
        raise UsageError(
            f"logits of shape {shapes}: expected the same (N, C) for teacher and student, with two "
            "classes or more. A teacher of more classes needs a label_map: Teacher(…)"
        )
    for logits in inputs:
        if not logits.is_floating_point() or not logits.isfinite().all():
            raise UsageError(
                "logits that are NaN, infinite or whole numbers: expected finite floating-point "
                "numbers"
            )
    return [
        logits.detach().to(torch.promote_types(logits.dtype, torch.float32)) for logits in inputs
    ]
