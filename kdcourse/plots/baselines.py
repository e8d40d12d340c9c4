"""Figures of notebook 03: learning curves, confusions, seeds."""

from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from kdcourse.common.errors import UsageError
from kdcourse.evaluation.metrics import Evaluation, mean_interval
from kdcourse.plots.style import COLOURS, GREY, MARKERS, need_columns, seed_dots, tidy


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
        frame, colour = history.frame(), COLOURS[i % len(COLOURS)]
        dots = dict(marker=MARKERS[i % len(MARKERS)], markersize=3.5)
        validation = dict(color=colour, markevery=max(1, len(frame) // 8), **dots)
        for ax, train, val in (
            (accuracy, "train_accuracy", "val_accuracy"),
            (loss, "loss", "val_loss"),
        ):
            ax.plot(frame.epoch, frame[train], color=colour, linestyle="--", linewidth=1)
            ax.plot(frame.epoch, frame[val], linewidth=1.7, **validation)
            held = frame.iloc[history.reported_epoch - 1]
            ring = dict(markersize=9, markerfacecolor="none", markeredgecolor=colour)
            ax.plot(held.epoch, held[val], "o", **ring)
        said.append(
            f"{name}: training {held.train_accuracy:.1f} %, validation {held.val_accuracy:.1f} % "
            f"at epoch {held.epoch:.0f} of {len(frame)}, validation loss {held.val_loss:.2f}"
        )
    accuracy.set_ylabel("accuracy (%)", fontsize=9)
    loss.set_ylabel("loss (nats)", fontsize=9)
    for ax in (accuracy, loss):
        ax.set_xlabel("epoch", fontsize=9)
        ax.xaxis.get_major_locator().set_params(integer=True, min_n_ticks=1)
        tidy(ax)
    handles = _legend_lines(histories)
    fig.legend(handles=handles, loc="outside right center", frameon=False, fontsize=8)
    fig.alt = f"Learning curves, accuracy and loss against epoch. {'; '.join(said)}."
    return fig


def _legend_lines(names) -> list[Line2D]:
    """A line for each run, and what dashes and rings mean."""
    held = dict(linestyle="", marker="o", markersize=9, markerfacecolor="none")
    runs = [
        dict(color=COLOURS[i % len(COLOURS)], marker=MARKERS[i % len(MARKERS)], label=name)
        for i, name in enumerate(names)
    ]
    return [
        *(Line2D([], [], markersize=4, **run) for run in runs),
        Line2D([], [], color=GREY, linewidth=1.7, label="validation"),
        Line2D([], [], color=GREY, linewidth=1, linestyle="--", label="train"),
        Line2D([], [], color=GREY, label="epoch held", **held),
    ]


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
        f"Confusion matrix of {len(names)} classes, accuracy {evaluation.summary()}. Most frequent "
        f"mistakes: {', '.join(confused) or 'none'}."
    )
    return fig


def seeds(points: pd.DataFrame) -> Figure:
    """Accuracy of every seed as a dot, with mean and 95 % interval (Student's t) beside them, a row
    a method.

    points: columns method, seed, accuracy (%). A method with one seed has no interval.
    """
    need_columns(points, ("method", "seed", "accuracy"))
    methods = list(dict.fromkeys(points.method))
    fig = Figure(figsize=(7.2, 0.9 + 0.5 * len(methods)), layout="constrained")
    ax = fig.subplots()
    said = []
    for i, method in enumerate(methods):
        values = points.accuracy[points.method == method].to_numpy()
        mean, half = mean_interval(values)
        colour, marker = COLOURS[i % len(COLOURS)], MARKERS[i % len(MARKERS)]
        seed_dots(ax, values, i - 0.14, colour)
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
    tidy(ax)
    fig.alt = f"Accuracy of every seed with mean and 95 % interval. {'; '.join(said)}."
    return fig
