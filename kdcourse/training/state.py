"""The state of a training run, and how a checkpoint keeps it."""

import os
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import nn

import kdcourse
from kdcourse.common.errors import CheckpointError
from kdcourse.training import checkpoint as files
from kdcourse.training import distributed as processes
from kdcourse.training.history import History


@dataclass
class TrainingState:
    """What changes while training, and so what a checkpoint holds."""

    student: nn.Module
    objective: nn.Module
    optimizer: torch.optim.Optimizer
    scheduler: torch.optim.lr_scheduler.LRScheduler
    history: History
    about: dict | None = None  # plain values of the caller's that the checkpoint also holds
    best: dict | None = None  # the student's state dict at its best epoch, where keep="best"

    def add(self, record: dict) -> None:
        """Append an epoch's record; if keep="best" and the epoch is the best, keep its weights."""
        self.history.records.append(record)
        if self.history.keep == "best" and self.history.best_epoch == record["epoch"]:
            state = self.student.state_dict()
            self.best = {name: value.detach().cpu().clone() for name, value in state.items()}

    def save(self, path: str | os.PathLike, settings: dict, finished: bool) -> None:
        """Write the checkpoint. Raises CheckpointError if it cannot be written."""
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

    def restore(self, path: str | os.PathLike, settings: dict) -> None:
        """Go on from the checkpoint at `path`, if there is one. The first process reads it for all.

        Raises CheckpointError for a damaged file and for one of another run or architecture.
        """
        content = processes.from_first(_load_existing, path)
        if content is None:
            return
        self._check_same_run(path, content, settings)
        files.load_weights(self.student, content["student"], path)
        files.load_weights(self.objective, content["objective"], path)
        self.history.records[:] = content["history"]
        if not content["finished"]:
            self.optimizer.load_state_dict(content["optimizer"])
            self.scheduler.load_state_dict(content["scheduler"])
            self.best = content["best"]

    def _check_same_run(self, path, content: dict, settings: dict) -> None:
        # older files don't hold the objective, and hold max_steps only where it was given
        saved = {"objective": settings["objective"], **content["settings"]}
        settings = {"max_steps": None, **settings}
        if content["finished"]:
            # trained on a GPU, used on a CPU: the precision it was trained in is a fact by now
            self.history.precision = saved["precision"]
            settings["precision"] = saved["precision"]
        for name, value in settings.items():
            if value != saved.get(name):
                raise CheckpointError(
                    f"{path}: belongs to another run: {name} was {saved.get(name)}, is now "
                    f"{value}. Name another file, or delete this one to train afresh"
                )


def _load_existing(path: str | os.PathLike) -> dict | None:
    return files.load(path) if Path(path).exists() else None
