"""From files to batches. `load(name)` is the door."""

from kdcourse.data.batches import AUGMENTATIONS, Augmentation, Batch, Batches
from kdcourse.data.splits import DataSplits, Split

__all__ = ["AUGMENTATIONS", "Augmentation", "Batch", "Batches", "DataSplits", "Split"]
