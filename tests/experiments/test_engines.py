"""Engines: the same results wherever runs are done, and nothing lost or left when a process
dies.
"""

import json
import multiprocessing as mp
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest
import torch
from click.testing import CliRunner
from grids import DiesAlways, DiesAnswering, DiesOnce, Environment, Toy, Waits, marked

from kdcourse.cli import main
from kdcourse.common.errors import UsageError
from kdcourse.common.profiles import profile
from kdcourse.experiments.complexity import D4
from kdcourse.experiments.engines import ATTEMPTS, Local, default_jobs
from kdcourse.experiments.reproduce import reproduce
from kdcourse.experiments.results_folder import Results

SMOKE = profile("smoke")
DIGITS = D4(SMOKE, datasets=("digits",), seeds=2)
COMMAND = "reproduce d4 --profile smoke --datasets digits --seeds 2 --jobs 2 --output".split()
PATIENCE = 120  # s, for a busy machine


@pytest.fixture
def own_work(tmp_path, monkeypatch):
    """A work folder of the test's own, so that nothing is found as trained."""
    monkeypatch.setenv("KDCOURSE_WORK", str(tmp_path / "work"))
    (tmp_path / "work").mkdir()
    return tmp_path / "work"


def do(experiment, folder, engine):
    lines = []
    progress = reproduce(experiment, folder, engine, echo=lines.append)
    return progress, lines, Results(folder).records()


def results(folder):
    """Name of a run → its results, of all that are done."""
    return {
        name: record["results"]
        for name, record in Results(folder).records().items()
        if record["results"]
    }


def until(true, what):
    """Wait until `true()` is."""
    end = time.monotonic() + PATIENCE
    while not true():
        assert time.monotonic() < end, f"waited {PATIENCE} s in vain for {what}"
        time.sleep(0.02)


# --- the same results -----------------------------------------------------------------------------


@pytest.fixture(scope="module")
def digits(tmp_path_factory):
    """What D4 comes to on digits, done by two processes, from nothing: its folder."""
    folder = tmp_path_factory.mktemp("digits")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("KDCOURSE_WORK", str(folder / "work"))
        progress = reproduce(DIGITS, folder / "out", Local(2), echo=str)
    assert progress.done == progress.all == 7
    return folder


def test_what_is_trained_goes_to_the_work_folder_of_now(digits):
    assert len(list((digits / "work" / "models").iterdir())) == 7


@pytest.mark.parametrize("jobs", [0, 1])
def test_results_do_not_depend_on_the_engine(digits, tmp_path, own_work, in_process, jobs):
    before = torch.get_num_threads()
    torch.set_num_threads(1)  # as Local has it
    try:
        progress, _, _ = do(DIGITS, tmp_path / "out", Local(jobs) if jobs else in_process)
    finally:
        torch.set_num_threads(before)
    assert (
        progress.done == 7 and len(list((own_work / "models").iterdir())) == 7
    )  # trained here, not found
    assert results(tmp_path / "out") == results(digits / "out")
    teacher = "digits--teacher--seed=0--f0d088.pt"
    networks = [
        torch.load(folder / "out" / "networks" / teacher, weights_only=True)
        for folder in (tmp_path, digits)
    ]
    assert all(torch.equal(networks[0][name], networks[1][name]) for name in networks[0])


def test_processes_see_the_environment_as_it_is_now(tmp_path, own_work, monkeypatch):
    """And not as it was when the first of them was started."""
    experiment = Environment(SMOKE, datasets=("first",), methods=("plain",), seeds=1)
    for value in ("one", "two", None):
        if value:
            monkeypatch.setenv("KDCOURSE_SEEN", value)
        else:
            monkeypatch.delenv("KDCOURSE_SEEN")
        _, _, records = do(experiment, tmp_path / str(value), Local(1))
        assert [record["results"]["seen"] for record in records.values()] == [value] * 2


# --- processes that die ---------------------------------------------------------------------------


def test_a_process_that_dies_costs_its_own_run_alone_which_is_tried_again(
    tmp_path, own_work, in_process
):
    progress, _, _ = do(DiesOnce(SMOKE, seeds=2), tmp_path / "out", Local(2))
    assert (progress.done, progress.failed) == (10, 0)
    assert len(list(own_work.glob("*.died"))) == 4
    do(Toy(SMOKE, seeds=2), tmp_path / "toy", in_process)
    assert results(tmp_path / "out") == results(tmp_path / "toy")


def test_a_process_that_always_dies_is_a_failed_run(tmp_path, own_work):
    experiment, engine = DiesAlways(SMOKE, datasets=("first",), seeds=2), Local(2)
    progress, lines, records = do(experiment, tmp_path / "out", engine)
    assert (progress.done, progress.failed, progress.left) == (4, 1, 0)
    (bad,) = [run for run in experiment.runs() if run.arm == "taught" and run.seed == 1]
    assert records[bad.name]["status"] == "failed"
    assert records[bad.name]["error"] == (
        f"its process died {ATTEMPTS} times, last with exit code -9 (-9: killed, often for want of "
        "memory: try fewer --jobs)"
    )
    assert marked(bad, "died").read_text() == "x" * ATTEMPTS
    assert sum("failed: its process died 3 times" in line for line in lines) == 1
    do(experiment, tmp_path / "out", engine)  # the next call tries as often again
    assert marked(bad, "died").read_text() == "x" * 2 * ATTEMPTS


def test_a_process_that_dies_within_its_answer_is_tried_again(own_work):
    experiment, engine = DiesAnswering(SMOKE), Local(1)
    (run, *_) = experiment.runs()
    engine.submit(experiment, run, [], True)
    for child in mp.active_children():  # nobody reads what it sends
        child.join(PATIENCE)
    assert marked(run, "died").exists()
    ended = []
    until(lambda: ended.extend(engine.ended(1.0)) or ended, "the second attempt")
    assert [run] == [which for which, _ in ended] and ended[0][1].status == "done"
    assert len(ended[0][1].network) > 4_000_000 and not engine.busy


def test_close_ends_what_is_under_way(own_work):
    experiment, engine = Waits(SMOKE), Local(2)
    runs = [run for run in experiment.runs() if not run.needs]
    for run in runs:
        assert engine.free
        engine.submit(experiment, run, [], True)
    assert engine.busy and not engine.free and list(engine.ended(0.0)) == []
    until(
        lambda: all(
            marked(run, "began").exists() and marked(run, "began").read_text() for run in runs
        ),
        "two runs",
    )
    pids = [int(marked(run, "began").read_text()) for run in runs]
    assert all(map(psutil.pid_exists, pids)) and len(set(pids)) == 2
    engine.close()
    until(lambda: not any(map(psutil.pid_exists, pids)), "their end")
    assert engine.free and not engine.busy


def test_arguments_that_cannot_be():
    for name, value in (("jobs", 0), ("jobs", -1), ("threads", 0)):
        with pytest.raises(UsageError, match=f"{name}={value}: expected 1 or more"):
            Local(**{name: value})


def test_as_many_jobs_as_gpus_or_else_as_cores(monkeypatch):
    monkeypatch.setattr("kdcourse.experiments.engines.cores", lambda: 5)
    for gpus, jobs in ((0, 5), (2, 2)):
        monkeypatch.setattr(torch.cuda, "device_count", lambda gpus=gpus: gpus)
        assert default_jobs() == Local().jobs == jobs
    assert Local(3).jobs == 3


# --- a grid that is stopped -----------------------------------------------------------------------


@pytest.fixture
def start(tmp_path, own_work):
    """Start Python in a session of its own; what it leaves running at the end of a test is
    killed.
    """
    started = []

    def call(*arguments):
        with open(tmp_path / "said", "w") as said:
            line = [sys.executable, *map(str, arguments)]
            # whoever runs the tests in the background has SIGINT ignored, which children inherit
            default = lambda: signal.signal(signal.SIGINT, signal.SIG_DFL)  # noqa: E731
            grid = subprocess.Popen(
                line, start_new_session=True, stdout=said, stderr=said, preexec_fn=default
            )
        started.append(grid)
        return grid

    yield call
    for grid in started:
        try:
            os.killpg(grid.pid, signal.SIGKILL)
        except ProcessLookupError:
            pass
        grid.wait()


def in_session(grid):
    """The command lines of the processes in the session that was started for a grid, its own left
    out.
    """
    found = []
    for process in psutil.process_iter():
        try:
            if (
                os.getsid(process.pid) == grid.pid != process.pid
                and process.status() != psutil.STATUS_ZOMBIE
            ):
                found.append(" ".join(process.cmdline()))
        except (ProcessLookupError, psutil.NoSuchProcess):
            continue
    return found


@pytest.mark.slow
def test_a_process_starts_undisturbed_by_ctrl_c_and_ends_when_its_grid_is_killed(
    start, own_work, tmp_path
):
    """Ctrl-C comes while the process that the others are forked from imports PyTorch: no traceback
    is to be seen.
    """
    run, said = Waits(SMOKE).runs()[0], tmp_path / "said"
    code = (
        "import sys, time; sys.path.insert(0, sys.argv[1]); from grids import Waits\n"
        "from kdcourse.experiments.engines import Local; from kdcourse.common.profiles import "
        "profile\n"
        "engine, experiment = Local(1), Waits(profile('smoke'))\n"
        "try: engine.submit(experiment, experiment.runs()[0], [], True); time.sleep(600)\n"
        "except KeyboardInterrupt: print(engine.busy, flush=True); time.sleep(600)"
    )
    grid = start("-c", code, Path(__file__).parent)
    until(
        lambda: any("forkserver import" in line for line in in_session(grid)),
        "the process to be forked",
    )
    os.killpg(grid.pid, signal.SIGINT)
    until(
        lambda: grid.poll() is not None or said.read_text() and marked(run, "began").exists(),
        "a run",
    )
    assert said.read_text() == "True\n" and grid.poll() is None
    os.kill(grid.pid, signal.SIGKILL)  # it alone
    assert grid.wait() == -signal.SIGKILL
    until(lambda: not in_session(grid), "the end of its processes")


@pytest.mark.slow
def test_a_grid_that_is_killed_is_finished_by_the_same_command(start, digits, tmp_path):
    out = tmp_path / "out"
    grid = start("-m", "kdcourse.cli", *COMMAND, out)
    until(lambda: len(list(out.glob("runs/*.json"))) >= 2, "two results")
    os.kill(grid.pid, signal.SIGKILL)  # it alone
    assert grid.wait() == -signal.SIGKILL
    until(lambda: not in_session(grid), "the end of its processes")

    before = {path: path.stat().st_mtime_ns for path in out.glob("*/*.json")}
    done = results(out)
    assert 2 <= len(before) == len(done) < 7
    (out / "runs" / "digits--intermediate--seed=1--cut.json.partial").write_text(
        '{"format": 1, "sta'
    )
    again = CliRunner().invoke(main, [*COMMAND, str(out)])
    assert again.exit_code == 0, again.output
    assert again.output.startswith(f"{len(done)} of 7 runs were done before\n")
    assert again.output.count("runs done, ") == 7 - len(done) and "damaged" not in again.output
    assert {path: path.stat().st_mtime_ns for path in before} == before
    assert results(out) == results(digits / "out")


@pytest.mark.slow
def test_ctrl_c_ends_a_grid_with_status_130_and_leaves_no_process(start, tmp_path):
    out = tmp_path / "out"
    grid = start("-m", "kdcourse.cli", *COMMAND, out)
    until(lambda: any(out.glob("runs/*.json")), "a result")
    os.killpg(grid.pid, signal.SIGINT)
    assert grid.wait(PATIENCE) == 130
    until(lambda: not in_session(grid), "the end of its processes")
    said = (tmp_path / "said").read_text()
    assert said.endswith("Stopped. What was done is kept; the same command does the rest.\n")
    assert said.count("\n") == 1 + len(list(out.glob("runs/*.json")))  # and no traceback
    for path in out.glob("runs/*.json"):
        assert json.loads(path.read_text())["status"] == "done"
