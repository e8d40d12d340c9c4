"""The folder of results: to whom it belongs, damaged files, and what it holds."""

import json
import os
from dataclasses import replace
from functools import partial

import pytest
from grids import FIRST_TEACHER as TEACHER
from grids import TAUGHT, TOY, Toy, do, do_toys, files, of

from kdcourse.common.errors import DataError, UsageError
from kdcourse.common.profiles import profile
from kdcourse.experiments.complexity import D4
from kdcourse.experiments.grid import Run, RunOutcome
from kdcourse.experiments.results_folder import Results

SMOKE = profile("smoke")


@pytest.fixture
def done(tmp_path, in_process):
    return do_toys(in_process, tmp_path / "done")


@pytest.fixture
def again(in_process):
    return partial(do, in_process)


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


def test_a_folder_of_another_recipe_is_left_alone(done):
    for other, words in [
        (replace(TOY, limit=4), "limit is 10, now 4"),
        (Toy(replace(profile("cpu"))), "profile is 'smoke', now 'cpu'"),
        (D4(SMOKE), "experiment is 'toy', now 'd4'"),
    ]:
        before = files(done)
        with pytest.raises(UsageError, match=words):
            Results(done).claim(other)
        assert files(done) == before


def test_a_damaged_description_is_said_and_nothing_done(done, again):
    for content in [
        "",
        '{"format": 1, "exp',
        "[]",
        '{"format": 2, "experiment": "toy"}',
        '{"format": 1}',
    ]:
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


def test_a_damaged_result_is_set_aside_and_done_again(done, again):
    for damage in [
        cut_short,
        not_json,
        another_kind,
        another_format,
        another_status,
        no_accuracy,
        empty_accuracy,
        no_results,
        not_text,
    ]:
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
        unchanged = others.keys() - {of(run, done), aside}
        assert all(after[path] == others[path] for path in unchanged)


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
