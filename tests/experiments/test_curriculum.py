"""D3's arms at the size of a smoke run."""

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
import torch

from kdcourse.common.errors import UsageError
from kdcourse.common.profiles import profile
from kdcourse.curriculum import easiest, split_difficulty
from kdcourse.data import Batches
from kdcourse.distillation import CrossEntropy, ResponseKD, Teacher
from kdcourse.evaluation import predict
from kdcourse.experiments import baselines, curriculum
from kdcourse.experiments.curriculum_recipes import mobilenet
from kdcourse.training import load_or_train
from kdcourse.training.checkpoint import digest

SETTINGS = profile("smoke")


@pytest.fixture
def data(make_data):
    return make_data(count=100, size=16)  # 60 train


@pytest.fixture
def teacher(data):
    torch.manual_seed(0)
    return Teacher(baselines.teacher_recipe(data, SETTINGS).model())


@pytest.fixture
def arms(teacher):
    return {arm.name: arm for arm in curriculum.equal_arms(teacher, ratio=0.6)}


def trained(arm, data, teacher, **options):
    return curriculum.train(
        arm, data, SETTINGS, teacher, **({"epochs": 4, "seed": 0, "renew_every": 2} | options)
    )[0]


# --- which samples --------------------------------------------------------------------------------


def test_passes_show_every_sample_equally_often():
    sampler = curriculum.Passes(10, 6, seed=3)
    drawn = [sampler(epoch) for epoch in range(5)]
    assert [len(epoch) for epoch in drawn] == [6] * 5  # 30 samples: three passes
    assert np.bincount(np.concatenate(drawn)).tolist() == [3] * 10
    stream = np.concatenate(drawn)
    for start in (0, 10, 20):
        assert sorted(stream[start : start + 10]) == list(range(10))
    assert np.array_equal(curriculum.Passes(10, 6, seed=3)(4), drawn[4]) and not np.array_equal(
        sampler(0), sampler(1)
    )
    assert not np.array_equal(curriculum.Passes(10, 6, seed=4)(0), drawn[0])


def test_whole_passes_are_plain_training(data):
    plain, sampler = (
        Batches(data.train, 16, seed=5),
        curriculum.Passes(len(data.train), len(data.train), seed=5),
    )
    assert all(np.array_equal(sampler(epoch), plain.order(epoch)) for epoch in range(3))


def test_passes_of_an_impossible_size_are_refused():
    for size in [0, 11]:
        with pytest.raises(UsageError, match="1 to count=10"):
            curriculum.Passes(10, size, seed=0)


def test_equal_arms_see_equally_many_samples(teacher):
    for count in [7, 60, 1403]:
        for ratio in [0.5, 0.6, 1.0]:
            for epochs in (1, 10):
                assert {
                    arm.samples(count, epochs) for arm in curriculum.equal_arms(teacher, ratio)
                } == {int(ratio * count) * epochs}


def test_the_samples_that_are_counted_are_those_that_are_fed(data, teacher, arms, monkeypatch):
    fed, epoch = [], Batches.epoch

    def watched(self, number=0):
        for batch in epoch(self, number):
            fed.append(len(batch) if self.sampler else 0)
            yield batch

    monkeypatch.setattr(Batches, "epoch", watched)
    for name in ("plain KD", "easy to hard"):
        fed.clear()
        trained(arms[name], data, teacher, seed=901)
        assert sum(fed) == arms[name].samples(len(data.train), 4) == 4 * 36


def test_unequal_arms_are_refused_unless_meant(data, teacher):
    arms = curriculum.five_arms(teacher)
    with pytest.raises(UsageError, match="different numbers of samples .*labels only 60"):
        curriculum.run(arms, data, SETTINGS, teacher, epochs=1, seeds=[0])
    runs = curriculum.run(arms[1:3], data, SETTINGS, teacher, epochs=1, seeds=[0])
    assert runs["samples seen"].tolist() == [60, 60]


# --- what is learned ------------------------------------------------------------------------------


def test_the_five_arms_are_d3s(teacher, data):
    labels, both, alone, steered = curriculum.five_arms(teacher)
    assert [arm.name for arm in curriculum.five_arms(teacher)] == list(
        curriculum.PUBLISHED.index[1:]
    )
    assert isinstance(labels.objective(), CrossEntropy)
    for arm, weights in ((both, (0.4, 0.6)), (alone, (1, 0)), (steered, (1, 0))):
        objective = arm.objective()
        assert isinstance(objective, ResponseKD) and objective.temperature == 4
        assert (objective.soft_weight, objective.label_weight) == weights
    assert alone.samples(60, 5) == 300
    assert (
        steered.ratio == 0.6 and not steered.keep_size and steered.samples(60, 5) < 180
    )  # as D3's code


def test_the_published_table_is_that_of_the_repository():
    assert curriculum.PUBLISHED["test accuracy, %"].tolist() == [95.04, 79.28, 86.40, 87.20, 85.06]


def test_whole_passes_train_the_network_of_the_recipe(data, teacher):
    arm = curriculum.Arm("labels", CrossEntropy)
    recipe = replace(baselines.student_recipe(data, SETTINGS, 2, 3), views=2)
    network, _ = load_or_train(recipe, data, progress=False)
    assert digest(trained(arm, data, teacher, epochs=3, seed=2, views=2)) == digest(network)


def test_arms_differ_and_are_found_again(data, teacher, arms, monkeypatch):
    made = {name: digest(trained(arm, data, teacher, seed=7)) for name, arm in arms.items()}
    assert len(set(made.values())) == len(arms)
    calls = []
    monkeypatch.setattr(curriculum, "split_difficulty", lambda *args: calls.append(args))
    assert (
        digest(trained(arms["easy to hard"], data, teacher, seed=7)) == made["easy to hard"]
        and not calls
    )


def test_difficulty_is_renewed_and_turned_round(data, teacher, arms, monkeypatch):
    seen, measure = [], split_difficulty

    def watched(split, by, network, scorer):
        seen.append((digest(network), measure(split, by, network, scorer)))
        return seen[-1][1]

    monkeypatch.setattr(curriculum, "split_difficulty", watched)
    trained(arms["hard to easy"], data, teacher, seed=31, epochs=5)
    assert len(seen) == 3 and len({weights for weights, _ in seen}) == 3  # before epochs 1, 3 and 5
    file = max(
        (curriculum.work_dir() / "models").glob("d3-*.epoch-4"),
        key=lambda path: path.stat().st_mtime,
    )
    turned = curriculum._difficulty(file, arms["hard to easy"], data, teacher, None)
    np.testing.assert_array_equal(turned, -seen[2][1])


class Killed(Exception):
    pass


def test_a_killed_run_goes_on_with_the_same_bits(data, teacher, arms, monkeypatch):
    arm = arms["easy to hard"]
    whole = digest(trained(arm, data, teacher, seed=41, epochs=5))
    for file in (curriculum.work_dir() / "models").glob("d3-*"):
        file.unlink()
    epoch = Batches.epoch

    def dies(self, number=0):
        if self.sampler and number == 3:  # within the second piece
            raise Killed
        return epoch(self, number)

    with monkeypatch.context() as patch, pytest.raises(Killed):
        patch.setattr(Batches, "epoch", dies)
        trained(arm, data, teacher, seed=41, epochs=5)
    assert digest(trained(arm, data, teacher, seed=41, epochs=5)) == whole


def test_run_gives_every_arm_with_every_seed(data, teacher, arms):
    chosen = [arms["plain KD"], arms["adaptive window"]]
    runs = curriculum.run(chosen, data, SETTINGS, teacher, epochs=2, seeds=(0, 1), views=2)
    assert runs.arm.tolist() == ["plain KD"] * 2 + [
        "adaptive window"
    ] * 2 and runs.seed.tolist() == [0, 1, 0, 1]
    assert runs["samples seen"].tolist() == [72] * 4 and runs.accuracy.between(0, 100).all()
    pd.testing.assert_frame_equal(
        runs, curriculum.run(chosen, data, SETTINGS, teacher, epochs=2, seeds=(0, 1), views=2)
    )


def test_summary_pairs_the_seeds_of_arms_that_saw_as_much():
    rows = [
        ("plain KD", 0, 6, 50.0),
        ("plain KD", 1, 6, 60.0),
        ("a", 1, 6, 64.0),
        ("a", 0, 6, 52.0),
    ]
    rows += [("more", 0, 10, 70.0), ("more", 1, 10, 70.0)]
    table = curriculum.summary(pd.DataFrame(rows, columns=curriculum.COLUMNS)).set_index("arm")
    assert table["test accuracy, %"].tolist() == [55, 58, 70] and table.seeds.tolist() == [2, 2, 2]
    gains = table["gain over plain KD, points"]
    assert (
        gains["a"] == 3 and gains[["plain KD", "more"]].isna().all()
    )  # whatever the order of the rows
    assert table["± 95 % paired"]["a"] == pytest.approx(12.706, abs=1e-3)


def test_summary_takes_the_seeds_that_both_have():
    rows = [
        ("plain KD", 0, 6, 50.0),
        ("plain KD", 1, 6, 60.0),
        ("a", 2, 6, 70.0),
        ("a", 1, 6, 63.0),
        ("b", 2, 6, 9.0),
    ]
    table = curriculum.summary(pd.DataFrame(rows, columns=curriculum.COLUMNS)).set_index("arm")
    assert table["gain over plain KD, points"]["a"] == 3 and np.isnan(
        table["gain over plain KD, points"]["b"]
    )
    assert table["test accuracy, %"].tolist() == [55, 66.5, 9]


def test_summary_needs_its_reference():
    runs = pd.DataFrame([("a", 0, 6, 50.0)], columns=curriculum.COLUMNS)
    with pytest.raises(UsageError, match="plain KD.*expected one of a"):
        curriculum.summary(runs)


def test_train_says_what_happened(data, teacher, arms):
    for _ in range(2):  # trained, and found
        network, history = curriculum.train(
            arms["easy to hard"], data, SETTINGS, teacher, epochs=5, seed=61, renew_every=2
        )
        assert [record["epoch"] for record in history.records] == [1, 2, 3, 4, 5]
        logits, labels = predict(network, data.val)
        right = (logits.argmax(1) == labels).double().mean().item()
        assert history.records[-1]["val_accuracy"] == pytest.approx(100 * right, abs=0.01)


# --- steered --------------------------------------------------------------------------------------


def test_a_steered_student_begins_and_is_sized_as_an_arms(data, teacher, arms):
    pytest.importorskip("gymnasium")
    pytest.importorskip("stable_baselines3")
    from kdcourse.curriculum.agent import fixed

    env = curriculum.environment(
        data, SETTINGS, teacher, epochs=4, ratio=0.6, views=2, renew_every=2, strategy=easiest
    )
    runs = curriculum.steer("fixed", env, lambda seed: fixed(0.0), seeds=(0, 1))
    arm = curriculum.Arm("the same", curriculum.teacher_only(teacher), 0.6, easiest, 0.0)
    assert runs["samples seen"].tolist() == [arm.samples(len(data.train), 4)] * 2
    own = curriculum.run(
        [arm], data, SETTINGS, teacher, epochs=4, seeds=(0, 1), views=2, renew_every=2
    )
    assert runs.accuracy.tolist() == own.accuracy.tolist()
    network = trained(arm, data, teacher, seed=1, views=2)
    assert digest(network) == digest(
        env.student
    )  # to the bit: same start, batches, difficulty and rates


def test_an_environment_refuses_what_it_cannot_do(data, teacher):
    pytest.importorskip("gymnasium")
    with pytest.raises(UsageError, match="keep='best'"):
        curriculum.environment(data, SETTINGS, teacher, epochs=1, student=mobilenet)
