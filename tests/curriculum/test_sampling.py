import math

import numpy as np
import pytest
import torch
from torch import nn

from kdcourse.common.errors import UsageError
from kdcourse.curriculum import (
    STRATEGIES,
    CurriculumSampler,
    Linear,
    Root,
    Step,
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
from kdcourse.curriculum.sampling import CURRICULUM
from kdcourse.curriculum.strategies import _refilled
from kdcourse.data import Batches
from kdcourse.data.batches import AUGMENT, SHUFFLE, generator
from kdcourse.distillation import CrossEntropy
from kdcourse.training import fit

THRESHOLDS = (0, 0.25, 0.5, 0.75, 1)
RATIOS = (0.5, 0.6, 0.7, 1)
COUNTS = [*range(1, 13), 23, 99, 100, 648, 999, 1000, 10_000]
every_strategy = pytest.mark.parametrize("strategy", STRATEGIES.values(), ids=STRATEGIES)
SIZED = {name: strategy for name, strategy in STRATEGIES.items() if name != "random"}
every_sized_strategy = pytest.mark.parametrize("strategy", SIZED.values(), ids=SIZED)


def rng(seed=0):
    return np.random.default_rng(seed)


def ramp(count):
    """Difficulties without ties, in no order of their own."""
    return rng(count).permutation(count).astype(float)


def drawn(strategy, threshold, ratio=0.7, count=100, **options):
    """How many of each fifth of the ranks one draw holds."""
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
    assert easiest.plan(100, 0.2, 0.5) == [
        (0, 50, 50)
    ]  # none twice: 50 samples need 50 to be drawn from
    assert random_order.plan(100, 0.2, 0.5) == [(0, 100, 100)]
    assert random_subset.plan(100, 0.2, 0.5) == [(0, 100, 50)]


def test_the_refill_takes_the_nearest_and_of_two_as_near_the_easier():
    assert _refilled(np.array([0, 0, 9, 0, 0]), np.full(5, 4)).tolist() == [0, 4, 4, 1, 0]
    assert _refilled(np.array([9, 0, 0, 0, 6]), np.full(5, 4)).tolist() == [4, 4, 1, 2, 4]
    assert _refilled(np.array([0, 0, 0, 0, 3]), np.array([1, 1, 1, 0, 0])).tolist() == [
        1,
        1,
        1,
        0,
        0,
    ]


# D3's rules once more, plainly, for all sizes.


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


@pytest.mark.parametrize("ratio", RATIOS)
@pytest.mark.parametrize("threshold", THRESHOLDS)
@pytest.mark.parametrize("name", STRATEGIES)
def test_sizes_from_1_to_10000(name, threshold, ratio):
    for count in COUNTS:
        difficulty = ramp(count)
        for keep_size in (False, True):
            index = STRATEGIES[name](difficulty, threshold, ratio, rng(), keep_size=keep_size)
            assert len(index) == len(np.unique(index)), "a sample is drawn twice"
            assert 0 <= index.min() and index.max() < count
            promised = count if name == "random" else epoch_size(count, ratio)
            published = d3_size(name, count, threshold, ratio)
            if keep_size:
                assert len(index) == promised
            elif published:
                assert (
                    len(index) == published <= promised + (name == "adaptive")
                )  # both ends are rounded
            else:  # fewer samples than buckets, where D3 would have nothing
                assert count < 5 and 1 <= len(index) <= promised


@pytest.mark.parametrize("ratio", RATIOS)
@pytest.mark.parametrize("threshold", THRESHOLDS)
@every_strategy
def test_a_plan_is_made_of_stretches_that_do_not_overlap(strategy, threshold, ratio):
    for count in COUNTS:
        for keep_size in (False, True):
            end = 0
            for start, stop, wanted in strategy.plan(count, threshold, ratio, keep_size):
                assert end <= start <= stop <= count and 0 <= wanted <= stop - start
                end = stop


@pytest.mark.parametrize("ratio", RATIOS)
@pytest.mark.parametrize("threshold", THRESHOLDS)
@pytest.mark.parametrize(
    ("strategy", "shares"),
    [
        (easy_to_hard, lambda θ: np.array([5, 3, 2, 1, 1.0]) ** (3 - 2 * θ)),
        (hard_mining, lambda θ: np.array([1, 1, 2, 3, 5.0]) ** (1 + 2 * θ) if θ else np.ones(5)),
        (mixed, lambda θ: (np.array([[5, 3, 2, 1, 1.0], [1] * 5, [1, 1, 2, 3, 5.0]])[int(np.sign(θ - 0.5)) + 1])
         ** (1 + 2 * abs(θ - 0.5))),
    ],
    ids=["easy_to_hard", "hard_mining", "mixed"],
)  # fmt: skip
def test_proportions_of_the_buckets(strategy, shares, threshold, ratio):
    """Where a bucket is large enough, its part of the draw is its share, within a sample and what
    is left over.
    """
    plan = strategy.plan(10_000, threshold, ratio)
    expected = ratio * 10_000 * shares(threshold) / shares(threshold).sum()
    for (start, stop, wanted), share in zip(plan, expected, strict=True):
        assert wanted == stop - start if share >= stop - start else abs(wanted - share) < 5
    assert plan[-1].stop == (5_000 + 5_000 * threshold if strategy is easy_to_hard else 10_000)


@pytest.mark.parametrize("ratio", RATIOS)
@pytest.mark.parametrize("threshold", THRESHOLDS)
@pytest.mark.parametrize("strategy", [easy_to_hard, hard_mining, mixed])
def test_keeping_the_size_takes_nothing_from_a_bucket(strategy, threshold, ratio):
    """Compared on the same cover: what a refill adds comes on top."""
    plain, kept = (strategy.plan(1000, threshold, ratio, keep) for keep in (False, True))
    if kept[-1].stop == plain[-1].stop:
        assert all(b.drawn >= a.drawn for a, b in zip(plain, kept, strict=True))


# chance


@every_strategy
def test_the_same_draw_for_the_same_seed_and_another_for_another(strategy):
    difficulty = ramp(200)
    for keep_size in (False, True):
        draws = [
            strategy(difficulty, 0.5, 0.6, rng(seed), keep_size=keep_size).tolist()
            for seed in (1, 1, 2)
        ]
        assert draws[0] == draws[1] != draws[2]


@every_strategy
def test_an_epoch_is_shuffled(strategy):
    difficulty = ramp(1000)
    index = strategy(difficulty, 0.5, 0.7, rng(), keep_size=True)
    assert abs(np.corrcoef(np.arange(len(index)), difficulty[index])[0, 1]) < 0.15


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


@every_sized_strategy
@pytest.mark.parametrize("keep_size", [False, True])
@pytest.mark.parametrize("ties", [False, True])
def test_importance_weights_undo_the_bias(strategy, keep_size, ties):
    """The weighted mean of a quantity that grows with difficulty, over many draws, comes to the
    plain mean.
    """
    difficulty = np.floor(ramp(60) / 7) if ties else ramp(60)
    quantity = difficulty**2
    weights = importance_weights(strategy, difficulty, 0.75, 0.5, keep_size)
    draws = [strategy(difficulty, 0.75, 0.5, rng(seed), keep_size=keep_size) for seed in range(500)]
    means = np.array([(weights[index] * quantity[index]).mean() for index in draws])
    can = weights > 0
    assert np.array_equal(np.flatnonzero(can), np.unique(np.concatenate(draws)))
    error = means.std() / np.sqrt(len(means)) + 1e-9 * quantity.max()
    assert abs(means.mean() - quantity[can].mean()) < 4 * error
    mean_weights = np.array([weights[index].mean() for index in draws])
    assert mean_weights.mean() == pytest.approx(1, abs=0.02)
    if not ties:
        assert np.allclose(mean_weights, 1)


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


# schedules


def test_schedules_by_hand():
    assert [Linear(0.2, 1)(s) for s in (0, 0.5, 1)] == pytest.approx([0.2, 0.6, 1])
    assert Linear(1, 0)(0.25) == 0.75
    # c₀ = 0.1: √(0.5 · 0.99 + 0.01) = √0.505
    assert [Root(2, 0.1)(s) for s in (0, 0.5, 1)] == pytest.approx([0.1, math.sqrt(0.505), 1])
    assert Root(1, 0.2)(0.5) == pytest.approx(Linear(0.2, 1)(0.5))
    assert Root(3, 0.5)(0.5) == pytest.approx((0.5 * (1 - 0.125) + 0.125) ** (1 / 3))
    stairs = Step(at=(0.25, 0.5), values=(0.25, 0.5, 1))
    assert [stairs(s) for s in (0, 0.24, 0.25, 0.49, 0.5, 1)] == [0.25, 0.25, 0.5, 0.5, 1, 1]


@pytest.mark.parametrize(
    "schedule",
    [Linear(0.3, 0.9), Linear(1, 0), Root(), Root(5, 0), Root(1.5, 1), Step((0.1,), (0, 1))],
    ids=str,
)
def test_schedules_stay_between_0_and_1(schedule):
    assert all(0 <= schedule(s) <= 1 for s in np.linspace(0, 1, 101))


def test_wrong_schedules_are_refused():
    for make, message in [
        (lambda: Linear(-0.1, 1), "start=-0.1: expected a number from 0 to 1"),
        (lambda: Linear(0, 1.5), "end=1.5"),
        (lambda: Root(0.5), "power=0.5"),
        (lambda: Root(math.nan), "power=nan"),
        (lambda: Root(2, 2), "start=2"),
        (lambda: Step((0.5,), (0.5,)), "one value more"),
        (lambda: Step((0.5, 0.2), (0, 0.5, 1)), "rising numbers"),
        (lambda: Step((0.0,), (0, 1)), "rising numbers"),
        (lambda: Step((0.5,), (0, 2)), "values=2"),
    ]:
        with pytest.raises(UsageError, match=message):
            make()


# the sampler


def sampler(strategy="mixed", count=72, schedule=None, **options):
    options = dict(seed=0, epochs=4) | options
    return CurriculumSampler(strategy, ramp(count), 0.5, schedule or Linear(), **options)


@every_strategy
def test_an_epoch_is_a_function_of_seed_and_epoch(strategy):
    one, same, other = sampler(strategy), sampler(strategy), sampler(strategy, seed=1)
    last = one(3).tolist()
    epochs = [one(epoch).tolist() for epoch in range(4)]
    assert epochs[3] == last  # asked in any order
    assert (
        epochs
        == [same(epoch).tolist() for epoch in range(4)]
        != [other(epoch).tolist() for epoch in range(4)]
    )
    assert len({tuple(epoch) for epoch in epochs}) == 4


def test_it_draws_what_the_strategy_draws_under_the_schedule():
    one = sampler("adaptive", schedule=Linear(0, 1))
    assert [one.threshold(epoch) for epoch in range(6)] == [0, 0.25, 0.5, 0.75, 1, 1]
    for epoch in range(6):
        window = adaptive.plan(72, one.threshold(epoch), 0.5, keep_size=True)[0]
        assert sorted(one.difficulty[one(epoch)]) == list(range(window.start, window.stop))


def test_its_chance_is_none_of_the_batches():
    """Neither of the same epoch nor of a later one: the streams of `generator` lie side by side,
    two an epoch.
    """
    own = {generator(0, epoch, CURRICULUM).random() for epoch in range(3)}
    theirs = {
        generator(0, epoch, stream).random()
        for epoch in range(1000)
        for stream in (SHUFFLE, AUGMENT)
    }
    assert len(own) == 3 and not own & theirs


def test_an_agent_sets_the_threshold_and_difficulty_is_renewed():
    one = sampler("adaptive")
    one.set_threshold(1.0)
    assert one.threshold(0) == one.threshold(3) == 1.0
    assert sorted(one.difficulty[one(0)]) == list(range(36, 72))
    fresh = np.arange(72.0)
    one.renew(fresh)
    assert sorted(one(0)) == list(range(36, 72))
    with pytest.raises(UsageError, match="difficulty of 71 samples: expected 72"):
        one.renew(fresh[:71])
    with pytest.raises(UsageError, match="NaN"):
        one.renew(fresh * math.nan)
    with pytest.raises(UsageError, match="threshold=1.1"):
        one.set_threshold(1.1)
    assert one.threshold(0) == 1.0 and np.array_equal(one.difficulty, fresh)


def test_a_number_is_a_schedule():
    one = CurriculumSampler("mixed", ramp(20), 0.5, 0.25, seed=0)
    assert [one.threshold(epoch) for epoch in (0, 7)] == [0.25, 0.25]
    assert "Mixed, 20 samples, ratio=0.5, schedule=0.25" in repr(one)


def test_within_batches_and_fit(make_data):
    data = make_data()
    difficulty = ramp(len(data.train))
    one = CurriculumSampler(
        "easy_to_hard", difficulty, 0.5, Linear(), seed=0, epochs=2, split=data.train
    )
    batches = Batches(data.train, 16, seed=0, sampler=one)
    for epoch in (0, 1):
        index = torch.cat([batch.index for batch in batches.epoch(epoch)]).numpy()
        assert np.array_equal(index, one(epoch)) and len(index) == epoch_size(len(data.train), 0.5)
    torch.manual_seed(0)
    student = nn.Sequential(nn.Flatten(), nn.Linear(3 * 8 * 8, 3))
    history = fit(
        student,
        data,
        CrossEntropy(),
        epochs=2,
        batch_size=16,
        augment=None,
        sampler=one,
        progress=False,
        device="cpu",
    )
    assert len(history.records) == 2 and all(
        math.isfinite(record["loss"]) for record in history.records
    )


@pytest.mark.parametrize("keep_size", [True, False])
def test_fit_counts_the_steps_of_a_schedule(make_data, keep_size):
    data, seen = make_data(), []

    class Watch(CrossEntropy):
        def terms(self, answers, taught, batch):
            seen.append((batch.epoch, len(batch)))
            return super().terms(answers, taught, batch)

    one = CurriculumSampler(
        "hard_mining",
        ramp(len(data.train)),
        0.7,
        Linear(),
        seed=0,
        epochs=2,
        keep_size=keep_size,
        split=data.train,
    )
    student = nn.Sequential(nn.Flatten(), nn.Linear(3 * 8 * 8, 3))
    fit(
        student,
        data,
        Watch(),
        epochs=2,
        batch_size=16,
        augment=None,
        sampler=one,
        progress=False,
        device="cpu",
    )
    sizes = [sum(size for epoch, size in seen if epoch == e) for e in (0, 1)]
    assert sizes == [len(one(0)), len(one(1))]
    assert (sizes[0] == sizes[1]) == keep_size


# bad input


@every_strategy
def test_bad_input_is_refused(strategy):
    good = ramp(10)
    for wrong, message in [
        (good * math.nan, "difficulty of 10 of 10 samples is NaN"),
        ([1, math.nan, 2], "difficulty of 1 of 3 samples is NaN"),
        ([], r"difficulty of shape \(0,\)"),
        (np.zeros((3, 2)), r"difficulty of shape \(3, 2\)"),
    ]:
        with pytest.raises(UsageError, match=message):
            strategy(wrong, 0.5, 0.7, rng())
        with pytest.raises(UsageError, match=message):
            importance_weights(strategy, wrong, 0.5, 0.7)
        with pytest.raises(UsageError, match=message):
            CurriculumSampler(strategy, wrong, 0.7, 0.5, seed=0)
    for threshold in (-0.1, 1.1, math.nan):
        with pytest.raises(
            UsageError, match=f"threshold={threshold}: expected a number from 0 to 1"
        ):
            strategy(good, threshold, 0.7, rng())
        with pytest.raises(
            UsageError, match=f"threshold={threshold}: expected a number from 0 to 1"
        ):
            CurriculumSampler(strategy, good, 0.7, threshold, seed=0)
    for ratio in (0, -0.5, 1.1, math.nan):
        with pytest.raises(
            UsageError, match=f"ratio={ratio}: expected a number above 0 and up to 1"
        ):
            strategy(good, 0.5, ratio, rng())
        with pytest.raises(
            UsageError, match=f"ratio={ratio}: expected a number above 0 and up to 1"
        ):
            CurriculumSampler(strategy, good, ratio, 0.5, seed=0)
    with pytest.raises(UsageError, match="count=0"):
        strategy.plan(0, 0.5, 0.7)


def test_the_sampler_refuses_what_cannot_be_right(make_data):
    good = ramp(10)
    known = "adaptive, easiest, easy_to_hard, hard_mining, mixed, random, random_subset"
    with pytest.raises(UsageError, match=f"unknown strategy 'hard'.*Known: {known}"):
        CurriculumSampler("hard", good, 0.7, 0.5, seed=0)
    with pytest.raises(UsageError, match="unknown strategy"):
        importance_weights("hard", good, 0.5, 0.7)
    with pytest.raises(UsageError, match="difficulty of 10 samples for the train split of 72"):
        CurriculumSampler("mixed", good, 0.7, 0.5, seed=0, split=make_data().train)
    with pytest.raises(UsageError, match="seed=-1"):
        CurriculumSampler("mixed", good, 0.7, 0.5, seed=-1)
    for epochs in (None, 0):
        with pytest.raises(UsageError, match=f"epochs={epochs}: a schedule needs to know"):
            CurriculumSampler("mixed", good, 0.7, Linear(), seed=0, epochs=epochs)
    late = CurriculumSampler("mixed", good, 0.7, lambda progress: 2 * progress, seed=0, epochs=4)
    with pytest.raises(UsageError, match="threshold=1.5"):
        late(3)
