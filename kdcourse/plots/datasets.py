"""Figures of notebook 01: tiles, and the spectra of their classes."""

from collections.abc import Sequence

import numpy as np
from matplotlib.figure import Figure

from kdcourse.common.errors import UsageError
from kdcourse.plots.style import COLOURS, tidy, visible


def show_tiles(
    images: np.ndarray,
    titles: Sequence[str] | None = None,
    *,
    bands: Sequence[int] | None = None,
    stretch: tuple[float, float] = (2, 98),
    columns: int = 5,
) -> Figure:
    """Images (N, C, H, W), raw values, in a grid.

    bands: one zero-based channel for grey, or three for red, green and blue; by default the only
      channel of grey images, all of RGB images, and the true colours (B04, B03, B02) of Sentinel-2
      tiles.
    stretch: these percentiles of each band, over all images shown, become black and full; so tiles
      of one figure can be compared in brightness. Bytes (uint8) are shown as they are.
    """
    shown, bands = visible(images, bands, stretch)  # (N, H, W, 1 or 3)
    count, height, width = shown.shape[:3]
    if titles is not None and len(titles) != count:
        raise UsageError(f"{len(titles)} titles for {count} images")

    columns = min(columns, count)
    rows = -(-count // columns)
    fig = Figure(
        figsize=(1.6 * columns, (1.6 + 0.25 * (titles is not None)) * rows), layout="constrained"
    )
    for ax in fig.subplots(rows, columns, squeeze=False).flat:
        ax.axis("off")
    for i, (ax, image) in enumerate(zip(fig.axes, shown, strict=False)):
        ax.imshow(image.squeeze(), cmap="gray", vmin=0, vmax=1, interpolation="nearest")
        if titles is not None:
            ax.set_title(titles[i], fontsize=8)
    of = "grey from channel" if len(bands) == 1 else "red, green and blue from channels"
    names = (
        ""
        if titles is None
        else ", row by row: " + ", ".join(str(title).replace("\n", " ") for title in titles)
    )
    fig.alt = (
        f"{count} images of {height}×{width} pixels, {of} {', '.join(map(str, bands))}{names}."
    )
    return fig


def signatures(
    spectra: np.ndarray,
    labels: np.ndarray,
    classes: Sequence[str],
    wavelengths: Sequence[float],
    *,
    columns: int = 5,
) -> Figure:
    """Spectral signatures: mean ± standard deviation of each class against wavelength, a panel a
    class.

    spectra (N, C): reflectance of each tile or pixel in digital numbers; labels (N,); wavelengths
    (C,) in nm, in the
    order of the channels: they are sorted here, since EuroSAT's files put B8A last.
    """
    spectra, labels, wavelengths = (
        np.asarray(spectra, dtype=float),
        np.asarray(labels),
        np.asarray(wavelengths),
    )
    expected = (len(labels), len(wavelengths))
    if spectra.shape != expected:
        raise UsageError(
            f"spectra of shape {spectra.shape}: expected {expected}, labels by wavelengths"
        )
    missing = [name for i, name in enumerate(classes) if not (labels == i).any()]
    if missing:
        raise UsageError(f"no spectra of {', '.join(missing)}: give at least one of each class")
    order = np.argsort(wavelengths)
    nm, spectra = wavelengths[order], spectra[:, order]
    means = np.stack([spectra[labels == i].mean(0) for i in range(len(classes))])  # (classes, C)
    stds = np.stack([spectra[labels == i].std(0) for i in range(len(classes))])

    columns = min(columns, len(classes))
    rows = -(-len(classes) // columns)
    fig = Figure(figsize=(2.2 * columns, 1.8 * rows + 0.4), layout="constrained")
    axes = fig.subplots(rows, columns, squeeze=False, sharex=True, sharey=True)
    for ax in axes.flat[len(classes) :]:
        ax.axis("off")
    for i, (ax, name) in enumerate(zip(axes.flat, classes, strict=False)):
        ax.plot(nm, means.T, color="#cccccc", linewidth=0.7)  # the others, to compare with
        ax.fill_between(
            nm, means[i] - stds[i], means[i] + stds[i], color=COLOURS[0], alpha=0.25, linewidth=0
        )
        ax.plot(nm, means[i], color=COLOURS[0], marker="o", markersize=3, linewidth=1.5)
        ax.set_title(name, fontsize=9)
        tidy(ax)
    fig.supxlabel("wavelength (nm)", fontsize=9)
    fig.supylabel("reflectance (digital numbers)", fontsize=9)
    peaks = ", ".join(
        f"{name} {m.max():.0f} at {nm[m.argmax()]:g} nm"
        for name, m in zip(classes, means, strict=True)
    )
    fig.alt = (
        f"{len(classes)} panels of reflectance against wavelength from {nm[0]:g} to {nm[-1]:g} nm, "
        "one a class: its mean with a band of one standard deviation, the other classes' means in "
        f"grey. Highest mean: {peaks}."
    )
    return fig
