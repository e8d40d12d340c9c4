"""Figures of notebook 00: handwritten digits, and the student that never saw one of them."""

from collections.abc import Sequence

import numpy as np
from matplotlib.figure import Figure

from kdcourse.plots.style import COLOURS, GREY, tidy

RIGHT, WRONG = COLOURS[2], COLOURS[1]


def digit_answers(images, answers, digit: int, title: str) -> Figure:
    """Test images of one digit, each framed by whether the answer is right.

    images: (N, 64), 8×8 pixels from 0 to 1. answers: (N,) digits.
    """
    captions = ["✓" if answer == digit else f"✗ {answer}" for answer in map(int, answers)]
    fig = digit_grid(images, captions, title, columns=12)
    for ax, answer in zip(fig.axes, map(int, answers), strict=False):
        colour = RIGHT if answer == digit else WRONG
        ax.title.set_color(colour)
        ax.spines[:].set(visible=True, color=colour, linewidth=2)
    right = sum(caption == "✓" for caption in captions)
    shown = ", ".join(captions)
    fig.alt = f"{title}: {right} of the {len(captions)} images shown are right. {shown}"
    return fig


def digit_grid(images, captions: Sequence[str], title: str, columns: int = 6) -> Figure:
    """Digits in rows, each with a caption. images: (N, 64), 8×8 pixels from 0 to 1."""
    pixels = np.asarray(images).reshape(-1, 8, 8)
    rows = -(-len(pixels) // columns)
    width = {12: 0.7, 9: 1.05}.get(columns, 1.25)
    fig = Figure(figsize=(width * columns, (width + 0.3) * rows + 0.5), layout="constrained")
    fig.suptitle(title, fontsize=11)
    axes = fig.subplots(rows, columns, squeeze=False).flat
    for ax, image, caption in zip(axes, pixels, captions, strict=False):
        ax.imshow(image, cmap="gray_r", vmin=0, vmax=1)
        ax.set_title(caption, fontsize=9)
        ax.set(xticks=[], yticks=[])
        ax.spines[:].set(visible=False)
    for ax in fig.axes[len(pixels) :]:
        ax.axis("off")
    fig.alt = f"{title}: " + "; ".join(captions)
    return fig


def soft_targets(images, probabilities, digit: int, title: str) -> Figure:
    """Digits and, beside each, a teacher's probabilities for it; the bar of `digit` stands out.

    images: (N, 64), 8×8 pixels from 0 to 1. probabilities: (N, 10).
    """
    fig = Figure(figsize=(8, 1.9 * len(images) + 0.4), layout="constrained")
    fig.suptitle(title, fontsize=11)
    axes = fig.subplots(len(images), 2, squeeze=False, width_ratios=(1, 4))
    for (picture, bars), image, row in zip(axes, images, probabilities, strict=True):
        picture.imshow(np.asarray(image).reshape(8, 8), cmap="gray_r", vmin=0, vmax=1)
        picture.set(xticks=[], yticks=[])
        colours = [COLOURS[1] if i == digit else COLOURS[0] for i in range(10)]
        bars.bar(range(10), 100 * row, color=colours, width=0.7)
        bars.axhline(10, color=GREY, linewidth=0.9, linestyle="--")
        for i, share in enumerate(100 * row):
            bars.text(i, share + 1, f"{share:.0f}", ha="center", va="bottom", fontsize=8)
        bars.set(ylim=(0, 112), ylabel="probability, %", xticks=range(10))
        tidy(bars)
    axes[-1, 1].set_xlabel("digit")
    shares = "; ".join(
        ", ".join(f"{i}: {100 * p:.0f} %" for i, p in enumerate(row)) for row in probabilities
    )
    fig.alt = f"{title}. Probabilities: {shares}."
    return fig


def accuracy_per_digit(right, digit: int, title: str) -> Figure:
    """Bars of the accuracy per digit (10 values in %); the omitted digit stands out."""
    fig = Figure(figsize=(6.5, 2.8), layout="constrained")
    ax = fig.subplots()
    colours = [COLOURS[1] if i == digit else COLOURS[0] for i in range(10)]
    hatches = ["//" if i == digit else "" for i in range(10)]
    ax.bar(range(10), right, color=colours, hatch=hatches, edgecolor="white", width=0.7)
    for i, value in enumerate(right):
        ax.text(i, value + 1, f"{value:.0f}", ha="center", va="bottom", fontsize=8)
    ax.set(ylim=(0, 112), xlabel="digit", ylabel="accuracy, %", title=title, xticks=range(10))
    fig.alt = f"{title}. Right in %: " + ", ".join(f"{i}: {v:.0f}" for i, v in enumerate(right))
    return fig
