"""The base of the objectives that compare features of student and teacher."""

from collections.abc import Sequence

import torch
from torch import nn
from torch.nn import functional as F

from kdcourse.common.errors import UsageError
from kdcourse.data.batches import Batch
from kdcourse.distillation.hooks import FeatureHooks, ForwardOutput, forward_with_features
from kdcourse.distillation.objective import Objective, check_weights
from kdcourse.distillation.teacher import Teacher


class FeatureObjective(Objective):
    """What the objectives below share: layers of the same number on both sides, weights by term,
    one dry run.

    A subclass turns features into unweighted losses in `losses`, and makes its adapters, if it
    needs any, in `adapt`. Terms of weight 0 are left out. `fit` calls `prepare`; whoever trains
    without `fit` calls it first.
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
                f"{len(self.teacher_layers)} "
                f"teacher layer(s) {self.teacher_layers}: expected one or more, a teacher's for "
                "each of the student's"
            )
        FeatureHooks(teacher.network, self.teacher_layers)  # an unknown path is said at once
        self.weights = weights
        self.shapes: dict | None = None  # what the dry run saw

    def prepare(self, student: nn.Module, batch: Batch, samples: int) -> None:
        """A dry run: make the adapters and try the losses once, so that what cannot work is said
        before training.

        A second call changes nothing if the shapes are the same; otherwise it raises UsageError,
        rather than throw trained adapters away.
        """
        super().prepare(student, batch, samples)
        training = student.training
        student.eval()
        try:
            with torch.no_grad():
                seen = forward_with_features(student, batch.images, self.student_layers)
        finally:
            student.train(training)
        taught = self.teacher.forward_with_features(batch, self.teacher_layers)
        shapes = self._shapes(seen, taught) | ({"samples": samples} if self.needs_adapters else {})
        if self.shapes is None or not self.needs_adapters:
            self._first_time(seen, taught, batch, samples)
        elif shapes != self.shapes:
            raise UsageError(
                f"{type(self).__name__} was prepared for {self.shapes}, and is asked to fit "
                f"{shapes}: its adapters "
                "would be lost. Make a new objective for this student and data"
            )
        self.shapes = shapes

    def _first_time(
        self, seen: ForwardOutput, taught: ForwardOutput, batch: Batch, samples: int
    ) -> None:
        self.adapt(*self._features(seen, taught), samples)
        self.to(batch.images.device)
        self.eval()  # for the trial: batch norms and banks stay as they are
        with torch.no_grad():
            self.losses(*self._features(seen, taught), batch)
        self.train()

    def adapt(self, student: list[torch.Tensor], teacher: list[torch.Tensor], samples: int) -> None:
        """Make adapters for features like these. samples: how many training images there are."""

    def losses(
        self, student: list[torch.Tensor], teacher: list[torch.Tensor], batch: Batch
    ) -> dict[str, torch.Tensor]:
        """Unweighted losses by term; the features in the order of the layers, in float32."""
        raise NotImplementedError

    def terms(
        self, seen: ForwardOutput, taught: ForwardOutput | None, batch: Batch
    ) -> dict[str, torch.Tensor]:
        losses = {}
        if any(weight for term, weight in self.weights.items() if term != "label"):
            if self.needs_adapters and self.shapes is None:
                raise UsageError(
                    f"{type(self).__name__} has no adapters yet: train it with fit, or call "
                    "prepare(student, batch, samples) before the optimiser is made"
                )
            with torch.autocast(seen.logits.device.type, enabled=False):
                losses = self.losses(*self._features(seen, taught), batch)
        if self.weights["label"]:
            losses["label"] = F.cross_entropy(seen.logits, batch.labels)
        return {term: weight * losses[term] for term, weight in self.weights.items() if weight}

    def _features(
        self, seen: ForwardOutput, taught: ForwardOutput
    ) -> tuple[list[torch.Tensor], list[torch.Tensor]]:
        student = [seen.features[path].float() for path in self.student_layers]
        return student, [taught.features[path].float() for path in self.teacher_layers]

    def _shapes(self, seen: ForwardOutput, taught: ForwardOutput) -> dict:
        """{(student's layer, teacher's layer): (its shape, the teacher's)}, without the batch."""
        student, teacher = self._features(seen, taught)
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
