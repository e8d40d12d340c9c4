"""Pictures of the course. Each function returns a matplotlib Figure; its attribute `alt` says in words what is to be
seen, with the numbers shown. `show(fig)` puts it into a notebook as an image that carries that text.

Colours are Okabe and Ito's (2008, "Color Universal Design") or cividis, readable by the colour-blind; line styles and
markers say the same a second time.
"""

import base64
import html
import io
import textwrap
from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd
from IPython.display import display
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Rectangle
from PIL import Image

from kdcourse.data.eurosat import TRUE_COLOUR
from kdcourse.errors import UsageError
from kdcourse.evaluation.metrics import Evaluation, mean_interval

COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000")  # Okabe–Ito without yellow
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
    """Display a figure of this module, with its alternative text, as the output of a notebook's cell."""
    display(Picture(fig))


def to_html(fig: Figure) -> str:
    """A figure as one `<img>` element with the picture inside it: a PNG in base64, and `fig.alt` as its alt text."""
    file = io.BytesIO()
    fig.savefig(file, format="png", dpi=DPI, bbox_inches="tight")
    if not any(ax.images for ax in fig.axes):  # 256 colours are enough for lines, and a third of the bytes
        picture, file = Image.open(file).convert("RGB"), io.BytesIO()
        picture.quantize(256).save(file, format="png", optimize=True)
    data = base64.b64encode(file.getvalue()).decode()
    return f'<img alt="{html.escape(fig.alt)}" src="data:image/png;base64,{data}" style="max-width:100%">'


def show_tiles(
    images: np.ndarray,
    titles: Sequence[str] | None = None,
    *,
    bands: Sequence[int] | None = None,
    stretch: tuple[float, float] = (2, 98),
    columns: int = 5,
) -> Figure:
    """Images (N, C, H, W), raw values, in a grid.

    bands: one zero-based channel for grey, or three for red, green and blue; by default the only channel of grey
      images, all of RGB images, and the true colours (B04, B03, B02) of Sentinel-2 tiles.
    stretch: these percentiles of each band, over all images shown, become black and full; so tiles of one figure can
      be compared in brightness. Bytes (uint8) are shown as they are.
    """
    images = np.asarray(images)
    if images.ndim != 4 or not len(images):
        raise UsageError(f"images of shape {images.shape}: expected (N, C, H, W) with N of 1 or more")
    count, channels, height, width = images.shape
    bands = tuple(bands) if bands is not None else {1: (0,), 3: (0, 1, 2), 13: TRUE_COLOUR}.get(channels, ())
    if len(bands) not in (1, 3) or not all(0 <= band < channels for band in bands):
        raise UsageError(
            f"bands={bands} for images of {channels} channels: expected one or three numbers from 0 to {channels - 1}"
        )
    if titles is not None and len(titles) != count:
        raise UsageError(f"{len(titles)} titles for {count} images")
    shown = images[:, bands].astype(np.float32)
    if images.dtype == np.uint8:
        shown /= 255
    else:
        low, high = np.percentile(shown, stretch, axis=(0, 2, 3), keepdims=True)
        shown = (shown - low) / np.maximum(high - low, 1e-6)
    shown = shown.clip(0, 1).transpose(0, 2, 3, 1)  # (N, H, W, 1 or 3)

    columns = min(columns, count)
    rows = -(-count // columns)
    fig = Figure(figsize=(1.6 * columns, (1.6 + 0.25 * (titles is not None)) * rows), layout="constrained")
    for ax in fig.subplots(rows, columns, squeeze=False).flat:
        ax.axis("off")
    for i, (ax, image) in enumerate(zip(fig.axes, shown, strict=False)):
        ax.imshow(image.squeeze(), cmap="gray", vmin=0, vmax=1, interpolation="nearest")
        if titles is not None:
            ax.set_title(titles[i], fontsize=8)
    of = "grey from channel" if len(bands) == 1 else "red, green and blue from channels"
    names = "" if titles is None else ", row by row: " + ", ".join(str(title).replace("\n", " ") for title in titles)
    fig.alt = f"{count} images of {height}×{width} pixels, {of} {', '.join(map(str, bands))}{names}."
    return fig


def signatures(
    spectra: np.ndarray, labels: np.ndarray, classes: Sequence[str], wavelengths: Sequence[float], *, columns: int = 5
) -> Figure:
    """Spectral signatures: mean ± standard deviation of each class against wavelength, a panel a class.

    spectra (N, C): reflectance of each tile or pixel in digital numbers; labels (N,); wavelengths (C,) in nm, in the
    order of the channels: they are sorted here, since EuroSAT's files put B8A last.
    """
    spectra, labels, wavelengths = np.asarray(spectra, dtype=float), np.asarray(labels), np.asarray(wavelengths)
    expected = (len(labels), len(wavelengths))
    if spectra.shape != expected:
        raise UsageError(f"spectra of shape {spectra.shape}: expected {expected}, labels by wavelengths")
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
        ax.fill_between(nm, means[i] - stds[i], means[i] + stds[i], color=COLOURS[0], alpha=0.25, linewidth=0)
        ax.plot(nm, means[i], color=COLOURS[0], marker="o", markersize=3, linewidth=1.5)
        ax.set_title(name, fontsize=9)
        _tidy(ax)
    fig.supxlabel("wavelength (nm)", fontsize=9)
    fig.supylabel("reflectance (digital numbers)", fontsize=9)
    peaks = ", ".join(f"{name} {m.max():.0f} at {nm[m.argmax()]:g} nm" for name, m in zip(classes, means, strict=True))
    fig.alt = (
        f"{len(classes)} panels of reflectance against wavelength from {nm[0]:g} to {nm[-1]:g} nm, one a class: its "
        f"mean with a band of one standard deviation, the other classes' means in grey. Highest mean: {peaks}."
    )
    return fig


def learning_curves(histories: Mapping) -> Figure:
    """Accuracy and loss against epoch for runs by name: {"name": History}. Train dashed, validation solid.

    A ring marks the epoch whose weights the network holds. The training loss is that of the run's own objective, on
    augmented images, so compare it with itself over time and not between methods.
    """
    if not histories or not all(history.records for history in histories.values()):
        raise UsageError("histories: expected at least one, each with one epoch or more")
    fig = Figure(figsize=(9.5, 3.3), layout="constrained")
    accuracy, loss = fig.subplots(1, 2)
    said = []
    for i, (name, history) in enumerate(histories.items()):
        frame, colour, marker = history.frame(), COLOURS[i % len(COLOURS)], MARKERS[i % len(MARKERS)]
        validation = dict(color=colour, marker=marker, markersize=3.5, markevery=max(1, len(frame) // 8))
        for ax, train, val in ((accuracy, "train_accuracy", "val_accuracy"), (loss, "loss", "val_loss")):
            ax.plot(frame.epoch, frame[train], color=colour, linestyle="--", linewidth=1)
            ax.plot(frame.epoch, frame[val], linewidth=1.7, **validation)
            held = frame.iloc[history.reported_epoch - 1]
            ax.plot(held.epoch, held[val], "o", markersize=9, markerfacecolor="none", markeredgecolor=colour)
        said.append(
            f"{name}: training {held.train_accuracy:.1f} %, validation {held.val_accuracy:.1f} % at epoch "
            f"{held.epoch:.0f} of {len(frame)}, validation loss {held.val_loss:.2f}"
        )
    accuracy.set_ylabel("accuracy (%)", fontsize=9)
    loss.set_ylabel("loss (nats)", fontsize=9)
    for ax in (accuracy, loss):
        ax.set_xlabel("epoch", fontsize=9)
        ax.xaxis.get_major_locator().set_params(integer=True)
        _tidy(ax)
    lines = [
        Line2D([], [], color=COLOURS[i % len(COLOURS)], marker=MARKERS[i % len(MARKERS)], markersize=4, label=name)
        for i, name in enumerate(histories)
    ]
    lines += [
        Line2D([], [], color=GREY, linewidth=1.7, label="validation"),
        Line2D([], [], color=GREY, linewidth=1, linestyle="--", label="train"),
        Line2D([], [], color=GREY, linestyle="", marker="o", markersize=9, markerfacecolor="none", label="epoch held"),
    ]
    fig.legend(handles=lines, loc="outside right center", frameon=False, fontsize=8)
    fig.alt = f"Learning curves, accuracy and loss against epoch. {'; '.join(said)}."
    return fig


def confusion_matrix(evaluation: Evaluation, classes: Sequence[str] | None = None) -> Figure:
    """Confusion matrix: rows are true classes, columns answers; colour in % of the row, numbers are counts.

    classes: other names for the classes than the evaluation's own. Beyond 20 classes counts and names are left out.
    """
    counts = evaluation.confusion
    names = list(evaluation.per_class.index) if classes is None else list(classes)
    if len(names) != len(counts):
        raise UsageError(f"{len(names)} class names for a confusion matrix of {len(counts)} classes")
    share = 100 * counts / np.maximum(counts.sum(1, keepdims=True), 1)
    few = len(names) <= 20
    size = 1.8 + 0.36 * len(names) if few else 6
    fig = Figure(figsize=(size + 1, size), layout="constrained")
    ax = fig.subplots()
    image = ax.imshow(share, cmap="cividis", vmin=0, vmax=100)
    bar = fig.colorbar(image, ax=ax, shrink=0.8)
    bar.set_label("share of the true class (%)", fontsize=9)
    bar.ax.tick_params(labelsize=8)
    ax.set_xlabel("answer", fontsize=9)
    ax.set_ylabel("true class", fontsize=9)
    if few:
        ax.set_xticks(range(len(names)), names, rotation=45, ha="right", rotation_mode="anchor", fontsize=8)
        ax.set_yticks(range(len(names)), names, fontsize=8)
        for (row, column), value in np.ndenumerate(counts):
            if value:
                colour = "black" if share[row, column] > 55 else "white"
                ax.text(column, row, value, ha="center", va="center", color=colour, fontsize=8)
    wrong = counts - np.diag(np.diag(counts))
    pairs = [divmod(at, len(names)) for at in np.argsort(-wrong, axis=None, kind="stable")[:3]]
    confused = [f"{names[row]} taken for {names[column]}: {wrong[row, column]}" for row, column in pairs]
    confused = [text for text, (row, column) in zip(confused, pairs, strict=True) if wrong[row, column]]
    fig.alt = (
        f"Confusion matrix of {len(names)} classes, accuracy {evaluation.summary()}. "
        f"Most frequent mistakes: {', '.join(confused) or 'none'}."
    )
    return fig


def accuracy_cost(points: pd.DataFrame) -> Figure:
    """Accuracy with its interval against multiply–adds (logarithmic), a point a network.

    points: columns name, macs (of one image), accuracy, low, high (all three in %).
    """
    _need(points, ("name", "macs", "accuracy", "low", "high"))
    fig = Figure(figsize=(7.2, 3.4), layout="constrained")
    ax = fig.subplots()
    for i, point in enumerate(points.itertuples()):
        spread = [[point.accuracy - point.low], [point.high - point.accuracy]]
        ax.errorbar(
            point.macs / 1e6, point.accuracy, yerr=spread, label=point.name, color=COLOURS[i % len(COLOURS)],
            marker=MARKERS[i % len(MARKERS)], markersize=7, capsize=3, linestyle="",
        )  # fmt: skip
    ax.set_xscale("log")
    ax.set_xlim(points.macs.min() / 2e6, points.macs.max() / 5e5)
    ax.xaxis.set_major_formatter(lambda value, _: f"{value:g}")
    ax.set_xlabel("multiply–adds of one image (millions, logarithmic)", fontsize=9)
    ax.set_ylabel("accuracy (%)", fontsize=9)
    _tidy(ax)
    fig.legend(loc="outside right center", frameon=False, fontsize=8)
    said = "; ".join(
        f"{p.name}: {p.accuracy:.1f} % ({p.low:.1f}–{p.high:.1f}) at {p.macs / 1e6:.4g} M" for p in points.itertuples()
    )
    fig.alt = f"Accuracy with its interval against multiply–adds of one image. {said}."
    return fig


def stages_figure(networks: Mapping[str, pd.DataFrame]) -> Figure:
    """Networks side by side, stage by stage: the map as a square of its size, and the multiply–adds as a bar.

    networks: {"name": table of `kdcourse.models.stages`}.
    """
    if not networks:
        raise UsageError("networks: expected at least one, {'name': stages(model, input_shape)}")
    longest = max(map(len, networks.values()))
    largest = max(table.height.max() for table in networks.values())
    most = max(table.macs.max() for table in networks.values())
    fig = Figure(figsize=(0.72 * longest * len(networks) + 0.6, 3.9), layout="constrained")
    axes = fig.subplots(2, len(networks), squeeze=False, sharex="col", gridspec_kw=dict(height_ratios=(1, 1.2)))
    said = []
    for i, (name, table) in enumerate(networks.items()):
        maps, bars = axes[:, i]
        maps.set_title(f"{name}: {table.macs.sum() / 1e6:.4g} M multiply–adds", fontsize=10)
        for at, stage in enumerate(table.itertuples()):
            side = 0.86 * stage.height / largest
            corner = (at - side / 2, 0.5 - side / 2)
            maps.add_patch(Rectangle(corner, side * stage.width / stage.height, side, color=COLOURS[i]))
            maps.text(
                at, -0.08, f"{stage.height}×{stage.width}\n{stage.channels} ch.", ha="center", va="top", fontsize=7.5
            )
        maps.set_xlim(-0.6, longest - 0.4)
        maps.set_ylim(-0.6, 1, auto=True)
        maps.set_aspect("equal", adjustable="datalim")  # squares stay square, and above their bars
        maps.axis("off")
        bars.bar(range(len(table)), table.macs / 1e6, color=COLOURS[i], width=0.7)
        bars.set_xticks(range(len(table)), table.stage, rotation=45, ha="right", rotation_mode="anchor")
        bars.set_ylim(0, 1.05 * most / 1e6)
        _tidy(bars)
        sizes = ", ".join(f"{s.stage} {s.height}×{s.width} with {s.channels} channels" for s in table.itertuples())
        said.append(f"{name}, {table.macs.sum() / 1e6:.4g} million multiply–adds: {sizes}")
    axes[1, 0].set_ylabel("multiply–adds (millions)", fontsize=9)
    fig.alt = f"Map size and multiply–adds of each stage. {'; '.join(said)}."
    return fig


def seeds(points: pd.DataFrame) -> Figure:
    """Accuracy of every seed as a dot, with mean and 95 % interval (Student's t) beside them, a row a method.

    points: columns method, seed, accuracy (%). A method with one seed has no interval.
    """
    _need(points, ("method", "seed", "accuracy"))
    methods = list(dict.fromkeys(points.method))
    fig = Figure(figsize=(7.2, 0.9 + 0.5 * len(methods)), layout="constrained")
    ax = fig.subplots()
    said = []
    for i, method in enumerate(methods):
        values = points.accuracy[points.method == method].to_numpy()
        mean, half = mean_interval(values)
        colour, marker = COLOURS[i % len(COLOURS)], MARKERS[i % len(MARKERS)]
        ax.plot(values, np.full(len(values), i - 0.14), "o", color=colour, markersize=5, alpha=0.6, markeredgewidth=0)
        spread = None if np.isnan(half) else half
        ax.errorbar(mean, i + 0.14, xerr=spread, color=colour, marker=marker, markersize=7, capsize=3)
        said.append(
            f"{method}: {mean:.1f} %" + (" (one seed)" if spread is None else f" ± {half:.1f}, {len(values)} seeds")
        )
    ax.set_yticks(range(len(methods)), methods)
    ax.set_ylim(len(methods) - 0.5, -0.5)
    ax.set_xlabel("accuracy (%): a dot a seed; below, mean and 95 % interval", fontsize=9)
    _tidy(ax)
    fig.alt = f"Accuracy of every seed with mean and 95 % interval. {'; '.join(said)}."
    return fig


def _tidy(ax) -> None:
    """Light grid, no box, small figures."""
    ax.grid(color="#e5e5e5", linewidth=0.6)
    ax.set_axisbelow(True)
    ax.spines[["top", "right"]].set_visible(False)
    ax.tick_params(labelsize=8)


def _need(points: pd.DataFrame, columns: Sequence[str]) -> None:
    missing = [column for column in columns if column not in points]
    if missing or not len(points):
        raise UsageError(f"points: expected a row or more with the columns {', '.join(columns)}; missing: {missing}")
