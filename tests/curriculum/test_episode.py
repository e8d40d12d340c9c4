"""The parts of an episode: D3's reward, the effect of actions, and the cheap student."""

import pytest
import torch

from kdcourse.common.errors import UsageError
from kdcourse.curriculum.episode import applied, d3_reward, stand_in


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


def test_the_stand_in_is_cheap(make_data):
    data = make_data(60, classes=4, channels=5)
    student = stand_in(data)()
    assert student(torch.zeros(2, 5, 16, 16)).shape == (2, 4)
    assert sum(p.numel() for p in student.parameters()) < 10_000
