"""Every task's judge against right and wrong answers: the reference in solutions/, the tables in
answers_exNN.py, and what any learner's function may do.
"""

import contextlib
import functools
import importlib
import io
import itertools
import json
import sys
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
SEEDS = range(2)  # of a judge's random numbers, in every run
MORE_SEEDS = range(2, 4)  # of the slow twins

every_task = pytest.mark.parametrize("key", TASKS)


def answers(table: str, key: str) -> list[tuple]:
    """The answers to a task in the table "RIGHT" or "WRONG", each with a name for messages."""
    entries = getattr(TABLES[key[:4]], table)[key[5:]]
    return [(f"{key}, {table}[{number}]", entry) for number, entry in enumerate(entries)]


def described(answer) -> str:
    """A function by its name and docstring, a value by its text."""
    if not callable(answer):
        return repr(answer)
    name = getattr(answer, "__qualname__", repr(answer))
    return f"{name} ({answer.__doc__.strip()})" if answer.__doc__ else name


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
    names = namespace(key[:4])
    assert key[5:] in names, f"no cell in solutions/sol_{key[2:4]}_*.ipynb defines {key[5:]}"
    return names[key[5:]]


def judge(key: str, answer, seconds: float | None = None, seed: int = 0):
    return TASKS[key].judged(Answer(key[5:], answer, seconds or TASKS[key].seconds), seed)


# --- the tables -----------------------------------------------------------------------------------


@every_task
def test_enough_answers(key):
    table, name = TABLES[key[:4]], key[5:]
    right, wrong = (len(answers.get(name, ())) for answers in (table.RIGHT, table.WRONG))
    assert right >= 2 and wrong >= 5, f"add answers to {name} in answers_{key[:4]}.py"


def test_no_answers_to_tasks_that_are_not_there():
    named = {
        f"{exercise}.{name}"
        for exercise, table in TABLES.items()
        for name in [*table.RIGHT, *table.WRONG]
    }
    assert named <= TASKS.keys()


def all_right(key: str, seeds) -> None:
    """The reference and every answer in RIGHT must pass."""
    for name, answer in [("the reference", reference(key)), *answers("RIGHT", key)]:
        for seed in seeds:
            verdict = judge(key, answer, seed=seed)
            assert verdict.right and verdict.message == "", (
                f"{name}, {described(answer)}, seed {seed}: {verdict.message}"
            )


def all_wrong(key: str, seeds) -> None:
    """Every answer in WRONG must fail with its fault, and its word must be in the message."""
    for name, (answer, fault, word) in answers("WRONG", key):
        for seed in seeds:
            verdict = judge(key, answer, seed=seed)
            about = f"{name}, {described(answer)}, seed {seed}"
            assert not verdict.right, f"{about}: judged right, expected {fault!r}"
            assert verdict.fault == fault and word in verdict.message, (
                f"{about}: expected {fault!r} with the word {word!r}, got {verdict.fault!r}: "
                f"{verdict.message}"
            )


@every_task
def test_right_answers_pass(key):
    all_right(key, SEEDS)


@every_task
def test_wrong_answers_are_named(key):
    all_wrong(key, SEEDS)


@pytest.mark.slow
@every_task
def test_answers_with_more_seeds(key):
    all_right(key, MORE_SEEDS)
    all_wrong(key, MORE_SEEDS)


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


@every_task
def test_any_kind_of_number_is_accepted(key):
    if key[5:] in getattr(TABLES[key[:4]], "NEEDS_TENSORS", ()):
        pytest.skip("the gradient of its result is judged")
    right = reference(key)
    for kind, tensors in KINDS.items():
        change = functools.partial(converted, tensors=tensors)
        verdict = judge(key, after(right, change) if callable(right) else change(right))
        assert verdict.right, f"{key} as {kind}: {verdict.message}"


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
    about = f"{key}, {described(answer)}: {verdict.fault!r}, {verdict.message}"
    assert not verdict.right and verdict.message, about
    assert verdict.fault in faults if faults else verdict.fault != "unexpected", about
    return verdict


def breaks_off(key):
    """A function that never returns, raises, or is not written yet."""
    if not callable(reference(key)):
        return
    # An exception set off in a traced thread may leave coverage.py's lock held for ever.
    if sys.gettrace() is None:
        wrong(key, endless, "time", seconds=0.2)
        assert len(wrong(key, endless_printing, "time", seconds=0.2).printed) == PRINTED
    assert "boom" in wrong(key, raises, "raised").message
    wrong(key, leaves, "raised")
    wrong(key, lambda: 0, "raised")
    wrong(key, stub, "stub")


def is_no_answer(key):
    """Values of other types, shapes and sizes than any task asks for."""
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


def is_spoilt(key):
    """NaN, or another shape, in a right answer."""
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


def changes_its_input(key):
    """A right answer that changes its arguments in place."""
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


def prints_much(key):
    """A right answer that prints 300,000 characters a call."""
    if callable(right := reference(key)):
        printing = after(right, lambda value: [print("x" * 1000) for _ in range(300)] and value)
        assert judge(key, printing).message == ""


HABITS = (breaks_off, is_no_answer, is_spoilt, changes_its_input, prints_much)
SAMPLE = (  # a function of each exercise
    "ex01.moisture_index",
    "ex02.work",
    "ex03.calibration_error",
    "ex04.soft_target_loss",
    "ex05.angle_loss",
    "ex06.window",
    "ex07.holm",
    "ex08.windows",
    "ex09.mend_1",
)


def misbehave(key) -> None:
    for habit in HABITS:
        habit(key)


@pytest.mark.parametrize("key", SAMPLE)
def test_misbehaviour_is_told_kindly(key):
    misbehave(key)


@pytest.mark.slow
@pytest.mark.parametrize("key", [key for key in TASKS if key not in SAMPLE])
def test_misbehaviour_of_every_task(key):
    misbehave(key)


def test_the_sample_has_a_task_of_each_exercise():
    assert [key[:4] for key in SAMPLE] == sorted({key[:4] for key in TASKS})
