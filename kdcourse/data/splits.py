"""Splits: which samples train, validate and test. The same for every run with the same seed."""

import hashlib
from dataclasses import dataclass, field, replace

import numpy as np

from kdcourse.common.errors import DataError, UsageError


class TooFew(DataError):
    """A class with fewer samples than there are splits to cut it into."""

    def __init__(self, label: int, count: int, parts: int):
        super().__init__(f"class {label} has {count} sample(s), too few for {parts} splits")
        self.label, self.count, self.parts = label, count, parts


@dataclass(frozen=True)
class Split:
    """Some samples of a data set: a view of its decoded array, which may be memory-mapped.

    `images` is the array of the *whole* data set, (M, C, H, W), in the data's own integer or float
    type; `rows` says which of its rows belong here. A sample's *index* is its place in this split,
    0 … N−1.
    """

    name: str  # "train", "val" or "test"
    images: np.ndarray  # (M, C, H, W)
    rows: np.ndarray  # (N,) rows of `images`
    labels: np.ndarray  # (N,) int64, the label of each row
    mean: np.ndarray  # (C,) float32, of the training split
    std: np.ndarray  # (C,) float32, of the training split
    # of the data set, the split and its rows: what is kept about the images is kept under it
    fingerprint: str = ""

    def __len__(self) -> int:
        return len(self.rows)

    def take(self, indices) -> np.ndarray:
        """The raw images at these indices: (B, C, H, W), copied into memory."""
        return self.images[self.rows[np.asarray(indices)]]

    def subset(self, indices) -> "Split":
        """The samples at these indices as a split of the same name."""
        indices = np.asarray(indices) if len(indices) else np.empty(0, dtype=np.int64)
        rows = self.rows[indices]
        return replace(
            self,
            rows=rows,
            labels=self.labels[indices],
            fingerprint=_of_rows(self.fingerprint, rows),
        )


@dataclass(frozen=True)
class DataSplits:
    """A data set ready to train on. `mean` and `std` (C,) are those of the training split alone.

    Made by `kdcourse.data.load`, or from arrays of your own by `DataSplits.from_arrays`.
    """

    name: str
    train: Split
    val: Split
    test: Split
    classes: tuple[str, ...]
    channels: tuple[str, ...]
    augmentation: str = "none"  # the default of this data set: a name in batches.AUGMENTATIONS
    fingerprint: str = ""  # of the source files, the image size and the split
    notes: tuple[str, ...] = field(default=())  # what was left out and why, said to the user
    asked: dict = field(
        default_factory=dict
    )  # the arguments of `load` that give these data again; none for arrays

    @classmethod
    def from_arrays(
        cls,
        name: str,
        images: np.ndarray,
        labels: np.ndarray,
        parts,
        classes,
        channels,
        *,
        fingerprint=None,
        **other,
    ) -> "DataSplits":
        """images (M, C, H, W), labels (M,) from 0 to C − 1 for C classes, parts: the rows of train,
        val and test.

        Without `fingerprint=` it is computed from all of them: other pixels, other networks that
        are kept. Raises UsageError for what cannot be trained on.
        """
        if not isinstance(images, np.ndarray) or images.ndim != 4:
            given = f"{type(images).__name__} of shape {tuple(np.shape(images))}"
            raise UsageError(
                f"images: expected a NumPy array (M, C, H, W), got {given}. Of a tensor take "
                "tensor.numpy()"
            )
        labels = np.asarray(labels)
        if labels.shape != (len(images),) or labels.dtype.kind not in "iub":
            raise UsageError(
                f"labels: expected {len(images)} whole numbers, one an image, got {labels.dtype} "
                f"of shape {labels.shape}"
            )
        if len(labels) and not 0 <= labels.min() <= labels.max() < len(classes):
            raise UsageError(
                f"labels: expected 0 to {len(classes) - 1}, for {len(classes)} classes, got "
                f"{labels.min()} to {labels.max()}. Number the classes from 0 on"
            )
        if len(channels) != images.shape[1]:
            raise UsageError(
                f"channels: expected {images.shape[1]} names, one a channel, got {len(channels)}"
            )
        labels = labels.astype(np.int64)
        rows = [np.asarray(part, dtype=np.int64) for part in parts]
        if len(rows) != 3 or any(
            len(at) and not 0 <= at.min() <= at.max() < len(images) for at in rows
        ):
            raise UsageError(
                f"parts: expected rows of train, val and test, from 0 to {len(images) - 1}"
            )
        mean, std = channel_statistics(images, rows[0])
        if fingerprint is None:
            fingerprint = _of_arrays(images, labels, *rows)
        splits = [
            Split(part, images, at, labels[at], mean, std, _of_rows(fingerprint, at))
            for part, at in zip(("train", "val", "test"), rows, strict=True)
        ]
        return cls(name, *splits, tuple(classes), tuple(channels), fingerprint=fingerprint, **other)

    @property
    def mean(self) -> np.ndarray:
        return self.train.mean

    @property
    def std(self) -> np.ndarray:
        return self.train.std

    @property
    def image_size(self) -> tuple[int, int]:
        """Height and width in pixels."""
        return self.train.images.shape[2:]

    def fewer(self, count: int, seed: int = 0) -> "DataSplits":
        """With `count` training images, each class in its share, and at most as many for
        validation; test stays whole.

        mean and std are those of the images that are left. With the same seed fewer images are part
        of more. Raises UsageError for a count that leaves a class without an image, or is more than
        there are.
        """
        train, val = self.train, self.val
        train = train.subset(stratified_sample(train.labels, count, seed))
        if count < len(val):
            val = val.subset(stratified_sample(val.labels, count, seed))
        mean, std = channel_statistics(train.images, train.rows)
        train, val, test = (replace(split, mean=mean, std=std) for split in (train, val, self.test))
        asked = self.asked and self.asked | {
            "fewer": [*self.asked.get("fewer", ()), [int(count), int(seed)]]
        }
        return replace(
            self, train=train, val=val, test=test, fingerprint=train.fingerprint, asked=asked
        )

    def about(self) -> dict:
        """What a network trained on these data takes and answers, in plain values: kept with its
        weights.
        """
        return {
            "data": self.name,
            "asked": self.asked,
            "fingerprint": self.fingerprint,
            "classes": list(self.classes),
            "channels": list(self.channels),
            "image_size": list(self.image_size),
            "dtype": str(self.train.images.dtype),
            "mean": self.mean.tolist(),
            "std": self.std.tolist(),
            "augmentation": self.augmentation,
        }

    def __repr__(self) -> str:
        sizes = " + ".join(str(len(s)) for s in (self.train, self.val, self.test))
        height, width = self.image_size
        return (
            f"{self.name}: {sizes} (train + val + test) images of "
            f"{height}×{width}×{len(self.channels)}, {len(self.classes)} classes"
        )


def _of_arrays(*arrays: np.ndarray) -> str:
    what = hashlib.sha256()
    for array in arrays:
        what.update(f"{array.shape} {array.dtype.str}".encode())
        what.update(np.ascontiguousarray(array).data)
    return what.hexdigest()[:16]


def _of_rows(fingerprint: str, rows: np.ndarray) -> str:
    """The fingerprint of some rows of the data with this fingerprint; "" if the data have none."""
    return (
        fingerprint
        and hashlib.sha256(fingerprint.encode() + rows.astype("<i8").tobytes()).hexdigest()[:16]
    )


def stratified(labels: np.ndarray, fractions: tuple[float, ...], seed: int) -> list[np.ndarray]:
    """Cut samples into parts with the same share of each class.

    `labels` (N,); `fractions` sum to 1. Returns one sorted index array a part. Within a class of n
    samples the first parts get round(n · cumulated fraction); every part gets at least one sample
    of each class. Raises TooFew, a DataError, if a class has fewer samples than there are parts.
    """
    if abs(sum(fractions) - 1) > 1e-9 or min(fractions) <= 0:
        raise UsageError(f"fractions={fractions}: expected positive numbers that sum to 1")
    rng = np.random.default_rng([seed, 0x5911])
    parts: list[list[np.ndarray]] = [[] for _ in fractions]
    for label in np.unique(labels):
        members = rng.permutation(np.flatnonzero(labels == label))
        n = len(members)
        if n < len(fractions):
            raise TooFew(int(label), n, len(fractions))
        cuts = np.round(np.cumsum(fractions)[:-1] * n).astype(int)
        for i in range(len(cuts)):  # at least one sample in every part
            cuts[i] = np.clip(cuts[i], (cuts[i - 1] if i else 0) + 1, n - (len(cuts) - i))
        for part, chunk in zip(parts, np.split(members, cuts), strict=True):
            part.append(chunk)
    return [np.sort(np.concatenate(part)) for part in parts]


def stratified_sample(groups: np.ndarray, count: int, seed: int, least=1) -> np.ndarray:
    """`count` samples, exactly, with each group's share of them (largest remainders): sorted
    indices.

    `groups` (N,): what to keep the shares of, such as labels. least: at least so many of each
    group, a number or one a group. With the same seed a smaller sample is part of a larger one.
    """
    names, sizes = np.unique(groups, return_counts=True)
    least = np.minimum(np.broadcast_to(least, sizes.shape), sizes)
    if not least.sum() <= count <= len(groups):
        raise UsageError(
            f"{count} of {len(groups)} samples: expected {least.sum()} or more, and no more than "
            "there are"
        )
    share = count * sizes / len(groups)
    counts = np.maximum(np.floor(share).astype(int), least)
    while counts.sum() < count:
        counts[np.argmax(share - counts)] += 1
    while counts.sum() > count:
        counts[np.argmax(np.where(counts > least, counts - share, -np.inf))] -= 1
    rng = np.random.default_rng([seed, 0x5A3B])
    shuffled = [rng.permutation(np.flatnonzero(groups == name)) for name in names]
    return np.sort(
        np.concatenate([members[:n] for members, n in zip(shuffled, counts, strict=True)])
    )


def channel_statistics(images: np.ndarray, rows: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Mean and standard deviation of each channel over some rows of images (M, C, H, W): two (C,)
    float32 arrays.

    One streaming pass of float64 sums, so a memory-mapped array need not fit in memory. A constant
    channel gets a
    standard deviation of 1: normalising then leaves zeros and not infinities.
    """
    chunk = max(1, 2**22 // images[0].size)  # 32 MiB of float64, whatever the size of an image
    count, total, squares = 0, 0.0, 0.0
    for start in range(0, len(rows), chunk):
        block = images[rows[start : start + chunk]].astype(np.float64)
        count += block.size // block.shape[1]
        total = total + block.sum(axis=(0, 2, 3))
        squares = squares + np.square(block).sum(axis=(0, 2, 3))
    mean = total / count
    std = np.sqrt(np.maximum(squares / count - mean**2, 0))
    return mean.astype(np.float32), np.where(std < 1e-6, 1, std).astype(np.float32)
