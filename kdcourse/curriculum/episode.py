"""The parts of an episode of D3's environment: actions, rewards, objective, student and record."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial

import pandas as pd
from torch import nn

from kdcourse.common.errors import UsageError
from kdcourse.data.splits import DataSplits
from kdcourse.distillation import ResponseKD
from kdcourse.models import thin_resnet

MOVES = (-0.5, 0.0, 0.5)  # of the temperature: the first part of an action
THRESHOLDS = (0.0, 0.25, 0.5, 0.75, 1.0)  # θ: the second
COOLEST, HOTTEST = 2.0, 8.0
START = (4.0, 0.0)  # temperature and θ before the first action


def d3_reward(
    accuracies: Sequence[float], losses: Sequence[float], epoch: int, epochs: int
) -> dict[str, float]:
    """D3's reward for an epoch, part by part; the reward is their sum.

    accuracies: a, on validation, in %, and losses: l, of training, of all epochs so far. epoch: e,
    counted from 1, as D3's code does when it comes to the bonus; epochs: E.

    accuracy: 2(a_t − a_{t−1}) if a_{t−1} > 0, else 0; there is none before the first epoch.
    loss: −min(5 max(l_t − l_{t−1}, 0), 5), from the second epoch.
    early: 2 if a_t > 60 and e < 0.3E. absolute: 0.1 max(a_t − 70, 0).

    Raises UsageError for an epoch that is not among those given.
    """
    if not 1 <= epoch <= min(len(accuracies), len(losses), epochs):
        raise UsageError(
            f"epoch={epoch} of {epochs}, with {len(accuracies)} accuracies and {len(losses)} "
            "losses: expected one of these epochs, counted from 1"
        )
    now, before = accuracies[epoch - 1], accuracies[epoch - 2] if epoch > 1 else 0.0
    fall = losses[epoch - 2] - losses[epoch - 1] if epoch > 1 else 0.0
    return {
        "accuracy": 2 * (now - before) if before > 0 else 0.0,
        "loss": max(5 * min(fall, 0.0), -5.0),
        "early": 2.0 if now > 60 and epoch < 0.3 * epochs else 0.0,
        "absolute": 0.1 * max(now - 70, 0.0),
    }


def applied(actions: Sequence[tuple[int, int]]) -> tuple[float, float]:
    """Temperature and θ after these actions: T moves by −0.5, 0 or +0.5 within [2, 8], θ is what
    the last one says.
    """
    temperature, threshold = START
    for move, level in actions:
        temperature = min(max(temperature + MOVES[move], COOLEST), HOTTEST)
        threshold = THRESHOLDS[level]
    return temperature, threshold


class SteeredKD(ResponseKD):
    """ResponseKD with a temperature that an agent moves.

    The temperature is therefore no part of the key of the run's checkpoint.
    """

    shown = ("soft_weight", "label_weight")


def stand_in(data: DataSplits) -> Callable[[], nn.Module]:
    """A very cheap student, for an agent to learn on: a ResNet-8 of width 4 with a stem of stride
    4.
    """
    return partial(
        thin_resnet, 8, 4, channels=len(data.channels), classes=len(data.classes), stem_stride=4
    )


@dataclass(frozen=True)
class Episode:
    """The record of a run, complete or up to now."""

    seed: int
    actions: tuple[tuple[int, int], ...]  # (place in MOVES, place in THRESHOLDS), one per epoch
    infos: tuple[dict, ...]  # the info that `step` returned for each epoch

    @property
    def reward(self) -> float:
        """The sum over all epochs."""
        return sum(sum(info["reward"].values()) for info in self.infos)

    @property
    def accuracy(self) -> float:
        """On validation after the last epoch, %."""
        return self.infos[-1]["accuracy"]

    @property
    def samples(self) -> int:
        """Samples seen in training."""
        return sum(info["samples"] for info in self.infos)

    def frame(self) -> pd.DataFrame:
        """A row an epoch: what it was trained under, what came of it, and the reward with its
        parts.
        """
        rows = []
        for (move, level), info in zip(self.actions, self.infos, strict=True):
            parts = {f"reward: {name}": value for name, value in info["reward"].items()}
            action = {"action: temperature": MOVES[move], "action: threshold": THRESHOLDS[level]}
            rows.append({**info, **action, **parts, "reward": sum(info["reward"].values())})
        return pd.DataFrame(rows)
