"""Strategies: worked examples, and properties over counts, thresholds and ratios."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from kdcourse.common.errors import UsageError
from kdcourse.curriculum import (
    STRATEGIES,
    CurriculumSampler,
    adaptive,
    anti_curriculum,
    easiest,
    easiest_first,
    easy_to_hard,
    epoch_size,
    hard_mining,
    importance_weights,
    mixed,
    random_order,
    random_subset,
)
from kdcourse.curriculum.strategies import _refilled

PROPERTY = settings(derandomize=True, max_examples=150, deadline=None)
names = st.sampled_from(sorted(STRATEGIES))
counts = st.integers(1, 1200) | st.sampled_from([1, 2, 3, 4, 5, 10_000])
thresholds = st.integers(0, 20).map(lambda twentieths: twentieths / 20)
ratios = st.integers(1, 20).map(lambda twentieths: twentieths / 20)


def rng(seed=0):
    return np.random.default_rng(seed)


def ramp(count):
    """Difficulties without ties, in no particular order."""
    return rng(count).permutation(count).astype(float)


def drawn(strategy, threshold, ratio=0.7, count=100, **options):
    """How many samples of each fifth of the ranks one draw holds."""
    difficulty = ramp(count)
    index = strategy(difficulty, threshold, ratio, rng(), **options)
    return np.histogram(difficulty[index], bins=5, range=(0, count))[0].tolist()


# By hand: N = 100, r = 0.7, so 70 samples are wanted of five buckets of 20.


def test_easy_to_hard_by_hand():
    # θ = 0: the easiest 50, buckets of 10. Power 3: 125, 27, 8, 1, 1 of 162, times 70: 54.01, 11.7,
    # 3.5, 0.4, 0.4. Rounded down and 2 left over to the first: 56, 11, 3, 0, 0. There are 10 in a
    # bucket: 10 + 10 + 3 = 23, not 70.
    assert [tuple(stretch) for stretch in easy_to_hard.plan(100, 0, 0.7)] == [
        (0, 10, 10), (10, 20, 10), (20, 30, 3), (30, 40, 0), (40, 50, 0),
    ]  # fmt: skip
    # θ = 1: all 100. Power 1: 5, 3, 2, 1, 1 of 12, times 70: 29, 17, 11, 5, 5 and 3 left over: 32
    # of 20 in the first.
    assert drawn(easy_to_hard, 1) == [20, 17, 11, 5, 5]
    # with its size kept, the 12 too many go to the second bucket, which has room for 3, and to the
    # third
    assert drawn(easy_to_hard, 1, keep_size=True) == [20, 20, 20, 5, 5]
    # and at θ = 0 the easiest 70 are covered: all of them
    difficulty = ramp(100)
    assert sorted(difficulty[easy_to_hard(difficulty, 0, 0.7, rng(), keep_size=True)]) == list(
        range(70)
    )


def test_hard_mining_by_hand():
    assert drawn(hard_mining, 0) == [14, 14, 14, 14, 14]
    # θ = 0.5, power 2: 1, 1, 4, 9, 25 of 40, times 70: 1, 1, 7, 15, 43 and 3 left over to the last:
    # 46 of 20
    assert drawn(hard_mining, 0.5) == [1, 1, 7, 15, 20]
    # 26 too many: 5 to the fourth, 13 to the third, 8 to the second
    assert drawn(hard_mining, 0.5, keep_size=True) == [1, 9, 20, 20, 20]
    # θ = 1, power 3: 1, 1, 8, 27, 125 of 162, times 70: 0, 0, 3, 11, 54 and 2 left over: 34 of 70
    # are drawn
    assert drawn(hard_mining, 1) == [0, 0, 3, 11, 20]
    assert drawn(hard_mining, 1, keep_size=True) == [0, 10, 20, 20, 20]


def test_mixed_by_hand():
    # θ = 0, power 2: hard mining at 0.5 from the other end
    assert drawn(mixed, 0) == [20, 15, 7, 1, 1]
    # θ = 0.25, power 1.5: 11.18, 5.20, 2.83, 1, 1 of 21.2, times 70: 36, 17, 9, 3, 3 and 2 left
    # over to the first
    assert drawn(mixed, 0.25) == [20, 17, 9, 3, 3]
    assert drawn(mixed, 0.5) == [14, 14, 14, 14, 14]
    assert drawn(mixed, 0.75) == [3, 3, 9, 17, 20]
    assert drawn(mixed, 1) == [1, 1, 7, 15, 20]
    assert drawn(mixed, 1, keep_size=True) == [1, 9, 20, 20, 20]


def test_adaptive_by_hand():
    windows = {0: (0, 35), 0.25: (0, 60), 0.5: (15, 85), 0.75: (40, 100), 1: (65, 100)}
    slid = {0: (0, 70), 0.25: (0, 70), 0.5: (15, 85), 0.75: (30, 100), 1: (30, 100)}
    difficulty = ramp(100)
    for keep_size, expected in ((False, windows), (True, slid)):
        for threshold, window in expected.items():
            got = difficulty[adaptive(difficulty, threshold, 0.7, rng(), keep_size=keep_size)]
            assert sorted(got) == list(range(*window))


def test_easiest_and_the_random_ones_by_hand():
    assert easiest.plan(100, 0.9, 0.5) == [(0, 90, 50)]
    # none twice: 50 samples need 50 to be drawn from
    assert easiest.plan(100, 0.2, 0.5) == [(0, 50, 50)]
    assert random_order.plan(100, 0.2, 0.5) == [(0, 100, 100)]
    assert random_subset.plan(100, 0.2, 0.5) == [(0, 100, 50)]


def test_the_refill_takes_the_nearest_and_of_two_as_near_the_easier():
    assert _refilled(np.array([0, 0, 9, 0, 0]), np.full(5, 4)).tolist() == [0, 4, 4, 1, 0]
    assert _refilled(np.array([9, 0, 0, 0, 6]), np.full(5, 4)).tolist() == [4, 4, 1, 2, 4]
    few = np.array([1, 1, 1, 0, 0])
    assert _refilled(np.array([0, 0, 0, 0, 3]), few).tolist() == few.tolist()


# D3's rules written a second time, for any size.


def d3_size(name, count, threshold, ratio):
    """How many samples D3 draws; 0 where all shares fall on empty buckets."""
    size = max(1, math.floor(ratio * count + 1e-9))
    if name == "random":
        return count
    if name in ("random_subset", "easiest"):
        return size
    if name == "adaptive":
        low, high = max(0, threshold - ratio / 2), min(1, threshold + ratio / 2)
        return math.floor(high * count + 1e-9) - math.floor(low * count + 1e-9)
    covered, easy, power = count, False, 0
    if name == "easy_to_hard":
        covered, easy = max(1, math.floor((0.5 + 0.5 * threshold) * count + 1e-9)), True
        power = 1 + 2 * (1 - threshold)
    elif name == "hard_mining" and threshold:
        power = 1 + 2 * threshold
    elif name == "mixed" and threshold != 0.5:
        easy, power = threshold < 0.5, 1 + 2 * abs(threshold - 0.5)
    proportions = [share**power for share in ((5, 3, 2, 1, 1) if easy else (1, 1, 2, 3, 5))]
    wanted = [math.floor(size * p / sum(proportions) + 1e-9) for p in proportions]
    wanted[0 if easy else 4] += size - sum(wanted)
    there = [len(bucket) for bucket in np.array_split(np.arange(covered), 5)]
    return sum(min(a, b) for a, b in zip(wanted, there, strict=True))


@PROPERTY
@given(names, counts, thresholds, ratios, st.booleans())
def test_an_epoch_has_the_size_that_the_strategy_promises(name, count, threshold, ratio, keep_size):
    index = STRATEGIES[name](ramp(count), threshold, ratio, rng(), keep_size=keep_size)
    assert len(index) == len(np.unique(index)), "a sample is drawn twice"
    assert 0 <= index.min() and index.max() < count
    promised = count if name == "random" else epoch_size(count, ratio)
    published = d3_size(name, count, threshold, ratio)
    if keep_size:
        assert len(index) == promised
    elif published:
        # both ends of adaptive's window are rounded
        assert len(index) == published <= promised + (name == "adaptive")
    else:  # fewer samples than buckets, where D3 would draw nothing
        assert count < 10 and 1 <= len(index) <= promised


@PROPERTY
@given(names, counts, thresholds, ratios, st.booleans())
def test_a_plan_is_made_of_stretches_that_do_not_overlap(name, count, threshold, ratio, keep_size):
    end = 0
    for start, stop, wanted in STRATEGIES[name].plan(count, threshold, ratio, keep_size):
        assert end <= start <= stop <= count and 0 <= wanted <= stop - start
        end = stop


def bucket_shares(name, θ):
    """The proportions of the five buckets, as D3 has them."""
    easy, hard = np.array([5, 3, 2, 1, 1.0]), np.array([1, 1, 2, 3, 5.0])
    if name == "easy_to_hard":
        return easy ** (3 - 2 * θ)
    if name == "hard_mining":
        return hard ** (1 + 2 * θ) if θ else np.ones(5)
    if θ == 0.5:
        return np.ones(5)
    return (easy if θ < 0.5 else hard) ** (1 + 2 * abs(θ - 0.5))


@PROPERTY
@given(st.sampled_from(["easy_to_hard", "hard_mining", "mixed"]), thresholds, ratios)
def test_buckets_are_drawn_in_d3s_proportions(name, threshold, ratio):
    """A bucket that is large enough gives its share, within a sample and the remainder."""
    plan = STRATEGIES[name].plan(10_000, threshold, ratio)
    shares = bucket_shares(name, threshold)
    expected = ratio * 10_000 * shares / shares.sum()
    for (start, stop, wanted), share in zip(plan, expected, strict=True):
        assert wanted == stop - start if share >= stop - start else abs(wanted - share) < 5
    covered = 5_000 + 5_000 * threshold if name == "easy_to_hard" else 10_000
    assert plan[-1].stop == pytest.approx(covered)


@PROPERTY
@given(st.sampled_from([easy_to_hard, hard_mining, mixed]), thresholds, ratios)
def test_keeping_the_size_takes_nothing_from_a_bucket(strategy, threshold, ratio):
    """On the same ranks, keep_size only adds samples."""
    plain, kept = (strategy.plan(1000, threshold, ratio, keep) for keep in (False, True))
    if kept[-1].stop == plain[-1].stop:
        assert all(b.drawn >= a.drawn for a, b in zip(plain, kept, strict=True))


# chance


def test_the_same_seed_gives_the_same_draw_and_another_seed_another():
    difficulty = ramp(200)
    for strategy in STRATEGIES.values():
        for keep_size in (False, True):
            draws = [
                strategy(difficulty, 0.5, 0.6, rng(seed), keep_size=keep_size).tolist()
                for seed in (1, 1, 2)
            ]
            assert draws[0] == draws[1] != draws[2], strategy


def test_an_epoch_is_shuffled():
    difficulty = ramp(1000)
    for strategy in STRATEGIES.values():
        index = strategy(difficulty, 0.5, 0.7, rng(), keep_size=True)
        assert abs(np.corrcoef(np.arange(len(index)), difficulty[index])[0, 1]) < 0.15, strategy


def test_ties_are_broken_at_random_and_not_by_file_order():
    ties = np.zeros(100)
    orders = [easiest_first(ties, rng(seed)).tolist() for seed in range(3)]
    assert orders[0] != orders[1] != orders[2] and all(
        sorted(order) == list(range(100)) for order in orders
    )
    often = np.zeros(100)
    for seed in range(400):
        often[easy_to_hard(ties, 0, 0.5, rng(seed), keep_size=True)] += 1
    assert often.min() > 150 and often.max() < 250  # 200 ± 10: each is as likely as any other
    some = np.array([1, 0, 1, 0, 2.0])
    assert all(
        some[easiest_first(some, rng(seed))].tolist() == [0, 0, 1, 1, 2] for seed in range(5)
    )


def test_only_ranks_matter():
    difficulty = rng().random(300)
    for strategy in STRATEGIES.values():
        a, b = (
            strategy(values, 0.75, 0.6, rng(3)) for values in (difficulty, 1000 * difficulty**3 - 7)
        )
        assert np.array_equal(a, b)


def test_difficulty_may_be_a_tensor_and_infinite():
    difficulty = torch.tensor([3.0, math.inf, 1.0, 2.0])
    assert easy_to_hard(difficulty, 0, 0.5, rng(), keep_size=True).tolist() in ([2, 3], [3, 2])


def test_the_anti_curriculum_takes_the_hardest():
    difficulty = ramp(50)
    index = easiest(anti_curriculum(difficulty), 0, 0.2, rng())
    assert sorted(difficulty[index]) == list(range(40, 50))


# importance weights


def check_weights(strategy, keep_size, ties, repeats=200):
    """The weighted mean of a quantity that grows with difficulty comes to the plain mean."""
    difficulty = np.floor(ramp(60) / 7) if ties else ramp(60)
    quantity = difficulty**2
    weights = importance_weights(strategy, difficulty, 0.75, 0.5, keep_size)
    draws = [
        strategy(difficulty, 0.75, 0.5, rng(seed), keep_size=keep_size) for seed in range(repeats)
    ]
    means = np.array([(weights[index] * quantity[index]).mean() for index in draws])
    can = weights > 0
    assert np.array_equal(np.flatnonzero(can), np.unique(np.concatenate(draws)))
    error = means.std() / np.sqrt(len(means)) + 1e-9 * quantity.max()
    assert abs(means.mean() - quantity[can].mean()) < 4 * error
    mean_weights = np.array([weights[index].mean() for index in draws])
    assert mean_weights.mean() == pytest.approx(1, abs=0.02)
    if not ties:
        assert np.allclose(mean_weights, 1)


@pytest.mark.parametrize("ties", [False, True])
def test_importance_weights_undo_the_bias(ties):
    for name, strategy in STRATEGIES.items():
        if name != "random":  # it draws everything
            for keep_size in (False, True):
                check_weights(strategy, keep_size, ties)


def test_importance_weights_by_hand():
    """mixed, N = 10, θ = 1, r = 1: power 2, so 1, 1, 4, 9, 25 of 40, times 10: 0, 0, 1, 2, 6 and 1
    more: 7.

    Buckets of 2: 0, 0, 1, 2, 2 are drawn, with probability 0, 0, ½, 1, 1. Inverses 2, 1, 1, times 5
      drawn / 6 to draw.
    """
    weights = importance_weights("mixed", np.arange(10), 1, 1)
    assert weights == pytest.approx([0, 0, 0, 0, 10 / 6, 10 / 6, 5 / 6, 5 / 6, 5 / 6, 5 / 6])
    assert importance_weights(random_subset, ramp(10), 0, 0.5) == pytest.approx(np.ones(10))


def test_without_weights_there_is_a_bias():
    difficulty = ramp(60)
    draws = [hard_mining(difficulty, 0.75, 0.5, rng(seed)) for seed in range(100)]
    assert np.mean([difficulty[index].mean() for index in draws]) > difficulty.mean() + 5


# bad input


def test_difficulty_that_has_no_ranks_is_refused():
    wrong = [
        (ramp(10) * math.nan, "difficulty of 10 of 10 samples is NaN"),
        ([1, math.nan, 2], "difficulty of 1 of 3 samples is NaN"),
        ([], r"difficulty of shape \(0,\)"),
        (np.zeros((3, 2)), r"difficulty of shape \(3, 2\)"),
    ]
    for strategy in STRATEGIES.values():
        for difficulty, message in wrong:
            with pytest.raises(UsageError, match=message):
                strategy(difficulty, 0.5, 0.7, rng())
    for difficulty, message in wrong:
        with pytest.raises(UsageError, match=message):
            importance_weights(mixed, difficulty, 0.5, 0.7)
        with pytest.raises(UsageError, match=message):
            CurriculumSampler(mixed, difficulty, 0.7, 0.5, seed=0)


def test_thresholds_and_ratios_out_of_range_are_refused():
    good = ramp(10)
    wrong = [(threshold, 0.7) for threshold in (-0.1, 1.1, math.nan)]
    wrong += [(0.5, ratio) for ratio in (0, -0.5, 1.1, math.nan)]
    for threshold, ratio in wrong:
        message = (
            f"ratio={ratio}: expected a number above 0 and up to 1"
            if threshold == 0.5
            else f"threshold={threshold}: expected a number from 0 to 1"
        )
        for strategy in STRATEGIES.values():
            with pytest.raises(UsageError, match=message):
                strategy(good, threshold, ratio, rng())
        with pytest.raises(UsageError, match=message):
            CurriculumSampler(mixed, good, ratio, threshold, seed=0)
    with pytest.raises(UsageError, match="count=0"):
        mixed.plan(0, 0.5, 0.7)
