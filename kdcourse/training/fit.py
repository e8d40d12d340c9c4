"""The one loop. Every network of the course is trained by `fit`; what it learns from is the
objective's affair.
"""

import logging
import os
import time
from collections.abc import Callable
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from numbers import Integral
from pathlib import Path

import numpy as np
import torch
from torch import nn
from torch.nn import functional as F

import kdcourse
from kdcourse.common.errors import (
    CheckpointError,
    KDCourseError,
    TrainingError,
    UsageError,
    unknown,
)
from kdcourse.common.progress_bar import bar
from kdcourse.data.batches import AUGMENTATIONS, Augmentation, Batches
from kdcourse.data.splits import DataSplits, Split
from kdcourse.evaluation.metrics import predict
from kdcourse.training import checkpoint as files
from kdcourse.training import distributed as processes
from kdcourse.training.checkpoint import describe
from kdcourse.training.history import History

log = logging.getLogger(__name__)
adamw = partial(torch.optim.AdamW, lr=3e-3, weight_decay=5e-2)
adamw.__doc__ = "The default optimiser (Loshchilov & Hutter 2019): called with the parameters."


def one_cycle(optimizer: torch.optim.Optimizer, steps: int) -> torch.optim.lr_scheduler.LRScheduler:
    """Up to the optimiser's learning rate in 20 % of the steps, then down by a cosine (Smith &
    Topin 2019).
    """
    rates = [group["lr"] for group in optimizer.param_groups]
    rise = 0.2 if steps > 5 else 0.3  # at 0.2 of 5 steps OneCycleLR divides by zero
    return torch.optim.lr_scheduler.OneCycleLR(
        optimizer, rates, total_steps=steps, pct_start=rise, cycle_momentum=False
    )


def constant(optimizer: torch.optim.Optimizer, steps: int) -> torch.optim.lr_scheduler.LRScheduler:
    """The optimiser's learning rate throughout."""
    return torch.optim.lr_scheduler.ConstantLR(optimizer, factor=1)


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
        flags = getattr(
            torch.cpu, "get_capabilities", dict
        )()  # older versions of torch cannot tell: float32
        return bool(flags.get("avx512_bf16") or flags.get("amx_bf16") or flags.get("bf16"))
    return False


def resolve_precision(precision: str, device: torch.device) -> torch.dtype:
    """ "auto" → bfloat16 autocast where the hardware has it, else float32."""
    known = {
        "auto": torch.bfloat16 if has_bfloat16(device) else torch.float32,
        "float32": torch.float32,
    }
    known["bfloat16"] = torch.bfloat16
    if precision not in known:
        raise unknown("precision", precision, known)
    return known[precision]


def fit(
    student: nn.Module,
    data: DataSplits,
    objective: nn.Module,
    *,
    epochs: int,
    optimizer: Callable[..., torch.optim.Optimizer] = adamw,
    schedule: Callable[..., torch.optim.lr_scheduler.LRScheduler] = one_cycle,
    batch_size: int = 64,
    augment: str | Augmentation | None = "default",
    sampler: Callable | None = None,
    views: int | None = None,
    seed: int = 0,
    checkpoint: str | os.PathLike | None = None,
    until: int | None = None,
    precision: str = "auto",
    device: str | torch.device | None = None,
    clip: float | None = None,
    keep: str = "last",
    progress: bool = True,
    on_epoch: Callable[[dict], None] | None = None,
    about: dict | None = None,
) -> History:
    """Train `student` on `data.train`, validate on `data.val` after each epoch; `data.test` is
    never touched.

    objective: `nn.Module`, (student, batch) → dict of named, weighted loss terms; their sum is
      minimised. Its own parameters are optimised with the student's. If it has a method
      `prepare(student, batch, samples)`, that is called once before training, with a small batch
      and the number of training images: the place to make adapters.
    optimizer: called with the parameters. schedule: called with (optimizer, number of steps),
      stepped every batch.
    augment: "default" (the data set's own), a name in `AUGMENTATIONS`, an `Augmentation`, or None.
    views: how many epochs of augmentation are distinct (see `Batches`); None: all are.
    checkpoint: a file written after every epoch. If it is there already, training goes on from it
      and ends with the same bits as a run that was never stopped (CPU, same number of threads).
    until: stop after this many of the epochs; the same call without it, or with a larger one, goes
      on. Needs `checkpoint`.
    precision: "auto", "float32" or "bfloat16" (autocast). clip: bound on the gradient's norm.
    keep: "last", or "best" for the weights of the epoch that was best on validation.
    on_epoch: called with each epoch's record, as it stands in the History, after the checkpoint was
      written.
    about: plain values that the checkpoint is to hold besides: what `load_or_train` says of network
      and data.

    Several processes: where `torchrun` started them, each calls `fit` with the same arguments and
    takes its share of every batch; `batch_size` counts the images of all. The result is that of one
    process up to rounding, except where network or objective draw at random (dropout, the negatives
    of ContrastiveKD), and where an objective compares the images of a batch with each other or
    keeps a bank of them: it sees its share alone. The first process writes the checkpoint, shows
    the progress and calls `on_epoch`; all return the same History. See docs/scaling.md.

    Raises UsageError for an argument, or a network, that does not fit the data; TrainingError at
    the first loss that is not finite; CheckpointError for a file of another run. Interrupted
    (Ctrl-C, Jupyter's stop), it leaves the last whole epoch's checkpoint and the student in eval
    mode.
    """
    if not isinstance(data, DataSplits):
        raise UsageError(
            f"data={type(data).__name__}: expected DataSplits, from kdcourse.data.load or, of "
            "arrays of your own, from "
            "DataSplits.from_arrays"
        )
    if not isinstance(epochs, Integral) or epochs < 1:
        raise UsageError(f"epochs={epochs!r}: expected a whole number, 1 or more")
    if until is not None and (
        checkpoint is None or not isinstance(until, Integral) or not 1 <= until <= epochs
    ):
        raise UsageError(
            f"until={until!r}: expected a whole number from 1 to epochs={epochs}, and checkpoint="
        )
    if keep not in ("last", "best"):
        raise unknown("keep", keep, ("last", "best"))
    if clip is not None and not clip > 0:
        raise UsageError(f"clip={clip}: expected a number above 0, or None")
    processes.join()
    device = processes.own_device(resolve_device(device))
    dtype = resolve_precision(precision, device)
    augment = resolve_augmentation(augment, data)

    student.to(device, memory_format=torch.channels_last)
    objective.to(device)
    batches = processes.Share(
        data.train,
        batch_size,
        seed=seed,
        augment=augment,
        device=device,
        sampler=sampler,
        views=views,
    )
    _check_answers(student, data, device)
    if hasattr(objective, "prepare"):
        with _own_randomness(device):
            torch.manual_seed(seed)
            first = Batches(data.train.subset(np.arange(min(2, len(data.train)))), 2, device=device)
            objective.prepare(student, next(first.epoch()), len(data.train))
        objective.to(device)
    parameters = [p for p in (*student.parameters(), *objective.parameters()) if p.requires_grad]
    if not parameters:
        raise TrainingError(
            "nothing to train: no parameter of student or objective has requires_grad"
        )
    steps_an_epoch = (
        [-(-len(batches.order(e)) // batch_size) for e in range(epochs)]
        if sampler
        else [len(batches)] * epochs
    )
    optimiser = optimizer(parameters)
    scheduler = schedule(optimiser, sum(steps_an_epoch))
    history = History(keep=keep, precision=str(dtype).removeprefix("torch."), device=str(device))
    run = _Run(student, objective, optimiser, scheduler, history, about)
    settings = dict(
        epochs=epochs, batch_size=batch_size, seed=seed, keep=keep, clip=clip, precision=history.precision,
        augment=describe(augment), views=views, optimizer=describe(optimizer), schedule=describe(schedule),
        objective=_said(objective) if checkpoint else None,
        data=data.fingerprint,
    )  # fmt: skip
    if checkpoint and (content := processes.from_first(_found, checkpoint)) is not None:
        run.restore(content, settings, checkpoint)
    sample = min(len(data.train), len(data.val))  # spread evenly: rows of a class lie together
    train_sample = data.train.subset(np.arange(sample) * len(data.train) // sample)
    progress = progress and processes.is_first()
    log.info("training on %s in %s", device, history.precision)

    name = f"{type(student).__name__} ({history.precision}, {device})"
    seen = bar(total=epochs, initial=len(history.records), unit="epoch", desc=name, shown=progress)
    with seen, _own_randomness(device), processes.parallel(student, objective, batches) as step:
        try:
            for epoch in range(len(history.records), until or epochs):
                started = time.perf_counter()
                # for dropout and the like: nothing a checkpoint must hold; each process draws for
                # its own images
                torch.manual_seed(seed * 100_003 + epoch + 1_000_000_007 * processes.rank())
                record = {"epoch": epoch + 1, "lr": scheduler.get_last_lr()[0]}
                record |= _train_epoch(run, step, batches, parameters, dtype, clip, epoch)
                with _autocast(device, dtype):
                    record["train_accuracy"], _ = _validate(student, train_sample, device)
                    record["val_accuracy"], record["val_loss"] = _validate(
                        student, data.val, device
                    )
                record["seconds"] = time.perf_counter() - started
                record = processes.from_first(dict, record)  # its seconds, in every History
                history.records.append(record)
                if keep == "best" and history.best_epoch == epoch + 1:
                    run.best = {
                        k: v.detach().cpu().clone() for k, v in student.state_dict().items()
                    }
                if checkpoint:
                    processes.from_first(
                        run.save, checkpoint, settings, finished=epoch + 1 == epochs
                    )
                if on_epoch and processes.is_first():
                    on_epoch(dict(record))
                seen.set_postfix(
                    loss=f"{record['loss']:.3f}",
                    val=f"{record['val_accuracy']:.1f} %",
                    refresh=False,
                )
                seen.update()
        finally:
            student.eval()
    if run.best is not None and len(history.records) == epochs:
        student.load_state_dict(run.best)
    return history


@dataclass
class _Run:
    """What changes while training, and so what a checkpoint holds."""

    student: nn.Module
    objective: nn.Module
    optimizer: torch.optim.Optimizer
    scheduler: torch.optim.lr_scheduler.LRScheduler
    history: History
    about: dict | None = None
    best: dict | None = None

    def save(self, path, settings: dict, finished: bool) -> None:
        content = {
            "kdcourse": kdcourse.__version__,
            "settings": settings,
            "about": self.about,
            "finished": finished,
            "history": self.history.records,
            "student": self.best
            if finished and self.best is not None
            else self.student.state_dict(),
            "objective": self.objective.state_dict(),
        }
        if not finished:  # a finished run needs no optimiser any more: two thirds of the file
            content |= {
                "optimizer": self.optimizer.state_dict(),
                "scheduler": self.scheduler.state_dict(),
                "best": self.best,
            }
        files.save(path, content)

    def restore(self, content: dict, settings: dict, path) -> None:
        theirs = {
            "objective": settings["objective"],
            **content["settings"],
        }  # older files do not say theirs
        if content[
            "finished"
        ]:  # trained on a GPU, used on a CPU: what it was trained in is a fact by now
            self.history.precision = theirs["precision"]
            settings = {**settings, "precision": theirs["precision"]}
        differing = [name for name in settings if settings[name] != theirs.get(name)]
        if differing:
            name = differing[0]
            raise CheckpointError(
                f"{path}: belongs to another run: {name} was {theirs.get(name)}, is now "
                f"{settings[name]}. "
                "Name another file, or delete this one to train afresh"
            )
        files.load_weights(self.student, content["student"], path)
        files.load_weights(self.objective, content["objective"], path)
        self.history.records[:] = content["history"]
        if not content["finished"]:
            self.optimizer.load_state_dict(content["optimizer"])
            self.scheduler.load_state_dict(content["scheduler"])
            self.best = content["best"]


def _train_epoch(
    run: _Run,
    step: Callable,
    batches: processes.Share,
    parameters: list,
    dtype,
    clip: float | None,
    epoch: int,
) -> dict[str, float]:
    """One epoch of gradient steps. Returns the mean of the loss and of each of its terms."""
    run.student.train()  # each epoch: validation left it in eval mode
    run.objective.train()
    sums, seen = {}, 0
    for number, batch in enumerate(batches.epoch(epoch), start=1):
        try:
            with _autocast(batch.images.device, dtype):
                terms = step(batch)
        except KDCourseError as error:
            error.args = (f"epoch {epoch + 1}, batch {number}: {error}",)
            raise
        loss = sum(terms.values())
        means = processes.global_means({"loss": loss, **terms}, batches)
        if not torch.isfinite(means["loss"]):
            broken = [
                f"{name} = {means[name].item()}"
                for name in terms
                if not torch.isfinite(means[name])
            ]
            raise TrainingError(
                f"epoch {epoch + 1}, batch {number}: loss not finite "
                f"({', '.join(broken) or 'the sum overflows'}). "
                "Lower the learning rate, clip the gradient (clip=1.0), or look for a log of zero "
                "in that term"
            )
        run.optimizer.zero_grad(set_to_none=True)
        (batches.weight * loss).backward()
        if clip:
            nn.utils.clip_grad_norm_(parameters, clip)
        run.optimizer.step()
        run.scheduler.step()
        for name, value in means.items():
            sums[name] = sums.get(name, 0) + value.detach() * batches.images
        seen += batches.images
    return {name: (total / seen).item() for name, total in sums.items()}


def _found(checkpoint: str | os.PathLike) -> dict | None:
    return files.load(checkpoint) if Path(checkpoint).exists() else None


def _said(objective: nn.Module) -> str:
    """An objective in one line: as it prints itself, and the fingerprints of its teachers."""
    teachers = [getattr(part, "fingerprint", None) for part in objective.modules()]
    return " ".join([*repr(objective).split(), *dict.fromkeys(filter(None, teachers))])


def _check_answers(student: nn.Module, data: DataSplits, device: torch.device) -> None:
    """Said before training, and clearly: on a GPU a label without a logit breaks the process."""
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
            f"({len(data.classes)},), a "
            "logit a class. Build it with classes=len(data.classes)"
        )


def _validate(model: nn.Module, split: Split, device: torch.device) -> tuple[float, float]:
    """Accuracy in % and mean cross-entropy in nats."""
    logits, labels = predict(model, split, device=device)
    accuracy = 100 * (logits.argmax(1) == labels).float().mean().item()
    return accuracy, F.cross_entropy(logits, labels).item()


def _autocast(device: torch.device, dtype: torch.dtype):
    return torch.autocast(device.type, dtype=torch.bfloat16, enabled=dtype == torch.bfloat16)


@contextmanager
def _own_randomness(device: torch.device):
    """The caller's random numbers go on afterwards as if no training had been."""
    with torch.random.fork_rng(devices=[device] if device.type == "cuda" else []):
        yield


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
