"""Grading in sandboxes and processes: one run over many made submissions, then the results."""

import csv
import io
import json
import signal
import socket
import subprocess
import sys
import threading
import time
from pathlib import Path

import psutil
import pytest
import toy_exercise
from submissions import HERE, HOSTILE, REFUSED, SLEEP, cases, in_folders
from toy_exercise import DOUBLED, notebook

from kdcourse.common.errors import UsageError
from kdcourse.grading import grade as grading
from kdcourse.grading import sandbox
from kdcourse.grading.merge import Exercise
from kdcourse.grading.sandbox import Limits

pytestmark = pytest.mark.slow
LIMITS = Limits(seconds=40, cell_seconds=4, memory=1301, files=21, start_seconds=300)
SECRET = "factor * x  # a line that is in the solutions alone"


class Run:
    """A grading: its records by student, its pages, what it left."""

    def __init__(self, folder, records, lines=()):
        self.folder, self.lines = folder, lines
        self.records = {record.student: record for record in records if record.student != "zipped"}

    def faults(self, student) -> dict[str, str]:
        return {
            task["task"]: task["fault"] for task in self.records[student].tasks if task["fault"]
        }

    def task(self, student, name="doubled") -> dict:
        return next(task for task in self.records[student].tasks if task["task"] == name)

    def read(self, name) -> str:
        return (self.folder / "out" / name).read_text()

    def page(self, student) -> str:
        return self.read(f"feedback/{grading.report.slug(student)}.html")


@pytest.fixture(scope="module")
def graded(bubblewrap, tmp_path_factory) -> Run:
    folder = tmp_path_factory.mktemp("class")
    submissions = folder / "submissions"
    submissions.mkdir()
    (folder / "sol").mkdir()
    instructor = folder / "sol" / "sol_toy.ipynb"
    instructor.write_text(notebook(doubled=DOUBLED.replace("factor * x", SECRET)))
    with socket.create_server(("127.0.0.1", 0)) as server:
        connected = []
        server.settimeout(0.2)
        stop = threading.Event()

        def listen():
            while not stop.is_set():
                try:
                    connected.append(server.accept())
                except TimeoutError:
                    continue

        listener = threading.Thread(target=listen)
        listener.start()
        made = cases(folder, server.getsockname()[1])
        for student, (text, _) in made.items():
            (submissions / f"{student}.ipynb").write_text(text)
        for student, (content, _) in REFUSED.items():
            (submissions / f"{student}.ipynb").write_bytes(content)
        in_folders(submissions, instructor)
        lines, exercise = [], Exercise("toy", instructor, "toy_exercise")
        try:
            records = grading.grade(
                submissions, folder / "out", jobs=2, limits=LIMITS, of=[exercise], echo=lines.append
            )
        finally:
            stop.set()
            listener.join()
    run = Run(folder, records, lines)
    run.cases, run.connected, run.exercise = made, connected, exercise
    return run


def ours() -> list[str]:
    """Command lines of processes that a grading with these limits, or a submission, started."""
    found = []
    for process in psutil.process_iter():
        try:
            command = " ".join(process.cmdline())
        except psutil.Error:
            continue
        if (
            "grading.worker" in command and '"memory": 1301' in command
        ) or f"sleep {SLEEP}" in command:
            found.append(command)
    return found


def gone(seconds: float = 10) -> bool:
    """Whether all of them have ended, soon."""
    until = time.monotonic() + seconds
    while ours() and time.monotonic() < until:
        time.sleep(0.1)
    return not ours()


# --- one run over them all ------------------------------------------------------------------------


def test_each_submission_gets_the_points_of_its_right_tasks(graded):
    for student, (_, expected) in graded.cases.items():
        record = graded.records[student]
        assert record.status == "graded", (student, record.reason)
        faults = graded.faults(student)
        assert faults == expected, student
        assert len(record.tasks) == 3 and record.sandboxed, student
        points = {task["task"]: task["points"] for task in record.tasks}
        assert points == {
            name: 0 if name in faults else most for name, most in toy_exercise.POINTS.items()
        }, student


def test_files_that_are_no_notebooks_are_refused_with_a_reason(graded):
    for student, (_, reason) in REFUSED.items():
        record = graded.records[student]
        assert record.status == "refused" and reason in record.reason, student
        assert reason in graded.page(student), student


def test_links_bombs_and_paths_that_lead_out_are_refused(graded):
    with open(graded.folder / "out" / "grades.csv", newline="") as file:
        reasons = {
            row["file"]: row["message"] for row in csv.DictReader(file) if row["fault"] == "refused"
        }
    assert "link" in reasons["linked.ipynb"] and "link" in reasons["zipped/all/link.ipynb"]
    assert (
        "leads out" in reasons["zipped/all/evil.ipynb"]
        and "leads out" in reasons["zipped/all/absolute.ipynb"]
    )
    assert "100 MB" in reasons["bomb/bomb.ipynb"]
    assert "damaged" in reasons["damaged.zip"]
    assert not list(graded.folder.parent.rglob("evil.ipynb"))


def test_of_two_versions_the_newer_counts_and_a_zip_in_a_zip_is_opened(graded):
    assert (
        graded.faults("versions") == {} and "older version" in graded.records["versions"].notes[0]
    )
    assert "older version" in graded.page("versions")
    with open(graded.folder / "out" / "grades.csv", newline="") as file:
        rows = [
            row
            for row in csv.DictReader(file)
            if row["file"] == "zipped/all/inner/deep/my toy.ipynb"
        ]
    assert [(row["student"], row["points"]) for row in rows] == [
        ("zipped", "2"),
        ("zipped", "3"),
        ("zipped", "1"),
    ]


def test_nothing_is_read_written_or_reached_from_within(graded):
    told = graded.task("peek")
    assert "FileNotFoundError" in told["message"]
    assert told["printed"].count("returncode=1") == 3 and SECRET not in json.dumps(
        graded.records["peek"].tasks
    )
    seen = told["printed"].partition("seen:")[2]
    assert (
        "solutions" not in seen
        and "tests" not in seen
        and "KDCOURSE_DATA" not in seen
        and "kdcourse" in seen
    )
    assert not graded.connected and "connected" not in graded.task("connect")["printed"]
    assert not (HERE / "x.py").exists() and not (Path.home() / "x").exists()
    assert "was here" not in graded.read("grades.csv")


def test_messages_say_what_happened(graded):
    assert "That is the square." in graded.task("partly")["message"]
    assert "SyntaxError in line 1: `def doubled(x)`" in graded.task("syntax")["message"]
    assert "You define `helper` in another cell" in graded.task("helper")["message"]
    assert "handed out" in graded.task("empty", "choice")["message"]
    assert any("defines `doubled`" in note for note in graded.records["no metadata"].notes)
    assert "1,301 MB" in graded.task("exit")["message"]
    assert len(graded.task("flood")["printed"]) <= 2000


def test_no_process_is_left(graded):
    assert gone(), ours()


def test_tables_and_pages_are_safe_and_complete(graded):
    with open(graded.folder / "out" / "grades.csv", newline="") as file:
        rows = list(csv.DictReader(file))
    graded_rows = [row for row in rows if row["task"]]
    assert len(graded_rows) == 3 * (len(graded.cases) + 2)
    assert not any(value.startswith(("=", "+", "@", "-")) for row in rows for value in row.values())
    assert {row["sandboxed"] for row in rows} == {"yes"}
    page = graded.page(HOSTILE)
    assert (
        "<img" not in page
        and "&lt;img src=x onerror=alert(2)&gt;" in page
        and "default-src 'none'" in page
    )
    report = graded.read("report.html")
    assert (
        "<img" not in report
        and "stub" in report
        and "training mode" in report
        and "bubblewrap" in report
    )
    assert "Which exercise" in report and "not graded yet" not in report
    totals = {row[0]: row[1:] for row in csv.reader(io.StringIO(graded.read("totals.csv")))}
    assert (
        totals["student"] == ["toy", "sum"]
        and totals["right"] == ["6", "6"]
        and totals["big"] == ["", "0"]
    )


def test_a_second_grading_does_only_what_is_missing_or_changed(graded):
    results = graded.folder / "out" / "results"
    whole = {path.name: path.read_text() for path in results.iterdir()}
    assert not any("partial" in name for name in whole)
    names = {
        student: f"{grading.report.slug(student)}.toy.json"
        for student in ("right", "partly", "empty")
    }
    (results / names["right"]).unlink()
    (results / names["partly"]).write_text(whole[names["partly"]][:100])
    (graded.folder / "submissions" / "empty.ipynb").write_text(notebook())
    lines = []
    records = grading.grade(
        graded.folder / "submissions",
        graded.folder / "out",
        jobs=2,
        limits=LIMITS,
        of=[graded.exercise],
        echo=lines.append,
    )
    again = Run(graded.folder, records)
    assert sorted(line.split()[3] for line in lines[1:]) == ["empty", "partly", "right"]
    assert again.faults("empty") == {} and again.faults("partly") == {
        "doubled": "square",
        "choice": "choice",
    }
    assert sum(record.status == "graded" for record in records) == len(graded.cases) + 2


# --- other runs -----------------------------------------------------------------------------------


@pytest.fixture
def exercise(tmp_path) -> Exercise:
    (tmp_path / "sol").mkdir()
    (tmp_path / "sol" / "sol_toy.ipynb").write_text(notebook())
    return Exercise("toy", tmp_path / "sol" / "sol_toy.ipynb", "toy_exercise")


@pytest.fixture
def hand_in(tmp_path):
    """`hand_in(student=text, …)`: a folder of submissions."""

    def make(**notebooks) -> Path:
        folder = tmp_path / "submissions"
        folder.mkdir()
        for student, text in notebooks.items():
            (folder / f"{student}.ipynb").write_text(text)
        return folder

    return make


def test_without_a_sandbox_it_refuses_or_says_so_everywhere(
    tmp_path, exercise, hand_in, monkeypatch
):
    monkeypatch.setattr(sandbox.shutil, "which", lambda name: None)
    folder = hand_in(
        ada=notebook(choice="choice = 'a'"), bob=notebook(frozen="import os\nos._exit(1)")
    )
    with pytest.raises(UsageError, match=r"apt install bubblewrap[\s\S]*--unsandboxed"):
        grading.grade(folder, tmp_path / "out", limits=LIMITS, of=[exercise])
    assert not (tmp_path / "out").exists()
    records = grading.grade(
        folder,
        tmp_path / "out",
        jobs=2,
        limits=LIMITS,
        of=[exercise],
        sandboxed=False,
        echo=lambda line: None,
    )
    run = Run(tmp_path, records)
    assert run.faults("ada") == {"choice": "choice"} and run.faults("bob") == {"frozen": "died"}
    assert {row["sandboxed"] for row in csv.DictReader(io.StringIO(run.read("grades.csv")))} == {
        "no"
    }
    assert "without a sandbox" in run.read("report.html") and "without a sandbox" in run.page("ada")
    assert gone(), ours()


def test_a_reference_that_does_not_pass_stops_it(tmp_path, hand_in):
    (tmp_path / "sol").mkdir()
    path = tmp_path / "sol" / "sol_toy.ipynb"
    path.write_text(notebook(choice="### BEGIN SOLUTION\nchoice = 'a'\n### END SOLUTION"))
    with pytest.raises(UsageError, match="reference solution of toy.*choice: Another one"):
        grading.grade(
            hand_in(ada=notebook()),
            tmp_path / "out",
            limits=LIMITS,
            of=[Exercise("toy", path, "toy_exercise")],
            sandboxed=False,
        )


def test_a_killed_grading_leaves_no_process_and_no_half_result(
    bubblewrap, tmp_path, exercise, hand_in
):
    endless = notebook(doubled="while True:\n    pass")
    folder = hand_in(ada=notebook(), bob=endless, cy=endless)
    script = f"""
import sys
sys.path.insert(0, {str(HERE)!r})
from pathlib import Path
from kdcourse.grading.grade import grade
from kdcourse.grading.merge import Exercise
from kdcourse.grading.sandbox import Limits
if __name__ == "__main__":
    limits = Limits(seconds=600, cell_seconds=600, memory=1301, start_seconds=300)
    grade({str(folder)!r}, {str(tmp_path / "out")!r}, jobs=2, limits=limits,
          of=[Exercise("toy", Path({str(exercise.notebook)!r}), "toy_exercise")])
"""
    (tmp_path / "run.py").write_text(script)
    process = subprocess.Popen(
        [sys.executable, tmp_path / "run.py"], stdout=subprocess.PIPE, text=True
    )
    assert "ada" in process.stdout.readline()  # bob and cy are never done
    assert ours()
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert gone(), ours()
    names = sorted(
        json.loads(path.read_text())["student"] for path in (tmp_path / "out" / "results").iterdir()
    )
    assert names == ["", "ada"]
