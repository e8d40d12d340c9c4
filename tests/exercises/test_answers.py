"""Every task's judge against right and wrong answers: the reference in solutions/, the tables in
answers_exNN.py, and what any learner's function may do.
"""

import contextlib
import functools
import importlib
import io
import itertools
import json
from pathlib import Path

import numpy as np
import pytest
import torch
from IPython.core.inputtransformer2 import TransformerManager

from kdcourse.checking.safe_call import PRINTED
from kdcourse.checking.task import Answer
from kdcourse.common.paths import checkout
from kdcourse.exercises import exercises

TASKS = {task.key: task for tasks in exercises().values() for task in tasks.values()}
TABLES = {
    path.stem[-4:]: importlib.import_module(path.stem)
    for path in Path(__file__).parent.glob("answers_ex*.py")
}
SEEDS = range(4)

every_task = pytest.mark.parametrize("key", TASKS)


def entries(table: str) -> list[tuple]:
    """(key of a task, number) of every answer in the tables."""
    names = [(key, len(getattr(TABLES.get(key[:4]), table, {}).get(key[5:], ()))) for key in TASKS]
    return [(key, number) for key, count in names for number in range(count)]


def entry(table: str, key: str, number: int):
    return getattr(TABLES[key[:4]], table)[key[5:]][number]


@functools.cache
def namespace(exercise: str) -> dict:
    """The names that a solutions notebook defines; its checks are left out."""
    (path,) = (checkout() / "solutions").glob(f"sol_{exercise[2:]}_*.ipynb")
    names = {"__name__": "solutions"}
    with contextlib.redirect_stdout(io.StringIO()):
        for cell in json.loads(path.read_text())["cells"]:
            if cell["cell_type"] == "code" and not cell["metadata"].get("nbgrader", {}).get(
                "grade"
            ):
                exec(TransformerManager().transform_cell("".join(cell["source"])), names)
    return names


def reference(key: str):
    return namespace(key[:4])[key[5:]]


def judge(key: str, answer, seconds: float | None = None, seed: int = 0):
    return TASKS[key].judged(Answer(key[5:], answer, seconds or TASKS[key].seconds), seed)


# --- the tables -----------------------------------------------------------------------------------


@every_task
def test_enough_answers(key):
    table, name = TABLES[key[:4]], key[5:]
    assert len(table.RIGHT[name]) >= 2 and len(table.WRONG[name]) >= 5


def test_no_answers_to_tasks_that_are_not_there():
    named = {
        f"{exercise}.{name}"
        for exercise, table in TABLES.items()
        for name in [*table.RIGHT, *table.WRONG]
    }
    assert named <= TASKS.keys()


@every_task
def test_the_reference_is_right(key):
    for seed in SEEDS:
        assert judge(key, reference(key), seed=seed).message == ""


@pytest.mark.parametrize("key, number", entries("RIGHT"))
def test_written_otherwise_and_right(key, number):
    for seed in SEEDS:
        assert judge(key, entry("RIGHT", key, number), seed=seed).message == ""


@pytest.mark.parametrize("key, number", entries("WRONG"))
def test_wrong_and_named(key, number):
    answer, fault, word = entry("WRONG", key, number)
    for seed in SEEDS:
        verdict = judge(key, answer, seed=seed)
        assert not verdict.right
        assert verdict.fault == fault, verdict.message
        assert word in verdict.message


# --- other kinds of numbers -----------------------------------------------------------------------

KINDS = {
    "numpy": lambda tensor: tensor.detach().numpy(),
    "double": lambda tensor: tensor.double() if tensor.is_floating_point() else tensor,
    "lists": lambda tensor: tensor.tolist(),
    "with gradient": lambda tensor: (
        tensor.clone().requires_grad_() if tensor.is_floating_point() else tensor
    ),
}


def converted(value, tensors, numbers=lambda number: number):
    """value with every tensor and every number in it turned into something else."""
    if isinstance(value, torch.Tensor | np.ndarray):
        return tensors(torch.as_tensor(value))
    if isinstance(value, list | tuple):
        return type(value)(converted(inner, tensors, numbers) for inner in value)
    if isinstance(value, dict):
        return {key: converted(inner, tensors, numbers) for key, inner in value.items()}
    return (
        numbers(value) if isinstance(value, float | int) and not isinstance(value, bool) else value
    )


def after(function, change):
    """A function that returns what `change` makes of function's value."""
    return functools.wraps(function)(lambda *args, **kwargs: change(function(*args, **kwargs)))


@pytest.mark.parametrize("kind", KINDS)
@every_task
def test_any_kind_of_number_is_accepted(key, kind):
    if key[5:] in getattr(TABLES[key[:4]], "NEEDS_TENSORS", ()):
        pytest.skip("the gradient of its result is judged")
    change = functools.partial(converted, tensors=KINDS[kind])
    right = reference(key)
    assert judge(key, after(right, change) if callable(right) else change(right)).message == ""


# --- whatever a learner's code may do -------------------------------------------------------------


def endless(*args, **kwargs):
    while True:
        pass


def endless_printing(*args, **kwargs):
    while True:
        print("x" * 100)


def raises(*args, **kwargs):
    raise ValueError("boom")


def leaves(*args, **kwargs):
    raise SystemExit


def stub(*args, **kwargs):
    raise NotImplementedError("this: your turn")


def returns(value):
    return lambda *args, **kwargs: value


def wrong(key, answer, *faults, seconds=None):
    verdict = judge(key, answer, seconds)
    assert not verdict.right and verdict.message
    assert verdict.fault in faults if faults else verdict.fault != "unexpected", verdict.message
    return verdict


@every_task
def test_what_breaks_off(key):
    if not callable(reference(key)):
        return
    wrong(key, endless, "time", seconds=0.2)
    assert len(wrong(key, endless_printing, "time", seconds=0.2).printed) == PRINTED
    assert "boom" in wrong(key, raises, "raised").message
    wrong(key, leaves, "raised")
    wrong(key, lambda: 0, "raised")
    wrong(key, stub, "stub")


@every_task
def test_what_is_no_answer(key):
    values = [
        None,
        float("nan"),
        torch.full((2, 3), float("nan")),
        "nonsense",
        [],
        {},
        object(),
        torch.zeros(2, 3, 1),
    ]
    for value in [*values, [[1.0], [2.0, 3.0]], np.array(["a"]), 1e30, -1, True]:
        if callable(reference(key)):
            wrong(key, returns(value))
        elif value is not True:
            wrong(key, value)
    wrong(key, 3 if callable(reference(key)) else endless)
    wrong(key, None)


@every_task
def test_nan_or_another_shape_in_a_right_answer(key):
    right = reference(key)
    changes = [
        functools.partial(
            converted,
            tensors=lambda t: t.double() * float("nan"),
            numbers=lambda number: number * float("nan"),
        ),
        functools.partial(
            converted,
            tensors=lambda t: t[None].repeat(3, *[1] * t.ndim),
            numbers=lambda n: [n, n, n],
        ),
    ]
    for change in changes:
        unchanged = []

        def spoilt(value, change=change, unchanged=unchanged):
            unchanged.append(repr(change(value)) == repr(value))
            return change(value)

        verdict = judge(key, after(right, spoilt) if callable(right) else spoilt(right))
        assert verdict.right == all(unchanged) and verdict.fault != "unexpected", verdict.message


@every_task
def test_input_changed_in_place(key):
    right, spoilt = reference(key), []
    if not callable(right):
        return

    def spoils(*args, **kwargs):
        value = right(*args, **kwargs)
        for argument in itertools.chain(args, kwargs.values()):
            if (
                isinstance(argument, torch.Tensor | np.ndarray)
                and len(argument.shape)
                and argument.shape[0]
            ):
                with torch.no_grad():
                    argument[0] = 1 - argument[0] * 1
                spoilt.append(argument)
            elif isinstance(argument, list):
                argument.append(argument[0])
                spoilt.append(argument)
        return value

    verdict = judge(key, spoils)
    assert verdict.fault == "changed input" if spoilt else verdict.right, verdict.message


@every_task
def test_much_printing_does_not_harm(key):
    if callable(right := reference(key)):
        printing = after(right, lambda value: [print("x" * 1000) for _ in range(300)] and value)
        assert judge(key, printing).message == ""
