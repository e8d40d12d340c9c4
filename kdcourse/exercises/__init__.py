"""Exercises that answer back: `from kdcourse.exercises import ex04`, then
`ex04.soft_target_loss.check(my_loss)`.

Each `exNN_title` package holds the tasks of one exercise, in its `TASKS`, and is also known by its
short name, `exNN`.
"""

from __future__ import annotations

import importlib
import pkgutil
import re
from types import ModuleType
from typing import TYPE_CHECKING

from kdcourse.common.errors import unknown

if TYPE_CHECKING:
    from kdcourse.checking.task import Task


def modules() -> dict[str, str]:
    """The exercises' module names by short name, in order: {"ex01":
    "kdcourse.exercises.ex01_datasets", …}.
    """
    names = sorted(module.name for module in pkgutil.iter_modules(__path__))
    return {name[:4]: f"{__name__}.{name}" for name in names if re.fullmatch(r"ex\d\d_\w+", name)}


def exercises() -> dict[str, dict[str, Task]]:
    """The tasks of every exercise, by name, in order: {"ex04": {"soft_target_loss": Task, …},
    …}.
    """
    return {name: tasks(name) for name in modules()}


def tasks(exercise: str) -> dict[str, Task]:
    """The tasks of one exercise ("ex04") by name, in order. Raises UsageError for an unknown
    exercise.
    """
    known = modules()
    if exercise not in known:
        raise unknown("exercise", exercise, known)
    return {task.name: task for task in importlib.import_module(known[exercise]).TASKS}


def __getattr__(name: str) -> ModuleType:
    if not re.fullmatch(r"ex\d\d", name) or name not in (known := modules()):
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return importlib.import_module(known[name])
