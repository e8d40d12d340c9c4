"""Schedules, and the sampler that draws the samples of each epoch."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from kdcourse.common.errors import UsageError
from kdcourse.curriculum import (
    STRATEGIES,
    CurriculumSampler,
    Linear,
    Root,
    Step,
    adaptive,
    epoch_size,
    importance_weights,
)
from kdcourse.curriculum.sampling import CURRICULUM
from kdcourse.data import Batches
from kdcourse.data.batches import AUGMENT, SHUFFLE, generator
from kdcourse.distillation import CrossEntropy
from kdcourse.training import fit

shares = st.floats(0, 1)


def ramp(count):
    """Difficulties without ties, in no particular order."""
    return np.random.default_rng(count).permutation(count).astype(float)


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


@settings(derandomize=True, max_examples=100, deadline=None)
@given(
    st.builds(Linear, shares, shares)
    | st.builds(Root, st.floats(1, 10), shares)
    | st.builds(
        lambda at, values: Step((at,), values), st.floats(0.01, 0.99), st.tuples(shares, shares)
    ),
    shares,
)
def test_schedules_stay_between_0_and_1(schedule, progress):
    assert -1e-12 <= schedule(progress) <= 1 + 1e-12


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


def test_an_epoch_is_a_function_of_seed_and_epoch():
    for strategy in STRATEGIES.values():
        one, same, other = sampler(strategy), sampler(strategy), sampler(strategy, seed=1)
        last = one(3).tolist()
        epochs = [one(epoch).tolist() for epoch in range(4)]
        assert epochs[3] == last  # in whatever order they are asked for
        assert epochs == [same(epoch).tolist() for epoch in range(4)]
        assert epochs != [other(epoch).tolist() for epoch in range(4)]
        assert len({tuple(epoch) for epoch in epochs}) == 4


def test_it_draws_what_the_strategy_draws_under_the_schedule():
    one = sampler("adaptive", schedule=Linear(0, 1))
    assert [one.threshold(epoch) for epoch in range(6)] == [0, 0.25, 0.5, 0.75, 1, 1]
    for epoch in range(6):
        window = adaptive.plan(72, one.threshold(epoch), 0.5, keep_size=True)[0]
        assert sorted(one.difficulty[one(epoch)]) == list(range(window.start, window.stop))


def test_the_sampler_draws_from_a_stream_of_its_own():
    """No epoch of `Batches` uses the same random numbers, although its streams lie side by side."""
    curriculum = {generator(0, epoch, CURRICULUM).random() for epoch in range(3)}
    batches = {
        generator(0, epoch, stream).random()
        for epoch in range(1000)
        for stream in (SHUFFLE, AUGMENT)
    }
    assert len(curriculum) == 3 and not curriculum & batches


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


def test_fit_counts_the_steps_of_a_schedule(make_data):
    data = make_data()
    for keep_size in (True, False):
        fed = []

        class Watch(CrossEntropy):
            def terms(self, answers, teacher_answers, batch, fed=fed):
                fed.append((batch.epoch, len(batch)))
                return super().terms(answers, teacher_answers, batch)

        curriculum = CurriculumSampler(
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
            sampler=curriculum,
            progress=False,
            device="cpu",
        )
        sizes = [sum(size for epoch, size in fed if epoch == e) for e in (0, 1)]
        assert sizes == [len(curriculum(0)), len(curriculum(1))]
        assert (sizes[0] == sizes[1]) == keep_size


# bad input


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
