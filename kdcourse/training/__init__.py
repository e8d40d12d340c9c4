"""The one loop, and what it leaves behind."""

from kdcourse.training.fit import Recipe, adamw, constant, fit, load_or_train, one_cycle
from kdcourse.training.history import History

__all__ = ["History", "Recipe", "adamw", "constant", "fit", "load_or_train", "one_cycle"]
