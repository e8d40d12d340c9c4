"""The runner, on toy notebooks made here: one for each way of being broken."""

import json
import signal
import subprocess
import sys
import time
from pathlib import Path

import nbformat
import psutil
import pytest
from PIL import Image
from toy_notebooks import PARAMETERS

from kdcourse.common.errors import DataError, UsageError
from kdcourse.common.notebooks import text
from kdcourse.running import kernel
from kdcourse.running import run as course


def printed(path: Path) -> str:
    """What the cells of an executed notebook printed."""
    cells = json.loads(path.read_text())["cells"]
    outputs = [
        output for cell in cells if cell["cell_type"] == "code" for output in cell["outputs"]
    ]
    return "".join(text(output.get("text", "")) for output in outputs)


def left_behind(folder: Path) -> list[str]:
    return [path.name for path in folder.iterdir() if "partial" in path.name]


# --- what runs ------------------------------------------------------------------------------------


@pytest.mark.slow
def test_links_lead_from_the_executed_notebook_to_the_same_files(notebook, tmp_path):
    """As the map of the course leads to the exercises: [title](../exercises/…) and <a
    href="../exercises/…">.
    """
    path = notebook(
        "linked",
        "from IPython.display import HTML\nHTML('<a href=\"../exercises/ex.ipynb\">E</a>')",
    )
    content = nbformat.read(path, as_version=4)
    content.cells[
        0
    ].source = (
        "[Exercise](../exercises/ex.ipynb), [next](other.ipynb), [elsewhere](https://example.org)"
    )
    nbformat.write(content, path)
    inside, outside = (
        tmp_path / "output" / "course",
        tmp_path.with_name(tmp_path.name + "-elsewhere"),
    )
    for folder, back in ((inside, "../../"), (outside, "../")):
        course.run([str(path)], output=folder, echo=lambda line: None)
        first, *_, last = nbformat.read(folder / "linked.ipynb", as_version=4).cells
        assert first.source == content.cells[0].source.replace("../", back)
        assert f'href="{back}exercises/ex.ipynb"' in last.outputs[0].data["text/html"]


@pytest.mark.slow
def test_no_progress_bar_stands_still_in_what_was_executed(notebook, run, tmp_path):
    outcomes, _ = run(
        notebook(
            "bars",
            "from kdcourse.common.progress_bar import bar\nprint(bar(range(3), "
            "shown=True).disable)",
        )
    )
    assert outcomes[0].status == "done" and "True" in printed(tmp_path / "out" / "bars.ipynb")


def test_parameters_profile_and_folder_reach_the_notebook(notebook, run, tmp_path):
    path = notebook(
        "good",
        'import os; print(profile, dataset, limit, os.environ["KDCOURSE_PROFILE"], os.getcwd())',
        results="from IPython.display import HTML\n"
        'HTML("<table '
        "onclick='x'><tr><td>accuracy</td><td>91.5</td></tr></table><script>alert(1)</script>\")",
    )
    (outcome,), lines = run(path, profile="smoke", dataset="digits", parameters={"limit": 1e-3})
    assert (outcome.status, outcome.cells_run, outcome.cells) == ("done", 3, 3)
    assert printed(tmp_path / "out" / "good.ipynb").split() == [
        "smoke",
        "digits",
        "0.001",
        "smoke",
        str(path.parent),
    ]
    assert "good" in lines and "done" in lines and "3 of 3 cells" in lines
    page = (tmp_path / "out" / "index.html").read_text()
    assert "<td>accuracy</td><td>91.5</td>" in page and 'href="good.ipynb"' in page
    assert "digits" in page and "smoke" in page and "torch" in page
    assert "alert" not in page and "onclick" not in page
    assert not left_behind(tmp_path / "out")


@pytest.mark.slow
def test_images_left_out_are_counted_in_the_terminal_and_on_the_page(notebook, run, tmp_path):
    for i in range(8):
        for name in "ab":
            (tmp_path / "pictures" / name).mkdir(parents=True, exist_ok=True)
            Image.new("RGB", (8, 8), (i, 0, 0)).save(tmp_path / "pictures" / name / f"{i}.png")
    (tmp_path / "pictures" / "a" / "bad.png").write_bytes(b"")
    parameters = f"{PARAMETERS}\nskip_bad = False"
    path = notebook(
        "bad",
        "from kdcourse.data import load; load(dataset, skip_bad=skip_bad)",
        parameters=parameters,
    )
    (outcome,), lines = run(path, dataset=str(tmp_path / "pictures"), parameters={"skip_bad": True})
    assert outcome.status == "done"
    for told in (lines, (tmp_path / "out" / "index.html").read_text()):
        assert (
            "1 of 17 files could not be read and are left out" in told
            and "bad.png: the file is empty" in told
        )
    (outcome,), lines = run(path, dataset=str(tmp_path / "pictures"))
    assert (
        outcome.status == "failed"
        and "bad.png: the file is empty" in lines
        and "--skip-bad" in lines
    )
    assert "Traceback" not in lines


@pytest.mark.slow
def test_jobs_run_side_by_side_with_a_share_of_the_cores(notebook, run, tmp_path, monkeypatch):
    monkeypatch.setattr(kernel, "cores", lambda: 6)
    meet = (  # each waits for the other: with one at a time neither would end
        "import os, pathlib, time\n"
        "pathlib.Path('{0}.here').touch()\n"
        "deadline = time.time() + 60\n"
        "while not pathlib.Path('{1}.here').exists():\n"
        "    assert time.time() < deadline\n"
        "    time.sleep(0.1)\n"
        "print('threads', os.environ['OMP_NUM_THREADS'])"
    )
    paths = [notebook("one", meet.format("one", "two")), notebook("two", meet.format("two", "one"))]
    outcomes, _ = run(*paths, jobs=2)
    assert [outcome.status for outcome in outcomes] == ["done", "done"]
    assert "threads 3" in printed(tmp_path / "out" / "one.ipynb")


# --- what breaks while it runs --------------------------------------------------------------------


def test_an_error_stops_the_run_and_shows_cell_and_error(notebook, run, tmp_path):
    paths = [notebook("bad", "x = 1\n1 / 0", "print('never')"), notebook("later")]
    outcomes, lines = run(*paths)
    assert [outcome.status for outcome in outcomes] == ["failed", "not run"]
    assert "ZeroDivisionError: division by zero" in lines and "    x = 1\n    1 / 0" in lines
    assert "never" not in printed(tmp_path / "out" / "bad.failed.ipynb")
    page = (tmp_path / "out" / "index.html").read_text()
    assert "ZeroDivisionError" in page and "not run" in page and 'href="bad.failed.ipynb"' in page
    assert not left_behind(tmp_path / "out") and not (tmp_path / "out" / "bad.ipynb").exists()


@pytest.mark.slow
def test_a_dead_kernel_fails_its_notebook_and_keep_going_goes_on(notebook, run):
    outcomes, lines = run(
        notebook("dead", "import os; os._exit(3)"), notebook("later"), keep_going=True
    )
    assert [outcome.status for outcome in outcomes] == ["failed", "done"]
    assert "the kernel died" in lines and "import os; os._exit(3)" in lines


@pytest.mark.slow
def test_an_endless_loop_is_stopped_tried_once_more_and_leaves_no_kernel(notebook, run, tmp_path):
    path = notebook("endless", "import os; print('pid', os.getpid())", "while True: pass")
    (outcome,), lines = run(path, timeout=6)
    assert outcome.status == "timed out" and "took longer than 6 s" in outcome.error
    assert lines.count("trying once more") == 1
    assert kernels_in(tmp_path) == []
    assert not left_behind(tmp_path / "out")


@pytest.mark.slow
def test_a_run_that_succeeds_clears_an_earlier_failure_away(notebook, run, tmp_path):
    run(notebook("again", "1 / 0"))
    run(notebook("again", "1 + 1"))
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == [
        "again.ipynb",
        "index.html",
    ]


# --- Ctrl-C ---------------------------------------------------------------------------------------


def kernels_in(folder: Path) -> list[int]:
    """Processes that work somewhere below `folder`, as the kernels of its notebooks do."""
    found = []
    for process in psutil.process_iter():
        try:
            if process.status() != psutil.STATUS_ZOMBIE and Path(process.cwd()).is_relative_to(
                folder
            ):
                found.append(process.pid)
        except (psutil.NoSuchProcess, psutil.AccessDenied):
            continue
    return found


def wait_until(condition, seconds=60):
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "waited in vain"
        time.sleep(0.1)


@pytest.mark.slow
@pytest.mark.parametrize(
    "how, status", [(signal.SIGINT, 130), (signal.SIGTERM, 143), (signal.SIGKILL, -signal.SIGKILL)]
)
def test_stopping_leaves_nothing_half_written_and_no_kernel(notebook, tmp_path, how, status):
    paths = [
        notebook("first", "1 + 1"),
        notebook("second", "open('begun', 'w').close()", "while True: pass"),
    ]
    out = tmp_path / "out"
    process = subprocess.Popen(
        [sys.executable, "-m", "kdcourse.cli", "run", *map(str, paths), "--output", str(out)],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        # a shell starts background jobs, and so perhaps this test run, with Ctrl-C ignored: hear it
        # all the same
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )
    wait_until((paths[0].parent / "begun").exists)
    assert kernels_in(tmp_path)
    process.send_signal(how)
    printed_lines, _ = process.communicate(timeout=60)
    assert process.returncode == status
    if how == signal.SIGKILL:  # the worker itself notices that its parent is gone
        wait_until(lambda: not kernels_in(tmp_path) and not left_behind(out), seconds=15)
    assert not kernels_in(tmp_path) and not left_behind(out)
    assert sorted(path.name for path in out.iterdir()) == ["first.ipynb", "index.html"]
    if how == signal.SIGINT:
        assert "Stopped." in printed_lines and "Traceback" not in printed_lines
    if how != signal.SIGKILL:
        assert "interrupted" in (out / "index.html").read_text()


# --- what is refused before anything runs ---------------------------------------------------------


def test_an_unknown_parameter_is_refused_with_the_known_ones(notebook, run, tmp_path):
    with pytest.raises(UsageError, match="'limt'.*limit.*dataset"):
        run(notebook("toy"), parameters={"limt": 3})
    assert not (tmp_path / "out").exists()


def test_no_parameters_cell(notebook, run):
    with pytest.raises(DataError, match="toy.ipynb.*no cell tagged `parameters`"):
        run(notebook("toy", parameters=None))


def test_no_notebook(tmp_path, run):
    path = tmp_path / "toy.ipynb"
    for content in ("not JSON", "[]", '{"cells": [], "nbformat": 3}', ""):
        path.write_text(content)
        with pytest.raises(DataError, match=r"toy\.ipynb"):
            run(path)


def test_another_language(notebook, run):
    julia = {"kernelspec": {"name": "julia-1.9", "display_name": "Julia", "language": "julia"}}
    with pytest.raises(DataError, match="notebook for julia .kernel 'julia-1.9'"):
        run(notebook("toy", metadata=julia))


def test_a_missing_file(run, tmp_path):
    with pytest.raises(UsageError, match="no such file"):
        run(tmp_path / "nowhere.ipynb")


def test_an_output_folder_that_would_overwrite_the_notebooks(notebook):
    path = notebook("toy")
    with pytest.raises(UsageError, match="overwritten"):
        course.run([str(path)], output=path.parent)


def test_an_output_folder_that_is_a_file(notebook, tmp_path):
    (tmp_path / "taken").write_text("")
    with pytest.raises(UsageError, match="--output .*taken"):
        course.run([str(notebook("toy"))], output=tmp_path / "taken")


def test_numbers_that_cannot_be(notebook, run):
    for options in ({"jobs": 0}, {"timeout": 0}, {"timeout": -1}):
        with pytest.raises(UsageError, match="must be positive"):
            run(notebook("toy"), **options)


def test_a_data_root_that_does_not_exist(notebook, run, monkeypatch):
    monkeypatch.setenv("KDCOURSE_DATA", "/nowhere/at/all")
    with pytest.raises(DataError, match="KDCOURSE_DATA=/nowhere/at/all"):
        run(notebook("toy"))
