"""Which cells of a notebook are graded, and for which exercise."""

import json

import pytest
from toy_exercise import DOUBLED, check_cell, marked, notebook

from kdcourse.common.errors import DataError
from kdcourse.grading import merge


@pytest.fixture
def steps(tmp_path):
    (tmp_path / "sol_toy.ipynb").write_text(notebook())
    return merge.instructor_steps(tmp_path / "sol_toy.ipynb")


def planned(text: str, steps) -> merge.Plan:
    return merge.assemble(json.loads(text), steps)


def test_the_instructors_cells_with_the_students_solutions(steps):
    mine = "def doubled(x):\n    return x + x"
    plan = planned(notebook(doubled=mine, setup="factor = 3", after=["del doubled"]), steps)
    assert [(step.kind, step.task) for step in plan.steps] == [
        ("given", ""),
        ("solution", "doubled"),
        ("task", "doubled"),
        ("solution", "frozen"),
        ("task", "frozen"),
        ("solution", "choice"),
        ("task", "choice"),
    ]
    assert plan.steps[0].source == "import torch\n\nfactor = 2" and plan.steps[1].source == mine
    assert "BEGIN" not in "".join(step.source for step in plan.steps[:3])
    assert plan.found == {"doubled": True, "frozen": True, "choice": True} and not plan.notes


def test_a_copied_cell_the_last_that_was_written_counts(steps):
    made = json.loads(notebook(doubled="def doubled(x):\n    return 1"))
    copy = marked("doubled", "def doubled(x):\n    return 2", solution=True)
    stub = marked("doubled", "def doubled(x):\n    raise NotImplementedError", solution=True)
    made["cells"] += [copy, stub]
    plan = merge.assemble(made, steps)
    assert plan.steps[1].source.endswith("return 2") and "3 cells bear its mark" in plan.notes[0]


def test_an_answer_in_another_cell_is_found_by_its_name(steps):
    plan = planned(notebook(doubled="# below", after=["doubled = lambda x: 2 * x"]), steps)
    assert (
        plan.steps[1].source == "doubled = lambda x: 2 * x" and "defines `doubled`" in plan.notes[0]
    )


@pytest.mark.parametrize(
    "made",
    [
        {
            "cells": [
                1,
                None,
                {"cell_type": "code"},
                {"cell_type": "code", "source": 5, "metadata": []},
            ]
        },
        {
            "cells": [
                {
                    "cell_type": "code",
                    "source": "x",
                    "metadata": {"nbgrader": {"grade_id": ["a"], "solution": True}},
                }
            ]
        },
        {"cells": [{"cell_type": "code", "source": ["a", 1], "metadata": {"nbgrader": 3}}]},
    ],
)
def test_cells_that_are_none_are_survived(steps, made):
    assert set(merge.assemble(made, steps).found.values()) == {False}


@pytest.mark.parametrize(
    ("text", "file", "exercise"),
    [
        (notebook(), "ex_05 but really another.ipynb", "toy"),
        (notebook(marks=False, doubled="1", frozen="1", choice="1"), "my Ex5 final.ipynb", "ex05"),
        (notebook(marks=False), "homework.ipynb", "toy"),
        (
            notebook(marks=False, doubled="def doubled(x)\n    pass", frozen="1", choice="1"),
            "homework.ipynb",
            "toy",
        ),
    ],
)
def test_which_exercise_by_marks_then_file_name_then_names(steps, text, file, exercise):
    other = [merge.GradedCell("solution", "", "other"), merge.GradedCell("task", "other", "other")]
    assert merge.recognise(json.loads(text), file, {"ex05": other, "toy": steps}) == exercise


@pytest.mark.parametrize(
    ("source", "names"),
    [
        (
            "def f(): pass\nclass C: pass\na, b = 1, 2\nimport os.path as p, sys\nc: int = 3",
            "f C a b p sys c",
        ),
        ("def f(x)\n    y = 1\nz = 2", "f z"),
        ("%matplotlib inline\nx = 1", "x"),
        ("", ""),
        ("\0", ""),
    ],
)
def test_the_names_that_a_cell_defines(source, names):
    assert merge.defines(source) == set(names.split())


def test_a_damaged_instructors_notebook_is_named(tmp_path):
    path = tmp_path / "sol_toy.ipynb"
    path.write_text(notebook().replace("toy_exercise.choice.check", "toy_exercise.choice.chek"))
    with pytest.raises(DataError, match="sol_toy.*does not call"):
        merge.instructor_steps(path)
    made = json.loads(notebook(choice=None))
    path.write_text(json.dumps(made))
    with pytest.raises(DataError, match="one solution cell and one check cell"):
        merge.instructor_steps(path)
    assert check_cell("choice")["metadata"]["nbgrader"]["points"] == 1 and "SOLUTION" in DOUBLED
