"""Pictures of maps."""

import numpy as np
import pytest

from kdcourse import plots
from kdcourse.common.errors import UsageError


def test_a_map_beside_its_scene():
    picture = np.arange(3 * 4 * 6, dtype=np.uint16).reshape(3, 4, 6) + 1
    picture[:, 0, 0] = 0
    found = np.full((4, 6), 1)
    found[0, 0], found[1:, :2] = 255, 0
    fig = plots.land_map(
        picture, {"student": found}, ("Forest", "River"), ((0, 90, 0), (0, 0, 200))
    )
    scene, drawn = (ax.images[0].get_array() for ax in fig.axes)
    assert (np.asarray(scene[0, 0]) == 1).all() and (
        np.asarray(drawn[0, 0]) == 255
    ).all()  # no data: white
    assert tuple(drawn[1, 0]) == (0, 90, 0) and tuple(drawn[0, 1]) == (0, 0, 200)
    assert "student: River 71 %, Forest 25 %" in fig.alt
    assert [text.get_text() for text in fig.legends[0].get_texts()] == ["Forest", "River"]
    with pytest.raises(UsageError, match="expected .3, H, W."):
        plots.land_map(
            picture, {"student": found[:2]}, ("Forest", "River"), ((0, 90, 0), (0, 0, 200))
        )
    with pytest.raises(UsageError, match="1 colours for 2 classes"):
        plots.land_map(picture, {"student": found}, ("Forest", "River"), ((0, 90, 0),))
