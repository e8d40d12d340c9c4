"""Controls in notebooks: sliders that redraw a picture and say in words what it shows.

They use nothing but core widgets of ipywidgets 7 and 8, redraw at once, and need no mouse: Tab, then the arrow keys.
A reader without a kernel (a web page, a code host's preview) sees the picture as it was when the notebook ran.
"""

import html
from collections.abc import Callable

from IPython.display import display
from ipywidgets import HTML, VBox, Widget
from matplotlib.figure import Figure

from kdcourse.plots import to_html

WIDGET = "application/vnd.jupyter.widget-view+json"


def explore(draw: Callable[..., tuple[Figure, str]], *controls: Widget) -> VBox:
    """Show `draw(*values of the controls)`, again whenever one of them changes.

    draw returns a figure that carries alternative text (`fig.alt`) and a sentence for everyone, which a screen reader
    reads out after each change. controls: widgets with a `value`. Returns what is displayed.
    """
    page = HTML()

    def redraw(change=None):
        fig, sentence = draw(*(control.value for control in controls))
        page.value = f'{to_html(fig)}<p role="status">{html.escape(sentence)}</p>'

    for control in controls:
        control.observe(redraw, names="value")
    redraw()
    box = VBox([*controls, page])
    view = {"version_major": 2, "version_minor": 0, "model_id": box.model_id}
    display({WIDGET: view, "text/html": page.value, "text/plain": "[a control: run the notebook]"}, raw=True)
    return box
