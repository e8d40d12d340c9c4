"""D2's question, answered by experiment: why does its distilled student gain next to nothing?

D2 trains a ResNet-18 on CIFAR-10 with and without a ResNet-50 as its teacher. Here the same protocol is run on any data
set with the course's pair, first as published, then with one fault mended at a time, each step on top of the last.

What differs from D2: the pair; its optimiser (that of `baselines`; D2: SGD at 0.001); the data set's own augmentation;
and the pretraining. D2's networks come with ImageNet's weights. Here the training images are cut in two halves: the
stand-in is a student that has first learned the labels of one half, and the experiment is run on the other. The teacher
is the same in every step: what is asked is how much a pretrained *student* leaves it to give.
"""

import copy
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial

import numpy as np
import pandas as pd

from kdcourse.data.splits import DataSplits, Split, stratified
from kdcourse.distillation import Teacher
from kdcourse.distillation.response import ResponseKD
from kdcourse.evaluation import evaluate, paired_interval
from kdcourse.experiments import baselines
from kdcourse.profiles import Profile
from kdcourse.training import Recipe, load_or_train

TEMPERATURE, LABEL_WEIGHT, SOFT_WEIGHT = 5.0, 0.25, 0.75
NEXT_TO_NOTHING = 1.0  # points

# D2's figures, one run each, test accuracy in %, CIFAR-10
PUBLISHED = pd.DataFrame(
    {
        "teacher": (96.1, 97.0, 95.4, 91.2, 95.5, 91.9, 97.6, 95.5, 97.4, 96.2, 95.4),
        "student with KD": (95.6, 97.7, 93.2, 87.7, 94.0, 89.9, 96.7, 95.4, 96.0, 95.8, 94.2),
        "student without": (95.7, 96.6, 93.2, 86.8, 93.6, 92.1, 96.6, 95.6, 95.1, 95.3, 94.1),
    },
    index=pd.Index("plane car bird cat deer dog frog horse ship truck overall".split(), name="class"),
)


@dataclass(frozen=True)
class Step:
    """Two networks to compare, and how: with a teacher and without."""

    name: str
    distilled: Callable  # objective
    distilled_epochs: int
    plain_epochs: int
    pretrained: bool = True  # do both begin with the weights of the student that learned the other half?
    flipped: bool = True  # are the test images flipped at random?


def steps(teacher: Teacher, epochs: int) -> list[Step]:
    """D2 as published, then one fault mended at a time, each on top of the last. epochs: of D2's plain student."""
    # ResponseKD has the factor T², D2 has not
    without_square = dict(temperature=TEMPERATURE, soft_weight=SOFT_WEIGHT / TEMPERATURE**2, label_weight=LABEL_WEIGHT)
    with_square = dict(temperature=TEMPERATURE, soft_weight=SOFT_WEIGHT, label_weight=LABEL_WEIGHT)
    published = Step("as published", partial(ResponseKD, teacher, **without_square), 2 * epochs, epochs)
    square = replace(published, name="+ T²", distilled=partial(ResponseKD, teacher, **with_square))
    upright = replace(square, name="+ no flips at test time", flipped=False)
    equal = replace(upright, name="+ equal epochs", plain_epochs=2 * epochs)
    scratch = replace(equal, name="+ no pretraining", pretrained=False)
    return [published, square, upright, equal, scratch]


def halves(data: DataSplits) -> tuple[DataSplits, DataSplits]:
    """The training images in two halves with the same share of each class; validation and test stay as they are."""
    parts = [data.train.subset(rows) for rows in stratified(data.train.labels, (0.5, 0.5), seed=0)]
    return tuple(replace(data, train=part, fingerprint=part.fingerprint) for part in parts)


def flipped(split: Split, seed: int) -> Split:
    """The images of a split, each mirrored left to right with probability ½: what D2 does to its test set."""
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
    """Every step with every seed: columns step, seed, plain, distilled (test accuracy, %) and the epochs of both.

    A network that two steps share is trained once. The pretrained student learns the other half for 2 · epochs.
    """
    first, second = halves(data)
    rows = []
    for seed in seeds:
        scratch = replace(baselines.student_recipe(data, settings, seed, 2 * epochs), views=views)
        start, _ = load_or_train(scratch, first, name="d2", progress=False)
        for step in steps(teacher, epochs):
            recipe = replace(scratch, model=partial(copy.deepcopy, start)) if step.pretrained else scratch
            plain = replace(recipe, epochs=step.plain_epochs)
            distilled = replace(recipe, epochs=step.distilled_epochs, objective=step.distilled)
            test = flipped(data.test, seed) if step.flipped else data.test
            accuracies = [_accuracy(arm, second, test) for arm in (plain, distilled)]
            rows.append([step.name, seed, *accuracies, step.plain_epochs, step.distilled_epochs])
    return pd.DataFrame(rows, columns=["step", "seed", "plain", "distilled", "plain epochs", "distilled epochs"])


def _accuracy(recipe: Recipe, data: DataSplits, test: Split) -> float:
    network, _ = load_or_train(recipe, data, name="d2", progress=False)
    return evaluate(network, test, data.classes).accuracy


def summary(runs: pd.DataFrame) -> pd.DataFrame:
    """A row a step: mean accuracies, the paired gain with half its 95 % interval, seeds and epochs."""
    rows = []
    for step, group in runs.groupby("step", sort=False):
        gain, half = paired_interval(group.distilled, group.plain)
        epochs = group[["plain epochs", "distilled epochs"]].iloc[0]
        rows.append([step, group.plain.mean(), group.distilled.mean(), gain, half, len(group), *epochs])
    columns = ["step", "plain, %", "distilled, %", "gain, points", "± 95 % paired", "seeds"]
    return pd.DataFrame(rows, columns=[*columns, "plain epochs", "distilled epochs"])


def symptom(gain: float, half: float) -> str:
    """Is the gain next to nothing, as D2's 0.1 points are? A sentence; gain ± half: the 95 % interval, in points.

    It is if the whole interval lies within a point of zero, it is not if the whole interval lies further off. Between
    the two the experiment does not say: an interval that merely includes zero may hold a large gain too.
    """
    interval = f"from {gain - half:+.2f} to {gain + half:+.2f} points"
    if abs(gain) + half <= NEXT_TO_NOTHING:
        return f"D2's symptom shows: the gain is next to nothing, {interval}"
    if abs(gain) - half > NEXT_TO_NOTHING:
        return f"D2's symptom does not show: the gain or loss is more than a point, {interval}"
    return f"whether D2's symptom shows, a gain next to nothing, is not decided: {interval}"
