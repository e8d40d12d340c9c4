"""All runs of a grid: the order, what is done again, failures and progress. Toys are trained."""

import json
from dataclasses import dataclass, replace
from functools import partial

import pytest
from grids import FIRST_TEACHER as TEACHER
from grids import TAUGHT, TOY, Fails, StudentsFirst, Toy, do, do_toys, files, of

from kdcourse.common.errors import DataError, UsageError
from kdcourse.common.profiles import profile
from kdcourse.experiments import reproduce as reproduction
from kdcourse.experiments.complexity import D4
from kdcourse.experiments.grid import Run
from kdcourse.experiments.reproduce import Progress, reproduce
from kdcourse.experiments.results_folder import Results

SMOKE = profile("smoke")


@pytest.fixture
def done(tmp_path, in_process):
    return do_toys(in_process, tmp_path / "done")


@pytest.fixture
def again(in_process):
    return partial(do, in_process)


class Idle:
    """An engine that nothing may be asked of."""

    free, busy = True, False

    def submit(self, *_):
        raise AssertionError("there is nothing to do")

    def ended(self, timeout):
        raise AssertionError("there is nothing to wait for")

    def close(self):
        self.closed = True


def test_all_runs_are_done_and_the_second_time_none(tmp_path, in_process, again):
    progress, submitted, lines = again(TOY, tmp_path / "out")
    assert submitted.count(TEACHER) == 1 and sorted(map(repr, submitted)) == sorted(
        map(repr, TOY.runs())
    )
    assert (progress.all, progress.done, progress.failed, progress.left) == (10, 10, 0, 0)
    assert len(lines) == 10 and set(Results(tmp_path / "out").records()) == {
        run.name for run in TOY.runs()
    }
    before, idle, lines = files(tmp_path), Idle(), []
    progress = reproduce(TOY, tmp_path / "out", idle, echo=lines.append)
    assert (progress.done, progress.now) == (10, 0) and lines == ["10 of 10 runs were done before"]
    assert files(tmp_path) == before and idle.closed


def test_students_get_their_own_teachers_network(done):
    frame = Results(done).frame()
    taught = frame[frame.arm == "taught"]
    assert taught.accuracy.tolist() == [
        seed + TAUGHT[data] for data in ("first", "second") for seed in (50, 51)
    ]


def test_a_teacher_comes_before_its_students_however_they_are_listed(tmp_path, again):
    experiment = StudentsFirst(SMOKE, seeds=2)
    assert experiment.runs()[0].needs
    progress, submitted, _ = again(experiment, tmp_path / "out")
    assert progress.done == 10
    for run in submitted:
        assert all(submitted.index(need) < submitted.index(run) for need in run.needs)


def test_more_seeds_data_sets_and_methods_later_do_only_what_is_new(tmp_path, again):
    small = Toy(SMOKE, datasets=("first",), methods=("plain",), seeds=1)
    steps = [small, replace(small, seeds=2), replace(small, seeds=2, methods=()), TOY]
    counts, before = [], {}
    for experiment in steps:
        progress, submitted, _ = again(experiment, tmp_path)
        assert progress.done == progress.all == len(experiment.runs())
        counts.append(len(submitted))
        after = files(tmp_path)
        assert all(after[path] == before[path] for path in before)
        before = after
    assert counts == [2, 1, 2, 5]
    progress, submitted, _ = again(small, tmp_path)  # fewer: what more was done stays
    assert (
        submitted == []
        and (progress.done, progress.all) == (2, 2)
        and len(Results(tmp_path).frame()) == 10
    )


def test_data_sets_named_twice_are_done_once(tmp_path, again):
    progress, submitted, _ = again(Toy(SMOKE, datasets=("first", "first"), seeds=1), tmp_path)
    assert len(submitted) == progress.all == progress.done == 3


def test_a_run_that_fails_is_recorded_and_tried_again(tmp_path, again, monkeypatch):
    monkeypatch.setattr(Fails, "failing", {"taught"})
    experiment = Fails(SMOKE, datasets=("first",), seeds=2)
    progress, submitted, lines = again(experiment, tmp_path)
    assert (progress.done, progress.failed, progress.left) == (3, 2, 0) and len(submitted) == 5
    record = json.loads(of(submitted[-1], tmp_path).read_text())
    assert record["status"] == "failed" and record["results"] is None
    assert record["error"].startswith("ZeroDivisionError: no recipe for taught\n")
    assert "Traceback (most recent call last)" in record["error"] and "grids.py" in record["error"]
    reports = [line for line in lines if "taught" in line]
    assert len(reports) == 2
    assert all("failed: ZeroDivisionError: no recipe for taught" in line for line in reports)
    assert set(Results(tmp_path).frame().arm) == {"teacher", "plain"}

    monkeypatch.setattr(Fails, "failing", set())
    before = files(tmp_path)
    progress, submitted, _ = again(experiment, tmp_path)
    assert [run.arm for run in submitted] == ["taught", "taught"] and (
        progress.done,
        progress.failed,
    ) == (5, 0)
    changed = {path for path, content in files(tmp_path).items() if before[path] != content}
    assert changed == {of(run, tmp_path) for run in submitted}
    assert "error" not in json.loads(of(submitted[0], tmp_path).read_text())


def test_an_error_of_the_courses_own_is_said_as_it_is(tmp_path, again, monkeypatch):
    monkeypatch.setattr(
        Toy, "judge", lambda *_: (_ for _ in ()).throw(UsageError("seven is too few"))
    )
    _, submitted, lines = again(Toy(SMOKE, datasets=("first",), seeds=1), tmp_path)
    assert json.loads(of(TEACHER, tmp_path).read_text())["error"].startswith("seven is too few\n")
    assert "failed: seven is too few  [" in lines[0]


def test_students_of_a_teacher_that_fails_are_recorded_as_not_run(tmp_path, again, monkeypatch):
    monkeypatch.setattr(Fails, "failing", {"teacher"})
    experiment = Fails(SMOKE, datasets=("first",), seeds=2)
    progress, submitted, lines = again(experiment, tmp_path)
    assert submitted == [TEACHER] and (progress.done, progress.failed, progress.left) == (0, 5, 0)
    for run in experiment.runs()[1:]:
        record = json.loads(of(run, tmp_path).read_text())
        assert record["status"] == "failed"
        assert record["error"] == f"not run: it needs {TEACHER.name}, which failed"
    assert "not run" in lines[1] and Results(tmp_path).frame().empty
    monkeypatch.setattr(Fails, "failing", set())
    progress, submitted, _ = again(experiment, tmp_path)
    assert len(submitted) == 5 and progress.done == 5


def test_missing_data_are_said_before_the_folder_is_made(tmp_path):
    engine = Idle()
    with pytest.raises(DataError, match="elsewhere is nowhere"):
        reproduce(replace(TOY, datasets=("first", "elsewhere")), tmp_path / "out", engine)
    with pytest.raises(UsageError, match="unknown data set 'digts'"):
        reproduce(D4(SMOKE, datasets=("digts",)), tmp_path / "out", engine)
    assert not (tmp_path / "out").exists()


def test_a_need_that_no_run_makes_is_said(tmp_path, monkeypatch):
    monkeypatch.setattr(Toy, "runs", lambda self: [Run("first", "taught", 0, (), (TEACHER,))])
    with pytest.raises(UsageError, match=f"toy: no run makes the network {TEACHER.name}"):
        reproduce(TOY, tmp_path / "out", Idle())


def test_the_engine_is_closed_whatever_happens(tmp_path, in_process, monkeypatch):
    closed = []
    monkeypatch.setattr(in_process, "close", lambda: closed.append(True))

    def stop(line):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        reproduce(TOY, tmp_path, in_process, echo=stop)
    assert (
        closed == [True] and len(Results(tmp_path).records()) == 1
    )  # the first was written before it was said


@dataclass
class Slow:
    """An engine of one place that has an outcome every other time it is asked."""

    inner: object
    asked: int = 0

    @property
    def free(self):
        return not self.busy

    @property
    def busy(self):
        return self.inner.busy

    def submit(self, *run):
        assert self.free
        self.inner.submit(*run)

    def ended(self, timeout):
        self.asked += 1
        return self.inner.ended(timeout) if self.asked % 2 == 0 else iter(())

    def close(self):
        self.inner.close()


def test_progress_is_told_while_nothing_ends_and_outcomes_are_handed_on(tmp_path, in_process):
    told, ended, engine = [], [], Slow(in_process)
    experiment = Toy(SMOKE, datasets=("first",), seeds=1)
    reproduce(
        experiment,
        tmp_path,
        engine,
        echo=str,
        live=told.append,
        ended=lambda *pair: ended.append(pair),
    )
    assert [line[:11] for line in told] == [f"{n} of 3 runs" for n in (0, 1, 1, 2, 2, 3)]
    assert [run for run, _ in ended] == experiment.runs()
    assert all(
        outcome.status == "done" and outcome.history[0]["loss"] == 0.5 for _, outcome in ended
    )


def test_the_line_of_progress(monkeypatch):
    clock = iter([220.0, 400.0])
    monkeypatch.setattr(reproduction.time, "monotonic", lambda: next(clock))
    progress = Progress(8, started=100)
    assert progress.line() == "0 of 8 runs done, 8 left, 0 failed"
    student = replace(Run("usps", "response", 0), needs=(TEACHER,))
    for run, accuracy in (
        (TEACHER, 99.0),
        (student, 81.26),
        (replace(student, seed=1), 80.0),
        (student, None),
    ):
        progress.add(run, accuracy)
        progress.now += 1
    assert progress.line() == (  # 120 s for four
        "3 of 8 runs done, 4 left, 1 failed, best 81.3 % (response on usps), about 2 min left"
    )
    progress.all, progress.now = 5, 10  # 300 s for ten, one left
    assert progress.line().endswith(
        "1 left, 1 failed, best 81.3 % (response on usps), under a minute left"
    )


def test_a_line_a_run_with_its_accuracy(tmp_path, again):
    _, _, lines = again(Toy(SMOKE, datasets=("first",), seeds=1), tmp_path)
    assert (
        lines[0].startswith("first--teacher--seed=0 ")
        and " 90.0 %  [1 of 3 runs done, 2 left, 0 failed" in lines[0]
    )
    assert (
        lines[2].startswith("first--taught--seed=0 ")
        and "best 57.0 % (taught on first)]" in lines[2]
    )


def test_learning_curves_are_written_for_tensorboard(tmp_path, again):
    pytest.importorskip("tensorboard")
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    again(
        Toy(SMOKE, datasets=("first",), seeds=1), tmp_path, ended=reproduction.tensorboard(tmp_path)
    )
    folders = {path.name for path in (tmp_path / "tensorboard").iterdir()}
    assert folders == {run.name for run in Toy(SMOKE, datasets=("first",), seeds=1).runs()}
    events = EventAccumulator(str(tmp_path / "tensorboard" / TEACHER.name)).Reload()
    assert set(events.Tags()["scalars"]) == {"loss", "train_accuracy", "val_accuracy", "seconds"}
    assert [(event.step, event.value) for event in events.Scalars("val_accuracy")] == [(1, 55.0)]
