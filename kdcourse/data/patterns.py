"""Structures on a synthetic tile: smooth fields, curves, parcels and strips.

Each function draws from `rng` and returns arrays of (64, 64).
"""

from functools import lru_cache

import numpy as np

from kdcourse.data.spectra import SIZE, X, Y


@lru_cache(maxsize=64)
def _spline(knots: int) -> np.ndarray:
    """(SIZE, knots): quadratic B-splines that spread `knots` random numbers smoothly over the
    tile's width.
    """
    at = np.linspace(0.5, knots - 1.5, SIZE, dtype=np.float32)[:, None] - np.arange(knots)
    distance = np.abs(at)
    inner, outer = 0.75 - distance**2, 0.5 * (1.5 - distance) ** 2
    return np.where(distance < 0.5, inner, np.where(distance < 1.5, outer, 0)).astype(np.float32)


def smooth(rng, knots: int) -> np.ndarray:
    """(64, 64) smooth random field of standard deviation about 1; bumps of about 64 / knots
    pixels.
    """
    basis = _spline(knots + 2)
    return basis @ rng.standard_normal((knots + 2, knots + 2), np.float32) @ basis.T * 1.8


def fractal(rng, *knots: int) -> np.ndarray:
    """Sum of smooth fields, finer ones weaker: hills, woods, moisture."""
    return sum(smooth(rng, k) / (i + 1) for i, k in enumerate(knots)) / 1.4


def rotated(angle: float) -> tuple[np.ndarray, np.ndarray]:
    """Coordinates in pixels along and across a direction."""
    cos, sin = np.cos(angle), np.sin(angle)
    return X * cos + Y * sin, Y * cos - X * sin


def inside(distance) -> np.ndarray:
    """The share of a pixel that lies inside a shape, from the signed distance to its border
    (negative within).
    """
    return np.clip(0.5 - distance, 0, 1)


def curve(rng, bend: float, offset: float | None = None) -> np.ndarray:
    """Signed distance in pixels to a smooth line that crosses the tile: a road, a river, a
    shore.
    """
    along, across = rotated(rng.uniform(0, 2 * np.pi))
    offset = rng.uniform(-16, 16) if offset is None else offset
    course, slope = (
        offset,
        0.0,
    )  # of the line, and its derivative: the distance across it is shortened by the slant
    for length in (130, 60, 32):
        size, phase = bend * length / 130 * rng.normal(), rng.uniform(0, 2 * np.pi)
        course = course + size * np.sin(along * (2 * np.pi / length) + phase)
        slope = slope + size * (2 * np.pi / length) * np.cos(along * (2 * np.pi / length) + phase)
    return (across - course) / np.sqrt(1 + slope**2)


def voronoi(rng, count: int, stretch: float = 1.0) -> tuple[np.ndarray, np.ndarray]:
    """Parcels of irregular shape: number of each pixel's parcel, and distance in pixels to the
    parcel's border.
    """
    along, across = rotated(rng.uniform(0, np.pi))
    along, across = along + 1.5 * smooth(rng, 5), (across + 1.5 * smooth(rng, 5)) * stretch
    seeds = rng.uniform(-40, 40, (count, 2)).astype(np.float32) * np.array((1, stretch), np.float32)
    distance = np.hypot(along - seeds[:, :1, None], across - seeds[:, 1:, None])
    nearest, second = np.partition(distance, 1, axis=0)[:2]
    return distance.argmin(0), (second - nearest) / 2


def strips(rng, width: float, length: float) -> tuple[np.ndarray, np.ndarray]:
    """Parcels of a planned landscape: strips of a rotated grid, each cut at its own places. As
    `voronoi`.
    """
    along, across = rotated(rng.uniform(0, np.pi))
    across = across + 0.8 * smooth(rng, 4)
    cuts = np.cumsum(rng.uniform(0.5, 1.5, 200) * width) - 50 - rng.uniform(0, width)
    cuts = cuts[cuts < 60].astype(np.float32)
    strip = np.searchsorted(cuts, across)
    position = (along + rng.uniform(0, length, len(cuts) + 1)[strip]) / length
    cell = np.floor(position)
    to_side = np.abs(across[..., None] - cuts).min(-1)
    to_end = np.abs(position - np.round(position)) * length
    return (strip * 16 + cell.astype(int) + 8) % 256, np.minimum(to_side, to_end)
