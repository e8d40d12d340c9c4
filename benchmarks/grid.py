"""A grid: what the engines add to the runs themselves, and how much sooner two at a time are done.

The same runs (D4's teacher on the digits at smoke size, a seed each) one after another in this
process, by `Local` and by `Ray`, one and two at a time, each side from scratch in a work folder of
its own, the sides in turns. Of an engine the time to its first result is said apart: it holds the
start of its processes, paid once a grid. What a worker spends on a run beyond the run itself is the
engine's: a process, sending, writing.

    python benchmarks/grid.py
    python benchmarks/grid.py --runs 20 --jobs 1 2 4
"""

import argparse
import os
import statistics
import tempfile
import time
from collections.abc import Callable
from functools import partial
from importlib.metadata import version
from importlib.util import find_spec
from multiprocessing.forkserver import _forkserver
from pathlib import Path

import torch

from kdcourse.common.profiles import profile
from kdcourse.experiments.complexity import D4
from kdcourse.experiments.engines import Local
from kdcourse.experiments.grid import TEACHER, Run, RunOutcome, execute
from kdcourse.experiments.reproduce import reproduce

if __name__ == "__main__":  # workers import this file, too: nothing that they do not need
    from loading import describe, finish, machine, spread

HERE = "in this process"


class Teachers(D4):
    """Runs that need no other."""

    def runs(self) -> list[Run]:
        return [Run("digits", TEACHER, seed) for seed in range(self.seeds)]


def one_after_another(experiment: Teachers) -> dict:
    data = experiment.load("digits")
    started, accuracies, ends = time.perf_counter(), {}, []
    for run in experiment.runs():
        accuracies[run.seed] = execute(experiment, run, data, [], False).results["accuracy"]
        ends.append(time.perf_counter() - started)
    half = len(ends) // 2
    return {"a_run": (ends[-1] - ends[half - 1]) / (len(ends) - half), "accuracies": accuracies}


def by_engine(make: Callable, jobs: int, experiment: Teachers, folder: str) -> dict:
    """Seconds to the first result, of a run by the wall clock, and what of a worker's time is not
    the run.

    The last two are of the second half of the runs: by then all workers are there.
    """
    accuracies, ends, inside = {}, [], []

    def ended(run: Run, outcome: RunOutcome) -> None:
        ends.append(time.perf_counter() - started)
        inside.append(outcome.seconds["all"])
        accuracies[run.seed] = outcome.results["accuracy"]

    started = time.perf_counter()
    reproduce(experiment, folder, make(jobs), echo=lambda line: None, ended=ended)
    _forkserver._stop()  # or the next round would find it running
    half = len(ends) // 2
    a_run = (ends[-1] - ends[half - 1]) / (len(ends) - half)
    own = jobs * a_run - statistics.mean(inside[half:])
    return {"first": ends[0], "a_run": a_run, "not_the_run": own, "accuracies": accuracies}


def sides(jobs: list[int]) -> dict[str, Callable]:
    found = {HERE: None} | {f"Local({n})": partial(by_engine, Local, n) for n in jobs}
    if find_spec("ray"):
        from kdcourse.experiments.cluster import Ray

        found |= {f"Ray({n})": partial(by_engine, lambda jobs: Ray(jobs=jobs), n) for n in jobs}
    return found


def measure(runs: int, jobs: list[int], repeats: int) -> dict:
    torch.set_num_threads(1)  # as in the workers
    about = machine() | {"ray": version("ray") if find_spec("ray") else "absent"}
    experiment = Teachers(profile("smoke"), seeds=runs)
    grids = sides(jobs)
    measured = {side: [] for side in grids}
    before = os.environ.get("KDCOURSE_WORK")
    try:
        for _ in range(repeats):
            for side, run in grids.items():
                with tempfile.TemporaryDirectory() as work:
                    os.environ["KDCOURSE_WORK"] = work  # nothing is found again
                    experiment.load("digits")  # decoded before the clock starts
                    again = (
                        one_after_another(experiment)
                        if run is None
                        else run(experiment, f"{work}/results")
                    )
                measured[side].append(again)
    finally:
        os.environ.pop("KDCOURSE_WORK")
        if before is not None:
            os.environ["KDCOURSE_WORK"] = before
    if any(
        m["accuracies"] != measured[HERE][0]["accuracies"]
        for each in measured.values()
        for m in each
    ):
        raise SystemExit(f"the sides do not do the same work: {measured}")

    def seconds(side: str, name: str) -> list[float]:
        return [m[name] for m in measured[side]]

    engines = [side for side in measured if side != HERE]
    return {
        "benchmark": "grid",
        "machine": about,
        "runs": runs,
        "accuracies": list(measured[HERE][0]["accuracies"].values()),
        "a_run": {side: spread(seconds(side, "a_run")) for side in measured},
        "first": {side: spread(seconds(side, "first")) for side in engines},
        "not_the_run": {side: spread(seconds(side, "not_the_run")) for side in engines},
        "ratio": {
            side: spread(
                [a / b for a, b in zip(seconds(HERE, "a_run"), seconds(side, "a_run"), strict=True)]
            )
            for side in engines
        },
    }


def report(result: dict) -> str:
    lines = [
        describe(result["machine"]) + f", Ray {result['machine']['ray']}",
        f"{result['runs']} runs, D4's teacher on the digits at smoke size; medians of "
        f"{len(result['a_run'][HERE]['all'])} rounds (lowest–highest), seconds",
        f"{'':16} {'first result':>20} {'a run':>20} {'a worker, not the run':>21} {'ratio':>20}",
    ]

    def said(name: str, side: str) -> str:
        times = result[name].get(side)
        return (
            f"{times['median']:.2f} ({times['lowest']:.2f}–{times['highest']:.2f})" if times else ""
        )

    for side in result["a_run"]:
        first, a_run, own, ratio = (
            said(name, side) for name in ("first", "a_run", "not_the_run", "ratio")
        )
        lines.append(f"{side:16} {first:>20} {a_run:>20} {own:>21} {ratio:>20}".rstrip())
    lines.append(
        "ratio: how many times as fast as one after another in this process, once the engine has "
        "started"
    )
    return "\n".join(lines)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument(
        "--runs",
        type=int,
        default=12,
        help="of a grid, at least twice as many as the largest of --jobs",
    )
    parser.add_argument("--jobs", type=int, nargs="+", default=[1, 2], help="runs at a time")
    parser.add_argument("--repeats", type=int, default=3, help="rounds, each with all sides")
    parser.add_argument(
        "--quick", action="store_true", help="four runs, two at a time, one round: does it run?"
    )
    parser.add_argument("--json", type=Path, help="write the result there as well")
    given = parser.parse_args()
    if given.quick:
        given.runs, given.jobs, given.repeats = 4, [2], 1
    if given.runs < 2 * max(given.jobs):
        parser.error("--runs: expected at least twice as many as the largest of --jobs")
    result = measure(given.runs, given.jobs, given.repeats)
    finish(result, report(result), given.json)
