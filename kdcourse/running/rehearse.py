"""How long notebooks would take on this machine: `kdcourse rehearse`.

A notebook is run as `kdcourse run` does it, but of each training only the first epoch, STEPS steps
of it at most. What is left out is added from the time of these. All else (data, figures, timings,
`kdcourse reproduce` called by a notebook) is done as it stands. Nothing is kept: the networks are
good for nothing.

Not foreseen: answers of a teacher that a later epoch would have asked for (forward passes, each
  made once).
"""

import importlib
import json
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING

from kdcourse.common.paths import data_root
from kdcourse.running.run import run
from kdcourse.running.selection import select
from kdcourse.running.worker import NotebookOutcome

if TYPE_CHECKING:  # only the kernels need PyTorch
    from kdcourse.data.batches import Batch, Batches

STEPS, WARM = (
    200,
    5,
)  # of a training that are done, an epoch at most; and how many are not timed: the first are slow


@dataclass(frozen=True)
class Estimate:
    """seconds: what a notebook would take; its rehearsal took `outcome.seconds`. done, left_out:
    training steps.
    """

    outcome: NotebookOutcome
    seconds: float
    done: int
    left_out: int


class Few:
    """The first batches of an epoch, and the seconds of a step over them. All else is that of
    `batches`.
    """

    def __init__(self, batches: "Batches", count: int):
        self.batches, self.count = batches, min(count, STEPS)
        self.seconds = 0.0

    def __getattr__(self, name: str):
        return getattr(self.batches, name)

    def epoch(self, epoch: int) -> "Iterator[Batch]":
        warm = min(WARM, self.count // 2)
        for number, batch in enumerate(islice(self.batches.epoch(epoch), self.count)):
            if number == warm:
                started = _now()
            yield batch
        self.seconds = (_now() - started) / (self.count - warm)


def _now() -> float:
    """The time at which the GPU, too, has done what it was told."""
    import torch

    if torch.cuda.is_available():
        torch.cuda.synchronize()
    return time.perf_counter()


class Rehearsal:
    """Stands in for an epoch of training and for a validation of `kdcourse.training.fit`."""

    def __init__(self, file: str):
        self.fit = importlib.import_module("kdcourse.training.fit")
        self.train, self.validate = self.fit._train_epoch, self.fit._validate
        self.fit._train_epoch, self.fit._validate = self.epoch, self.judge
        self.file, self.run = Path(file), None
        self.done, self.left_out, self.seconds = 0, 0, 0.0

    def epoch(self, run, step, batches, parameters, dtype, clip, epoch: int) -> dict[str, float]:
        count = -(-len(batches.order(epoch)) // batches.batch_size)
        done = 0
        if run is not self.run:
            self.run, self.judged, self.calls = run, [], 0
            few = Few(batches, count)
            self.means = self.train(run, step, few, parameters, dtype, clip, epoch)
            self.step_seconds, done = few.seconds, few.count
        self.done += done
        self._leave_out(self.step_seconds * (count - done), count - done)
        return self.means

    def judge(self, model, split, device) -> tuple[float, float]:
        """After an epoch twice: on training and on validation images."""
        self.calls += 1
        if self.calls <= 2:
            started = _now()
            found = self.validate(model, split, device)
            self.judged.append((found, _now() - started))
        found, seconds = self.judged[(self.calls - 1) % 2]
        if self.calls > 2:
            self._leave_out(seconds)
        return found

    def _leave_out(self, seconds: float, steps: int = 0) -> None:
        self.seconds += seconds
        self.left_out += steps
        said = {"done": self.done, "left_out": self.left_out, "seconds": self.seconds}
        self.file.write_text(json.dumps(said), encoding="utf-8")


def rehearse(
    names: Sequence[str] = (),
    *,
    profile: str | None = None,
    dataset: str | None = None,
    parameters: dict[str, object] | None = None,
    live: Callable[[str], None] | None = None,
) -> Iterator[Estimate]:
    """An Estimate a notebook, one after the other. Arguments, errors: as of
    `kdcourse.running.run.run`.

    A notebook finds what an earlier one of `names` has trained, as it would; what others train it
    trains itself.
    """
    paths = select(names)
    with tempfile.TemporaryDirectory(prefix="kdcourse-rehearsal-") as folder:
        said, startup = Path(folder, "said.json"), Path(folder, "ipython/profile_default/startup")
        startup.mkdir(parents=True)
        code = f"from kdcourse.running.rehearse import Rehearsal\nRehearsal({str(said)!r})\n"
        (startup / "rehearse.py").write_text(code, encoding="utf-8")
        environment = {
            "KDCOURSE_WORK": str(Path(folder, "work")),
            "IPYTHONDIR": str(startup.parent.parent),
        }
        if (
            data := data_root().absolute()
        ).is_dir():  # else the kernels would look in the work folder of their own
            environment["KDCOURSE_DATA"] = str(data)
        for path in paths:
            said.write_text(json.dumps({"done": 0, "left_out": 0, "seconds": 0}), encoding="utf-8")
            [outcome] = run(
                [str(path)], profile=profile, dataset=dataset, parameters=parameters, output=Path(folder, "output"),
                environment=environment, echo=lambda line: None, live=live,
            )  # fmt: skip
            found = json.loads(said.read_text(encoding="utf-8"))
            yield Estimate(
                outcome, outcome.seconds + found["seconds"], found["done"], found["left_out"]
            )
