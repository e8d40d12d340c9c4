"""From files to batches. `load(name)` is the door."""

from kdcourse.data.batches import AUGMENTATIONS, Augmentation, Batch, Batches
from kdcourse.data.catalog import CATALOG, DatasetInfo, load
from kdcourse.data.splits import DataSplits, Split

__all__ = ["AUGMENTATIONS", "CATALOG", "Augmentation", "Batch", "Batches", "DataSplits", "DatasetInfo", "Split", "load"]
