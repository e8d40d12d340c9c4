"""The one loop, and what it leaves behind."""

from kdcourse.training.fit import adamw, constant, fit, one_cycle
from kdcourse.training.history import History
from kdcourse.training.recipe import Recipe, load_or_train

__all__ = ["History", "Recipe", "adamw", "constant", "fit", "load_or_train", "one_cycle"]
