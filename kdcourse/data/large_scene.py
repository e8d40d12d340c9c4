"""A wide synthetic Sentinel-2 scene, as one georeferenced GeoTIFF: what a map is made of.

The land is laid out in *cells* around jittered grid points; each is painted as a tile of
`kdcourse.data.scenes` is, by the landscape of the region that it lies in. Over the land lie what is
longer than a tile: lakes, a river, a road. Then one sun, one atmosphere and one sensor for the
whole scene. A corner that the satellite did not see has no data.

What lies where is a function of (seed, row, column) alone, so a scene is written strip by strip and
takes as much memory as a strip. Its ground truth comes from the same functions: see
`Landscape.tiles`.
"""

import json
import os
from functools import cached_property
from itertools import product
from pathlib import Path

import numpy as np
import rasterio
from rasterio import Affine
from rasterio.crs import CRS
from rasterio.windows import Window

from kdcourse.common.errors import DataError, UsageError
from kdcourse.common.files import replacing
from kdcourse.data import scenes, spectra
from kdcourse.data.canvas import Ground
from kdcourse.data.eurosat import CLASSES
from kdcourse.data.landscapes import LANDSCAPES
from kdcourse.data.patterns import inside
from kdcourse.data.spectra import BANDS, DEFAULT_DIFFICULTY, PIXEL

STRIP = 256  # rows that are painted at a time
PERIOD = 48  # pixels from grid point to grid point
JITTER, WARP = 4, 3  # pixels by which a point is off its place, and by which borders are bent
NODATA = 0  # as in Sentinel-2's products
LAND = (
    "AnnualCrop",
    "Forest",
    "HerbaceousVegetation",
    "Industrial",
    "Pasture",
    "PermanentCrop",
    "Residential",
)
COMMON = np.array(
    (0.5, 0.5, 0.1, -0.7, 0.4, 0.0, -0.4), np.float32
)  # halls and houses take less land than crops
ROAD, RIVER, LAKE = (CLASSES.index(name) for name in ("Highway", "River", "SeaLake"))
UNSEEN = 255
EDGE = 0.06  # share of the scene's width that the satellite's swath misses at the top


class Waves:
    """A smooth random field over the whole plane: waves of lengths (from, to) in pixels; standard
    deviation 1.
    """

    def __init__(self, rng: np.random.Generator, shortest: float, longest: float, count: int = 8):
        angle, length = rng.uniform(0, 2 * np.pi, count), rng.uniform(shortest, longest, count)
        self.waves = (
            2
            * np.pi
            * np.stack([np.sin(angle) / length, np.cos(angle) / length, rng.random(count)], axis=1)
        )

    def __call__(self, rows: np.ndarray, columns: np.ndarray) -> np.ndarray:
        """rows, columns: arrays that broadcast → the field there."""
        waves = self.waves.astype(np.float32)
        return (
            sum(np.cos(r * rows + c * columns + phase) for r, c, phase in waves)
            * np.float32(2 / len(waves)) ** 0.5
        )


class Landscape:
    """What lies where in a scene of `size` × `size` pixels.

    Raises UsageError for an argument out of range.
    """

    def __init__(self, size: int, seed: int = 0, difficulty: float = DEFAULT_DIFFICULTY):
        scenes.check(seed, difficulty)
        if not isinstance(size, int | np.integer) or size < spectra.SIZE:
            raise UsageError(
                f"size={size!r}: expected a whole number of pixels, {spectra.SIZE} or more"
            )
        self.size, self.seed, self.difficulty = int(size), int(seed), float(difficulty)
        rng = np.random.default_rng([self.seed, 0x51DE])
        self._regions = [Waves(rng, 350, 1400) for _ in LAND]
        self._lakes, self._ragged = Waves(rng, 500, 1600), Waves(rng, 30, 120)
        self._river, self._road = Waves(rng, 300, 2500, 5), Waves(rng, 900, 4000, 4)
        self._river_at, self._road_at = rng.uniform(0.3, 0.7, 2)
        self._slopes, self._haze, self._height = (
            Waves(rng, 120, 700),
            Waves(rng, 800, 3000),
            rng.uniform(0.05, 0.1),
        )

    @cached_property
    def _grid(self) -> tuple[np.ndarray, np.ndarray]:
        """(n, n) each: row and column of each cell's grid point, one ring of cells beyond the
        scene.
        """
        count = self.size // PERIOD + 3
        at = (np.arange(count) - 1) * PERIOD + PERIOD // 2
        off = np.random.default_rng([self.seed, 0xCE11]).integers(
            -JITTER, JITTER + 1, (2, count, count)
        )
        return at[:, None] + off[0], at[None, :] + off[1]

    @cached_property
    def _land(self) -> np.ndarray:
        """(n, n): the class of each cell, an index into CLASSES."""
        fields = np.stack([field(*self._grid) for field in self._regions]) + COMMON[:, None, None]
        return np.array([CLASSES.index(name) for name in LAND], np.uint8)[fields.argmax(0)]

    def _cells(self, top: int, height: int) -> np.ndarray:
        """(height, size): the cell of each pixel, counted row by row: the nearest grid point in the
        maximum norm.

        No pixel is farther than PERIOD / 2 + JITTER + WARP from its own: a cell lies within its
        tile.
        """
        rows, columns = _at(top, height), _at(0, self.size).T
        bent = WARP * np.clip(self._ragged(rows, columns), -1, 1)
        i, j = rows.astype(int) // PERIOD + 1, columns.astype(int) // PERIOD + 1
        nearest, cell = np.float32(np.inf), 0
        for down, right in product((-1, 0, 1), repeat=2):
            at = i + down, j + right
            y, x = self._grid[0][at], self._grid[1][at]
            distance = np.maximum(np.abs(rows + bent - y), np.abs(columns - bent - x))
            closer = distance < nearest
            nearest = np.where(closer, distance, nearest)
            cell = np.where(closer, at[0] * len(self._land) + at[1], cell)
        return cell

    def _lines(self, top: int, height: int) -> dict[str, np.ndarray]:
        """Signed distances in pixels (height, size) to "lake", "river", "road" and "unseen":
        negative within.
        """
        rows, columns = _at(top, height), _at(0, self.size).T

        def course(
            waves: Waves, at: float, along: np.ndarray, bend: float
        ) -> tuple[np.ndarray, np.ndarray]:
            """Where the line is across its direction, and by how much its slant shortens
            distances.
            """
            value, ahead = (
                at * self.size + bend * waves(along + step, np.float32(0)) for step in (0, 1)
            )
            return value, np.sqrt(1 + (ahead - value) ** 2)

        ragged = self._ragged(rows, columns)
        river, slant = course(
            self._river, self._river_at, columns, 0.05 * self.size
        )  # from west to east
        width_of_river = 7 + 3 * self._lakes(np.float32(0), columns)
        lines = {
            "river": np.abs(rows - river) / slant + 0.8 * ragged - width_of_river.clip(3, 12) / 2
        }
        road, slant = course(
            self._road, self._road_at, rows, 0.04 * self.size
        )  # from north to south
        lines["road"] = np.abs(columns - road) / slant - 1.8
        lines["lake"] = (1.35 - self._lakes(rows, columns)) * 90 + 4 * ragged
        lines["unseen"] = columns - self.size * EDGE * (1 - 1.5 * rows / self.size) + 0.5
        return lines

    def classes(self, top: int, height: int) -> np.ndarray:
        """(height, size) uint8: the class of each pixel of some rows, an index into CLASSES; 255:
        not seen.
        """
        found, lines = self._land.reshape(-1)[self._cells(top, height)], self._lines(top, height)
        for name, number in (("river", RIVER), ("lake", LAKE), ("road", ROAD), ("unseen", UNSEEN)):
            found[lines[name] < 0] = number
        return found

    def tiles(self, tile: int = spectra.SIZE) -> np.ndarray:
        """(rows, columns) uint8: the class of each whole tile of the scene from its upper left
        corner on, as EuroSAT
        would name it: "SeaLake" from a third of lake on, else "Highway" or "River" if it runs
        through (2 % of the tile), else what takes most of the land. 255 where more than half was
        not seen."""
        count = self.size // tile
        found = np.empty((count, count), np.uint8)
        for row in range(count):
            classes = self.classes(row * tile, tile)
            for column in range(count):
                of_tile = classes[:, column * tile : (column + 1) * tile]
                found[row, column] = _dominant_class(
                    np.bincount(of_tile.reshape(-1), minlength=256) / tile**2
                )
        return found

    def paint(self, top: int, height: int) -> np.ndarray:
        """Rows top … top + height of the scene: (13, height, size) uint16, reflectance × 10,000."""
        cell = self._cells(top, height)
        surface = np.zeros((len(BANDS), height, self.size), np.float32)
        for number in np.unique(cell):
            self._paint_cell(surface, cell, int(number), top)
        lines = self._lines(top, height)
        ground = Ground(np.random.default_rng([self.seed, 0x0A7E]), self.difficulty)
        for name, border, material in (
            ("river", 1.5, "sand"), ("lake", 2, "sand"),
            ("river", 0, "turbid"), ("lake", 0, "clear_water"),
            ("road", 1.5, "dry_grass"), ("road", 0, "asphalt"),
        ):  # fmt: skip
            share = inside(lines[name] - border)
            there, spectrum = share > 0, ground.spectrum(material, 0.3)[:, 0]
            surface[:, there] += share[there] * (spectrum - surface[:, there])
        image = self._seen(surface, top)
        image[:, lines["unseen"] < 0] = NODATA
        return image

    def _paint_cell(self, surface: np.ndarray, cell: np.ndarray, number: int, top: int) -> None:
        """Paint one cell onto the surface (13, H, W), whose first row is `top`; cell (H, W): whose
        each pixel is.
        """
        i, j = divmod(number, len(self._land))
        name = CLASSES[self._land[i, j]]
        ground = Ground(np.random.default_rng([self.seed, 0x9A1E, i, j]), self.difficulty)
        LANDSCAPES[name](ground)
        y, x = (
            int(at[i, j]) - spectra.SIZE // 2 for at in self._grid
        )  # of the tile's upper left corner
        rows = slice(max(y - top, 0), min(y - top + spectra.SIZE, len(cell)))
        columns = slice(max(x, 0), min(x + spectra.SIZE, self.size))
        painted = ground.reflectance[
            :, rows.start + top - y : rows.stop + top - y, columns.start - x : columns.stop - x
        ]
        np.copyto(surface[:, rows, columns], painted, where=cell[rows, columns] == number)

    def _seen(self, surface: np.ndarray, top: int) -> np.ndarray:
        """Sun and slopes, atmosphere, sensor: (13, H, W) reflectance in % → digital numbers."""
        rows, columns = _at(top, surface.shape[1]), _at(0, self.size).T
        surface *= 1 + self._height * self._slopes(rows, columns)
        haze = (0.15 + 0.15 * self._haze(rows, columns)).clip(0)
        through = spectra.TRANSMITTANCE.copy()
        through[spectra.B09] = np.mean(spectra.VAPOUR)
        surface *= through[:, None, None] * (1 - 0.06 * haze)
        surface += spectra.PATH[:, None, None] + haze * spectra.HAZE[:, None, None]
        rng = np.random.default_rng([self.seed, 0x5E45, top])
        parts = [
            scenes.sense(surface[..., left : left + STRIP], rng)
            for left in range(0, self.size, STRIP)
        ]
        return np.concatenate(parts, axis=2)


def _at(first: int, count: int) -> np.ndarray:
    """(count, 1): rows as numbers; transposed: columns."""
    return np.arange(first, first + count, dtype=np.float32)[:, None]


def _dominant_class(shares: np.ndarray) -> int:
    """The class of a tile, from the share of each class (256,) in it."""
    if shares[UNSEEN] > 0.5:
        return UNSEEN
    lines = [
        line
        for line, least in ((LAKE, 1 / 3), (ROAD, 0.02), (RIVER, 0.02))
        if shares[line] >= least
    ]
    return lines[0] if lines else int(shares[:UNSEEN].argmax())


def make_wide_scene(
    path: str | os.PathLike,
    size: int = 2048,
    *,
    seed: int = 0,
    difficulty: float = DEFAULT_DIFFICULTY,
) -> Landscape:
    """Write a scene of size × size pixels as a GeoTIFF of 13 bands, unless it is there; returns
    what lies where in it.

    uint16, bands in EuroSAT's order, 10 m pixels in UTM zone 32, 0 where there are no data,
    compressed. Written beside and put in place. Raises UsageError for a bad argument, DataError for
    a file of that name that holds another scene, or if it cannot be written.
    """
    path, landscape = Path(path), Landscape(size, seed, difficulty)
    about = json.dumps(
        {"version": spectra.VERSION, "size": landscape.size, "seed": seed, "difficulty": difficulty}
    )
    if path.exists():
        if _about(path) != about:
            raise DataError(
                f"{path}: holds something else, not the scene {about}. Name another file, or "
                "remove it"
            )
        return landscape
    profile = dict(
        driver="GTiff", width=size, height=size, count=len(BANDS), dtype="uint16", nodata=NODATA,
        tiled=True, blockxsize=256, blockysize=256, compress="deflate", zlevel=1, predictor=2,
        bigtiff="if_safer",
        crs=CRS.from_epsg(32632), transform=Affine(PIXEL, 0, 500_000.0, 0, -PIXEL, 5_400_000.0),
    )  # fmt: skip
    try:
        with replacing(path) as temporary, rasterio.open(temporary, "w", **profile) as file:
            file.descriptions = BANDS
            file.update_tags(KDCOURSE=about)
            for top in range(0, size, STRIP):
                height = min(STRIP, size - top)
                file.write(landscape.paint(top, height), window=Window(0, top, size, height))
    except OSError as error:  # rasterio's own errors are among them
        raise DataError(f"{path}: could not be written ({error}). Is the disk full?") from error
    return landscape


def _about(path: Path) -> str:
    """What a file says of the scene in it: nothing, if it is no such file."""
    try:
        with rasterio.open(path) as file:
            return file.tags().get("KDCOURSE", "")
    except OSError:
        return ""
