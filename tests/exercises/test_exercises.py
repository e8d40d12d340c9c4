"""The exercises' packages: their names, their tasks, and what the grader's key depends on."""

import importlib
import pkgutil

import pytest

from kdcourse import exercises
from kdcourse.checking.task import Task
from kdcourse.common.errors import UsageError


def test_modules_are_known_by_their_short_names():
    assert list(exercises.modules()) == [f"ex0{number}" for number in range(1, 10)]
    assert exercises.ex04.__name__ == exercises.modules()["ex04"]
    with pytest.raises(AttributeError, match="ex99"):
        exercises.ex99  # noqa: B018
    with pytest.raises(UsageError, match="ex99"):
        exercises.tasks("ex99")


def test_tasks_lists_every_task_of_a_package_once():
    for short, name in exercises.modules().items():
        package = importlib.import_module(name)
        made = {}
        for module in pkgutil.iter_modules(package.__path__, f"{name}."):
            values = vars(importlib.import_module(module.name)).values()
            made |= {value.name: value for value in values if isinstance(value, Task)}
        assert exercises.tasks(short) == made, short
        assert len(package.TASKS) == len(made), short
        for task_name, task in made.items():
            assert getattr(package, task_name) is task and task.exercise == short, task.key
