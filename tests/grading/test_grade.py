"""Grading as a whole, in this process: what is graded, kept, refused, and in which files.

`test_grade_sandboxed.py` has the same with processes and sandboxes, slowly.
"""

import csv
import io
import json
import os

import pytest
from toy_exercise import notebook

from kdcourse.common.errors import UsageError
from kdcourse.common.processes import Failure, Message, Place, Result
from kdcourse.grading import grade as grading
from kdcourse.grading import sandbox
from kdcourse.grading.merge import Exercise
from kdcourse.grading.sandbox import Limits

LIMITS = Limits(seconds=40, memory=1301)


class Pool:
    """Runs each task at once, in this process. `failures`: by student, instead of a result."""

    free = True
    failures: dict[str, Failure] = {}

    def __init__(self, jobs, **options):
        self._events = []

    busy = property(lambda self: bool(self._events))

    def submit(self, key, function, *arguments):
        if failure := self.failures.get(key.student):
            self._events.append(Failure(key, *failure))
            return
        place = Place(0, lambda content: self._events.append(Message(key, content)))
        self._events.append(Result(key, function(place, *arguments), 0.5))

    def events(self, timeout):
        events, self._events = self._events, []
        yield from events

    def close(self):
        pass


@pytest.fixture
def grade(tmp_path, monkeypatch, in_process_sandbox):
    """`grade(student=text, …)`: hands in these notebooks and grades all that were handed in;
    records by student, and the lines that were printed.
    """
    monkeypatch.setattr(sandbox, "refusal", lambda: "")
    monkeypatch.setattr(sandbox, "Sandbox", in_process_sandbox)
    monkeypatch.setattr(grading, "Pool", Pool)
    (tmp_path / "sol").mkdir()
    (tmp_path / "in").mkdir()
    instructor = tmp_path / "sol" / "sol_toy.ipynb"
    instructor.write_text(notebook())

    def call(**texts):
        for student, text in texts.items():
            (tmp_path / "in" / f"{student}.ipynb").write_text(text)
        lines, exercise = [], Exercise("toy", instructor, "toy_exercise")
        records = grading.grade(
            tmp_path / "in", tmp_path / "out", limits=LIMITS, of=[exercise], echo=lines.append
        )
        return {record.student: record for record in records}, lines

    return call


def faults(record) -> dict[str, str]:
    return {task["task"]: task["fault"] for task in record.tasks if task["fault"]}


def test_records_tables_and_pages_of_a_class(grade, tmp_path):
    records, lines = grade(
        ada=notebook(), bob=notebook(choice="choice = 'a'"), cy="PK not a notebook"
    )
    assert [record.status for record in records.values()] == ["refused", "graded", "graded"]
    assert faults(records["ada"]) == {} and faults(records["bob"]) == {"choice": "choice"}
    assert any("bob  toy  5 of 6 points" in line for line in lines)
    out = tmp_path / "out"
    rows = list(csv.DictReader(io.StringIO((out / "grades.csv").read_text())))
    assert sorted({row["student"] for row in rows}) == ["ada", "bob", "cy"] and len(rows) == 7
    totals = {row[0]: row[1:] for row in csv.reader(io.StringIO((out / "totals.csv").read_text()))}
    assert totals["ada"] == ["6", "6"] and totals["bob"] == ["5", "5"]
    assert (out / "report.html").is_file() and len(list((out / "feedback").iterdir())) == 3
    assert "not JSON" in (out / "feedback" / f"{grading.report.slug('cy')}.html").read_text()


def test_a_second_grading_does_only_what_is_missing_or_changed(grade, tmp_path):
    grade(ada=notebook(), bob=notebook(choice="choice = 'a'"), cy=notebook())
    cut = tmp_path / "out" / "results" / f"{grading.report.slug('ada')}.toy.json"
    cut.write_text(cut.read_text()[:100])
    records, lines = grade(cy=notebook(choice="choice = 'c'"))
    assert lines[0] == "1 of 3 were graded before and are kept."
    assert sorted(line.split()[3] for line in lines[1:]) == ["ada", "cy"]
    assert faults(records["bob"]) == faults(records["cy"]) == {"choice": "choice"}
    assert not list((tmp_path / "out").rglob("*.partial"))


def test_the_newer_of_two_versions_counts(grade, tmp_path):
    (tmp_path / "in" / "ada").mkdir()
    (tmp_path / "in" / "ada" / "ex_toy.ipynb").write_text(notebook(choice="choice = 'a'"))
    os.utime(tmp_path / "in" / "ada" / "ex_toy.ipynb", (1e9, 1e9))
    (tmp_path / "in" / "ada" / "final (2).ipynb").write_text(notebook())
    records, _ = grade()
    assert faults(records["ada"]) == {} and "older version" in records["ada"].notes[0]


def test_a_judge_that_dies_or_is_stuck_fails_its_own_record_alone(grade, monkeypatch):
    failures = {"ada": (-9, False, 1.0), "bob": (-9, True, 9.0)}
    monkeypatch.setattr(Pool, "failures", failures)
    records, lines = grade(ada=notebook(), bob=notebook(), cy=notebook())
    assert records["ada"].reason == "its judge's process died (exit code -9)"
    assert records["bob"].reason == "its judging took too long and was ended"
    assert [records[name].status for name in ("ada", "bob", "cy")] == ["failed", "failed", "graded"]
    assert records["bob"].seconds == 9.0 and any("failed: its judging" in line for line in lines)


def test_a_reference_that_does_not_pass_stops_it(grade, tmp_path):
    path = tmp_path / "sol" / "sol_toy.ipynb"
    path.write_text(notebook(choice="### BEGIN SOLUTION\nchoice = 'a'\n### END SOLUTION"))
    with pytest.raises(UsageError, match="reference solution of toy.*choice: Another one"):
        grade(ada=notebook())
    kept = (tmp_path / "out" / "results").iterdir()
    assert not [path for path in kept if json.loads(path.read_text())["student"] == "ada"]


def test_without_a_sandbox_nothing_is_graded(tmp_path, monkeypatch):
    monkeypatch.setattr(sandbox.shutil, "which", lambda name: None)
    with pytest.raises(UsageError, match=r"apt install bubblewrap[\s\S]*--unsandboxed"):
        grading.grade(tmp_path, tmp_path / "out", of=[])
    assert not (tmp_path / "out").exists()
    with pytest.raises(UsageError, match="--jobs 0"):
        grading.grade(tmp_path, tmp_path / "out", jobs=0, of=[])
