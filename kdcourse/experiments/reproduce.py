"""All runs of an experiment: an engine does them, and each result is written as it comes.

A second call does only the runs that the folder of results lacks.
"""

import os
import time
from collections.abc import Callable
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path

from kdcourse.common.errors import UsageError
from kdcourse.experiments.grid import Experiment, Run, RunOutcome
from kdcourse.experiments.results_folder import Results


@dataclass
class Progress:
    """How far a grid is."""

    all: int
    done: int = 0
    failed: int = 0
    now: int = 0  # runs done or failed in this call
    started: float = field(default_factory=time.monotonic)
    best: tuple[float, str] = (-1.0, "")  # accuracy (%) of a run that has a teacher, and which

    @property
    def left(self) -> int:
        return self.all - self.done - self.failed

    def add(self, run: Run, accuracy: float | None) -> None:
        """accuracy: None for a run that failed."""
        if accuracy is None:
            self.failed += 1
            return
        self.done += 1
        if run.needs:
            self.best = max(self.best, (accuracy, f"{run.arm} on {run.data}"))

    def line(self) -> str:
        parts = [
            f"{self.done} of {self.all} runs done",
            f"{self.left} left",
            f"{self.failed} failed",
        ]
        if self.best[1]:
            parts.append(f"best {self.best[0]:.1f} % ({self.best[1]})")
        if self.now and self.left:
            minutes = (time.monotonic() - self.started) / self.now * self.left / 60
            parts.append("under a minute left" if minutes < 1 else f"about {minutes:.0f} min left")
        return ", ".join(parts)


def tensorboard(folder: str | os.PathLike) -> Callable[[Run, RunOutcome], None]:
    """For `ended` of `reproduce`: writes each run's learning curves to FOLDER/tensorboard.

    Raises UsageError without the package tensorboard.
    """
    try:
        from torch.utils.tensorboard import SummaryWriter
    except ImportError as error:
        raise UsageError(
            "--tensorboard needs the package tensorboard: pip install tensorboard"
        ) from error

    def ended(run: Run, outcome: RunOutcome) -> None:
        if not outcome.history:
            return
        with SummaryWriter(Path(folder) / "tensorboard" / run.name) as writer:
            for record in outcome.history:
                for key in record.keys() - {"epoch"}:
                    writer.add_scalar(key, record[key], record["epoch"])

    return ended


def reproduce(
    experiment: Experiment,
    folder: str | os.PathLike,
    engine,
    *,
    echo: Callable[[str], None] = print,
    live: Callable[[str], None] | None = None,
    ended: Callable[[Run, RunOutcome], None] | None = None,
) -> Progress:
    """Do the runs that the folder lacks or that failed before, and write each result at once.

    engine: see `kdcourse.experiments.engines`. echo: gets one line per run. live: gets the line of
    progress every second. ended: called with each run and its outcome.

    Raises UsageError for a folder of another recipe, and DataError, before anything is trained, for
    a data set that is missing.
    """
    runs, needed = _checked_runs(experiment)
    for name in dict.fromkeys(run.data for run in runs):
        experiment.load(name)  # decoded once, before the workers ask; missing data are found now
    results = Results(folder)
    results.claim(experiment)
    progress = Progress(len(runs))
    networks, waiting = _done_before(results, runs, needed, progress, echo)

    def end(run: Run, outcome: RunOutcome) -> None:
        results.write(experiment, run, outcome)
        progress.now += 1
        accuracy = outcome.results["accuracy"] if outcome.results else None
        progress.add(run, accuracy)
        networks[run] = outcome.network
        result = (
            f"{accuracy:.1f} %"
            if outcome.results
            else f"failed: {outcome.error.strip().splitlines()[0]}"
        )
        echo(f"{run.name.rsplit('--', 1)[0]:<60} {result}  [{progress.line()}]")
        if ended:
            ended(run, outcome)

    with closing(engine):
        while waiting or engine.busy:
            for run in list(waiting):
                if any(need in networks and networks[need] is None for need in run.needs):
                    waiting.remove(run)
                    error = f"not run: it needs {run.needs[0].name}, which failed"
                    end(run, RunOutcome(error=error))
                elif engine.free and all(need in networks for need in run.needs):
                    waiting.remove(run)
                    packed = [networks[need] for need in run.needs]
                    engine.submit(experiment, run, packed, run in needed)
            for run, outcome in engine.ended(timeout=1.0):
                end(run, outcome)
            if live:
                live(progress.line())
    return progress


def _checked_runs(experiment: Experiment) -> tuple[list[Run], set[Run]]:
    """The runs of an experiment, each once, and those whose networks other runs need.

    Raises UsageError if a run needs a network that no run makes.
    """
    runs = list(dict.fromkeys(experiment.runs()))
    needed = {need for run in runs for need in run.needs}
    if lacking := needed - set(runs):
        raise UsageError(
            f"{experiment.name}: no run makes the network {lacking.pop().name}, which others need"
        )
    return runs, needed


def _done_before(
    results: Results,
    runs: list[Run],
    needed: set[Run],
    progress: Progress,
    echo: Callable[[str], None],
) -> tuple[dict[Run, bytes | None], list[Run]]:
    """Networks of the runs that the folder already has, by run, and the runs that are still to do.

    A teacher whose network is missing or damaged is trained again, even if its result is there.
    """
    records = results.records()
    for path in results.set_aside:
        echo(f"{path}: damaged, set aside; its run is done again")
    networks, waiting = {}, []
    for run in runs:
        record = records.get(run.name, {"status": "missing"})
        network = results.network(run, record) if run in needed else b""
        if record["status"] == "done" and network is not None:
            networks[run] = network
            progress.add(run, record["results"]["accuracy"])
        else:
            waiting.append(run)
    if progress.done:
        echo(f"{progress.done} of {progress.all} runs were done before")
    return networks, waiting
