"""What a student learns from: the base of every objective of the course, and how several are
combined.
"""

from collections.abc import Callable, Sequence

import torch
from torch import nn

from kdcourse.common.errors import UsageError
from kdcourse.data.batches import Batch
from kdcourse.distillation.hooks import ForwardOutput, forward_with_features
from kdcourse.distillation.teacher import Teacher


def check_weights(**weights: float) -> None:
    """Raises UsageError, naming it, for a weight that is negative or not finite, or if all of them
    are zero.
    """
    for name, value in weights.items():
        if not 0 <= value < float("inf"):
            raise UsageError(f"{name}={value}: expected a finite number, 0 or more")
    if weights and not any(weights.values()):
        raise UsageError(
            f"{' and '.join(weights)} are 0: nothing would be learned. Give one of them a weight "
            "above 0"
        )


LossTerms = dict[str, torch.Tensor]  # name → weighted loss, a scalar; the loss is their sum


class Objective(nn.Module):
    """(student, batch) → named, weighted loss terms, each a scalar.

    A subclass names the layers whose features it needs, in `student_layers` and `teacher_layers`
    (module paths), and turns logits and features into terms in `terms`. Student and teacher each
    run once per batch, whatever is combined.
    """

    def __init__(self, teacher: Teacher | None = None, student_layers=(), teacher_layers=()):
        super().__init__()
        if teacher is not None and not isinstance(teacher, Teacher):
            raise UsageError(
                f"teacher= is a {type(teacher).__name__}: expected a Teacher, which keeps it "
                "frozen: Teacher(network)"
            )
        self.teacher = teacher
        self.student_layers, self.teacher_layers = tuple(student_layers), tuple(teacher_layers)

    def prepare(self, student: nn.Module, batch: Batch, samples: int) -> None:
        """Called by `fit` before training: the place to make adapters, from the shapes of one dry
        run.

        Raises UsageError for a teacher that cannot teach this student.
        """
        if self.teacher is not None:
            self.teacher.check(student, batch)

    def terms(
        self, student: ForwardOutput, teacher: ForwardOutput | None, batch: Batch
    ) -> LossTerms:
        """The weighted loss terms of a batch.

        student, teacher: logits (B, C) and the features of the layers named, from one forward pass
        each; the teacher's without gradient, None if there is no teacher.
        """
        raise NotImplementedError

    def forward(self, student: nn.Module, batch: Batch) -> LossTerms:
        """The weighted loss terms: student and teacher each run once."""
        return self.terms(*self._outputs(student, batch), batch)

    @torch.no_grad()
    def explain_not_finite(self, student: nn.Module, batch: Batch) -> str:
        """Whose logits hold NaN or infinity; `fit` asks after a loss that is not finite.

        Returns a sentence for the error message, or "" if all logits are finite.
        """
        outputs = zip(("student", "teacher"), self._outputs(student, batch), strict=True)
        broken = [name for name, out in outputs if out and not out.logits.isfinite().all()]
        if not broken:
            return ""
        return (
            f"The logits of the {' and the '.join(broken)} hold NaN or infinity: is the learning "
            "rate too high, or are the images not normalised?"
        )

    def _outputs(
        self, student: nn.Module, batch: Batch
    ) -> tuple[ForwardOutput, ForwardOutput | None]:
        student_output = forward_with_features(student, batch.images, self.student_layers)
        if self.teacher is None:
            return student_output, None
        return student_output, self.teacher.forward_with_features(batch, self.teacher_layers)


class Combined(Objective):
    """Several objectives at once: the terms of each times its weight; terms of the same name are
    added up.

    objectives: `Objective`s with the same teacher (or none), or callables that make one, as a
      Recipe needs them. Mind the label term: `Combined([ResponseKD(t), FitNets(t, …,
      label_weight=0)], [1, 1])` counts it once.
    """

    def __init__(
        self, objectives: Sequence[Objective | Callable[[], Objective]], weights: Sequence[float]
    ):
        objectives = [o if isinstance(o, nn.Module) else o() for o in objectives]
        if len(objectives) != len(weights) or not objectives:
            raise UsageError(
                f"{len(objectives)} objectives and {len(weights)} weights: expected one weight each"
            )
        check_weights(**{f"weights[{i}]": weight for i, weight in enumerate(weights)})
        for objective in objectives:
            if not isinstance(objective, Objective):
                raise UsageError(
                    f"{type(objective).__name__} is not an Objective: it cannot be combined"
                )
        teachers = [o.teacher for o in objectives if o.teacher is not None]
        if any(teacher is not teachers[0] for teacher in teachers):
            raise UsageError(
                "the objectives have different teachers: hand the same Teacher to each"
            )
        super().__init__(
            teachers[0] if teachers else None,
            dict.fromkeys(path for o in objectives for path in o.student_layers),
            dict.fromkeys(path for o in objectives for path in o.teacher_layers),
        )
        self.objectives, self.weights = nn.ModuleList(objectives), tuple(weights)

    def prepare(self, student: nn.Module, batch: Batch, samples: int) -> None:
        for objective in self.objectives:
            objective.prepare(student, batch, samples)

    def terms(
        self, student: ForwardOutput, teacher: ForwardOutput | None, batch: Batch
    ) -> LossTerms:
        total = {}
        for objective, weight in zip(self.objectives, self.weights, strict=True):
            for name, value in objective.terms(student, teacher, batch).items():
                total[name] = total.get(name, 0) + weight * value
        return total

    def extra_repr(self) -> str:
        return f"weights={self.weights}"
