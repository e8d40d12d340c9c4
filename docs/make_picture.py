"""Make docs/course.png, the README's picture: a tile of each class, and what accuracy costs."""

from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np

from kdcourse.data import load
from kdcourse.data.eurosat import TRUE_COLOUR
from kdcourse.experiments.records import recorded


def main() -> None:
    data = load("scenes", limit=200, progress=False)
    firsts = [np.flatnonzero(data.train.labels == label)[0] for label in range(len(data.classes))]
    tiles = data.train.take(firsts)[:, list(TRUE_COLOUR)].astype(
        float
    )  # (10, 3, 64, 64) red, green, blue

    figure = plt.figure(figsize=(11, 3.6), layout="constrained")
    left, right = figure.subfigures(1, 2, width_ratios=[1.7, 1])
    for ax, tile, name in zip(left.subplots(2, 5).flat, tiles, data.classes, strict=True):
        low, high = np.percentile(tile, (1, 99), axis=(1, 2), keepdims=True)
        ax.imshow(((tile - low) / (high - low)).clip(0, 1).transpose(1, 2, 0))
        ax.set_title(name, fontsize=8)
        ax.axis("off")
    left.suptitle("Synthetic Sentinel-2 tiles, each stretched by itself", fontsize=9)

    ax = right.subplots()
    table = recorded("baselines")
    table = table[table["network"].isin(("teacher", "student"))]
    for marker, (name, rows) in zip("os^", table.groupby("data set", sort=False), strict=False):
        rows = rows.sort_values("MACs, M")
        spread = rows["± 95 % over seeds"]
        ax.errorbar(
            rows["MACs, M"], rows["test accuracy, %"], spread, marker=marker, capsize=3, label=name
        )
    ax.set(xscale="log", xlabel="multiply–adds an image, millions", ylabel="test accuracy, %")
    ax.set_title("Student and teacher: 3 seeds, 95 % interval", fontsize=9)
    ax.grid(alpha=0.3)
    ax.legend(fontsize=8)
    figure.savefig(Path(__file__).parent / "course.png", dpi=120)


if __name__ == "__main__":
    main()
