"""Batches: shuffled, augmented, normalised, as a function of (seed, epoch).

Two streams of a counter-based generator (Philox, Salmon et al. 2011), keyed by seed and epoch,
decide everything: one shuffles, the other gives each sample its own row of random numbers. So which
samples a batch holds depends on (seed, epoch, position) alone, and how a sample is augmented on
(seed, epoch, its index) alone. Nothing has to be remembered to resume a run, and every method that
trains with the same seed sees the same views.

`views=V` repeats them: epoch e shows view e mod V of each image, for every seed alike. Then what a
teacher answers to a view can be kept, and be served to every student and every seed
(`kdcourse.distillation.CachedTeacher`).
"""

import hashlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

import numpy as np
import torch

import kdcourse
from kdcourse.common.errors import UsageError, unknown
from kdcourse.data.splits import Split

SHUFFLE, AUGMENT = 0, 1  # the two streams
REPEATED = 2**32  # instead of the seed where views are repeated, the same for every seed
DRAWS = 8  # random numbers a sample: flips (2), transpose, shift (2), gain, and two to spare


def generator(seed: int, epoch: int, stream: int) -> np.random.Generator:
    """The generator of one stream in one epoch."""
    return np.random.Generator(np.random.Philox(key=[seed, 2 * epoch + stream]))


@dataclass(frozen=True)
class Augmentation:
    """Whole-batch augmentation, the same geometry for every band, no mixing of bands.

    symmetries: "none"; "flip" (left–right, natural images); "square" (the eight symmetries of a
      square: a satellite has no up). pad: shift by up to `pad` pixels, the border filled by
      reflection. jitter: brightness gain, uniform in 1 ± jitter, one factor for all bands of a
      tile, so that band ratios such as NDVI stay as they are.
    """

    symmetries: str = "none"
    pad: int = 0
    jitter: float = 0.0

    def __post_init__(self):
        if self.symmetries not in ("none", "flip", "square"):
            raise unknown("symmetries", self.symmetries, ("none", "flip", "square"))
        if self.pad < 0 or not 0 <= self.jitter < 1:
            raise UsageError(
                f"pad={self.pad}, jitter={self.jitter}: expected pad ≥ 0 and 0 ≤ jitter < 1"
            )

    def __call__(self, images: torch.Tensor, draws: torch.Tensor) -> torch.Tensor:
        """images (B, C, H, W) raw values, draws (B, DRAWS) uniform in [0, 1) → augmented images,
        same shape.
        """
        height, width = images.shape[2:]
        if self.symmetries == "square" and height != width:
            raise UsageError(
                f"symmetries='square' needs square images, not {height}×{width}: use 'flip'"
            )
        if self.pad >= min(height, width):
            raise UsageError(f"pad={self.pad} is as large as the image ({height}×{width})")

        def source(
            size, shift, flip
        ):  # (B, size): from which row or column each output pixel is read
            at = (
                torch.arange(size, device=images.device)
                + (shift[:, None] * (2 * self.pad + 1)).long()
                - self.pad
            )
            at = (size - 1) - (at.abs() - (size - 1)).abs()  # reflect at both borders
            return torch.where(flip[:, None], size - 1 - at, at)

        nowhere = torch.zeros(len(images), dtype=torch.bool, device=images.device)
        vertical = draws[:, 1] < 0.5 if self.symmetries == "square" else nowhere
        horizontal = draws[:, 0] < 0.5 if self.symmetries != "none" else nowhere
        rows = source(height, draws[:, 3], vertical)
        cols = source(width, draws[:, 4], horizontal)
        if self.pad or self.symmetries != "none":  # one gather does flips and shift
            at = (rows[:, :, None] * width + cols[:, None, :]).flatten(1)[:, None, :]  # (B, 1, H·W)
            images = images.flatten(2).gather(2, at.expand(-1, images.shape[1], -1)).view_as(images)
        if self.symmetries == "square":
            transpose = (draws[:, 2] < 0.5)[:, None, None, None]
            images = torch.where(transpose, images.transpose(2, 3), images)
        if self.jitter:
            images = images * (1 + self.jitter * (2 * draws[:, 5] - 1))[:, None, None, None]
        return images


AUGMENTATIONS = {
    "none": None,
    "satellite": Augmentation("square", pad=4, jitter=0.1),
    "natural": Augmentation("flip", pad=4),
    "digits": Augmentation("none", pad=2),
}


@dataclass(frozen=True)
class Batch:
    images: torch.Tensor  # (B, C, H, W) float32, normalised
    labels: torch.Tensor  # (B,) int64
    index: torch.Tensor  # (B,) int64: place of each sample in its split
    epoch: int
    # which augmented view of each sample this is: 0 if there is no augmentation, else see Batches
    view: int = 0
    # What it was cut from. `Batches` alone sets it: a batch made by hand, or by
    # `dataclasses.replace` with other images (mixed, erased), has none, so that nothing kept about
    # the original images is taken for it.
    source: "Batches | None" = field(default=None, init=False, repr=False)

    def __len__(self) -> int:
        return len(self.labels)


class Batches:
    """The batches of a split, epoch by epoch.

    seed=None reads the split in order (validation, test); a number shuffles it. `augment` is an
    Augmentation or None. `sampler(epoch)`, if given, returns the indices of an epoch, already in
    order, and replaces the shuffle; they may repeat or leave out samples. The last batch may be
    smaller.

    views=None: each epoch shows views of its own, drawn from (seed, epoch). views=V: epoch e shows
    view e mod V, drawn from (REPEATED, view), the same for every seed; the seed still shuffles.

    >>> for batch in Batches(data.train, 64, seed=0).epoch(3): ...
    """

    def __init__(
        self,
        split: Split,
        batch_size: int,
        *,
        seed: int | None = None,
        augment: Augmentation | None = None,
        device: str | torch.device = "cpu",
        sampler: Callable[[int], np.ndarray] | None = None,
        views: int | None = None,
    ):
        if views is not None and views < 1:
            raise UsageError(
                f"views={views}: expected 1 or more, or None for views of its own in each epoch"
            )
        if batch_size < 1:
            raise UsageError(f"batch_size={batch_size}: expected 1 or more")
        if not len(split):
            raise UsageError(f"the {split.name} split is empty: nothing to make batches of")
        if seed is not None and seed < 0:
            raise UsageError(f"seed={seed}: expected 0 or more")
        if augment and split.name != "train":
            raise UsageError(
                f"augment= on the {split.name} split: only training images are augmented, else the "
                "figure is not that of the data set (D2 flips its test images at random)"
            )
        if augment and seed is None:
            raise UsageError(
                "augment= needs seed=: an augmented view is a function of (seed, epoch, index)"
            )
        self.split, self.batch_size, self.seed = split, batch_size, seed
        self.augment, self.sampler, self.views = augment, sampler, views
        self.device = torch.device(device)
        shape = (1, -1, 1, 1)
        self._mean = torch.tensor(split.mean, device=self.device).reshape(shape)
        self._scale = 1 / torch.tensor(split.std, device=self.device).reshape(shape)

    def __len__(self) -> int:
        """Batches in an epoch without a sampler of its own."""
        return -(-len(self.split) // self.batch_size)

    def order(self, epoch: int) -> np.ndarray:
        """The indices of an epoch, in the order in which they are read."""
        if self.sampler is not None:
            return np.asarray(self.sampler(epoch), dtype=np.int64)
        if self.seed is None:
            return np.arange(len(self.split))
        return generator(self.seed, epoch, SHUFFLE).permutation(len(self.split))

    @property
    def repeated(self) -> str | None:
        """The name under which something may be kept for each (view, index), or None if nothing
        may.

        It stands for all that an image depends on: the data and their size, the rows of the split,
        the augmentation, the normalisation, the version of the course. None where views are not
        repeated, where the data have no fingerprint, and for an augmentation of your own: what it
        does cannot be told from its name.
        """
        split = self.split
        if not split.fingerprint or (
            self.augment and (not self.views or type(self.augment) is not Augmentation)
        ):
            return None
        kind = (
            split.images.shape[1:],
            str(split.images.dtype),
            self.augment,
            REPEATED,
            DRAWS,
            kdcourse.__version__,
        )
        what = hashlib.sha256(
            f"{split.fingerprint} {kind}".encode() + split.rows.astype("<i8").tobytes()
        )
        for values in (split.mean, split.std):
            what.update(np.asarray(values, np.float32).tobytes())
        return what.hexdigest()[:16]

    def epoch(self, epoch: int = 0) -> Iterator[Batch]:
        view = epoch % self.views if self.views else epoch
        return self._cut(self.order(epoch), epoch, view if self.augment else 0)

    def view(self, view: int, indices=None) -> Iterator[Batch]:
        """One view of every sample, or of those at these indices, in the split's order: what epoch
        `view` shows.
        """
        if view < 0 or (self.views and view >= self.views):
            raise UsageError(f"view={view}: expected 0 or more, and less than views={self.views}")
        order = (
            np.arange(len(self.split)) if indices is None else np.asarray(indices, dtype=np.int64)
        )
        return self._cut(order, view, view if self.augment else 0)

    def _cut(self, order: np.ndarray, epoch: int, view: int) -> Iterator[Batch]:
        draws = None
        if self.augment:  # row i is the same whatever the number of rows: Philox counts
            seed = REPEATED if self.views else self.seed
            draws = generator(seed, view, AUGMENT).random(
                (len(self.split), DRAWS), dtype=np.float32
            )
        for start in range(0, len(order), self.batch_size):
            index = order[start : start + self.batch_size]
            yield self._batch(index, None if draws is None else draws[index], epoch, view)

    def _batch(self, index: np.ndarray, draws: np.ndarray | None, epoch: int, view: int) -> Batch:
        raw = self.split.take(index)
        if (
            raw.dtype != np.uint8
        ):  # few torch kernels know uint16, MPS no float64; float32 holds uint16 exactly
            raw = raw.astype(np.float32)
        images = torch.from_numpy(raw).to(self.device).float()
        if draws is not None:
            images = self.augment(images, torch.from_numpy(draws).to(self.device))
        batch = Batch(
            images=(images - self._mean) * self._scale,
            labels=torch.from_numpy(self.split.labels[index]).to(self.device),
            index=torch.from_numpy(index).to(self.device),
            epoch=epoch,
            view=view,
        )
        object.__setattr__(batch, "source", self)
        return batch
