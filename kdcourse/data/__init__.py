"""From files to batches. `load(name)` is the door.

What stands here is imported when it is first asked for: `kdcourse predict` reads images without
torch.
"""

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from kdcourse.data.batches import AUGMENTATIONS, Augmentation, Batch, Batches
    from kdcourse.data.catalog import CATALOG, DatasetInfo, load
    from kdcourse.data.splits import DataSplits, Split, stratified

_HOME = dict.fromkeys(("AUGMENTATIONS", "Augmentation", "Batch", "Batches"), "batches")
_HOME |= dict.fromkeys(("CATALOG", "DatasetInfo", "load"), "catalog")
_HOME |= dict.fromkeys(("DataSplits", "Split", "stratified"), "splits")

__all__ = [
    "AUGMENTATIONS", "CATALOG", "Augmentation", "Batch", "Batches", "DataSplits", "DatasetInfo", "Split", "load",
    "stratified",
]  # fmt: skip


def __getattr__(name: str):
    if name not in _HOME:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_HOME[name]}"), name)
