"""Figures of notebook 07: gains, their intervals, and what they cost."""

from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle
from matplotlib.patheffects import withStroke

from kdcourse.common.errors import UsageError
from kdcourse.evaluation.metrics import mean_interval
from kdcourse.plots.style import COLOURS, GREY, MARKERS, need_columns, seed_dots, tidy

ALIKE = (
    0.15  # costs, as a difference of logarithms, whose points and ticks would lie on one another
)


def gains(points: pd.DataFrame) -> Figure:
    """Paired differences with their intervals, one row per comparison, against a line at zero.

    points: columns name, gain, half (half the interval's width, nan for one pair), both in points
      of accuracy.
    """
    need_columns(points, ("name", "gain", "half"))
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
    tidy(ax)
    fig.alt = f"Paired differences with 95 % interval, in points of accuracy. {'; '.join(said)}."
    return fig


def gain_panels(points: pd.DataFrame, reference: str) -> Figure:
    """Gains over a reference with their intervals, a panel a data set, all on one scale; published
    ones as hollow diamonds.

    points: one row per comparison, with the columns data, arm, which has its colour, name, gain,
    half (half the interval's width, nan for one seed) and published, nan if there is none; all in
    points of accuracy.
    """
    need_columns(points, ("data", "arm", "name", "gain", "half", "published"))
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
        tidy(ax)
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
    need_columns(points, ("data", x, "gain", "half"))
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
    tidy(ax)
    fig.alt = f"Gain against {x}. {'; '.join(said)}."
    return fig


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
        seed_dots(ax, values, i - 0.14, colour)
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
    tidy(ax)
    fig.alt = f"Gains in points, a dot a seed, with 95 % interval. {'; '.join(said)}."
    return fig


def pareto(points: pd.DataFrame, costs: Mapping[str, str]) -> Figure:
    """Accuracy against each cost (logarithmic), a panel a cost, a point a network; hollow: it is
    not on the front.

    points: columns name, accuracy (%), half (half its interval's width, nan for one seed), front
      (truth values), and the costs. costs: {"column": "label of its axis"}. Networks of about equal
      cost stand side by side, with one tick.
    """
    need_columns(points, ("name", "accuracy", "half", "front", *costs))
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
                point[cost] * beside.iloc[i], point["accuracy"], yerr=spread, label=point["name"],
                color=colour,
                linestyle="", marker=MARKERS[i % len(MARKERS)], markersize=7, capsize=3,
                markerfacecolor=colour if point["front"] else "white",
            )  # fmt: skip
        ax.set_xscale("log")
        ax.set_xlim(points[cost].min() / 1.6, points[cost].max() * 1.6)
        ticks = alike.median()
        ax.set_xticks(ticks, [f"{tick:.3g}" for tick in ticks])
        ax.set_xticks([], minor=True)
        ax.set_xlabel(f"{label} (logarithmic)", fontsize=9)
        tidy(ax)
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
