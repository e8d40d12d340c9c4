"""The one loop, and what it leaves behind."""

from typing import TYPE_CHECKING

from kdcourse.common.lazy import lazy_exports

if TYPE_CHECKING:
    from kdcourse.training.fit import *  # noqa: F403
    from kdcourse.training.history import *  # noqa: F403
    from kdcourse.training.recipe import *  # noqa: F403

__getattr__, __dir__, __all__ = lazy_exports(
    __name__,
    {
        "fit": ("adamw", "constant", "fit", "one_cycle"),
        "history": ("History",),
        "recipe": ("Recipe", "load_or_train"),
    },
)  # fmt: skip
