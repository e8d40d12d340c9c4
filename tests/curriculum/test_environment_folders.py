"""Episodes that were killed or stopped: resumed, replayed, or refused."""

import os
import signal
import subprocess
import sys
import textwrap
from functools import partial

import numpy as np
import pytest
import torch

pytest.importorskip("gymnasium")

from environments import ACTIONS, environment, run

from kdcourse.common.errors import CheckpointError, TrainingError, UsageError
from kdcourse.curriculum.episode import SteeredKD
from kdcourse.training import adamw
from kdcourse.training.checkpoint import digest


@pytest.fixture
def make_env(make_data):
    def make(data=None, **options):
        return environment(data or make_data(60), **options)

    return make


@pytest.mark.parametrize(
    "stopped",
    [
        pytest.param(1, marks=pytest.mark.slow),
        2,  # difficulty is due
        pytest.param(4, marks=pytest.mark.slow),  # the end
    ],
)
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


@pytest.mark.slow
def test_killed_in_mid_epoch_the_epoch_is_trained_anew_under_its_action(make_env, tmp_path):
    script = """
        import os, signal, sys
        import kdcourse.curriculum
        extras = {{"gymnasium", "stable_baselines3"}}
        assert not extras & set(sys.modules), "an extra is imported by the package"
        sys.path.insert(0, {tests!r})
        from environments import ACTIONS, environment, run
        from kdcourse.curriculum.episode import SteeredKD
        from toy_data import toy_data
        data = toy_data(60)
        batches = 0
        forward = SteeredKD.forward
        def count(self, student, batch):
            global batches
            batches += 1
            if batches == 4:  # 2 batches an epoch: the last of epoch 2
                os.kill(os.getpid(), signal.SIGKILL)
            return forward(self, student, batch)
        SteeredKD.forward = count
        run(environment(data, folder={folder!r}), ACTIONS)
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
