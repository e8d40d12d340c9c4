"""How hard is a data set? The five criteria of D4, measured.

D4 (Knowledge distillation in image classification: the impact of datasets, Computers 2024, 13(8),
184) argues that distillation gains more on complex data and names five criteria of complexity:
dimensionality, class diversity, data volume, intra-class variation and domain specificity. It ranks
its data sets by them but measures none. Here each criterion gets a number, all of them from
*training* images alone, so that nothing about the test set is used.

The distances and errors are taken in one common space: pixels normalised by channel, images larger
than 32×32 averaged down to at most that, projected on their first principal components (at most
50). They speak of pixels, not of what a network sees.
"""

from collections.abc import Iterable
from dataclasses import asdict, dataclass

import numpy as np
import pandas as pd
from sklearn.linear_model import RidgeClassifier
from sklearn.model_selection import StratifiedKFold, cross_val_predict
from sklearn.neighbors import KNeighborsClassifier

from kdcourse.common.errors import DataError, UsageError
from kdcourse.data.splits import DataSplits

# D4's own ranking: *published*, asserted there and not measured.
PUBLISHED_RANKING = {
    "mnist": "low",
    "fashion_mnist": "low to moderate",
    "usps": "moderate",
    "cifar10": "moderate to high",
    "cifar100": "high",
}

LARGEST = 32  # pixels a side in the common space
COMPONENTS = 50  # principal components at most in the common space
LEVELS = 256  # bins of the entropy histogram
FOLDS = 5


@dataclass(frozen=True)
class Complexity:
    """D4's five criteria for one data set. Errors in %, entropies in bits."""

    name: str
    # 1. dimensionality
    dimension: int  # height × width × channels: numbers an image
    effective_dimension: int  # principal components that hold 95 % of the sample's variance
    # bits: entropy of the values of a channel in 256 equal bins, mean over channels; 8 at most
    entropy: float
    # 2. class diversity
    classes: int
    label_entropy: float  # bits: log2(classes) if they are balanced
    # 3. data volume
    train_samples: int
    samples_per_class: float  # mean over classes
    # 4. intra-class variation
    intra_inter_ratio: (
        float  # mean distance of two images of a class / of two classes; 1: classes are no clusters
    )
    # 5. domain specificity, as the separability of the classes
    nearest_neighbour_error: float  # %, cross-validated
    linear_error: float  # %, cross-validated
    # how it was measured
    sample: int  # training images that the measures were taken on
    published: str  # D4's word for it, "" if D4 does not have this data set

    def row(self) -> dict[str, object]:
        """The measures by column name, for a table."""
        return asdict(self)


def complexity(data: DataSplits, *, sample: int = 1000, seed: int = 0) -> Complexity:
    """Measure D4's five criteria on `sample` training images, drawn at random with `seed`. See
    `Complexity`.

    Works for any number of channels. Deterministic for a seed. Takes a second or two at the default
    sample; with another sample size the errors and the effective dimension move, so compare data
    sets at the same one. Raises DataError if the training split is empty or has one class,
    UsageError if `sample` is under 20.
    """
    if sample < 2 * 10:
        raise UsageError(f"sample={sample}: expected 20 images or more")
    labels = data.train.labels
    if not len(labels):
        raise DataError(f"{data.name}: the training split is empty, there is nothing to measure")
    present, counts = np.unique(labels, return_counts=True)
    if len(present) < 2:
        raise DataError(
            f"{data.name}: all training images are of one class; separability needs two or more"
        )

    rng = np.random.default_rng([seed, 0xC0])
    chosen = np.sort(rng.permutation(len(labels))[:sample])
    raw = data.train.take(chosen).astype(np.float32)  # (n, C, H, W)
    flat = ((_shrink(raw) - data.mean[:, None, None]) / data.std[:, None, None]).reshape(
        len(raw), -1
    )

    effective, space = _principal_space(flat)
    nearest, linear = _errors(space, labels[chosen], seed)
    shares = counts / counts.sum()
    return Complexity(
        name=data.name,
        dimension=int(np.prod(raw.shape[1:])),
        effective_dimension=effective,
        entropy=float(np.mean([channel_entropy(channel) for channel in raw.swapaxes(0, 1)])),
        classes=len(data.classes),
        label_entropy=float(-(shares * np.log2(shares)).sum()),
        train_samples=len(labels),
        samples_per_class=float(counts.sum() / len(data.classes)),
        intra_inter_ratio=intra_inter_ratio(space, labels[chosen]),
        nearest_neighbour_error=nearest,
        linear_error=linear,
        sample=len(chosen),
        published=PUBLISHED_RANKING.get(data.name, ""),
    )


def complexity_table(
    sets: Iterable[DataSplits], *, sample: int = 1000, seed: int = 0
) -> pd.DataFrame:
    """One row a data set, its name as the index, the measures of `Complexity` as columns."""
    return pd.DataFrame(
        [complexity(data, sample=sample, seed=seed).row() for data in sets]
    ).set_index("name")


def channel_entropy(values: np.ndarray) -> float:
    """Entropy in bits of a histogram of 256 equal bins between the smallest and the largest value;
    0 if constant.
    """
    low, high = values.min(), values.max()
    if low == high:
        return 0.0
    scale = LEVELS / (float(high) - float(low))
    bins = np.minimum((values - low) * scale, LEVELS - 1).astype(
        np.uint8
    )  # several times faster than np.histogram
    counts = np.bincount(bins.ravel())
    shares = counts[counts > 0] / values.size
    return float(-(shares * np.log2(shares)).sum())


def intra_inter_ratio(space: np.ndarray, labels: np.ndarray) -> float:
    """Mean Euclidean distance of pairs within a class over that of pairs from two classes. space
    (N, D), labels (N,).

    Near 0: tight, distant classes. Near 1: two images of a class differ as much as any two.
    Raises DataError if no class has two samples (draw more).
    """
    squares = np.square(space).sum(1)
    distances = np.sqrt(np.maximum(squares[:, None] + squares - 2 * space @ space.T, 0))
    same = labels[:, None] == labels
    inter = distances[~same].mean()
    np.fill_diagonal(same, False)  # an image is no neighbour of itself
    if not same.any():
        raise DataError("no class has two images in the sample: raise `sample`")
    return float(distances[same].mean() / inter)


def _shrink(images: np.ndarray) -> np.ndarray:
    """(N, C, H, W) → at most 32 × 32, by the mean over whole blocks of pixels (a rest at the border
    is cut off).
    """
    step = -(-max(images.shape[2:]) // LARGEST)
    if step == 1:
        return images
    height, width = images.shape[2] // step, images.shape[3] // step
    offsets = [(i, j) for i in range(step) for j in range(step)]
    return (
        sum(images[:, :, i : height * step : step, j : width * step : step] for i, j in offsets)
        / step**2
    )


def _principal_space(flat: np.ndarray) -> tuple[int, np.ndarray]:
    """(N, D) → number of components for 95 % of the variance, and the images on the first 50
    components (N, ≤ 50).
    """
    # all N − 1 components: through the N × N Gram matrix, faster than an SVD of N × D where D is
    # large
    centred = flat - flat.mean(0)
    variances, vectors = np.linalg.eigh((centred @ centred.T).astype(np.float64))
    variances, vectors = np.maximum(variances[::-1], 0), vectors[:, ::-1]
    total = variances.sum()
    if total == 0:
        raise DataError("all images of the sample are equal: nothing to measure")
    effective = int(np.searchsorted(np.cumsum(variances) / total, 0.95 - 1e-9) + 1)
    kept = min(COMPONENTS, int((variances > 1e-6 * total).sum()))
    return effective, vectors[:, :kept] * np.sqrt(variances[:kept])


def _errors(space: np.ndarray, labels: np.ndarray, seed: int) -> tuple[float, float]:
    """Cross-validated error in % of the nearest neighbour and of a linear probe (ridge, one against
    the rest).

    Classes with fewer samples than folds are left out.
    """
    present, counts = np.unique(labels, return_counts=True)
    enough = np.isin(labels, present[counts >= FOLDS])
    if len(np.unique(labels[enough])) < 2:
        raise DataError(
            f"fewer than two classes have {FOLDS} images or more in the sample: raise `sample`"
        )
    space, labels = space[enough], labels[enough]
    folds = StratifiedKFold(FOLDS, shuffle=True, random_state=seed)
    return tuple(
        float(100 * np.mean(cross_val_predict(probe, space, labels, cv=folds) != labels))
        for probe in (KNeighborsClassifier(1), RidgeClassifier(alpha=1.0))
    )
