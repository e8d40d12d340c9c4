"""D4's question: is a student better off from scratch, with its teacher's answers, or with its
teacher's features?

Three arms on a data set, with equal budgets and the same seeds: labels alone, response-based
distillation (soft targets) and intermediate distillation (a hint, FitNets). In D4's paper the last
two are called RKD and IKD.

What differs from D4: the pair (unless it is `resnets()`), our optimiser and number of epochs,
several seeds and not one, and the intermediate method. Ours is a hint at "layer3" of weight 1: with
RepDistiller's 100 the hint's gradient was many times the label's on `scenes`, before training
(notebook 05, section 5). What a weight does to accuracy is measured in section 7 there.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial

import pandas as pd
from torch import nn

from kdcourse import plots
from kdcourse.common.profiles import Profile
from kdcourse.data import DataSplits
from kdcourse.data import load as load_data
from kdcourse.data.complexity import complexity
from kdcourse.data.datasets import CATALOG
from kdcourse.distillation import CachedTeacher, CrossEntropy, FitNets, ResponseKD, Teacher
from kdcourse.evaluation import evaluate, mean_interval, paired_interval
from kdcourse.evaluation.comparison import holm, rank_correlation
from kdcourse.experiments import baselines
from kdcourse.experiments.analysis import Analysis
from kdcourse.experiments.grid import TEACHER, Budget, Experiment, Run
from kdcourse.models import resnet18, resnet50
from kdcourse.training import Recipe, adamw, load_or_train

ARMS = ("scratch", "response", "intermediate")
# of complexity, see kdcourse.data.complexity; of each of D4's criteria that can differ, one
MEASURES = {
    "effective_dimension": "effective dimension",
    "entropy": "entropy of the values (bits)",
    "intra_inter_ratio": "distance within classes / between",
    "nearest_neighbour_error": "error of the nearest neighbour (%)",
    "linear_error": "error of a linear model (%)",
}

# D4's figures, one run each, test accuracy in %
PUBLISHED = pd.DataFrame(
    {
        "teacher": (98.33, 89.9, 90.22, 75.23, 48.7),
        "scratch": (97.9, 88.47, 86.07, 63.47, 34.6),
        "response": (98.0, 87.6, 88.72, 64.13, 35.03),
        "intermediate": (98.43, 89.97, 88.72, 74.7, 49.83),
    },
    index=pd.Index(("mnist", "fashion_mnist", "usps", "cifar10", "cifar100"), name="data set"),
)


@dataclass(frozen=True)
class Pair:
    """Teacher and student learning from labels: two makers of recipes, called with (data, settings,
    seed, epochs).
    """

    teacher: Callable[..., Recipe]
    student: Callable[..., Recipe]


THIN = Pair(baselines.teacher_recipe, baselines.student_recipe)  # the course's


def resnets(stem: str = "imagenet") -> Pair:
    """D4's architectures, ResNet-50 and ResNet-18 from scratch; for stem see
    `kdcourse.models.resnet18`.
    """
    return Pair(
        partial(_resnet, partial(resnet50, stem=stem)),
        partial(_resnet, partial(resnet18, stem=stem)),
    )


def _resnet(
    network: partial, data: DataSplits, settings: Profile, seed: int, epochs: int | None
) -> Recipe:
    recipe = baselines.student_recipe(data, settings, seed, epochs)
    return baselines.with_network(recipe, network, data, optimizer=partial(adamw, lr=1e-3))


def arms(teacher: Teacher) -> dict[str, Callable]:
    """What the student of each arm learns from."""
    return {
        "scratch": CrossEntropy,
        "response": partial(ResponseKD, teacher),
        "intermediate": partial(FitNets, teacher, "layer3", "layer3", hint_weight=1.0),
    }


def load(name: str, settings: Profile, **options) -> DataSplits:
    """A data set cut as D4 cuts it, if it has an official test set, else as the course does.

    options: as for `kdcourse.data.load`.
    """
    info = CATALOG.get(name)
    official = info is not None and info.official_test
    return load_data(
        name,
        image_size=image_size(name, settings),
        split="d4" if official else None,
        **options,
    )


def image_size(name: str, settings: Profile) -> int | None:
    """A side of D4's images in pixels; None: the files' own size.

    Images keep their own size where that is smaller than the profile's, and at least 16 pixels: of
    8 the thin student leaves a map of one, on which torch 2.15's bfloat16 convolution of stride 2
    has a gradient that is not defined.
    """
    info = CATALOG.get(name)
    sizes = [max(16, size) for size in (settings.image_size, info and info.image_size) if size]
    return min(sizes, default=None)


def run(
    data: DataSplits,
    settings: Profile,
    *,
    seeds: Sequence[int],
    teacher_epochs: int | None = None,
    student_epochs: int | None = None,
    pair: Pair = THIN,
) -> pd.DataFrame:
    """Every arm with every seed: columns arm, seed, accuracy (test, %); the first row is the
    teacher, trained once.

    Epochs as the profile says unless given; views are repeated after `settings.views` epochs, in
    every arm.
    """
    network, _ = load_or_train(
        pair.teacher(data, settings, 0, teacher_epochs), data, progress=False
    )
    rows = [["teacher", 0, evaluate(network, data.test, data.classes).accuracy]]
    for arm, objective in arms(CachedTeacher(network)).items():
        for seed in seeds:
            student = pair.student(data, settings, seed, student_epochs or settings.feature_epochs)
            recipe = replace(student, objective=objective, views=settings.views)
            network, _ = load_or_train(recipe, data, progress=False)
            rows.append([arm, seed, evaluate(network, data.test, data.classes).accuracy])
    return pd.DataFrame(rows, columns=["arm", "seed", "accuracy"])


def summary(runs: pd.DataFrame) -> pd.DataFrame:
    """One row of what `run` returns: the teacher, mean accuracies in %, paired differences, half
    intervals.
    """
    by_arm = {arm: runs.accuracy[runs.arm == arm].to_numpy() for arm in ("teacher", *ARMS)}
    row = {arm: values.mean() for arm, values in by_arm.items()}
    row["scratch ± 95 %"] = mean_interval(by_arm["scratch"])[1]
    for arm, other in (
        ("response", "scratch"),
        ("intermediate", "scratch"),
        ("intermediate", "response"),
    ):
        gain, half = paired_interval(by_arm[arm], by_arm[other])
        row |= {f"{arm} − {other}": gain, f"{arm} − {other} ± 95 %": half}
    return pd.DataFrame([row | {"seeds": len(by_arm["scratch"])}])


class D4(Experiment):
    """D4 as a grid: teacher, scratch, response and intermediate on each data set."""

    name = "d4"
    about = "does distillation gain more on complex data, and features more than answers?"
    DATASETS = tuple(PUBLISHED.index)
    METHODS = ARMS
    REFERENCE = "scratch"
    BUDGETS = {
        "smoke": Budget(limit=100, teacher_epochs=1, student_epochs=1, views=2),
        "cpu": Budget(limit=10_000, teacher_epochs=20, student_epochs=20),
        "gpu": Budget(limit=None, teacher_epochs=60, student_epochs=60, views=None),
    }
    PUBLISHED = (
        PUBLISHED.rename_axis(index="data", columns="arm").stack().rename("published").to_frame()
    )
    SOURCE = "D4: Computers 2024, 13(8), 184, one run each"

    def load(self, name: str) -> DataSplits:
        return self.fewer(load(name, self.settings, **self.options))

    def image_size(self, name: str) -> int | None:
        return image_size(name, self.settings)

    def recipe(self, run: Run, data: DataSplits, networks: Sequence[nn.Module]) -> Recipe:
        pair = resnets() if self.networks == "published" else THIN
        if run.arm == TEACHER:
            return pair.teacher(data, self.settings, run.seed, self.budget.teacher_epochs)
        student = pair.student(data, self.settings, run.seed, self.budget.student_epochs)
        return replace(
            student, objective=arms(CachedTeacher(networks[0]))[run.arm], views=self.budget.views
        )

    def judge(
        self, run: Run, network: nn.Module, data: DataSplits, networks: Sequence[nn.Module]
    ) -> dict:
        found = super().judge(run, network, data, networks)
        if run.arm == TEACHER:  # once a data set; on its training images alone
            measured = complexity(data)
            found |= {name: getattr(measured, name) for name in MEASURES}
        return found

    def analyses(self, frame: pd.DataFrame) -> Iterator[Analysis]:
        for arm in self.METHODS[1:]:
            found = gain_and_complexity(frame, arm)
            if len(found) < 3 or found.gain.nunique() == 1:
                continue
            yield Analysis(
                f"Does the gain of {arm} distillation grow with complexity?",
                "D4 says so, of complexity as it ranks it. Here complexity is measured on the "
                "training images. ρ: Spearman's rank correlation over the data sets, with its 95 % "
                "interval; p by permutation, Holm's over the measures. So few data sets can show "
                "no more than a very strong one.",
                correlations(found),
                plots.gain_against(found, MEASURES["nearest_neighbour_error"]),
            )

    def differences(self) -> list[str]:
        pair = (
            "ResNet-50 and ResNet-18"
            if self.networks == "published"
            else "the course's thin pair, not ResNets"
        )
        return [
            pair,
            "AdamW with one cycle, and our number of epochs",
            "intermediate: a hint at layer3 of weight 1 (FitNets)",
            "a test set is D4's cut of the official one, where there is one",
        ]


def gain_and_complexity(frame: pd.DataFrame, arm: str) -> pd.DataFrame:
    """A row a data set: data, gain of an arm over scratch and half its interval (points), the
    measures of complexity.

    frame: one row per run, as `Results.frame` gives it.
    """
    rows = []
    for data, runs in frame.groupby("data", sort=False):
        scratch, other = (
            runs[runs.arm == name].set_index("seed").accuracy for name in ("scratch", arm)
        )
        seeds = scratch.index.intersection(other.index)
        teacher = runs[runs.arm == TEACHER]
        if len(seeds) and len(teacher):
            gain, half = paired_interval(other[seeds], scratch[seeds])
            measures = {said: teacher[name].iloc[0] for name, said in MEASURES.items()}
            rows.append({"data": data, "gain": gain, "half": half, **measures})
    return pd.DataFrame(rows)


def correlations(found: pd.DataFrame) -> pd.DataFrame:
    """A row a measure of complexity: its rank correlation with the gain over the data sets of
    `gain_and_complexity`.
    """
    rows = []
    for measure in MEASURES.values():
        correlation = rank_correlation(found[measure], found.gain)
        rows.append([measure, correlation.rho, *correlation.interval, correlation.p, correlation.n])
    table = pd.DataFrame(rows, columns=["measure", "ρ", "from", "to", "p", "data sets"])
    table.insert(5, "p (Holm)", holm(table.p))
    return table
