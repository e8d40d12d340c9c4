"""Grids: their runs, the folder with the results, and what is done again when. Nothing is trained
here but toys.
"""

import json
import os
import re
from dataclasses import dataclass, replace

import numpy as np
import pytest
import torch
from grids import TAUGHT, Fails, StudentsFirst, Toy
from torch import nn

from kdcourse.common.errors import DataError, UsageError
from kdcourse.common.profiles import PROFILES, profile
from kdcourse.experiments import reproduce as reproduction
from kdcourse.experiments.complexity import D4
from kdcourse.experiments.grid import Run, RunOutcome, judged, pack_bits, unpack_bits
from kdcourse.experiments.registry import EXPERIMENTS
from kdcourse.experiments.reproduce import Progress, reproduce
from kdcourse.experiments.results_folder import Results

SMOKE = profile("smoke")
TOY = Toy(SMOKE, seeds=2)
TEACHER = Run("first", "teacher", 0)


@pytest.fixture
def done(tmp_path, in_process):
    """A folder with the results of TOY."""
    reproduce(TOY, tmp_path / "done", in_process, echo=lambda line: None)
    in_process.submitted.clear()
    return tmp_path / "done"


@pytest.fixture
def again(in_process):
    """`again(experiment, folder)`: its progress, the runs that were submitted, the lines that were
    printed.
    """

    def call(experiment, folder, **options):
        lines = []
        in_process.submitted.clear()
        progress = reproduce(experiment, folder, in_process, echo=lines.append, **options)
        return progress, list(in_process.submitted), lines

    return call


def files(folder):
    """Every file in a folder with its time and content."""
    return {
        path: (path.stat().st_mtime_ns, path.read_bytes())
        for path in folder.rglob("*")
        if path.is_file()
    }


def of(run, folder):
    return folder / "runs" / f"{run.name}.json"


# --- runs -----------------------------------------------------------------------------------------


def test_a_name_is_the_same_everywhere_and_for_ever():
    assert Run("digits", "scratch", 0).name == "digits--scratch--seed=0--572a11"
    assert Run("digits", "scratch", 0, needs=(TEACHER,)).name == "digits--scratch--seed=0--572a11"


def test_names_are_fit_for_files_and_unique():
    runs = [
        Run(
            "/tmp/Häuser и 図像/a b",
            "distilled, smoothed teacher",
            3,
            (("share", 0.01), ("stem", "fine")),
        ),
        Run(
            "/tmp/Häuser и 図像/a-b",
            "distilled, smoothed teacher",
            3,
            (("share", 0.01), ("stem", "fine")),
        ),
        Run("図" * 200, "labels", 0),
        Run("像" + "図" * 199, "labels", 0),
        Run("a", "labels", 1),
        Run("a", "labels", 11),
        Run("a", "labels", 1, (("share", 0.1),)),
        Run("a", "labels--seed=1", 1),
    ]
    names = [run.name for run in runs]
    assert len(set(names)) == len(runs)
    assert all(re.fullmatch(r"[A-Za-z0-9_.=-]{8,120}", name) for name in names)


def test_a_run_gives_its_factors():
    run = Run("digits", "labels", 0, (("share", 0.1), ("stem", "fine")))
    assert run["share"] == 0.1 and run["stem"] == "fine"
    with pytest.raises(KeyError):
        run["budget"]


def test_needs_of_needs_are_refused():
    student = Run("digits", "response", 0, (), (TEACHER,))
    with pytest.raises(UsageError, match="a network that others need must itself need none"):
        Run("digits", "second generation", 0, (), (student,))


@pytest.mark.parametrize(
    "wrong, words",
    [
        (dict(methods=("respons",)), "unknown method of d4 'respons'. Did you mean response"),
        (dict(seeds=0), "seeds=0: expected 1 or more"),
        (dict(limit=0), "limit=0: expected 1 training image or more"),
        (dict(networks="thick"), "unknown networks 'thick'"),
    ],
)
def test_arguments_that_cannot_be(wrong, words):
    with pytest.raises(UsageError, match=re.escape(words)):
        D4(SMOKE, **wrong)


@pytest.mark.parametrize("kind", EXPERIMENTS.values(), ids=EXPERIMENTS)
def test_runs_are_whole_whatever_is_asked_for(kind):
    every = kind(SMOKE).runs()
    assert {run.data for run in every} == set(kind.DATASETS) and {run.arm for run in every} >= set(
        kind.METHODS
    )
    for methods in [(), *((method,) for method in kind.METHODS)]:
        experiment = kind(SMOKE, datasets=("digits", "usps"), methods=methods, seeds=2)
        runs = experiment.runs()
        assert len({run.name for run in runs}) == len(set(runs)) == len(runs)
        assert {need for run in runs for need in run.needs} <= set(runs)
        for data in ("digits", "usps"):
            students = {
                (run.arm, run.seed) for run in runs if run.data == data and run.arm in kind.METHODS
            }
            wanted = {kind.REFERENCE, *methods} if methods else set(kind.METHODS)
            assert students == {(arm, seed) for arm in wanted for seed in (0, 1)}
    assert set(kind.BUDGETS) == set(PROFILES)
    assert not any(
        "," in method for method in kind.METHODS
    )  # the command line takes them as a list with commas


def test_methods_come_in_the_tables_order():
    assert D4(SMOKE, methods=("intermediate", "scratch")).arms == ("scratch", "intermediate")
    assert D4(SMOKE, methods=("response",)).arms == ("scratch", "response")


def test_the_size_is_what_results_in_one_folder_must_share():
    size = TOY.size()
    assert size["experiment"] == "toy" and size["limit"] == 10 and size["profile"] == "smoke"
    for same in (
        replace(TOY, seeds=5),
        replace(TOY, datasets=("first",)),
        replace(TOY, methods=("taught",)),
    ):
        assert same.size() == size
    for other in (
        replace(TOY, networks="published"),
        replace(TOY, split_seed=0),
        Toy(profile("cpu")),
    ):
        assert other.size() != size
    assert replace(TOY, limit=4).size() == size | {"limit": 4}


def test_fewer_training_images_only_where_there_are_more(make_data):
    data = make_data()  # 72 train
    assert len(replace(TOY, limit=12).fewer(data).train) == 12
    for limit in (72, 1000):
        assert replace(TOY, limit=limit).fewer(data) is data
    assert Toy(profile("cpu")).fewer(data) is data


# --- the folder -----------------------------------------------------------------------------------


@pytest.mark.parametrize("there", [False, True])
def test_a_new_or_empty_folder_is_claimed(tmp_path, there):
    folder = tmp_path / "deep" / "folder"
    if there:
        folder.mkdir(parents=True)
    results = Results(folder)
    results.claim(TOY)
    results.claim(replace(TOY, seeds=9))
    assert results.about() == {"format": 1, **TOY.size()}
    assert [path.name for path in folder.iterdir()] == ["experiment.json"]


def test_a_folder_with_other_files_is_left_alone(tmp_path, again):
    (tmp_path / "thesis.txt").write_text("years of work")
    before = files(tmp_path)
    with pytest.raises(UsageError, match="holds other files. Name a new folder for --output"):
        again(TOY, tmp_path)
    assert files(tmp_path) == before


@pytest.mark.parametrize(
    "other, words",
    [
        (replace(TOY, limit=4), "limit is 10, now 4"),
        (Toy(replace(profile("cpu"))), "profile is 'smoke', now 'cpu'"),
        (D4(SMOKE), "experiment is 'toy', now 'd4'"),
    ],
)
def test_a_folder_of_another_recipe_is_left_alone(done, other, words):
    before = files(done)
    with pytest.raises(UsageError, match=words):
        Results(done).claim(other)
    assert files(done) == before


@pytest.mark.parametrize(
    "content",
    ["", '{"format": 1, "exp', "[]", '{"format": 2, "experiment": "toy"}', '{"format": 1}'],
)
def test_a_damaged_description_is_said_and_nothing_done(done, again, content):
    (done / "experiment.json").write_text(content)
    before = files(done)
    with pytest.raises(DataError, match="experiment.json: "):
        again(TOY, done)
    assert files(done) == before


def test_a_folder_that_is_none_of_ours_has_no_description(tmp_path):
    with pytest.raises(DataError, match="not the folder of an experiment"):
        Results(tmp_path).about()


def cut_short(text):
    return text[: len(text) // 2]


def not_json(text):
    return "accuracy: 91 %"


def another_kind(text):
    return "[1, 2, 3]"


def another_format(text):
    return json.dumps(json.loads(text) | {"format": 0})


def another_status(text):
    return json.dumps(json.loads(text) | {"status": "perhaps"})


def no_accuracy(text):
    record = json.loads(text)
    del record["results"]["accuracy"]
    return json.dumps(record)


def empty_accuracy(text):
    record = json.loads(text)
    record["results"]["accuracy"] = None
    return json.dumps(record)


def no_results(text):
    return json.dumps(json.loads(text) | {"results": None})


def not_text(text):
    return "\udcff" + text


@pytest.mark.parametrize(
    "damage",
    [
        cut_short, not_json, another_kind, another_format, another_status, no_accuracy, empty_accuracy, no_results,
        not_text,
    ],
)  # fmt: skip
def test_a_damaged_result_is_set_aside_and_done_again(done, again, damage):
    run = TOY.runs()[2]
    whole = of(run, done).read_text()
    of(run, done).write_bytes(damage(whole).encode(errors="surrogateescape"))
    damaged = of(run, done).read_bytes()
    others = files(done)
    progress, submitted, lines = again(TOY, done)
    assert submitted == [run] and progress.done == progress.all == 10
    aside = of(run, done).with_suffix(".damaged")
    assert aside.read_bytes() == damaged and f"{aside}: damaged, set aside" in lines[0]
    assert json.loads(of(run, done).read_text())["results"] == json.loads(whole)["results"]
    after = files(done)
    assert all(after[path] == others[path] for path in others if path != of(run, done))


def test_a_half_written_file_is_no_result(done, again):
    run = TOY.runs()[2]
    of(run, done).rename(f"{of(run, done)}.partial")
    assert again(TOY, done)[1] == [run]


def lost(path):
    path.unlink()


def altered(path):
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(content)


@pytest.mark.parametrize("spoil", [lost, altered])
def test_a_teacher_whose_network_is_spoilt_is_done_again_but_not_its_students(done, again, spoil):
    path = done / "networks" / f"{TEACHER.name}.pt"
    whole = path.read_bytes()
    spoil(path)
    progress, submitted, lines = again(TOY, done)
    assert submitted == [TEACHER] and (progress.done, progress.failed) == (10, 0)
    assert path.read_bytes() == whole and "9 of 10 runs were done before" in lines[0]


@pytest.mark.parametrize("spoil", [lost, altered])
def test_students_wait_for_a_teacher_that_is_done_again(done, again, spoil):
    spoil(done / "networks" / f"{TEACHER.name}.pt")
    student = Run("first", "taught", 1, (), (TEACHER,))
    of(student, done).unlink()
    progress, submitted, _ = again(TOY, done)
    assert submitted == [TEACHER, student] and (progress.done, progress.failed) == (10, 0)


def test_a_frame_has_a_row_a_run_that_is_done(done):
    late, early, failed = (
        Run("third", "plain", seed, (("share", 0.1), ("stem", "fine"))) for seed in (10, 9, 11)
    )
    results = Results(done)
    for run in (late, early):
        results.write(TOY, run, RunOutcome(results=dict(accuracy=1.5, nll=0.25)))
    results.write(TOY, failed, RunOutcome(error="it failed"))
    frame = results.frame()
    assert list(frame.columns[:4]) == ["data", "arm", "seed", "accuracy"]
    assert {"share", "stem", "nll", "recall", "train_accuracy", "val_accuracy"} <= set(
        frame.columns
    )
    rows = frame[["data", "arm", "seed", "accuracy"]].itertuples(index=False, name=None)
    wanted = [
        (data, arm, seed, 50 + seed + TAUGHT[data])
        for data in TAUGHT
        for arm in TOY.METHODS
        for seed in (0, 1)
    ]
    wanted = sorted([*wanted, *((data, "teacher", 0, 90) for data in TAUGHT)])
    assert list(rows) == [*wanted, ("third", "plain", 9, 1.5), ("third", "plain", 10, 1.5)]
    assert (frame.share.iloc[-1], frame.stem.iloc[-1], frame.nll.iloc[-1]) == (0.1, "fine", 0.25)
    assert frame.recall.iloc[0] == [1.0, None] and list(frame.index) == list(range(12))


def test_a_frame_without_results_is_empty(tmp_path):
    assert Results(tmp_path).frame().empty


def test_a_result_says_how_it_was_made(done):
    teacher, student = (json.loads(of(run, done).read_text()) for run in TOY.runs()[:2])
    assert student["run"]["needs"] == [TEACHER.name] and student["run"]["factors"] == {}
    assert student["experiment"] == TOY.size() and student["recipe"][1]["training images"] == 4
    assert {"torch", "threads", "precision", "kdcourse"} <= set(student["machine"])
    assert teacher["network"] and "network" not in student and "error" not in teacher
    teachers = {f"{run.name}.pt" for run in TOY.runs() if run.arm == "teacher"}
    assert {path.name for path in (done / "networks").iterdir()} == teachers


def test_writing_is_all_or_nothing(done, monkeypatch):
    def full(*_):
        raise OSError(28, "No space left on device", "a file")

    before = files(done)
    monkeypatch.setattr(os, "replace", full)
    new = Run("third", "plain", 0)
    for run in (new, TEACHER):
        with pytest.raises(OSError, match="No space"):
            Results(done).write(TOY, run, RunOutcome(results=dict(accuracy=1.0), network=b"new"))
    monkeypatch.undo()
    after = files(done)
    assert all(after[path] == before[path] for path in before)
    assert after.keys() == before.keys()
    assert new.name not in Results(done).records() and len(Results(done).frame()) == 10


def test_a_network_is_there_before_its_result(done, monkeypatch):
    """Killed between the two, a result would otherwise name a network that is not the one in the
    file.
    """
    places = []
    monkeypatch.setattr(os, "replace", lambda source, target: places.append(target.parent.name))
    Results(done).write(TOY, TEACHER, RunOutcome(results=dict(accuracy=1.0), network=b"new"))
    assert places == ["networks", "runs"]


@pytest.mark.parametrize("count", [1, 7, 8, 9, 359])
def test_bits_come_back(count):
    right = np.random.default_rng(count).random(count) < 0.7
    text = pack_bits(right)
    assert len(text) == 2 * -(-count // 8)
    np.testing.assert_array_equal(unpack_bits(text, count), right)


def test_what_is_judged_on_the_test_images(make_data):
    data = make_data(count=300)
    torch.manual_seed(0)
    network, other = (nn.Sequential(nn.Flatten(), nn.Linear(3 * 8 * 8, 3)) for _ in range(2))
    alone = judged(network, data.test, data, None)
    images = (data.test.take(range(60)) - data.mean.reshape(-1, 1, 1)) / data.std.reshape(-1, 1, 1)
    right = (
        network(torch.from_numpy(images.astype(np.float32))).argmax(1).numpy() == data.test.labels
    )
    np.testing.assert_array_equal(unpack_bits(alone["right"], alone["n"]), right)
    assert (
        alone["accuracy"] == pytest.approx(100 * right.mean())
        and alone["n"] == 60
        and len(alone["recall"]) == 3
    )
    assert alone["parameters"] == 3 * 193 and "agreement" not in alone
    taught = judged(network, data.test, data, other)
    assert (
        {name: taught[name] for name in alone} == alone
        and 0 <= taught["agreement"] < 100
        and taught["kl"] > 0
    )
    itself = judged(network, data.test, data, network)
    assert itself["agreement"] == 100 and itself["kl"] == pytest.approx(0, abs=1e-9)
    json.dumps(taught)


# --- reproduce ------------------------------------------------------------------------------------


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
    said = [line for line in lines if "taught" in line]
    assert len(said) == 2 and all(
        "failed: ZeroDivisionError: no recipe for taught" in line for line in said
    )
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
    assert (
        progress.line()
        == (
            "3 of 8 runs done, 4 left, 1 failed, best 81.3 % (response on usps), about 2 min left"  # 120 s for four
        )
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


# --- tensorboard ----------------------------------------------------------------------------------


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
