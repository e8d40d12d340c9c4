"""D2's question, answered by experiment: why does its distilled student gain next to nothing?

D2 trains a ResNet-18 on CIFAR-10 with and without a ResNet-50 as its teacher. Here the same
protocol is run on any data set with the course's pair, first as published, then with one fault
mended at a time, each step on top of the last.

What differs from D2: the pair; its optimiser (that of `baselines`; D2: SGD at 0.001); the data
set's own augmentation; and the pretraining. D2's networks come with ImageNet's weights. Here the
training images are cut in two halves: the stand-in is a student that has first learned the labels
of one half, and the experiment is run on the other. The teacher
is the same in every step: what is asked is how much a pretrained *student* leaves it to give.
"""

import copy
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from itertools import product

import numpy as np
import pandas as pd
import torch
from torch import nn

from kdcourse import plots
from kdcourse.common.profiles import Profile
from kdcourse.data import Augmentation
from kdcourse.data.splits import DataSplits, Split, stratified
from kdcourse.distillation import CachedTeacher, CrossEntropy, ResponseKD, Teacher
from kdcourse.evaluation import evaluate, paired_interval
from kdcourse.experiments import baselines
from kdcourse.experiments.analysis import Analysis
from kdcourse.experiments.complexity import THIN, Pair
from kdcourse.experiments.grid import TEACHER, Budget, Experiment, Run
from kdcourse.models import resnet18, resnet50
from kdcourse.training import History, Recipe, constant, load_or_train

TEMPERATURE, LABEL_WEIGHT, SOFT_WEIGHT = 5.0, 0.25, 0.75
NEXT_TO_NOTHING = 1.0  # points

# D2's figures, one run each, test accuracy in %, CIFAR-10
PUBLISHED = pd.DataFrame(
    {
        "teacher": (96.1, 97.0, 95.4, 91.2, 95.5, 91.9, 97.6, 95.5, 97.4, 96.2, 95.4),
        "student with KD": (95.6, 97.7, 93.2, 87.7, 94.0, 89.9, 96.7, 95.4, 96.0, 95.8, 94.2),
        "student without": (95.7, 96.6, 93.2, 86.8, 93.6, 92.1, 96.6, 95.6, 95.1, 95.3, 94.1),
    },
    index=pd.Index(
        "plane car bird cat deer dog frog horse ship truck overall".split(), name="class"
    ),
)


@dataclass(frozen=True)
class RepairStep:
    """Two networks to compare, and how: with a teacher and without."""

    name: str
    distilled: Callable  # objective
    distilled_epochs: int
    plain_epochs: int
    pretrained: bool = (
        True  # do both begin with the weights of the student that learned the other half?
    )
    flipped: bool = True  # are the test images flipped at random?

    def recipes(self, scratch: Recipe, pretrained: Recipe) -> tuple[Recipe, Recipe]:
        """Of the plain and of the distilled network; the two given differ in the weights that they
        begin with.
        """
        recipe = pretrained if self.pretrained else scratch
        distilled = replace(recipe, epochs=self.distilled_epochs, objective=self.distilled)
        return replace(recipe, epochs=self.plain_epochs), distilled


def steps(teacher: Teacher, epochs: int) -> list[RepairStep]:
    """D2 as published, then one fault mended at a time, each on top of the last. epochs: of D2's
    plain student.
    """
    # ResponseKD has the factor T², D2 has not
    without_square = dict(
        temperature=TEMPERATURE, soft_weight=SOFT_WEIGHT / TEMPERATURE**2, label_weight=LABEL_WEIGHT
    )
    with_square = dict(temperature=TEMPERATURE, soft_weight=SOFT_WEIGHT, label_weight=LABEL_WEIGHT)
    published = RepairStep(
        "as published", partial(ResponseKD, teacher, **without_square), 2 * epochs, epochs
    )
    square = replace(published, name="+ T²", distilled=partial(ResponseKD, teacher, **with_square))
    upright = replace(square, name="+ no flips at test time", flipped=False)
    equal = replace(upright, name="+ equal epochs", plain_epochs=2 * epochs)
    scratch = replace(equal, name="+ no pretraining", pretrained=False)
    return [published, square, upright, equal, scratch]


def halves(data: DataSplits) -> tuple[DataSplits, DataSplits]:
    """The training images in two halves with the same share of each class; validation and test stay
    as they are.
    """
    parts = [data.train.subset(rows) for rows in stratified(data.train.labels, (0.5, 0.5), seed=0)]
    return tuple(replace(data, train=part, fingerprint=part.fingerprint) for part in parts)


def flipped(split: Split, seed: int) -> Split:
    """The images of a split, each mirrored left to right with probability ½: what D2 does to its
    test set.
    """
    images = split.take(np.arange(len(split)))  # (N, C, H, W)
    mirrored = np.random.default_rng(seed).random(len(split)) < 0.5
    images[mirrored] = images[mirrored, ..., ::-1]
    return replace(split, images=images, rows=np.arange(len(split)), fingerprint="")


def run(
    data: DataSplits,
    settings: Profile,
    teacher: Teacher,
    *,
    epochs: int,
    seeds: Sequence[int],
    views: int | None = None,
) -> pd.DataFrame:
    """Every step with every seed: columns step, seed, plain, distilled (test accuracy, %) and the
    epochs of both.

    A network that two steps share is trained once. The pretrained student learns the other half for
    2 · epochs.
    """
    first, second = halves(data)
    rows = []
    for seed in seeds:
        scratch = replace(baselines.student_recipe(data, settings, seed, 2 * epochs), views=views)
        start, _ = load_or_train(scratch, first, name="d2", progress=False)
        pretrained = replace(scratch, model=partial(copy.deepcopy, start))
        for step in steps(teacher, epochs):
            test = flipped(data.test, seed) if step.flipped else data.test
            accuracies = [
                _accuracy(recipe, second, test) for recipe in step.recipes(scratch, pretrained)
            ]
            rows.append([step.name, seed, *accuracies, step.plain_epochs, step.distilled_epochs])
    return pd.DataFrame(rows, columns=COLUMNS)


COLUMNS = ["step", "seed", "plain", "distilled", "plain epochs", "distilled epochs"]


def _accuracy(recipe: Recipe, data: DataSplits, test: Split) -> float:
    network, _ = load_or_train(recipe, data, name="d2", progress=False)
    return evaluate(network, test, data.classes).accuracy


def summary(runs: pd.DataFrame) -> pd.DataFrame:
    """A row a step: mean accuracies, the paired gain with half its 95 % interval, seeds and
    epochs.
    """
    rows = []
    for step, group in runs.groupby("step", sort=False):
        gain, half = paired_interval(group.distilled, group.plain)
        epochs = group[["plain epochs", "distilled epochs"]].iloc[0]
        rows.append(
            [step, group.plain.mean(), group.distilled.mean(), gain, half, len(group), *epochs]
        )
    columns = ["step", "plain, %", "distilled, %", "gain, points", "± 95 % paired", "seeds"]
    return pd.DataFrame(rows, columns=[*columns, "plain epochs", "distilled epochs"])


def symptom(gain: float, half: float) -> str:
    """Is the gain next to nothing, as D2's 0.1 points are? A sentence; gain ± half: the 95 %
    interval, in points.

    It is if the whole interval lies within a point of zero, it is not if the whole interval lies
    further off. Between
    the two the experiment does not say: an interval that merely includes zero may hold a large gain
      too.
    """
    if np.isnan(half):
        return (
            f"whether D2's symptom shows is not decided: {gain:+.2f} points with one seed, which "
            "has no interval"
        )
    interval = f"from {gain - half:+.2f} to {gain + half:+.2f} points"
    if abs(gain) + half <= NEXT_TO_NOTHING:
        return f"D2's symptom shows: the gain is next to nothing, {interval}"
    if abs(gain) - half > NEXT_TO_NOTHING:
        return f"D2's symptom does not show: the gain or loss is more than a point, {interval}"
    return f"whether D2's symptom shows, a gain next to nothing, is not decided: {interval}"


# --- as a grid ------------------------------------------------------------------------------------

START = "start"  # the student that learned the other half
COMPARED = {  # the two networks of each step: plain, distilled
    "as published": ("plain", "distilled without T²"),
    "+ T²": ("plain", "distilled"),
    "+ no flips at test time": ("plain", "distilled"),
    "+ equal epochs": ("plain twice as long", "distilled"),
    "+ no pretraining": ("plain from scratch", "distilled from scratch"),
}
FROM_SCRATCH = COMPARED["+ no pretraining"]


def own_recipe(
    network: Callable, data: DataSplits, settings: Profile, seed: int, epochs: int
) -> Recipe:
    """As D2 trains: SGD at 0.001 with momentum 0.9, batches of 100, flips alone. settings: not
    asked, see `Pair`.
    """
    return Recipe(
        model=partial(network, channels=len(data.channels), classes=len(data.classes)),
        objective=CrossEntropy,
        epochs=epochs,
        optimizer=partial(torch.optim.SGD, lr=1e-3, momentum=0.9),
        schedule=constant,
        batch_size=100,
        augment=Augmentation("flip"),
        seed=seed,
    )


OWN = Pair(partial(own_recipe, partial(resnet50, pretrained=True)), partial(own_recipe, resnet18))


class D2(Experiment):
    """D2 as a grid: each network that some step compares is trained once, and judged on the test
    images as they are ("accuracy") and flipped at random ("accuracy flipped").

    networks="published": D2's pair, ImageNet's weights and optimiser, on all images: nothing stands
    in for the pretraining, so there are no halves and no start.
    """

    name = "d2"
    about = "why does a distilled student gain next to nothing? One fault mended at a time"
    DATASETS = ("cifar10",)
    METHODS = tuple(dict.fromkeys(arm for pair in COMPARED.values() for arm in pair))
    REFERENCE = "plain"
    LARGE_IMAGES = True
    BUDGETS = {  # student_epochs: of "plain"
        "smoke": Budget(limit=100, teacher_epochs=1, student_epochs=1, views=2),
        "cpu": Budget(limit=10_000, teacher_epochs=20, student_epochs=10),
        "gpu": Budget(limit=None, teacher_epochs=5, student_epochs=5, views=None),
    }
    PUBLISHED = pd.DataFrame(
        {
            "published": PUBLISHED.loc[
                "overall", ["teacher", "student without", "student with KD"]
            ].to_list()
        },
        index=pd.MultiIndex.from_product(
            [["cifar10"], [TEACHER, *COMPARED["as published"]]], names=["data", "arm"]
        ),
    )
    SOURCE = "D2, a public repository, one run each"

    def runs(self) -> list[Run]:
        runs = []
        for data in self.datasets or self.DATASETS:
            teacher = Run(data, TEACHER, 0)
            starts = (
                [Run(data, START, seed) for seed in range(self.seeds)]
                if self.networks == "thin"
                else []
            )
            runs += [teacher, *starts]
            for arm, seed in product(self.arms, range(self.seeds)):
                start = () if arm in FROM_SCRATCH else starts[seed : seed + 1]
                runs.append(Run(data, arm, seed, (), (teacher, *start)))
        return runs

    def part(self, run: Run, data: DataSplits) -> DataSplits:
        """The data with the training images of a run."""
        if run.arm == TEACHER or self.networks == "published":
            return data
        first, second = halves(data)
        return first if run.arm == START else second

    def recipe(self, run: Run, data: DataSplits, networks: Sequence[nn.Module]) -> Recipe:
        pair = THIN if self.networks == "thin" else OWN
        if run.arm == TEACHER:
            return pair.teacher(data, self.settings, run.seed, self.budget.teacher_epochs)
        epochs = self.budget.student_epochs
        scratch = replace(
            pair.student(data, self.settings, run.seed, 2 * epochs), views=self.budget.views
        )
        if run.arm == START:
            return scratch
        teacher, *start = (
            networks  # an arm from scratch has no start, and does not ask for its copy
        )
        model = (
            partial(copy.deepcopy, *start)
            if self.networks == "thin"
            else partial(scratch.model, pretrained=True)
        )
        recipes = {}
        for step in steps(CachedTeacher(teacher), epochs):
            two = step.recipes(scratch, replace(scratch, model=model))
            recipes |= zip(COMPARED[step.name], two, strict=True)
        return recipes[run.arm]

    def train(
        self, run: Run, data: DataSplits, networks: Sequence[nn.Module]
    ) -> tuple[nn.Module, History, object]:
        return super().train(run, self.part(run, data), networks)

    def judge(
        self, run: Run, network: nn.Module, data: DataSplits, networks: Sequence[nn.Module]
    ) -> dict:
        mirrored = evaluate(network, flipped(data.test, run.seed), data.classes)
        images = len(self.part(run, data).train)
        found = {"accuracy flipped": mirrored.accuracy, "training images": images}
        return super().judge(run, network, data, networks) | found

    def analyses(self, frame: pd.DataFrame) -> Iterator[Analysis]:
        for name, rows in frame.groupby("data", sort=False):
            runs = by_step(rows, self.budget.student_epochs)
            if runs.empty:
                continue
            table = summary(runs)
            points = table.rename(
                columns={"step": "name", "gain, points": "gain", "± 95 % paired": "half"}
            )
            text = (
                "Each step mends one fault more and compares a plain network with a distilled one. "
                "In the first two the test images are flipped at random."
            )
            first = table.iloc[0]
            if first.step == "as published":
                text += f" As published, {symptom(first['gain, points'], first['± 95 % paired'])}."
            yield Analysis(
                f"{name}: one fault mended at a time", text, table.round(2), plots.gains(points)
            )

    def differences(self) -> list[str]:
        budget = self.budget
        epochs = (budget.teacher_epochs, budget.student_epochs, 2 * budget.student_epochs)
        if self.networks == "published":
            sentences = [
                "Images are normalised by the data's own mean and standard deviation, not by "
                "ImageNet's."
            ]
        else:
            sentences = [
                "The course's thin pair, not ResNet-50 and ResNet-18.",
                f"AdamW with one cycle, batches of {self.settings.batch_size} and the data set's "
                "own augmentation, not SGD at 0.001, batches of 100 and flips.",
                "ImageNet's weights are stood in for: a pretrained student has learned the labels "
                "of one half of the training images, and the comparison is run on the other. The "
                "teacher learns both halves from scratch.",
            ]
        if self.pixels != 224:
            size = f"{self.pixels}×{self.pixels} pixels" if self.pixels else "their own size"
            sentences.append(f"Images of {size}, not 224×224.")
        if budget.limit:
            sentences.append(f"No more than {budget.limit:,} training images.")
        if epochs != (5, 5, 10):
            sentences.append(
                "Epochs of teacher, plain and distilled student: {}, {}, {}, not 5, 5, 10.".format(
                    *epochs
                )
            )
        sentences.append(
            "D2 flips its test images at random. The table's accuracy is of test images as they "
            "are; the steps are judged as D2 judges until that is mended."
        )
        return sentences


def by_step(frame: pd.DataFrame, epochs: int) -> pd.DataFrame:
    """A grid's rows of one data set as `run` gives them: each step, with the seeds of which both
    networks are there.
    """
    rows = []
    for step in steps(
        None, epochs
    ):  # what they say of epochs and test images depends on no teacher
        accuracy = "accuracy flipped" if step.flipped else "accuracy"
        plain, distilled = (
            frame[frame.arm == arm].set_index("seed")[accuracy] for arm in COMPARED[step.name]
        )
        for seed in plain.index.intersection(distilled.index):
            rows.append(
                [
                    step.name,
                    seed,
                    plain[seed],
                    distilled[seed],
                    step.plain_epochs,
                    step.distilled_epochs,
                ]
            )
    return pd.DataFrame(rows, columns=COLUMNS)
