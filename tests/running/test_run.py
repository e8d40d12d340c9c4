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
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook
from PIL import Image

from kdcourse.common.errors import DataError, UsageError
from kdcourse.running import run as course
from kdcourse.running.index import table_markup

PYTHON = {"kernelspec": {"name": "python3", "display_name": "Python 3", "language": "python"}}
PARAMETERS = 'profile = None\ndataset = "scenes"\nlimit = None'


@pytest.fixture
def notebook(tmp_path):
    """A maker of notebooks: `notebook(name, *sources, results=source)` returns the path."""

    def make(name, *sources, parameters=PARAMETERS, metadata=PYTHON, results=None) -> Path:
        cells = [new_markdown_cell("# Toy")]
        if parameters is not None:
            cells.append(new_code_cell(parameters, metadata={"tags": ["parameters"]}))
        cells += map(new_code_cell, sources)
        if results:
            cells.append(new_code_cell(results, metadata={"tags": ["results"]}))
        path = tmp_path / "toys" / f"{name}.ipynb"
        path.parent.mkdir(exist_ok=True)
        nbformat.write(new_notebook(metadata=metadata, cells=cells), path)
        return path

    return make


@pytest.fixture
def run(tmp_path, no_data):
    """`run(*paths, **options)`: the outcomes, and the lines that were printed."""

    def call(*paths, **options):
        lines = []
        outcomes = course.run(
            list(map(str, paths)), output=tmp_path / "out", echo=lines.append, **options
        )
        return outcomes, "\n".join(lines)

    return call


def printed(path: Path) -> str:
    """What the cells of an executed notebook printed."""
    cells = json.loads(path.read_text())["cells"]
    outputs = [
        output for cell in cells if cell["cell_type"] == "code" for output in cell["outputs"]
    ]
    return "".join(course.text(output.get("text", "")) for output in outputs)


def left_behind(folder: Path) -> list[str]:
    return [path.name for path in folder.iterdir() if "partial" in path.name]


# --- what runs ------------------------------------------------------------------------------------


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


def test_jobs_run_side_by_side_with_a_share_of_the_cores(notebook, run, tmp_path, monkeypatch):
    monkeypatch.setattr(course, "cores", lambda: 6)
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


SLEEPS = (
    "import time\n"
    "open('order.txt', 'a').write('{0} begins\\n')\n"
    "time.sleep({1})\n"
    "open('order.txt', 'a').write('{0} ends\\n')"
)


def test_a_notebook_waits_for_those_whose_networks_it_needs(notebook, run, tmp_path):
    def needs(*names):
        return {**PYTHON, "kdcourse": {"needs": list(names)}}

    paths = [
        notebook("slow", SLEEPS.format("slow", 3)),
        notebook("after", SLEEPS.format("after", 0), metadata=needs("slow", "one that is not run")),
        notebook("free", SLEEPS.format("free", 0)),
    ]
    outcomes, _ = run(*paths, jobs=2)
    order = (tmp_path / "toys" / "order.txt").read_text().splitlines()
    assert [outcome.status for outcome in outcomes] == 3 * ["done"]
    assert order.index("free begins") < order.index("slow ends") < order.index("after begins")


@pytest.mark.parametrize("jobs", [1, 2])
def test_what_others_wait_for_begins_first_if_there_are_several_at_a_time(
    notebook, run, tmp_path, jobs
):
    """Both wait for `long`: with two at a time it begins beside `first`, and does not wait for its
    end.
    """
    paths = [
        notebook("first", SLEEPS.format("first", 0)),
        notebook("second", SLEEPS.format("second", 0)),
    ]
    paths += [notebook("long", SLEEPS.format("long", 8))]
    waits = {**PYTHON, "kdcourse": {"needs": ["long"]}}
    paths += [notebook(name, SLEEPS.format(name, 0), metadata=waits) for name in ("one", "two")]
    outcomes, _ = run(*paths, jobs=jobs)
    assert [outcome.name for outcome in outcomes] == ["first", "second", "long", "one", "two"]
    order = (tmp_path / "toys" / "order.txt").read_text().splitlines()
    assert (
        order.index("long begins") < order.index("second begins")
        if jobs == 2
        else order[0] == "first begins"
    )
    assert order.index("long ends") < min(order.index("one begins"), order.index("two begins"))


def test_notebooks_that_need_one_another_run_all_the_same(notebook, run):
    needs = {
        name: {**PYTHON, "kdcourse": {"needs": [name, "one", "two"]}} for name in ("one", "two")
    }
    outcomes, _ = run(
        *(notebook(name, metadata=metadata) for name, metadata in needs.items()), jobs=2
    )
    assert [outcome.status for outcome in outcomes] == ["done", "done"]


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


def test_a_dead_kernel_fails_its_notebook_and_keep_going_goes_on(notebook, run):
    outcomes, lines = run(
        notebook("dead", "import os; os._exit(3)"), notebook("later"), keep_going=True
    )
    assert [outcome.status for outcome in outcomes] == ["failed", "done"]
    assert "the kernel died" in lines and "import os; os._exit(3)" in lines


def test_an_endless_loop_is_stopped_tried_once_more_and_leaves_no_kernel(notebook, run, tmp_path):
    path = notebook("endless", "import os; print('pid', os.getpid())", "while True: pass")
    (outcome,), lines = run(path, timeout=6)
    assert outcome.status == "timed out" and "took longer than 6 s" in outcome.error
    assert lines.count("trying once more") == 1
    assert kernels_in(tmp_path) == []
    assert not left_behind(tmp_path / "out")


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


def test_a_parameter_goes_to_the_notebooks_that_know_it_and_that_is_said(notebook):
    tasks = [
        course.prepare(notebook("one")),
        course.prepare(notebook("two", parameters="profile = None")),
    ]
    lines = []
    course.assign(tasks, {"limit": 3}, lines.append)
    assert [task.parameters for task in tasks] == [{"limit": 3}, {}]
    assert len(lines) == 1 and "limit" in lines[0] and "one" in lines[0]


def test_no_parameters_cell(notebook, run):
    with pytest.raises(DataError, match="toy.ipynb.*no cell tagged `parameters`"):
        run(notebook("toy", parameters=None))


@pytest.mark.parametrize("content", ["not JSON", "[]", '{"cells": [], "nbformat": 3}', ""])
def test_no_notebook(tmp_path, run, content):
    path = tmp_path / "toy.ipynb"
    path.write_text(content)
    with pytest.raises(DataError, match=r"toy\.ipynb"):
        run(path)


def test_another_language(notebook, run):
    julia = {"kernelspec": {"name": "julia-1.9", "display_name": "Julia", "language": "julia"}}
    with pytest.raises(DataError, match="notebook for julia .kernel 'julia-1.9'"):
        run(notebook("toy", metadata=julia))


def test_another_name_for_the_python_kernel_does_not_matter(notebook):
    other = {"kernelspec": {"name": "my-env", "display_name": "Mine", "language": "python"}}
    assert course.prepare(notebook("toy", metadata=other)).known == {"profile", "dataset", "limit"}


def test_a_missing_file(run, tmp_path):
    with pytest.raises(UsageError, match="no such file"):
        run(tmp_path / "nowhere.ipynb")


def test_names_and_numbers(tmp_path, monkeypatch):
    folder = tmp_path / "notebooks"
    folder.mkdir()
    for name in ("00_start_here", "03_baselines", "draft"):
        (folder / f"{name}.ipynb").write_text("{}")
    monkeypatch.setattr(course, "notebooks_folder", lambda: folder)
    stems = lambda *names: [path.stem for path in course.select(names)]  # noqa: E731
    assert stems() == ["00_start_here", "03_baselines"]
    assert stems("3") == stems("03") == stems("03_baselines") == ["03_baselines"]
    assert stems(str(folder / "draft.ipynb")) == ["draft"]
    with pytest.raises(UsageError, match="Did you mean 03_baselines"):
        stems("03_baseline")
    with pytest.raises(UsageError, match="unknown notebook '07'"):
        stems("07")
    with pytest.raises(UsageError, match="named twice"):
        stems("3", "03_baselines")


def test_no_notebooks_at_all(tmp_path, monkeypatch):
    monkeypatch.setattr(course, "notebooks_folder", lambda: tmp_path)
    with pytest.raises(UsageError, match="no notebooks in"):
        course.select()


def test_an_output_folder_that_would_overwrite_the_notebooks(notebook):
    path = notebook("toy")
    with pytest.raises(UsageError, match="overwritten"):
        course.run([str(path)], output=path.parent)


def test_an_output_folder_that_is_a_file(notebook, tmp_path):
    (tmp_path / "taken").write_text("")
    with pytest.raises(UsageError, match="--output .*taken"):
        course.run([str(notebook("toy"))], output=tmp_path / "taken")


@pytest.mark.parametrize("options", [{"jobs": 0}, {"timeout": 0}, {"timeout": -1}])
def test_numbers_that_cannot_be(notebook, run, options):
    with pytest.raises(UsageError, match="must be positive"):
        run(notebook("toy"), **options)


def test_a_data_root_that_does_not_exist(notebook, run, monkeypatch):
    monkeypatch.setenv("KDCOURSE_DATA", "/nowhere/at/all")
    with pytest.raises(DataError, match="KDCOURSE_DATA=/nowhere/at/all"):
        run(notebook("toy"))


def test_a_relative_data_root_means_the_same_in_a_notebooks_folder(monkeypatch):
    monkeypatch.setenv("KDCOURSE_DATA", "some/data")
    assert course.kernel_environment("cpu", 1)["KDCOURSE_DATA"] == str(Path.cwd() / "some/data")


def test_a_kernel_of_another_python_is_refused(tmp_path, monkeypatch):
    folder = tmp_path / "kernels" / "python3"
    folder.mkdir(parents=True)
    spec = {
        "argv": ["/usr/elsewhere/python", "-m", "ipykernel_launcher"],
        "display_name": "x",
        "language": "python",
    }
    (folder / "kernel.json").write_text(json.dumps(spec))
    monkeypatch.setenv("JUPYTER_PATH", str(tmp_path))
    with pytest.raises(
        UsageError, match=f"/usr/elsewhere/python, not {sys.executable}.*ipykernel install"
    ):
        course.check_kernel()


# --- small parts ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "given, value",
    [
        ("n=3", 3),
        ("n=1e-3", 1e-3),
        ("n=None", None),
        ("n=null", None),
        ("n=true", True),
        ("n=False", False),
        ("n=scenes", "scenes"),
        ("n=a=b", "a=b"),
        ("n=", None),
        ("n=[1, 2]", [1, 2]),
        ("n='3'", "3"),
        ("n=2020-01-02", "2020-01-02"),
        ("n={", "{"),
    ],
)
def test_parameter_values(given, value):
    assert course.parse_parameter(given) == ("n", value)


@pytest.mark.parametrize("given", ["n", "=3", "a b=3", ""])
def test_parameters_that_are_none(given):
    with pytest.raises(UsageError, match="expected NAME=VALUE"):
        course.parse_parameter(given)


def test_tables_are_all_that_a_results_cell_brings_into_the_page():
    markup = (
        '<style>td {color: red}</style><div><table class="x" style="y"><thead><tr><th colspan="2">a &lt; b</th></tr>'
        '</thead><tr><td><a href="javascript:x()">1</a><img src=x onerror=y></td></tr></table></div>'
    )
    clean = (
        '<table><thead><tr><th colspan="2">a &lt; b</th></tr></thead><tr><td>1</td></tr></table>'
    )
    assert table_markup(markup) == clean


def test_worker_environment_leaves_threads_alone_for_a_single_job(monkeypatch):
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    assert "OMP_NUM_THREADS" not in course.kernel_environment("cpu", 1)
    assert course.kernel_environment("smoke", 1)["KDCOURSE_PROFILE"] == "smoke"
