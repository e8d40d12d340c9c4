"""The order in which notebooks run, and what stops them: with workers that only pretend, and slowly
with kernels.
"""

import time

import pytest
from toy_notebooks import PYTHON

from kdcourse.running import run as course
from kdcourse.running.worker import NotebookOutcome


@pytest.fixture
def pretend(monkeypatch):
    """`pretend(name=[seconds, …])`: workers take that long, each attempt after the other, and run
    no kernel. Returns the list of what happened.
    """
    happened = []

    def make(**durations):
        class Pretended:
            def __init__(self, task, output, environment, timeout):
                self.task, self.timeout, self.begun = task, timeout, time.monotonic()
                self.duration = durations.get(task.name, [0.0]).pop(0)
                happened.append(f"{task.name} begins")

            seconds = property(lambda self: time.monotonic() - self.begun)

            def late(self):
                return self.seconds > self.timeout

            def finished(self):
                return self.seconds > self.duration

            def stop(self, *, keep_partial=False):
                self.duration = 0.0
                happened.append(f"{self.task.name} is stopped")

            def outcome(self, *, timed_out=False):
                happened.append(f"{self.task.name} ends")
                status = (
                    "timed out" if timed_out else "failed" if "bad" in self.task.name else "done"
                )
                return NotebookOutcome(self.task.name, status, error="of this test")

        monkeypatch.setattr(course, "Worker", Pretended)
        return happened

    return make


def test_notebooks_begin_when_the_networks_that_they_need_are_there(notebook, run, pretend):
    def needs(*names):
        return {**PYTHON, "kdcourse": {"needs": list(names)}}

    paths = [notebook("first"), notebook("long"), notebook("one", metadata=needs("long", "away"))]
    for jobs in (1, 2):
        happened = pretend(long=[0.3], first=[0.1])
        happened.clear()
        outcomes, _ = run(*paths, jobs=jobs)
        assert [outcome.name for outcome in outcomes] == ["first", "long", "one"]
        assert happened.index("long ends") < happened.index("one begins")
        assert happened[0] == ("first begins" if jobs == 1 else "long begins")
    pretend()
    circle = [notebook(name, metadata=needs("two", "one")) for name in ("one", "two")]
    outcomes, _ = run(*circle, jobs=2)
    assert [outcome.status for outcome in outcomes] == ["done", "done"]


def test_a_notebook_that_takes_too_long_is_tried_once_more(notebook, run, pretend):
    happened = pretend(late=[60, 0.0], later=[60, 60])
    outcomes, lines = run(notebook("late"), notebook("later"), timeout=0.2, keep_going=True)
    assert [outcome.status for outcome in outcomes] == ["done", "timed out"]
    assert lines.count("trying once more") == 2
    assert happened.count("later begins") == 2 and happened.count("later is stopped") == 2


def test_a_failure_ends_the_run_unless_it_keeps_going(notebook, run, pretend):
    paths = [notebook("bad"), notebook("good")]
    for keep_going, statuses in ((False, ["failed", "not run"]), (True, ["failed", "done"])):
        pretend()
        outcomes, _ = run(*paths, keep_going=keep_going)
        assert [outcome.status for outcome in outcomes] == statuses


def test_an_interrupt_stops_what_runs_and_is_passed_on(notebook, run, pretend, tmp_path):
    happened = pretend(toy=[60])

    def interrupt(line):
        assert line.startswith("toy 0:0")
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run(notebook("toy"), live=interrupt)
    assert happened == ["toy begins", "toy is stopped"]
    assert "interrupted" in (tmp_path / "out" / "index.html").read_text()


# --- the same with kernels ------------------------------------------------------------------------


SLEEPS = (
    "import time\n"
    "open('order.txt', 'a').write('{0} begins\\n')\n"
    "time.sleep({1})\n"
    "open('order.txt', 'a').write('{0} ends\\n')"
)


@pytest.mark.slow
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


@pytest.mark.slow
@pytest.mark.slow
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


@pytest.mark.slow
def test_notebooks_that_need_one_another_run_all_the_same(notebook, run):
    needs = {
        name: {**PYTHON, "kdcourse": {"needs": [name, "one", "two"]}} for name in ("one", "two")
    }
    outcomes, _ = run(
        *(notebook(name, metadata=metadata) for name, metadata in needs.items()), jobs=2
    )
    assert [outcome.status for outcome in outcomes] == ["done", "done"]
