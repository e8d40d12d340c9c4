"""Images in folders: which files, which labels, and how one is decoded. See `formats` for data sets
in a few files.

Each opener returns a `Source`: the samples with their labels, and a function that decodes one.
Nothing big is read before decoding.
"""

import os
import struct
import zlib
from collections import Counter
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path

import numpy as np
from PIL import Image, ImageOps

from kdcourse.common.errors import DataError, brief
from kdcourse.data.eurosat import BANDS, read_geotiff
from kdcourse.data.store import TEST, TRAIN, VAL, Source, resize, stamp

GREY = ("grey",)
COLOUR = ("red", "green", "blue")
SUFFIXES = frozenset(".bmp .gif .jpeg .jpg .pgm .png .ppm .tif .tiff .webp".split())
TIFF = frozenset({".tif", ".tiff"})
GREY_MODES = ("1", "L", "LA")  # PIL's
SAMPLE = 200  # files whose headers tell what a folder holds
FORMATS = ("BMP", "GIF", "JPEG", "PNG", "PPM", "TIFF", "WEBP")  # EPS would start a program
PARTS = {"train": TRAIN, "val": VAL, "valid": VAL, "validation": VAL, "test": TEST}
PIL_ERRORS = (
    OSError,
    ValueError,
    SyntaxError,
    EOFError,
    struct.error,
    zlib.error,
    Image.DecompressionBombError,
)


# --- folders --------------------------------------------------------------------------------------


def scan(folder: Path, suffixes: frozenset[str] = SUFFIXES) -> tuple[list[tuple[str, str]], int]:
    """The images under a folder as (path relative to it, stamp), sorted by path, and how many other
    files there are.

    Hidden files are passed over. Raises DataError for a folder that cannot be listed.
    """
    found, others, waiting = [], 0, [(str(folder), "")]
    while waiting:
        place, prefix = waiting.pop()
        try:
            with os.scandir(place) as entries:
                for entry in entries:
                    name = f"{prefix}{entry.name}"
                    if entry.name.startswith("."):
                        continue
                    if entry.is_dir():
                        waiting.append((entry.path, f"{name}/"))
                    elif os.path.splitext(entry.name)[1].lower() in suffixes:
                        found.append((name, _stamp_or_none(entry, name)))
                    else:
                        others += 1
        except OSError as error:
            raise DataError(f"{place}: cannot be listed ({error.strerror})") from error
    return sorted(found), others


def _stamp_or_none(entry: os.DirEntry, name: str) -> str:
    """The stamp of a file; a link that leads nowhere gets one as well: decoding lists it with the
    other bad files.
    """
    try:
        return stamp(entry, name)
    except FileNotFoundError:
        return f"{name}|leads nowhere"


def class_folders(folder: Path) -> list[str]:
    """The names of the folders in a folder, sorted; hidden ones and those that archivers leave are
    passed over.
    """
    try:
        with os.scandir(folder) as entries:
            return sorted(
                e.name for e in entries if e.is_dir() and not e.name.startswith((".", "__MACOSX"))
            )
    except OSError as error:
        raise DataError(f"{folder}: cannot be listed ({error.strerror})") from error


def labelled(
    folder: Path, classes: Sequence[str], part: int = TRAIN, suffixes: frozenset[str] = SUFFIXES
) -> tuple[list[tuple[str, str, int, int]], int]:
    """The images of `<folder>/<class>/…` as (path, stamp, label, part), and how many other files
    there are.

    Raises DataError for a class without images.
    """
    rows, others, empty = [], 0, []
    for label, name in enumerate(classes):
        found, more = scan(folder / name, suffixes) if (folder / name).is_dir() else ([], 0)
        others += more
        if not found:
            empty.append(str(folder / name))
        rows += [
            (f"{folder}/{name}/{path}", f"{part}/{name}/{mark}", label, part)
            for path, mark in found
        ]
    if empty:
        listed = ", ".join(empty[:10]) + (" …" if len(empty) > 10 else "")
        raise DataError(
            f"{len(empty)} of {len(classes)} classes without images: {listed}. Put images there "
            f"({' '.join(sorted(suffixes))}) or remove the empty folders."
        )
    return rows, others


def source_of_files(
    name: str,
    folder: Path,
    rows: list,
    classes,
    channels,
    decode: Callable,
    dtype,
    size,
    *,
    others=0,
    notes=(),
) -> Source:
    """A Source of one image a file; rows as `labelled` gives them."""
    if others:
        notes = (*notes, f"{others} other file(s) in the folders passed over")
    paths, stamps, labels, parts = zip(*rows, strict=True)
    return Source(
        name=name,
        folder=folder,
        items=paths,
        stamps=stamps,
        labels=np.array(labels, dtype=np.int64),
        parts=np.array(parts, dtype=np.int8),
        classes=tuple(classes),
        channels=tuple(channels),
        decode=decode,
        dtype=dtype,
        size=size,
        notes=tuple(notes),
    )


def read_image(
    path: str | os.PathLike, channels: int, size: tuple[int, int] | None, shrink: int | None = None
) -> np.ndarray:
    """An image file as (channels, H, W) uint8. A grey image in a colour set becomes colour.

    size: what the file must measure (height, width); None takes any. shrink: resize to a square of
    that side. Raises DataError that says what is wrong with the file.
    """
    try:
        if os.stat(path).st_size == 0:
            raise DataError(f"{path}: the file is empty")
        with Image.open(path, formats=FORMATS) as image:
            if size and (image.height, image.width) != tuple(size):
                raise DataError(
                    f"{path}: {image.height}×{image.width} pixels, expected {size[0]}×{size[1]}"
                )
            if image.mode.startswith(("I", "F")):
                raise DataError(f"{path}: {image.mode} pixels, expected 8 bits a channel")
            if channels == 1 and image.mode not in GREY_MODES:
                raise DataError(f"{path}: a colour image ({image.mode}), expected grey")
            if "exif" in image.info:  # a photograph that is stored lying on its side
                image = ImageOps.exif_transpose(image)
            pixels = np.asarray(image.convert("L" if channels == 1 else "RGB"))
            pixels = pixels.reshape(*pixels.shape[:2], channels)
    except FileNotFoundError as error:
        raise DataError(f"{path}: no such file, or a link that leads nowhere") from error
    except PermissionError as error:
        raise DataError(f"{path}: no permission to read it") from error
    except PIL_ERRORS as error:
        raise DataError(f"{path}: not a readable image ({brief(error)})") from error
    pixels = np.ascontiguousarray(pixels.transpose(2, 0, 1))
    return resize(pixels, shrink) if shrink else pixels


def images_of(
    name: str,
    folder: Path,
    rows,
    classes,
    size: tuple[int, int] | None,
    image_size: int | None = None,
    **more,
) -> Source:
    """A colour Source of image files that measure `size`, or any size if it is None (then resized
    to image_size).
    """
    decode = partial(read_image, channels=3, size=size, shrink=None if size else image_size)
    return source_of_files(name, folder, rows, classes, COLOUR, decode, np.uint8, size, **more)


def tiles_of(name: str, folder: Path, rows, classes, **more) -> Source:
    """A Source of EuroSAT's 13-band tiles."""
    channels = [band.name for band in BANDS]
    decode = partial(read_geotiff, shape=(13, 64, 64), dtype=np.uint16)
    return source_of_files(
        name, folder, rows, classes, channels, decode, np.uint16, (64, 64), **more
    )


def image_folder(folder: Path, image_size: int | None = None, name: str | None = None) -> Source:
    """A folder of images, `<folder>/<class>/…` or `<folder>/{train,val,test}/<class>/…`.

    Of folders train, val and test with the same classes, test is the test and val the validation
    set; with train and val only, val is the test set and validation is cut from train. If the
    folders hold different classes (as few-shot releases do) all is pooled. All images are GeoTIFFs
    of one shape, or images that PIL reads; those may differ in size if image_size is given.
    """
    rows, classes, others, notes = labelled_folder(folder)
    kinds = {os.path.splitext(path)[1].lower() in TIFF for path, *_ in rows}
    if kinds == {True, False}:
        raise DataError(f"{folder}: TIFF files and other images together. Keep one kind.")
    name = name or folder.name
    sample = [rows[i][0] for i in sorted({round(x) for x in np.linspace(0, len(rows) - 1, SAMPLE)})]
    if kinds == {True} and (shape := _raster_shape(sample)):
        bands, height, width, dtype = shape
        decode = partial(read_geotiff, shape=shape[:3], dtype=dtype)
        channels = (
            [b.name for b in BANDS] if bands == 13 else [f"band{i + 1}" for i in range(bands)]
        )
        return source_of_files(
            name,
            folder,
            rows,
            classes,
            channels,
            decode,
            dtype,
            (height, width),
            others=others,
            notes=notes,
        )
    headers = [header for path in sample if (header := _header(path))]
    if not headers:
        raise DataError(
            f"{folder}: none of {len(sample)} files looked at is a readable image, {sample[0]} for "
            "one"
        )
    grey = all(mode in GREY_MODES for _, mode in headers)
    size, count = Counter(size for size, _ in headers).most_common(1)[0]
    if image_size:
        size = None
    elif count < 0.9 * len(headers):
        raise DataError(
            f"{folder}: the images differ in size. Give image_size= to make them all the same; the "
            "profiles smoke and cpu do."
        )
    decode = partial(
        read_image, channels=1 if grey else 3, size=size, shrink=None if size else image_size
    )
    return source_of_files(
        name,
        folder,
        rows,
        classes,
        GREY if grey else COLOUR,
        decode,
        np.uint8,
        size,
        others=others,
        notes=notes,
    )


def labelled_folder(folder: Path) -> tuple[list, list[str], int, list[str]]:
    """rows, classes, number of other files and notes of either layout of an image folder."""
    names = class_folders(folder)
    parts = [n for n in names if n.lower() in PARTS]
    if "train" in [n.lower() for n in parts] and (len(parts) > 1 or parts == names):
        classes = {part: class_folders(folder / part) for part in parts}
    else:
        classes = {None: names}
    every = sorted({c for part in classes.values() for c in part})
    if not every or not any(scan(folder / (part or ""))[0] for part in classes):
        raise DataError(
            f"{folder}: no images. Expected {folder}/<class>/<image> or "
            f"{folder}/train/<class>/<image> and {folder}/test/<class>/<image>, images being "
            f"{' '.join(sorted(SUFFIXES))}."
        )
    if len(every) < 2:
        raise DataError(f"{folder}: one class only ({every[0]}). A classifier needs two or more.")
    rows, others, notes = [], 0, []
    sets = [set(c) for c in classes.values()]
    same = all(s == sets[0] for s in sets)
    disjoint = sum(map(len, sets)) == len(every)
    if not same and not disjoint:
        odd = sorted(set.union(*sets) - set.intersection(*sets))
        raise DataError(
            f"{folder}: {', '.join(parts)} do not hold the same classes; not in all: "
            f"{', '.join(odd[:10])}"
        )
    if not same:
        notes = [f"{', '.join(parts)} hold different classes: pooled, and cut anew"]
    for part, own in classes.items():
        code = PARTS[part.lower()] if part and same else TRAIN
        found, more = labelled(folder / (part or ""), own, code)
        names = [f"{part}/{mark}" for _, mark, _, _ in found]
        rows += [
            (path, mark, every.index(own[label]), code)
            for (path, _, label, _), mark in zip(found, names, strict=True)
        ]
        others += more
    if same and not any(
        code == TEST for *_, code in rows
    ):  # the official val is what there is to test on
        rows = [
            (path, mark, label, TEST if code == VAL else code) for path, mark, label, code in rows
        ]
    return rows, every, others, notes


def _header(path: str) -> tuple[tuple[int, int], str] | None:
    """(height, width), mode of an image, or None if it is unreadable: decoding reports it."""
    try:
        with Image.open(path, formats=FORMATS) as image:
            return (image.height, image.width), image.mode
    except PIL_ERRORS:
        return None


def _raster_shape(sample: list[str]) -> tuple[int, int, int, str] | None:
    """bands, height, width, type that most TIFF files share; None if they are pictures, which PIL
    reads as well.
    """
    import rasterio
    from rasterio.errors import RasterioError

    shapes = Counter()
    for path in sample:
        try:
            with rasterio.open(path) as file:
                shapes[file.count, file.height, file.width, file.dtypes[0]] += 1
        except (RasterioError, OSError):  # decoding reports it
            continue
    if not shapes:
        raise DataError(
            f"none of {len(sample)} files looked at is a readable TIFF file, {sample[0]} for one"
        )
    shape = shapes.most_common(1)[0][0]
    if shape[0] in (1, 3, 4) and shape[3] == "uint8":
        return None
    if shape[3] not in ("uint8", "uint16"):
        raise DataError(f"{sample[0]}: pixels of type {shape[3]}, expected uint8 or uint16")
    return shape
