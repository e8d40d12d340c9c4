"""Figures of notebook 02: what networks cost, and where."""

from collections.abc import Mapping

import pandas as pd
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

from kdcourse.common.errors import UsageError
from kdcourse.plots.style import COLOURS, MARKERS, need_columns, tidy


def accuracy_cost(points: pd.DataFrame) -> Figure:
    """Accuracy with its interval against multiply–adds (logarithmic), a point a network.

    points: columns name, macs (of one image), accuracy, low, high (all three in %).
    """
    need_columns(points, ("name", "macs", "accuracy", "low", "high"))
    fig = Figure(figsize=(7.2, 3.4), layout="constrained")
    ax = fig.subplots()
    for i, point in enumerate(points.itertuples()):
        spread = [[point.accuracy - point.low], [point.high - point.accuracy]]
        ax.errorbar(
            point.macs / 1e6, point.accuracy, yerr=spread, label=point.name,
            color=COLOURS[i % len(COLOURS)], marker=MARKERS[i % len(MARKERS)], markersize=7,
            capsize=3, linestyle="",
        )  # fmt: skip
    ax.set_xscale("log")
    ax.set_xlim(points.macs.min() / 2e6, points.macs.max() / 5e5)
    ax.xaxis.set_major_formatter(lambda value, _: f"{value:g}")
    ax.set_xlabel("multiply–adds of one image (millions, logarithmic)", fontsize=9)
    ax.set_ylabel("accuracy (%)", fontsize=9)
    tidy(ax)
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
        tidy(bars)
        sizes = ", ".join(
            f"{s.stage} {s.height}×{s.width} with {s.channels} channels" for s in table.itertuples()
        )
        said.append(f"{name}, {table.macs.sum() / 1e6:.4g} million multiply–adds: {sizes}")
    axes[1, 0].set_ylabel("multiply–adds (millions)", fontsize=9)
    fig.alt = f"Map size and multiply–adds of each stage. {'; '.join(said)}."
    return fig
