"""Strategies: how many samples of an epoch are drawn from which ranks of difficulty.

Rank 0 is the easiest of N samples. A strategy takes a threshold θ in [0, 1] and the epoch's share r
of the data. The first five strategies are D3's.
"""

from itertools import pairwise
from typing import NamedTuple

import numpy as np

from kdcourse.common.errors import UsageError, unknown

# D3's proportions of 5 buckets
EASY_FIRST, HARD_FIRST = np.array([5.0, 3, 2, 1, 1]), np.array([1.0, 1, 2, 3, 5])


def epoch_size(count: int, ratio: float) -> int:
    """rN, rounded down but at least 1. (D3 rounds down as well; its least is a batch.)"""
    return max(1, int(ratio * count + 1e-9))  # 0.29 · 100 is 28.999… in floating point


def easiest_first(difficulty, generator: np.random.Generator) -> np.ndarray:
    """Indices (N,) from the easiest sample to the hardest, equal ones in random order.

    By their place in the file, ties would favour some classes: files of a class lie together.
    """
    shuffled = generator.permutation(len(difficulty))
    return shuffled[np.argsort(np.asarray(difficulty)[shuffled], kind="stable")]


class Stretch(NamedTuple):
    """`drawn` of the samples at ranks start … stop − 1, each equally likely, none twice."""

    start: int
    stop: int
    drawn: int


class Strategy:
    """(difficulty (N,), threshold, ratio, generator) → the indices of an epoch, shuffled, none
    twice.

    threshold: θ in [0, 1]. ratio: r in (0, 1], the epoch's share of the data (D3: 0.5–1, 0.7 if not
      given).
    keep_size: draw `epoch_size` samples exactly. A pure function: all chance comes from the
    generator. Only the ranks of the difficulty matter, so the size of an epoch is a function of N,
    θ and r.

    A subclass says in `stretches` from which ranks how many are drawn. Raises UsageError for
    arguments out of range and for difficulty that is empty, not (N,), or NaN.
    """

    def __call__(
        self,
        difficulty,
        threshold: float,
        ratio: float,
        generator: np.random.Generator,
        keep_size: bool = False,
    ) -> np.ndarray:
        difficulty = checked_difficulty(difficulty)
        plan = self.plan(len(difficulty), threshold, ratio, keep_size)
        ranked = easiest_first(difficulty, generator)
        drawn = [generator.permutation(ranked[start:stop])[:count] for start, stop, count in plan]
        return generator.permutation(np.concatenate(drawn))

    def plan(
        self, count: int, threshold: float, ratio: float, keep_size: bool = False
    ) -> list[Stretch]:
        """From which stretches of `count` ranks how many are drawn; what no stretch holds is never
        drawn.
        """
        if count < 1:
            raise UsageError(f"count={count}: expected 1 sample or more")
        check_threshold(threshold)
        if not 0 < ratio <= 1:
            raise UsageError(
                f"ratio={ratio}: expected a number above 0 and up to 1, the epoch's share of the "
                "data"
            )
        return self.stretches(count, epoch_size(count, ratio), threshold, ratio, keep_size)

    def stretches(
        self, count: int, size: int, threshold: float, ratio: float, keep_size: bool
    ) -> list[Stretch]:
        """count: N; size: the samples wanted, rN."""
        raise NotImplementedError

    def __repr__(self) -> str:
        return type(self).__name__


class RandomOrder(Strategy):
    """D3's `random`: all N samples, whatever θ, r and keep_size. At equal compute the control is
    `random_subset`.
    """

    def stretches(self, count, size, threshold, ratio, keep_size):
        return [Stretch(0, count, count)]


class RandomSubset(Strategy):
    """rN samples, each equally likely: no curriculum, at the same cost as one."""

    def stretches(self, count, size, threshold, ratio, keep_size):
        return [Stretch(0, count, size)]


class EasyToHard(Strategy):
    """D3: the easiest (0.5 + 0.5θ)N in 5 equal buckets, drawn in the proportions (5, 3, 2, 1, 1)^(1
    + 2(1 − θ)).

    keep_size: the easiest (0.5 + 0.5θ)N or rN, whichever is more.
    """

    def stretches(self, count, size, threshold, ratio, keep_size):
        covered = epoch_size(count, 0.5 + 0.5 * threshold)
        covered = max(covered, size) if keep_size else covered
        return _buckets(covered, size, EASY_FIRST ** (1 + 2 * (1 - threshold)), keep_size)


class HardMining(Strategy):
    """D3: all samples in 5 equal buckets, drawn in the proportions (1, 1, 2, 3, 5)^(1 + 2θ),
    uniform at θ = 0.
    """

    def stretches(self, count, size, threshold, ratio, keep_size):
        shares = HARD_FIRST ** (1 + 2 * threshold) if threshold > 0 else np.ones(5)
        return _buckets(count, size, shares, keep_size)


class Mixed(Strategy):
    """D3: all samples in 5 equal buckets, from easy to hard as θ grows.

    Proportions (5, 3, 2, 1, 1)^(1 + 2(0.5 − θ)) below θ = 0.5, uniform at 0.5, (1, 1, 2, 3, 5)^(1 +
    2(θ − 0.5)) above.
    On both sides of 0.5 they jump: the power never falls below 1.
    """

    def stretches(self, count, size, threshold, ratio, keep_size):
        shares = np.ones(5)
        if threshold < 0.5:
            shares = EASY_FIRST ** (1 + 2 * (0.5 - threshold))
        elif threshold > 0.5:
            shares = HARD_FIRST ** (1 + 2 * (threshold - 0.5))
        return _buckets(count, size, shares, keep_size)


class Adaptive(Strategy):
    """D3: the window of ranks [θ − r/2, θ + r/2], cut at 0 and 1, all of it; both ends rounded
    down.

    So θ = 0 and θ = 1 see half as many samples as θ = 0.5. keep_size: the window slides inward
    instead of being cut.
    """

    def stretches(self, count, size, threshold, ratio, keep_size):
        start, stop = (
            int(np.clip(threshold + side * ratio / 2, 0, 1) * count + 1e-9) for side in (-1, 1)
        )
        if keep_size:
            start = min(start, count - size)
            return [Stretch(start, start + size, size)]
        start = min(start, count - 1)
        stop = max(stop, start + 1)  # D3 widens a small window to a batch
        return [Stretch(start, stop, stop - start)]


class Easiest(Strategy):
    """rN samples, each equally likely, of the easiest θN, or of the easiest rN if that is more;
    always rN, none twice.

    Competence-based curricula (Platanios et al. 2019, θ the competence) and paced ones (Hacohen &
    Weinshall 2019) draw single batches from the easiest θN. Here a whole epoch is drawn without
    repetition, so θ below r makes no difference.
    """

    def stretches(self, count, size, threshold, ratio, keep_size):
        return [Stretch(0, max(size, int(threshold * count + 1e-9)), size)]


random_order, random_subset, easiest = RandomOrder(), RandomSubset(), Easiest()
easy_to_hard, hard_mining, mixed, adaptive = EasyToHard(), HardMining(), Mixed(), Adaptive()

STRATEGIES = {
    "random": random_order,
    "easy_to_hard": easy_to_hard,
    "hard_mining": hard_mining,
    "mixed": mixed,
    "adaptive": adaptive,
    "random_subset": random_subset,
    "easiest": easiest,
}


def _buckets(count: int, size: int, shares: np.ndarray, keep_size: bool) -> list[Stretch]:
    """`size` samples from the first `count` ranks in 5 equal buckets, in proportion to the shares
    (5,).

    As D3 does it: where N is no multiple of 5, the easiest buckets hold one sample more, and with
    fewer samples than buckets the hardest are empty. Shares are rounded down; what is left over
    goes to the bucket at the favoured end, the hardest where no end is. A bucket smaller than its
    share gives all it has, and the epoch comes out smaller. With keep_size, the buckets nearby make
    up for it; and where D3 would draw nothing at all.
    """
    sizes = np.array([count // 5 + (bucket < count % 5) for bucket in range(5)])
    drawn = np.floor(size * shares / shares.sum() + 1e-9).astype(int)
    drawn[0 if shares[0] > shares[-1] else -1] += size - drawn.sum()
    if keep_size or not np.minimum(drawn, sizes).any():
        drawn = _refilled(drawn, sizes)
    edges = [0, *np.cumsum(sizes).tolist()]
    return [
        Stretch(a, b, min(n, b - a))
        for (a, b), n in zip(pairwise(edges), drawn.tolist(), strict=True)
    ]


def _refilled(drawn: np.ndarray, sizes: np.ndarray) -> np.ndarray:
    """What is too much for a bucket goes to the nearest ones with room; of two as near, to the
    easier first.
    """
    drawn = drawn.copy()
    for full in range(len(sizes)):
        for near in sorted(range(len(sizes)), key=lambda bucket: (abs(bucket - full), bucket)):
            moved = min(max(drawn[full] - sizes[full], 0), max(sizes[near] - drawn[near], 0))
            drawn[full] -= moved
            drawn[near] += moved
    return drawn


def importance_weights(
    strategy: Strategy | str, difficulty, threshold: float, ratio: float, keep_size: bool = False
) -> np.ndarray:
    """Weights (N,), by index, that undo the bias of a strategy: proportional to 1 / π_i (Horvitz &
    Thompson 1952).

    π_i is the probability that sample i is drawn: drawn / size of its bucket, or, since ties are
    broken at random, the mean over the ranks that its equals share. The mean of weight · quantity
    over an epoch's draw is then, on average, the plain mean over all samples that can be drawn. The
    weights' own mean over a draw is 1 (with ties: on average). A sample that cannot be drawn has
    weight 0: what it would have said cannot be put back. Raises as a Strategy does.
    """
    difficulty = checked_difficulty(difficulty)
    of_rank = np.zeros(len(difficulty))
    for start, stop, drawn in strategy_named(strategy).plan(
        len(difficulty), threshold, ratio, keep_size
    ):
        of_rank[start:stop] = drawn / max(stop - start, 1)
    _, group, size = np.unique(
        difficulty, return_inverse=True, return_counts=True
    )  # groups of equals, easiest first
    probability = (np.bincount(np.sort(group), of_rank) / size)[group]
    inverse = np.divide(1, probability, out=np.zeros_like(probability), where=probability > 0)
    return inverse * probability.sum() / (probability > 0).sum()


def anti_curriculum(difficulty) -> np.ndarray:
    """−difficulty: hardest first under any strategy, the control of Hacohen & Weinshall 2019. (N,)
    → (N,).
    """
    return -checked_difficulty(difficulty)


def strategy_named(strategy: Strategy | str) -> Strategy:
    if isinstance(strategy, Strategy):
        return strategy
    if strategy not in STRATEGIES:
        raise unknown("strategy", strategy, STRATEGIES)
    return STRATEGIES[strategy]


def check_threshold(threshold: float, name: str = "threshold") -> None:
    if not 0 <= threshold <= 1:
        raise UsageError(f"{name}={threshold}: expected a number from 0 to 1")


def checked_difficulty(difficulty) -> np.ndarray:
    difficulty = np.asarray(difficulty, dtype=np.float64)
    if difficulty.ndim != 1 or not len(difficulty):
        raise UsageError(
            f"difficulty of shape {difficulty.shape}: expected (N,), a number a sample, and N ≥ 1"
        )
    if np.isnan(difficulty).any():
        raise UsageError(
            f"difficulty of {np.isnan(difficulty).sum()} of {len(difficulty)} samples is NaN: it "
            "has no rank. Look at the logits that it was made from"
        )
    return difficulty
