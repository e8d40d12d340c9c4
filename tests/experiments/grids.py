"""Experiments without training, for the tests of grids. A module, so that worker processes can
import it.
"""

import os
import signal
import time
from functools import partial
from pathlib import Path

import numpy as np
from torch import nn

from kdcourse.common.errors import DataError
from kdcourse.common.profiles import profile
from kdcourse.data import DataSplits
from kdcourse.experiments.grid import TEACHER, Budget, Experiment, Run
from kdcourse.experiments.reproduce import reproduce
from kdcourse.training import History, Recipe
from kdcourse.training.checkpoint import describe

TAUGHT = {
    "first": 7.0,
    "second": 14.0,
}  # the only weight of each data set's teacher: its students' accuracies show it


class Toy(Experiment):
    """A teacher and two students a data set. Accuracies: 90; 50 + the seed + what the student was
    TAUGHT.
    """

    name = "toy"
    about = "does the grid work?"
    DATASETS = ("first", "second")
    METHODS = ("plain", "taught")
    REFERENCE = "plain"
    BUDGETS = {name: Budget(limit, 1, 1) for name, limit in (("smoke", 10), ("cpu", None))}

    def load(self, name: str) -> DataSplits:
        if name not in self.DATASETS:
            raise DataError(f"{name} is nowhere")
        parts = np.split(np.arange(12), (4, 8))
        return DataSplits.from_arrays(
            name, np.zeros((12, 1, 2, 2)), np.arange(12) % 2, parts, "ab", "g"
        )

    def recipe(self, run, data, networks):
        return Recipe(partial(nn.Linear, 1, 1, bias=False), nn.Identity, epochs=1, seed=run.seed)

    def train(self, run, data, networks):
        recipe = self.recipe(run, data, networks)
        network = recipe.model()
        nn.init.constant_(network.weight, TAUGHT[run.data])
        record = dict(epoch=1, loss=0.5, train_accuracy=60.0, val_accuracy=55.0, seconds=0.1)
        return network, History([record]), describe(recipe)

    def judge(self, run, network, data, networks):
        accuracy = 50 + run.seed + networks[0].weight.item() if networks else 90
        return dict(accuracy=float(accuracy), recall=[1.0, None])


TOY = Toy(profile("smoke"), seeds=2)
FIRST_TEACHER = Run("first", TEACHER, 0)


def files(folder):
    """Every file in a folder with its time and content."""
    return {
        path: (path.stat().st_mtime_ns, path.read_bytes())
        for path in folder.rglob("*")
        if path.is_file()
    }


def of(run, folder):
    """The file with the result of a run."""
    return folder / "runs" / f"{run.name}.json"


def do_toys(engine, folder):
    """A folder with the results of TOY."""
    reproduce(TOY, folder, engine, echo=lambda line: None)
    engine.submitted.clear()
    return folder


def do(engine, experiment, folder, **options):
    """The progress, the submitted runs and the printed lines of one call of `reproduce`."""
    lines = []
    engine.submitted.clear()
    progress = reproduce(experiment, folder, engine, echo=lines.append, **options)
    return progress, list(engine.submitted), lines


class StudentsFirst(Toy):
    """Lists every student before its teacher."""

    def runs(self) -> list[Run]:
        return super().runs()[::-1]


class Fails(Toy):
    """`failing`, a set of arms, cannot be trained."""

    failing = frozenset()

    def recipe(self, run, data, networks):
        if run.arm in self.failing:
            raise ZeroDivisionError(f"no recipe for {run.arm}")
        return super().recipe(run, data, networks)


# --- for processes --------------------------------------------------------------------------------


def marked(run: Run, when: str) -> Path:
    """A file by which a worker tells the test something."""
    return Path(os.environ["KDCOURSE_WORK"]) / f"{run.name}.{when}"


class Environment(Toy):
    """Results say what the worker sees of the variable KDCOURSE_SEEN."""

    def judge(self, run, network, data, networks):
        return super().judge(run, network, data, networks) | {
            "seen": os.environ.get("KDCOURSE_SEEN")
        }


class DiesOnce(Toy):
    """The process of each `taught` kills itself the first time."""

    def train(self, run, data, networks):
        if run.arm == "taught" and not marked(run, "died").exists():
            marked(run, "died").touch()
            os.kill(os.getpid(), signal.SIGKILL)
        return super().train(run, data, networks)


class DiesAlways(Toy):
    """The process of each `taught` of seed 1 kills itself, after it has said so in one more byte of
    a file.
    """

    def train(self, run, data, networks):
        if run.arm == "taught" and run.seed == 1:
            with marked(run, "died").open("a") as file:
                file.write("x")
            os.kill(os.getpid(), signal.SIGKILL)
        return super().train(run, data, networks)


class Restless(Toy):
    """A byte a load and a start, in files. The process of `taught` ends at its first start, of seed
    1 at every one.
    """

    def load(self, name):
        _count(Path(os.environ["KDCOURSE_WORK"]) / f"{name}.loads")
        return super().load(name)

    def train(self, run, data, networks):
        starts = _count(marked(run, "starts"))
        if run.arm == "taught" and (run.seed == 1 or starts == 1):
            os.kill(os.getpid(), signal.SIGKILL)
        return super().train(run, data, networks)


def _count(path: Path) -> int:
    with path.open("a") as file:
        file.write("x")
    return path.stat().st_size


class DiesAnswering(Toy):
    """The teacher's process is killed while its network is on the way, if nobody takes it from the
    pipe.
    """

    def recipe(self, run, data, networks):
        return Recipe(partial(nn.Linear, 1, 1_000_000, bias=False), nn.Identity, epochs=1)

    def judge(self, run, network, data, networks):
        if run.arm == TEACHER and not marked(run, "died").exists():
            marked(run, "died").touch()
            signal.setitimer(signal.ITIMER_REAL, 1)  # its signal ends the process
        return super().judge(run, network, data, networks)


class Waits(Toy):
    """Every process says its number and goes on for ten minutes."""

    def train(self, run, data, networks):
        marked(run, "began").write_text(str(os.getpid()))
        time.sleep(600)
        return super().train(run, data, networks)
