"""`load`: from the name of a data set to splits that are the same in every run."""

import os
import warnings
from collections.abc import Callable
from numbers import Integral

import numpy as np

from kdcourse.common.errors import DataError, DataWarning, UsageError, unknown
from kdcourse.data.datasets import CATALOG, DatasetInfo, Request, dataset_info
from kdcourse.data.splits import DataSplits, TooFew, stratified, stratified_sample
from kdcourse.data.store import TEST, TRAIN, VAL, Source, decoded, digest

__all__ = ["CATALOG", "SPLITS", "DatasetInfo", "dataset_info", "load"]

D1 = (0.7, 0.1, 0.2)  # train : test = 8 : 2, of which an eighth of the 8 validates
VALIDATION = 0.1  # of an official training set


def load(
    name: str | os.PathLike,
    *,
    root: str | os.PathLike | None = None,
    image_size: int | None = None,
    limit: int | None = None,
    split_seed: int = 0,
    split: str | None = None,
    skip_bad: bool = False,
    progress: bool = True,
) -> DataSplits:
    """Load a data set by its name in `CATALOG`, or a folder of images by its path.

    The same call gives the same splits.

    root: the data root, else `KDCOURSE_DATA`, else the work folder.
    image_size: pixels a side; images are resized when decoded (antialiased bilinear). None keeps
      the files' own size.
    limit: at most so many images over all splits, the share of each class and official part kept,
      drawn by split_seed.
    split: None keeps the official test set, if there is one, and validates on a tenth of train;
      without one it is "d1". "d1": train : test = 8 : 2 over everything, an eighth of the 8
      validates. "d4": all of the official training set trains; validation and test are 70 : 30 of
      the official test set.
    skip_bad: go on without files that cannot be read; the notes and a warning say how many.

    The first call decodes the images into a memory-mapped store (see `kdcourse.data.store`). Raises
    UsageError for an argument that cannot be right, DataError for files that are missing or
    damaged.
    """
    _check(image_size=image_size, limit=limit, split_seed=split_seed)
    if not isinstance(skip_bad, bool):
        raise UsageError(f"skip_bad={skip_bad!r}: expected True or False")
    if split not in (None, *SPLITS):
        raise unknown("split", split, SPLITS)
    info = dataset_info(name)
    asked = dict(
        name=str(name) if str(name) in CATALOG else os.path.abspath(os.path.expanduser(name)),
        root=root and os.path.abspath(os.path.expanduser(root)),
        image_size=image_size and int(image_size), limit=limit and int(limit),
        split_seed=int(split_seed), split=split, skip_bad=skip_bad,
    )  # fmt: skip
    source = info.open(info, Request(root, image_size, limit, progress))
    if len(source.classes) < 2:
        raise DataError(f"{source.folder}: one class only. A classifier needs two or more.")
    cut = SPLITS[split] if split else official
    slot = limit or ()  # stores of different limits stand side by side
    if limit is not None and limit >= len(source):
        limit = None
    if limit:
        source = source.subset(_chosen(source, cut, limit, split_seed))
        slot = (limit, split_seed, split)
    size = image_size or (info.image_size if source.size is None else None)
    if source.size == (size, size):
        size = None
    array, bad, key = decoded(source, size, slot=slot, skip_bad=skip_bad, progress=progress)
    good, notes = _without(bad, source, info.name)
    return DataSplits.from_arrays(
        info.name,
        array,
        source.labels,
        _rows(source, good, cut, split_seed),
        source.classes,
        source.channels,
        augmentation=info.augmentation,
        fingerprint=digest(key, [row for row, _ in bad], split, split_seed, limit),
        notes=notes,
        asked=asked,
    )


def _without(bad: list[tuple[int, str]], source: Source, name: str) -> tuple[np.ndarray, tuple]:
    """The rows that can be read, and the source's notes with one about the others.

    Warns of files that cannot be read. Raises DataError if a class has none left.
    """
    good = np.setdiff1d(np.arange(len(source)), [row for row, _ in bad])
    if not bad:
        return good, source.notes
    note = f"{len(bad)} of {len(source)} files could not be read and are left out"
    warnings.warn(f"{name}: {note}, the first of them {bad[0][1]}", DataWarning, stacklevel=3)
    lost = set(range(len(source.classes))) - set(source.labels[good].tolist())
    if lost:
        raise DataError(
            f"{name}: no readable file is left of {', '.join(source.classes[i] for i in lost)}"
        )
    return good, (*source.notes, note)


def _rows(source: Source, good: np.ndarray, cut: Callable, seed: int) -> list[np.ndarray]:
    """Rows of train, validation and test. Raises DataError for a class that is too small."""
    try:
        return [good[part] for part in cut(source.labels[good], source.parts[good], seed)]
    except TooFew as error:
        raise DataError(
            f"{source.folder}: class {source.classes[error.label]} has {error.count} image(s) to "
            f"be cut into {error.parts} splits. Add images, or raise limit= if you gave one."
        ) from error


# --- splits ---------------------------------------------------------------------------------------


def d1_split(labels: np.ndarray, parts: np.ndarray, seed: int) -> list[np.ndarray]:
    """D1: 8 : 2 over everything, official parts or not; an eighth of the 8 validates."""
    return stratified(labels, D1, seed)


def official(labels: np.ndarray, parts: np.ndarray, seed: int) -> list[np.ndarray]:
    """The official test set, and the official validation set or a tenth of train; without a test
    set D1's cut.
    """
    train, val, test = (np.flatnonzero(parts == part) for part in (TRAIN, VAL, TEST))
    if not len(test):
        return d1_split(labels, parts, seed)
    if not len(val):
        kept, held = stratified(labels[train], (1 - VALIDATION, VALIDATION), seed)
        train, val = train[kept], train[held]
    return [train, val, test]


def d4_split(labels: np.ndarray, parts: np.ndarray, seed: int) -> list[np.ndarray]:
    """D4: the whole official training set, and the official test set cut 70 : 30 into validation
    and test.
    """
    test = np.flatnonzero(parts == TEST)
    if not len(test):
        raise UsageError(
            "split='d4' cuts the official test set in two, and this data set has none: use 'd1' or "
            "None"
        )
    count = len(test) * 7 // 10
    if count < len(np.unique(labels[test])):
        raise DataError(
            f"split='d4': {len(test)} test images are too few to cut 70 : 30 with every class in "
            "each"
        )
    val = stratified_sample(labels[test], count, seed)
    return [np.flatnonzero(parts != TEST), test[val], np.delete(test, val)]


SPLITS = {"d1": d1_split, "d4": d4_split}


def _chosen(source: Source, cut: Callable, limit: int, seed: int) -> np.ndarray:
    """The rows of `limit` samples, the share of each class in each official part kept."""
    official_parts = np.unique(source.parts)
    if len(official_parts) == 1:
        least = {TRAIN: 3}
    elif cut is d4_split:
        least = {TRAIN: 1, VAL: 1, TEST: 2}
    else:
        least = {TRAIN: 2, VAL: 1, TEST: 1}
    groups = source.labels * 3 + source.parts
    needed = sum(least[int(part)] for part in official_parts) * len(source.classes)
    if limit < needed:
        raise DataError(
            f"limit={limit} is too small for the {len(source.classes)} classes of {source.name}: "
            f"at least {needed}"
        )
    return stratified_sample(
        groups, limit, seed, [least[int(group) % 3] for group in np.unique(groups)]
    )


def _check(**arguments) -> None:
    bounds = {"image_size": 1, "limit": 1, "split_seed": 0}
    for name, value in arguments.items():
        if value is None and name != "split_seed":
            continue
        if not isinstance(value, Integral) or isinstance(value, bool) or value < bounds[name]:
            raise UsageError(f"{name}={value!r}: expected a whole number, {bounds[name]} or more")
