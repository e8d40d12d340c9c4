"""D3's question as a grid: the students of its table, and students at equal samples seen."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace

import pandas as pd
from matplotlib.figure import Figure
from torch import nn

from kdcourse import plots
from kdcourse.data import DataSplits
from kdcourse.distillation import CachedTeacher, Teacher
from kdcourse.evaluation import paired_interval
from kdcourse.experiments.analysis import Analysis
from kdcourse.experiments.complexity import THIN, Pair
from kdcourse.experiments.curriculum import (
    PUBLISHED,
    REFERENCE,
    RENEW_EVERY,
    Arm,
    describe_sampling,
    equal_arms,
    five_arms,
    summary,
    train,
)
from kdcourse.experiments.curriculum_recipes import mobilenet, teacher_from_scratch
from kdcourse.experiments.grid import TEACHER, Budget, Experiment, Run
from kdcourse.training import History, Recipe
from kdcourse.training.checkpoint import describe

OWN = (
    "D3: labels only",
    "D3: 60 % labels + 40 % teacher",
    "D3: teacher only",
    "D3: curriculum",
)  # `five_arms`
EQUAL = (  # `equal_arms`
    "labels only",
    REFERENCE,
    "random subset",
    "easy to hard",
    "hard to easy",
    "easiest by root",
    "easiest then all",
    "adaptive window",
)


def named_arms(teacher: Teacher) -> dict[str, Arm]:
    """D3's students and those at equal samples, by names that tell them apart."""
    arms = zip((*OWN, *EQUAL), (*five_arms(teacher), *equal_arms(teacher)), strict=True)
    return {name: replace(arm, name=name) for name, arm in arms}


class D3(Experiment):
    """D3 as a grid: the students of its table, whose curriculum sees fewer samples, and students
    that all see as many.

    networks="published": D3's pair and their training, both from scratch. The agent is no arm: it
    needs an extra, and it moves the temperature besides; notebook 06 has it.
    """

    name = "d3"
    about = "does a curriculum help a distilled student, at equal samples seen?"
    DATASETS = ("scenes", "eurosat_rgb")  # in the profile gpu: mini_imagenet
    METHODS = (*OWN, *EQUAL)
    REFERENCE = REFERENCE
    LARGE_IMAGES = True
    BUDGETS = {
        "smoke": Budget(limit=100, teacher_epochs=1, student_epochs=2, views=2),
        "cpu": Budget(limit=5000, teacher_epochs=20, student_epochs=30),
        "gpu": Budget(limit=None, teacher_epochs=60, student_epochs=60, views=None),
    }
    PUBLISHED = pd.DataFrame(
        {"published": PUBLISHED["test accuracy, %"].to_list()},
        index=pd.MultiIndex.from_product(
            [["mini_imagenet"], [TEACHER, *OWN]], names=["data", "arm"]
        ),
    )
    SOURCE = "D3, a public repository, one run each"

    def runs(self) -> list[Run]:
        if self.settings.name == "gpu" and not self.datasets:
            return replace(self, datasets=("mini_imagenet",)).runs()
        return super().runs()

    @property
    def pair(self) -> Pair:
        return THIN if self.networks == "thin" else Pair(teacher_from_scratch, mobilenet)

    def arm(self, run: Run, networks: Sequence[nn.Module]) -> Arm:
        return named_arms(CachedTeacher(networks[0]))[run.arm]

    def recipe(self, run: Run, data: DataSplits, networks: Sequence[nn.Module]) -> Recipe:
        if run.arm == TEACHER:
            return self.pair.teacher(data, self.settings, run.seed, self.budget.teacher_epochs)
        student = self.pair.student(data, self.settings, run.seed, self.budget.student_epochs)
        return replace(
            student, objective=self.arm(run, networks).objective, views=self.budget.views
        )

    def train(
        self, run: Run, data: DataSplits, networks: Sequence[nn.Module]
    ) -> tuple[nn.Module, History, object]:
        if run.arm == TEACHER:
            return super().train(run, data, networks)
        arm, budget = self.arm(run, networks), self.budget
        network, history = train(
            arm,
            data,
            self.settings,
            CachedTeacher(networks[0]),
            epochs=budget.student_epochs,
            seed=run.seed,
            views=budget.views,
            student=self.pair.student,
        )
        return (
            network,
            history,
            [describe(self.recipe(run, data, networks)), describe_sampling(arm)],
        )

    def judge(
        self, run: Run, network: nn.Module, data: DataSplits, networks: Sequence[nn.Module]
    ) -> dict:
        found = super().judge(run, network, data, networks)
        if run.arm != TEACHER:
            found["samples seen"] = self.arm(run, networks).samples(
                len(data.train), self.budget.student_epochs
            )
        return found

    def analyses(self, frame: pd.DataFrame) -> Iterator[Analysis]:
        for name, rows in frame.groupby("data", sort=False):
            control, plain, curriculum = "random subset", "D3: teacher only", "D3: curriculum"
            table = _table(rows, EQUAL, control)
            if table is not None:
                text = (
                    "All of these see equally many samples. The random subset costs what a "
                    "curriculum costs and knows nothing of difficulty: a curriculum that gains "
                    "over plain KD and not over the random subset owes nothing to its order."
                )
                pairs = [(arm, control) for arm in table.arm if arm != control]
                yield Analysis(
                    f"{name}: at equal samples seen", text, table.round(2), _gaps(rows, pairs)
                )
            table = _table(rows, OWN, plain)
            if table is not None:
                text = (
                    "D3's students as they are; one that sees fewer samples has no difference in "
                    "this table. Their gains over plain KD, further up, are not at equal samples: "
                    "it sees the 60 % of the images an epoch that D3's curriculum is meant to see. "
                    "Put between teacher only and curriculum, it parts their gap: first what the "
                    "number of samples does, then the rest."
                )
                pairs = [(plain, REFERENCE), (REFERENCE, curriculum), (plain, curriculum)]
                yield Analysis(f"{name}: D3's own table", text, table.round(2), _gaps(rows, pairs))

    def differences(self) -> list[str]:
        budget = self.budget
        sentences = []
        if self.networks == "thin":
            sentences += [
                "The course's thin pair, not ResNet-152 and MobileNetV2.",
                f"AdamW with one cycle and batches of {self.settings.batch_size}, not Adam with a "
                "cosine and batches of 128; the last epoch counts, not the best on validation.",
            ]
        if self.pixels != 224:
            size = f"{self.pixels}×{self.pixels} pixels" if self.pixels else "their own size"
            sentences.append(f"Images of {size}, not 224×224.")
        if budget.limit:
            sentences.append(f"No more than {budget.limit:,} training images.")
        return [
            *sentences,
            f"Students have {budget.student_epochs} epochs, D3's up to 1,000.",
            "The teacher learns the labels of these data from scratch; D3's has ImageNet's "
            "weights, and so has seen mini-ImageNet's images.",
            "Augmentation is the data set's own, not D3's crops and colour jitter.",
            "The curriculum's θ goes from 0 to 1 by a schedule; in D3 an agent moves it, and the "
            "temperature.",
            f"Difficulty is measured on images as they are, every {RENEW_EVERY} epochs; D3: on "
            "random crops, every 20.",
        ]


def _table(rows: pd.DataFrame, arms: Sequence[str], reference: str) -> pd.DataFrame | None:
    """`summary` of these arms, in this order; None without the reference."""
    rows = rows[rows.arm.isin(arms)].sort_values(
        "arm", key=lambda names: names.map(arms.index), kind="stable"
    )
    return summary(rows, reference) if reference in set(rows.arm) else None


def _gaps(rows: pd.DataFrame, pairs: Iterable[tuple[str, str]]) -> Figure | None:
    """Paired differences between arms, of those that have a seed in common; None if there are
    none.
    """
    accuracy = rows.pivot(index="seed", columns="arm", values="accuracy")
    points = []
    for one, other in pairs:
        both = accuracy.reindex(columns=[one, other]).dropna()
        if len(both):
            points.append([f"{one} − {other}", *paired_interval(both[one], both[other])])
    return plots.gains(pd.DataFrame(points, columns=["name", "gain", "half"])) if points else None
