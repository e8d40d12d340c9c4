"""The teacher: a network that cannot be trained by accident.

Consistent teaching (Beyer et al. 2022) wants the teacher's answer to the very crop that the student
sees. A `Teacher` gives it, for a forward pass each step; `CachedTeacher` keeps the answers.
"""

import hashlib
import operator
from collections.abc import Sequence

import numpy as np
import torch
from torch import nn

from kdcourse.common.errors import UsageError
from kdcourse.data.batches import Batch
from kdcourse.distillation.hooks import ForwardOutput, forward_with_features
from kdcourse.training.checkpoint import digest


class Teacher(nn.Module):
    """A network held frozen: in eval mode even after `.train()`, without gradients, its parameters
    never optimised.

    The network is no submodule: its weights are in no checkpoint of the student's run, and no
    optimiser finds them. It moves with `.to(device)`.

    label_map: for a teacher of more classes, the column of its logits for each class of the
      student. D3 picks the 100 classes of mini-ImageNet from the 1,000 of ImageNet.
    normalisation, student_normalisation: (mean, std), each (C,), of the data that the teacher was
      trained on and of the
      data that the batches are normalised by: `(data.mean, data.std)`. Both or neither. Images are
      taken back to raw values and normalised as the teacher knows it.

    If you pass a Teacher instead of a network, its settings are kept. Raises UsageError for a wrong
    argument.
    """

    def __init__(
        self,
        network: nn.Module,
        *,
        label_map: Sequence[int] | None = None,
        normalisation: tuple[Sequence[float], Sequence[float]] | None = None,
        student_normalisation: tuple[Sequence[float], Sequence[float]] | None = None,
    ):
        super().__init__()
        if isinstance(network, Teacher):
            if not (label_map is normalisation is student_normalisation is None):
                raise UsageError(
                    "a Teacher has its settings already: give them with the bare network, "
                    "teacher.network"
                )
            label_map, normalisation, student_normalisation = network.settings
            network = network.network
        if not isinstance(network, nn.Module):
            raise UsageError(
                f"network= is a {type(network).__name__}: expected an nn.Module. load_or_train "
                "returns (network, history): hand in the first"
            )
        if (normalisation is None) != (student_normalisation is None):
            raise UsageError(
                "normalisation= and student_normalisation= belong together: what the teacher was "
                "trained on, and what the student's batches are normalised by, each (mean, std). "
                "Give both or neither"
            )
        self.label_map = None if label_map is None else _columns(label_map)
        self.normalisation = _mean_and_std("normalisation", normalisation)
        self.student_normalisation = _mean_and_std("student_normalisation", student_normalisation)
        # not persistent: the teacher is in no state dict
        self.register_buffer(
            "_label_map", self.label_map and torch.tensor(self.label_map), persistent=False
        )
        scale, shift = self._renormalise() if normalisation is not None else (None, None)
        self.register_buffer("_scale", scale, persistent=False)
        self.register_buffer("_shift", shift, persistent=False)
        self._held = (network.eval().requires_grad_(False),)  # a tuple hides it from nn.Module

    @property
    def network(self) -> nn.Module:
        return self._held[0]

    @property
    def settings(self) -> tuple:
        """label_map, normalisation, student_normalisation."""
        return self.label_map, self.normalisation, self.student_normalisation

    @property
    def fingerprint(self) -> str:
        """Of all that its answers depend on: architecture, weights to the bit, settings."""
        text = f"{self.network!r} {digest(self.network)} {self.settings}"
        return hashlib.sha256(text.encode()).hexdigest()[:16]

    def train(self, mode: bool = True) -> "Teacher":
        return super().train(False)

    def _apply(self, fn, recurse=True):
        self.network._apply(fn)
        return super()._apply(fn, recurse)

    def forward(self, batch: Batch) -> torch.Tensor:
        """Logits (B, C) float32 for the images of a batch."""
        return self.forward_with_features(batch).logits

    @torch.no_grad()
    def forward_with_features(self, batch: Batch, layers: Sequence[str] = ()) -> ForwardOutput:
        """Logits (B, C), and the features of the layers named."""
        self.network.eval()  # other code that holds the network may have changed its mode
        output = forward_with_features(self.network, self._renormalised(batch.images), layers)
        if self.label_map is None:
            return output
        return ForwardOutput(self._picked(output.logits), output.features)

    def check(self, student: nn.Module, batch: Batch) -> None:
        """Raises UsageError if this teacher cannot teach that student, or was told of another
        normalisation.
        """
        if student is self.network:
            raise UsageError(
                "the student is the teacher's own network, which is frozen: hand in another, such "
                "as copy.deepcopy(teacher.network).requires_grad_(True)"
            )
        if self.student_normalisation and batch.source is not None:
            split = batch.source.split
            for given, used in zip(
                self.student_normalisation, (split.mean, split.std), strict=True
            ):
                if len(given) not in (1, len(used)) or not np.allclose(given, used, rtol=1e-3):
                    raise UsageError(
                        f"student_normalisation= says {_short(given)}, but the batches are "
                        f"normalised by {_short(used)}: give (data.mean, data.std) of the "
                        "student's data"
                    )

    def _renormalise(self) -> tuple[torch.Tensor, torch.Tensor]:
        """Scale and shift (1, C, 1, 1): x ← (x · std_s + mean_s − mean_t) / std_t."""
        if len(self.normalisation[0]) != len(self.student_normalisation[0]):
            raise UsageError(
                "student_normalisation= and normalisation= have "
                f"{len(self.student_normalisation[0])} and {len(self.normalisation[0])} channels: "
                "expected as many"
            )
        (mean_t, std_t), (mean_s, std_s) = (
            np.array(self.normalisation),
            np.array(self.student_normalisation),
        )
        scale, shift = std_s / std_t, (mean_s - mean_t) / std_t
        return tuple(
            torch.from_numpy(value).float().reshape(1, -1, 1, 1) for value in (scale, shift)
        )

    def _renormalised(self, images: torch.Tensor) -> torch.Tensor:
        if self._scale is None:
            return images
        if self._scale.shape[1] not in (1, images.shape[1]):
            raise UsageError(
                f"normalisation= has {self._scale.shape[1]} channels, the images have "
                f"{images.shape[1]}: give the mean and std of each channel, or one of each for all"
            )
        return images * self._scale + self._shift

    def _picked(self, logits: torch.Tensor) -> torch.Tensor:
        if max(self.label_map) >= logits.shape[1]:
            raise UsageError(
                f"label_map= names column {max(self.label_map)}, but the teacher's network has "
                f"{logits.shape[1]} classes, counted from 0"
            )
        return logits[:, self._label_map]

    def extra_repr(self) -> str:
        labels = [f"label_map to {len(self.label_map)} classes"] if self.label_map else []
        return ", ".join(
            [
                type(self.network).__name__,
                *labels,
                *(["normalisation"] if self.normalisation else []),
            ]
        )


def _columns(label_map: Sequence[int]) -> tuple[int, ...]:
    wanted = (
        "label_map= must be different whole numbers, 0 or more: for each class, its column in the "
        "teacher's logits"
    )
    try:
        columns = tuple(operator.index(column) for column in label_map)
    except TypeError as error:
        raise UsageError(wanted) from error
    if not columns or min(columns) < 0 or len(set(columns)) < len(columns):
        raise UsageError(wanted)
    return columns


def _mean_and_std(name: str, values) -> tuple[tuple[float, ...], tuple[float, ...]] | None:
    if values is None:
        return None
    try:
        mean, std = (np.asarray(value, np.float64).reshape(-1) for value in values)
    except (TypeError, ValueError) as error:
        raise UsageError(f"{name}= must be (mean, std), a number a channel each") from error
    if mean.shape != std.shape or not np.isfinite([mean, std]).all() or not (std > 0).all():
        raise UsageError(
            f"{name}= must be (mean, std), a finite number a channel each and std above 0, not "
            f"{_short(mean)} and {_short(std)}"
        )
    return tuple(mean.tolist()), tuple(std.tolist())


def _short(values) -> str:
    shown = ", ".join(f"{value:.4g}" for value in values[:3])
    return f"({shown}{', …' if len(values) > 3 else ''})"
