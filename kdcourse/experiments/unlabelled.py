"""How far do a teacher's answers replace labels? A share of the tiles has labels; of the others
there are the tiles.

- share: of the training images that have labels, 10, 30 and 100 %.
- "labels": the student learns from the labelled images alone.
- "distilled": from the same images, and what a teacher answers to them.
- "distilled (all images)": from all images. To those without a label the teacher's answer is all
  there is.
- teacher: "own" learned from the labelled images alone, the case of one who has these data and no
  more; "all" from all labels, the case of one who was handed a teacher by somebody with more
  labels.

Every run sees as many samples, so fewer images are seen more often. All are normalised alike, by
the mean and std of all images, which need no labels. Nothing is chosen by validation: the last
epoch is judged.
"""

from collections.abc import Iterator, Sequence
from dataclasses import replace
from functools import partial

import numpy as np
import pandas as pd
from torch import nn

from kdcourse import plots
from kdcourse.data import DataSplits
from kdcourse.data.splits import stratified_sample
from kdcourse.distillation import CachedTeacher, PartlyLabelled, ResponseKD
from kdcourse.evaluation import paired_interval
from kdcourse.experiments import baselines
from kdcourse.experiments.analysis import Analysis
from kdcourse.experiments.grid import TEACHER, Budget, Experiment, Run
from kdcourse.training import History, Recipe, load_or_train
from kdcourse.training.checkpoint import describe

SHARES = (0.1, 0.3, 1.0)
ALL_IMAGES = "distilled (all images)"


class Unlabelled(Experiment):
    """Distillation where only some images have labels."""

    name = "unlabelled"
    about = "how far do a teacher's answers replace labels?"
    DATASETS = ("scenes", "eurosat_rgb")
    METHODS = ("labels", "distilled", ALL_IMAGES)
    REFERENCE = "labels"
    BUDGETS = {  # epochs of all images; of a share of them as many more
        "smoke": Budget(limit=100, teacher_epochs=1, student_epochs=1, views=2),
        "cpu": Budget(limit=3000, teacher_epochs=20, student_epochs=30),
        "gpu": Budget(limit=None, teacher_epochs=60, student_epochs=60),
    }

    def runs(self) -> list[Run]:
        runs = []
        for data in self.datasets or self.DATASETS:
            for share in sorted(SHARES, reverse=True):
                factors = (("share", share),)
                own, every = (
                    Run(data, TEACHER, 0, factors),
                    Run(data, TEACHER, 0, (("share", 1.0),)),
                )
                runs.append(own)
                teachers = {"own": own} if share == 1 else {"own": own, "all": every}
                for seed in range(self.seeds):
                    runs.append(Run(data, "labels", seed, factors))
                    for arm in self.arms[1:]:
                        if share == 1 and arm == ALL_IMAGES:
                            continue  # the same as "distilled"
                        for source, teacher in teachers.items():
                            runs.append(
                                Run(data, arm, seed, (*factors, ("teacher", source)), (teacher,))
                            )
        return runs

    def part(self, run: Run, data: DataSplits) -> DataSplits:
        return data if run.arm == ALL_IMAGES else labelled(data, run["share"])

    def recipe(self, run: Run, data: DataSplits, networks: Sequence[nn.Module]) -> Recipe:
        """data: all."""
        images = len(self.part(run, data).train)
        epochs = {TEACHER: self.budget.teacher_epochs}.get(run.arm, self.budget.student_epochs)
        if self.settings.name != "smoke":
            epochs = round(epochs * len(data.train) / images)
        if run.arm == TEACHER:
            return baselines.teacher_recipe(data, self.settings, run.seed, epochs)
        recipe = replace(
            baselines.student_recipe(data, self.settings, run.seed, epochs), views=self.budget.views
        )
        if run.arm == "labels":
            return recipe
        teacher = CachedTeacher(networks[0])
        if run.arm == "distilled":
            return replace(recipe, objective=partial(ResponseKD, teacher))
        some = tuple(labelled_indices(data, run["share"]).tolist())
        return replace(recipe, objective=partial(PartlyLabelled, teacher, some))

    def train(
        self, run: Run, data: DataSplits, networks: Sequence[nn.Module]
    ) -> tuple[nn.Module, History, object]:
        recipe = self.recipe(run, data, networks)
        return *load_or_train(
            recipe, self.part(run, data), name=self.name, progress=False
        ), describe(recipe)

    def analyses(self, frame: pd.DataFrame) -> Iterator[Analysis]:
        found = replaced(frame)
        if found.empty:
            return
        gains, halves = (
            {
                data: rows.assign(
                    row=rows.arm
                    + ", teacher of "
                    + rows.teacher.map({"own": "these labels", "all": "all labels"}),
                    column=[f"{share:.0%} labelled" for share in rows.share],
                ).pivot(index="row", columns="column", values=value)
                for data, rows in found.groupby("data", sort=False)
            }
            for value in ("gain", "half")
        )
        yield Analysis(
            "How far do the answers replace labels?",
            "The gain over the student that learned from the labelled images alone, in points, "
            "paired by seed. closed: which part of the way from there to the student that learned "
            "from all labels, in %; nan where the labels alone do as well. More than 100 % is "
            "better than all labels without a teacher.",
            found.round(2),
            plots.gain_map(gains, halves),
        )

    def differences(self) -> list[str]:
        return [
            "labels are left out at random, of each class the same share: real labels are lacking "
            "otherwise"
        ]


def labelled_indices(data: DataSplits, share: float) -> np.ndarray:
    """Which training images have labels: of each class the share, one or more; a smaller share is
    part of a larger.
    """
    classes = len(np.unique(data.train.labels))
    return stratified_sample(
        data.train.labels, max(classes, round(share * len(data.train))), seed=0
    )


def labelled(data: DataSplits, share: float) -> DataSplits:
    """The data with the labelled training images alone; mean and std stay those of all, which need
    no labels.
    """
    if share == 1:
        return data
    train = data.train.subset(labelled_indices(data, share))
    return replace(data, train=train, fingerprint=train.fingerprint, asked={})


def replaced(frame: pd.DataFrame) -> pd.DataFrame:
    """A row a data set, share, method and teacher: baseline (labels, %), gain, half its interval
    (points), closed (%).

    frame: one row per run, as `Results.frame` gives it.
    """
    columns = [
        "data",
        "share",
        "arm",
        "teacher",
        "baseline",
        "all labels",
        "gain",
        "half",
        "closed",
        "seeds",
    ]
    if frame.empty or "teacher" not in frame:
        return pd.DataFrame(columns=columns)
    plain, distilled = frame[frame.arm == "labels"], frame[frame.teacher.notna()]
    rows = []
    for (data, share, arm, teacher), runs in distilled.groupby(
        ["data", "share", "arm", "teacher"], sort=False
    ):
        own, labels_only = runs.set_index("seed").accuracy, plain[plain.data == data]
        baseline = labels_only[labels_only.share == share].set_index("seed").accuracy
        seeds = own.index.intersection(baseline.index)
        if not len(seeds):
            continue
        gain, half = paired_interval(own[seeds], baseline[seeds])
        start, every = baseline[seeds].mean(), labels_only[labels_only.share == 1].accuracy.mean()
        closed = 100 * gain / (every - start) if every > start else np.nan
        rows.append([data, share, arm, teacher, start, every, gain, half, closed, len(seeds)])
    return pd.DataFrame(rows, columns=columns)
