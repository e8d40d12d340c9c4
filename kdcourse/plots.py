"""Pictures of the course. Each function returns a matplotlib Figure; its attribute `alt` says in
words what is to be seen, with the numbers shown. `show(fig)` puts it into a notebook as an image
that carries that text.

Colours are Okabe and Ito's (2008, "Color Universal Design") or cividis, readable by the
colour-blind; line styles and markers say the same a second time.
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
from matplotlib.patheffects import withStroke
from PIL import Image

from kdcourse.common.errors import UsageError
from kdcourse.data.eurosat import TRUE_COLOUR
from kdcourse.evaluation.metrics import Evaluation, mean_interval

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
    shown, bands = _visible(images, bands, stretch)  # (N, H, W, 1 or 3)
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
        _tidy(ax)
    fig.supxlabel("wavelength (nm)", fontsize=9)
    fig.supylabel("reflectance (digital numbers)", fontsize=9)
    peaks = ", ".join(
        f"{name} {m.max():.0f} at {nm[m.argmax()]:g} nm"
        for name, m in zip(classes, means, strict=True)
    )
    fig.alt = (
        f"{len(classes)} panels of reflectance against wavelength from {nm[0]:g} to {nm[-1]:g} nm, "
        "one a class: its "
        "mean with a band of one standard deviation, the other classes' means in grey. Highest "
        f"mean: {peaks}."
    )
    return fig


def learning_curves(histories: Mapping) -> Figure:
    """Accuracy and loss against epoch for runs by name: {"name": History}. Train dashed, validation
    solid.

    A ring marks the epoch whose weights the network holds. The training loss is that of the run's
    own objective, on augmented images, so compare it with itself over time and not between methods.
    """
    if not histories or not all(history.records for history in histories.values()):
        raise UsageError("histories: expected at least one, each with one epoch or more")
    fig = Figure(figsize=(9.5, 3.3), layout="constrained")
    accuracy, loss = fig.subplots(1, 2)
    said = []
    for i, (name, history) in enumerate(histories.items()):
        frame, colour, marker = (
            history.frame(),
            COLOURS[i % len(COLOURS)],
            MARKERS[i % len(MARKERS)],
        )
        validation = dict(
            color=colour, marker=marker, markersize=3.5, markevery=max(1, len(frame) // 8)
        )
        for ax, train, val in (
            (accuracy, "train_accuracy", "val_accuracy"),
            (loss, "loss", "val_loss"),
        ):
            ax.plot(frame.epoch, frame[train], color=colour, linestyle="--", linewidth=1)
            ax.plot(frame.epoch, frame[val], linewidth=1.7, **validation)
            held = frame.iloc[history.reported_epoch - 1]
            ax.plot(
                held.epoch,
                held[val],
                "o",
                markersize=9,
                markerfacecolor="none",
                markeredgecolor=colour,
            )
        said.append(
            f"{name}: training {held.train_accuracy:.1f} %, validation {held.val_accuracy:.1f} % "
            "at epoch "
            f"{held.epoch:.0f} of {len(frame)}, validation loss {held.val_loss:.2f}"
        )
    accuracy.set_ylabel("accuracy (%)", fontsize=9)
    loss.set_ylabel("loss (nats)", fontsize=9)
    for ax in (accuracy, loss):
        ax.set_xlabel("epoch", fontsize=9)
        ax.xaxis.get_major_locator().set_params(integer=True, min_n_ticks=1)
        _tidy(ax)
    lines = [
        Line2D(
            [],
            [],
            color=COLOURS[i % len(COLOURS)],
            marker=MARKERS[i % len(MARKERS)],
            markersize=4,
            label=name,
        )
        for i, name in enumerate(histories)
    ]
    lines += [
        Line2D([], [], color=GREY, linewidth=1.7, label="validation"),
        Line2D([], [], color=GREY, linewidth=1, linestyle="--", label="train"),
        Line2D(
            [],
            [],
            color=GREY,
            linestyle="",
            marker="o",
            markersize=9,
            markerfacecolor="none",
            label="epoch held",
        ),
    ]
    fig.legend(handles=lines, loc="outside right center", frameon=False, fontsize=8)
    fig.alt = f"Learning curves, accuracy and loss against epoch. {'; '.join(said)}."
    return fig


def confusion_matrix(evaluation: Evaluation, classes: Sequence[str] | None = None) -> Figure:
    """Confusion matrix: rows are true classes, columns answers; colour in % of the row, numbers are
    counts.

    classes: other names for the classes than the evaluation's own. Beyond 20 classes counts and
      names are left out.
    """
    counts = evaluation.confusion
    names = list(evaluation.per_class.index) if classes is None else list(classes)
    if len(names) != len(counts):
        raise UsageError(
            f"{len(names)} class names for a confusion matrix of {len(counts)} classes"
        )
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
        ax.set_xticks(
            range(len(names)), names, rotation=45, ha="right", rotation_mode="anchor", fontsize=8
        )
        ax.set_yticks(range(len(names)), names, fontsize=8)
        for (row, column), value in np.ndenumerate(counts):
            if value:
                colour = "black" if share[row, column] > 55 else "white"
                ax.text(column, row, value, ha="center", va="center", color=colour, fontsize=8)
    wrong = counts - np.diag(np.diag(counts))
    pairs = [divmod(at, len(names)) for at in np.argsort(-wrong, axis=None, kind="stable")[:3]]
    confused = [
        f"{names[row]} taken for {names[column]}: {wrong[row, column]}" for row, column in pairs
    ]
    confused = [
        text for text, (row, column) in zip(confused, pairs, strict=True) if wrong[row, column]
    ]
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
        f"{p.name}: {p.accuracy:.1f} % ({p.low:.1f}–{p.high:.1f}) at {p.macs / 1e6:.4g} M"
        for p in points.itertuples()
    )
    fig.alt = f"Accuracy with its interval against multiply–adds of one image. {said}."
    return fig


def stages_figure(networks: Mapping[str, pd.DataFrame]) -> Figure:
    """Networks side by side, stage by stage: the map as a square of its size, and the multiply–adds
    as a bar.

    networks: {"name": table of `kdcourse.models.stages`}.
    """
    if not networks:
        raise UsageError("networks: expected at least one, {'name': stages(model, input_shape)}")
    longest = max(map(len, networks.values()))
    largest = max(table.height.max() for table in networks.values())
    most = max(table.macs.max() for table in networks.values())
    fig = Figure(figsize=(0.6 * longest * len(networks) + 0.6, 3.9), layout="constrained")
    axes = fig.subplots(
        2, len(networks), squeeze=False, sharex="col", gridspec_kw=dict(height_ratios=(1, 1.2))
    )
    said = []
    for i, (name, table) in enumerate(networks.items()):
        maps, bars = axes[:, i]
        maps.set_title(f"{name}: {table.macs.sum() / 1e6:.4g} M multiply–adds", fontsize=10)
        for at, stage in enumerate(table.itertuples()):
            side = 0.86 * stage.height / largest
            corner = (at - side / 2, 0.5 - side / 2)
            maps.add_patch(
                Rectangle(corner, side * stage.width / stage.height, side, color=COLOURS[i])
            )
            maps.text(
                at,
                -0.08,
                f"{stage.height}×{stage.width}\n{stage.channels} ch.",
                ha="center",
                va="top",
                fontsize=7.5,
            )
        maps.set_xlim(-0.6, longest - 0.4)
        maps.set_ylim(-0.6, 1, auto=True)
        maps.set_aspect("equal", adjustable="datalim")  # squares stay square, and above their bars
        maps.axis("off")
        bars.bar(range(len(table)), table.macs / 1e6, color=COLOURS[i], width=0.7)
        bars.set_xticks(
            range(len(table)), table.stage, rotation=45, ha="right", rotation_mode="anchor"
        )
        bars.set_ylim(0, 1.05 * most / 1e6)
        _tidy(bars)
        sizes = ", ".join(
            f"{s.stage} {s.height}×{s.width} with {s.channels} channels" for s in table.itertuples()
        )
        said.append(f"{name}, {table.macs.sum() / 1e6:.4g} million multiply–adds: {sizes}")
    axes[1, 0].set_ylabel("multiply–adds (millions)", fontsize=9)
    fig.alt = f"Map size and multiply–adds of each stage. {'; '.join(said)}."
    return fig


def seeds(points: pd.DataFrame) -> Figure:
    """Accuracy of every seed as a dot, with mean and 95 % interval (Student's t) beside them, a row
    a method.

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
        ax.plot(
            values,
            np.full(len(values), i - 0.14),
            "o",
            color=colour,
            markersize=5,
            alpha=0.6,
            markeredgewidth=0,
        )
        spread = None if np.isnan(half) else half
        ax.errorbar(
            mean, i + 0.14, xerr=spread, color=colour, marker=marker, markersize=7, capsize=3
        )
        said.append(
            f"{method}: {mean:.1f} %"
            + (" (one seed)" if spread is None else f" ± {half:.1f}, {len(values)} seeds")
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
        raise UsageError(
            f"points: expected a row or more with the columns {', '.join(columns)}; missing: "
            f"{missing}"
        )


def _visible(images, bands=None, stretch=(2, 98)) -> tuple[np.ndarray, tuple[int, ...]]:
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


# --- notebook 04: what the teacher says -----------------------------------------------------------


def soft_answers(
    images: np.ndarray, probabilities: np.ndarray, truth: Sequence[int], classes: Sequence[str]
) -> Figure:
    """Images (N, C, H, W), raw, each above a network's four most probable classes; probabilities
    (N, classes).

    The bar of the true class is blue, the others are hatched orange.
    """
    probabilities, truth = np.asarray(probabilities, dtype=float), list(truth)
    if probabilities.shape != (len(images), len(classes)) or len(truth) != len(images):
        raise UsageError(
            f"probabilities of shape {probabilities.shape} and {len(truth)} labels: expected "
            f"({len(images)}, {len(classes)}), a row an image, and a label an image"
        )
    shown, _ = _visible(images)
    most = min(4, len(classes))
    columns = min(3, len(shown))
    rows = -(-len(shown) // columns)
    fig = Figure(figsize=(3.6 * columns, 1.55 * rows), layout="constrained")
    axes = fig.subplots(
        rows, 2 * columns, squeeze=False, gridspec_kw=dict(width_ratios=(1.1, 1) * columns)
    )
    for ax in axes.flat:
        ax.axis("off")
    said = []
    for i, image in enumerate(shown):
        picture, bars = axes[i // columns, 2 * (i % columns) : 2 * (i % columns) + 2]
        picture.imshow(image.squeeze(), cmap="gray", vmin=0, vmax=1, interpolation="nearest")
        picture.set_title(classes[truth[i]], fontsize=8)
        order = np.argsort(-probabilities[i], kind="stable")[:most]
        for place, c in enumerate(order):
            right = c == truth[i]
            colour, hatch = (COLOURS[0], None) if right else (COLOURS[1], "////")
            bars.barh(
                place + 0.25,
                probabilities[i, c],
                0.3,
                color=colour,
                hatch=hatch,
                edgecolor="white",
                linewidth=0,
            )
            bars.text(
                0, place, f"{classes[c]} {100 * probabilities[i, c]:.0f} %", fontsize=7, va="bottom"
            )
        bars.set_xlim(0, 1)
        bars.set_ylim(most - 0.4, -0.45)
        top = ", ".join(f"{classes[c]} {100 * probabilities[i, c]:.0f} %" for c in order)
        said.append(f"{classes[truth[i]]}: {top}")
    fig.alt = f"{len(shown)} images and the most probable classes of each. {'; '.join(said)}."
    return fig


def class_pairs(tables: Mapping[str, np.ndarray], classes: Sequence[str]) -> Figure:
    """Tables (C, C) in % side by side, a row a true class; the diagonal is left grey, for the
    mistakes are of interest.

    Each table has a colour scale of its own. Beyond 20 classes the names are left out.
    """
    tables = {name: np.array(table, dtype=float) for name, table in tables.items()}
    count = len(classes)
    if not tables or any(table.shape != (count, count) for table in tables.values()):
        raise UsageError(
            f"tables: expected one or more of shape ({count}, {count}), a row and a column a class"
        )
    few = count <= 20
    size = 1.6 + 0.26 * count if few else 5
    fig = Figure(figsize=((size + 0.6) * len(tables), size), layout="constrained")
    axes = fig.subplots(1, len(tables), squeeze=False, sharey=True)[0]
    said = []
    for ax, (name, table) in zip(axes, tables.items(), strict=True):
        np.fill_diagonal(table, np.nan)
        ax.set_facecolor("#d0d0d0")
        image = ax.imshow(table, cmap="cividis", vmin=0)
        fig.colorbar(image, ax=ax, shrink=0.75).ax.tick_params(labelsize=8)
        ax.set_title(name, fontsize=9)
        ax.set_xlabel("wrong class", fontsize=9)
        if few:
            ax.set_xticks(
                range(count), classes, rotation=45, ha="right", rotation_mode="anchor", fontsize=8
            )
            ax.set_yticks(range(count), classes, fontsize=8)
        flat = np.nan_to_num(table, nan=-1).ravel()
        pairs = [divmod(at, count) for at in np.argsort(-flat, kind="stable")[:3]]
        top = ", ".join(
            f"{classes[r]} as {classes[c]} {table[r, c]:.1f} %" for r, c in pairs if r != c
        )
        said.append(f"{name}, largest: {top}")
    axes[0].set_ylabel("true class", fontsize=9)
    fig.alt = f"Shares of the wrong classes for each true class. {'; '.join(said)}."
    return fig


def temperature(
    teacher: np.ndarray, student: np.ndarray, classes: Sequence[str], at: float, title: str = ""
) -> Figure:
    """Logits (C,) of teacher and student on one image, at one temperature: the softened answers of
    both, the entropy of both against T with a mark at this one, and the gradient of T²·KL for each
    of the student's logits.

    Of more than ten classes those are shown to which the teacher gives most.
    """
    teacher, student = np.asarray(teacher, dtype=float), np.asarray(student, dtype=float)
    if teacher.shape != (len(classes),) or student.shape != teacher.shape or not at > 0:
        raise UsageError(
            f"logits of shapes {teacher.shape} and {student.shape} at temperature {at}: expected "
            f"({len(classes)},) "
            "twice, and a temperature above 0"
        )

    def soften(logits, t):
        powers = np.exp((logits - logits.max()) / t)
        return powers / powers.sum()

    def entropy(logits, t):
        p = soften(logits, t)
        return -(p * np.log(np.maximum(p, 1e-300))).sum()

    order = np.sort(np.argsort(-teacher, kind="stable")[:10])
    names = [classes[i] for i in order]
    p_teacher, p_student = soften(teacher, at), soften(student, at)
    gradient = at * (p_student - p_teacher)
    grid = np.geomspace(0.5, 20, 60)
    fig = Figure(figsize=(9.6, 3.4), layout="constrained")
    answers, entropies, gradients = fig.subplots(1, 3)
    places = np.arange(len(order))
    answers.barh(places - 0.2, p_teacher[order], 0.38, color=COLOURS[0], label="teacher")
    answers.barh(
        places + 0.2,
        p_student[order],
        0.38,
        color=COLOURS[1],
        hatch="////",
        edgecolor="white",
        label="student",
    )
    answers.set_yticks(places, names, fontsize=8)
    answers.invert_yaxis()
    answers.set_xlim(0, 1)
    answers.set_xlabel(f"probability at T = {at:g}", fontsize=9)
    for logits, colour, style in ((teacher, COLOURS[0], "-"), (student, COLOURS[1], "--")):
        entropies.plot(grid, [entropy(logits, t) for t in grid], color=colour, linestyle=style)
        entropies.plot(at, entropy(logits, at), "o", color=colour)
    entropies.axhline(np.log(len(classes)), color=GREY, linewidth=0.8, linestyle=":")
    entropies.set_xscale("log")
    entropies.set_xticks([0.5, 1, 2, 5, 10, 20], ["0.5", "1", "2", "5", "10", "20"])
    entropies.set_ylim(0, 1.08 * np.log(len(classes)))
    entropies.set_xlabel("temperature T", fontsize=9)
    entropies.set_ylabel("entropy (nats)", fontsize=9)
    gradients.barh(places, gradient[order], 0.6, color=COLOURS[2])
    gradients.set_yticks(places, [""] * len(places))
    gradients.invert_yaxis()
    # the same scale at every temperature: bars that grow have grown
    reach = 1.1 * max(
        np.abs(each * (soften(student, each) - soften(teacher, each))).max() for each in (*grid, at)
    )
    reach = max(reach, 1e-6)
    gradients.set_xlim(-reach, reach)
    gradients.axvline(0, color="black", linewidth=0.8)
    gradients.set_xlabel("gradient of T²·KL by logit", fontsize=9)
    for ax in fig.axes:
        _tidy(ax)
    entropies.legend(
        *answers.get_legend_handles_labels(), loc="lower right", frameon=False, fontsize=8
    )
    answers.set_title(title, fontsize=9)
    top = ", ".join(
        f"{classes[i]} {p_teacher[i]:.2f} and {p_student[i]:.2f}"
        for i in np.argsort(-p_teacher)[:3]
    )
    fig.alt = (
        f"{title + ': ' if title else ''}at T = {at:g} teacher and student give {top}; entropy "
        f"{entropy(teacher, at):.2f} and {entropy(student, at):.2f} of at most "
        f"{np.log(len(classes)):.2f} nats; "
        f"largest gradient {np.abs(gradient).max():.2f}, at "
        f"{classes[int(np.abs(gradient).argmax())]}."
    )
    return fig


def gradient_norms(temperatures: Sequence[float], norms: Mapping[str, Sequence[float]]) -> Figure:
    """Length of a gradient against temperature, both logarithmic, a line a loss: {"name": one
    number a temperature}.
    """
    if (
        not norms
        or any(len(values) != len(temperatures) for values in norms.values())
        or not len(temperatures)
    ):
        raise UsageError("norms: expected at least one line, with one number a temperature")
    fig = Figure(figsize=(6.8, 3.2), layout="constrained")
    ax = fig.subplots()
    for i, (name, values) in enumerate(norms.items()):
        style = dict(
            color=COLOURS[i % len(COLOURS)],
            marker=MARKERS[i % len(MARKERS)],
            markersize=4,
            linewidth=1.5,
        )
        ax.plot(temperatures, values, label=name, linestyle=("-", "--", ":")[i % 3], **style)
    ax.set_xscale("log")
    ax.set_yscale("log")
    ax.xaxis.set_major_formatter(lambda value, _: f"{value:g}")
    ax.set_xlabel("temperature T (logarithmic)", fontsize=9)
    ax.set_ylabel("gradient norm (logarithmic)", fontsize=9)
    _tidy(ax)
    fig.legend(loc="outside right center", frameon=False, fontsize=8)
    said = "; ".join(
        f"{name}: {values[0]:.2g} at T = {temperatures[0]:g}, {values[-1]:.2g} at T = "
        f"{temperatures[-1]:g}"
        for name, values in norms.items()
    )
    fig.alt = f"Gradient norm against temperature. {said}."
    return fig


def heat_map(values: pd.DataFrame, unit: str = "accuracy (%)") -> Figure:
    """A table of figures as colours with the figures in them: rows and columns by the frame's own
    names.

    The best value has a frame around it.
    """
    if not values.size:
        raise UsageError("values: expected a table with a row and a column or more")
    numbers = values.to_numpy(dtype=float)
    fig = Figure(
        figsize=(2.4 + 0.9 * values.shape[1], 1.3 + 0.5 * values.shape[0]), layout="constrained"
    )
    ax = fig.subplots()
    image = ax.imshow(numbers, cmap="cividis", aspect="auto")
    bar = fig.colorbar(image, ax=ax)
    bar.set_label(unit, fontsize=9)
    bar.ax.tick_params(labelsize=8)
    ax.set_xticks(range(values.shape[1]), [f"{name:g}" for name in values.columns], fontsize=8)
    ax.set_yticks(range(values.shape[0]), [f"{name:g}" for name in values.index], fontsize=8)
    ax.set_xlabel(values.columns.name, fontsize=9)
    ax.set_ylabel(values.index.name, fontsize=9)
    middle = (np.nanmin(numbers) + np.nanmax(numbers)) / 2
    for (row, column), value in np.ndenumerate(numbers):
        colour = "black" if value > middle else "white"
        ax.text(column, row, f"{value:.1f}", ha="center", va="center", color=colour, fontsize=9)
    row, column = np.unravel_index(np.nanargmax(numbers), numbers.shape)
    ax.add_patch(
        Rectangle(
            (column - 0.47, row - 0.47), 0.94, 0.94, fill=False, edgecolor=COLOURS[1], linewidth=2
        )
    )
    where = f"{values.index.name} {values.index[row]:g}, {values.columns.name} {values.columns[column]:g}"
    fig.alt = (
        f"Map of {unit}: {values.index.name} in rows, {values.columns.name} in columns. From "
        f"{np.nanmin(numbers):.1f} to {np.nanmax(numbers):.1f}; highest at {where}."
    )
    return fig


def gains(points: pd.DataFrame) -> Figure:
    """Paired differences with their intervals, a row a comparison, against a line at zero.

    points: columns name, gain, half (half the interval's width, nan for one pair), both in points
      of accuracy.
    """
    _need(points, ("name", "gain", "half"))
    fig = Figure(figsize=(7.2, 0.9 + 0.42 * len(points)), layout="constrained")
    ax = fig.subplots()
    ax.axvline(0, color="black", linewidth=1)
    said = []
    for i, point in enumerate(points.itertuples()):
        spread = None if np.isnan(point.half) else point.half
        colour, marker = COLOURS[i % len(COLOURS)], MARKERS[i % len(MARKERS)]
        ax.errorbar(
            point.gain, i, xerr=spread, color=colour, marker=marker, markersize=7, capsize=3
        )
        said.append(
            f"{point.name}: {point.gain:+.1f}" + ("" if spread is None else f" ± {point.half:.1f}")
        )
    ax.set_yticks(range(len(points)), points["name"], fontsize=8)
    ax.set_ylim(len(points) - 0.5, -0.5)
    ax.set_xlabel("difference in accuracy (points), mean over seeds and 95 % interval", fontsize=9)
    _tidy(ax)
    fig.alt = f"Paired differences with 95 % interval, in points of accuracy. {'; '.join(said)}."
    return fig


def gain_panels(points: pd.DataFrame, reference: str) -> Figure:
    """Gains over a reference with their intervals, a panel a data set, all on one scale; published
    ones as hollow diamonds.

    points: a row a comparison, with the columns data, arm, which has its colour, name, gain, half
    (half the interval's width, nan for one seed) and published, nan if there is none; all in points
    of accuracy.
    """
    _need(points, ("data", "arm", "name", "gain", "half", "published"))
    looks = {
        arm: (COLOURS[i % 7], MARKERS[i % 7]) for i, arm in enumerate(dict.fromkeys(points.arm))
    }
    panels = dict(list(points.groupby("data", sort=False)))
    heights = [0.4 + 0.3 * len(panel) for panel in panels.values()]
    width = 4.2 + 0.065 * points.name.str.len().max()
    fig = Figure(figsize=(width, 0.7 + sum(heights)), layout="constrained")
    axes = fig.subplots(len(panels), 1, squeeze=False, sharex=True, height_ratios=heights)[:, 0]
    said = []
    for ax, (data, panel) in zip(axes, panels.items(), strict=True):
        ax.axvline(0, color="black", linewidth=1)
        for i, point in enumerate(panel.itertuples()):
            colour, marker = looks[point.arm]
            spread = None if np.isnan(point.half) else point.half
            ax.errorbar(
                point.gain, i, xerr=spread, color=colour, marker=marker, markersize=6, capsize=3
            )
            words = f"{data}, {point.name}: {point.gain:+.2f}"
            words += " (one seed)" if spread is None else f" ± {point.half:.2f}"
            if not np.isnan(point.published):
                ax.plot(
                    point.published,
                    i,
                    "D",
                    color=GREY,
                    markersize=8,
                    markerfacecolor="none",
                    markeredgewidth=1.5,
                )
                words += f", published {point.published:+.2f}"
            said.append(words)
        ax.set_yticks(range(len(panel)), panel.name)
        ax.set_ylim(len(panel) - 0.5, -0.5)
        ax.set_title(data, fontsize=9, loc="left", fontweight="bold")
        _tidy(ax)
    published = "; hollow: as published" if points.published.notna().any() else ""
    axes[-1].set_xlabel(
        f"gain over {reference} (points), mean and 95 % interval{published}", fontsize=9
    )
    fig.alt = (
        f"Gains over {reference} with 95 % interval, in points of accuracy. {'; '.join(said)}."
    )
    return fig


def gain_map(gains: Mapping[str, pd.DataFrame], halves: Mapping[str, pd.DataFrame]) -> Figure:
    """Gains over conditions as colours with the figures in them, a panel a data set; below zero is
    brown.

    gains, halves: by data set, tables of gains in points and half the widths of their intervals,
    conditions in rows, the horizontal condition in columns; nan where nothing was measured. A
    frame: the whole interval is on one side.
    """
    most = max(np.nanmax(np.abs(table.to_numpy(float))) for table in gains.values())
    size = [table.shape for table in gains.values()]
    width = 2.6 + 0.95 * max(columns for _, columns in size)
    fig = Figure(
        figsize=(width, 0.9 + sum(0.75 + 0.42 * rows for rows, _ in size)), layout="constrained"
    )
    axes = fig.subplots(
        len(gains), 1, squeeze=False, height_ratios=[0.75 + 0.42 * rows for rows, _ in size]
    )[:, 0]
    said = []
    for ax, (data, table) in zip(axes, gains.items(), strict=True):
        image = ax.imshow(table.to_numpy(float), cmap="BrBG", vmin=-most, vmax=most, aspect="auto")
        ax.set_xticks(range(table.shape[1]), table.columns, fontsize=8)
        ax.set_yticks(range(table.shape[0]), table.index, fontsize=8)
        ax.set_title(data, fontsize=9, loc="left", fontweight="bold")
        ax.tick_params(length=0)
        for (row, column), gain in np.ndenumerate(table.to_numpy(float)):
            if np.isnan(gain):
                continue
            half = halves[data].iat[row, column]
            colour = "white" if abs(gain) > 0.65 * most else "black"
            text = f"{gain:+.1f}" + ("" if np.isnan(half) else f" ± {half:.1f}")
            ax.text(column, row, text, ha="center", va="center", color=colour, fontsize=8)
            said.append(f"{data}, {table.index[row]}, {table.columns[column]}: {text}")
            if abs(gain) > half:
                box = Rectangle(
                    (column - 0.47, row - 0.45),
                    0.94,
                    0.9,
                    fill=False,
                    edgecolor="black",
                    linewidth=1.8,
                )
                ax.add_patch(box)
    axes[-1].set_xlabel(table.columns.name, fontsize=9)
    fig.colorbar(image, ax=list(axes), label="gain (points)", shrink=0.8)
    fig.alt = f"Gains in points with 95 % interval over conditions. {'; '.join(said)}."
    return fig


def gain_against(points: pd.DataFrame, x: str) -> Figure:
    """Gains with their intervals against something measured, a colour and marker a data set, and a
    line at zero.

    points: columns data, x, gain, half (half the interval's width, nan for one seed), gain and half
    in points. If a data set has one point only, its name stands beside it.
    """
    _need(points, ("data", x, "gain", "half"))
    fig = Figure(figsize=(6.4, 3.6), layout="constrained")
    ax = fig.subplots()
    ax.axhline(0, color="black", linewidth=1)
    said = []
    for i, (data, group) in enumerate(points.groupby("data", sort=False)):
        look = dict(color=COLOURS[i % 7], marker=MARKERS[i % 7])
        ax.errorbar(
            group[x],
            group.gain,
            group.half.fillna(0),
            fmt="none",
            ecolor=look["color"],
            alpha=0.5,
            capsize=2,
        )
        ax.plot(group[x], group.gain, linestyle="none", label=data, **look)
        if len(group) == 1:
            beside = dict(xytext=(7, 5), textcoords="offset points", fontsize=8)
            paper = [withStroke(linewidth=3, foreground="white")]  # lines end before the name
            ax.annotate(
                data, (group[x].iloc[0], group.gain.iloc[0]), **beside, path_effects=paper, zorder=5
            )
        rows = zip(group[x], group.gain, group.half, strict=True)
        said += [f"{data} at {value:.3g}: {gain:+.1f} ± {half:.1f}" for value, gain, half in rows]
    ax.set_xlabel(x, fontsize=9)
    ax.set_ylabel("gain (points), 95 % interval", fontsize=9)
    if points.data.duplicated().any():
        ax.legend(fontsize=8)
    _tidy(ax)
    fig.alt = f"Gain against {x}. {'; '.join(said)}."
    return fig


# --- notebook 05: what the teacher sees -----------------------------------------------------------


def _rows_under(fig: Figure, shown: np.ndarray, titles: Sequence[str], rows: int) -> np.ndarray:
    """Axes (1 + rows, N) without ticks; the images (N, H, W, 1 or 3) with their titles stand in the
    first row.
    """
    axes = fig.subplots(1 + rows, len(shown), squeeze=False)
    for ax in axes.flat:
        ax.set(xticks=[], yticks=[])
        ax.spines[:].set_visible(False)
    for i, image in enumerate(shown):
        axes[0, i].imshow(image.squeeze(), cmap="gray", vmin=0, vmax=1, interpolation="nearest")
        axes[0, i].set_title(titles[i], fontsize=8)
    return axes


def attention_maps(
    images: np.ndarray, maps: Mapping[str, np.ndarray], titles: Sequence[str]
) -> Figure:
    """Images (N, C, H, W), raw, in the first row; below, a row each, maps (N, h, w) by name,
    enlarged, over the images.

    Each map is scaled to its own maximum; bright is where a network answers most. The alternative
    text says in which part of the image that is.
    """
    maps = {name: np.asarray(values, dtype=float) for name, values in maps.items()}
    if not maps or any(values.ndim != 3 or len(values) != len(images) for values in maps.values()):
        raise UsageError(
            f"maps: expected one or more of shape ({len(images)}, h, w), a map an image"
        )
    if len(titles) != len(images):
        raise UsageError(f"{len(titles)} titles for {len(images)} images")
    shown, _ = _visible(images)
    grey, (height, width) = shown.mean(3), shown.shape[1:3]
    fig = Figure(
        figsize=(1.5 * len(shown) + 0.8, 1.6 * (1 + len(maps)) + 0.1), layout="constrained"
    )
    axes = _rows_under(fig, shown, titles, len(maps))
    said = []
    for row, (name, values) in zip(axes[1:], maps.items(), strict=True):
        h, w = values.shape[1:]
        row[0].set_ylabel(f"{name}\n{h}×{w}", fontsize=8)
        places = []
        for ax, background, value in zip(row, grey, values, strict=True):
            ax.imshow(background, cmap="gray", vmin=0, vmax=1)
            whole = dict(extent=(-0.5, width - 0.5, height - 0.5, -0.5), interpolation="nearest")
            ax.imshow(value, cmap="cividis", vmin=0, vmax=value.max() or 1, alpha=0.65, **whole)
            y, x = np.unravel_index(value.argmax(), value.shape)
            places.append(f"row {y + 1}, column {x + 1}")
        said.append(f"{name} ({h}×{w}): {'; '.join(places)}")
    names = ", ".join(str(title).replace("\n", " ") for title in titles)
    fig.alt = f"Attention maps over {len(shown)} images: {names}. Brightest place of each map: {'. '.join(said)}."
    return fig


def matrices(
    tables: Mapping[str, np.ndarray], x: str = "", y: str = "", groups: Sequence[int] = ()
) -> Figure:
    """Matrices side by side, each with a colour scale of its own. groups: sizes of blocks to be
    framed on the diagonal, such as the images of each class; then the alternative text has the
    means within and between them.
    """
    tables = {name: np.asarray(table, dtype=float) for name, table in tables.items()}
    if not tables or any(table.ndim != 2 for table in tables.values()):
        raise UsageError("tables: expected one matrix or more")
    if len(groups) and any(table.shape != (sum(groups),) * 2 for table in tables.values()):
        raise UsageError(f"groups of {sum(groups)} in all: expected as many rows and columns")
    fig = Figure(figsize=(3.4 * len(tables), 3.1), layout="constrained")
    said = []
    block = np.repeat(np.arange(len(groups)), groups)
    within = (block[:, None] == block) & ~np.eye(len(block), dtype=bool)
    for ax, (name, table) in zip(
        fig.subplots(1, len(tables), squeeze=False)[0], tables.items(), strict=True
    ):
        image = ax.imshow(table, cmap="cividis", interpolation="nearest")
        fig.colorbar(image, ax=ax, shrink=0.7).ax.tick_params(labelsize=7)
        ax.set_title(f"{name}, {table.shape[0]}×{table.shape[1]}", fontsize=9)
        ax.set_xlabel(x, fontsize=8)
        ax.set_ylabel(y, fontsize=8)
        ax.tick_params(labelsize=7)
        for axis in (ax.xaxis, ax.yaxis):
            axis.get_major_locator().set_params(integer=True, min_n_ticks=1)
        start = -0.5
        for size in groups:
            ax.add_patch(
                Rectangle((start, start), size, size, fill=False, edgecolor="white", linewidth=0.9)
            )
            start += size
        text = f"from {table.min():.3g} to {table.max():.3g}"
        if within.any() and len(groups) > 1:
            between = table[block[:, None] != block].mean()
            text += (
                f", mean {table[within].mean():.3g} within a group and {between:.3g} between groups"
            )
        said.append(f"{name}, {table.shape[0]}×{table.shape[1]}: {text}")
    fig.alt = f"Matrices as colours. {'; '.join(said)}."
    return fig


def pair_distances(teacher: np.ndarray, students: Mapping[str, np.ndarray]) -> Figure:
    """Distances between pairs of images, a point a pair: the teacher's across, a student's up; a
    panel a student.

    teacher (P,), students {"name": (P,)}: each over its own mean.
    """
    if not students or any(np.shape(values) != np.shape(teacher) for values in students.values()):
        raise UsageError(f"students: expected one or more, each with {len(teacher)} distances")
    fig = Figure(figsize=(3.3 * len(students), 3.2), layout="constrained")
    axes = fig.subplots(1, len(students), squeeze=False, sharex=True, sharey=True)[0]
    reach = 1.05 * max(np.max(teacher), *(np.max(values) for values in students.values()))
    said = []
    for i, (ax, (name, values)) in enumerate(zip(axes, students.items(), strict=True)):
        ax.plot(teacher, values, ".", color=COLOURS[i], markersize=4, alpha=0.5, markeredgewidth=0)
        ax.plot([0, reach], [0, reach], color="black", linewidth=0.8)
        r = np.corrcoef(teacher, values)[0, 1]
        ax.set_title(f"{name}: r = {r:.2f}", fontsize=9)
        ax.set_xlabel("teacher's distance", fontsize=9)
        _tidy(ax)
        said.append(f"{name}: correlation {r:.2f}")
    axes[0].set_ylabel("student's distance", fontsize=9)
    fig.alt = f"Distance of {len(teacher)} pairs of images, the student's against the teacher's. {'; '.join(said)}."
    return fig


def term_gradients(rows: pd.DataFrame) -> Figure:
    """Gradients of loss terms while training: length over the label term's (logarithmic), and
    cosine with it.

    rows: columns method, epoch, ratio, cosine.
    """
    _need(rows, ("method", "epoch", "ratio", "cosine"))
    fig = Figure(figsize=(9.5, 3.2), layout="constrained")
    ratios, cosines = fig.subplots(1, 2)
    said = []
    for i, (method, group) in enumerate(rows.groupby("method", sort=False)):
        style = dict(
            color=COLOURS[i % len(COLOURS)], marker=MARKERS[i % len(MARKERS)], markersize=4
        )
        ratios.plot(group.epoch, group.ratio, label=method, **style)
        cosines.plot(group.epoch, group.cosine, **style)
        first, last = group.iloc[0], group.iloc[-1]
        said.append(
            f"{method}: {first.ratio:.2g} times the label's at first, {last.ratio:.2g} at last; "
            "cosine "
            f"{first.cosine:+.2f} and {last.cosine:+.2f}"
        )
    ratios.axhline(1, color="black", linewidth=0.8)
    ratios.set_yscale("log")
    ratios.set_ylabel("gradient ÷ label gradient", fontsize=9)
    cosines.axhline(0, color="black", linewidth=0.8)
    cosines.set_ylim(-1, 1)
    cosines.set_ylabel("cosine with label gradient", fontsize=9)
    for ax in (ratios, cosines):
        ax.set_xlabel("epoch", fontsize=9)
        ax.xaxis.get_major_locator().set_params(integer=True, min_n_ticks=1)
        _tidy(ax)
    fig.legend(loc="outside right center", frameon=False, fontsize=8)
    fig.alt = f"Gradients of the terms on the student's weights, by epoch. {'; '.join(said)}."
    return fig


def copied_maps(
    images: np.ndarray, maps: Mapping[str, np.ndarray], titles: Sequence[str]
) -> Figure:
    """Images (N, C, H, W), raw, in the first row; below, a row each, maps (N, h, w) by name, all on
    one colour scale.

    The first map is the original, the others are copies of it: r is a copy's correlation with it
    over all places of all images (nan where one of the two is the same everywhere).
    """
    maps = {name: np.asarray(values, dtype=float) for name, values in maps.items()}
    shape = next(iter(maps.values()), np.empty(0)).shape
    same = all(values.shape == shape for values in maps.values())
    if len(maps) < 2 or not same or len(shape) != 3 or shape[0] != len(images):
        raise UsageError(
            f"maps: expected two or more, all of shape ({len(images)}, h, w), a map an image"
        )
    if len(titles) != len(images):
        raise UsageError(f"{len(titles)} titles for {len(images)} images")
    shown, _ = _visible(images)
    original, *copies = maps
    with np.errstate(invalid="ignore", divide="ignore"):
        r = {name: np.corrcoef(maps[original].ravel(), maps[name].ravel())[0, 1] for name in copies}
    low, high = (
        min(values.min() for values in maps.values()),
        max(values.max() for values in maps.values()),
    )
    fig = Figure(
        figsize=(1.35 * len(shown) + 1.6, 1.45 * (1 + len(maps)) + 0.1), layout="constrained"
    )
    axes = _rows_under(fig, shown, titles, len(maps))
    for row, (name, values) in zip(axes[1:], maps.items(), strict=True):
        row[0].set_ylabel(name + (f"\nr = {r[name]:.2f}" if name in r else ""), fontsize=8)
        for ax, value in zip(row, values, strict=True):
            drawn = ax.imshow(value, cmap="cividis", vmin=low, vmax=high, interpolation="nearest")
    fig.colorbar(drawn, ax=axes[1:, :], shrink=0.6).ax.tick_params(labelsize=7)
    names = ", ".join(str(title).replace("\n", " ") for title in titles)
    said = "; ".join(f"{name}, r = {r[name]:.2f}" for name in copies).replace("\n", " ")
    fig.alt = (
        f"{len(shown)} images ({names}) and, below each, a map of {original} and copies of it, "
        f"{shape[1]}×{shape[2]}. "
        f"Correlation of the copies with the original over all places: {said}."
    ).replace("\n", " ")
    return fig


def partners(cosines: Mapping[str, np.ndarray], labels: Sequence[int]) -> Figure:
    """Histograms of the cosine of each image's embedding with those of the other network, a panel a
    table (B, B).

    At [i, j] image i by the one network and image j by the other; labels (B,). Three histograms,
    each of area 1: i = j, another image of the same class, an image of another class.
    """
    labels = np.asarray(labels)
    cosines = {name: np.asarray(table, dtype=float) for name, table in cosines.items()}
    if not cosines or any(table.shape != (len(labels),) * 2 for table in cosines.values()):
        raise UsageError(
            f"cosines: expected one table or more of shape ({len(labels)}, {len(labels)})"
        )
    same, alike = np.eye(len(labels), dtype=bool), labels[:, None] == labels
    kinds = {"itself": same, "another of its class": alike & ~same, "of another class": ~alike}
    kinds = {kind: where for kind, where in kinds.items() if where.any()}
    edges = np.linspace(
        min(t.min() for t in cosines.values()), max(t.max() for t in cosines.values()) + 1e-6, 17
    )
    fig = Figure(figsize=(3.6 * len(cosines) + 1.2, 2.8), layout="constrained")
    axes = fig.subplots(1, len(cosines), squeeze=False, sharex=True)[0]
    said = []
    for ax, (name, table) in zip(axes, cosines.items(), strict=True):
        for i, (kind, where) in enumerate(kinds.items()):
            style = dict(color=COLOURS[i], linestyle=("-", "--", ":")[i], linewidth=1.6)
            ax.hist(table[where], bins=edges, density=True, histtype="step", label=kind, **style)
        ax.set_title(name, fontsize=9)
        ax.set_xlabel("cosine with the other network's embedding", fontsize=9)
        _tidy(ax)
        means = ", ".join(f"{kind} {table[where].mean():+.2f}" for kind, where in kinds.items())
        said.append(f"{name}: {means}")
    axes[0].set_ylabel("density", fontsize=9)
    fig.legend(
        *axes[0].get_legend_handles_labels(), loc="outside right center", frameon=False, fontsize=8
    )
    fig.alt = f"Cosines of {len(labels)} images' embeddings with the other network's, mean by kind. {'; '.join(said)}."
    return fig


# --- notebook 06: which samples, and when ---------------------------------------------------------


def difficulty_drift(
    epochs: Sequence[int], parts: Mapping[str, Sequence[float]], ranks: np.ndarray
) -> Figure:
    """How difficulty changes in training: the mean of each part by epoch, and how alike the ranks
    of two epochs are.

    parts {"name": (E,)}; ranks (E, E): rank correlation between the epochs that were looked at.
    """
    ranks = np.asarray(ranks, dtype=float)
    if (
        ranks.shape != (len(epochs),) * 2
        or any(len(values) != len(epochs) for values in parts.values())
        or not parts
    ):
        raise UsageError(
            f"parts, ranks: expected {len(epochs)} values each and ({len(epochs)}, {len(epochs)}), "
            "by epoch"
        )
    fig = Figure(figsize=(9.5, 3.4), layout="constrained")
    lines, table = fig.subplots(1, 2)
    for i, (name, values) in enumerate(parts.items()):
        style = dict(
            color=COLOURS[i % len(COLOURS)], marker=MARKERS[i % len(MARKERS)], markersize=5
        )
        lines.plot(epochs, values, label=name, **style)
    lines.set_ylim(bottom=0)
    lines.set_xlabel("epochs trained", fontsize=9)
    lines.set_ylabel("mean over the training images", fontsize=9)
    lines.legend(frameon=False, fontsize=8)
    _tidy(lines)
    table.imshow(ranks, cmap="cividis", vmin=-1, vmax=1)
    for (row, column), value in np.ndenumerate(ranks):
        colour = "black" if value > 0 else "white"
        table.text(column, row, f"{value:.2f}", ha="center", va="center", color=colour, fontsize=8)
    table.set_xticks(range(len(epochs)), [str(epoch) for epoch in epochs], fontsize=8)
    table.set_yticks(range(len(epochs)), [str(epoch) for epoch in epochs], fontsize=8)
    table.set_xlabel("rank correlation of difficulty after so many epochs", fontsize=9)
    said = "; ".join(
        f"{name} {values[0]:.2f} at first, {values[-1]:.2f} at last"
        for name, values in parts.items()
    )
    fig.alt = (
        f"Difficulty after {', '.join(map(str, epochs))} epochs. Means: {said}. Rank correlation "
        "of the first with the "
        f"last {ranks[0, -1]:.2f}, from one look to the next "
        f"{', '.join(f'{ranks[i, i + 1]:.2f}' for i in range(len(epochs) - 1)) or 'none'}."
    )
    return fig


def drawn_ranks(
    ranks: Sequence[int],
    count: int,
    *,
    promised: int | None = None,
    title: str = "",
    bins: int = 20,
) -> Figure:
    """From which ranks of difficulty an epoch was drawn: a bar a stretch of ranks, its height the
    share drawn of it.

    ranks: of the samples drawn, 0 the easiest of `count`. promised: the size that the epoch should
    have; a line shows the share that a random subset of that size would draw of every stretch.
    """
    ranks = np.asarray(ranks)
    if ranks.ndim != 1 or not len(ranks) or not 0 <= ranks.min() <= ranks.max() < count:
        raise UsageError(f"ranks: expected one number or more, from 0 to {count - 1}")
    edges = np.linspace(0, count, min(bins, count) + 1)
    held = np.histogram(np.arange(count), edges)[0]
    shares = 100 * np.histogram(ranks, edges)[0] / np.maximum(held, 1)
    fig = Figure(figsize=(7.2, 2.8), layout="constrained")
    ax = fig.subplots()
    ax.bar(
        edges[:-1],
        shares,
        width=np.diff(edges),
        align="edge",
        color=COLOURS[0],
        edgecolor="white",
        linewidth=0.6,
    )
    if promised is not None:
        ax.axhline(
            100 * promised / count,
            color=COLOURS[1],
            linestyle="--",
            linewidth=1.4,
            label="random subset",
        )
        ax.legend(frameon=False, fontsize=8, loc="lower center", bbox_to_anchor=(0.5, 1.0))
    ax.set_xlim(0, count)
    ax.set_ylim(0, max(105, 1.05 * shares.max()))
    ax.set_xlabel("rank of difficulty, 0 is the easiest", fontsize=9)
    ax.set_ylabel("drawn of these samples (%)", fontsize=9)
    ax.set_title(title, fontsize=9, loc="left")
    _tidy(ax)
    thirds = np.histogram(ranks, np.linspace(0, count, 4))[0] / len(ranks) * 100
    of = "" if promised is None else f" of {promised} promised"
    fig.alt = (
        f"{title or 'An epoch'}: {len(ranks)} samples drawn{of}, of {count}. Of those drawn "
        f"{thirds[0]:.0f} % are from "
        f"the easiest third, {thirds[1]:.0f} % from the middle, {thirds[2]:.0f} % from the hardest."
    )
    return fig


def reward_parts(episode: pd.DataFrame) -> Figure:
    """A steered run, epoch by epoch: validation accuracy above, below it the reward, its parts
    stacked.

    episode: columns epoch, accuracy (%), reward, and a "reward: NAME" for each part. The line is
      the sum.
    """
    _need(episode, ("epoch", "accuracy", "reward"))
    parts = [column for column in episode if column.startswith("reward: ")]
    fig = Figure(figsize=(8.2, 4.2), layout="constrained")
    above, below = fig.subplots(2, 1, sharex=True, height_ratios=(1, 2))
    above.plot(episode.epoch, episode.accuracy, color="black", marker="o", markersize=4)
    above.set_ylabel("val. accuracy (%)", fontsize=9)
    tops, bottoms = np.zeros(len(episode)), np.zeros(len(episode))
    for i, part in enumerate(parts):
        values = episode[part].to_numpy(dtype=float)
        start = np.where(values >= 0, tops, bottoms)
        hatch = ("", "///", "...", "xxx", "++")[i % 5]
        style = dict(color=COLOURS[i % len(COLOURS)], hatch=hatch, edgecolor="white", linewidth=0.5)
        below.bar(episode.epoch, values, bottom=start, label=part.removeprefix("reward: "), **style)
        tops, bottoms = tops + values.clip(min=0), bottoms + values.clip(max=0)
    below.plot(
        episode.epoch,
        episode.reward,
        color="black",
        marker="_",
        markersize=10,
        linewidth=0.9,
        label="sum",
    )
    below.axhline(0, color="black", linewidth=0.8)
    below.set_xlabel("epoch", fontsize=9)
    below.set_ylabel("reward", fontsize=9)
    below.xaxis.get_major_locator().set_params(integer=True, min_n_ticks=1)
    fig.legend(
        *below.get_legend_handles_labels(), loc="outside right center", frameon=False, fontsize=8
    )
    for ax in (above, below):
        _tidy(ax)
    sums = ", ".join(
        f"{part.removeprefix('reward: ')} {episode[part].sum():+.1f}" for part in parts
    )
    first, last = episode.accuracy.iloc[[0, -1]]
    fig.alt = (
        f"A run of {len(episode)} epochs, validation accuracy from {first:.1f} to {last:.1f} %. "
        "Reward over the run "
        f"{episode.reward.sum():+.1f}, by part: {sums}."
    )
    return fig


def by_action(episodes: Mapping[str, pd.DataFrame], value: str, action: str) -> Figure:
    """What came of each epoch, marked by the action taken for it; a panel a run.

    Each frame has a column epoch and the two that are named. The alternative text has the mean for
    each action.
    """
    if not episodes:
        raise UsageError("episodes: expected a run or more")
    for episode in episodes.values():
        _need(episode, ("epoch", value, action))
    fig = Figure(figsize=(4.4 * len(episodes) + 1, 2.9), layout="constrained")
    axes = fig.subplots(1, len(episodes), squeeze=False, sharey=True)[0]
    levels = sorted({level for episode in episodes.values() for level in episode[action]})
    said = []
    for ax, (name, episode) in zip(axes, episodes.items(), strict=True):
        ax.plot(episode.epoch, episode[value], color=GREY, linewidth=0.8, zorder=1)
        means = []
        for i, level in enumerate(levels):
            chosen = episode[episode[action] == level]
            style = dict(
                color=COLOURS[i % len(COLOURS)], marker=MARKERS[i % len(MARKERS)], zorder=2
            )
            ax.scatter(chosen.epoch, chosen[value], s=34, label=f"{level:g}", **style)
            if len(chosen):
                means.append(f"{chosen[value].mean():.3g} after {level:g} ({len(chosen)} epochs)")
        ax.set_title(name, fontsize=9)
        ax.set_xlabel("epoch", fontsize=9)
        ax.xaxis.get_major_locator().set_params(integer=True, min_n_ticks=1)
        _tidy(ax)
        said.append(f"{name}: {', '.join(means)}")
    axes[0].set_ylabel(value, fontsize=9)
    handles = axes[0].get_legend_handles_labels()
    fig.legend(
        *handles,
        title=action,
        title_fontsize=8,
        loc="outside right center",
        frameon=False,
        fontsize=8,
    )
    fig.alt = f"{value} of each epoch, marked by {action}. Mean {'; '.join(said)}."
    return fig


# --- notebook 07: how to compare ------------------------------------------------------------------


def drawn_gains(gains: Sequence[float], drawn: Sequence[int]) -> Figure:
    """The gain of every seed as a dot, in points, and below it those that were drawn; each with
    mean and 95 % interval.

    drawn: places in `gains`, two or more. The scale follows from all gains, so that draws can be
    compared: the interval of a few may run out of the picture.
    """
    gains, drawn = np.asarray(gains, dtype=float), np.asarray(drawn)
    if gains.ndim != 1 or len(drawn) < 2 or not set(drawn) <= set(range(len(gains))):
        raise UsageError(
            f"drawn={drawn.tolist()}: expected two places or more among {gains.size} gains"
        )
    fig = Figure(figsize=(7.2, 2.1), layout="constrained")
    ax = fig.subplots()
    ax.axvline(0, color="black", linewidth=1)
    ax.axvline(gains.mean(), color=GREY, linewidth=1, linestyle="--")
    rows = {
        f"all {len(gains)} seeds": (gains, GREY),
        f"{len(drawn)} drawn": (gains[drawn], COLOURS[0]),
    }
    said = []
    for i, (name, (values, colour)) in enumerate(rows.items()):
        mean, half = mean_interval(values)
        ax.plot(
            values,
            np.full(len(values), i - 0.14),
            "o",
            color=colour,
            markersize=5,
            alpha=0.6,
            markeredgewidth=0,
        )
        ax.errorbar(
            mean, i + 0.14, xerr=half, color=colour, marker=MARKERS[i], markersize=7, capsize=3
        )
        said.append(
            f"{name}: {values.min():+.2f} to {values.max():+.2f}, mean {mean:+.2f} ± {half:.2f}"
        )
    ax.set_yticks(range(len(rows)), list(rows))
    ax.set_ylim(1.5, -0.5)
    reach = max(2.5 * np.abs(gains - gains.mean()).max(), 0.1)
    ax.set_xlim(min(0, gains.mean() - reach), max(0, gains.mean() + reach))
    ax.set_xlabel(
        "gain (points): a dot a seed; below, mean and 95 % interval; dashed: mean of all",
        fontsize=9,
    )
    _tidy(ax)
    fig.alt = f"Gains in points, a dot a seed, with 95 % interval. {'; '.join(said)}."
    return fig


ALIKE = (
    0.15  # costs, as a difference of logarithms, whose points and ticks would lie on one another
)


def pareto(points: pd.DataFrame, costs: Mapping[str, str]) -> Figure:
    """Accuracy against each cost (logarithmic), a panel a cost, a point a network; hollow: it is
    not on the front.

    points: columns name, accuracy (%), half (half its interval's width, nan for one seed), front
      (truth values), and
    the costs. costs: {"column": "label of its axis"}. Networks of about equal cost stand side by
      side, with one tick.
    """
    _need(points, ("name", "accuracy", "half", "front", *costs))
    fig = Figure(figsize=(4.1 * len(costs) + 2.2, 3.4), layout="constrained")
    axes = fig.subplots(1, len(costs), squeeze=False, sharey=True)[0]
    for ax, (cost, label) in zip(axes, costs.items(), strict=True):
        ordered = points[cost].sort_values(kind="stable")
        alike = ordered.groupby((np.log(ordered).diff() > ALIKE).cumsum())
        beside = (1.1 ** (alike.cumcount() - (alike.transform("size") - 1) / 2)).reindex(
            points.index
        )
        for i, point in enumerate(points.to_dict("records")):
            colour, spread = (
                COLOURS[i % len(COLOURS)],
                None if np.isnan(point["half"]) else point["half"],
            )
            ax.errorbar(
                point[cost] * beside.iloc[i], point["accuracy"], yerr=spread, label=point["name"], color=colour,
                linestyle="", marker=MARKERS[i % len(MARKERS)], markersize=7, capsize=3,
                markerfacecolor=colour if point["front"] else "white",
            )  # fmt: skip
        ax.set_xscale("log")
        ax.set_xlim(points[cost].min() / 1.6, points[cost].max() * 1.6)
        ticks = alike.median()
        ax.set_xticks(ticks, [f"{tick:.3g}" for tick in ticks])
        ax.set_xticks([], minor=True)
        ax.set_xlabel(f"{label} (logarithmic)", fontsize=9)
        _tidy(ax)
    axes[0].set_ylabel("accuracy (%)", fontsize=9)
    fig.legend(
        *axes[0].get_legend_handles_labels(), loc="outside right center", frameon=False, fontsize=8
    )
    said = []
    for point in points.to_dict("records"):
        spread = "" if np.isnan(point["half"]) else f" ± {point['half']:.1f}"
        at = ", ".join(f"{label} {point[cost]:.3g}" for cost, label in costs.items())
        said.append(
            f"{point['name']}: {point['accuracy']:.1f} %{spread}, {at}, "
            f"{'' if point['front'] else 'not '}on the front"
        )
    fig.alt = f"Accuracy against cost, with 95 % interval. {'; '.join(said)}."
    return fig


# --- notebook 08: the map -------------------------------------------------------------------------


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
    seen = (picture != 0).any(0)
    low, high = (
        np.percentile(picture[:, seen], (1, 99), axis=1)
        if seen.any()
        else (np.zeros(3), np.ones(3))
    )
    shown = (picture - low[:, None, None]) / np.maximum(high - low, 1e-6)[:, None, None]
    panels = {
        "true colour": np.where(seen, shown.clip(0, 1) ** 0.6, 1).transpose(1, 2, 0)
    }  # brightened
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
    fig.alt = f"A scene of {height}×{width} points in true colour, and maps of its classes. {'; '.join(said)}."
    return fig
