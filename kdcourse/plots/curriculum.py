"""Figures of notebook 06: which samples, and when."""

from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from kdcourse.common.errors import UsageError
from kdcourse.plots.style import COLOURS, GREY, MARKERS, need_columns, tidy


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
    tidy(lines)
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
        f"of the first with the last {ranks[0, -1]:.2f}, from one look to the next "
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
    tidy(ax)
    thirds = np.histogram(ranks, np.linspace(0, count, 4))[0] / len(ranks) * 100
    of = "" if promised is None else f" of {promised} promised"
    fig.alt = (
        f"{title or 'An epoch'}: {len(ranks)} samples drawn{of}, of {count}. Of those drawn "
        f"{thirds[0]:.0f} % are from the easiest third, {thirds[1]:.0f} % from the middle, "
        f"{thirds[2]:.0f} % from the hardest."
    )
    return fig


def reward_parts(episode: pd.DataFrame) -> Figure:
    """A steered run, epoch by epoch: validation accuracy above, below it the reward, its parts
    stacked.

    episode: columns epoch, accuracy (%), reward, and a "reward: NAME" for each part. The line is
      the sum.
    """
    need_columns(episode, ("epoch", "accuracy", "reward"))
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
        tidy(ax)
    sums = ", ".join(
        f"{part.removeprefix('reward: ')} {episode[part].sum():+.1f}" for part in parts
    )
    first, last = episode.accuracy.iloc[[0, -1]]
    fig.alt = (
        f"A run of {len(episode)} epochs, validation accuracy from {first:.1f} to {last:.1f} %. "
        f"Reward over the run {episode.reward.sum():+.1f}, by part: {sums}."
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
        need_columns(episode, ("epoch", value, action))
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
        tidy(ax)
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
