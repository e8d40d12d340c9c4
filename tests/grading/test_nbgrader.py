"""nbgrader takes solutions/ as its source/: it makes the same exercises, and grades them."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from kdcourse.common.notebooks import text
from kdcourse.common.paths import checkout
from kdcourse.exercises.build import SOLUTION

pytestmark = pytest.mark.slow

NBGRADER = checkout() / ".venv" / "nbgrader"
EXERCISE = "04_response_distillation"
SOLVED = "translated_weight"  # the one task that the student solved
SCORES = """
import json, sys
from nbgrader.api import Gradebook
with Gradebook("sqlite:///" + sys.argv[1]) as gradebook:
    (notebook,) = gradebook.find_submission("ex", "ada").notebooks
    print(json.dumps({grade.name: [grade.score, grade.max_score] for grade in notebook.grades}))
"""


@pytest.fixture
def nbgrader(tmp_path):
    """`nbgrader(*arguments)` calls it in a course of its own; JupyterLab's settings are not
    touched.
    """
    if not (NBGRADER / "nbgrader").is_dir():
        pytest.skip("no nbgrader in .venv/nbgrader: `make test` puts it there")
    programs = os.pathsep.join([str(NBGRADER / "bin"), os.environ["PATH"]])  # it calls alembic
    environment = dict(os.environ, PYTHONPATH=str(NBGRADER), PATH=programs, HOME=str(tmp_path))

    def call(*arguments) -> str:
        done = subprocess.run(
            [sys.executable, *arguments],
            cwd=tmp_path,
            env=environment,
            capture_output=True,
            text=True,
            timeout=500,
        )
        assert done.returncode == 0, done.stderr[-3000:]
        return done.stdout

    return call


def test_generate_assignment_and_autograde(nbgrader, tmp_path):
    solution = checkout() / "solutions" / f"sol_{EXERCISE}.ipynb"
    (tmp_path / "source" / "ex").mkdir(parents=True)
    source = tmp_path / "source" / "ex" / f"ex_{EXERCISE}.ipynb"
    source.write_bytes(solution.read_bytes())
    nbgrader("-m", "nbgrader", "generate_assignment", "ex", "--create", f"--course-dir={tmp_path}")
    released = json.loads((tmp_path / "release" / "ex" / source.name).read_text())
    everything = json.dumps(released)
    assert (
        "BEGIN SOLUTION" not in everything
        and "HIDDEN" not in everything
        and ".grade(" not in everything
    )

    reference = {
        cell["metadata"]["nbgrader"]["grade_id"]: text(cell["source"]) for cell in _marked(solution)
    }
    for cell in released["cells"]:
        if cell["metadata"].get("nbgrader", {}).get("grade_id") == SOLVED:
            cell["source"] = SOLUTION.sub(lambda region: region["inside"], reference[SOLVED])
    submitted = tmp_path / "submitted" / "ada" / "ex"
    submitted.mkdir(parents=True)
    (submitted / source.name).write_text(json.dumps(released))
    patience = ("--Execute.timeout=400", "--Execute.iopub_timeout=200")
    nbgrader("-m", "nbgrader", "autograde", "ex", "--create", f"--course-dir={tmp_path}", *patience)

    scores = json.loads(nbgrader("-c", SCORES, str(tmp_path / "gradebook.db")))
    most = {
        cell["metadata"]["nbgrader"]["grade_id"]: cell["metadata"]["nbgrader"]["points"]
        for cell in _marked(solution)
        if cell["metadata"]["nbgrader"]["grade"]
    }
    right = f"{SOLVED}_check"
    assert scores == {
        name: [points if name == right else 0, points] for name, points in most.items()
    }


def _marked(path: Path) -> list[dict]:
    return [
        cell for cell in json.loads(path.read_text())["cells"] if "nbgrader" in cell["metadata"]
    ]
