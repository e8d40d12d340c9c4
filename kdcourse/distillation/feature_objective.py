"""The base of the objectives that compare features of student and teacher."""

from collections.abc import Sequence

import torch
from torch import nn
from torch.nn import functional as F

from kdcourse.common.errors import UsageError
from kdcourse.data.batches import Batch
from kdcourse.distillation.hooks import FeatureHooks, ForwardOutput, forward_with_features
from kdcourse.distillation.objective import LossTerms, Objective, check_weights
from kdcourse.distillation.teacher import Teacher


class FeatureObjective(Objective):
    """An objective that compares layers of the student with as many layers of the teacher.

    A subclass turns features into unweighted losses in `losses`, and makes its adapters, if it
    needs any, in `adapt`. Terms of weight 0 are left out. `fit` calls `prepare`; call it yourself
    if you train without `fit`.
    """

    needs_adapters = False
    pools = False  # are maps of two sizes pooled to the smaller? For the printed form

    def __init__(self, teacher: Teacher, student_layers, teacher_layers, **weights: float):
        check_weights(**{f"{term}_weight": weight for term, weight in weights.items()})
        super().__init__(teacher, _paths(student_layers), _paths(teacher_layers))
        if teacher is None:
            raise UsageError(
                f"{type(self).__name__} compares with a teacher: hand in Teacher(network)"
            )
        if len(self.student_layers) != len(self.teacher_layers) or not self.student_layers:
            raise UsageError(
                f"{len(self.student_layers)} student layer(s) {self.student_layers} and "
                f"{len(self.teacher_layers)} teacher layer(s) {self.teacher_layers}: expected one "
                "or more, a teacher's for each of the student's"
            )
        FeatureHooks(teacher.network, self.teacher_layers)  # an unknown path raises here
        self.weights = weights
        self.shapes: dict | None = None  # of the features in the dry run

    def prepare(self, student: nn.Module, batch: Batch, samples: int) -> None:
        """A dry run: make the adapters and try the losses once.

        Raises UsageError, before training, for features that the losses cannot compare. A second
        call changes nothing if the shapes are the same; otherwise it raises UsageError, because
        trained adapters would be lost.
        """
        super().prepare(student, batch, samples)
        training = student.training
        student.eval()
        try:
            with torch.no_grad():
                student_output = forward_with_features(student, batch.images, self.student_layers)
        finally:
            student.train(training)
        features = self._features(
            student_output, self.teacher.forward_with_features(batch, self.teacher_layers)
        )
        shapes = self._shapes(*features)
        if self.needs_adapters:
            shapes["samples"] = samples
        if self.shapes is None or not self.needs_adapters:
            self._first_time(*features, batch, samples)
        elif shapes != self.shapes:
            raise UsageError(
                f"{type(self).__name__} was prepared for {self.shapes}, and is asked to fit "
                f"{shapes}: its adapters would be lost. Make a new objective for this student and "
                "data"
            )
        self.shapes = shapes

    def _first_time(
        self, student: list[torch.Tensor], teacher: list[torch.Tensor], batch: Batch, samples: int
    ) -> None:
        """Make the adapters, then try the losses, which check the shapes of their features."""
        self.adapt(student, teacher, samples)
        self.to(batch.images.device)
        self.eval()  # for the trial: batch norms and banks stay as they are
        with torch.no_grad():
            self.losses(student, teacher, batch)
        self.train()

    def adapt(self, student: list[torch.Tensor], teacher: list[torch.Tensor], samples: int) -> None:
        """Make adapters for features like these. samples: how many training images there are."""

    def losses(
        self, student: list[torch.Tensor], teacher: list[torch.Tensor], batch: Batch
    ) -> LossTerms:
        """Unweighted losses by term; the features in the order of the layers, in float32."""
        raise NotImplementedError

    def terms(
        self, student: ForwardOutput, teacher: ForwardOutput | None, batch: Batch
    ) -> LossTerms:
        losses = {}
        if any(weight for term, weight in self.weights.items() if term != "label"):
            if self.needs_adapters and self.shapes is None:
                raise UsageError(
                    f"{type(self).__name__} has no adapters yet: train it with fit, or call "
                    "prepare(student, batch, samples) before the optimiser is made"
                )
            with torch.autocast(student.logits.device.type, enabled=False):
                losses = self.losses(*self._features(student, teacher), batch)
        if self.weights["label"]:
            losses["label"] = F.cross_entropy(student.logits, batch.labels)
        return {term: weight * losses[term] for term, weight in self.weights.items() if weight}

    def _features(
        self, student: ForwardOutput, teacher: ForwardOutput
    ) -> tuple[list[torch.Tensor], list[torch.Tensor]]:
        """The features of student and teacher, in the order of the layers, in float32."""
        student_features = [student.features[path].float() for path in self.student_layers]
        return student_features, [teacher.features[path].float() for path in self.teacher_layers]

    def _shapes(self, student: list[torch.Tensor], teacher: list[torch.Tensor]) -> dict:
        """{(student's layer, teacher's layer): (its shape, the teacher's)}, without the batch."""
        shapes = [
            (tuple(s.shape[1:]), tuple(t.shape[1:])) for s, t in zip(student, teacher, strict=True)
        ]
        return dict(
            zip(zip(self.student_layers, self.teacher_layers, strict=True), shapes, strict=True)
        )

    def extra_repr(self) -> str:
        pairs = zip(self.student_layers, self.teacher_layers, strict=True)
        parts = []
        for pair in dict.fromkeys(pairs):
            student, teacher = (self.shapes or {}).get(pair, ("", ""))
            parts.append(f"{pair[0]}{student} → {pair[1]}{teacher}{self.fate(student, teacher)}")
        return ", ".join(
            parts + [f"{term}_weight={weight:g}" for term, weight in self.weights.items()]
        )

    def fate(self, student: tuple, teacher: tuple) -> str:
        """What becomes of two maps of different sizes, for the printed form."""
        if not self.pools or len(student) != 3 or len(teacher) != 3 or student[1:] == teacher[1:]:
            return ""
        smaller = [str(min(pair)) for pair in zip(student[1:], teacher[1:], strict=True)]
        return f" pooled to {'×'.join(smaller)}"


def _paths(layers: str | Sequence[str]) -> tuple[str, ...]:
    return (layers,) if isinstance(layers, str) else tuple(layers)
