"""What this machine gives to the course, and what is taken of it."""

import os
import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path


def cores() -> int:
    """Cores that this process may use: fewer than the machine has, where a container or a scheduler
    says so.
    """
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def times(
    call: Callable[[], object], warm_up: int = 2, runs: int = 5, seconds: float = 0.5
) -> list[float]:
    """Seconds of each of at least `runs` calls, and of as many as fill `seconds`, after `warm_up`
    calls that are not timed.
    """
    for _ in range(warm_up):
        call()
    taken = []
    while len(taken) < runs or sum(taken) < seconds:
        started = time.perf_counter()
        call()
        taken.append(time.perf_counter() - started)
    return taken


def times_in_turns(
    calls: Mapping[str, Callable[[], object]], rounds: int = 4, seconds: float = 0.1
) -> dict[str, list[float]]:
    """Seconds of several calls that are to be compared: in each round, each call in turn is
    repeated for `seconds`, after one call that is not timed.

    Whatever slows the machine for a while then slows all of them, not the one that runs just then.
    """
    taken = {name: [] for name in calls}
    for _ in range(rounds):
        for name, call in calls.items():
            taken[name] += times(call, warm_up=1, runs=1, seconds=seconds)
    return taken


@dataclass(frozen=True)
class Latency:
    """How long something takes, in ms, over many repeats. Printed: median (quartiles)."""

    median: float
    q1: float  # a quarter of the repeats took less
    q3: float  # a quarter took longer
    p95: float  # one in twenty took longer

    @classmethod
    def of(cls, seconds: Sequence[float]) -> "Latency":
        """seconds: of each repeat, two or more."""
        cuts = statistics.quantiles((1000 * one for one in seconds), n=20, method="inclusive")
        return cls(median=cuts[9], q1=cuts[4], q3=cuts[14], p95=cuts[18])

    def __str__(self) -> str:
        return f"{self.median:.3g} ({self.q1:.3g}–{self.q3:.3g})"


def peak_memory() -> float:
    """The most memory that this process ever held, in MB (10⁶ bytes); nan where the system does not
    tell.
    """
    try:  # getrusage would count what the parent held before this process was its own (Linux)
        lines = Path("/proc/self/status").read_text().splitlines()
        return next(int(line.split()[1]) for line in lines if line.startswith("VmHWM")) * 1024 / 1e6
    except (OSError, StopIteration):
        pass
    try:
        import resource
    except ImportError:
        return float("nan")
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6  # bytes, on macOS
