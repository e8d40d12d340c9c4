"""The judges of latency, tiles and the choice of a file."""

from collections.abc import Mapping

import numpy as np
import pandas as pd
import torch

from kdcourse.checking import expect
from kdcourse.checking.task import Answer, Wrong, task

SLOWEST, LARGEST = 20.0, 500.0  # ms (p95) and kB: what the machine in the field allows


WARM_UP = 30  # calls


# --- time -----------------------------------------------------------------------------------------


def timings() -> np.ndarray:
    """Made-up times in ms of 230 single images, one after the other: the first calls warm up, some
    others wait.
    """
    rng = np.random.default_rng(8)
    ms = 6 + rng.gamma(2, 0.7, 230)
    ms += (rng.random(230) < 0.08) * rng.uniform(8, 30, 230)
    ms[:WARM_UP] += np.linspace(90, 10, WARM_UP)
    return ms.round(2)


@task(
    "ex08",
    title="How long does one image take?",
    minutes=5,
    difficulty="easy",
    points=2,
    hints=[
        "Leave out the calls that warm up. Sort the others: the median is in the middle, and 95 % "
        "are no longer than p95.",
        "np.median(ms[30:]) and np.percentile(ms[30:], 95)",
    ],
)
def latency(answer: Answer, rng: torch.Generator) -> None:
    """Read off the median and the 95th percentile of the times, without the warm-up."""
    value = answer.value()
    if isinstance(value, Mapping):
        named = {str(name).lower(): number for name, number in value.items()}
        value = [named[name] for name in ("median", "p95") if name in named]
    if not isinstance(value, list | tuple | np.ndarray | torch.Tensor) or len(value) != 2:
        raise Wrong("Expected two numbers, (median, p95), in ms.", "form")
    median, p95 = (
        expect.scalar(expect.typed(number, of), of)
        for number, of in zip(value, ("the median", "p95"), strict=True)
    )
    every = timings()
    warm, cold = every[WARM_UP:], every
    low, high = (np.percentile(warm, 95, method=method) for method in ("lower", "higher"))
    if median > p95:
        raise Wrong("The median comes first, then p95, which is the longer one.", "order")
    expect.read_off(
        median,
        np.median(warm),
        0.06,
        {
            "mean": (warm.mean(), "That is the mean: a few long waits move it."),
            "warm-up in it": (np.median(cold), "The warm-up is in it: leave out the first calls."),
            "mean, warm-up in it": (cold.mean(), "That is the mean, and the warm-up is in it."),
            "seconds": (np.median(warm) / 1000, "In ms, not in s."),
            "fastest": (warm.min(), "That is the fastest."),
        },
        of="the median",
    )
    if low - 0.05 <= p95 <= high + 0.05:
        return
    expect.read_off(
        p95,
        np.percentile(warm, 95),
        0.05,
        {
            "warm-up in p95": (
                np.percentile(cold, 95),
                "The warm-up is in it: leave out the first calls.",
            ),
            "slowest": (
                warm.max(),
                "That is the slowest: 95 % of the calls are to be no longer than p95.",
            ),
            "p99": (np.percentile(warm, 99), "That is p99."),
            "p90": (np.percentile(warm, 90), "That is p90."),
            "two sigma": (
                warm.mean() + 1.645 * warm.std(),
                "That is mean + 1.645 standard deviations: these times are far from normal. Count, "
                "don't assume.",
            ),
            "95 % of the slowest": (
                0.95 * warm.max(),
                "95 % of the *calls*, not of the longest time.",
            ),
        },
        of="p95",
    )


# --- tiles ----------------------------------------------------------------------------------------


@task(
    "ex08",
    title="Tiles for a whole scene",
    minutes=10,
    difficulty="medium",
    points=3,
    hints=[
        "Do it along one axis first: where do tiles begin so that they cover `length` pixels, and "
        "as few as possible?",
        "range(0, length, tile) covers, but its last tile may stick out. Move that one inwards: "
        "min(start, length − tile).",
        "Then every start of the rows with every start of the columns. min(…) makes no double: a "
        "length that is a multiple of the tile has no tile to move.",
    ],
)
def windows(answer: Answer, rng: torch.Generator) -> None:
    """Say where tiles begin that cover a scene: all inside, as few as possible, the last ones moved
    inwards.
    """
    tile = int(torch.randint(5, 12, (), generator=rng))
    extra = [int(torch.randint(1, tile, (), generator=rng)) for _ in range(2)]
    for height, width in (
        (3 * tile, 2 * tile),
        (2 * tile + extra[0], 4 * tile),
        (tile, 3 * tile + extra[1]),
        (3 * tile + extra[1], 2 * tile + extra[0]),
        (tile, tile),
    ):
        _covers(answer(height, width, tile), height, width, tile)


def _covers(value, height: int, width: int, tile: int) -> None:
    scene = f"a scene of {height} rows and {width} columns, in tiles of {tile}"
    if value is None:
        raise Wrong("Expected a list of (top, left), got None. Is there a `return`?", "none")
    if isinstance(value, list | tuple) and not len(value):
        raise Wrong(f"No tiles for {scene}.", "none")
    came = expect.finite(expect.tensor(value, "the list of (top, left)"), "the list")
    if came.dim() != 2 or came.shape[1] != 2 or (came != came.round()).any():
        raise Wrong("Expected a list of pairs of whole numbers, (top, left).", "form")
    if max(came.shape) > 10_000:
        raise Wrong(f"{len(came)} tiles for {scene}.", "too many")
    tiles = [(int(top), int(left)) for top, left in came.tolist()]
    beyond = [
        (top, left)
        for top, left in tiles
        if not (0 <= top <= height - tile and 0 <= left <= width - tile)
    ]
    covered = torch.zeros(height, width, dtype=torch.bool)
    for top, left in tiles:
        covered[max(top, 0) : top + tile, max(left, 0) : left + tile] = True
    other = torch.zeros(height, width, dtype=torch.bool)
    for top, left in tiles:
        other[max(left, 0) : left + tile, max(top, 0) : top + tile] = True
    if (beyond or not covered.all()) and other.all() and height != width:
        raise Wrong(f"Rows and columns are swapped: a pair is (top, left). For {scene}.", "swapped")
    if beyond:
        raise Wrong(
            f"For {scene}: the tile at {beyond[0]} reaches outside. The last tile is moved "
            "inwards, so that it has its full size.",
            "outside",
        )
    if not covered.all():
        row, column = (~covered).nonzero()[0].tolist()
        edge = covered[: height - height % tile, : width - width % tile].all()
        where = (
            "the rest at the edges is not looked at"
            if edge
            else f"pixel ({row}, {column}) is in no tile"
        )
        raise Wrong(f"For {scene}: {where}.", "edges left out" if edge else "gap")
    if len(set(tiles)) < len(tiles):
        double = next(tile for tile in tiles if tiles.count(tile) > 1)
        raise Wrong(
            f"For {scene}: {double} is there twice, and would be classified twice.", "double"
        )
    fewest = -(-height // tile) * -(-width // tile)
    if len(tiles) > fewest:
        raise Wrong(
            f"For {scene}: {len(tiles)} tiles, and {fewest} are enough. Time is a tile's time.",
            "too many",
        )


# --- which one ------------------------------------------------------------------------------------


def candidates() -> pd.DataFrame:
    """Made-up measurements of five files. gain: over the float32 student, in points ± 95 %, paired
    over five seeds.
    """
    rows = {
        "a": ("teacher, float32", 94_200, 48.0, 61.0, +0.9, 0.6),
        "b": ("student, float32", 1_240, 7.4, 13.1, 0.0, 0.0),
        "c": ("student, int8", 340, 5.2, 9.9, -0.2, 0.4),
        "d": ("small student, int8", 130, 2.3, 4.4, -2.4, 0.7),
        "e": ("wide student, int8", 460, 4.1, 27.5, +0.1, 0.5),
    }
    columns = ["network", "kB", "median, ms", "p95, ms", "gain", "± 95 %"]
    return pd.DataFrame.from_dict(rows, orient="index", columns=columns)


@task(
    "ex08",
    title="Which one do you ship?",
    minutes=6,
    difficulty="easy",
    points=2,
    hints=[
        "Strike out what the machine cannot take: two columns decide, and neither of them is the "
        "median.",
        "Of those left: is a loss shown? That is, does the interval gain ± half lie below zero? An "
        "interval that includes zero shows none.",
    ],
)
def to_ship(answer: Answer, rng: torch.Generator) -> None:
    """Judge which of five files to ship."""
    table = candidates()
    fits = (table["kB"] <= LARGEST) & (table["p95, ms"] <= SLOWEST)
    loses = table["gain"] + table["± 95 %"] < 0
    right = table.index[fits & ~loses]
    why = {}
    for letter, row in table.iterrows():
        if row["p95, ms"] > SLOWEST:
            fast = "Its median is fast, but one" if row["median, ms"] <= SLOWEST else "One"
            why[letter] = (
                "too slow",
                f"{fast} image in twenty takes longer than {row['p95, ms']:g} ms (p95).",
            )
        elif row["kB"] > LARGEST:
            why[letter] = (
                "too large",
                f"It is fast enough, but {row['kB']:,} kB do not fit into {LARGEST:g}.",
            )
        elif loses[letter]:
            low, high = row["gain"] - row["± 95 %"], row["gain"] + row["± 95 %"]
            why[letter] = (
                "loses",
                f"It fits, but loses: its interval, {low:+.1f} … {high:+.1f}, lies below zero.",
            )
    (only,) = right
    expect.choice(answer.value(), only, why)
