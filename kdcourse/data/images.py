"""Readers of the data sets' files: folders of images, idx files (MNIST), pickled batches (CIFAR),
USPS, digits.

Each returns a `Source`: the list of samples with labels, and how to decode one. Nothing big is read
  before decoding.
"""

import bz2
import gzip
import io
import math
import os
import pickle
import re
import struct
import zlib
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
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
FORMATS = (
    "BMP",
    "GIF",
    "JPEG",
    "PNG",
    "PPM",
    "TIFF",
    "WEBP",
)  # PIL knows others that start programs (EPS)
PARTS = {"train": TRAIN, "val": VAL, "valid": VAL, "validation": VAL, "test": TEST}
PICKLE_ERRORS = (
    OSError,
    pickle.UnpicklingError,
    EOFError,
    MemoryError,  # a damaged length
    OverflowError,
    RecursionError,
    struct.error,
    AssertionError,
    ValueError,
    TypeError,
    LookupError,
    AttributeError,
    ImportError,
)
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
            f"{len(empty)} of {len(classes)} classes without images: {listed}. "
            f"Put images there ({' '.join(sorted(suffixes))}) or remove the empty folders."
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
            f"{folder}/train/<class>/<image> and "
            f"{folder}/test/<class>/<image>, images being {' '.join(sorted(SUFFIXES))}."
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


# --- whole sets in a few files --------------------------------------------------------------------


def source_of_arrays(
    name: str, folder: Path, files: Iterable[Path], parts, classes, channels=GREY
) -> Source:
    """A Source of arrays in memory. parts: of each official part, (code, images (N, C, H, W) uint8,
    labels (N,)).
    """
    images = [(code, array) for code, array, _ in parts]
    if (
        not all(len(array) for _, array in images)
        or len({array.shape[1:] for _, array in images}) > 1
    ):
        shapes = " and ".join(str(array.shape) for _, array in images)
        raise DataError(
            f"{folder}: images of shape {shapes}, expected one size throughout and no part empty"
        )
    items = [(part, row) for part, (_, array) in enumerate(images) for row in range(len(array))]
    labels = np.concatenate([labels for *_, labels in parts]).astype(np.int64)
    if labels.min() < 0 or labels.max() >= len(classes):
        raise DataError(
            f"{folder}: labels from {labels.min()} to {labels.max()}, expected 0 to "
            f"{len(classes) - 1}"
        )
    return Source(
        name=name,
        folder=folder,
        items=items,
        stamps=[f"{part}:{row}" for part, row in items],
        labels=labels,
        parts=np.concatenate([np.full(len(array), code, dtype=np.int8) for code, array in images]),
        classes=tuple(classes),
        channels=tuple(channels),
        decode=lambda item: images[item[0]][1][item[1]],
        dtype=np.uint8,
        size=images[0][1].shape[2:],
        files=tuple(stamp(path) for path in files),
    )


def open_packed(path: Path):
    """A file for reading, unpacked on the way if it is .gz or .bz2."""
    return {".gz": gzip.open, ".bz2": bz2.open}.get(path.suffix, open)(path, "rb")


def read_packed(path: Path) -> bytes:
    try:
        with open_packed(path) as file:
            return file.read()
    except (OSError, EOFError, zlib.error) as error:
        raise DataError(f"{path}: unreadable, truncated or damaged ({error})") from error


def read_idx(path: Path, dimensions: int) -> np.ndarray:
    """An idx file of unsigned bytes (LeCun's MNIST format: two zeros, type 8, number of dimensions,
    sizes, data).
    """
    raw = read_packed(path)
    if raw[:4] != bytes([0, 0, 8, dimensions]) or len(raw) < 4 + 4 * dimensions:
        raise DataError(f"{path}: not an idx file of bytes with {dimensions} dimension(s)")
    shape = tuple(np.frombuffer(raw, ">i4", dimensions, offset=4).tolist())
    if len(raw) - 4 - 4 * dimensions != math.prod(shape):
        raise DataError(
            f"{path}: {len(raw) - 4 - 4 * dimensions:,} bytes of data, but its header promises "
            f"{' × '.join(map(str, shape))} = {math.prod(shape):,}: truncated or damaged"
        )
    return np.frombuffer(raw, np.uint8, offset=4 + 4 * dimensions).reshape(shape)


def mnist(name: str, folder: Path, classes) -> Source:
    """MNIST or FashionMNIST from torchvision's `raw` folder; the files may still be packed
    (.gz).
    """
    parts, files = [], []
    for code, prefix in ((TRAIN, "train"), (TEST, "t10k")):
        images = first_file(folder, f"{prefix}-images-idx3-ubyte", f"{prefix}-images-idx3-ubyte.gz")
        labels = first_file(folder, f"{prefix}-labels-idx1-ubyte", f"{prefix}-labels-idx1-ubyte.gz")
        pixels, marks = read_idx(images, 3)[:, None], read_idx(labels, 1)
        _same_length(images, pixels, labels, marks)
        parts.append((code, pixels, marks))
        files += [images, labels]
    return source_of_arrays(name, folder, files, parts, classes)


def usps(name: str, folder: Path, classes) -> Source:
    """USPS: the text files of The Elements of Statistical Learning, or torchvision's (libsvm
    format, labels 1–10).

    The values in [-1, 1] become 0 … 255, rounded.
    """
    parts, files = [], []
    for code, esl, libsvm in ((TRAIN, "zip.train", "usps"), (TEST, "zip.test", "usps.t")):
        path = first_file(folder, f"{esl}.gz", esl, f"{libsvm}.bz2", libsvm)
        text = read_packed(path)
        svm = path.name.startswith("usps")
        try:
            if svm:
                text = re.sub(rb"\d+:", b"", text)
            table = np.loadtxt(io.BytesIO(text), dtype=np.float32, ndmin=2)
        except ValueError as error:
            raise DataError(
                f"{path}: not the expected rows of a label and 256 values ({error})"
            ) from error
        if table.shape[1] != 257 or np.abs(table[:, 1:]).max() > 1.001:
            raise DataError(f"{path}: expected rows of a label and 256 values in [-1, 1]")
        pixels = (
            np.rint((table[:, 1:] + 1) * 127.5).clip(0, 255).astype(np.uint8).reshape(-1, 1, 16, 16)
        )
        parts.append((code, pixels, table[:, 0] - (1 if svm else 0)))
        files.append(path)
    return source_of_arrays(name, folder, files, parts, classes)


class _Bytes:
    """Stands for a pickled numpy array of bytes: numpy itself trusts a pickle so far that a damaged
    one crashes it.
    """

    def __init__(self, *_):
        self.array = None

    def __setstate__(self, state):
        _, shape, _, fortran, raw = state
        raw = raw.encode("latin1") if isinstance(raw, str) else raw
        self.array = np.frombuffer(raw, np.uint8).reshape(shape, order="F" if fortran else "C")


class _ByteType:
    """Stands for a pickled numpy type, which has to be uint8."""

    def __init__(self, code, *_):
        if code != "u1":
            raise pickle.UnpicklingError(f"an array of type {code}, expected u1")

    def __setstate__(self, state):
        """Byte order and the like: a byte has none."""


class _ArraysOnly(pickle._Unpickler):
    """Opens CIFAR's pickles and nothing else: a pickle may call any function, so none but these are
    let in.

    Python's own unpickler, not the one in C, which a damaged file can bring down.
    """

    ALLOWED = {
        ("numpy", "ndarray"): _Bytes,
        ("numpy", "dtype"): _ByteType,
        ("numpy.core.multiarray", "_reconstruct"): _Bytes,
        ("numpy._core.multiarray", "_reconstruct"): _Bytes,
        ("_codecs", "encode"): lambda text, encoding: text.encode(
            "latin1"
        ),  # how Python 3 writes bytes for Python 2
    }

    def find_class(self, module, name):
        if (module, name) not in self.ALLOWED:
            raise pickle.UnpicklingError(f"it asks for {module}.{name}")
        return self.ALLOWED[module, name]


def unpickle(path: Path) -> dict:
    """A pickled dictionary of CIFAR. Raises DataError for anything but lists, strings and
    arrays.
    """
    try:
        with open(path, "rb") as file:
            content = _ArraysOnly(file, encoding="latin1").load()
    except PICKLE_ERRORS as error:
        raise DataError(
            f"{path}: not one of CIFAR's pickled files, or damaged ({error})"
        ) from error
    if not isinstance(content, dict):
        raise DataError(f"{path}: expected a pickled dictionary, not {type(content).__name__}")
    return {
        key.decode("latin1") if isinstance(key, bytes) else key: value.array
        if isinstance(value, _Bytes)
        else value
        for key, value in content.items()
    }


def cifar(
    name: str,
    folder: Path,
    train: Sequence[str],
    test: str,
    meta: str,
    label_key: str,
    names_key: str,
) -> Source:
    """CIFAR-10 or -100 from the pickled batches of `cifar-10-batches-py` or `cifar-100-python`."""
    parts, files = [], []
    for code, batch in [(TRAIN, b) for b in train] + [(TEST, test)]:
        path = first_file(folder, batch)
        content = unpickle(path)
        if not {"data", label_key} <= set(content):
            raise DataError(f"{path}: no {label_key!r} and 'data' in it")
        pixels, labels = content["data"], content[label_key]
        if not isinstance(pixels, np.ndarray) or pixels.ndim != 2 or pixels.shape[1] != 3 * 32 * 32:
            raise DataError(f"{path}: 'data' is not an array (N, 3072) of bytes")
        if not isinstance(labels, list) or not all(isinstance(label, int) for label in labels):
            raise DataError(f"{path}: {label_key!r} is not a list of whole numbers")
        _same_length(path, pixels, path, labels)
        parts.append((code, pixels.reshape(-1, 3, 32, 32), np.array(labels)))
        files.append(path)
    path = first_file(folder, meta)
    classes = unpickle(path).get(names_key)
    if not classes:
        raise DataError(f"{path}: no {names_key!r} in it")
    classes = [c.decode() if isinstance(c, bytes) else c for c in classes]
    return source_of_arrays(name, folder, [*files, path], parts, classes, COLOUR)


def digits(name: str) -> Source:
    """scikit-learn's digits: 1,797 images of 8×8, values 0 … 16."""
    from sklearn.datasets import load_digits

    data = load_digits()
    images = data.images.astype(np.uint8)[:, None]
    return source_of_arrays(
        name, Path("scikit-learn"), [], [(TRAIN, images, data.target)], "0123456789"
    )


def tiny_imagenet(name: str, folder: Path) -> Source:
    """Tiny ImageNet: train/<wnid>/…, and val/<wnid>/… or the release's val/images with
    val_annotations.txt.

    Its own test images have no labels: val is the test set, and validation is cut from train.
    """
    wnids = class_folders(folder / "train")
    if not wnids:
        raise DataError(f"{folder}/train: no class folders")
    rows, _ = labelled(folder / "train", wnids, TRAIN)  # other files are the release's own boxes
    annotations = folder / "val" / "val_annotations.txt"
    if annotations.is_file():
        found = dict(scan(folder / "val" / "images")[0])
        lines = annotations.read_text(encoding="utf-8", errors="replace").splitlines()
        table = [f"{line}\t".split("\t")[:2] for line in lines if line.strip()]
        missing = [file for file, _ in table if file not in found]
        strange = sorted({wnid for _, wnid in table} - set(wnids))
        if missing or strange:
            raise DataError(
                f"{annotations}: {len(missing)} image(s) it lists are not in val/images "
                f"({', '.join(missing[:3])}), "
                f"{len(strange)} class(es) are not in train ({', '.join(strange[:3])})"
            )
        label = {wnid: i for i, wnid in enumerate(wnids)}
        rows += [
            (f"{folder}/val/images/{file}", f"{TEST}/{wnid}/{found[file]}", label[wnid], TEST)
            for file, wnid in sorted(table)
        ]
    else:
        rows += labelled(folder / "val", wnids, TEST)[0]
    return images_of(name, folder, rows, _names(folder, wnids), (64, 64))


def _names(folder: Path, wnids: Sequence[str]) -> list[str]:
    """A readable name for each WordNet id, by words.txt; the id beside it where two would share
    one.
    """
    try:
        lines = (folder / "words.txt").read_text(encoding="utf-8").splitlines()
    except FileNotFoundError:
        return list(wnids)
    words = dict(line.split("\t", 1) for line in lines if "\t" in line)
    names = [words.get(wnid, wnid).split(",")[0].strip() for wnid in wnids]
    seen = Counter(names)
    return [
        name if seen[name] == 1 else f"{name} ({wnid})"
        for name, wnid in zip(names, wnids, strict=True)
    ]


def first_file(folder: Path, *names: str) -> Path:
    """The first of some files that is there. Raises DataError that names them."""
    for name in names:
        if (folder / name).is_file():
            return folder / name
    raise DataError(f"{folder}: {' or '.join(names)} is missing")


def _same_length(path: Path, images, other: Path, labels) -> None:
    if len(images) != len(labels):
        raise DataError(f"{path}: {len(images)} images, but {len(labels)} labels in {other}")
