"""Pictures of intermediate distillation."""

import numpy as np
import pytest

from kdcourse import plots
from kdcourse.common.errors import UsageError

MAP = np.array([[[0.0, 1], [2, 3]], [[4, 5], [6, 7]]])
TILES = np.zeros((2, 3, 6, 6), np.uint8)


def test_copies_are_held_against_the_original_on_one_scale():
    fig = plots.copied_maps(
        TILES, {"teacher": MAP, "near": 2 * MAP, "far": -MAP, "flat": 0 * MAP}, ["x", "y"]
    )
    assert "near, r = 1.00; far, r = -1.00; flat, r = nan" in fig.alt and "2×2" in fig.alt
    scales = {image.get_clim() for ax in fig.axes[2:10] for image in ax.images}
    assert scales == {(-7.0, 14.0)}
    assert plots.to_html(fig).startswith("<img")


def test_partners_are_counted_by_kind():
    table = np.array([[0.9, 0.5, 0.1], [0.5, 0.9, 0.1], [0.1, 0.1, 0.9]])
    fig = plots.partners({"after": table}, [0, 0, 1])
    assert "after: itself +0.90, another of its class +0.50, of another class +0.10" in fig.alt
    heights = [patch.get_path().vertices[:, 1].max() for patch in fig.axes[0].patches]
    assert len(heights) == 3 and min(heights) > 0
    assert (
        "class" not in plots.partners({"a": np.eye(1)}, [0]).alt
    )  # no other image: one kind alone


def test_bad_input_to_copies_and_partners():
    for call, says in (
        (lambda: plots.copied_maps(TILES, {"a": MAP}, ["x", "y"]), "two or more"),
        (
            lambda: plots.copied_maps(TILES, {"a": MAP, "b": MAP[:1]}, ["x", "y"]),
            r"shape \(2, h, w\)",
        ),
        (lambda: plots.copied_maps(TILES, {"a": MAP, "b": MAP}, ["x"]), "1 titles for 2 images"),
        (lambda: plots.partners({}, [0]), "one table or more"),
        (lambda: plots.partners({"a": np.eye(2)}, [0, 1, 1]), r"shape \(3, 3\)"),
    ):
        with pytest.raises(UsageError, match=says):
            call()
