"""One pool of worker processes, for the runs of a grid and for the judges of submissions.

Each task has a process of its own, so that a process that dies takes no other task with it. The
pool starts a task again after its process died, ends a task that takes too long, and leaves no
process behind, however the parent ends.
"""

# Pebble's ProcessPool was considered. It has time limits, but its workers are started from a plain
# context: no forkserver with preloaded modules that still sees the parent's present environment, no
# fixed slot per process (it chooses the GPU), and no messages before a task's result.

import multiprocessing as mp
import os
import signal
import threading
import time
from collections.abc import Callable, Hashable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from multiprocessing import resource_tracker
from multiprocessing.connection import Connection, wait

ENDING = 10  # seconds that a process has to end after its result


@dataclass(frozen=True)
class Place:
    """Where a task runs. slot: 0 … jobs - 1, used by no other task at the time. send: sends the
    parent a message, which arrives as a `Message`.
    """

    slot: int
    send: Callable[[object], None]


@dataclass(frozen=True)
class Message:
    """Something that a task sent before its result."""

    key: Hashable
    content: object


@dataclass(frozen=True)
class Result:
    """A task is done. value: what its function returned."""

    key: Hashable
    value: object
    seconds: float


@dataclass(frozen=True)
class Failure:
    """A task's process died in its last attempt, or took too long and was ended (late)."""

    key: Hashable
    exit_code: int | None
    late: bool
    seconds: float


@dataclass
class _Worker:
    key: Hashable
    submitted: tuple  # the function and its arguments
    slot: int
    attempt: int
    process: mp.process.BaseProcess
    messages: Connection
    started: float


class Pool:
    """Runs tasks in processes of this machine, `jobs` at a time.

    attempts: how often a task is started if its process dies. time_limit: seconds that an attempt
    may take. preload: modules that are imported once, before the processes are forked (where the
    system can fork); they hold for all pools of this process, and the first pool decides.
    """

    def __init__(
        self,
        jobs: int,
        *,
        attempts: int = 1,
        time_limit: float | None = None,
        preload: Sequence[str] = (),
    ):
        self.jobs, self.attempts, self.time_limit = jobs, attempts, time_limit
        method = "forkserver" if "forkserver" in mp.get_all_start_methods() else "spawn"
        self._context = mp.get_context(method)
        if method == "forkserver":
            self._context.set_forkserver_preload(list(preload))
        self._workers: list[_Worker] = []

    @property
    def free(self) -> bool:
        """Whether the pool can take another task at once."""
        return len(self._workers) < self.jobs

    @property
    def busy(self) -> bool:
        """Whether a task is under way."""
        return bool(self._workers)

    def submit(self, key: Hashable, function: Callable, *arguments) -> None:
        """Start `function(place, *arguments)` in a process. It must be importable, and the
        arguments must pickle. Call this only while the pool is free.
        """
        slot = min(set(range(self.jobs)) - {worker.slot for worker in self._workers})
        self._start(key, (function, *arguments), slot, 1)

    def events(self, timeout: float) -> Iterator[Message | Result | Failure]:
        """Wait for up to `timeout` seconds, then yield what happened to the tasks."""
        ready = wait([worker.messages for worker in self._workers], timeout)
        for worker in list(self._workers):
            if worker.messages in ready:
                event = self._receive(worker)
                if event is not None:
                    yield event
            elif self.time_limit and time.monotonic() - worker.started > self.time_limit:
                seconds = self._end(worker, by_force=True)
                yield Failure(worker.key, worker.process.exitcode, True, seconds)

    def close(self) -> None:
        """End everything that is under way."""
        for worker in list(self._workers):
            self._end(worker, by_force=True)

    def _start(self, key: Hashable, submitted: tuple, slot: int, attempt: int) -> None:
        receiving, sending = self._context.Pipe(duplex=False)
        # The forkserver's own environment is that of its start: so pass the present one.
        process = self._context.Process(
            target=_work, args=(sending, dict(os.environ), slot, *submitted), daemon=True
        )
        with _ctrl_c_held():
            process.start()
            sending.close()  # so that the end of the process is the end of the pipe
            self._workers.append(
                _Worker(key, submitted, slot, attempt, process, receiving, time.monotonic())
            )

    def _receive(self, worker: _Worker) -> Message | Result | Failure | None:
        try:
            finished, content = worker.messages.recv()
        except (EOFError, OSError):  # it died before its result, or while sending it
            seconds = self._end(worker)
            if worker.attempt < self.attempts:
                self._start(worker.key, worker.submitted, worker.slot, worker.attempt + 1)
                return None
            return Failure(worker.key, worker.process.exitcode, False, seconds)
        if not finished:
            return Message(worker.key, content)
        return Result(worker.key, content, self._end(worker))

    def _end(self, worker: _Worker, *, by_force: bool = False) -> float:
        """Wait for the end of a process; return the seconds that it took."""
        self._workers.remove(worker)
        seconds = time.monotonic() - worker.started
        if not by_force:
            worker.process.join(ENDING)
        if worker.process.is_alive():
            worker.process.kill()
        worker.process.join()
        worker.messages.close()
        return seconds


@contextmanager
def _ctrl_c_held() -> Iterator[None]:
    """Hold Ctrl-C back while a process starts: a forkserver or worker that is only half started
    would end with a traceback.
    """
    if not hasattr(signal, "pthread_sigmask"):  # Windows
        yield
        return
    resource_tracker.ensure_running()  # first, because its start would lift the block
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


# --- in the process of a task ---------------------------------------------------------------------


def _work(
    messages: Connection, environment: dict[str, str], slot: int, function: Callable, *arguments
) -> None:
    os.environ.clear()
    os.environ.update(environment)
    # Ctrl-C reaches the whole group of processes, but the parent ends its workers itself.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    threading.Thread(target=_end_with_parent, daemon=True).start()
    place = Place(slot, lambda content: messages.send((False, content)))
    messages.send((True, function(place, *arguments)))


def _end_with_parent() -> None:
    """A parent that is killed leaves no process behind."""
    mp.parent_process().join()
    os._exit(1)
