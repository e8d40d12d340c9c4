"""One epoch of a training run: the gradient steps, then the validation.

`fit` makes an `Epoch` for each epoch and runs it. `set_epoch_runner` replaces what happens there
in every `fit` of the process: `kdcourse rehearse` uses it to train a few steps only.
"""

from collections.abc import Callable
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import islice

import torch
from torch import nn
from torch.nn import functional as F

from kdcourse.common.errors import KDCourseError, TrainingError
from kdcourse.data.batches import Batch
from kdcourse.data.splits import Split
from kdcourse.evaluation.metrics import predict
from kdcourse.training import distributed as processes
from kdcourse.training.settings import Settings
from kdcourse.training.state import TrainingState


@dataclass
class Epoch:
    """An epoch that is about to be trained.

    run: the state of the training run, the same object in all of its epochs. number: from 0.
    steps: how many optimiser steps the epoch has. steps_before: those of the epochs before it.
    limit: the steps after which `fit(max_steps=)` cuts the epoch short; None: it goes to its end.
    """

    run: TrainingState
    number: int
    steps: int
    steps_before: int
    limit: int | None
    step: Callable  # (batch) → terms
    batches: processes.Share
    parameters: list[nn.Parameter]
    settings: Settings
    splits: dict[str, Split]  # "train": a sample of the training images; "val"
    on_step: Callable[[int], None] | None = None

    def train(
        self, max_steps: int | None = None, on_step: Callable[[int], None] | None = None
    ) -> dict[str, float]:
        """Take the optimiser steps. Returns the means of the loss and of each of its terms.

        max_steps: stop after so many steps of this epoch. on_step: called after each step with its
        number in this epoch, from 1. Raises TrainingError at the first loss that is not finite.
        """
        self.run.student.train()  # each epoch: validation left it in eval mode
        self.run.objective.train()
        sums, images = {}, 0
        limit = min(filter(None, (self.limit, max_steps)), default=None)
        for number, batch in enumerate(islice(self.batches.epoch(self.number), limit), start=1):
            means = self._step(batch, number)
            for name, value in means.items():
                sums[name] = sums.get(name, 0) + value.detach() * self.batches.images
            images += self.batches.images
            if on_step:
                on_step(number)
            if self.on_step and processes.is_first():
                self.on_step(self.steps_before + number)
        return {name: (total / images).item() for name, total in sums.items()}

    def validate(self, name: str) -> tuple[float, float]:
        """Accuracy in % and mean cross-entropy in nats, on splits[name]: "train" or "val"."""
        with autocast(self.settings.device, self.settings.dtype):
            return validate(self.run.student, self.splits[name], self.settings.device)

    def record(self) -> dict[str, float]:
        """Train, then validate: what the History keeps of this epoch."""
        record = self.train()
        record["train_accuracy"], _ = self.validate("train")
        record["val_accuracy"], record["val_loss"] = self.validate("val")
        return record

    def _step(self, batch: Batch, number: int) -> dict[str, torch.Tensor]:
        """One optimiser step. Returns the means over the whole batch, of all processes."""
        try:
            with autocast(batch.images.device, self.settings.dtype):
                terms = self.step(batch)
        except KDCourseError as error:
            error.args = (f"epoch {self.number + 1}, batch {number}: {error}",)
            raise
        loss = sum(terms.values())
        means = processes.global_means({"loss": loss, **terms}, self.batches)
        if not torch.isfinite(means["loss"]):
            raise self._not_finite(means, batch, number)
        self.run.optimizer.zero_grad(set_to_none=True)
        (self.batches.weight * loss).backward()
        if self.settings.clip:
            nn.utils.clip_grad_norm_(self.parameters, self.settings.clip)
        self.run.optimizer.step()
        self.run.scheduler.step()
        return means

    def _not_finite(
        self, means: dict[str, torch.Tensor], batch: Batch, number: int
    ) -> TrainingError:
        """The error that names the epoch, the batch, the terms and, where known, the cause."""
        terms = {name: value for name, value in means.items() if name != "loss"}
        broken = [f"{name} = {v.item()}" for name, v in terms.items() if not torch.isfinite(v)]
        cause = ""
        if hasattr(self.run.objective, "explain_not_finite"):
            with autocast(batch.images.device, self.settings.dtype):
                cause = self.run.objective.explain_not_finite(self.run.student, batch)
        return TrainingError(
            f"epoch {self.number + 1}, batch {number}: loss not finite "
            f"({', '.join(broken) or 'the sum overflows'}). {cause}{' ' if cause else ''}Lower the "
            "learning rate, clip the gradient (clip=1.0), or look for a log of zero in that term"
        )


EpochRunner = Callable[[Epoch], dict[str, float]]
_runner: EpochRunner = Epoch.record


def set_epoch_runner(runner: EpochRunner | None) -> None:
    """Let `runner(epoch)` do every epoch of every `fit` of this process; None: as usual.

    The runner returns the epoch's record, as `Epoch.record` does: the means of the loss and its
    terms, train_accuracy, val_accuracy and val_loss.
    """
    global _runner
    _runner = runner or Epoch.record


def run_epoch(epoch: Epoch) -> dict[str, float]:
    """The epoch's record, from the runner that is set."""
    return _runner(epoch)


def validate(model: nn.Module, split: Split, device: torch.device) -> tuple[float, float]:
    """Accuracy in % and mean cross-entropy in nats."""
    logits, labels = predict(model, split, device=device)
    accuracy = 100 * (logits.argmax(1) == labels).float().mean().item()
    return accuracy, F.cross_entropy(logits, labels).item()


def autocast(device: torch.device, dtype: torch.dtype):
    return torch.autocast(device.type, dtype=torch.bfloat16, enabled=dtype == torch.bfloat16)


@contextmanager
def own_randomness(device: torch.device):
    """The caller's random numbers go on afterwards as if there had been no training."""
    with torch.random.fork_rng(devices=[device] if device.type == "cuda" else []):
        yield
