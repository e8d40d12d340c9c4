"""A map: a whole scene classified tile by tile and written as a GeoTIFF that a GIS opens, without
torch.

The scene is read in strips as high as a tile, so it may be larger than memory.
"""

import colorsys
import os
import time
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import rasterio
from rasterio.enums import Resampling
from rasterio.errors import NotGeoreferencedWarning, RasterioError
from rasterio.windows import Window

from kdcourse.common.errors import DataError, UsageError, brief
from kdcourse.data.eurosat import TIFF_HEADS
from kdcourse.data.tiff import check_tiff
from kdcourse.shipping.predict import Model, beside

TILE = 64  # pixels a side: EuroSAT's tiles, and those of `scenes`
LARGEST_STRIP = 1 << 31  # bytes: what is read at once
NONE = 255  # of a map: no class, for the scene has no data there
COLOURS = {  # as land cover maps are drawn, dark to light enough to be told apart in grey
    "AnnualCrop": "#f2d64b",
    "Forest": "#14532d",
    "HerbaceousVegetation": "#9fb83f",
    "Highway": "#4d4d4d",
    "Industrial": "#8e44ad",
    "Pasture": "#5fc46f",
    "PermanentCrop": "#e08e2b",
    "Residential": "#d7301f",
    "River": "#6ec6f1",
    "SeaLake": "#0b4f9c",
}


@dataclass(frozen=True)
class Mapped:
    """A map that was written. Printed: a line on the file, and one a class."""

    path: Path
    shares: dict[str, float]  # % of the pixels with data, by class
    without: float  # % of all pixels that have no data
    tiles: int  # that were classified
    megapixels: float  # of the scene
    seconds: float  # reading, answering and writing
    answering: float  # s, of which the network itself

    @property
    def pace(self) -> float:
        """Seconds a megapixel."""
        return self.seconds / self.megapixels

    def __str__(self) -> str:
        lines = [
            f"{self.path}: {self.megapixels:.2f} megapixels in {self.tiles} tiles, "
            f"{self.seconds:.1f} s, {self.pace:.2f} s a megapixel, of which the network "
            f"{self.answering / self.megapixels:.2f}"
        ]
        lines += [f"{name:<24}{share:6.1f} %" for name, share in self.shares.items()]
        return "\n".join(
            lines + [f"{'(no data)':<24}{self.without:6.1f} % of all pixels"] * bool(self.without)
        )


def colours(classes: Sequence[str]) -> list[tuple[int, int, int]]:
    """Red, green and blue (0 … 255) of each class: EuroSAT's own, else hues far from one
    another.
    """
    found = []
    for i, name in enumerate(classes):
        text = COLOURS.get(name)
        if text:
            found.append(tuple(bytes.fromhex(text[1:])))
        else:
            hue, value = i * 0.618034 % 1, (0.9, 0.65, 0.45)[i % 3]
            found.append(tuple(round(255 * part) for part in colorsys.hsv_to_rgb(hue, 0.75, value)))
    return found


def classify(
    model: Model,
    scene: str | os.PathLike,
    output: str | os.PathLike,
    *,
    tile: int = TILE,
    step: int | None = None,
    batch_size: int = 256,
) -> Mapped:
    """Classify a scene, a GeoTIFF with the model's bands, and write its map.

    The map has the scene's pixels, size and place: uint8, the number of a class, 255 where there is
    none; a colour table; the names as tags CLASS_0, CLASS_1 … of its band. Each block of step ×
    step pixels gets the class of the tile × tile pixels around it; at the scene's borders the tile
    is moved inwards. step: by default `tile`.

    A pixel whose bands all have the scene's nodata value has no class. A tile with more than half
    of such pixels is not classified; in others they are filled with each band's mean over the rest.

    Raises DataError for a scene that cannot be read or does not suit the model, or a map that
    cannot be written; UsageError for an argument. Then there is no map, and an older one stays.
    """
    step = step or tile
    _check_arguments(model, scene, output, tile, step, batch_size)
    started, answering = time.perf_counter(), 0.0
    counts, tiles = np.zeros(NONE + 1, np.int64), 0
    with (
        _opened(scene, model, tile) as file,
        beside(output) as temporary,
        _written(temporary, output, file, model) as target,
    ):
        for top in range(0, file.height, step):
            rows = min(step, file.height - top)
            start = _around(top, step, tile, file.height)
            strip = _read_strip(scene, file, start, tile)
            classes, answered, seconds = _classify_strip(model, scene, strip, step, batch_size)
            row = np.repeat(classes, step)[: file.width]
            valid = strip.valid[top - start : top - start + rows]
            block = np.where(valid, row, np.uint8(NONE))
            target.write(block, 1, window=Window(0, top, file.width, rows))
            counts += np.bincount(block.reshape(-1), minlength=NONE + 1)
            tiles += answered
            answering += seconds
    pixels, classified = counts.sum(), max(1, counts[:NONE].sum())
    return Mapped(
        Path(output),
        {name: 100 * counts[i] / classified for i, name in enumerate(model.classes)},
        100 * counts[NONE] / pixels,
        tiles,
        pixels / 1e6,
        time.perf_counter() - started,
        answering,
    )


def _check_arguments(model: Model, scene, output, tile: int, step: int, batch_size: int) -> None:
    for name, value in (("tile", tile), ("step", step), ("batch_size", batch_size)):
        if value < 1:
            raise UsageError(f"{name}={value}: expected 1 or more")
    if step > tile:
        raise UsageError(
            f"step={step}: expected no more than the tile's {tile} pixels, or some would not be "
            "looked at"
        )
    if len(model.classes) > NONE:
        raise UsageError(
            f"the model has {len(model.classes)} classes, and a map holds {NONE} at most"
        )
    if os.path.exists(scene) and os.path.exists(output) and os.path.samefile(scene, output):
        raise UsageError(f"{output}: is the scene itself. Name another file for the map")


@dataclass(frozen=True)
class _Strip:
    """A strip of a scene, as high as a tile."""

    pixels: np.ndarray  # (C, tile, width)
    valid: np.ndarray  # (tile, width) bool: the scene has data there


def _read_strip(scene, file: rasterio.DatasetReader, start: int, tile: int) -> _Strip:
    with _errors(scene):
        pixels = file.read(window=Window(0, start, file.width, tile))
    if file.nodata is None:
        return _Strip(pixels, np.ones(pixels.shape[1:], bool))
    return _Strip(pixels, (pixels != file.nodata).any(0))


def _classify_strip(
    model: Model, scene, strip: _Strip, step: int, batch_size: int
) -> tuple[np.ndarray, int, float]:
    """The class of each block of a strip (uint8, NONE where half of the tile or more has no data),
    the number of tiles that were classified, and the network's seconds.
    """
    tile, width = strip.valid.shape
    lefts = [_around(left, step, tile, width) for left in range(0, width, step)]
    kept = [i for i, left in enumerate(lefts) if strip.valid[:, left : left + tile].mean() >= 0.5]
    classes, seconds = np.full(len(lefts), NONE, np.uint8), 0.0
    for first in range(0, len(kept), batch_size):
        batch = kept[first : first + batch_size]
        images = np.stack([_tile(model, scene, strip, lefts[i], tile) for i in batch])
        asked = time.perf_counter()
        classes[batch] = model.logits(images).argmax(1)
        seconds += time.perf_counter() - asked
    return classes, len(kept), seconds


def overview(
    path: str | os.PathLike, bands: Sequence[int] = (1,), size: int = 512, *, average: bool = False
) -> np.ndarray:
    """A GeoTIFF as a small picture: (bands, H, W), the longer side `size` pixels or less.

    bands: counted from 1, as rasterio does. average: the mean of the pixels at each place, else the
    nearest one, which alone makes sense of classes. Raises DataError.
    """
    how = Resampling.average if average else Resampling.nearest
    with _errors(path), rasterio.open(path) as file:
        shrink = max(1, max(file.shape) / size)
        shape = (len(bands), *(max(1, round(side / shrink)) for side in file.shape))
        return file.read(list(bands), out_shape=shape, resampling=how)


def _around(start: int, step: int, tile: int, length: int) -> int:
    """Where the tile around a block begins: within 0 … length − tile."""
    return min(max(start + step // 2 - tile // 2, 0), length - tile)


def _tile(model: Model, scene, strip: _Strip, left: int, tile: int) -> np.ndarray:
    """The pixels that the model is asked about, (C, h, w) in its size; holes are filled with the
    band's mean.
    """
    image, valid = strip.pixels[:, :, left : left + tile], strip.valid[:, left : left + tile]
    if not valid.all():
        image = np.where(valid, image, image[:, valid].mean(1)[:, None, None].astype(image.dtype))
    return model.sized(scene, image)


@contextmanager
def _errors(path: str | os.PathLike) -> Iterator[None]:
    """What is wrong with a file that is read."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter(
                "ignore", NotGeoreferencedWarning
            )  # then the map has no place either
            yield
    except FileNotFoundError as error:
        raise DataError(f"{path}: no such file") from error
    except PermissionError as error:
        raise DataError(f"{path}: no permission to read it") from error
    except (RasterioError, OSError) as error:
        raise DataError(f"{path}: truncated or damaged ({brief(error)})") from error


@contextmanager
def _opened(path: str | os.PathLike, model: Model, tile: int) -> Iterator[rasterio.DatasetReader]:
    """The scene, if it suits the model."""
    with _errors(path):
        with open(path, "rb") as file:
            if file.read(4) not in TIFF_HEADS:
                raise DataError(f"{path}: not a GeoTIFF. The model takes {model.takes}")
        check_tiff(path, largest=None, sparse=True)
        scene = rasterio.open(path, driver="GTiff")
    with scene:
        if scene.count != len(model.channels):
            raise DataError(f"{path}: {scene.count} bands. The model takes {model.takes}")
        if set(scene.dtypes) != {model.dtype.name}:
            raise DataError(
                f"{path}: type {'/'.join(sorted(set(scene.dtypes)))}. The model takes {model.takes}"
            )
        strip = scene.count * tile * scene.width * model.dtype.itemsize
        if strip > LARGEST_STRIP:
            raise DataError(
                f"{path}: a strip of {tile} rows takes {strip / 1e9:.1f} GB of memory, expected "
                f"{LARGEST_STRIP / 1e9:.1f} GB at most"
            )
        if min(scene.shape) < tile:
            raise DataError(
                f"{path}: {scene.height}×{scene.width} pixels, less than a tile of {tile}×{tile}"
            )
        yield scene


@contextmanager
def _written(
    path: str, output, scene: rasterio.DatasetReader, model: Model
) -> Iterator[rasterio.io.DatasetWriter]:
    """The map's file, with all but its pixels."""
    like = dict(width=scene.width, height=scene.height, crs=scene.crs, transform=scene.transform)
    table = {i: (*colour, 255) for i, colour in enumerate(colours(model.classes))} | {
        NONE: (0, 0, 0, 0)
    }
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", NotGeoreferencedWarning)
            target = rasterio.open(
                path,
                "w",
                driver="GTiff",
                count=1,
                dtype="uint8",
                nodata=NONE,
                compress="lzw",
                **like,
            )
        with target:
            target.write_colormap(1, table)
            target.set_band_description(1, "class")
            target.update_tags(1, **{f"CLASS_{i}": name for i, name in enumerate(model.classes)})
            yield target
    except (RasterioError, OSError) as error:
        raise DataError(
            f"{output}: could not be written ({brief(error)}). Is the disk full?"
        ) from error
