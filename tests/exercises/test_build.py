"""Solutions and the exercises that are made of them: their form, in step, and that they run."""

import copy
import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook

from kdcourse.cli import main
from kdcourse.common.errors import DataError, UsageError
from kdcourse.common.paths import checkout
from kdcourse.exercises import tasks
from kdcourse.exercises.build import build, exercise

SOLUTIONS = sorted((checkout() / "solutions").glob("sol_*.ipynb"))
EXERCISES = sorted((checkout() / "exercises").glob("ex_*.ipynb"))


QUICK = "04_response_distillation"  # executed in the fast suite; the others are slow tests


def notebooks(paths: list[Path]) -> pytest.MarkDecorator:
    marks = {True: (), False: pytest.mark.slow}
    params = [pytest.param(path, marks=marks[QUICK in path.stem]) for path in paths]
    return pytest.mark.parametrize("path", params, ids=[path.stem for path in paths])


def cells(path: Path, kind: str | None = None) -> list[dict]:
    return [
        cell for cell in json.loads(path.read_text())["cells"] if kind in (None, cell["cell_type"])
    ]


def source(cell: dict) -> str:
    return "".join(cell["source"])


def graded(path: Path, kind: str) -> dict[str, dict]:
    """Cells by grade_id that nbgrader's metadata call a "solution" or a "grade"."""
    found = [cell for cell in cells(path, "code") if cell["metadata"].get("nbgrader", {}).get(kind)]
    return {cell["metadata"]["nbgrader"]["grade_id"]: cell for cell in found}


def asked(path: Path) -> dict:
    """The tasks that a notebook belongs to."""
    return tasks(f"ex{path.stem.split('_')[1]}")


# --- form -----------------------------------------------------------------------------------------


def test_title_badge_minutes_and_end():
    for path in SOLUTIONS:
        first, last = source(cells(path)[0]), source(cells(path)[-1])
        assert re.match(r"# Exercise \d\d · \S", first), path
        assert f"/exercises/ex_{path.stem.removeprefix('sol_')}.ipynb)" in first, (
            f"{path}: a Colab badge that opens the exercise"
        )
        assert "Minutes: about" in first and "Difficulty" in first and "Needs" in first, path
        assert last.startswith("## What you have learned"), path


def test_a_solution_and_a_check_for_every_task():
    for path in SOLUTIONS:
        solutions, checks = graded(path, "solution"), graded(path, "grade")
        assert list(solutions) == list(asked(path)), (
            f"{path}: the solution cells have the tasks' names, in their order"
        )
        assert list(checks) == [f"{name}_check" for name in asked(path)], path


def test_headings_and_points_are_those_of_the_tasks():
    for path in SOLUTIONS:
        expected = [
            (number, task.title, task.difficulty, task.minutes, task.points)
            for number, task in enumerate(asked(path).values(), 1)
        ]
        headings = re.findall(
            r"^##+ Task (\d+) · (.*) \((\w+), (\d+) minutes?, (\d+) points?\)$",
            "\n".join(source(cell) for cell in cells(path, "markdown")),
            re.MULTILINE,
        )
        assert headings == [tuple(map(str, fields)) for fields in expected], path
        points = [cell["metadata"]["nbgrader"]["points"] for cell in graded(path, "grade").values()]
        assert points == [task.points for task in asked(path).values()], path
        minutes = sum(task.minutes for task in asked(path).values())
        assert len(expected) >= 3 and 20 <= minutes <= 90, path


def test_minutes_and_points_of_an_exercise_are_the_sums_of_its_tasks():
    for path in SOLUTIONS:
        first = source(cells(path)[0])
        minutes = sum(task.minutes for task in asked(path).values())
        points = sum(task.points for task in asked(path).values())
        about = int(re.search(r"Minutes: about (\d+)", first)[1])
        assert abs(about - minutes) <= 5, f"{path}: about {about} minutes, and its tasks {minutes}"
        for number in re.findall(r"(\d+) points|Points: (\d+)", first):
            claimed = int("".join(number))
            assert claimed == points, f"{path}: {claimed} points, but tasks of {points}"


def test_metadata_is_nbgraders():
    for path in SOLUTIONS:
        for kind, other in (("solution", "grade"), ("grade", "solution")):
            for name, cell in graded(path, kind).items():
                about = cell["metadata"]["nbgrader"]
                assert about[kind] and not about[other] and not about["task"], f"{path}: {name}"
                assert about["locked"] == (kind == "grade"), f"{path}: {name}"
                assert about["schema_version"] == 3, f"{path}: {name}"


def test_check_cells_check_help_and_grade():
    for path in SOLUTIONS:
        module = f"ex{path.stem.split('_')[1]}"
        for name in asked(path):
            assert source(graded(path, "grade")[f"{name}_check"]).splitlines() == [
                f"{module}.{name}.check({name})",
                f"# {module}.{name}.hint()",
                "### BEGIN HIDDEN TESTS",
                f"{module}.{name}.grade({name})",
                "### END HIDDEN TESTS",
            ]


def test_reasoning_stands_beside_the_answers():
    for path in SOLUTIONS:
        for name, cell in graded(path, "solution").items():
            inside = source(cell).split("### BEGIN SOLUTION")[1].split("### END SOLUTION")[0]
            assert "# " in inside, f"{path}, {name}: no comment"


def test_committed_without_outputs():
    for path in SOLUTIONS + EXERCISES:
        for cell in cells(path, "code"):
            assert cell["outputs"] == [] and cell["execution_count"] is None, path


# --- in step --------------------------------------------------------------------------------------


def test_exercises_are_in_step_with_their_solutions():
    assert build(check=True) == [], "kdcourse exercises build"
    assert CliRunner().invoke(main, ["exercises", "build", "--check"]).exit_code == 0


def test_stubs_keep_signature_and_docstring():
    for path in EXERCISES:
        text = "\n".join(map(source, cells(path)))
        assert "SOLUTION" not in text and "HIDDEN" not in text and ".grade(" not in text, path
        for name, cell in graded(path, "solution").items():
            stub = source(cell)
            assert f'raise NotImplementedError("{name}: your turn")' in stub
            if f"def {name}(" in stub:
                assert re.search(rf"def {name}\(.*\).*:\n    \"\"\"", stub), f"{path}: {name}"
            else:
                assert f"# {name} = …" in stub, f"{path}: the name that the answer must have"


# --- the build, on a toy --------------------------------------------------------------------------


def cell_of(source, name=None, **metadata):
    about = {
        "grade": False,
        "grade_id": name,
        "locked": False,
        "schema_version": 3,
        "solution": True,
        "task": False,
    }
    return new_code_cell(source, metadata=({"nbgrader": about} if name else {}) | metadata)


FUNCTION = '''def f(x):
    """Twice x."""
    ### BEGIN SOLUTION
    # reasoning
    y = 2 * x
    return y
    ### END SOLUTION


print(f)'''


@pytest.fixture
def toy(tmp_path):
    """A folder with solutions/sol_01_toy.ipynb, and a build of it: toy.build(…)."""

    class Toy:
        solutions, exercises = tmp_path / "solutions", tmp_path / "exercises"
        path = exercises / "ex_01_toy.ipynb"

        def write(self, *cells):
            self.solutions.mkdir(exist_ok=True)
            (self.solutions / "sol_01_toy.ipynb").write_text(
                json.dumps(new_notebook(cells=list(cells)))
            )

        def build(self, **options):
            return build(self.solutions, self.exercises, **options)

    toy = Toy()
    check = "check(f)\n### BEGIN HIDDEN TESTS\ngrade(f)\n### END HIDDEN TESTS"
    value = "### BEGIN SOLUTION\n# because\nbest = 3\n### END SOLUTION"
    toy.write(
        new_markdown_cell("# Toy"),
        cell_of(FUNCTION, "f"),
        cell_of(check),
        cell_of(value, "best", tags=["x"]),
    )
    return toy


def test_regions_become_stubs(toy):
    assert toy.build() == [toy.path]
    title, function, check, value = cells(toy.path)
    stub = '    raise NotImplementedError("f: your turn")\n\n\nprint(f)'
    assert source(function) == 'def f(x):\n    """Twice x."""\n' + stub
    assert source(check) == "check(f)"
    assert source(value) == '# best = …\nraise NotImplementedError("best: your turn")'
    assert (
        value["metadata"]["tags"] == ["x"] and value["metadata"]["nbgrader"]["grade_id"] == "best"
    )
    assert title["source"] == ["# Toy"]


def test_a_second_build_changes_nothing(toy):
    toy.build()
    before = toy.path.stat().st_mtime_ns
    assert toy.build() == [] and toy.path.stat().st_mtime_ns == before
    assert [path.name for path in toy.exercises.iterdir()] == ["ex_01_toy.ipynb"]


def test_check_tells_what_is_out_of_step_and_writes_nothing(toy):
    assert toy.build(check=True) == [toy.path] and not toy.path.exists()
    toy.build()
    (toy.exercises / "ex_02_gone.ipynb").write_text("{}")
    assert toy.build(check=True) == [toy.exercises / "ex_02_gone.ipynb"]


def test_a_learners_work_is_not_overwritten(toy):
    toy.build()
    solved = toy.path.read_text().replace(
        'raise NotImplementedError(\\"f: your turn\\")', "return x + x"
    )
    toy.path.write_text(solved)
    with pytest.raises(UsageError, match="edited by hand"):
        toy.build()
    assert toy.path.read_text() == solved
    assert toy.build(force=True) == [toy.path] and "your turn" in toy.path.read_text()


def test_outputs_alone_are_no_edit(toy):
    toy.build()
    executed = json.loads(toy.path.read_text())
    executed["cells"][1]["execution_count"] = 1
    toy.path.write_text(json.dumps(executed))
    assert toy.build() == [toy.path]


def test_damaged_regions_are_refused():
    for text, name, word in (
        ("def f(): return 1", "f", "expected `### BEGIN SOLUTION`"),
        ("### BEGIN SOLUTION\nx = 1\n### END SOLUTION", None, "expected `### BEGIN SOLUTION`"),
        ("### BEGIN SOLUTION\nx = 1", None, "stands alone"),
        ("### BEGIN HIDDEN TESTS\nf()", None, "stands alone"),
        ("f()\n### END HIDDEN TESTS", None, "stands alone"),
    ):
        with pytest.raises(DataError, match=word):
            exercise(new_notebook(cells=[cell_of(text, name)]), "toy")


def test_a_name_that_is_there_twice_is_refused():
    with pytest.raises(DataError, match="twice"):
        exercise(new_notebook(cells=[cell_of(FUNCTION, "f"), cell_of(FUNCTION, "f")]))


def test_the_solution_itself_stays_as_it_was(toy):
    notebook = new_notebook(cells=[cell_of(FUNCTION, "f")])
    before = copy.deepcopy(notebook)
    exercise(notebook)
    assert notebook == before


# --- runs -----------------------------------------------------------------------------------------


def execute(path: Path, folder: Path) -> list[dict]:
    """The cells of a notebook as papermill leaves them, in a process of its own: up to the first
    error, if any.
    """
    code = """if True:
        import sys, papermill
        try:
            papermill.execute_notebook(
                *sys.argv[1:3], kernel_name="python3", cwd=sys.argv[3], execution_timeout=300,
                progress_bar=False, extra_arguments=["--IPKernelApp.log_level=40"])
        except papermill.PapermillExecutionError:
            pass
    """
    target, environment = (
        folder / path.name,
        {**os.environ, "KDCOURSE_DATA": "", "KDCOURSE_PROFILE": "smoke"},
    )
    given = [sys.executable, "-c", code, str(path), str(target), str(folder)]
    process = subprocess.run(given, env=environment, text=True, capture_output=True)
    assert target.is_file() and process.returncode == 0, process.stderr
    return [cell for cell in cells(target, "code") if cell["execution_count"]]


def outputs(cell: dict) -> str:
    texts = [
        output.get("text") or output.get("data", {}).get("text/plain", "")
        for output in cell["outputs"]
    ]
    return "".join("".join(text) for text in texts)


@notebooks(SOLUTIONS)
def test_every_solution_passes_its_checks_and_hidden_tests(path, tmp_path):
    executed = execute(path, tmp_path)
    errors = [
        output
        for cell in executed
        for output in cell["outputs"]
        if output["output_type"] == "error"
    ]
    assert errors == []
    shown = [
        outputs(cell) for cell in executed if cell["metadata"].get("nbgrader", {}).get("grade")
    ]
    assert len(shown) == len(asked(path)) and all("✔ Right" in text for text in shown)


@notebooks(EXERCISES)
def test_every_exercise_runs_to_its_first_stub_and_says_so_kindly(path, tmp_path):
    executed = execute(path, tmp_path)
    errors = [
        output
        for cell in executed
        for output in cell["outputs"]
        if output["output_type"] == "error"
    ]
    checks = [
        outputs(cell) for cell in executed if cell["metadata"].get("nbgrader", {}).get("grade")
    ]
    assert all("Not yet" in text and "not written yet" in text for text in checks)
    if errors:  # a value that is asked for: its stub raises at once
        assert (
            len(errors) == 1
            and errors[0]["ename"] == "NotImplementedError"
            and "your turn" in errors[0]["evalue"]
        )
    assert checks or errors
