"""Where the runs of a grid are executed: in processes of this machine, or on a Ray cluster.

An engine has `free` (can it take another run?), `busy` (is one under way?), `submit(experiment,
run, networks, needed)`, `ended(timeout)`, which waits and gives the runs that ended with their
outcomes, and `close()`, which stops what is under way.
"""

import multiprocessing as mp
import os
import signal
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from multiprocessing import resource_tracker
from multiprocessing.connection import Connection, wait

import torch

from kdcourse.common.errors import KDCourseError, UsageError
from kdcourse.common.system import cores
from kdcourse.experiments.grid import Experiment, Run, RunOutcome, execute

ATTEMPTS = 3  # of a run whose worker dies


def default_jobs() -> int:
    """Runs at a time: one a GPU if there are any, else one a core."""
    return torch.cuda.device_count() or cores()


@dataclass
class _Worker:
    submitted: tuple  # what `submit` was called with
    process: mp.process.BaseProcess
    answer: Connection
    slot: int


class Local:
    """Runs in processes of this machine, `jobs` at a time, each with `threads` CPU threads and a
    GPU if there is one.

    A process a run: one that dies takes no other with it. Its run is tried again, twice; training
    goes on from its last whole epoch. The number of threads is fixed, not what happens to be free:
    results depend on it in the last bits.
    """

    def __init__(self, jobs: int | None = None, threads: int = 1):
        if jobs is not None and jobs < 1:
            raise UsageError(f"jobs={jobs}: expected 1 or more")
        if threads < 1:
            raise UsageError(f"threads={threads}: expected 1 or more")
        self.jobs, self.threads = jobs or default_jobs(), threads
        method = "forkserver" if "forkserver" in mp.get_all_start_methods() else "spawn"
        self._context = mp.get_context(method)
        if method == "forkserver":  # PyTorch is imported once, not once a run
            self._context.set_forkserver_preload(
                ["kdcourse.experiments.engines", "kdcourse.experiments.registry"]
            )
        self._workers: list[_Worker] = []
        self._attempts: dict[Run, int] = {}

    @property
    def free(self) -> bool:
        return len(self._workers) < self.jobs

    @property
    def busy(self) -> bool:
        return bool(self._workers)

    def submit(
        self, experiment: Experiment, run: Run, networks: Sequence[bytes], needed: bool
    ) -> None:
        submitted = (experiment, run, list(networks), needed)
        self._attempts[run] = self._attempts.get(run, 0) + 1
        slot = min(set(range(self.jobs)) - {worker.slot for worker in self._workers})
        ours, theirs = self._context.Pipe(duplex=False)
        about = (
            dict(os.environ),
            self.threads,
            slot,
        )  # the forkserver's own environment is that of its start
        process = self._context.Process(
            target=_work, args=(theirs, *submitted, *about), daemon=True
        )
        with _ctrl_c_held():
            process.start()
            theirs.close()  # so that the end of the process is the end of the pipe
            self._workers.append(_Worker(submitted, process, ours, slot))

    def ended(self, timeout: float) -> Iterator[tuple[Run, RunOutcome]]:
        ready = wait([worker.answer for worker in self._workers], timeout)
        for worker in [worker for worker in self._workers if worker.answer in ready]:
            self._workers.remove(worker)
            run = worker.submitted[1]
            try:
                outcome = worker.answer.recv()
            except (EOFError, OSError):  # it died before its answer, or within it
                worker.process.join()
                if self._attempts[run] < ATTEMPTS:
                    self.submit(*worker.submitted)
                    continue
                outcome = RunOutcome(
                    error=f"its process died {ATTEMPTS} times, last with exit code {worker.process.exitcode} (-9: "
                    "killed, often for want of memory: try fewer --jobs)"
                )
            worker.process.join()
            yield run, outcome

    def close(self) -> None:
        for worker in self._workers:
            worker.process.kill()
            worker.process.join()
        self._workers.clear()
        self._attempts.clear()


@contextmanager
def _ctrl_c_held() -> Iterator[None]:
    """Hold Ctrl-C back while a process is started: forkserver or worker, half started it would end
    with a traceback.
    """
    if not hasattr(signal, "pthread_sigmask"):  # Windows
        yield
        return
    resource_tracker.ensure_running()  # first: its start would lift the block
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _work(
    answer: Connection,
    experiment: Experiment,
    run: Run,
    networks,
    needed: bool,
    environment: dict[str, str],
    threads: int,
    slot: int,
) -> None:
    """In the process of a run."""
    os.environ.clear()
    os.environ.update(environment)
    signal.signal(
        signal.SIGINT, signal.SIG_IGN
    )  # Ctrl-C reaches the whole group: the grid stops its processes itself
    threading.Thread(target=_end_with_parent, daemon=True).start()
    if torch.cuda.device_count() > 1:
        torch.cuda.set_device(slot % torch.cuda.device_count())
    torch.set_num_threads(threads)
    try:
        data = experiment.load(run.data)
    except KDCourseError as error:  # the parent could load it: files that went meanwhile
        outcome = RunOutcome(error=str(error))
    else:
        outcome = execute(experiment, run, data, networks, needed)
    answer.send(outcome)


def _end_with_parent() -> None:
    """A grid that is killed leaves no process behind."""
    mp.parent_process().join()
    os._exit(1)
