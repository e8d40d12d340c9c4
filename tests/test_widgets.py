"""Controls: drawn at once, redrawn on a change, said in words."""

from ipywidgets import IntSlider
from matplotlib.figure import Figure

from kdcourse import widgets


def draw(a, b):
    fig = Figure(figsize=(1, 1))
    fig.alt = f"a picture of {a} & {b}"
    return fig, f"{a} < {b}: {a < b}"


def test_explore_draws_at_once_and_again_on_every_change(monkeypatch):
    displayed = []
    monkeypatch.setattr(widgets, "display", lambda bundle, raw: displayed.append(bundle))
    first, second = IntSlider(value=3, min=0, max=9), IntSlider(value=5, min=0, max=9)
    box = widgets.explore(draw, first, second)
    assert displayed[0][widgets.WIDGET]["model_id"] == box.model_id
    assert 'alt="a picture of 3 &amp; 5"' in displayed[0]["text/html"]  # what a reader without a kernel sees

    page = box.children[-1]
    assert page.value == displayed[0]["text/html"] and '<p role="status">3 &lt; 5: True</p>' in page.value
    second.value = 1
    assert 'alt="a picture of 3 &amp; 1"' in page.value and "3 &lt; 1: False" in page.value
