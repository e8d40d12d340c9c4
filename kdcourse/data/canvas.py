"""The ground of a synthetic tile while it is painted."""

import numpy as np

from kdcourse.data.patterns import smooth
from kdcourse.data.spectra import BANDS, LEAVES, MATERIALS, MODES, SIZE, SOILS, SPACING, X, Y


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
