"""Who chooses the actions: PPO as in D3, and the simple policies that it must beat.

A policy is a callable, observation (8,) → action (2,); one that learns from what comes of it has a
method `learn(action, reward)`. `play` lets a policy steer a run. Needs the extra `agent`: gymnasium
and stable-baselines3.
"""

import os
import random
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from itertools import product
from numbers import Integral
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from torch import nn

from kdcourse.common.errors import CheckpointError, UsageError
from kdcourse.curriculum.environment import ACTION, OBSERVATION, DistillationEnv
from kdcourse.curriculum.episode import COOLEST, HOTTEST, MOVES, THRESHOLDS, Episode
from kdcourse.training import checkpoint as files

try:
    import gymnasium
    from stable_baselines3 import PPO
    from stable_baselines3.common.policies import ActorCriticPolicy
    from stable_baselines3.common.torch_layers import BaseFeaturesExtractor
    from stable_baselines3.common.utils import set_random_seed
except ImportError as error:
    raise UsageError("the agent needs stable-baselines3: pip install 'kdcourse[agent]'") from error

LEARNING_RATE = 3e-4
STAY = MOVES.index(0.0)


def play(
    env: DistillationEnv, policy: Callable, *, seed: int | None = None, resume: bool = False
) -> Episode:
    """One episode under a policy, from the first epoch to the last.

    seed: of the student's run, see `DistillationEnv`. resume: go on with an episode that was
    killed, from the env's folder. The policy, made afresh, sees the epochs that were trained once
    more, so it knows what it knew.
    """
    observation, _ = env.reset(seed=seed, options={"replay": resume})
    over = False
    while not over:
        action = policy(observation)
        observation, reward, over, _, _ = env.step(action)
        if hasattr(policy, "learn"):
            policy.learn(action, reward)
    return env.unwrapped.episode


def random_actions(seed: int) -> Callable:
    """A policy: every action equally likely."""
    draws = np.random.default_rng(seed)
    return lambda observation: draws.integers(ACTION.nvec)


def fixed(schedule: Callable[[float], float] | float, temperature: float = 4.0) -> Callable:
    """A policy that follows a schedule: progress in [0, 1] → θ, or a number; and goes to a
    temperature and stays there.

    It has an agent's means: θ is the nearest of the five (of two as near, the lower), and the
    temperature moves by 0.5 an epoch. Raises UsageError for a temperature that an agent cannot
    reach.
    """
    if not COOLEST <= temperature <= HOTTEST or temperature % 0.5:
        raise UsageError(
            f"temperature={temperature}: expected {COOLEST} to {HOTTEST} in steps of 0.5"
        )

    def policy(observation: np.ndarray) -> np.ndarray:
        progress = round(float(observation[0]), 6)  # float32's 0.7 lies below 0.7
        wanted = schedule(progress) if callable(schedule) else schedule
        level = np.abs(np.subtract(THRESHOLDS, wanted)).argmin()
        away = temperature - (COOLEST + (HOTTEST - COOLEST) * observation[5])
        return np.array([STAY + np.clip(round(2 * away), -1, 1), level])

    return policy


class Bandit:
    """A policy that knows no state: UCB1 (Auer, Cesa-Bianchi & Fischer 2002, fig. 1).

    Each action once, then the one with the largest mean reward + exploration · √(2 ln n / n_a),
    where n steps were taken, n_a of them with this action. UCB1 takes rewards in [0, 1] that do not
    change with time; D3's are larger and shrink as accuracy levels off, hence the factor, and a
    handicap that no factor mends.

    actions: what it may choose from, by default the five θ, with the temperature left alone;
      `EVERY_ACTION` for all 15.
    """

    def __init__(self, actions: Sequence[tuple[int, int]] | None = None, exploration: float = 1.0):
        self.actions = (
            [(STAY, level) for level in range(len(THRESHOLDS))]
            if actions is None
            else list(actions)
        )
        if not self.actions or not 0 <= exploration < float("inf"):
            raise UsageError(
                f"actions={actions}, exploration={exploration}: expected an action or more, and 0 "
                "or more"
            )
        self.exploration = exploration
        self.taken, self.rewards = np.zeros(len(self.actions)), np.zeros(len(self.actions))

    def __call__(self, observation: np.ndarray) -> np.ndarray:
        if (self.taken == 0).any():
            return np.array(self.actions[self.taken.argmin()])
        bonus = np.sqrt(2 * np.log(self.taken.sum()) / self.taken)
        return np.array(
            self.actions[(self.rewards / self.taken + self.exploration * bonus).argmax()]
        )

    def learn(self, action, reward: float) -> None:
        arm = self.actions.index(tuple(int(part) for part in action))
        self.taken[arm] += 1
        self.rewards[arm] += reward


EVERY_ACTION = tuple(product(range(len(MOVES)), range(len(THRESHOLDS))))


class SharedLayers(BaseFeaturesExtractor):
    """D3's network under the two heads and the value: (B, 8) → (B, 128)."""

    def __init__(self, observation_space: gymnasium.Space):
        super().__init__(observation_space, features_dim=128)
        self.layers = nn.Sequential(
            nn.Linear(observation_space.shape[0], 128), nn.ReLU(), nn.Linear(128, 128), nn.ReLU()
        )

    def forward(self, observations: torch.Tensor) -> torch.Tensor:
        return self.layers(observations)


NETWORK = dict(features_extractor_class=SharedLayers, net_arch=[])


def ppo(env: gymnasium.Env, *, n_steps: int = 5, seed: int = 0) -> PPO:
    """PPO (Schulman et al. 2017) by stable-baselines3, with D3's settings; its policy is updated
    every n_steps epochs.

    As published: two categorical heads and a value on a shared 128-128 network, learning rate 3e-4,
    γ 0.99, λ 0.95, clip 0.2, entropy 0.01. From D3's code: ReLU, 4 passes over the steps of an
    update, value weight 1, gradient norm 0.5. An update takes all its steps as one batch, which is
    D3's up to 64 steps. The initial weights are stable-baselines3's (orthogonal). Raises UsageError
    for fewer than 2 steps: one alone has no advantage.
    """
    if not isinstance(n_steps, Integral) or n_steps < 2:
        raise UsageError(f"n_steps={n_steps!r}: expected a whole number, 2 or more")
    with _own_randomness(seed):
        return PPO(
            "MlpPolicy",
            env,
            learning_rate=LEARNING_RATE,
            n_steps=n_steps,
            batch_size=n_steps,
            n_epochs=4,
            gamma=0.99,
            gae_lambda=0.95,
            clip_range=0.2,
            ent_coef=0.01,
            vf_coef=1.0,
            max_grad_norm=0.5,
            policy_kwargs=NETWORK,
            seed=seed,
            device="cpu",
        )


def one_run(
    env: DistillationEnv, *, n_steps: int = 5, seed: int = 0, resume: bool = False
) -> Episode:
    """D3's mode: the agent learns in the very run that it steers, from n_steps epochs at a time.

    seed: of the agent; the run's is `env.run_seed`. The student is in `env.student` afterwards.
    resume: go on with a run that was killed, from the env's folder. The agent needs no file of its
    own: it learns once more, in no time, from the epochs that were trained, and goes on with the
    same bits. After the last epoch there is no update.
    """
    model = ppo(_Once(env), n_steps=n_steps, seed=seed)
    model.env.seed(env.unwrapped.run_seed)
    model.env.set_options({"replay": resume})
    with _own_randomness(seed):
        model.learn(
            env.unwrapped.epochs, callback=lambda variables, _: not variables["dones"].any()
        )
    return env.unwrapped.episode


class _Once(gymnasium.Wrapper):
    """stable-baselines3 resets an environment that is done; this one stays as it ended."""

    _last = None

    def step(self, action):
        observation, reward, over, truncated, info = self.env.step(action)
        self._last = observation if over else None
        return observation, reward, over, truncated, info

    def reset(self, **options):
        return self.env.reset(**options) if self._last is None else (self._last, {})


class Agent:
    """A trained policy: it takes the likeliest action and learns no more. Made by `train_agent` or
    `load_agent`.
    """

    def __init__(self, policy: ActorCriticPolicy):
        self.policy = policy

    def __call__(self, observation: np.ndarray) -> np.ndarray:
        return self.policy.predict(observation, deterministic=True)[0]


def train_agent(
    env: DistillationEnv,
    episodes: int,
    path: str | os.PathLike,
    *,
    an_update: int = 4,
    seed: int = 0,
) -> tuple[Agent, pd.DataFrame]:
    """PPO on many cheap episodes, to be transferred: `play` its agent in an env of another student
    or other data.

    The policy is updated every `an_update` whole episodes; each has its own run seed, from
    `env.run_seed` on. seed: of
    the agent. path: a file written after every update. If it is there already, training goes on
    from it and ends with the same bits as a training that was never stopped. Returns the agent, and
    one row per episode: seed, reward (the sum) and accuracy (on validation after the last epoch,
      %).

    Raises UsageError if the episodes are no multiple of `an_update`; CheckpointError for a file of
    another training.
    """
    for name, value in {"episodes": episodes, "an_update": an_update}.items():
        if not isinstance(value, Integral) or value < 1:
            raise UsageError(f"{name}={value!r}: expected a whole number, 1 or more")
    if episodes % an_update:
        raise UsageError(
            f"episodes={episodes}: expected a multiple of an_update={an_update}, the episodes an "
            "update"
        )
    bare = env.unwrapped
    n_steps = an_update * bare.epochs
    settings = {
        **bare.settings,
        "first run seed": bare.run_seed,
        "an_update": an_update,
        "agent's seed": seed,
    }
    model, rows = ppo(env, n_steps=n_steps, seed=seed), []
    if Path(path).exists():
        content = files.load(path)
        _same(content.get("settings", {}), settings, path)
        files.load_weights(model.policy, content["policy"], path)
        model.policy.optimizer.load_state_dict(content["optimizer"])
        rows = content["episodes"]
    model.env.seed(bare.run_seed + len(rows))
    while len(rows) < episodes:
        before = len(bare.finished)
        with _own_randomness(
            (seed * 100_003 + len(rows)) % 2**32
        ):  # nothing that the file must hold
            model.learn(n_steps, reset_num_timesteps=False)
        rows += [
            [episode.seed, episode.reward, episode.accuracy] for episode in bare.finished[before:]
        ]
        content = {
            "policy": model.policy.state_dict(),
            "optimizer": model.policy.optimizer.state_dict(),
        }
        files.save(path, {"settings": settings, "episodes": rows, **content})
    return Agent(model.policy), pd.DataFrame(rows, columns=["seed", "reward", "accuracy"])


def load_agent(path: str | os.PathLike) -> Agent:
    """The agent of a file that `train_agent` wrote: weights alone, nothing in it is run. Raises
    CheckpointError.
    """
    content = files.load(path)
    with _own_randomness(0):  # initial weights, to be replaced
        policy = ActorCriticPolicy(OBSERVATION, ACTION, lambda _: LEARNING_RATE, **NETWORK)
    files.load_weights(policy, content.get("policy", {}), path)
    return Agent(policy)


def _same(stored: dict, settings: dict, path) -> None:
    for name, value in settings.items():
        if stored.get(name) != value:
            raise CheckpointError(
                f"{path}: belongs to another training: {name} was {stored.get(name)}, is now "
                f"{value}. Name another file, or delete this one to train afresh"
            )


@contextmanager
def _own_randomness(seed: int) -> Iterator[None]:
    """stable-baselines3 seeds and draws from the global generators: the caller's go on as if it had
    not.
    """
    ours, numpys = random.getstate(), np.random.get_state()  # noqa: NPY002
    with torch.random.fork_rng(devices=[]):
        set_random_seed(seed)
        try:
            yield
        finally:
            random.setstate(ours)
            np.random.set_state(numpys)  # noqa: NPY002
