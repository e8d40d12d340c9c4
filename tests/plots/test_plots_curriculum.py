"""Pictures of difficulty, sampling and rewards."""

import numpy as np
import pandas as pd
import pytest

from kdcourse import plots
from kdcourse.common.errors import UsageError

RANKS = np.array([[1, 0.5, -0.25], [0.5, 1, 0.75], [-0.25, 0.75, 1]])


def test_drift_is_told_from_the_first_look_to_the_last():
    fig = plots.difficulty_drift(
        [0, 1, 5], {"entropy": [0.2, 0.2, 0.2], "divergence": [0.5, 0.4, 0.1]}, RANKS
    )
    assert "after 0, 1, 5 epochs" in fig.alt and "divergence 0.50 at first, 0.10 at last" in fig.alt
    assert "first with the last -0.25, from one look to the next 0.50, 0.75" in fig.alt
    assert [line.get_label() for line in fig.axes[0].lines] == ["entropy", "divergence"]
    assert [text.get_text() for text in fig.axes[1].texts][:3] == ["1.00", "0.50", "-0.25"]
    assert plots.to_html(fig).startswith("<img")


def test_bars_say_how_much_of_each_stretch_of_ranks_is_drawn():
    fig = plots.drawn_ranks([0, 1, 2, 3, 4, 8], 10, promised=7, title="some", bins=5)
    assert [bar.get_height() for bar in fig.axes[0].patches] == [100, 100, 50, 0, 50]
    assert "some: 6 samples drawn of 7 promised, of 10" in fig.alt
    assert (
        "67 % are from the easiest third, 17 % from the middle, 17 % from the hardest" in fig.alt
    )  # 4, 1, 1 of 6
    assert fig.axes[0].lines[0].get_ydata()[0] == 70
    assert len(plots.drawn_ranks([0], 3).axes[0].patches) == 3  # fewer samples than bars


def test_rewards_are_stacked_away_from_zero():
    frame = pd.DataFrame({"epoch": [1, 2], "accuracy": [40.0, 45.0], "reward": [1.0, -3.0]})
    frame["reward: a"], frame["reward: b"], frame["reward: c"] = (
        [2.0, -1.0],
        [1.0, 0.0],
        [-2.0, -2.0],
    )
    fig = plots.reward_parts(frame)
    bars = [(bar.get_y(), bar.get_height()) for bar in fig.axes[1].patches]
    assert bars == [(0, 2), (0, -1), (2, 1), (0, 0), (0, -2), (-1, -2)]
    assert (
        "from 40.0 to 45.0 %. Reward over the run -2.0, by part: a +1.0, b +1.0, c -4.0" in fig.alt
    )


def test_epochs_are_marked_by_the_action_taken():
    frame = pd.DataFrame({"epoch": [1, 2, 3], "loss": [4.0, 1.0, 2.0], "θ": [0.0, 1.0, 0.0]})
    fig = plots.by_action({"now": frame, "late": frame[:1]}, "loss", "θ")
    assert "now: 3 after 0 (2 epochs), 1 after 1 (1 epochs); late: 4 after 0 (1 epochs)" in fig.alt
    assert [len(ax.collections) for ax in fig.axes] == [2, 2]


def test_bad_input_to_the_pictures_of_curricula():
    for call, says in (
        (
            lambda: plots.difficulty_drift([0, 1], {"a": [1, 2]}, RANKS),
            r"2 values each and \(2, 2\)",
        ),
        (lambda: plots.difficulty_drift([0, 1, 2], {"a": [1, 2]}, RANKS), "3 values each"),
        (lambda: plots.difficulty_drift([0, 1, 2], {}, RANKS), "3 values each"),
        (lambda: plots.drawn_ranks([], 3), "from 0 to 2"),
        (lambda: plots.drawn_ranks([3], 3), "from 0 to 2"),
        (lambda: plots.reward_parts(pd.DataFrame({"epoch": [1], "accuracy": [1.0]})), "reward"),
        (lambda: plots.by_action({}, "loss", "θ"), "a run or more"),
        (
            lambda: plots.by_action({"a": pd.DataFrame({"epoch": [1], "θ": [0]})}, "loss", "θ"),
            "loss",
        ),
    ):
        with pytest.raises(UsageError, match=says):
            call()
