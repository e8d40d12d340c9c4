"""Judging: the toy exercise in this process, the course's exercises from outside a sandbox."""

import json

import pytest
import torch
import toy_exercise
from submissions import honest
from toy_exercise import notebook

from kdcourse.checking.task import Task
from kdcourse.exercises import tasks
from kdcourse.grading import merge, sandbox
from kdcourse.grading.grade import exercises
from kdcourse.grading.judge import NotStarted, judge
from kdcourse.grading.sandbox import Limits, Lost

TOY = {name: value for name, value in vars(toy_exercise).items() if isinstance(value, Task)}


@pytest.fixture
def steps(tmp_path):
    (tmp_path / "sol_toy.ipynb").write_text(notebook())
    return merge.instructor_steps(tmp_path / "sol_toy.ipynb")


@pytest.fixture
def judged(steps):
    """`judged(text, start)`: the results of a notebook's tasks, by name."""

    def call(text: str, start, limits: Limits = Limits()) -> dict:  # noqa: B008  frozen
        plan = merge.assemble(json.loads(text), steps)
        return {result.task: result for result in judge(plan, TOY, start, limits)}

    return call


def test_each_honest_submission_gets_the_points_of_its_right_tasks(judged, in_process_sandbox):
    for student, (text, expected) in honest().items():
        results = judged(text, in_process_sandbox)
        faults = {name: result.fault for name, result in results.items() if result.fault}
        assert faults == expected, student
        for name, most in toy_exercise.POINTS.items():
            assert (results[name].points, results[name].of) == (0 if name in faults else most, most)


def test_messages_say_what_happened(judged, in_process_sandbox):
    def message(student, task="doubled"):
        return judged(honest()[student][0], in_process_sandbox)[task].message

    assert "That is the square." in message("partly")
    assert "SyntaxError in line 1: `def doubled(x)`" in message("syntax")
    assert "You define `helper` in another cell" in message("helper")
    assert "handed out" in message("empty", "choice")


class Scripted:
    """A sandbox that is lost at some requests, or replies with lies."""

    def __init__(self, inner, replies: dict):
        self.inner, self.replies = inner, replies

    def ask(self, *request, seconds: float):
        reply = self.replies.get(request[0], lambda request: None)(request)
        if isinstance(reply, Exception):
            raise reply
        return self.inner.ask(*request, seconds=seconds) if reply is None else reply

    def close(self):
        self.inner.close()


def test_a_lost_process_costs_its_own_task_alone(judged, in_process_sandbox):
    started = []

    def start():
        started.append(True)
        lost = lambda request: Lost("died") if request[1] == "doubled" else None  # noqa: E731
        return Scripted(in_process_sandbox(), {"call": lost})

    results = judged(notebook(), start, Limits(memory=1301))
    assert {name: result.fault for name, result in results.items()} == {
        "doubled": "died",
        "frozen": "",
        "choice": "",
    }
    assert "1,301 MB" in results["doubled"].message and len(started) == 2


def test_a_cell_that_loses_its_process_is_left_out_afterwards(judged, in_process_sandbox):
    def start():
        lost = lambda request: Lost("time") if "frozen" in request[1] else None  # noqa: E731
        return Scripted(in_process_sandbox(), {"cell": lost})

    results = judged(notebook(), start)
    assert [result.fault for result in results.values()] == ["", "time", ""]
    assert "The cell itself" in results["frozen"].message


def test_replies_that_are_no_outcomes_are_unreadable(judged, in_process_sandbox):
    outcome = {"value": torch.ones(4), "error": None, "after": {}}
    for lie in (3, [], {"value": 1}, outcome | {"after": 3}, outcome | {"changed": [[]]}):
        start = lambda lie=lie: Scripted(in_process_sandbox(), {"call": lambda _: lie})  # noqa: E731
        assert judged(notebook(), start)["doubled"].fault == "unreadable", lie


def test_a_machine_that_cannot_start_a_sandbox_is_no_fault_of_a_submission(
    judged, in_process_sandbox
):
    def lost():
        raise Lost("died", "no memory")

    with pytest.raises(NotStarted, match="twice .died: no memory"):
        judged(notebook(), lost)
    failing = lambda: Scripted(in_process_sandbox(), {"cell": lambda request: Lost("time")})  # noqa: E731
    with pytest.raises(NotStarted, match="instructor's first cells"):
        judged(notebook(), failing)


def test_a_submission_has_its_seconds_and_no_more(judged, in_process_sandbox):
    results = judged(notebook(), in_process_sandbox, Limits(seconds=1e-9))
    assert [result.fault for result in results.values()] == ["", "over", "over"]


# --- the course's exercises, slowly ---------------------------------------------------------------


@pytest.fixture(scope="module")
def one_box(bubblewrap):
    """One sandbox for all exercises, which need not be kept apart here."""
    box = sandbox.Sandbox(sandbox.Limits(start_seconds=300))
    yield box
    box.close()


class Lent:
    """A sandbox that is not closed after use."""

    def __init__(self, box):
        self.ask = box.ask

    def close(self):
        pass


@pytest.mark.slow
@pytest.mark.parametrize("exercise", exercises(), ids=lambda exercise: exercise.name)
def test_every_exercise_can_be_judged_from_without(one_box, exercise):
    steps = merge.instructor_steps(exercise.notebook)
    unsolved = exercise.notebook.parent.parent / "exercises" / f"ex_{exercise.title}.ipynb"
    for path, faults in ((unsolved, {"stub"}), (exercise.notebook, {""})):
        made = merge.read(path)
        assert merge.recognise(made, "x.ipynb", {exercise.name: steps}) == exercise.name
        plan = merge.assemble(made, steps)
        results = list(
            judge(
                plan, tasks(exercise.name), lambda: Lent(one_box), sandbox.Limits(start_seconds=300)
            )
        )
        assert {result.fault for result in results} == faults, [
            result for result in results if result.fault
        ]
        assert [result.task for result in results] == list(tasks(exercise.name))
        assert all(result.points == (0 if result.fault else result.of) for result in results)
