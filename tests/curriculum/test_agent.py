import importlib
import random
import sys
from functools import partial

import numpy as np
import pytest
import torch
from torch import nn

pytest.importorskip("gymnasium")
pytest.importorskip("stable_baselines3")

from kdcourse.common.errors import CheckpointError, UsageError
from kdcourse.curriculum import Linear, Step, agent
from kdcourse.curriculum.agent import (
    EVERY_ACTION,
    Bandit,
    SharedLayers,
    fixed,
    load_agent,
    one_run,
    play,
    ppo,
    random_actions,
    train_agent,
)
from kdcourse.curriculum.environment import ACTION, DistillationEnv
from kdcourse.curriculum.episode import SteeredKD
from kdcourse.distillation import Teacher
from kdcourse.training.checkpoint import digest


class Net(nn.Sequential):
    def __init__(self, channels=3, width=4):
        super().__init__(
            nn.AdaptiveAvgPool2d(2), nn.Flatten(), nn.Linear(4 * channels, width), nn.ReLU()
        )
        self.append(nn.BatchNorm1d(width)).append(nn.Linear(width, 3))


@pytest.fixture
def make_env(make_data):
    def make(count=30, channels=3, **settings):
        torch.manual_seed(11)
        settings = {"epochs": 4, "batch_size": 16, "seed": 3, "renew_every": 2, **settings}
        data, teacher = make_data(count, channels=channels), Teacher(Net(channels, 8))
        return DistillationEnv(data, teacher, partial(Net, channels), **settings)

    return make


def observation(progress=0.0, temperature=4.0):
    return np.array([progress, 0, 0, 0, 1, (temperature - 2) / 6, 0.5, 0], np.float32)


def bits(model):
    return digest(model.policy)


def test_random_actions_take_every_action_and_the_same_for_the_same_seed():
    one, two, other = random_actions(0), random_actions(0), random_actions(1)
    drawn = [tuple(one(None)) for _ in range(300)]
    assert drawn == [tuple(two(None)) for _ in range(300)]
    assert drawn != [tuple(other(None)) for _ in range(300)]
    assert set(drawn) == set(EVERY_ACTION) and len(EVERY_ACTION) == 15


def test_a_fixed_schedule_is_followed_to_the_nearest_level():
    policy = fixed(Linear(0, 1))
    taken = [
        policy(observation(progress)).tolist() for progress in (0, 0.1, 0.125, 0.2, 0.5, 0.9, 1)
    ]
    assert taken == [
        [1, 0],
        [1, 0],
        [1, 0],
        [1, 1],
        [1, 2],
        [1, 4],
        [1, 4],
    ]  # 0.125 lies in the middle: the lower
    assert fixed(0.75)(observation()).tolist() == [1, 3]
    step = fixed(Step(at=(0.7,), values=(0.0, 1.0)))
    assert step(observation(np.float32(0.7))).tolist() == [1, 4]  # float32(0.7) < 0.7
    assert all(policy(observation(p)) in ACTION for p in np.linspace(0, 1, 21))


def test_a_fixed_schedule_goes_to_its_temperature_and_stays(make_env):
    assert [fixed(0.0, 6.0)(observation(0, t))[0] for t in (5, 5.5, 6, 6.5, 8)] == [2, 2, 1, 0, 0]
    episode = play(make_env(), fixed(0.5, temperature=3.0))
    assert [info["temperature"] for info in episode.infos] == [3.5, 3.0, 3.0, 3.0]
    assert [info["threshold"] for info in episode.infos] == [0.5] * 4
    for temperature in (1.5, 8.5, 4.3):
        with pytest.raises(
            UsageError, match=f"temperature={temperature}: expected 2.0 to 8.0 in steps of 0.5"
        ):
            fixed(0.0, temperature)


def test_the_bandit_worked_out_by_hand():
    bandit, rewards = Bandit([(1, 0), (1, 4)], exploration=1.0), {0: 0.5, 4: 0.25}
    taken = []
    for _ in range(4):
        action = bandit(None)
        bandit.learn(action, rewards[int(action[1])])
        taken.append(int(action[1]))
    # each once; n = 2: equal bonuses, so the larger mean; n = 3: 0.5 + √(2 ln 3 / 2) = 1.55 < 0.25
    # + √(2 ln 3) = 1.73
    assert taken == [0, 4, 0, 4]
    greedy = Bandit(exploration=0.0)
    for _ in range(20):
        action = greedy(None)
        greedy.learn(action, 1.0 if action[1] == 3 else 0.0)
    assert greedy.taken.tolist() == [1, 1, 1, 16, 1]
    for bad in ({"actions": []}, {"exploration": -1.0}):
        with pytest.raises(UsageError, match="expected an action or more"):
            Bandit(**bad)


def test_play_tells_a_policy_what_came_of_its_actions(make_env):
    bandit = Bandit(EVERY_ACTION)
    episode = play(make_env(), bandit)
    assert bandit.taken.sum() == 4 and bandit.rewards.sum() == pytest.approx(episode.reward)
    assert [tuple(action) for action in episode.actions] == [(0, 0), (0, 1), (0, 2), (0, 3)]
    assert len(episode.infos) == len(episode.frame()) == 4


@pytest.mark.parametrize("policy", [lambda: random_actions(5), Bandit], ids=["random", "bandit"])
def test_a_killed_policy_goes_on_as_if_nothing_had_been(make_env, tmp_path, monkeypatch, policy):
    whole = make_env()
    expected = play(whole, policy())
    killed_in_epoch(3, monkeypatch, lambda: play(make_env(folder=tmp_path), policy()))
    env = make_env(folder=tmp_path)
    assert play(env, policy(), resume=True) == expected
    assert digest(env.student) == digest(whole.student)


def killed_in_epoch(epoch, monkeypatch, job):
    """Run the job and break it off there (one batch an epoch)."""
    forward, batches = SteeredKD.forward, []

    def stop(self, student, batch):
        batches.append(batch)
        if len(batches) == epoch:
            raise KeyboardInterrupt
        return forward(self, student, batch)

    with monkeypatch.context() as patch:
        patch.setattr(SteeredKD, "forward", stop)
        with pytest.raises(KeyboardInterrupt):
            job()


def test_ppo_has_d3s_settings(make_env):
    model = ppo(make_env())
    assert (model.n_steps, model.batch_size, model.n_epochs, model.learning_rate) == (5, 5, 4, 3e-4)
    assert (model.gamma, model.gae_lambda, model.clip_range(1), model.ent_coef) == (
        0.99,
        0.95,
        0.2,
        0.01,
    )
    policy = model.policy
    assert isinstance(policy.features_extractor, SharedLayers) and policy.share_features_extractor
    assert policy.action_net.in_features == policy.value_net.in_features == 128
    assert policy.action_net.out_features == 3 + 5
    shapes = [tuple(p.shape) for p in policy.parameters() if p.ndim == 2]
    assert shapes == [
        (128, 8),
        (128, 128),
        (8, 128),
        (1, 128),
    ]  # no hidden layers of the heads' own
    for steps in (1, 2.0):
        with pytest.raises(UsageError, match="n_steps=.*2 or more"):
            ppo(make_env(), n_steps=steps)


def test_one_run_learns_from_the_run_it_steers(make_env, monkeypatch):
    updates = []
    learn = agent.PPO.train
    monkeypatch.setattr(agent.PPO, "train", lambda self: (updates.append(bits(self)), learn(self)))
    env = make_env(epochs=6, seed=8)
    episode = one_run(env, n_steps=2, seed=1)
    assert (
        len(updates) == 2 and len(set(updates)) == 2
    )  # after epochs 2 and 4; after the last it would be for nothing
    assert episode.seed == env.run_seed == 8 and len(episode.infos) == 6
    assert env.finished == [episode] and env.student is not None
    again = make_env(epochs=6, seed=8)
    assert one_run(again, n_steps=2, seed=1) == episode and digest(again.student) == digest(
        env.student
    )
    assert one_run(make_env(epochs=6, seed=8), n_steps=2, seed=2).actions != episode.actions


@pytest.mark.parametrize(
    "epoch",
    [
        pytest.param(1, marks=pytest.mark.slow),
        4,  # within a rollout, after an update
        pytest.param(6, marks=pytest.mark.slow),
    ],
)
def test_one_run_killed_and_resumed_is_the_same_to_the_bit(make_env, tmp_path, monkeypatch, epoch):
    whole = make_env(epochs=6)
    expected = one_run(whole, n_steps=2)
    killed_in_epoch(
        epoch, monkeypatch, lambda: one_run(make_env(epochs=6, folder=tmp_path), n_steps=2)
    )
    env = make_env(epochs=6, folder=tmp_path)
    assert one_run(env, n_steps=2, resume=True) == expected
    assert digest(env.student) == digest(whole.student)


def test_one_run_of_epochs_that_are_no_multiple_of_its_steps(make_env):
    assert len(one_run(make_env(epochs=3), n_steps=2).infos) == 3
    assert len(one_run(make_env(epochs=3), n_steps=5).infos) == 3


def test_training_on_episodes_and_transfer(make_env, tmp_path):
    path = tmp_path / "agent.pt"
    trained, table = train_agent(make_env(epochs=2), 2, path, an_update=1)
    assert table["seed"].tolist() == [3, 4] and np.isfinite(table.to_numpy()).all()
    loaded = load_agent(path)
    assert bits(loaded) == bits(trained)
    assert digest(loaded.policy) != digest(
        ppo(make_env(epochs=2), n_steps=2).policy
    )  # it has moved
    episode = play(make_env(45, channels=5, epochs=3), loaded)  # other data, another student
    assert len(episode.infos) == 3 and all(np.array(action) in ACTION for action in episode.actions)
    assert all((loaded(observation(p)) == trained(observation(p))).all() for p in (0, 0.5, 1))


def test_training_goes_on_from_its_file_with_the_same_bits(make_env, tmp_path):
    whole, whole_table = train_agent(make_env(epochs=2), 4, tmp_path / "whole.pt", an_update=2)
    train_agent(make_env(epochs=2), 2, tmp_path / "cut.pt", an_update=2)
    resumed, table = train_agent(make_env(epochs=2), 4, tmp_path / "cut.pt", an_update=2)
    assert bits(resumed) == bits(whole) and table.equals(whole_table)
    done, table = train_agent(
        make_env(epochs=2), 4, tmp_path / "cut.pt", an_update=2
    )  # nothing is left to do
    assert bits(done) == bits(whole) and table.equals(whole_table)


def test_agents_files_of_something_else_are_refused(make_env, tmp_path):
    path = tmp_path / "agent.pt"
    train_agent(make_env(epochs=2), 1, path, an_update=1)
    with pytest.raises(CheckpointError, match="another training: agent's seed was 0, is now 1"):
        train_agent(make_env(epochs=2), 1, path, an_update=1, seed=1)
    with pytest.raises(CheckpointError, match="another training: epochs was 2"):
        train_agent(make_env(epochs=3), 1, path, an_update=1)
    play(make_env(folder=tmp_path), fixed(0.5))
    with pytest.raises(CheckpointError, match="another architecture"):
        load_agent(tmp_path / "seed-3" / "episode.pt")
    with pytest.raises(CheckpointError, match="no such"):
        load_agent(tmp_path / "nothing.pt")
    for episodes, an_update in ((3, 2), (0, 1), (2, 0), (2.0, 1)):
        with pytest.raises(UsageError, match="episodes=|an_update="):
            train_agent(make_env(), episodes, tmp_path / "other.pt", an_update=an_update)


def test_the_callers_random_numbers_go_on(make_env, tmp_path):
    def state():
        return random.random(), np.random.random(), torch.rand(1).item()  # noqa: NPY002

    def seed():
        random.seed(5), np.random.seed(5), torch.manual_seed(5)  # noqa: NPY002

    seed()
    expected = state()
    env = make_env(epochs=2)
    seed()
    one_run(env, n_steps=2)
    train_agent(make_env_quietly(env), 1, tmp_path / "agent.pt", an_update=1)
    load_agent(tmp_path / "agent.pt")
    assert state() == expected


def make_env_quietly(env):
    """Another one like it, made without drawing."""
    return DistillationEnv(env.data, env.teacher, Net, epochs=env.epochs, batch_size=16)


def test_without_stable_baselines_it_says_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "stable_baselines3", None)
    monkeypatch.delitem(sys.modules, agent.__name__)
    with pytest.raises(UsageError, match=r"pip install 'kdcourse\[agent\]'"):
        importlib.import_module(agent.__name__)
