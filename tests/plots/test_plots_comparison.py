"""Pictures of gains and of accuracy against cost."""

import numpy as np
import pandas as pd
import pytest

from kdcourse import plots
from kdcourse.common.errors import UsageError

NETWORKS = pd.DataFrame(
    {
        "name": ["small", "small, distilled", "large"],
        "accuracy": [80.0, 82.5, 90.0],
        "half": [1.5, 0.5, np.nan],
        "front": [False, True, True],
        "macs": [2.0, 2.0, 40.0],
        "ms": [0.5, 0.5, 3.0],
    }
)


def test_gains_that_were_drawn_stand_below_all():
    fig = plots.drawn_gains([1.0, -1.0, 3.0, 5.0], [0, 2])
    assert "all 4 seeds: -1.00 to +5.00, mean +2.00 ± 4.11" in fig.alt  # t(3) = 3.182, s = 2.582
    assert "2 drawn: +1.00 to +3.00, mean +2.00 ± 12.71" in fig.alt  # t(1) = 12.706, s = √2
    assert [len(line.get_xdata()) for line in fig.axes[0].lines if line.get_alpha()] == [4, 2]
    assert (
        fig.axes[0].get_xlim()
        == plots.drawn_gains([1.0, -1.0, 3.0, 5.0], [1, 3]).axes[0].get_xlim()
    )


def test_networks_that_are_not_on_the_front_are_hollow():
    fig = plots.pareto(NETWORKS, {"macs": "million", "ms": "ms"})
    assert "small: 80.0 % ± 1.5, million 2, ms 0.5, not on the front" in fig.alt
    assert "large: 90.0 %, million 40, ms 3, on the front" in fig.alt
    for ax, cost in zip(fig.axes, ("macs", "ms"), strict=True):
        marks = [bar.lines[0] for bar in ax.containers]
        assert [mark.get_markerfacecolor() == "white" for mark in marks] == [True, False, False]
        small, distilled, large = (mark.get_xdata()[0] for mark in marks)
        assert small < NETWORKS[cost][0] < distilled and large == pytest.approx(
            NETWORKS[cost][2]
        )  # side by side


def test_networks_of_nearly_equal_cost_share_a_tick():
    (ax,) = plots.pareto(NETWORKS.assign(ms=[0.52, 0.5, 3.0]), {"ms": "ms"}).axes
    dearer, cheaper, large = (bar.lines[0].get_xdata()[0] for bar in ax.containers)
    assert cheaper < 0.5 < 0.52 < dearer and large == pytest.approx(3.0)
    assert [label.get_text() for label in ax.get_xticklabels()] == ["0.51", "3"]


def test_bad_input_to_the_pictures_of_comparisons():
    for call, says in (
        (lambda: plots.drawn_gains([1.0, 2.0], [0]), "two places or more"),
        (lambda: plots.drawn_gains([1.0, 2.0], [0, 2]), "among 2 gains"),
        (lambda: plots.pareto(NETWORKS, {"watts": "W"}), "missing: .'watts'"),
    ):
        with pytest.raises(UsageError, match=says):
            call()
