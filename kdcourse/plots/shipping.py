"""Figures of notebook 08: the map of a scene."""

from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

from kdcourse.common.errors import UsageError
from kdcourse.plots.style import GREY


def land_map(
    picture: np.ndarray,
    maps: Mapping[str, np.ndarray],
    classes: Sequence[str],
    colours: Sequence[tuple[int, int, int]],
) -> Figure:
    """A scene in true colour, and beside it maps of its classes with one legend.

    picture (3, H, W): red, green and blue, raw values, 0 where there are no data. maps: {"title":
    (H, W) numbers of classes}; a number that is no class is left white. colours: red, green and
    blue (0 … 255) of each class.
    """
    picture, maps = np.asarray(picture), {title: np.asarray(found) for title, found in maps.items()}
    if (
        picture.ndim != 3
        or len(picture) != 3
        or not maps
        or any(m.shape != picture.shape[1:] for m in maps.values())
    ):
        shapes = ", ".join(str(found.shape) for found in maps.values())
        raise UsageError(
            f"picture {picture.shape} and maps {shapes or '(none)'}: expected (3, H, W), and (H, "
            "W) each"
        )
    if len(colours) != len(classes):
        raise UsageError(f"{len(colours)} colours for {len(classes)} classes")
    panels = {"true colour": _true_colour(picture)}
    said = []
    for title, found in maps.items():
        painted = np.full((*found.shape, 3), 255, np.uint8)
        for number, colour in enumerate(colours):
            painted[found == number] = colour
        panels[title] = painted
        shares = (
            100 * np.array([(found == number).sum() for number in range(len(classes))]) / found.size
        )
        order = [number for number in np.argsort(-shares) if shares[number] > 0]
        said.append(f"{title}: " + ", ".join(f"{classes[n]} {shares[n]:.0f} %" for n in order))
    height, width = picture.shape[1:]
    fig = Figure(
        figsize=(2.8 * len(panels) + 1.7, 2.8 * height / width + 0.3), layout="constrained"
    )
    for ax, (title, image) in zip(
        fig.subplots(1, len(panels), squeeze=False)[0], panels.items(), strict=True
    ):
        ax.imshow(image, interpolation="nearest")
        ax.set_title(title, fontsize=9)
        ax.set_axis_off()
    handles = [
        Rectangle((0, 0), 1, 1, facecolor=np.array(c) / 255, edgecolor=GREY, linewidth=0.4)
        for c in colours
    ]
    fig.legend(handles, list(classes), loc="outside right center", frameon=False, fontsize=8)
    fig.alt = (
        f"A scene of {height}×{width} points in true colour, and maps of its classes. "
        f"{'; '.join(said)}."
    )
    return fig


def _true_colour(picture: np.ndarray) -> np.ndarray:
    """Raw (3, H, W) as the eye can see it, (H, W, 3) in 0 … 1, brightened; white without data."""
    has_data = (picture != 0).any(0)
    low, high = np.zeros(3), np.ones(3)
    if has_data.any():
        low, high = np.percentile(picture[:, has_data], (1, 99), axis=1)
    scaled = (picture - low[:, None, None]) / np.maximum(high - low, 1e-6)[:, None, None]
    return np.where(has_data, scaled.clip(0, 1) ** 0.6, 1).transpose(1, 2, 0)
