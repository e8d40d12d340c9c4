"""A small student, teacher and environment, for the tests of episodes. A module, so that a killed
process can import it.
"""

import numpy as np
import torch
from torch import nn

from kdcourse.curriculum.environment import DistillationEnv
from kdcourse.distillation import Teacher


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


def environment(data, **options):
    options = {"student": small_net, "epochs": 4, "batch_size": 16, "renew_every": 2} | options
    return DistillationEnv(data, teacher(), **({"seed": 3} | options))


def run(env, actions):
    """(observations, rewards, infos) of a fresh episode under these actions."""
    observations, rewards, infos = [env.reset()[0]], [], []
    for action in actions:
        observation, reward, _, _, info = env.step(action)
        observations.append(observation), rewards.append(reward), infos.append(info)
    return np.array(observations), rewards, infos


ACTIONS = [(2, 1), (2, 4), (1, 2), (0, 3)]
