"""Synthetic Sentinel-2 tiles of EuroSAT's ten classes: the data set that the course carries within
itself.

A tile is painted as a landscape would be seen: *materials* with a reflectance spectrum (leaves,
soils, roofs, water …) are mixed pixel by pixel by *structures* (parcels, crop rows, roads, rivers,
roofs, crowns), lit by the sun on a slope, seen through an atmosphere, and blurred to the resolution
of each band by the *sensor*. It is written as a real GeoTIFF in the layout of EuroSAT_MS, so that
everything that reads the real data reads this too.

The classes overlap on purpose. A road crosses crops, a river runs beside a pasture, houses stand at
a forest's edge; fields and orchards grow from the same soils with the same leaves. So the mean
spectrum of a tile says little, and its structure says much. `difficulty`, from 0 to 1, sets how
much the classes overlap: how often leaves grow where they are not usual, how much of a tile another
landscape takes, how faint rows are, how grainy the ground, how varied a spectrum.

What the scenes are not: a simulation of radiative transfer, or a substitute for EuroSAT.

Unit: reflectance × 10,000, uint16, as in EuroSAT_MS ("digital numbers"). Shapes: (bands, rows,
  columns) = (13, 64, 64).
"""

import json
import multiprocessing
import os
import sys
import zlib
from concurrent.futures import ProcessPoolExecutor, as_completed
from functools import lru_cache
from pathlib import Path

import numpy as np
import rasterio
from rasterio import Affine
from rasterio.crs import CRS

from kdcourse.common.errors import DataError, UsageError, unknown
from kdcourse.common.files import replacing, write_whole
from kdcourse.common.progress_bar import bar
from kdcourse.common.system import cores
from kdcourse.data import eurosat
from kdcourse.data.eurosat import CLASSES

SIZE = 64  # pixels a side
PIXEL = 10.0  # metres
TILE_BYTES = 13 * SIZE * SIZE * 2  # of pixels in a file
DEFAULT_DIFFICULTY = 0.75
VERSION = 1  # of the generator: tiles of another version are not the same tiles

# In EuroSAT's file order (B8A is last); how many 10 m pixels one of a band's own pixels is wide.
BANDS = tuple(band.name for band in eurosat.BANDS)
WIDTHS = np.array([band.resolution_m // 10 for band in eurosat.BANDS])

# Surface reflectance in %: one plausible spectrum a material, written by hand from what is
# generally known of them. Leaves absorb red, reflect the near infrared and hold water (B11, B12);
# soils rise steadily; water is dark beyond red. B01   B02   B03   B04   B05   B06   B07   B08   B09
# B10   B11   B12   B8A
MATERIALS = {
    "broadleaf":  (2.0,  2.2,  4.5,  2.6,  7.0, 24.0, 31.0, 32.0, 33.0, 20, 15.0,  6.5, 34.0),
    "conifer":    (1.6,  1.8,  3.2,  2.2,  5.0, 15.0, 19.0, 20.0, 21.0, 15,  9.0,  3.8, 21.0),
    "grass":      (3.0,  3.5,  7.0,  4.5, 10.5, 29.0, 37.0, 38.0, 39.0, 20, 21.0, 10.0, 41.0),
    "cereal":     (2.8,  3.2,  6.5,  3.6,  9.0, 30.0, 40.0, 41.0, 43.0, 20, 18.0,  8.0, 44.0),
    "maize":      (3.0,  3.4,  7.5,  4.2, 11.0, 30.0, 36.0, 37.0, 38.0, 20, 19.0,  8.5, 40.0),
    "rapeseed":   (3.5,  4.0, 12.0, 11.0, 16.0, 30.0, 35.0, 36.0, 37.0, 20, 20.0, 10.0, 38.0),
    "straw":      (7.0,  9.0, 13.0, 18.0, 20.0, 23.0, 25.0, 27.0, 29.0, 20, 34.0, 24.0, 29.0),
    "dry_grass":  (5.0,  6.5,  9.5, 12.0, 15.0, 19.0, 21.0, 23.0, 25.0, 20, 31.0, 21.0, 25.0),
    "shrub":      (2.6,  3.0,  5.0,  4.8,  8.0, 15.0, 18.0, 19.0, 20.0, 15, 17.0,  9.5, 20.5),
    "heath":      (3.0,  3.5,  5.0,  6.0,  8.5, 13.0, 15.0, 16.0, 17.0, 15, 19.0, 12.0, 17.5),
    "vine":       (3.0,  3.4,  6.2,  4.8,  9.5, 22.0, 28.0, 29.0, 30.0, 20, 20.0, 10.5, 31.0),
    "olive":      (3.8,  4.3,  6.5,  6.2,  9.5, 17.0, 20.0, 21.0, 22.0, 20, 19.0, 11.5, 23.0),
    "loam":       (6.0,  7.5, 10.5, 14.0, 16.0, 18.0, 20.0, 21.5, 23.0, 20, 29.0, 24.0, 24.0),
    "clay":       (5.0,  6.0,  9.0, 16.0, 19.0, 22.0, 24.0, 25.5, 27.0, 20, 33.0, 28.0, 28.0),
    "chalk":     (14.0, 17.0, 22.0, 26.0, 28.0, 30.0, 31.0, 32.0, 33.0, 25, 38.0, 33.0, 34.0),
    "peat":       (4.0,  4.8,  6.2,  8.0,  9.5, 11.0, 12.0, 13.0, 14.0, 10, 18.0, 15.0, 14.5),
    "sand":      (15.0, 18.0, 24.0, 30.0, 33.0, 35.0, 36.0, 37.0, 38.0, 30, 44.0, 40.0, 39.0),
    "gravel":     (9.0, 11.0, 14.0, 17.0, 18.0, 19.0, 20.0, 21.0, 21.5, 15, 25.0, 22.0, 22.0),
    "asphalt":    (8.0,  8.8,  9.8, 10.5, 11.0, 11.5, 12.0, 12.3, 12.8, 10, 15.0, 13.5, 13.0),
    "concrete":  (15.0, 18.0, 21.0, 23.5, 24.5, 25.5, 26.0, 26.5, 27.0, 20, 30.0, 27.5, 27.5),
    "red_tile":   (6.0,  7.0,  9.5, 16.5, 19.0, 21.0, 22.0, 23.0, 24.0, 20, 29.0, 26.0, 25.0),
    "slate":      (6.5,  7.0,  7.8,  8.2,  8.6,  9.0,  9.4,  9.6, 10.0, 10, 12.0, 11.0, 10.2),
    "bitumen":    (5.0,  5.6,  6.2,  6.6,  7.0,  7.2,  7.5,  7.7,  8.0, 10,  9.5,  9.0,  8.2),
    "metal":     (26.0, 31.0, 34.0, 36.0, 37.0, 37.5, 38.0, 38.0, 38.5, 30, 40.0, 36.0, 39.0),
    "membrane":  (42.0, 50.0, 53.0, 55.0, 55.0, 55.0, 55.0, 54.0, 54.0, 40, 48.0, 40.0, 55.0),
    "blue_sheet":(14.0, 18.0, 17.0, 14.0, 14.0, 16.0, 19.0, 22.0, 23.0, 20, 25.0, 21.0, 23.0),
    "clear_water":(2.5,  2.0,  1.6,  0.8,  0.5,  0.4,  0.3,  0.3,  0.2, 0.1, 0.1,  0.1,  0.2),
    "turbid":     (5.0,  6.5,  9.0,  8.0,  7.0,  3.5,  3.0,  2.4,  1.8, 0.5, 0.4,  0.2,  2.0),
    "algae":      (2.5,  3.0,  5.0,  2.8,  3.6,  2.6,  2.2,  1.8,  1.4, 0.4, 0.3,  0.2,  1.5),
}  # fmt: skip
MATERIALS = {name: np.array(values, np.float32) for name, values in MATERIALS.items()}

# How spectra vary, as log-changes that move the bands together (rows: brightness, less chlorophyll,
# more leaf or soil water, redder slope). A material's covariance is the outer product of these with
# itself.
MODES = np.array(
    [
        (0.16, 0.16, 0.16, 0.16, 0.16, 0.16, 0.16, 0.16, 0.16, 0.16, 0.16, 0.16, 0.16),
        (0.05, 0.08, 0.10, 0.22, 0.12, -0.05, -0.09, -0.09, -0.09, 0.0, 0.04, 0.10, -0.09),
        (0.00, 0.00, -0.02, -0.04, -0.02, 0.03, 0.04, 0.04, 0.04, 0.0, -0.12, -0.20, 0.04),
        (-0.12, -0.10, -0.05, 0.02, 0.03, 0.03, 0.03, 0.02, 0.01, 0.0, 0.05, 0.06, 0.01),
    ],
    np.float32,
)

# The atmosphere: light that it scatters into the view (%, mostly blue), and what it lets through.
# Water vapour takes most of B09 and nearly all of B10, the band made to see only cirrus clouds.
PATH = np.array((9.3, 6.2, 3.5, 1.7, 1.8, 1.3, 1.1, 0.9, 0.5, 0.08, 0.3, 0.15, 0.7), np.float32)
HAZE = np.array((1.6, 2.0, 1.8, 1.6, 1.5, 1.3, 1.2, 1.1, 0.6, 0.02, 0.5, 0.3, 1.0), np.float32)
TRANSMITTANCE = np.array(
    (0.85, 0.88, 0.90, 0.93, 0.93, 0.93, 0.94, 0.91, 1.0, 0.002, 0.95, 0.93, 0.96), np.float32
)
VAPOUR = (0.12, 0.42)  # what water vapour lets through of B09
B09 = BANDS.index("B09")

LEAVES = (
    "cereal",
    "maize",
    "grass",
    "vine",
    "olive",
    "straw",
    "dry_grass",
    "shrub",
)  # may grow anywhere
SOILS = ("loam", "clay", "chalk", "peat", "gravel")
ROOFS = ("red_tile", "red_tile", "slate", "concrete", "bitumen", "gravel")
HALLS = ("metal", "membrane", "concrete", "bitumen", "bitumen", "slate", "blue_sheet", "asphalt")

SPACING = (5.0, 9.0)  # pixels from row to row, and from tree to tree in an orchard

Y, X = np.mgrid[:SIZE, :SIZE].astype(np.float32) - (SIZE - 1) / 2


# ----------------------------------------------------------------------------------------------
# structures


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


# ---------------------------------------------------------------------------------------------- the
# canvas


class Ground:
    """The ground of one tile while it is painted: surface reflectance in %, (13, 64, 64)."""

    def __init__(self, rng: np.random.Generator, difficulty: float):
        self.rng, self.difficulty = rng, difficulty
        self.reflectance = np.zeros((len(BANDS), SIZE, SIZE), np.float32)
        self.season = rng.uniform(0, 1)  # 0 lush spring, 1 dry late summer
        self.soil = rng.choice(SOILS)

    def chance(self, probability: float) -> bool:
        return self.rng.random() < probability

    def growing(self, usual, count: int) -> np.ndarray:
        """Names of `count` leaves: of those usual here, or, the more often the harder the data set,
        of any.
        """
        anything = self.rng.random(count) < 0.7 * self.difficulty
        return np.where(anything, self.rng.choice(LEAVES, count), self.rng.choice(usual, count))

    def spectra(self, names, spread: float = 1.0) -> np.ndarray:
        """(K, 13): a variant of each named material, drawn with the material's covariance."""
        draws = self.rng.standard_normal((len(names), len(MODES)), np.float32) * (
            0.7 + self.difficulty
        )
        return np.stack([MATERIALS[name] for name in names]) * np.exp(spread * draws @ MODES)

    def spectrum(self, name: str, spread: float = 1.0) -> np.ndarray:
        return self.spectra([name], spread)[0][:, None, None]

    def cover(self, share: np.ndarray, spectrum) -> None:
        """Let a material take this share (64, 64), 0 … 1, of each pixel."""
        if isinstance(spectrum, str):
            spectrum = self.spectrum(spectrum)
        self.reflectance += share * (spectrum - self.reflectance)

    def parcels(self, label: np.ndarray, leaves, soils, shares: np.ndarray) -> None:
        """Paint numbered parcels: each with its own leaf and soil, mixed by the leaves' share (64,
        64).
        """
        count = label.max() + 1
        leaf = self.spectra(self.growing(leaves, count)).T[:, label]
        soil = self.spectra(self.rng.choice(soils, count), 0.7).T[:, label]
        self.reflectance = soil + np.clip(shares, 0, 1) * (leaf - soil)

    def shade(self, amount: np.ndarray) -> None:
        """Multiply the light by 1 + amount (64, 64)."""
        self.reflectance *= np.maximum(1 + amount, 0.1)


def grain(ground: Ground, amount: float) -> None:
    """Clods, leaves, crowns and their shadows: light that differs from pixel to pixel, in all bands
    alike.
    """
    noise = ground.rng.standard_normal((SIZE, SIZE), np.float32) + 0.8 * smooth(ground.rng, 30)
    ground.shade(amount * (0.4 + 1.2 * ground.difficulty) * noise)


def texture_contrast(ground: Ground) -> float:
    """By how much the leaves' share of a pixel swings between row and gap; in many a tile it can
    hardly be seen.
    """
    return ground.rng.uniform(0.05, 0.35) * (1.3 - 0.7 * ground.difficulty)


def rows(ground: Ground, label: np.ndarray, lattice: float) -> np.ndarray:
    """(64, 64) in −1 … 1: planting rows, turned in each parcel its own way.

    `lattice`: the share of parcels that have trees in a square lattice instead.
    """
    rng, count = ground.rng, label.max() + 1
    angle = rng.uniform(0, np.pi, count)
    wave = 2 * np.pi / rng.uniform(*SPACING, count)
    phase = rng.uniform(0, 2 * np.pi, count)
    kx, ky = (
        (np.cos(angle) * wave).astype(np.float32)[label],
        (np.sin(angle) * wave).astype(np.float32)[label],
    )
    pattern = np.cos(kx * X + ky * Y + phase.astype(np.float32)[label])
    trees = (rng.random(count) < lattice)[label]
    return np.where(trees, (1 + pattern) * (1 + np.cos(kx * Y - ky * X)) / 2 - 1, pattern)


# ----------------------------------------------------------------------------------------------
# parts of landscapes


def any_parcels(ground: Ground):
    """Parcels as either a planned or a grown landscape has them."""
    rng = ground.rng
    if ground.chance(0.5):
        return strips(rng, rng.uniform(7, 22), rng.uniform(25, 80))
    return voronoi(rng, rng.integers(4, 22), rng.uniform(0.4, 1))


def crops(ground: Ground) -> None:
    """Annual crops: parcels at different stages of growth, sown in fine drills, with tramlines."""
    rng = ground.rng
    label, border = any_parcels(ground)
    growth = rng.uniform(0.1, 0.9, label.max() + 1).astype(np.float32)[label]
    tramlines = rows(ground, label, lattice=0.0)
    share = (
        growth
        + texture_contrast(ground) * tramlines
        + rng.uniform(0.02, 0.12) * fractal(rng, 6, 14)
    )
    soils = (ground.soil, ground.soil, rng.choice(SOILS))
    ground.parcels(label, ("cereal", "maize", "grass", "rapeseed", "straw", "vine"), soils, share)
    grain(ground, 0.05)
    if ground.chance(0.6):
        ground.cover(
            0.7 * inside(border - rng.uniform(0.2, 0.7)),
            rng.choice(("dry_grass", "gravel", "grass")),
        )


def orchards(ground: Ground) -> None:
    """Permanent crops: vineyards in rows, orchards and olive groves in a lattice, on worked soil or
    grass.
    """
    rng = ground.rng
    label, border = any_parcels(ground)
    growth = rng.uniform(0.1, 0.8, label.max() + 1).astype(np.float32)[label]
    planting = rows(ground, label, lattice=0.9)
    share = (
        growth
        + 1.3 * texture_contrast(ground) * planting
        + rng.uniform(0.02, 0.12) * fractal(rng, 6, 14)
    )
    leaves = ("vine", "olive", "cereal", "maize", "grass", "straw")
    ground.parcels(label, leaves, (ground.soil, ground.soil, rng.choice(SOILS), "dry_grass"), share)
    grain(ground, 0.05)
    if ground.chance(0.6):
        ground.cover(
            0.7 * inside(border - rng.uniform(0.2, 0.7)),
            rng.choice(("dry_grass", "gravel", "grass")),
        )


def meadows(ground: Ground) -> None:
    """Pasture: even grass, grazed differently in each paddock, with hedges and single trees."""
    rng = ground.rng
    label, border = voronoi(rng, rng.integers(2, 14), rng.uniform(0.6, 1))
    share = 0.95 - 0.35 * ground.season * rng.random(label.max() + 1).astype(np.float32)[label]
    share = share + 0.06 * fractal(rng, 5, 12)
    ground.parcels(label, ("grass", "grass", "cereal"), ("dry_grass", ground.soil), share)
    grain(ground, 0.03)
    if ground.chance(0.75):
        gaps = inside(smooth(rng, 8) - rng.uniform(-0.5, 1.5))
        ground.cover(
            inside(border - rng.uniform(0.4, 1.0)) * gaps, rng.choice(("broadleaf", "shrub"))
        )
    trees(ground, rng.uniform(1.6, 3.0), "broadleaf")


def wild(ground: Ground) -> None:
    """Herbaceous vegetation: patches of dry and green grass, shrub, heath and bare ground without
    parcels.
    """
    rng = ground.rng
    ground.cover(1, ground.growing(("dry_grass", "grass", "heath"), 1)[0])
    for name in rng.choice(
        ("shrub", "heath", "grass", "dry_grass", ground.soil, "gravel"), 3, replace=False
    ):
        patches = inside((fractal(rng, rng.integers(3, 8), 14, 26) - rng.uniform(0, 0.8)) * 2)
        ground.cover(rng.uniform(0.4, 0.9) * (1 - patches), str(name))
    trees(ground, rng.uniform(1.2, 2.6), "shrub")
    grain(ground, 0.06)


def trees(ground: Ground, rarity: float, name: str) -> None:
    """Single trees: the peaks of a fine random field."""
    field = smooth(ground.rng, 28)
    ground.cover(np.clip((field - rarity) * 2, 0, 1), name)


def woods(ground: Ground) -> None:
    """Forest: crowns with sunlit and shaded sides, stands of broadleaf and conifer."""
    rng = ground.rng
    ground.cover(1, "broadleaf")
    stands = inside((fractal(rng, 3, 9) - rng.normal(0, 1)) * 2)
    ground.cover(stands, "conifer")
    ground.shade(rng.uniform(0.04, 0.15) * smooth(rng, rng.integers(16, 32)))
    grain(ground, 0.08)


def buildings(ground: Ground, cell: float, roofs, filled: float, gardens) -> None:
    """Houses or halls: a turned, slightly bent grid of streets and plots, one roof a plot."""
    rng = ground.rng
    along, across = rotated(rng.uniform(0, np.pi))
    along, across = (
        along + rng.uniform(0, 2) * smooth(rng, 3),
        across + rng.uniform(0, 2) * smooth(rng, 3),
    )
    cell_u, cell_v = cell * rng.uniform(0.8, 1.5, 2)
    u, v = along / cell_u + 500, across / cell_v + 500
    iu, iv = u.astype(int), v.astype(int)
    plot = (iu * 31 + iv * 17) % 251
    from_u, from_v = (u - iu - 0.5) * cell_u, (v - iv - 0.5) * cell_v

    ground.cover(1, gardens[0])
    green = inside((fractal(rng, 8, 20) - rng.normal(0, 0.4)) * 2)
    ground.cover(green, gardens[1])
    size = rng.uniform(0.25, 0.47, (2, 251)).astype(np.float32)
    border = np.maximum(
        np.abs(from_u) - size[0, plot] * cell_u, np.abs(from_v) - size[1, plot] * cell_v
    )
    built = (rng.random(251) < filled)[plot]
    spectra = ground.spectra(rng.choice(roofs, 251)).T
    ground.cover(inside(border) * built, spectra[:, plot])
    every = rng.integers(2, 5)
    street = np.minimum(
        np.where(iu % every == 0, u - iu, 9) * cell_u, np.where(iv % 2 == 0, v - iv, 9) * cell_v
    )
    ground.cover(inside(street - rng.uniform(0.6, 1.2)), "asphalt")


def houses(ground: Ground) -> None:
    gardens = ground.rng.choice(("grass", "broadleaf", "dry_grass", "asphalt"), 2, replace=False)
    kinds = ground.rng.choice(ROOFS + HALLS if ground.chance(ground.difficulty) else ROOFS, 3)
    buildings(
        ground, ground.rng.uniform(3.0, 5.0), kinds, ground.rng.uniform(0.6, 0.95), tuple(gardens)
    )
    trees(ground, 1.6, "broadleaf")


def halls(ground: Ground) -> None:
    yards = ground.rng.choice(
        ("asphalt", "concrete", "gravel", "grass", "dry_grass", "broadleaf"), 2, replace=False
    )
    kinds = ground.rng.choice(ROOFS + HALLS if ground.chance(ground.difficulty) else HALLS, 4)
    buildings(
        ground, ground.rng.uniform(7.0, 18.0), kinds, ground.rng.uniform(0.5, 0.9), tuple(yards)
    )


def road(ground: Ground, width: float, surface: str) -> None:
    """A road of this width in pixels with its verges, nearly straight or winding."""
    distance = np.abs(curve(ground.rng, bend=ground.rng.uniform(0, 6)))
    ground.cover(
        0.8 * inside(distance - width * 1.6), "dry_grass" if ground.season > 0.5 else "grass"
    )
    ground.cover(inside(distance - width / 2), surface)


COUNTRY = (crops, meadows, wild, woods, orchards)


def background(ground: Ground, *choices) -> None:
    choices[ground.rng.integers(len(choices))](ground)


def beside(ground: Ground, other, share: float) -> None:
    """Let another landscape take about this share of the tile, beyond a curved border."""
    kept = ground.reflectance.copy()
    other(ground)
    edge = inside(curve(ground.rng, 5, offset=32 - 64 * share) + 0.8 * smooth(ground.rng, 10))
    ground.reflectance += edge * (kept - ground.reflectance)


def mixed(ground: Ground, *others) -> None:
    """Sometimes, the more often the harder the data set, another landscape takes a part of the
    tile.
    """
    if ground.chance(0.2 + 0.6 * ground.difficulty):
        beside(
            ground,
            others[ground.rng.integers(len(others))],
            ground.rng.uniform(0.1, 0.2 + 0.3 * ground.difficulty),
        )


def lane(ground: Ground) -> None:
    """Sometimes a narrow lane or track: not what makes a highway."""
    if ground.chance(0.3 * ground.difficulty):
        road(
            ground,
            ground.rng.uniform(0.4, 0.9),
            ground.rng.choice(("gravel", "asphalt", ground.soil)),
        )


# ---------------------------------------------------------------------------------------------- the
# ten classes


def annual_crop(ground: Ground) -> None:
    crops(ground)
    mixed(ground, meadows, woods, wild, orchards)
    lane(ground)


def forest(ground: Ground) -> None:
    woods(ground)
    mixed(ground, wild, meadows)
    lane(ground)


def herbaceous_vegetation(ground: Ground) -> None:
    wild(ground)
    mixed(ground, woods, meadows, crops)
    lane(ground)


def highway(ground: Ground) -> None:
    background(ground, *COUNTRY, houses, halls)
    mixed(ground, *COUNTRY, houses)
    road(
        ground,
        ground.rng.uniform(2.5, 5.0),
        ground.rng.choice(("asphalt", "asphalt", "concrete", "slate")),
    )
    if ground.chance(0.4):
        road(ground, ground.rng.uniform(0.8, 2), "asphalt")


def industrial(ground: Ground) -> None:
    halls(ground)
    mixed(ground, crops, meadows, houses, woods)


def pasture(ground: Ground) -> None:
    meadows(ground)
    mixed(ground, woods, crops, wild)
    lane(ground)


def permanent_crop(ground: Ground) -> None:
    orchards(ground)
    mixed(ground, wild, woods, crops)
    lane(ground)


def residential(ground: Ground) -> None:
    houses(ground)
    mixed(ground, woods, crops, meadows, halls)


def river(ground: Ground) -> None:
    background(ground, *COUNTRY, houses)
    mixed(ground, *COUNTRY)
    rng = ground.rng
    water, width = rng.choice(("clear_water", "turbid", "algae")), rng.uniform(1.5, 12)
    distance = np.abs(curve(rng, 10)) + 0.15 * width * smooth(rng, 6)
    bank = rng.choice(("broadleaf", "sand", "grass", "gravel"))
    ground.cover(inside(distance - width / 2 - rng.uniform(0.5, 3)), bank)
    ground.cover(inside(distance - width / 2), water)


def sea_lake(ground: Ground) -> None:
    rng = ground.rng
    background(ground, *COUNTRY, houses)
    shore = curve(rng, 8, offset=rng.uniform(-45, 4)) + smooth(rng, 8)
    ground.cover(inside(-shore - rng.uniform(0, 3)), rng.choice(("sand", "gravel", "grass")))
    ground.cover(inside(-shore), rng.choice(("clear_water", "turbid", "algae")))


LANDSCAPES = {
    "AnnualCrop": annual_crop,
    "Forest": forest,
    "HerbaceousVegetation": herbaceous_vegetation,
    "Highway": highway,
    "Industrial": industrial,
    "Pasture": pasture,
    "PermanentCrop": permanent_crop,
    "Residential": residential,
    "River": river,
    "SeaLake": sea_lake,
}


# ----------------------------------------------------------------------------------------------
# light and sensor


def illuminate(ground: Ground) -> None:
    """Sun height (the whole tile) and slopes (hillshade)."""
    rng = ground.rng
    height = fractal(rng, 3, 6)
    east, south = np.gradient(height)
    ground.shade(rng.normal(0, 0.08) * east * 8 + rng.normal(0, 0.08) * south * 8)
    ground.reflectance *= rng.uniform(0.82, 1.25)


def atmosphere(ground: Ground) -> None:
    """Top of the atmosphere = path + transmittance · surface; haze adds to the one and takes from
    the other.
    """
    rng = ground.rng
    haze = max(0.0, rng.normal(0.05, 0.35)) * (1 + 0.2 * smooth(rng, 2))
    through = TRANSMITTANCE.copy()
    through[B09] = rng.uniform(*VAPOUR)
    ground.reflectance *= through[:, None, None] * (1 - 0.06 * haze)
    ground.reflectance += rng.normal(1, 0.06) * PATH[:, None, None] + haze * HAZE[:, None, None]


def _blur_matrix(width: int, size: int) -> np.ndarray:
    """(size, size): mean over the sensor's own pixels, then linear interpolation to 10 m; a little
    optical blur.
    """
    at = np.arange(size)
    if width == 1:
        weights = np.exp(-0.5 * ((at[:, None] - at) / 0.55) ** 2)
    else:
        count = -(-size // width)
        mean = (at // width == np.arange(count)[:, None]).astype(float)
        mean /= mean.sum(1, keepdims=True)
        back = np.maximum(0, 1 - np.abs((at[:, None] + 0.5) / width - 0.5 - np.arange(count)))
        weights = back / back.sum(1, keepdims=True) @ mean
    return (weights / weights.sum(1, keepdims=True)).astype(np.float32)


@lru_cache(maxsize=4)
def _blur(size: int) -> np.ndarray:
    """(13, size, size)."""
    return np.stack([_blur_matrix(width, size) for width in WIDTHS])


def sense(reflectance: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Each band at its own resolution, with noise: (13, H, W) in % → digital numbers (13, H, W)
    uint16.
    """
    height, width = reflectance.shape[1:]
    image = 100 * (_blur(height) @ reflectance @ _blur(width).transpose(0, 2, 1))
    noise = rng.standard_normal(image.shape, np.float32)
    image += noise * ((4 + 0.006 * image) * (WIDTHS == 1)[:, None, None] + 1)
    return np.clip(np.round(image), 1, 65535).astype(np.uint16)


# ----------------------------------------------------------------------------------------------
# tiles and files


def check(seed: int, difficulty: float) -> None:
    """Raises UsageError for a seed or a difficulty that cannot be right."""
    if not isinstance(seed, int | np.integer) or seed < 0:
        raise UsageError(f"seed={seed!r}: expected a whole number, 0 or more")
    if not isinstance(difficulty, int | float) or not 0 <= difficulty <= 1:
        raise UsageError(f"difficulty={difficulty!r}: expected a number from 0 (easy) to 1 (hard)")


def render_tile(
    class_name: str, n: int, seed: int = 0, difficulty: float = DEFAULT_DIFFICULTY
) -> np.ndarray:
    """Tile number n (1, 2, …) of a class: (13, 64, 64) uint16, reflectance × 10,000, bands in
    EuroSAT's order.

    A function of its four arguments alone. Raises UsageError for an unknown class or an argument
    out of range.
    """
    check(seed, difficulty)
    if class_name not in LANDSCAPES:
        raise unknown("class", class_name, CLASSES)
    if n < 1:
        raise UsageError(f"n={n}: tiles are numbered from 1")
    ground = Ground(np.random.default_rng([seed, CLASSES.index(class_name), n]), difficulty)
    LANDSCAPES[class_name](ground)
    illuminate(ground)
    atmosphere(ground)
    return sense(ground.reflectance, ground.rng)


@lru_cache(maxsize=64)
def _utm(zone: int) -> CRS:
    return CRS.from_epsg(32600 + zone)


def georeference(class_name: str, n: int, seed: int = 0) -> tuple[CRS, Affine]:
    """A place for the tile: somewhere in Europe, in the UTM zone's own metres."""
    rng = np.random.default_rng([seed, CLASSES.index(class_name), n, 0x6E0])
    west, north = 10 * rng.integers(30_000, 70_000), 10 * rng.integers(420_000, 620_000)
    return _utm(int(rng.integers(29, 36))), Affine(PIXEL, 0, float(west), 0, -PIXEL, float(north))


def _date(seed: int, difficulty: float) -> int:
    """A time of change for tiles, in s since 1970: before 2001, and the same for the same scenes on
    every machine.

    Fingerprints of data hold it. So a network that was trained where these tiles were made before
    is found again.
    """
    return 10**9 - zlib.crc32(f"{VERSION} {seed} {difficulty}".encode()) // 8


def _write_tile(path: Path, class_name: str, n: int, seed: int, difficulty: float) -> None:
    """Render a tile and write it as a GeoTIFF. Raises DataError if the disk is full."""
    crs, transform = georeference(class_name, n, seed)
    date = _date(seed, difficulty)
    shape = dict(width=SIZE, height=SIZE, count=len(BANDS), dtype="uint16", interleave="pixel")
    place = dict(driver="GTiff", crs=crs, transform=transform)
    try:
        with replacing(path) as temporary:
            with rasterio.open(temporary, "w", **place, **shape) as file:
                file.descriptions = BANDS
                file.write(render_tile(class_name, n, seed, difficulty))
            if temporary.stat().st_size < TILE_BYTES:  # GDAL doesn't always report a full disk
                raise OSError("the file is too short")
            os.utime(temporary, (date, date))
    except OSError as error:  # rasterio's own errors of reading and writing are among them
        raise DataError(
            f"{path}: could not be written ({error}). Is the disk full? Tiles written so far stay."
        ) from error


def _write_tiles(folder: Path, tiles: list[tuple[str, int]], seed: int, difficulty: float) -> int:
    for class_name, n in tiles:
        _write_tile(folder / class_name / f"{class_name}_{n}.tif", class_name, n, seed, difficulty)
    return len(tiles)


def _claim(folder: Path, seed: int, difficulty: float) -> None:
    """Note in scenes.json which scenes the folder holds; refuse a folder that holds others."""
    note = folder / "scenes.json"
    wanted = {"version": VERSION, "seed": int(seed), "difficulty": float(difficulty)}
    if note.exists():
        try:
            found = json.loads(note.read_text())
        except json.JSONDecodeError as error:
            raise DataError(
                f"{note}: not readable as JSON ({error}). Remove {folder} and make the scenes "
                "again."
            ) from error
        if found != wanted:
            raise DataError(
                f"{folder} holds scenes made with {found}, asked for {wanted}. "
                "Name another folder, or remove this one to make them again."
            )
        return
    if any(folder.glob("*/*.tif")):
        raise DataError(
            f"{folder} holds .tif files but no scenes.json: not made here. Name another folder."
        )
    write_whole(note, (json.dumps(wanted, indent=1) + "\n").encode())


def make_scenes(
    folder: str | os.PathLike,
    count: int,
    *,
    seed: int = 0,
    difficulty: float = DEFAULT_DIFFICULTY,
    jobs: int | None = None,
    progress: bool = True,
) -> Path:
    """Write `count` tiles in all as `<folder>/<Class>/<Class>_<n>.tif`, n = 1, 2, …; returns the
    folder.

    The classes get the same number of tiles, the first ones of the list one more if `count` is no
    multiple of ten. Files that exist are left as they are, so a larger count only adds. `jobs`:
    processes, default one a core. Raises UsageError for a bad argument, DataError if the folder
    holds scenes of another seed or difficulty.
    """
    check(seed, difficulty)
    if not isinstance(count, int | np.integer) or count < 1:
        raise UsageError(f"count={count!r}: expected a whole number, 1 tile or more")
    if jobs is not None and jobs < 1:
        raise UsageError(f"jobs={jobs}: expected 1 process or more")
    folder = Path(folder)
    order = [(CLASSES[i % len(CLASSES)], i // len(CLASSES) + 1) for i in range(count)]
    try:
        folder.mkdir(parents=True, exist_ok=True)
        _claim(folder, seed, difficulty)
        for class_name in CLASSES[:count]:
            (folder / class_name).mkdir(exist_ok=True)
    except OSError as error:
        raise DataError(
            f"{folder}: cannot be written to ({error}). Name another folder for the scenes."
        ) from error
    missing = [(name, n) for name, n in order if not (folder / name / f"{name}_{n}.tif").exists()]
    chunks = [missing[i : i + 20] for i in range(0, len(missing), 20)]
    jobs = min(jobs or cores(), len(chunks))
    with bar(
        total=len(missing), desc="scenes", unit="tile", shown=progress and bool(missing)
    ) as seen:
        if jobs <= 1:
            for chunk in chunks:
                seen.update(_write_tiles(folder, chunk, seed, difficulty))
            return folder
        # fork starts at once and needs no `if __name__ == "__main__"`; elsewhere than on Linux it
        # is not safe
        context = multiprocessing.get_context("fork" if sys.platform == "linux" else "spawn")
        with ProcessPoolExecutor(jobs, mp_context=context) as pool:
            try:
                done = [
                    pool.submit(_write_tiles, folder, chunk, seed, difficulty) for chunk in chunks
                ]
                for future in as_completed(done):
                    seen.update(future.result())
            finally:
                pool.shutdown(cancel_futures=True)
    return folder
