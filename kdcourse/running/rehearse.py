"""How long notebooks would take on this machine: `kdcourse rehearse`.

A notebook is run as `kdcourse run` does it, but of each training only the first epoch, STEPS steps
of it at most. What is left out is added from the time of these. All else (data, figures, timings,
`kdcourse reproduce` called by a notebook) is done as it stands. Nothing is kept: the networks are
good for nothing.

Not foreseen: answers of a teacher that a later epoch would have asked for (forward passes, each
  made once).
"""

import json
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from kdcourse.common.paths import data_root
from kdcourse.running.run import run
from kdcourse.running.selection import select
from kdcourse.running.worker import NotebookOutcome

if TYPE_CHECKING:  # only the kernels need PyTorch
    from kdcourse.training.epoch import Epoch

STEPS = 200  # steps of a training that are taken, one epoch at most
WARM = 5  # the first of these are slow and not timed


@dataclass(frozen=True)
class Estimate:
    """seconds: what a notebook would take; its rehearsal took `outcome.seconds`. done, left_out:
    training steps.
    """

    outcome: NotebookOutcome
    seconds: float
    done: int
    left_out: int


def _now() -> float:
    """The time at which the GPU, too, has done what it was told."""
    import torch

    if torch.cuda.is_available():
        torch.cuda.synchronize()
    return time.perf_counter()


class Rehearsal:
    """Runs the epochs of every `fit` of its process: STEPS steps of a training's first epoch, which
    is then validated. All later epochs of that training get the same record.
    """

    def __init__(self, file: str):
        from kdcourse.training.epoch import set_epoch_runner

        self.file, self.run = Path(file), None
        self.done, self.left_out, self.seconds = 0, 0, 0.0
        set_epoch_runner(self)

    def __call__(self, epoch: "Epoch") -> dict[str, float]:
        if epoch.run is self.run:
            self._leave_out(self.step_seconds * epoch.steps + self.validation_seconds, epoch.steps)
            return dict(self.record)
        count = min(epoch.steps, STEPS)
        means = self._train(epoch, count)
        self.done += count
        self._leave_out(self.step_seconds * (epoch.steps - count), epoch.steps - count)
        started = _now()
        train_accuracy, _ = epoch.validate("train")
        val_accuracy, val_loss = epoch.validate("val")
        self.validation_seconds = _now() - started
        scores = dict(train_accuracy=train_accuracy, val_accuracy=val_accuracy, val_loss=val_loss)
        self.run, self.record = epoch.run, means | scores
        return dict(self.record)

    def _train(self, epoch: "Epoch", count: int) -> dict[str, float]:
        """The first `count` steps. The steps after the warm-up give the seconds of one step."""
        warm = min(WARM, count // 2)
        times = {0: _now()} if warm == 0 else {}

        def look_at_the_clock(number: int) -> None:
            if number in (warm, count):
                times[number] = _now()

        means = epoch.train(max_steps=count, on_step=look_at_the_clock)
        self.step_seconds = (times[count] - times[warm]) / (count - warm)
        return means

    def _leave_out(self, seconds: float, steps: int = 0) -> None:
        self.seconds += seconds
        self.left_out += steps
        totals = {"done": self.done, "left_out": self.left_out, "seconds": self.seconds}
        self.file.write_text(json.dumps(totals), encoding="utf-8")


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
        totals, startup = (
            Path(folder, "totals.json"),
            Path(folder, "ipython/profile_default/startup"),
        )
        startup.mkdir(parents=True)
        code = f"from kdcourse.running.rehearse import Rehearsal\nRehearsal({str(totals)!r})\n"
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
            totals.write_text(
                json.dumps({"done": 0, "left_out": 0, "seconds": 0}), encoding="utf-8"
            )
            [outcome] = run(
                [str(path)],
                profile=profile,
                dataset=dataset,
                parameters=parameters,
                output=Path(folder, "output"),
                environment=environment,
                echo=lambda line: None,
                live=live,
            )
            counts = json.loads(totals.read_text(encoding="utf-8"))
            yield Estimate(
                outcome, outcome.seconds + counts["seconds"], counts["done"], counts["left_out"]
            )
