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
from kdcourse.data.canvas import Ground
from kdcourse.data.eurosat import CLASSES
from kdcourse.data.landscapes import LANDSCAPES
from kdcourse.data.patterns import fractal, smooth
from kdcourse.data.spectra import (
    B09,
    BANDS,
    DEFAULT_DIFFICULTY,
    HAZE,
    PATH,
    PIXEL,
    SIZE,
    TILE_BYTES,
    TRANSMITTANCE,
    VAPOUR,
    VERSION,
    WIDTHS,
)

# --- light and sensor -----------------------------------------------------------------------------


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


# --- tiles and files ------------------------------------------------------------------------------


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
                f"{folder} holds scenes made with {found}, asked for {wanted}. Name another "
                "folder, or remove this one to make them again."
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
