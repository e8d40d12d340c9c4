"""Exercises that answer back: `from kdcourse.course.checks import ex04`, then `ex04.soft_target_loss.check(my_loss)`.

`task` is what an exercise is made of, `expect` the comparisons whose messages teach, `guard` the call of a learner's
function, `pieces` what is handed to it, `progress` what is remembered. Each `exNN` holds the tasks of one exercise.
"""

from __future__ import annotations

import importlib
import pkgutil
from typing import TYPE_CHECKING

if TYPE_CHECKING:  # not imported here: a process that grades needs `guard` alone, and starts in half the time
    from kdcourse.course.checks.task import Task


def exercises() -> dict[str, dict[str, Task]]:
    """The tasks of every exercise, by name, in their order: {"ex04": {"soft_target_loss": Task, …}, …}."""
    names = sorted(module.name for module in pkgutil.iter_modules(__path__) if module.name.startswith("ex0"))
    return {name: tasks(name) for name in names}


def tasks(exercise: str) -> dict[str, Task]:
    """The tasks of one exercise, by name, in their order."""
    from kdcourse.course.checks.task import Task

    module = importlib.import_module(f"{__name__}.{exercise}")
    return {name: value for name, value in vars(module).items() if isinstance(value, Task)}
