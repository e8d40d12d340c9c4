"""Run notebooks from the command line: `kdcourse run`."""

import os
import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from kdcourse.common.errors import UsageError
from kdcourse.common.paths import data_root
from kdcourse.common.profiles import profile as find_profile
from kdcourse.running.index import write_index
from kdcourse.running.kernel import check_kernel, kernel_environment
from kdcourse.running.selection import (
    Echo,
    NotebookJob,
    assign,
    find_dataset,
    prepare,
    select,
)
from kdcourse.running.worker import NotebookOutcome, Worker

# Seconds that a notebook may take before it is stopped and tried once more.
TIMEOUTS = {"smoke": 1800, "cpu": 3600, "gpu": 86400}


def run(
    names: Sequence[str] = (),
    *,
    profile: str | None = None,
    dataset: str | None = None,
    parameters: dict[str, object] | None = None,
    output: str | os.PathLike = "output/course",
    jobs: int = 1,
    keep_going: bool = False,
    timeout: float | None = None,
    environment: dict[str, str] | None = None,
    echo: Echo = print,
    live: Echo | None = None,
) -> list[NotebookOutcome]:
    """Execute notebooks and write them, with an `index.html`, to the folder `output`; return one
    NotebookOutcome per notebook.

    `jobs` notebooks run at a time, each with its share of the cores. `timeout`: seconds that a
    notebook may take; after these it is stopped and tried once more. `environment`: more variables
    for the kernels. `echo` gets a line per notebook; `live` gets, several times a second, a line
    that may be overwritten. Raises UsageError and DataError before anything runs. On
    KeyboardInterrupt it stops the kernels, removes unfinished outputs, writes the index, and passes
    the interrupt on.
    """
    chosen = find_profile(profile).name
    timeout = TIMEOUTS[chosen] if timeout is None else timeout
    if timeout <= 0 or jobs < 1:
        raise UsageError(f"--timeout and --jobs must be positive, not {timeout} and {jobs}.")
    data_root()  # raises for a data root that does not exist, before anything runs
    check_kernel()
    tasks = [prepare(path) for path in select(names)]
    if dataset is not None:
        dataset = find_dataset(dataset)
    assign(tasks, {"profile": chosen, "dataset": dataset, **(parameters or {})}, echo)
    folder = _output_folder(Path(output), tasks)
    environment = kernel_environment(chosen, jobs) | (environment or {})

    def start(task: NotebookJob) -> Worker:
        return Worker(task, folder, environment, timeout)

    schedule = _Schedule(tasks, jobs, start, echo)
    try:
        while schedule.unfinished:
            schedule.start_ready()
            for outcome in schedule.ended():
                write_index(folder, schedule.outcomes.values(), chosen, dataset, parameters)
                if outcome.status != "done" and not keep_going:
                    schedule.queue.clear()
            if live:
                live(schedule.line())
            time.sleep(0.1)
    finally:
        schedule.interrupt()
        write_index(folder, schedule.outcomes.values(), chosen, dataset, parameters)
    return list(schedule.outcomes.values())


class _Schedule:
    """The notebooks of one call: those that wait, those that run, and the outcomes so far."""

    def __init__(
        self,
        tasks: list[NotebookJob],
        jobs: int,
        start: Callable[[NotebookJob], Worker],
        echo: Echo,
    ):
        self.jobs, self.start, self.echo = jobs, start, echo
        self.outcomes = {
            task.name: NotebookOutcome(task.name, cells=task.code_cells) for task in tasks
        }
        needed_by = {task.name: sum(task.name in other.needs for other in tasks) for task in tasks}
        # Of several at a time, those that most others wait for begin first.
        in_order = tasks if jobs == 1 else sorted(tasks, key=lambda task: -needed_by[task.name])
        self.queue: deque[NotebookJob] = deque(in_order)
        self.running: list[Worker] = []
        self.width = max(map(len, self.outcomes))

    @property
    def unfinished(self) -> bool:
        return bool(self.queue or self.running)

    def start_ready(self) -> None:
        while self.queue and len(self.running) < self.jobs:
            task = _next(self.queue, self.running)
            if task is None:
                return
            self.queue.remove(task)
            self.running.append(self.start(task))

    def ended(self) -> Iterator[NotebookOutcome]:
        """The outcomes of notebooks that ended since the last call. One that took too long for the
        first time goes back to the queue.
        """
        for worker in list(self.running):
            late = worker.late() and not worker.finished()
            if late:
                worker.stop(keep_partial=True)
            if not worker.finished():
                continue
            self.running.remove(worker)
            outcome = worker.outcome(timed_out=late)
            if outcome.status == "timed out" and worker.task.attempt == 1:
                self.echo(
                    f"{outcome.name:<{self.width}}  took longer than {worker.timeout:g} s: "
                    "stopped, trying once more"
                )
                worker.task.attempt = 2
                self.queue.appendleft(worker.task)
                continue
            self.outcomes[outcome.name] = outcome
            self.echo(_line(outcome, self.width))
            yield outcome

    def interrupt(self) -> None:
        """Stop the notebooks that still run."""
        for worker in self.running:
            worker.stop()
            self.outcomes[worker.task.name].status = "interrupted"
            self.outcomes[worker.task.name].seconds = worker.seconds

    def line(self) -> str:
        return ", ".join(f"{worker.task.name} {_clock(worker.seconds)}" for worker in self.running)


def _next(queue: Sequence[NotebookJob], running: Sequence[Worker]) -> NotebookJob | None:
    """The first notebook that needs no unfinished one, which would train the same networks at the
    same time. None if there is none.
    """
    unfinished = {task.name for task in queue} | {worker.task.name for worker in running}
    ready = [task for task in queue if not task.needs & (unfinished - {task.name})]
    if not ready and not running:  # they need one another: keep their order
        return queue[0]
    return ready[0] if ready else None


def _output_folder(output: Path, tasks: list[NotebookJob]) -> Path:
    folder = output.expanduser().absolute()
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UsageError(
            f"--output {output}: cannot be made a folder ({error.strerror})."
        ) from error
    if not os.access(folder, os.W_OK):
        raise UsageError(f"--output {output}: not writable. Name another folder.")
    for task in tasks:
        if task.path.parent == folder.resolve():
            raise UsageError(
                f"--output {output} holds {task.path.name} itself, which would be overwritten."
            )
    return folder


def _clock(seconds: float) -> str:
    return f"{int(seconds) // 60}:{int(seconds) % 60:02d}"


def _line(outcome: NotebookOutcome, width: int) -> str:
    line = f"{outcome.name:<{width}}  {outcome.status:<9}  {_clock(outcome.seconds):>6}"
    line += f"  {outcome.cells_run} of {outcome.cells} cells"
    line += "".join(f"\n    {note}" for note in outcome.notes)
    if outcome.status == "done":
        return line
    if outcome.cell:
        line += "\n\n    " + outcome.cell.rstrip().replace("\n", "\n    ") + "\n"
    line += f"\n    {outcome.error}"
    return line + (f"\n    Kept as {outcome.file}" if outcome.file else "")
