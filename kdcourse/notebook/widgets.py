"""Controls that work in JupyterLab and Colab, in headless runs, and with a keyboard and a screen
reader.
"""

from collections.abc import Callable

import ipywidgets as widgets
from matplotlib.figure import Figure

from kdcourse.common import html
from kdcourse.common.errors import UsageError
from kdcourse.plots import to_html

WIDGET_VIEW = "application/vnd.jupyter.widget-view+json"


class Explorer:
    """Controls above a picture that follows them, and a sentence that says what changed.

    A notebook shows the live controls; where there is no kernel behind the page (GitHub, a static
    site) the picture as it was at first takes their place.
    """

    def __init__(
        self, draw: Callable[..., tuple[Figure, str]], controls: dict[str, widgets.Widget]
    ):
        self.draw, self.controls = draw, controls
        self.picture = widgets.HTML(value=self.render())
        self.box = widgets.VBox([*controls.values(), self.picture])
        self.first = self.picture.value
        for control in controls.values():
            control.observe(self.update, names="value")

    def render(self) -> str:
        fig, sentence = self.draw(
            **{name: control.value for name, control in self.controls.items()}
        )
        return html.render("explorer.html", picture=html.safe(to_html(fig)), sentence=sentence)

    def update(self, change=None) -> None:
        self.picture.value = self.render()

    def _repr_mimebundle_(self, include=None, exclude=None) -> dict:
        view = {"model_id": self.box.model_id, "version_major": 2, "version_minor": 0}
        return {"text/plain": repr(self), "text/html": self.first, WIDGET_VIEW: view}

    def __repr__(self) -> str:
        names = ", ".join(control.description for control in self.controls.values())
        return f"[a picture with controls: {names}]"


def explore(draw: Callable[..., tuple[Figure, str]], **controls: widgets.Widget) -> Explorer:
    """Let a learner move something and see what follows.

    draw: called with the controls' values by name; returns a figure with alt text (as those of
      `kdcourse.plots`) and a sentence for the reader who does not see it. Called once at first,
      then whenever a control changes.
    controls: ipywidgets by the name of draw's argument, such as `size=widgets.IntSlider(value=1,
      min=1, max=9)`. For a
      choice take ToggleButtons: JupyterLab keeps the arrow keys, by which a Dropdown is moved, to
        itself.
    Raises UsageError if there are none.
    """
    if not controls:
        raise UsageError(
            "explore: give at least one control, such as temperature=widgets.FloatSlider(…)"
        )
    for control in controls.values():
        control.style.description_width = "initial"  # else long labels are cut
        control.tooltip = control.description  # else the label's is "null"
        if isinstance(control, widgets.ToggleButtons):
            control.style.button_width = "initial"
    return Explorer(draw, controls)
