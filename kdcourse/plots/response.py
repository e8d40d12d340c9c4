"""Figures of notebook 04: what the teacher says, and what the temperature does to it."""

from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

from kdcourse.common.errors import UsageError
from kdcourse.plots.style import COLOURS, GREY, MARKERS, tidy, visible


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
    shown, _ = visible(images)
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
    """Tables (C, C) in % side by side, one row per true class; the diagonal is left grey, for the
    mistakes are of interest.

    Each table has a colour scale of its own. Beyond 20 classes the names are left out.
    """
    tables = {name: np.array(table, dtype=float) for name, table in tables.items()}
    count = len(classes)
    if not tables or any(table.shape != (count, count) for table in tables.values()):
        raise UsageError(
            f"tables: expected one or more of shape ({count}, {count}), a row and a column per "
            "class"
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
    """Answers, entropy and gradient of teacher and student on one image at one temperature.

    teacher, student: logits (C,). Three panels: the softened answers of both; the entropy of both
    against T, with a mark at this T; the gradient of T²·KL for each of the student's logits. With
    more than ten classes, the ten to which the teacher gives most are shown.
    """
    teacher, student = np.asarray(teacher, dtype=float), np.asarray(student, dtype=float)
    if teacher.shape != (len(classes),) or student.shape != teacher.shape or not at > 0:
        raise UsageError(
            f"logits of shapes {teacher.shape} and {student.shape} at temperature {at}: expected "
            f"({len(classes)},) twice, and a temperature above 0"
        )
    order = np.sort(np.argsort(-teacher, kind="stable")[:10])
    fig = Figure(figsize=(9.6, 3.4), layout="constrained")
    answers, entropies, gradients = fig.subplots(1, 3)
    _softened_answers(answers, teacher, student, order, at)
    answers.set_yticks(range(len(order)), [classes[i] for i in order], fontsize=8)
    answers.set_title(title, fontsize=9)
    _entropies(entropies, teacher, student, at)
    _gradients(gradients, teacher, student, order, at)
    for ax in fig.axes:
        tidy(ax)
    handles = answers.get_legend_handles_labels()
    entropies.legend(*handles, loc="lower right", frameon=False, fontsize=8)
    p_teacher, p_student = _soften(teacher, at), _soften(student, at)
    gradient = np.abs(at * (p_student - p_teacher))
    top = ", ".join(
        f"{classes[i]} {p_teacher[i]:.2f} and {p_student[i]:.2f}"
        for i in np.argsort(-p_teacher)[:3]
    )
    fig.alt = (
        f"{title + ': ' if title else ''}at T = {at:g} teacher and student give {top}; entropy "
        f"{_entropy(teacher, at):.2f} and {_entropy(student, at):.2f} of at most "
        f"{np.log(len(classes)):.2f} nats; largest gradient {gradient.max():.2f}, at "
        f"{classes[int(gradient.argmax())]}."
    )
    return fig


def _soften(logits: np.ndarray, temperature: float) -> np.ndarray:
    powers = np.exp((logits - logits.max()) / temperature)
    return powers / powers.sum()


def _entropy(logits: np.ndarray, temperature: float) -> float:
    """In nats."""
    p = _soften(logits, temperature)
    return -(p * np.log(np.maximum(p, 1e-300))).sum()


def _softened_answers(ax, teacher, student, order, at) -> None:
    places = np.arange(len(order))
    ax.barh(places - 0.2, _soften(teacher, at)[order], 0.38, color=COLOURS[0], label="teacher")
    hatched = dict(color=COLOURS[1], hatch="////", edgecolor="white", label="student")
    ax.barh(places + 0.2, _soften(student, at)[order], 0.38, **hatched)
    ax.invert_yaxis()
    ax.set_xlim(0, 1)
    ax.set_xlabel(f"probability at T = {at:g}", fontsize=9)


GRID = np.geomspace(0.5, 20, 60)  # temperatures


def _entropies(ax, teacher, student, at) -> None:
    highest = np.log(len(teacher))
    for logits, colour, style in ((teacher, COLOURS[0], "-"), (student, COLOURS[1], "--")):
        ax.plot(GRID, [_entropy(logits, t) for t in GRID], color=colour, linestyle=style)
        ax.plot(at, _entropy(logits, at), "o", color=colour)
    ax.axhline(highest, color=GREY, linewidth=0.8, linestyle=":")
    ax.set_xscale("log")
    ax.set_xticks([0.5, 1, 2, 5, 10, 20], ["0.5", "1", "2", "5", "10", "20"])
    ax.set_ylim(0, 1.08 * highest)
    ax.set_xlabel("temperature T", fontsize=9)
    ax.set_ylabel("entropy (nats)", fontsize=9)


def _gradients(ax, teacher, student, order, at) -> None:
    def gradient(t):
        return t * (_soften(student, t) - _soften(teacher, t))

    places = np.arange(len(order))
    ax.barh(places, gradient(at)[order], 0.6, color=COLOURS[2])
    ax.set_yticks(places, [""] * len(places))
    ax.invert_yaxis()
    # The same scale at every temperature: bars that grow have grown.
    reach = max(1.1 * max(np.abs(gradient(t)).max() for t in (*GRID, at)), 1e-6)
    ax.set_xlim(-reach, reach)
    ax.axvline(0, color="black", linewidth=0.8)
    ax.set_xlabel("gradient of T²·KL by logit", fontsize=9)


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
    tidy(ax)
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
    where = (
        f"{values.index.name} {values.index[row]:g}, {values.columns.name} "
        f"{values.columns[column]:g}"
    )
    fig.alt = (
        f"Map of {unit}: {values.index.name} in rows, {values.columns.name} in columns. From "
        f"{np.nanmin(numbers):.1f} to {np.nanmax(numbers):.1f}; highest at {where}."
    )
    return fig
