"""A small exercise for the tests of grading: its tasks, and its instructor's notebook."""

import nbformat
import torch
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook

from kdcourse.checking import expect
from kdcourse.checking.safe_call import AnswerPart
from kdcourse.checking.task import Wrong, task

SETUP = "import torch\n\nfactor = 2"
DOUBLED = '''def doubled(x):
    """x: (B,) → (B,), twice x."""
    ### BEGIN SOLUTION
    return factor * x
    ### END SOLUTION'''
FROZEN = '''def frozen(network):
    """Put a network into eval mode and return the sum of its weights."""
    ### BEGIN SOLUTION
    network.eval()
    return sum(parameter.sum() for parameter in network.parameters())
    ### END SOLUTION'''
CHOICE = """### BEGIN SOLUTION
choice = "b"
### END SOLUTION"""
ANSWERS = {"doubled": DOUBLED, "frozen": FROZEN, "choice": CHOICE}
POINTS = {"doubled": 2, "frozen": 3, "choice": 1}
PYTHON = {"kernelspec": {"name": "python3", "display_name": "Python 3", "language": "python"}}


def _toy(title, points, seconds=1.0):
    return task(
        "toy",
        title=title,
        minutes=1,
        difficulty="easy",
        points=points,
        hints=["Think."],
        seconds=seconds,
    )


@_toy("Twice", 2)
def doubled(answer, rng):
    """Twice x."""
    x = torch.rand(4, generator=rng)
    expect.close(answer(x), 2 * x, mistakes={"square": (x**2, "That is the square.")}, of="twice x")


@_toy("A network", 3)
def frozen(answer, rng):
    """Eval mode."""
    outcome = answer.outcome(AnswerPart("tiny_network", (3,)))
    if outcome.error:
        raise Wrong(f"Your code raised {outcome.error[0]}", "raised")
    expect.scalar(outcome.value, of="the sum")
    if outcome.after[0]["training"]:
        raise Wrong("The network is still in training mode.", "training mode")


@_toy("A choice", 1)
def choice(answer, rng):
    """The letter."""
    if answer.value() != "b":
        raise Wrong("Another one.", "choice")


def marked(name: str, source: str, **about):
    metadata = {
        "schema_version": 3,
        "locked": False,
        "task": False,
        "grade": False,
        "solution": False,
        **about,
    }
    return new_code_cell(source, metadata={"nbgrader": {"grade_id": name, **metadata}})


def check_cell(name: str):
    source = (
        f"toy_exercise.{name}.check({name})\n"
        f"### BEGIN HIDDEN TESTS\ntoy_exercise.{name}.grade({name})\n### END HIDDEN TESTS"
    )
    return marked(f"{name}_check", source, grade=True, points=POINTS[name])


def notebook(
    *, setup=SETUP, marks=True, checks=True, kernel=PYTHON, before=(), after=(), **answers
):
    """The toy exercise, with the right answers but for those given; an answer of None leaves its
    cell out.
    """
    cells = [new_markdown_cell("# Toy"), new_code_cell(setup), *map(new_code_cell, before)]
    for name, source in (ANSWERS | answers).items():
        if source is not None:
            cells.append(marked(name, source, solution=True) if marks else new_code_cell(source))
        if checks:
            cells.append(check_cell(name))
    return nbformat.writes(
        new_notebook(metadata=kernel, cells=[*cells, *map(new_code_cell, after)])
    )
