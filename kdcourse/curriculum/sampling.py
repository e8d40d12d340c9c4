"""Schedules of a curriculum, and the sampler that draws each epoch's samples.

Sort N samples by difficulty: rank 0 is the easiest. A *strategy* (`kdcourse.curriculum.strategies`)
decides how many samples are drawn from which stretches of ranks, given a threshold θ in [0, 1] and
the epoch's share r of the data. A *schedule* gives θ over the training. A `CurriculumSampler` puts
both together for `Batches` and `fit`:

>>> sampler = CurriculumSampler("easy_to_hard", difficulty, 0.7, Linear(0, 1), epochs=20, seed=0)
>>> fit(student, data, objective, epochs=20, sampler=sampler)

D3's five strategies don't always draw the rN samples that they promise. With `keep_size=True` they
do: then every epoch costs the same, and a comparison with `random_subset` is one of order alone.
"""

from bisect import bisect_right
from collections.abc import Callable
from dataclasses import dataclass
from itertools import pairwise

import numpy as np

from kdcourse.common.errors import UsageError
from kdcourse.curriculum.strategies import (
    Strategy,
    check_threshold,
    checked_difficulty,
    strategy_named,
)
from kdcourse.data import batches
from kdcourse.data.splits import Split

# The sampler's stream of `batches.generator`, far from the streams of shuffling and augmentation.
CURRICULUM = 2**32

# Schedules: progress in [0, 1], the part of the training that is done, → θ in [0, 1].


@dataclass(frozen=True)
class Linear:
    """θ = start + (end − start) · progress. `Linear(1, 0)` turns a curriculum of θ round."""

    start: float = 0.0
    end: float = 1.0

    def __post_init__(self):
        check_threshold(self.start, "start")
        check_threshold(self.end, "end")

    def __call__(self, progress: float) -> float:
        return self.start + (self.end - self.start) * progress


@dataclass(frozen=True)
class Root:
    """Competence c(t) = (t (1 − c₀^p) / T + c₀^p)^(1/p), t / T the progress (Platanios et al. 2019,
    sec. 2.2).

    p = 1 is linear, p = 2 their square root: the more samples are in, the slower new ones come, so
    that each has its time. At 1 from the end on.
    """

    power: float = 2.0
    start: float = 0.01  # c₀, their choice

    def __post_init__(self):
        check_threshold(self.start, "start")
        if not 1 <= self.power < float("inf"):
            raise UsageError(
                f"power={self.power}: expected a finite number, 1 or more. 2 is the square root"
            )

    def __call__(self, progress: float) -> float:
        least = self.start**self.power
        return min(1.0, (progress * (1 - least) + least) ** (1 / self.power))


@dataclass(frozen=True)
class Step:
    """values[0] until progress reaches at[0], then values[1], and so on to values[-1].

    The stairs of Hacohen & Weinshall 2019, whose θ is the share of the easiest samples (strategy
    `easiest`): one step to 1 is their single-step pacing, and the switch from easy to all of Bengio
    et al. 2009; values that grow by a factor up to 1 are their exponential pacing, fixed if the
    steps are equally long, varied if not.
    """

    at: tuple[float, ...]
    values: tuple[float, ...]

    def __post_init__(self):
        if len(self.values) != len(self.at) + 1 or not all(
            a < b for a, b in pairwise((0, *self.at, 1))
        ):
            raise UsageError(
                f"at={self.at}, values={self.values}: expected rising numbers between 0 and 1, and "
                "one value more"
            )
        for value in self.values:
            check_threshold(value, "values")

    def __call__(self, progress: float) -> float:
        return self.values[bisect_right(self.at, progress)]


class CurriculumSampler:
    """The indices of each epoch, for `Batches(…, sampler=)` and `fit(…, sampler=)`.

    A pure function of (seed, epoch, difficulty, θ of the epoch), so a run resumes with the same
    epochs if it is handed a sampler in the same state.

    strategy: a Strategy, or its name in STRATEGIES. difficulty (N,): larger is harder. ratio: r in
      (0, 1].
    schedule: (progress) → θ, with progress = epoch / epochs, at most 1, and `epochs=` given: θ
      reaches its end after that many epochs, which may be fewer than are trained. Or a number: θ in
      every epoch.
    split: if given, the split that difficulty belongs to; the lengths are compared.

    `fit` asks for all epochs ahead, to count its steps. With keep_size they are all of one size.
    Without, an epoch's
    size follows θ: a schedule is known ahead, but after `set_threshold` in mid-run the count no
    longer holds. A renewed difficulty changes no size.
    """

    def __init__(
        self,
        strategy: Strategy | str,
        difficulty,
        ratio: float,
        schedule: Callable[[float], float] | float,
        *,
        seed: int,
        epochs: int | None = None,
        keep_size: bool = True,
        split: Split | None = None,
    ):
        self.strategy, self.ratio, self.schedule = strategy_named(strategy), ratio, schedule
        self.seed, self.epochs, self.keep_size = seed, epochs, keep_size
        self.difficulty = checked_difficulty(difficulty)
        if seed < 0:
            raise UsageError(f"seed={seed}: expected 0 or more")
        if callable(schedule) and (epochs is None or epochs < 1):
            raise UsageError(
                f"epochs={epochs}: a schedule needs to know over how many epochs it runs, 1 or more"
            )
        if split is not None and len(split) != len(self.difficulty):
            raise UsageError(
                f"difficulty of {len(self.difficulty)} samples for the {split.name} split of "
                f"{len(split)}: expected one each, in the split's order, as split_difficulty gives "
                "it"
            )
        self.strategy.plan(
            len(self.difficulty), self.threshold(0), ratio
        )  # says now what is out of range

    def __call__(self, epoch: int) -> np.ndarray:
        draws = batches.generator(self.seed, epoch, CURRICULUM)
        return self.strategy(
            self.difficulty, self.threshold(epoch), self.ratio, draws, keep_size=self.keep_size
        )

    def threshold(self, epoch: int) -> float:
        """θ of an epoch."""
        return (
            self.schedule(min(epoch / self.epochs, 1.0))
            if callable(self.schedule)
            else self.schedule
        )

    def set_threshold(self, threshold: float) -> None:
        """From now on θ is this number, in any epoch: how an agent steers. Raises UsageError
        outside [0, 1].
        """
        check_threshold(threshold)
        self.schedule = threshold

    def renew(self, difficulty) -> None:
        """Take difficulty (N,) measured anew. Raises UsageError for another N, and as a Strategy
        does.
        """
        difficulty = checked_difficulty(difficulty)
        if len(difficulty) != len(self.difficulty):
            raise UsageError(
                f"difficulty of {len(difficulty)} samples: expected {len(self.difficulty)}, as "
                "before"
            )
        self.difficulty = difficulty

    def __repr__(self) -> str:
        return (
            f"CurriculumSampler({self.strategy}, {len(self.difficulty)} samples, "
            f"ratio={self.ratio}, schedule={self.schedule}, seed={self.seed}, "
            f"epochs={self.epochs}, keep_size={self.keep_size})"
        )
