"""Colours, markers and how a figure is shown: what every figure of the course shares.

Colours are Okabe and Ito's (2008, "Color Universal Design") or cividis, readable by the
colour-blind; line styles and markers say the same a second time.
"""

import base64
import html
import io
import textwrap
from collections.abc import Sequence

import numpy as np
import pandas as pd
from IPython.display import display
from matplotlib.figure import Figure
from PIL import Image

from kdcourse.common.errors import UsageError
from kdcourse.data.eurosat import TRUE_COLOUR

COLOURS = (
    "#0072B2",
    "#D55E00",
    "#009E73",
    "#CC79A7",
    "#E69F00",
    "#56B4E9",
    "#000000",
)  # Okabe–Ito without yellow
MARKERS = ("o", "s", "^", "D", "v", "P", "X")
GREY = "#8a8a8a"
DPI = 110


class Picture:
    """A figure as HTML for notebooks, and as its alternative text for terminals."""

    def __init__(self, fig: Figure):
        self.alt = fig.alt
        self.html = to_html(fig)

    def _repr_html_(self) -> str:
        return self.html

    def __repr__(self) -> str:
        return textwrap.fill(f"[figure: {self.alt}]", 100)


def show(fig: Figure) -> None:
    """Display a figure of this module, with its alternative text, as the output of a notebook's
    cell.
    """
    display(Picture(fig))


def to_html(fig: Figure) -> str:
    """A figure as one `<img>` element with the picture inside it: a PNG in base64, and `fig.alt` as
    its alt text.
    """
    return f'<img alt="{html.escape(fig.alt)}" src="{data_uri(fig)}" style="max-width:100%">'


def data_uri(fig: Figure) -> str:
    """A figure as a PNG in base64, to stand in HTML. The same figure gives the same bytes: they
    hold no date.
    """
    file = io.BytesIO()
    fig.savefig(file, format="png", dpi=DPI, bbox_inches="tight")
    if not any(
        ax.images for ax in fig.axes
    ):  # 256 colours are enough for lines, and a third of the bytes
        picture, file = Image.open(file).convert("RGB"), io.BytesIO()
        picture.quantize(256).save(file, format="png", optimize=True)
    return "data:image/png;base64," + base64.b64encode(file.getvalue()).decode()


def tidy(ax) -> None:
    """Light grid, no box, small figures."""
    ax.grid(color="#e5e5e5", linewidth=0.6)
    ax.set_axisbelow(True)
    ax.spines[["top", "right"]].set_visible(False)
    ax.tick_params(labelsize=8)


def need_columns(points: pd.DataFrame, columns: Sequence[str]) -> None:
    missing = [column for column in columns if column not in points]
    if missing or not len(points):
        raise UsageError(
            f"points: expected a row or more with the columns {', '.join(columns)}; missing: "
            f"{missing}"
        )


def visible(images, bands=None, stretch=(2, 98)) -> tuple[np.ndarray, tuple[int, ...]]:
    """Raw images (N, C, H, W) as the eye can see them, (N, H, W, 1 or 3) in 0 … 1, and the bands
    chosen.
    """
    images = np.asarray(images)
    if images.ndim != 4 or not len(images):
        raise UsageError(
            f"images of shape {images.shape}: expected (N, C, H, W) with N of 1 or more"
        )
    channels = images.shape[1]
    bands = (
        tuple(bands)
        if bands is not None
        else {1: (0,), 3: (0, 1, 2), 13: TRUE_COLOUR}.get(channels, ())
    )
    if len(bands) not in (1, 3) or not all(0 <= band < channels for band in bands):
        raise UsageError(
            f"bands={bands} for images of {channels} channels: expected one or three numbers from "
            f"0 to {channels - 1}"
        )
    shown = images[:, bands].astype(np.float32)
    if images.dtype == np.uint8:
        shown /= 255
    else:
        low, high = np.percentile(shown, stretch, axis=(0, 2, 3), keepdims=True)
        shown = (shown - low) / np.maximum(high - low, 1e-6)
    return shown.clip(0, 1).transpose(0, 2, 3, 1), bands


def seed_dots(ax, values: np.ndarray, row: float, colour: str) -> None:
    """One dot per seed, in a row of a figure whose rows are methods."""
    dots = dict(color=colour, markersize=5, alpha=0.6, markeredgewidth=0)
    ax.plot(values, np.full(len(values), row), "o", **dots)
