"""From files to batches. `load(name)` is the door.

Names are imported when they are first asked for: `kdcourse predict` reads images without torch.
"""

from typing import TYPE_CHECKING

from kdcourse.common.lazy import lazy_exports

if TYPE_CHECKING:
    from kdcourse.data.batches import *  # noqa: F403
    from kdcourse.data.catalog import *  # noqa: F403
    from kdcourse.data.datasets import *  # noqa: F403
    from kdcourse.data.splits import *  # noqa: F403

__getattr__, __dir__, __all__ = lazy_exports(
    __name__,
    {
        "batches": ("AUGMENTATIONS", "Augmentation", "Batch", "Batches"),
        "catalog": ("load",),
        "datasets": ("CATALOG", "DatasetInfo"),
        "splits": ("DataSplits", "Split", "stratified"),
    },
)  # fmt: skip
