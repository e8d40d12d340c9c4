"""Readers of whole data sets in a few files: idx (MNIST), text (USPS), pickles (CIFAR), digits, and
Tiny ImageNet's folders. Each returns a `Source`.

torchvision has readers for MNIST, USPS and CIFAR. Ours stay: torchvision opens CIFAR's pickles by
`pickle.load`, which runs any code in the file; it doesn't read the packed files as they are
downloaded, or name a truncated one; and its import takes seconds.
"""

import bz2
import gzip
import io
import math
import pickle
import re
import struct
import zlib
from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np

from kdcourse.common.errors import DataError
from kdcourse.data.images import COLOUR, GREY, class_folders, images_of, labelled, scan
from kdcourse.data.store import TEST, TRAIN, Source, stamp

PICKLE_ERRORS = (
    OSError, pickle.UnpicklingError, EOFError, MemoryError, OverflowError, RecursionError,
    struct.error, AssertionError, ValueError, TypeError, LookupError, AttributeError, ImportError,
)  # fmt: skip


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
                f"({', '.join(missing[:3])}), {len(strange)} class(es) are not in train "
                f"({', '.join(strange[:3])})"
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
