"""Grading: seconds a submission and the most memory in use, with the sandbox and without, one and
several at a time.

The submissions are copies of one exercise's solution, each with another comment, so that none is
taken for another. All sides grade the same, each from scratch, the sides in turns. What is said of
a submission is the wall clock's: time from the first submission's start to the end of the last,
over their number; the reference, graded first, is not counted.

    python benchmarks/grading.py
    python benchmarks/grading.py --exercise ex09 --submissions 20 --jobs 1 2 4
"""

import argparse
import os
import tempfile
import threading
import time
from pathlib import Path

if __name__ == "__main__":  # the processes that judge import this file, too
    from loading import describe, finish, machine, spread

from kdcourse.grading import sandbox
from kdcourse.grading.grade import exercises, grade


class Memory:
    """The most memory, in MB, that this process and all that it started had in use together, looked
    at now and then.
    """

    def __enter__(self):
        self.most, self._ended = 0.0, threading.Event()

        def watch():
            while not self._ended.wait(0.2):
                self.most = max(self.most, sandbox._memory(os.getpid()) / 1e6)

        self._watcher = threading.Thread(target=watch, daemon=True)
        self._watcher.start()
        return self

    def __exit__(self, *error):
        self._ended.set()
        self._watcher.join()


def run(exercise, count: int, jobs: int, sandboxed: bool) -> dict:
    with tempfile.TemporaryDirectory() as folder, Memory() as memory:
        submissions = Path(folder, "submissions")
        submissions.mkdir()
        source = exercise.notebook.read_text(encoding="utf-8")
        for number in range(count):
            (submissions / f"student {number}.ipynb").write_text(
                source.replace("### BEGIN SOLUTION", f"# {number}"), encoding="utf-8"
            )
        times = []
        records = grade(
            submissions, Path(folder, "out"), jobs=jobs, sandboxed=sandboxed, of=[exercise],
            echo=lambda line: times.append(time.perf_counter()),
        )  # fmt: skip
    started = times[0] - min(record.seconds for record in records)
    points = sum(task["points"] for record in records for task in record.tasks)
    return {"a_submission": (times[-1] - started) / count, "memory": memory.most, "points": points}


def measure(exercise, count: int, jobs: list[int], repeats: int) -> dict:
    about = machine()
    sides = {f"sandbox, {n} at a time": (n, True) for n in jobs} | {
        "no sandbox, 1 at a time": (1, False)
    }
    measured = {side: [] for side in sides}
    for _ in range(repeats):
        for side, (n, sandboxed) in sides.items():
            measured[side].append(run(exercise, count, n, sandboxed))
    if len({m["points"] for each in measured.values() for m in each}) > 1:
        raise SystemExit(f"the sides do not give the same points: {measured}")

    def of(side: str, name: str) -> list[float]:
        return [m[name] for m in measured[side]]

    plain = of("no sandbox, 1 at a time", "a_submission")
    return {
        "benchmark": "grading",
        "machine": about,
        "exercise": exercise.name,
        "submissions": count,
        "points": measured["no sandbox, 1 at a time"][0]["points"],
        "a_submission": {side: spread(of(side, "a_submission")) for side in sides},
        "memory": {side: spread(of(side, "memory")) for side in sides},
        "ratio": {
            side: spread([a / b for a, b in zip(of(side, "a_submission"), plain, strict=True)])
            for side in sides
        },
    }


def report(result: dict) -> str:
    lines = [
        f"Grading {result['submissions']} submissions of {result['exercise']}, all right "
        f"({result['points']:g} points)",
        f"{describe(result['machine'])}",
        "",
        f"{'side':<26} {'s a submission':>22} {'ratio':>6} {'most memory, MB':>16}",
    ]
    for side, seconds in result["a_submission"].items():
        told = f"{seconds['median']:.1f} ({seconds['lowest']:.1f}–{seconds['highest']:.1f})"
        ratio, memory = result["ratio"][side]["median"], result["memory"][side]["median"]
        lines.append(f"{side:<26} {told:>22} {ratio:>6.2f} {memory:>16,.0f}")
    return "\n".join(lines)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--exercise", default="ex04")
    parser.add_argument("--submissions", type=int, default=8)
    parser.add_argument(
        "--jobs", type=int, nargs="+", default=[1, 2], help="how many at a time, one side each"
    )
    parser.add_argument("--repeats", type=int, default=3, help="rounds, each with all sides")
    parser.add_argument(
        "--quick", action="store_true", help="one submission, one round: does it run?"
    )
    parser.add_argument("--json", type=Path, help="write the result there as well")
    given = parser.parse_args()
    if why := sandbox.refusal():
        raise SystemExit(why)
    if given.quick:
        given.submissions, given.jobs, given.repeats = 1, [1], 1
    (chosen,) = [exercise for exercise in exercises() if exercise.name == given.exercise]
    result = measure(chosen, given.submissions, given.jobs, given.repeats)
    finish(result, report(result), given.json)
