import importlib
import os
import signal
import subprocess
import sys
import textwrap
import warnings
from dataclasses import replace
from functools import partial

import numpy as np
import pytest
import torch
from torch import nn

pytest.importorskip("gymnasium")

from gymnasium.utils.env_checker import check_env

from kdcourse.common.errors import CheckpointError, TrainingError, UsageError
from kdcourse.curriculum import CurriculumSampler, split_difficulty
from kdcourse.curriculum import environment as module
from kdcourse.curriculum.environment import DistillationEnv
from kdcourse.curriculum.episode import START, SteeredKD, applied, d3_reward, stand_in
from kdcourse.distillation import CachedTeacher, ResponseKD, Teacher
from kdcourse.training import adamw, fit
from kdcourse.training.checkpoint import digest

PART_BY_PART = ("accuracy", "loss", "early", "absolute")


def small_net(width=4):
    """With batch norm and dropout: state and randomness, so that resuming has something to get
    wrong.
    """
    return nn.Sequential(
        nn.Conv2d(3, width, 3, padding=1), nn.BatchNorm2d(width), nn.ReLU(), nn.Dropout(0.2),
        nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(width, 3),
    )  # fmt: skip


def teacher(kind=Teacher):
    torch.manual_seed(11)
    return kind(small_net(8))


@pytest.fixture
def make_env(make_data):
    def make(data=None, **settings):
        settings = {
            "student": small_net,
            "epochs": 4,
            "batch_size": 16,
            "seed": 3,
            "renew_every": 2,
            **settings,
        }
        return DistillationEnv(data or make_data(60), teacher(), **settings)

    return make


def run(env, actions):
    """(observations, rewards, infos) of a fresh episode under these actions."""
    observations, rewards, infos = [env.reset()[0]], [], []
    for action in actions:
        observation, reward, _, _, info = env.step(action)
        observations.append(observation), rewards.append(reward), infos.append(info)
    return np.array(observations), rewards, infos


ACTIONS = [(2, 1), (2, 4), (1, 2), (0, 3)]


def test_reward_worked_out_by_hand():
    accuracies, losses = [50.0, 62.0, 71.0, 70.5], [2.0, 1.5, 1.75, 4.0]
    rewards = [d3_reward(accuracies, losses, epoch, 10) for epoch in (1, 2, 3, 4)]
    # epoch 1: nothing to compare with; 50 is neither above 60 nor above 70
    assert rewards[0] == {"accuracy": 0, "loss": 0, "early": 0, "absolute": 0}
    # epoch 2: 2 · (62 − 50) = 24; the loss fell; 62 > 60 and 2 < 0.3 · 10
    assert rewards[1] == {"accuracy": 24, "loss": 0, "early": 2, "absolute": 0}
    # epoch 3: 2 · 9 = 18; −5 · 0.25 = −1.25; 3 < 3 does not hold; 0.1 · 1
    assert rewards[2] == pytest.approx({"accuracy": 18, "loss": -1.25, "early": 0, "absolute": 0.1})
    # epoch 4: 2 · (−0.5); 5 · 2.25 = 11.25, bounded by 5; 0.1 · 0.5
    assert rewards[3] == pytest.approx({"accuracy": -1, "loss": -5, "early": 0, "absolute": 0.05})


def test_reward_at_the_edges():
    after_nothing = d3_reward([0.0, 80.0], [1.0, 1.0], 2, 20)  # a rise from 0 % counts as no rise
    assert after_nothing == pytest.approx({"accuracy": 0, "loss": 0, "early": 2, "absolute": 1.0})
    assert d3_reward([60.0], [1.0], 1, 20)["early"] == 0  # above 60, not at it
    assert d3_reward([70.0], [1.0], 1, 20)["absolute"] == 0
    assert (
        d3_reward([90.0, 95.0, 80.0], [3.0, 2.0, 1.0], 1, 20)["absolute"] == 2
    )  # the epoch named, not the last
    for epoch in (0, 3):
        with pytest.raises(UsageError, match=f"epoch={epoch}.*counted from 1"):
            d3_reward([1.0, 2.0], [1.0, 2.0], epoch, 20)


def test_actions_move_the_temperature_within_its_bounds():
    assert applied([]) == (4.0, 0.0)
    assert applied([(2, 4), (2, 1), (1, 3)]) == (5.0, 0.75)
    assert applied([(2, 0)] * 20) == (8.0, 0.0)
    assert applied([(0, 2)] * 20) == (2.0, 0.5)


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
        assert tuple(info["reward"]) == PART_BY_PART
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


@pytest.mark.parametrize("stopped", [1, 2, 4])  # 2: difficulty is due, 4: the end
def test_resumed_in_a_fresh_env_it_goes_on_with_the_same_bits(make_env, tmp_path, stopped):
    whole = make_env(folder=tmp_path / "whole")
    observations, rewards, infos = run(whole, ACTIONS)
    run(make_env(folder=tmp_path / "cut"), ACTIONS[:stopped])

    env = make_env(folder=tmp_path / "cut")
    observation, info = env.reset(options={"resume": True})
    np.testing.assert_array_equal(observation, observations[stopped])
    assert info["epoch"] == stopped
    for t in range(stopped, 4):
        observation, reward, over, _, info = env.step(ACTIONS[t])
        np.testing.assert_array_equal(observation, observations[t + 1])
        assert (reward, info, over) == (rewards[t], infos[t], t == 3)
    assert digest(env.student) == digest(whole.student)
    assert env.episode == whole.episode


def test_replayed_in_a_fresh_env_trained_epochs_are_answered_from_the_record(make_env, tmp_path):
    observations, rewards, infos = run(make_env(folder=tmp_path / "whole"), ACTIONS)
    run(make_env(folder=tmp_path), ACTIONS[:3])
    env = make_env(folder=tmp_path)
    observation, _ = env.reset(options={"replay": True})
    np.testing.assert_array_equal(observation, observations[0])
    for t, action in enumerate(ACTIONS):
        observation, reward, _, _, info = env.step(action)
        np.testing.assert_array_equal(observation, observations[t + 1])
        assert (reward, info) == (rewards[t], infos[t])
    env.reset(seed=3, options={"replay": True})
    with pytest.raises(
        CheckpointError, match=r"epoch 1 was trained under action \(2, 1\), not \(1, 1\)"
    ):
        env.step((1, 1))


def test_killed_in_mid_epoch_the_epoch_is_trained_anew_under_its_action(make_env, tmp_path):
    script = """
        import os, signal, sys
        import kdcourse.curriculum
        assert not {{"gymnasium", "stable_baselines3"}} & set(sys.modules), "an extra is imported by the package"
        sys.path.insert(0, {tests!r})
        from test_distillation_env import DistillationEnv, SteeredKD, small_net, teacher, run, ACTIONS
        import conftest
        data = conftest.make_data.__wrapped__()(60)
        seen = 0
        forward = SteeredKD.forward
        def count(self, student, batch):
            global seen
            seen += 1
            if seen == 4:  # 2 batches an epoch: the last of epoch 2
                os.kill(os.getpid(), signal.SIGKILL)
            return forward(self, student, batch)
        SteeredKD.forward = count
        env = DistillationEnv(data, teacher(), small_net, epochs=4, batch_size=16, seed=3, renew_every=2,
                              folder={folder!r})
        run(env, ACTIONS)
    """
    here = os.path.dirname(__file__)
    script = textwrap.dedent(script).format(tests=here, folder=str(tmp_path))
    environ = {**os.environ, "PYTHONPATH": os.pathsep.join([here, os.path.dirname(here)])}
    done = subprocess.run(
        [sys.executable, "-c", script], env=environ, capture_output=True, text=True, timeout=120
    )
    assert done.returncode == -signal.SIGKILL, done.stderr

    whole = make_env()
    run(whole, ACTIONS)
    env = make_env(folder=tmp_path)
    _, info = env.reset(options={"resume": True})
    assert info["epoch"] == 2  # the second was begun: it has been trained now
    for action in ACTIONS[2:]:
        env.step(action)
    assert env.episode == whole.episode and digest(env.student) == digest(whole.student)


def test_interrupted_it_must_be_reset(make_env, tmp_path, monkeypatch):
    env = make_env(folder=tmp_path)
    env.reset()
    env.step(ACTIONS[0])
    with monkeypatch.context() as patch:
        patch.setattr(SteeredKD, "forward", lambda *_: {"soft": torch.tensor(float("nan"))})
        with pytest.raises(TrainingError, match="not finite"):
            env.step(ACTIONS[1])
    with pytest.raises(UsageError, match="reset"):
        env.step(ACTIONS[1])
    assert env.reset(options={"resume": True})[1] == {"seed": 3, "epoch": 2}


def test_without_resume_an_episode_starts_over(make_env, tmp_path):
    first = make_env(folder=tmp_path)
    run(first, ACTIONS[:2])
    env = make_env(folder=tmp_path)
    env.reset()
    assert (
        env.reset(seed=3, options={"resume": True})[1]["epoch"] == 2
    )  # a reset alone removes nothing
    env.reset(seed=3)
    _, _, _, _, info = env.step(ACTIONS[1])
    assert info["epoch"] == 1 and info["threshold"] == 1


def test_refuses_the_folder_of_another_run(make_env, make_data, tmp_path):
    run(make_env(folder=tmp_path), ACTIONS[:1])
    others = dict(
        ratio=0.5,
        credit="late",
        strategy="adaptive",
        keep_size=False,
        optimizer=partial(adamw, lr=1e-2),
    )
    for name, value in others.items():
        with pytest.raises(CheckpointError, match=f"another run: {name} was"):
            make_env(folder=tmp_path, **{name: value}).reset(options={"resume": True})
    with pytest.raises(CheckpointError, match="data was"):
        make_env(make_data(90), folder=tmp_path).reset()


def test_refuses_damaged_folders(make_env, tmp_path):
    run(make_env(folder=tmp_path), ACTIONS[:3])
    (tmp_path / "seed-3" / "run.pt").unlink()
    with pytest.raises(CheckpointError, match="3 actions and 0 trained epochs"):
        make_env(folder=tmp_path).reset(options={"resume": True})
    (tmp_path / "seed-3" / "episode.pt").write_bytes(b"PK")
    with pytest.raises(CheckpointError, match="damaged"):
        make_env(folder=tmp_path).reset(options={"resume": True})


@pytest.mark.parametrize(
    "settings, message",
    [
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
    ],
)
def test_says_what_cannot_be_right(make_env, settings, message):
    with pytest.raises(UsageError, match=message):
        make_env(**settings)


@pytest.mark.parametrize(
    "action", [(3, 0), (0, 5), (-1, 0), (1,), (1, 2, 0), 1, (1.0, 2.0), "ab", None]
)
def test_refuses_actions_outside_the_space(make_env, action):
    env = make_env()
    env.reset()
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


def test_the_stand_in_is_cheap(make_data):
    data = make_data(60, classes=4, channels=5)
    student = stand_in(data)()
    assert student(torch.zeros(2, 5, 16, 16)).shape == (2, 4)
    assert sum(p.numel() for p in student.parameters()) < 10_000


def test_without_gymnasium_it_says_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "gymnasium", None)
    monkeypatch.delitem(sys.modules, module.__name__)
    with pytest.raises(UsageError, match=r"pip install 'kdcourse\[agent\]'"):
        importlib.import_module(module.__name__)
