"""What this machine gives to the course, and what is taken of it."""

import os
import time
from collections.abc import Callable
from pathlib import Path


def cores() -> int:
    """Cores that this process may use: fewer than the machine has, where a container or a scheduler
    says so.
    """
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def times(
    call: Callable[[], object], warm_up: int = 2, runs: int = 5, seconds: float = 0.5
) -> list[float]:
    """Seconds of each of at least `runs` calls, and of as many as fill `seconds`, after some to
    warm up.
    """
    for _ in range(warm_up):
        call()
    taken = []
    while len(taken) < runs or sum(taken) < seconds:
        started = time.perf_counter()
        call()
        taken.append(time.perf_counter() - started)
    return taken


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
