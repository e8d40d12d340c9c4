"""A small data set in memory, for tests here and in processes that they start."""

import numpy as np

from kdcourse.data.splits import DataSplits, stratified


def toy_data(count=120, classes=3, channels=3, size=8, seed=0) -> DataSplits:
    """Images of uint8 noise whose mean tells the class: a small network learns them in seconds."""
    rng = np.random.default_rng(seed)
    labels = np.arange(count) % classes
    level = 40 + 160 * labels / max(classes - 1, 1)
    shape = (count, channels, size, size)
    images = rng.normal(level[:, None, None, None], 25, shape).clip(0, 255).astype(np.uint8)
    return DataSplits.from_arrays(
        "toy",
        images,
        labels,
        stratified(labels, (0.6, 0.2, 0.2), seed=0),
        [f"class{i}" for i in range(classes)],
        [f"band{i}" for i in range(channels)],
        fingerprint=f"toy-{count}-{classes}-{channels}-{size}-{seed}",
    )
