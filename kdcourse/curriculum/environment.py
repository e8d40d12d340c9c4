"""D3's environment for an agent that steers a distillation run: an episode is a run, a step is one
of its epochs.

Needs the extra `agent`: gymnasium and stable-baselines3.
"""

import os
import shutil
import weakref
from collections.abc import Callable, Sequence
from numbers import Integral
from pathlib import Path
from tempfile import mkdtemp

import numpy as np
import torch
from torch import nn

from kdcourse.common.errors import CheckpointError, UsageError, unknown
from kdcourse.curriculum.difficulty import split_difficulty
from kdcourse.curriculum.episode import (
    COOLEST,
    HOTTEST,
    MOVES,
    START,
    THRESHOLDS,
    Episode,
    SteeredKD,
    applied,
    d3_reward,
)
from kdcourse.curriculum.sampling import CurriculumSampler
from kdcourse.curriculum.strategies import Strategy
from kdcourse.data.batches import Augmentation
from kdcourse.data.splits import DataSplits
from kdcourse.distillation.teacher import Teacher
from kdcourse.training import adamw, fit, one_cycle
from kdcourse.training import checkpoint as files
from kdcourse.training.checkpoint import describe
from kdcourse.training.settings import resolve_augmentation, resolve_device

try:
    import gymnasium
    from gymnasium.spaces import Box, MultiDiscrete
except ImportError as error:
    raise UsageError(
        "an agent's environment needs gymnasium: pip install 'kdcourse[agent]'"
    ) from error

MOST = float(np.finfo(np.float32).max)
OBSERVATION = Box(
    np.array([0, -50, 0, -MOST, 0, 0, 0, 0], np.float32),
    np.array([1, 50, 1, MOST, 1, 1, 1, 1], np.float32),
)
ACTION = MultiDiscrete([len(MOVES), len(THRESHOLDS)])


class DistillationEnv(gymnasium.Env):
    """D3's environment. An episode trains one student for `epochs` epochs; a step trains one epoch
    by `fit`.

    Action, (3, 5): temperature −0.5, 0 or +0.5, within [2, 8], from 4; and θ of 0, 0.25, 0.5, 0.75
    or 1, from 0. Observation (8,): epochs done / E; trend of validation accuracy; validation
    accuracy / 100; trend of the training loss; min(loss, 10) / 10; temperature, [2, 8] → [0, 1];
    mean difficulty of the training images; θ. A trend is the mean of the last two differences, 0
    before there are three values. As in D3's code, before the first epoch the accuracy counts as 0
    and the loss as 1.
    Reward: `d3_reward`, part by part in info["reward"]. info also says what the epoch was trained
      under.

    An episode ends (terminated) after its epochs. `data.test` is never touched.

    student: makes a fresh network, such as `stand_in(data)`. strategy, ratio, keep_size: see
      `CurriculumSampler`; D3 takes "mixed", 0.7 and False. soft_weight, label_weight: of
      `ResponseKD`; D3's is "teacher only".
    credit: "now": an epoch is trained under the action just taken. "late": as in D3's code, under
      the actions before it, so that an action is rewarded for an epoch that it had no part in.
    renew_every: difficulty is measured before the first epoch and again after so many.
    seed: of the first episode's student, order and views; each `reset()` goes on to the next,
      `reset(seed=)` names it.
    folder: keeps each episode under its seed, so that one that was killed can go on; by default
      nothing stays. `reset(options={"resume": True})` goes on where it stopped: an epoch that was
      begun is trained anew, under its action. `reset(options={"replay": True})` starts at its
      beginning: epochs that were trained are answered from the record, for an agent that must see
      them again; it has to take the same actions. Both come to the bits of a run that was never
      stopped (CPU, same number of threads). Without either, the first step overwrites what is
      there.

    The other arguments are those of `fit`. Without keep_size an epoch's size follows θ, which
    nobody knows ahead; the learning rate's schedule then counts with the largest.

    Raises UsageError for arguments and actions that cannot be right, and for a step after the end;
    CheckpointError for a folder of another run.
    """

    metadata = {"render_modes": []}

    def __init__(
        self,
        data: DataSplits,
        teacher: Teacher,
        student: Callable[[], nn.Module],
        *,
        epochs: int,
        strategy: str | Strategy = "mixed",
        ratio: float = 0.7,
        keep_size: bool = True,
        credit: str = "now",
        renew_every: int = 20,
        soft_weight: float = 1.0,
        label_weight: float = 0.0,
        seed: int = 0,
        folder: str | os.PathLike | None = None,
        optimizer: Callable = adamw,
        schedule: Callable = one_cycle,
        batch_size: int = 64,
        augment: str | Augmentation | None = "default",
        views: int | None = None,
        precision: str = "auto",
        device: str | torch.device | None = None,
    ):
        _check_settings(epochs, renew_every, credit)
        self.observation_space = OBSERVATION
        self.action_space = MultiDiscrete(ACTION.nvec)  # a space of its own, as it draws actions
        self.data, self.teacher, self.student_factory = data, teacher, student
        self.epochs, self.credit, self.renew_every = epochs, credit, renew_every
        self.run_seed = seed
        self.device = resolve_device(device)
        self._sampling = dict(ratio=ratio, keep_size=keep_size)
        sampler = CurriculumSampler(
            strategy, np.zeros(len(data.train)), schedule=0.0, seed=seed, **self._sampling
        )
        self.strategy = sampler.strategy
        self._largest = max(self._size(threshold) for threshold in THRESHOLDS)
        self._objective = SteeredKD(teacher, START[0], soft_weight, label_weight)
        self._training = dict(
            optimizer=optimizer,
            schedule=schedule,
            batch_size=batch_size,
            views=views,
            precision=precision,
            augment=resolve_augmentation(augment, data),
            device=self.device,
        )
        self.settings = self._described(soft_weight, label_weight)
        self._named, self._temporary = folder and Path(folder), None
        self.student: nn.Module | None = None
        self.finished: list[Episode] = []  # episodes that have come to their end
        self._ready = self._begun = False

    def _described(self, soft_weight: float, label_weight: float) -> dict:
        """All that decides an episode, except its seed and its actions."""
        training = {
            name: describe(value) for name, value in self._training.items() if name != "device"
        }
        return dict(
            data=self.data.fingerprint,
            teacher=self.teacher.fingerprint,
            student=describe(self.student_factory),
            epochs=self.epochs,
            strategy=repr(self.strategy),
            credit=self.credit,
            renew_every=self.renew_every,
            soft_weight=soft_weight,
            label_weight=label_weight,
            **self._sampling,
            **training,
        )

    def reset(
        self, *, seed: int | None = None, options: dict | None = None
    ) -> tuple[np.ndarray, dict]:
        """A fresh student, or with an option one that goes on. Returns (observation, info)."""
        super().reset(seed=seed)
        options = options or {}
        for name in options:
            if name not in ("resume", "replay"):
                raise unknown("option of reset", name, ("resume", "replay"))
        goes_on = any(options.values())
        if seed is not None:
            self.run_seed = seed
        elif self._begun and not goes_on:
            self.run_seed += 1
        if self._named is None and (self._temporary is None or not goes_on):
            self.close()
            self._temporary = Path(mkdtemp(prefix="kdcourse-"))
            self._removal = weakref.finalize(
                self, shutil.rmtree, self._temporary, ignore_errors=True
            )
        self._folder = (self._named or self._temporary) / f"seed-{self.run_seed}"
        self._begun, self._ready = True, False

        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(self.run_seed)
            self.student = self.student_factory()
        self.student.to(self.device, memory_format=torch.channels_last)
        self._actions, self._records, self._difficulty, self.epoch = [], [], {}, 0
        kept = self._kept()
        if kept and goes_on:
            self._actions = [tuple(action) for action in kept["actions"]]
            self._difficulty = {at: values.numpy() for at, values in kept["difficulty"].items()}
            self._train()
            self.epoch = 0 if options.get("replay") else len(self._records)
        self._measure()
        self._ready = True
        return self._observation(), {"seed": self.run_seed, "epoch": self.epoch}

    def step(self, action) -> tuple[np.ndarray, float, bool, bool, dict]:
        """Train an epoch. Returns (observation, reward, terminated, False, info)."""
        if not self._ready or self.epoch == self.epochs:
            raise UsageError(
                "no episode is under way (none has begun, or it is over or broke off): call "
                "reset() first"
            )
        action = _checked(action)
        if self.epoch == len(self._records):
            self._ready = False  # until the epoch is whole: whoever interrupts it must reset
            self._actions.append(action)
            self._announce()
            self._train()
            self._measure()
            self._ready = True
        elif action != self._actions[self.epoch]:
            raise CheckpointError(
                f"{self._folder}: epoch {self.epoch + 1} was trained under action "
                f"{self._actions[self.epoch]}, not {action}: a replay takes the actions that were "
                "taken. Name another folder, or reset without replay"
            )
        self.epoch += 1
        info = self._info(self.epoch)
        over = self.epoch == self.epochs
        if over:
            self.finished.append(self.episode)
        return self._observation(), float(sum(info["reward"].values())), over, False, info

    def close(self) -> None:
        """Remove what an episode without a folder has written."""
        if self._temporary is not None:
            self._removal()
            self._temporary, self._ready = None, False

    @property
    def episode(self) -> Episode:
        """The present episode up to now."""
        infos = tuple(self._info(epoch) for epoch in range(1, self.epoch + 1))
        return Episode(self.run_seed, tuple(self._actions[: self.epoch]), infos)

    def in_force(self, epoch: int) -> tuple[float, float]:
        """Temperature and θ under which an epoch (from 1) of this episode was trained."""
        return applied(
            self._actions[:epoch] if self.credit == "now" else self._actions[: epoch - 1]
        )

    def difficulty(self, epoch: int) -> np.ndarray:
        """(N,): what an epoch (from 1) of this episode was drawn by."""
        return self._difficulty[(epoch - 1) // self.renew_every * self.renew_every]

    def drawn(self, epoch: int) -> np.ndarray:
        """The indices that an epoch (from 1) of this episode was trained on, in order."""
        threshold = self.in_force(epoch)[1]
        difficulty = self.difficulty(epoch)
        sampler = CurriculumSampler(
            self.strategy, difficulty, schedule=threshold, seed=self.run_seed, **self._sampling
        )
        return sampler(epoch - 1)

    def _size(self, threshold: float) -> int:
        plan = self.strategy.plan(len(self.data.train), threshold, **self._sampling)
        return sum(stretch.drawn for stretch in plan)

    def _order(self, epoch: int) -> np.ndarray:
        """What `fit` asks for, from 0. It only counts the epochs that it does not train now."""
        return (
            self.drawn(epoch + 1)
            if epoch + 1 == len(self._actions)
            else np.zeros(self._largest, np.int64)
        )

    def _train(self) -> None:
        """Train until each action has its epoch. Epochs in the checkpoint aren't trained again."""
        self._objective.temperature = self.in_force(len(self._actions))[0]
        history = fit(
            self.student,
            self.data,
            self._objective,
            epochs=self.epochs,
            until=len(self._actions),
            sampler=self._order,
            seed=self.run_seed,
            checkpoint=self._folder / "run.pt",
            progress=False,
            **self._training,
        )
        self._records = history.records

    def _measure(self) -> None:
        """Measure difficulty if due: before the first epoch and every `renew_every` epochs."""
        done = len(self._records)
        if done % self.renew_every == 0 and done < self.epochs and done not in self._difficulty:
            self._difficulty[done] = split_difficulty(
                self.data.train, self.teacher, self.student, device=self.device
            )

    def _observation(self) -> np.ndarray:
        accuracies, losses = self._curves(self.epoch)
        temperature, threshold = applied(self._actions[: self.epoch])
        difficulty = self.difficulty(min(self.epoch + 1, self.epochs))
        # a KL of 0 may come out below 0 by rounding
        loss = min(max(losses[-1], 0.0), 10.0) / 10 if losses else 1.0
        return np.array(
            [
                self.epoch / self.epochs,
                _trend(accuracies),
                accuracies[-1] / 100 if accuracies else 0.0,
                _trend(losses),
                loss,
                (temperature - COOLEST) / (HOTTEST - COOLEST),
                difficulty.mean(),
                threshold,
            ],
            dtype=np.float32,
        )

    def _info(self, epoch: int) -> dict:
        accuracies, losses = self._curves(epoch)
        temperature, threshold = self.in_force(epoch)
        return {
            "epoch": epoch,
            "temperature": temperature,
            "threshold": threshold,
            "samples": self._size(threshold),
            "accuracy": accuracies[-1],
            "loss": losses[-1],
            "reward": d3_reward(accuracies, losses, epoch, self.epochs),
        }

    def _curves(self, epochs: int) -> tuple[list[float], list[float]]:
        """Validation accuracies in %, and training losses, of the first epochs."""
        records = self._records[:epochs]
        accuracies = [record["val_accuracy"] for record in records]
        return accuracies, [record["loss"] for record in records]

    def _announce(self) -> None:
        """Write the action to the folder first, so that each trained epoch has its action."""
        if len(self._actions) == 1:  # the record first: a checkpoint without one counts as nothing
            for name in ("episode.pt", "run.pt"):
                (self._folder / name).unlink(missing_ok=True)
        difficulty = {at: torch.from_numpy(values) for at, values in self._difficulty.items()}
        content = {
            "settings": self.settings,
            "actions": [list(a) for a in self._actions],
            "difficulty": difficulty,
        }
        files.save(self._folder / "episode.pt", content)

    def _kept(self) -> dict | None:
        """The record of this seed in the folder, if there is one. Raises CheckpointError for one of
        another run.
        """
        path, run = self._folder / "episode.pt", self._folder / "run.pt"
        if not path.exists():
            return None
        kept = files.load(path)
        for name, value in self.settings.items():
            if kept["settings"].get(name) != value:
                raise CheckpointError(
                    f"{path}: belongs to another run: {name} was {kept['settings'].get(name)}, is "
                    f"now {value}. Name another folder, or delete this one"
                )
        trained = len(files.load(run)["history"]) if run.exists() else 0
        if len(kept["actions"]) - trained not in (0, 1):
            raise CheckpointError(
                f"{self._folder}: {len(kept['actions'])} actions and {trained} trained epochs do "
                "not belong together. Delete the folder to start afresh"
            )
        return kept


def _check_settings(epochs: int, renew_every: int, credit: str) -> None:
    for name, value in {"epochs": epochs, "renew_every": renew_every}.items():
        if not isinstance(value, Integral) or value < 1:
            raise UsageError(f"{name}={value!r}: expected a whole number, 1 or more")
    if credit not in ("now", "late"):
        raise unknown("credit", credit, ("now", "late"))


def _checked(action) -> tuple[int, int]:
    values = np.asarray(action)
    if values.dtype.kind not in "iu" or not ACTION.contains(values.astype(np.int64)):
        raise UsageError(
            f"action={action!r}: expected two whole numbers, the place of the temperature's move "
            f"in {MOVES} and of θ in {THRESHOLDS}, counted from 0"
        )
    return int(values[0]), int(values[1])


def _trend(values: Sequence[float]) -> float:
    """The mean of the last two differences, 0 before there are three values."""
    return (values[-1] - values[-3]) / 2 if len(values) > 2 else 0.0
