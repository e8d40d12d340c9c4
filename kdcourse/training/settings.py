"""What one call of `fit` was asked to do: its arguments are checked here, once, and its defaults
are filled in.
"""

from collections.abc import Callable
from dataclasses import dataclass
from numbers import Integral

import numpy as np
import torch
from torch import nn

from kdcourse.common.errors import TrainingError, UsageError, unknown
from kdcourse.data.batches import AUGMENTATIONS, Augmentation
from kdcourse.data.splits import DataSplits, Split
from kdcourse.evaluation.metrics import predict
from kdcourse.training import distributed as processes
from kdcourse.training.checkpoint import describe


@dataclass(frozen=True)
class Settings:
    """The checked settings of a training run."""

    epochs: int
    batch_size: int
    seed: int
    keep: str  # which epoch's weights the student ends with: "last" or "best"
    clip: float | None  # bound on the gradient's norm; None: no bound
    max_steps: int | None  # optimiser steps of the whole run; None: those of `epochs`
    views: int | None  # distinct epochs of augmentation; None: all are
    augment: Augmentation | None
    device: torch.device
    dtype: torch.dtype  # float32, or bfloat16 for autocast

    @property
    def precision(self) -> str:
        return str(self.dtype).removeprefix("torch.")

    def steps(self, batches) -> list[int]:
        """How many optimiser steps each epoch has, without regard to `max_steps`."""
        if batches.sampler is None:
            return [len(batches)] * self.epochs
        sizes = [len(batches.order(epoch)) for epoch in range(self.epochs)]
        return [-(-size // self.batch_size) for size in sizes]  # rounded up

    def budget(self, steps: list[int]) -> list[int]:
        """The steps of each epoch that is trained: those of `steps`, up to `max_steps` in all."""
        if self.max_steps is None:
            return steps
        before = [sum(steps[:epoch]) for epoch in range(len(steps))]
        left = [min(count, self.max_steps - b) for count, b in zip(steps, before, strict=True)]
        return [count for count in left if count > 0]

    def described(
        self,
        data: DataSplits,
        objective: nn.Module | None,
        optimizer: Callable,
        schedule: Callable,
    ) -> dict:
        """Plain values that tell whether a checkpoint belongs to this run.

        Raises UsageError for a setting that has no name (a lambda).
        """
        plain = {
            name: getattr(self, name)
            for name in ("epochs", "batch_size", "seed", "keep", "clip", "precision", "views")
        }
        if self.max_steps is not None:  # older files don't have it
            plain["max_steps"] = self.max_steps
        return plain | {
            "augment": describe(self.augment),
            "optimizer": describe(optimizer),
            "schedule": describe(schedule),
            "objective": describe_objective(objective) if objective is not None else None,
            "data": data.fingerprint,
        }


def check_arguments(data, epochs, keep, clip, checkpoint, until, max_steps) -> None:
    """Raises UsageError, naming the argument of `fit` that is wrong and what was expected."""
    if not isinstance(data, DataSplits):
        raise UsageError(
            f"data={type(data).__name__}: expected DataSplits, from kdcourse.data.load or, for "
            "arrays of your own, from DataSplits.from_arrays"
        )
    if not isinstance(epochs, Integral) or epochs < 1:
        raise UsageError(f"epochs={epochs!r}: expected a whole number, 1 or more")
    if until is not None and (
        checkpoint is None or not isinstance(until, Integral) or not 1 <= until <= epochs
    ):
        raise UsageError(
            f"until={until!r}: expected a whole number from 1 to epochs={epochs}, and checkpoint="
        )
    if max_steps is not None and (not isinstance(max_steps, Integral) or max_steps < 1):
        raise UsageError(f"max_steps={max_steps!r}: expected a whole number, 1 or more, or None")
    if keep not in ("last", "best"):
        raise unknown("keep", keep, ("last", "best"))
    if clip is not None and not clip > 0:
        raise UsageError(f"clip={clip}: expected a number above 0, or None")


def check_network(student: nn.Module, data: DataSplits, device: torch.device) -> None:
    """Raises UsageError if the network cannot take the images, or has not one logit per class.

    One image is classified before training: on a GPU, a label without a logit breaks the process.
    """
    shape = (len(data.channels), *data.image_size)
    try:
        logits, _ = predict(student, data.train.subset([0]), device=device)
    except RuntimeError as error:
        raise UsageError(
            f"the network cannot take images of shape {shape} (C, H, W): {error}"
        ) from error
    if logits.shape != (1, len(data.classes)):
        raise UsageError(
            f"the network answers an image with shape {tuple(logits.shape[1:])}, expected "
            f"({len(data.classes)},), one logit per class. Build it with classes=len(data.classes)"
        )


def trainable(student: nn.Module, objective: nn.Module) -> list[nn.Parameter]:
    """The parameters to optimise. Raises TrainingError if there are none."""
    parameters = [p for p in (*student.parameters(), *objective.parameters()) if p.requires_grad]
    if not parameters:
        raise TrainingError(
            "nothing to train: no parameter of student or objective has requires_grad"
        )
    return parameters


def training_sample(data: DataSplits) -> Split:
    """As many training images as there are in validation, spread evenly: the rows of a class are
    often next to each other.
    """
    size = min(len(data.train), len(data.val))
    return data.train.subset(np.arange(size) * len(data.train) // size)


def describe_objective(objective: nn.Module) -> str:
    """An objective in one line: its printed form, and the fingerprints of its teachers."""
    teachers = [getattr(part, "fingerprint", None) for part in objective.modules()]
    return " ".join([*repr(objective).split(), *dict.fromkeys(filter(None, teachers))])


def best_device() -> torch.device:
    """CUDA if there is one, else Apple's MPS, else the CPU."""
    if torch.cuda.is_available():
        return torch.device("cuda")
    return torch.device("mps" if torch.backends.mps.is_available() else "cpu")


def resolve_device(device: str | torch.device | None) -> torch.device:
    """None → `best_device()`. Raises UsageError for a device that is unknown or not there."""
    try:
        found = torch.device(device) if device else best_device()
        torch.empty(0, device=found)
        return found
    except (RuntimeError, AssertionError) as error:  # the latter: torch without CUDA
        raise UsageError(
            f"device={device!r}: {error}. Leave it out to have the best device that is there"
        ) from error


def has_bfloat16(device: torch.device) -> bool:
    """Whether the hardware computes in bfloat16 itself; emulated it is slower than float32."""
    if device.type == "cuda":
        return torch.cuda.is_bf16_supported(including_emulation=False)
    if device.type == "cpu":
        # older versions of torch cannot tell: float32
        flags = getattr(torch.cpu, "get_capabilities", dict)()
        return bool(flags.get("avx512_bf16") or flags.get("amx_bf16") or flags.get("bf16"))
    return False


def resolve_precision(precision: str, device: torch.device) -> torch.dtype:
    """ "auto" → bfloat16 autocast where the hardware has it, else float32."""
    known = {
        "auto": torch.bfloat16 if has_bfloat16(device) else torch.float32,
        "float32": torch.float32,
        "bfloat16": torch.bfloat16,
    }
    if precision not in known:
        raise unknown("precision", precision, known)
    return known[precision]


def resolve_augmentation(
    augment: str | Augmentation | None, data: DataSplits
) -> Augmentation | None:
    """ "default" → the data set's own; a name → that of AUGMENTATIONS."""
    if not isinstance(augment, str):
        return augment
    name = data.augmentation if augment == "default" else augment
    if name not in AUGMENTATIONS:
        raise unknown("augmentation", name, ("default", *AUGMENTATIONS))
    return AUGMENTATIONS[name]


def resolve(data: DataSplits, *, device, precision: str, augment, **plain) -> Settings:
    """Settings with this process' device, the precision it computes in, and the augmentation.

    Raises UsageError for a device that is not there, an unknown precision or augmentation.
    """
    processes.join()
    device = processes.own_device(resolve_device(device))
    return Settings(
        device=device,
        dtype=resolve_precision(precision, device),
        augment=resolve_augmentation(augment, data),
        **plain,
    )
