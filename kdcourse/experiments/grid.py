"""A grid of runs: which networks an experiment trains, and how one run is executed.

An `Experiment` is a recipe: data, split, models, objectives, budget and seeds. It lists its `Run`s,
plain values that can be sent to a worker, where `execute` trains and judges one of them.
`kdcourse.experiments.reproduce` does all the runs of an experiment, and
`kdcourse.experiments.results_folder` keeps their results.
"""

import hashlib
import io
import json
import platform
import re
import time
import traceback
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, field, replace
from importlib.metadata import version
from itertools import product
from pathlib import Path
from typing import ClassVar

import numpy as np
import pandas as pd
import torch
from torch import nn

import kdcourse
from kdcourse.common.errors import KDCourseError, UsageError, unknown
from kdcourse.common.profiles import Profile, profile
from kdcourse.data import DataSplits
from kdcourse.data import load as load_data
from kdcourse.data.datasets import CATALOG
from kdcourse.data.splits import Split
from kdcourse.evaluation import predict, score
from kdcourse.evaluation.fidelity import fidelity
from kdcourse.experiments.analysis import Analysis
from kdcourse.models.cost import cost
from kdcourse.training import History, Recipe, load_or_train
from kdcourse.training.checkpoint import describe, load_weights

TEACHER = "teacher"


@dataclass(frozen=True)
class Run:
    """One network to be trained and judged. Plain values: they stand in its JSON, and travel to a
    worker.

    arm: its row in the table. factors: what else tells it from others, such as ("stem", "small").
    needs: the runs whose networks it needs, its teacher first; they themselves must need none.
    """

    data: str
    arm: str
    seed: int
    factors: tuple[tuple[str, str | int | float | bool], ...] = ()
    needs: tuple["Run", ...] = ()

    def __post_init__(self):
        if any(run.needs for run in self.needs):
            raise UsageError(f"{self.name}: a network that others need must itself need none")

    @property
    def name(self) -> str:
        """Unique in its experiment, and fit for a file."""
        parts = [
            self.data,
            self.arm,
            *(f"{name}={value}" for name, value in self.factors),
            f"seed={self.seed}",
        ]
        short = re.sub(r"[^\w.=-]+", "-", "--".join(parts), flags=re.ASCII)[-100:].strip("-")
        return f"{short}--{hashlib.sha256(json.dumps(parts).encode()).hexdigest()[:6]}"

    def __getitem__(self, factor: str):
        return dict(self.factors)[factor]


@dataclass(frozen=True)
class RunOutcome:
    """What became of a run: its results, or the traceback of its failure."""

    results: dict | None = None
    error: str = ""
    recipe: object = None  # as `describe` tells it
    history: tuple[dict, ...] = ()  # one record an epoch, see History
    seconds: dict = field(default_factory=dict)
    machine: dict = field(default_factory=dict)
    network: bytes | None = None  # packed, if other runs need it

    @property
    def status(self) -> str:
        return "failed" if self.results is None else "done"


@dataclass(frozen=True)
class Budget:
    """The size of an experiment at a profile."""

    limit: int | None  # training images; None takes all
    teacher_epochs: int
    student_epochs: int
    views: int | None = 8  # distinct epochs of augmentation, see Batches


@dataclass(frozen=True)
class Experiment:
    """The recipe of an experiment: what is trained, on what, for how long. Subclasses say which.

    settings: the profile. datasets, methods: names; empty for the experiment's own. seeds: of each
    student. limit: training images at most, instead of the budget's; validation gets as many
    at most, test stays whole. networks: "thin" for the course's pair, "published" for the
    experiment's own. split_seed: learning rates were chosen on validation data of split 1, and the
    test data of split 0 had been looked at before: hence 1.
    """

    settings: Profile = field(default_factory=profile)
    datasets: tuple[str, ...] = ()
    methods: tuple[str, ...] = ()
    seeds: int = 3
    limit: int | None = None
    networks: str = "thin"
    split_seed: int = 1

    name: ClassVar[str]
    about: ClassVar[str]
    DATASETS: ClassVar[tuple[str, ...]]
    METHODS: ClassVar[tuple[str, ...]]  # the students, in the table's order
    REFERENCE: ClassVar[str]  # the method that gains are measured against; it is always run
    BUDGETS: ClassVar[dict[str, Budget]]  # by profile
    PUBLISHED: ClassVar[pd.DataFrame | None] = (
        None  # test accuracy, %; index data and arm, column "published"
    )
    TAUGHT_BY: ClassVar[
        dict[str, str]
    ] = {}  # method: its teacher's name; who is not named has the one called TEACHER
    LARGE_IMAGES: ClassVar[bool] = (
        False  # are the published networks made for images of ImageNet's size?
    )
    SOURCE: ClassVar[str] = ""  # of the published figures: who, where, of how many runs

    def __post_init__(self):
        for method in self.methods:
            if method not in self.METHODS:
                raise unknown(f"method of {self.name}", method, self.METHODS)
        if self.seeds < 1:
            raise UsageError(f"seeds={self.seeds}: expected 1 or more")
        if self.limit is not None and self.limit < 1:
            raise UsageError(f"limit={self.limit}: expected 1 training image or more")
        if self.networks not in ("thin", "published"):
            raise unknown("networks", self.networks, ("thin", "published"))

    @property
    def budget(self) -> Budget:
        budget = self.BUDGETS[self.settings.name]
        return replace(budget, limit=self.limit) if self.limit else budget

    @property
    def arms(self) -> tuple[str, ...]:
        """The methods asked for, in the table's order, the reference always among them."""
        return tuple(
            arm
            for arm in self.METHODS
            if not self.methods or arm in (self.REFERENCE, *self.methods)
        )

    def size(self) -> dict:
        """What two calls must have in common for their results to stand in one folder."""
        of = dict(
            experiment=self.name,
            profile=self.settings.name,
            networks=self.networks,
            split_seed=self.split_seed,
        )
        return of | asdict(self.budget) | {"version": kdcourse.__version__}

    def runs(self) -> list[Run]:
        """A data set's teachers and a student for each method and seed: methods that share a seed
        share their crops.
        """
        taught_by = {arm: self.TAUGHT_BY.get(arm, TEACHER) for arm in self.arms}
        runs = []
        for data, factors in product(self.datasets or self.DATASETS, self.variants):
            teachers = {
                name: Run(data, name, 0, factors) for name in dict.fromkeys(taught_by.values())
            }
            runs += teachers.values()
            for arm, seed in product(self.arms, range(self.seeds)):
                runs.append(Run(data, arm, seed, factors, (teachers[taught_by[arm]],)))
        return runs

    @property
    def variants(self) -> Sequence[tuple]:
        """The factors of the runs, where all of them are done more than once."""
        return [()]

    def load(self, name: str) -> DataSplits:
        """A data set, with no more training images than the budget says."""
        return self.fewer(load_data(name, image_size=self.pixels, **self.options))

    @property
    def pixels(self) -> int | None:
        """A side of the images; None: as they are."""
        if self.networks == "thin" or not self.LARGE_IMAGES:
            return self.settings.image_size
        return 224 if self.settings.name == "gpu" else 64

    def image_size(self, name: str) -> int | None:
        """A side of the images of a data set as `load` gives them, in pixels; None: not known."""
        return self.pixels or (CATALOG[name].image_size if name in CATALOG else None)

    @property
    def options(self) -> dict:
        """For `kdcourse.data.load`: all images, but in the smoke profile."""
        return dict(
            split_seed=self.split_seed,
            limit=self.settings.limit if self.settings.name == "smoke" else None,
        )

    def fewer(self, data: DataSplits) -> DataSplits:
        limit = self.budget.limit
        return data.fewer(limit) if limit and limit < len(data.train) else data

    def part(self, run: Run, data: DataSplits) -> DataSplits:
        """What a run has of the data: all."""
        return data

    def recipe(self, run: Run, data: DataSplits, networks: Sequence[nn.Module]) -> Recipe:
        """How a run is trained. networks: of the runs that it needs."""
        raise NotImplementedError

    def train(
        self, run: Run, data: DataSplits, networks: Sequence[nn.Module]
    ) -> tuple[nn.Module, History, object]:
        """The network, what happened, and the recipe as `describe` tells it."""
        recipe = self.recipe(run, data, networks)
        return *load_or_train(recipe, data, name=self.name, progress=False), describe(recipe)

    def judge(
        self, run: Run, network: nn.Module, data: DataSplits, networks: Sequence[nn.Module]
    ) -> dict:
        """On the test images, which are touched here and nowhere else: numbers, and which answers
        were right.
        """
        return judged(network, data.test, data, networks[0] if networks else None)

    def analyses(self, frame: pd.DataFrame) -> Iterator[Analysis]:
        """What else is to be seen in the results: see `kdcourse.experiments.report`. frame: a row a
        run.
        """
        return iter(())

    def differences(self) -> list[str]:
        """How the protocol differs from the published one, a sentence each."""
        return []


def judged(network: nn.Module, split: Split, data: DataSplits, teacher: nn.Module | None) -> dict:
    """Accuracy (%), nll (nats), ece (%), recall of each class (%), the right answers as bits, the
    cost; and, with a teacher, how often the network agrees with it (%) and KL(teacher ‖ network)
    (nats)."""
    logits, labels = predict(network, split)
    result = score(logits, labels, data.classes)
    price = cost(network, (len(data.channels), *data.image_size), latency=False)
    found = dict(accuracy=result.accuracy, nll=result.nll, ece=result.ece, n=result.n)
    found |= dict(parameters=price.parameters, macs=price.macs)
    found["recall"] = result.per_class.recall.round(3).tolist()
    found["right"] = pack_bits((logits.argmax(1) == labels).numpy())
    if teacher is not None:
        same = fidelity(logits, predict(teacher, split)[0], labels)
        found |= dict(agreement=same.agreement, kl=same.kl)
    return found


def pack_bits(right: np.ndarray) -> str:
    """(N,) of truth values as hexadecimal text, a quarter of a character each."""
    return np.packbits(right).tobytes().hex()


def unpack_bits(text: str, count: int) -> np.ndarray:
    """What `pack_bits` packed: (count,) booleans."""
    return np.unpackbits(np.frombuffer(bytes.fromhex(text), np.uint8), count=count).astype(bool)


# --- one run, wherever it is ----------------------------------------------------------------------


def execute(
    experiment: Experiment, run: Run, data: DataSplits, packed: Sequence[bytes], needed: bool
) -> RunOutcome:
    """Train and judge. packed: the networks that the run needs. needed: do others need its own?

    A failure is an outcome too, with its traceback: the grid goes on with the other runs.
    """
    started = time.time()
    try:
        networks = [
            _unpack(content, experiment, need, data)
            for content, need in zip(packed, run.needs, strict=True)
        ]
        network, history, recipe = experiment.train(run, data, networks)
        results = experiment.judge(run, network, data, networks)
        own = experiment.part(run, data)
        results |= {
            key: history.records[history.reported_epoch - 1][key]
            for key in ("train_accuracy", "val_accuracy")
        }
    except Exception as error:  # noqa: BLE001, whatever it is: it is recorded
        reason = (
            str(error) if isinstance(error, KDCourseError) else f"{type(error).__name__}: {error}"
        )
        reason = f"{reason}\n\n{traceback.format_exc()}"
        return RunOutcome(error=reason, seconds=dict(all=time.time() - started), machine=machine())
    return RunOutcome(
        results=results,
        recipe=[recipe, {"data": own.fingerprint, "training images": len(own.train)}],
        history=tuple(history.records),
        seconds=dict(training=history.seconds, all=time.time() - started),
        machine=machine() | {"precision": history.precision, "device": history.device},
        network=_pack(network) if needed else None,
    )


def machine() -> dict:
    """What a result may depend on."""
    packages = {name: version(name) for name in ("torch", "torchvision", "numpy", "scikit-learn")}
    about = dict(processor=_processor(), threads=torch.get_num_threads(), system=platform.system())
    if torch.cuda.is_available():
        about["gpu"] = torch.cuda.get_device_name()
    return about | {
        "python": platform.python_version(),
        "kdcourse": kdcourse.__version__,
        **packages,
    }


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor() or platform.machine()
    return next(
        (line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")),
        platform.machine(),
    )


def _pack(network: nn.Module) -> bytes:
    buffer = io.BytesIO()
    torch.save({name: value.cpu() for name, value in network.state_dict().items()}, buffer)
    return buffer.getvalue()


def _unpack(content: bytes, experiment: Experiment, run: Run, data: DataSplits) -> nn.Module:
    """The network of a run that was trained elsewhere."""
    network = experiment.recipe(run, data, ()).model()
    load_weights(
        network, torch.load(io.BytesIO(content), weights_only=True, map_location="cpu"), run.name
    )
    return network.eval()
