"""D3's environment: observations, rewards, and the training of an episode."""

import importlib
import sys
import warnings
from dataclasses import replace

import numpy as np
import pytest
import torch

pytest.importorskip("gymnasium")

from environments import ACTIONS, environment, run, small_net, teacher
from gymnasium.utils.env_checker import check_env

from kdcourse.common.errors import UsageError
from kdcourse.curriculum import CurriculumSampler, split_difficulty
from kdcourse.curriculum import environment as module
from kdcourse.curriculum.environment import DistillationEnv
from kdcourse.curriculum.episode import START, SteeredKD
from kdcourse.distillation import CachedTeacher, ResponseKD
from kdcourse.training import fit
from kdcourse.training.checkpoint import digest


@pytest.fixture
def make_env(make_data):
    def make(data=None, **options):
        return environment(data or make_data(60), **options)

    return make


def test_check_env_passes(make_env):
    with warnings.catch_warnings():
        warnings.simplefilter(
            "error"
        )  # that the environment is not a registered one is all that it may say
        warnings.filterwarnings("ignore", ".*(spec|render).*")
        check_env(make_env())


def test_observations_and_rewards_of_a_recorded_run(make_env):
    env = make_env()
    observations, rewards, infos = run(env, ACTIONS)
    a, l = [i["accuracy"] for i in infos], [i["loss"] for i in infos]  # noqa: E741
    difficulty = [
        env.difficulty(epoch).mean() for epoch in (1, 3)
    ]  # measured before epochs 1 and 3
    assert not np.array_equal(env.difficulty(2), env.difficulty(3))
    expected = [  # progress, trend, a / 100, trend, min(l, 10) / 10, (T − 2) / 6, difficulty, θ
        [0, 0, 0, 0, 1, 2 / 6, difficulty[0], 0],
        [0.25, 0, a[0] / 100, 0, l[0] / 10, 2.5 / 6, difficulty[0], 0.25],
        [0.5, 0, a[1] / 100, 0, l[1] / 10, 3 / 6, difficulty[1], 1],
        [
            0.75,
            (a[2] - a[0]) / 2,
            a[2] / 100,
            (l[2] - l[0]) / 2,
            l[2] / 10,
            3 / 6,
            difficulty[1],
            0.5,
        ],
        [
            1,
            (a[3] - a[1]) / 2,
            a[3] / 100,
            (l[3] - l[1]) / 2,
            l[3] / 10,
            2.5 / 6,
            difficulty[1],
            0.75,
        ],
    ]
    np.testing.assert_allclose(observations, expected, rtol=1e-6, atol=1e-7)
    assert all(observation in env.observation_space for observation in observations)
    for t, (reward, info) in enumerate(zip(rewards, infos, strict=True)):
        by_hand = 0.1 * max(a[t] - 70, 0) + 2 * (a[t] > 60 and t + 1 < 0.3 * 4)
        if t:
            by_hand += 2 * (a[t] - a[t - 1]) * (a[t - 1] > 0) - min(5 * max(l[t] - l[t - 1], 0), 5)
        assert reward == pytest.approx(by_hand) == sum(info["reward"].values())
        assert tuple(info["reward"]) == ("accuracy", "loss", "early", "absolute")
    episode = env.finished[0]
    assert episode.actions == tuple(ACTIONS) and episode.reward == pytest.approx(sum(rewards))
    assert episode.accuracy == a[-1] and episode.samples == 4 * 25  # 0.7 of 36 images is 25
    assert list(episode.frame()["reward"]) == pytest.approx(rewards)


def test_an_action_takes_effect_at_once(make_env):
    env = make_env()
    _, _, infos = run(env, ACTIONS)
    assert [(i["temperature"], i["threshold"]) for i in infos] == [
        (4.5, 0.25),
        (5, 1),
        (5, 0.5),
        (4.5, 0.75),
    ]


def test_late_credit_rewards_an_action_for_the_epoch_before_it(make_env):
    env = make_env(credit="late")
    observations, _, infos = run(env, ACTIONS)
    assert [(i["temperature"], i["threshold"]) for i in infos] == [
        START,
        (4.5, 0.25),
        (5, 1),
        (5, 0.5),
    ]
    assert observations[1, 7] == 0.25  # what it observes is what comes next, as in D3's code
    other = make_env(credit="late")
    other.reset()
    assert (
        other.step((0, 4))[4] == infos[0]
    )  # whatever the first action is, the first epoch is the same
    in_time = make_env()
    in_time.reset()
    assert in_time.step((0, 4))[4] != infos[0]


@pytest.mark.parametrize("keep_size", [True, False])
def test_an_episode_is_what_fit_makes_of_the_same_sampler(make_env, make_data, keep_size):
    data, fixed = make_data(60), [(1, 2)] * 4  # temperature 4, θ = 0.5 throughout
    env = make_env(data, renew_every=4, keep_size=keep_size, strategy="adaptive", ratio=0.6)
    run(env, fixed)
    torch.manual_seed(3)
    student = small_net().to(
        memory_format=torch.channels_last
    )  # as fit does: it decides the last bits
    difficulty = split_difficulty(data.train, teacher(), student)
    np.testing.assert_array_equal(env.difficulty(1), difficulty)
    sampler = CurriculumSampler("adaptive", difficulty, 0.6, 0.5, seed=3, keep_size=keep_size)
    for epoch in range(4):
        np.testing.assert_array_equal(env.drawn(epoch + 1), sampler(epoch))
    objective = ResponseKD(teacher(), 4.0, soft_weight=1.0, label_weight=0.0)
    fit(student, data, objective, epochs=4, batch_size=16, sampler=sampler, seed=3, progress=False)
    assert digest(student) == digest(env.student)


def test_the_schedule_of_the_rate_holds_when_sizes_vary(make_env):
    """D3's window holds half as many samples at θ = 0 and 1: the steps are counted for the
    largest.
    """
    env = make_env(strategy="adaptive", keep_size=False)
    _, _, infos = run(env, [(1, 0), (1, 2), (1, 4), (1, 2)])
    sizes = [info["samples"] for info in infos]
    assert sizes == [len(env.drawn(epoch)) for epoch in (1, 2, 3, 4)]
    assert sizes[0] == 12 and sizes[1] == 25  # of 36: ranks 0–0.35 and 0.15–0.85, ends rounded down


def test_the_temperature_is_the_agents(make_env):
    hot, cold = make_env(), make_env()
    for env, move in ((hot, 2), (cold, 0)):
        env.reset()
        env.step((move, 2))
    assert digest(hot.student) != digest(cold.student)
    assert "temperature" not in repr(SteeredKD(teacher())) and "soft_weight=0.9" in repr(
        SteeredKD(teacher())
    )


def test_labels_take_part_if_asked(make_env):
    env = make_env(soft_weight=0.4, label_weight=0.6)  # D3's row "60 % labels + 40 % teacher"
    env.reset()
    env.step((1, 2))
    assert {"soft", "label"} <= set(env._records[0])


def test_no_test_image_is_touched(make_env, make_data):
    data = make_data(60)
    data = replace(
        data, test=replace(data.test, rows=data.test.rows + 10_000)
    )  # to look at one is an IndexError
    with pytest.raises(IndexError):
        data.test.take([0])
    run(make_env(data), ACTIONS)


def test_same_seed_same_bits_and_another_seed_another_run(make_env):
    one, two = make_env(), make_env()
    first, second = run(one, ACTIONS), run(two, ACTIONS)
    np.testing.assert_array_equal(first[0], second[0])
    assert first[1:] == second[1:] and digest(one.student) == digest(two.student)
    run(one, ACTIONS)  # the next episode
    assert one.run_seed == 4 and digest(one.student) != digest(two.student)
    two.reset(seed=4)
    for action in ACTIONS:
        two.step(action)
    assert digest(one.student) == digest(two.student)


def test_a_cached_teacher_gives_nearly_the_same(make_env, make_data):
    """Its answers are rounded to half precision; those to un-augmented views are kept."""
    kept = teacher(CachedTeacher)
    env = DistillationEnv(
        make_data(60), kept, small_net, epochs=2, batch_size=16, views=2, renew_every=1
    )
    _, _, infos = run(env, ACTIONS[:2])
    plain = DistillationEnv(
        make_data(60), teacher(), small_net, epochs=2, batch_size=16, views=2, renew_every=1
    )
    assert [i["loss"] for i in infos] == pytest.approx(
        [i["loss"] for i in run(plain, ACTIONS[:2])[2]], abs=0.01
    )
    assert kept.served > kept.computed


def test_wrong_settings_are_refused(make_env):
    for settings, message in [
        ({"strategy": "mixd"}, "unknown strategy 'mixd'.*Did you mean mixed.*adaptive"),
        ({"credit": "soon"}, "unknown credit 'soon'.*late, now"),
        ({"ratio": 0.0}, "ratio=0.0"),
        ({"ratio": 1.1}, "ratio=1.1"),
        ({"epochs": 0}, "epochs=0: expected a whole number, 1 or more"),
        ({"epochs": 2.0}, "epochs=2.0"),
        ({"renew_every": 0}, "renew_every=0"),
        ({"seed": -1}, "seed=-1"),
        ({"student": lambda: small_net()}, "cannot be kept by name: use a module-level function"),
        ({"soft_weight": 0.0}, "nothing would be learned"),
        ({"augment": "sattelite"}, "unknown augmentation"),
    ]:
        with pytest.raises(UsageError, match=message):
            make_env(**settings)


def test_actions_outside_the_space_are_refused(make_env):
    env = make_env()
    env.reset()
    for action in [(3, 0), (0, 5), (-1, 0), (1,), (1, 2, 0), 1, (1.0, 2.0), "ab", None]:
        with pytest.raises(UsageError, match="action=.*expected two whole numbers"):
            env.step(action)
    assert env.step((1, 2))[4]["epoch"] == 1  # nothing has happened


def test_no_step_before_the_beginning_or_after_the_end(make_env):
    env = make_env(epochs=1)
    with pytest.raises(UsageError, match="call reset"):
        env.step((1, 2))
    env.reset()
    assert env.step((1, 2))[2]
    with pytest.raises(UsageError, match="call reset"):
        env.step((1, 2))
    with pytest.raises(UsageError, match="unknown option of reset 'resum'.*resume"):
        env.reset(options={"resum": True})


def test_without_gymnasium_it_says_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "gymnasium", None)
    monkeypatch.delitem(sys.modules, module.__name__)
    with pytest.raises(UsageError, match=r"pip install 'kdcourse\[agent\]'"):
        importlib.import_module(module.__name__)
