"""Controls: drawn at once, drawn again when moved, readable without a kernel."""

import ipywidgets as widgets
import numpy as np
import pytest

from kdcourse.common.errors import UsageError
from kdcourse.notebook.widgets import WIDGET_VIEW, explore
from kdcourse.plots import show_tiles


@pytest.fixture
def explorer():
    def draw(brightness, name):
        fig = show_tiles(np.full((1, 1, 4, 4), brightness, np.uint8))
        fig.alt = f"a square <{brightness}> {name}"
        return fig, f"Brightness is {brightness} & the name {name}."

    return explore(
        draw,
        brightness=widgets.IntSlider(
            value=10, min=0, max=255, description="a rather long label: brightness"
        ),
        name=widgets.ToggleButtons(options=["one", "two"], description="name"),
    )


def test_drawn_at_once(explorer):
    assert 'alt="a square &lt;10&gt; one"' in explorer.picture.value
    assert '<p role="status">Brightness is 10 &amp; the name one.</p>' in explorer.picture.value


def test_every_control_is_followed(explorer):
    explorer.controls["brightness"].value = 200
    assert "Brightness is 200 &amp; the name one." in explorer.picture.value
    explorer.controls["name"].value = "two"
    assert "Brightness is 200 &amp; the name two." in explorer.picture.value


def test_shows_controls_and_for_static_readers_the_first_picture(explorer):
    explorer.controls["brightness"].value = 200
    bundle = explorer._repr_mimebundle_()
    assert bundle[WIDGET_VIEW]["model_id"] == explorer.box.model_id
    assert "Brightness is 10" in bundle["text/html"]
    assert (
        "long label: brightness, name" in bundle["text/plain"] and "0x" not in bundle["text/plain"]
    )


def test_labels_are_not_cut_and_say_what_they_are_when_pointed_at(explorer):
    assert all(
        control.style.description_width == "initial" for control in explorer.controls.values()
    )
    assert all(control.tooltip == control.description for control in explorer.controls.values())
    assert explorer.controls["name"].style.button_width == "initial"


def test_needs_a_control():
    with pytest.raises(UsageError, match="at least one control"):
        explore(lambda: None)
