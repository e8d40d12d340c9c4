"""The one loop. `fit` trains every network of the course; the objective decides what the network
learns from.
"""

import logging
import os
import time
from collections.abc import Callable
from functools import partial

import numpy as np
import torch
from torch import nn

from kdcourse.common.progress_bar import bar
from kdcourse.data.batches import Augmentation, Batches
from kdcourse.data.splits import DataSplits
from kdcourse.training import distributed as processes
from kdcourse.training.epoch import Epoch, own_randomness, run_epoch
from kdcourse.training.history import History
from kdcourse.training.settings import (
    Settings,
    check_arguments,
    check_network,
    resolve,
    trainable,
    training_sample,
)
from kdcourse.training.state import TrainingState

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
    max_steps: int | None = None,
    precision: str = "auto",
    device: str | torch.device | None = None,
    clip: float | None = None,
    keep: str = "last",
    progress: bool = True,
    on_epoch: Callable[[dict], None] | None = None,
    on_step: Callable[[int], None] | None = None,
    about: dict | None = None,
) -> History:
    """Train `student` on `data.train`, validate on `data.val` after each epoch; `data.test` is
    never touched.

    objective: `nn.Module`, (student, batch) → dict of named, weighted loss terms; their sum is
      minimised. Its own parameters are optimised with the student's. If it has a method
      `prepare(student, batch, samples)`, that is called once before training, with a small batch
      and the number of training images: the place to make adapters. If it has a method
      `explain_not_finite(student, batch)`, its sentence is part of the error for such a loss.
    optimizer: called with the parameters. schedule: called with (optimizer, number of steps),
      stepped every batch.
    augment: "default" (the data set's own), a name in `AUGMENTATIONS`, an `Augmentation`, or None.
    views: how many epochs of augmentation are distinct (see `Batches`); None: all are.
    checkpoint: a file written after every epoch. If it is there already, training goes on from it
      and ends with the same bits as a run that was never stopped (CPU, same number of threads).
    until: stop after this many of the epochs; the same call without it, or with a larger one, goes
      on. Needs `checkpoint`.
    max_steps: stop training after so many optimiser steps over the whole run. The epoch they end in
      is validated and recorded as any other. The schedule is still laid out for all of `epochs`.
    precision: "auto", "float32" or "bfloat16" (autocast). clip: bound on the gradient's norm.
    keep: "last", or "best" for the weights of the epoch that was best on validation.
    on_epoch: called with a copy of each epoch's record in the History, after the checkpoint was
      written. on_step: called after each optimiser step with the number of steps taken so far.
    about: plain values that the checkpoint also holds, such as `load_or_train`'s description of
      network and data.

    Several processes: where `torchrun` started them, each calls `fit` with the same arguments and
    takes its share of every batch; `batch_size` counts the images of all. The result is that of one
    process up to rounding, except where network or objective draw at random (dropout, the negatives
    of ContrastiveKD), and where an objective compares the images of a batch with each other or
    keeps a bank of them: it sees its share alone. The first process writes the checkpoint, shows
    the progress and calls `on_epoch` and `on_step`; all return the same History. See
    docs/scaling.md.

    Raises UsageError for an argument, or a network, that does not fit the data; TrainingError at
    the first loss that is not finite; CheckpointError for a file of another run. Interrupted
    (Ctrl-C, Jupyter's stop), it leaves the last whole epoch's checkpoint and the student in eval
    mode.
    """
    check_arguments(data, epochs, keep, clip, checkpoint, until, max_steps)
    settings = resolve(
        data, device=device, precision=precision, augment=augment, epochs=epochs,
        batch_size=batch_size, seed=seed, keep=keep, clip=clip, max_steps=max_steps, views=views,
    )  # fmt: skip
    batches = _place(student, objective, data, settings, sampler)
    _prepare(student, objective, data, settings)
    parameters = trainable(student, objective)

    # The schedule is laid out for all epochs, also where max_steps ends the run earlier.
    steps = settings.steps(batches)
    optimiser = optimizer(parameters)
    history = History(keep=keep, precision=settings.precision, device=str(settings.device))
    run = TrainingState(
        student, objective, optimiser, schedule(optimiser, sum(steps)), history, about
    )
    described = settings.described(data, objective if checkpoint else None, optimizer, schedule)
    if checkpoint:
        run.restore(checkpoint, described)

    budget = settings.budget(steps)
    splits = {"train": training_sample(data), "val": data.val}
    log.info("training on %s in %s", settings.device, history.precision)
    with (
        _bar(run, len(budget), progress) as epoch_bar,
        own_randomness(settings.device),
        processes.parallel(student, objective, batches) as step,
    ):
        try:
            for number in range(len(history.records), min(until or epochs, len(budget))):
                # A whole epoch goes on to its end, however many batches its sampler gives.
                limit = budget[number] if budget[number] < steps[number] else None
                epoch = Epoch(
                    run, number, budget[number], sum(budget[:number]), limit, step, batches,
                    parameters, settings, splits, on_step,
                )  # fmt: skip
                record = _timed(epoch)
                run.add(record)
                if checkpoint:
                    finished = number + 1 == len(budget)
                    processes.from_first(run.save, checkpoint, described, finished=finished)
                if on_epoch and processes.is_first():
                    on_epoch(dict(record))
                _advance(epoch_bar, record)
        finally:
            student.eval()
    if run.best is not None and len(history.records) == len(budget):
        student.load_state_dict(run.best)
    return history


def _place(
    student: nn.Module, objective: nn.Module, data: DataSplits, settings: Settings, sampler
) -> processes.Share:
    """Move the networks to the device; this process' share of the training batches."""
    student.to(settings.device, memory_format=torch.channels_last)
    objective.to(settings.device)
    return processes.Share(
        data.train,
        settings.batch_size,
        seed=settings.seed,
        augment=settings.augment,
        device=settings.device,
        sampler=sampler,
        views=settings.views,
    )


def _prepare(
    student: nn.Module, objective: nn.Module, data: DataSplits, settings: Settings
) -> None:
    """Check the network on one image, then let the objective make its adapters from two."""
    check_network(student, data, settings.device)
    if not hasattr(objective, "prepare"):
        return
    with own_randomness(settings.device):
        torch.manual_seed(settings.seed)  # the adapters' initial weights
        rows = np.arange(min(2, len(data.train)))
        first = Batches(data.train.subset(rows), 2, device=settings.device)
        objective.prepare(student, next(first.epoch()), len(data.train))
    objective.to(settings.device)


def _bar(run: TrainingState, epochs: int, progress: bool):
    """The progress bar over the epochs, which begins where a checkpoint left off."""
    title = f"{type(run.student).__name__} ({run.history.precision}, {run.history.device})"
    return bar(
        total=epochs,
        initial=len(run.history.records),
        unit="epoch",
        desc=title,
        shown=progress and processes.is_first(),
    )


def _advance(epoch_bar, record: dict) -> None:
    loss, accuracy = f"{record['loss']:.3f}", f"{record['val_accuracy']:.1f} %"
    epoch_bar.set_postfix(loss=loss, val=accuracy, refresh=False)
    epoch_bar.update()


def _timed(epoch: Epoch) -> dict:
    """Run the epoch: its record, the same in all processes."""
    started = time.perf_counter()
    # For dropout and the like: the seed follows from the epoch, so a checkpoint needs no state of
    # the generator. Each process draws for its own images.
    torch.manual_seed(
        epoch.settings.seed * 100_003 + epoch.number + 1_000_000_007 * processes.rank()
    )
    record = {"epoch": epoch.number + 1, "lr": epoch.run.scheduler.get_last_lr()[0]}
    record |= run_epoch(epoch)
    record["seconds"] = time.perf_counter() - started
    return processes.from_first(dict, record)  # the first process' seconds, in every History
