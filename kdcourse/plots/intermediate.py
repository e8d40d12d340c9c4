"""Figures of notebook 05: what the teacher sees."""

from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

from kdcourse.common.errors import UsageError
from kdcourse.plots.style import COLOURS, MARKERS, need_columns, tidy, visible


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
    shown, _ = visible(images)
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
    fig.alt = (
        f"Attention maps over {len(shown)} images: {names}. Brightest place of each map: "
        f"{'. '.join(said)}."
    )
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
        tidy(ax)
        said.append(f"{name}: correlation {r:.2f}")
    axes[0].set_ylabel("student's distance", fontsize=9)
    fig.alt = (
        f"Distance of {len(teacher)} pairs of images, the student's against the teacher's. "
        f"{'; '.join(said)}."
    )
    return fig


def term_gradients(rows: pd.DataFrame) -> Figure:
    """Gradients of loss terms while training: length over the label term's (logarithmic), and
    cosine with it.

    rows: columns method, epoch, ratio, cosine.
    """
    need_columns(rows, ("method", "epoch", "ratio", "cosine"))
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
            f"cosine {first.cosine:+.2f} and {last.cosine:+.2f}"
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
        tidy(ax)
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
    shown, _ = visible(images)
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
        f"{shape[1]}×{shape[2]}. Correlation of the copies with the original over all places: "
        f"{said}."
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
        tidy(ax)
        means = ", ".join(f"{kind} {table[where].mean():+.2f}" for kind, where in kinds.items())
        said.append(f"{name}: {means}")
    axes[0].set_ylabel("density", fontsize=9)
    fig.legend(
        *axes[0].get_legend_handles_labels(), loc="outside right center", frameon=False, fontsize=8
    )
    fig.alt = (
        f"Cosines of {len(labels)} images' embeddings with the other network's, mean by kind. "
        f"{'; '.join(said)}."
    )
    return fig
