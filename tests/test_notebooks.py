"""The committed notebooks: their form, their outputs, and that they run in the smoke profile."""

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from kdcourse.notebook.quiz import questions

FOLDER = Path(__file__).resolve().parent.parent / "notebooks"
NOTEBOOKS = sorted(FOLDER.glob("*.ipynb"))
COURSE = (
    "00_start_here",
    "01_datasets",
    "02_teacher_and_student",
    "03_baselines",
    "04_response_distillation",
    "05_intermediate_distillation",
    "06_curriculum_sampling",
    "07_fair_comparison",
    "08_shipping_the_student",
)
LONGEST_CELL = 15  # lines; cells with one of these tags may be longer
MAY_BE_LONG = {"setup", "parameters", "long"}
LARGEST = 1.5e6  # bytes
MACHINE_PATH = re.compile(r"(?<![\w.~/-])/(home|work|root|tmp|Users)/[^\s\"'<]*")

every_notebook = pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)


def cells(path: Path, kind: str | None = None) -> list[dict]:
    return [
        cell for cell in json.loads(path.read_text())["cells"] if kind in (None, cell["cell_type"])
    ]


def source(cell: dict) -> str:
    return "".join(cell["source"])


def tags(cell: dict) -> set[str]:
    return set(cell["metadata"].get("tags", []))


def prose(path: Path) -> str:
    return "\n".join(source(cell) for cell in cells(path, "markdown"))


def without_images(value):
    """The notebook's JSON less the pictures, whose encoded bytes may spell anything."""
    if isinstance(value, dict):
        return {
            key: without_images(inner)
            for key, inner in value.items()
            if not key.startswith("image/")
        }
    if isinstance(value, list):
        if all(isinstance(line, str) for line in value):
            return without_images("".join(value))
        return [without_images(inner) for inner in value]
    return re.sub(r"data:image/[^\"')]*", "", value) if isinstance(value, str) else value


def strings(value) -> list[str]:
    if isinstance(value, dict):
        return [text for inner in value.values() for text in strings(inner)]
    if isinstance(value, list):
        return [text for inner in value for text in strings(inner)]
    return [value] if isinstance(value, str) else []


def test_the_course_is_complete():
    assert set(COURSE) <= {path.stem for path in NOTEBOOKS}


# --- form -----------------------------------------------------------------------------------------


@every_notebook
def test_title_badge_and_objectives(path):
    first = cells(path)[0]
    assert first["cell_type"] == "markdown" and re.match(r"# \S", source(first)), (
        "the first cell is the title"
    )
    link = rf"https://colab\.research\.google\.com/github/\S+/notebooks/{path.name}"
    assert re.search(link, prose(path)), "a Colab badge that leads to this notebook"
    assert re.search(r"able to", prose(path)), "what one will be able to do"


@every_notebook
def test_parameters_cell(path):
    found = [cell for cell in cells(path, "code") if "parameters" in tags(cell)]
    assert len(found) == 1, "one cell tagged `parameters`"
    assert "profile = None" in source(found[0]) and "dataset = " in source(found[0])
    assert not any("injected-parameters" in tags(cell) for cell in cells(path)), (
        "injected by a run: do not commit"
    )


@every_notebook
def test_results_cell_with_an_output(path):
    found = [cell for cell in cells(path, "code") if "results" in tags(cell)]
    if path.stem in COURSE[1:]:
        assert found, "a cell tagged `results`, which the index page shows"
    assert all(cell["outputs"] for cell in found)


@every_notebook
def test_who_loads_the_networks_of_notebook_03_waits_for_it(path):
    """Else `kdcourse run --jobs 2` trains them twice, at the same time."""
    needs = json.loads(path.read_text())["metadata"].get("kdcourse", {}).get("needs", [])
    code = "\n".join(source(cell) for cell in cells(path, "code"))
    assert ("03_baselines" in needs) == (
        "baselines.teacher_recipe(" in code and path.stem != "03_baselines"
    )
    assert set(needs) <= {other.stem for other in NOTEBOOKS} - {path.stem}


@every_notebook
def test_code_cells_are_short(path):
    for cell in cells(path, "code"):
        lines = [line for line in source(cell).splitlines() if line.strip()]
        assert len(lines) <= LONGEST_CELL or tags(cell) & MAY_BE_LONG, (
            f"{len(lines)} lines:\n{source(cell)}"
        )


@every_notebook
def test_every_question_of_the_quiz_is_asked_and_its_key_is_elsewhere(path):
    text = "\n".join(source(cell) for cell in cells(path))
    assert "<summary>Answer" not in text, (
        "questions and answers stand in kdcourse/exercises/quizzes/"
    )
    asked = re.findall(r'quiz\.ask\("(\d\d)-(.+)"\)', text)
    notebook = path.stem[:2]
    assert asked == [(notebook, name) for name in questions(notebook)]


# --- outputs --------------------------------------------------------------------------------------


@every_notebook
def test_committed_as_executed_from_top_to_bottom(path):
    code = [cell for cell in cells(path, "code") if source(cell).strip()]
    assert [cell["execution_count"] for cell in code] == list(range(1, len(code) + 1)), (
        "make notebooks"
    )
    for cell in code:
        assert not [output for output in cell["outputs"] if output["output_type"] == "error"], (
            source(cell)
        )


@every_notebook
def test_no_path_of_anyones_machine(path):
    texts = strings(without_images(json.loads(path.read_text())))
    assert [found.group() for text in texts for found in MACHINE_PATH.finditer(text)] == []


@every_notebook
def test_size(path):
    assert path.stat().st_size <= LARGEST


def test_the_search_for_machine_paths_finds_them_and_spares_pictures():
    output = {
        "text/html": ['<img src="data:image/png;base64,ab', '/tmp/x"> in /home/me/data'],
        "image/png": "/tmp/y",
    }
    texts = strings(without_images([output]))
    assert [found.group() for text in texts for found in MACHINE_PATH.finditer(text)] == [
        "/home/me/data"
    ]


# --- runs -----------------------------------------------------------------------------------------


def run(path: Path, output: Path, *options: str, data: str = "") -> None:
    process = subprocess.run(
        [
            sys.executable,
            "-m",
            "kdcourse.cli",
            "run",
            str(path),
            "--profile=smoke",
            f"--output={output}",
            *options,
        ],
        env={**os.environ, "KDCOURSE_DATA": data},
        text=True,
        capture_output=True,
    )
    assert process.returncode == 0, process.stdout + process.stderr
    assert (output / path.name).is_file() and (output / "index.html").is_file()


QUICK = ("00_start_here", "04_response_distillation")  # run by `make test`; the others by test-all
smoke = [
    pytest.param(path, id=path.stem, marks=[] if path.stem in QUICK else pytest.mark.slow)
    for path in NOTEBOOKS
]


@pytest.mark.parametrize("path", smoke)
def test_runs_in_the_smoke_profile(path, tmp_path):
    run(path, tmp_path)


@pytest.mark.slow
@pytest.mark.real_data
@every_notebook
def test_runs_on_real_tiles(path, tmp_path, real_data):
    run(path, tmp_path, "--dataset=eurosat_ms", data=str(real_data))
