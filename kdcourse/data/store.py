"""Decoded arrays on disk: a data set is decoded once, in parallel, and memory-mapped from then on.

A store is a folder `<work>/store/<name>-<slot>-<key>` with `images.npy` (N, C, H, W) and
`meta.json`. The key is a hash of the sources (names, sizes, times), the image size and FORMAT: a
changed source has another key, so it is decoded anew. A store is built in a folder of its own to a
temporary folder and renamed when it is whole: what an interrupted build leaves never passes for a
store, and of two processes that build at once the later one takes the earlier one's.
"""

import errno
import hashlib
import json
import math
import os
import re
import shutil
import socket
import warnings
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path

import numpy as np

from kdcourse.common.errors import DataError
from kdcourse.common.paths import work_dir
from kdcourse.common.progress_bar import bar
from kdcourse.common.system import cores

FORMAT = 1  # raise it when the same sources would decode to other arrays
CHUNK = 64  # images that a thread decodes at a time
LISTED = 20  # bad files named in an error; the rest is counted
TRAIN, VAL, TEST = 0, 1, 2  # the official parts of a data set


@dataclass(frozen=True)
class Source:
    """The samples of a data set before they are decoded.

    `decode(item)` returns one image (C, H, W), or raises DataError with a message that names the
    file.
    """

    name: str
    folder: Path  # where it was found
    items: Sequence  # (N,) what `decode` takes: paths, or rows of a file
    stamps: Sequence[str]  # (N,) name, size and time of each item's file, or the row in it
    labels: np.ndarray  # (N,) int64
    parts: np.ndarray  # (N,) TRAIN, VAL or TEST: all TRAIN where there is no official cut
    classes: tuple[str, ...]
    channels: tuple[str, ...]
    decode: Callable[[object], np.ndarray]
    dtype: np.dtype | type  # uint8 or uint16
    size: tuple[int, int] | None  # height, width of every image; None: they differ
    files: tuple[str, ...] = ()  # stamps of files that hold many samples
    notes: tuple[str, ...] = ()

    def __len__(self) -> int:
        return len(self.items)

    def subset(self, rows: np.ndarray) -> "Source":
        return replace(
            self,
            items=[self.items[i] for i in rows],
            stamps=[self.stamps[i] for i in rows],
            labels=self.labels[rows],
            parts=self.parts[rows],
        )


def stamp(path: Path | os.DirEntry, name: str | None = None) -> str:
    """Name, size in bytes and time of change in ns: what tells a changed file from the same one."""
    info = path.stat()
    return f"{name or path.name}|{info.st_size}|{info.st_mtime_ns}"


def digest(*parts: object) -> str:
    """A hash of a few values, 16 hexadecimal digits."""
    return hashlib.sha256(json.dumps(parts, default=str).encode()).hexdigest()[:16]


def decoded(
    source: Source,
    image_size: int | None,
    *,
    slot: object = "",
    skip_bad: bool = False,
    progress: bool = True,
) -> tuple[np.ndarray, list[tuple[int, str]], str]:
    """The images of a source, (N, C, H, W), memory-mapped and read-only; the bad files; the key of
    the sources.

    A bad file is a row, which holds zeros, and a message. slot: with the source's name, folder and
    size it tells which older store the new one replaces. Raises DataError with all bad files
    (unless skip_bad), or on a full disk.
    """
    height, width = (image_size, image_size) if image_size else source.size
    shape = (len(source), len(source.channels), height, width)
    key = digest(FORMAT, source.name, list(source.stamps), source.files, shape)
    place = work_dir() / "store"
    name = re.sub(r"[^A-Za-z0-9_.-]", "_", source.name)
    prefix = f"{name}-{digest(str(source.folder), image_size, slot)[:6]}-"
    whole, holes = place / f"{prefix}{key}", place / f"{prefix}{key}-skipped"
    for folder in (whole, holes) if skip_bad else (whole,):
        if opened := _open(folder, shape, source.dtype):
            return *opened, key

    needed = math.prod(shape) * np.dtype(source.dtype).itemsize
    _make_room(place, needed)
    _remove_abandoned(place)
    partial = place / f"{prefix}{key}.{socket.gethostname()}.{os.getpid()}.partial"
    try:
        bad = _build(partial, source, shape, image_size, progress)
        if bad and not skip_bad:
            raise DataError(bad_files(bad, len(source)))
        target = holes if bad else whole
        if target.exists() and not _open(target, shape, source.dtype):  # damaged
            shutil.rmtree(target)
        try:
            partial.rename(target)
        except OSError as error:
            if error.errno not in (errno.ENOTEMPTY, errno.EEXIST):
                raise
            # another process was first: its store is as good
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG):
            raise _full(place, needed) from error
        raise
    finally:
        shutil.rmtree(partial, ignore_errors=True)
    for stale in place.glob(f"{prefix}*"):
        if stale != target and stale.suffix != ".partial":
            shutil.rmtree(stale, ignore_errors=True)
    if not (opened := _open(target, shape, source.dtype)):
        raise DataError(
            f"{target}: another process removed it (have the source files changed meanwhile?). "
            "Load again."
        )
    return *opened, key


def bad_files(bad: list[tuple[int, str]], total: int) -> str:
    """One message for all bad files."""
    rest = f"\n  … and {len(bad) - LISTED} more" if len(bad) > LISTED else ""
    listed = "".join(f"\n  {message}" for _, message in bad[:LISTED])
    return (
        f"{len(bad)} of {total} files cannot be used:{listed}{rest}\nReplace or remove them, or go "
        "on without them: "
        "skip_bad=True, on the command line --skip-bad."
    )


def resize(image: np.ndarray, size: int) -> np.ndarray:
    """(C, H, W) → (C, size, size) in the same integer type: antialiased bilinear, rounded.

    The shorter side becomes `size` and the middle is cut out, so nothing is stretched.
    """
    height, width = image.shape[1:]
    if (height, width) == (size, size):
        return image
    scale = size / min(height, width)
    rows, columns = max(size, round(height * scale)), max(size, round(width * scale))
    values = image.astype(np.float32)
    for axis, length in ((2, columns), (1, rows)):
        if values.shape[axis] != length:
            values = _resized(values, length, axis)
    top, left = (rows - size) // 2, (columns - size) // 2
    values = values[:, top : top + size, left : left + size]
    return np.rint(values).clip(0, np.iinfo(image.dtype).max).astype(image.dtype)


def _resized(values: np.ndarray, size: int, axis: int) -> np.ndarray:
    """float32 of another size along one axis: each output is a mean of the inputs around it,
    weighted by nearness.

    What torch's `interpolate(mode="bilinear", antialias=True)` does, in numpy: where a network is
    used (`kdcourse.shipping.predict`) images are read without torch. Sums are rounded as its fused
    multiply–adds do it.
    """
    places, weights = _taps(values.shape[axis], size)
    values = values.astype(np.float64)
    total = np.float32(0)
    for place, weight in zip(places, weights, strict=True):
        near = values.take(place, axis)
        near *= np.expand_dims(weight, tuple(range(1, values.ndim - axis)))
        near += total
        total = near.astype(np.float32)
    return total


@lru_cache(maxsize=64)
def _taps(width: int, size: int) -> tuple[np.ndarray, np.ndarray]:
    """From where each of `size` outputs is read in `width` inputs, and with which weights: two
    arrays (taps, size).
    """
    one, half = np.float32(1), np.float32(0.5)
    step = np.float32(width) / np.float32(size)
    reach = max(step, one)
    middle = step * (np.arange(size, dtype=np.float32) + half)
    first = np.maximum((middle - reach + half).astype(int), 0)
    end = np.minimum((middle + reach + half).astype(int), width)
    at = first + np.arange((end - first).max())[:, None]
    weights = 1 - np.abs((at.astype(np.float32) - middle + half) * (one / reach))
    weights = np.where(at < end, weights, 0).clip(0)
    return np.minimum(at, width - 1), weights / np.add.accumulate(weights)[
        -1
    ]  # added up from the first to the last


def _open(
    folder: Path, shape: tuple[int, ...], dtype
) -> tuple[np.ndarray, list[tuple[int, str]]] | None:
    """The array of a store and its bad files, or None if there is no store or it is not whole."""
    try:
        images = np.load(folder / "images.npy", mmap_mode="r")
        meta = json.loads((folder / "meta.json").read_text(encoding="utf-8"))
    except (
        FileNotFoundError,
        NotADirectoryError,
        EOFError,
        ValueError,
    ):  # the last two: a file cut short
        return None
    if images.shape != shape or images.dtype != dtype:
        return None
    return np.asarray(images), [(row, message) for row, message in meta["bad"]]


def _build(
    folder: Path, source: Source, shape: tuple[int, ...], image_size: int | None, progress: bool
) -> list:
    """Decode everything into `folder`, in order. Returns the bad files.

    Written by `write` and not through a memory map: on a full disk the first raises, the second
    kills the process.
    """

    def chunk(start: int) -> tuple[np.ndarray, list[tuple[int, str]]]:
        items = source.items[start : start + CHUNK]
        block, errors = np.zeros((len(items), *shape[1:]), source.dtype), []
        for i, item in enumerate(items):
            try:
                image = source.decode(item)
                block[i] = resize(image, image_size) if image_size else image
            except DataError as error:
                errors.append((start + i, str(error)))
        return block, errors

    folder.mkdir(parents=True)
    bad: list[tuple[int, str]] = []
    seen = bar(total=len(source), desc=f"decoding {source.name}", unit="image", shown=progress)
    with seen, warnings.catch_warnings(), open(folder / "images.npy", "wb") as file:
        warnings.filterwarnings(
            "ignore", message="Dataset has no geotransform"
        )  # the pixels are all we want
        header = {
            "descr": np.lib.format.dtype_to_descr(np.dtype(source.dtype)),
            "fortran_order": False,
            "shape": shape,
        }
        np.lib.format.write_array_header_1_0(file, header)
        for block, errors in _in_order(chunk, range(0, len(source), CHUNK)):
            file.write(block.data)
            bad += errors
            seen.update(len(block))
    meta = {"name": source.name, "folder": str(source.folder), "format": FORMAT, "bad": bad}
    (folder / "meta.json").write_text(json.dumps(meta), encoding="utf-8")
    return bad


def _in_order(work: Callable, tasks: Sequence) -> Iterator:
    """The results of `work` on each task, in order, by threads that run only a little ahead."""
    threads = min(8, cores())
    with ThreadPoolExecutor(threads) as pool:
        waiting = deque()
        try:
            for task in tasks:
                waiting.append(pool.submit(work, task))
                if len(waiting) > 2 * threads:
                    yield waiting.popleft().result()
            while waiting:
                yield waiting.popleft().result()
        finally:
            for future in waiting:
                future.cancel()


def _make_room(place: Path, needed: int) -> None:
    try:
        place.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise DataError(
            f"{place}: cannot be made ({error.strerror}). Name a folder that can be written with "
            "KDCOURSE_WORK."
        ) from error
    if shutil.disk_usage(place).free < needed + 2**20:
        raise _full(place, needed)


def _full(place: Path, needed: int) -> DataError:
    free = shutil.disk_usage(place).free
    return DataError(
        f"{place}: the disk is too full for the decoded images: {needed:,} bytes needed, {free:,} "
        "free. Free some space, name another folder with KDCOURSE_WORK, or take fewer or smaller "
        "images (limit=, image_size=)."
    )


def _remove_abandoned(place: Path) -> None:
    """Remove what builds of this machine left that were killed."""
    if os.name != "posix":
        return
    for folder in place.glob(f"*.{socket.gethostname()}.*.partial"):
        try:
            os.kill(
                int(folder.name.split(".")[-2]), 0
            )  # signal 0 only asks whether the process lives
        except ProcessLookupError:
            shutil.rmtree(folder, ignore_errors=True)
        except PermissionError:  # it lives, under another user
            continue
