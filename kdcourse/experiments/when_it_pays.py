"""When does distillation pay? Its gain over the same student learning from labels alone, over a
surface of conditions.

Four things change: how many training images the student has, how long it is trained, how good its
teacher is, and how large the student is. The first two are crossed; the other two are changed one
at a time at the short budget.

- share: of the training images, 1 to 100 %. Validation has no more images than training, test stays
  whole.
- budget: in samples seen, the same for every share where that needs no more than 100 ("short") or
  400 epochs ("long").
- teacher: trained on "all" images, the case of one who has a large network and few labels of his
  own; or on the "same" images as its student, the case where it knows nothing that the labels do
  not say.
- student: "narrow", the course's, or "wide", of four times the channels.

Both arms of a comparison see the same crops in the same order, as often. What nothing is chosen by
is not tuned either: T = 4, soft weight 0.9, label weight 0.1 (RepDistiller's), and the optimiser of
`baselines`.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from itertools import product

import pandas as pd
from torch import nn

from kdcourse import plots
from kdcourse.data import DataSplits
from kdcourse.distillation import CachedTeacher, ResponseKD
from kdcourse.evaluation import paired_interval
from kdcourse.experiments import baselines
from kdcourse.experiments.analysis import Analysis
from kdcourse.experiments.grid import TEACHER, Budget, Experiment, Run, judged
from kdcourse.training import History, Recipe, load_or_train
from kdcourse.training.checkpoint import describe

SHARES = (0.01, 0.03, 0.1, 0.3, 1.0)
WIDE = 4  # times the narrow student's channels


@dataclass(frozen=True)
class Samples:
    """A budget in samples seen: so many, but no more than `epochs` times the training images."""

    samples: int
    epochs: int

    def of(self, images: int) -> int:
        """Epochs for so many training images."""
        return max(1, min(self.epochs, round(self.samples / images)))


CONDITIONS = {  # row of the map → budget, student, teacher
    "short budget": ("short", "narrow", "all"),
    "long budget": ("long", "narrow", "all"),
    "wide student": ("short", "wide", "all"),
    "teacher of the same images": ("short", "narrow", "same"),
}
LEAD = "the teacher's lead over the student's baseline (points)"
SHORT, LONG, TEACHING = Samples(100_000, 100), Samples(400_000, 400), Samples(180_000, 40)


class Pays(Experiment):
    """The gain of distillation over data size, epochs, teacher and student."""

    name = "pays"
    about = "when does distillation pay? Its gain over data size, epochs, teacher and student"
    DATASETS = ("eurosat_rgb", "cifar10")
    METHODS = ("labels", "distilled")
    REFERENCE = "labels"
    BUDGETS = {  # epochs follow from the samples, but at `smoke`
        "smoke": Budget(limit=1000, teacher_epochs=1, student_epochs=1, views=2),
        "cpu": Budget(limit=None, teacher_epochs=0, student_epochs=0),
        "gpu": Budget(limit=None, teacher_epochs=0, student_epochs=0),
    }

    @property
    def options(self) -> dict:
        """In the smoke profile ten times as many images as usual there: every class has one in the
        least share.
        """
        options = super().options
        return options | {"limit": options["limit"] and 10 * options["limit"]}

    def runs(self) -> list[Run]:
        runs = []
        for data, share in product(self.datasets or self.DATASETS, sorted(SHARES, reverse=True)):
            all_data = Run(data, TEACHER, 0, (("share", 1.0),))
            same_data = replace(all_data, factors=(("share", share),))
            runs.append(same_data)
            teachers = {"all": all_data} if share == 1 else {"all": all_data, "same": same_data}
            for seed, (budget, student) in product(
                range(self.seeds), (("short", "narrow"), ("long", "narrow"), ("short", "wide"))
            ):
                factors = (("share", share), ("budget", budget), ("student", student))
                runs.append(Run(data, "labels", seed, factors))
                for source, teacher in teachers.items():
                    if "distilled" in self.arms and (
                        source == "all" or (budget, student) == ("short", "narrow")
                    ):
                        runs.append(
                            Run(
                                data, "distilled", seed, (*factors, ("teacher", source)), (teacher,)
                            )
                        )
        return runs

    def recipe(self, run: Run, data: DataSplits, networks: Sequence[nn.Module]) -> Recipe:
        smoke = self.settings.name == "smoke"
        if run.arm == TEACHER:
            epochs = 1 if smoke else TEACHING.of(len(data.train))
            return baselines.teacher_recipe(data, self.settings, run.seed, epochs)
        epochs = 1 if smoke else {"short": SHORT, "long": LONG}[run["budget"]].of(len(data.train))
        recipe = replace(
            baselines.student_recipe(data, self.settings, run.seed, epochs), views=self.budget.views
        )
        if run["student"] == "wide":
            width = WIDE * recipe.model.keywords["width"]
            recipe = replace(recipe, model=partial(recipe.model, width=width))
        if run.arm == "distilled":
            recipe = replace(recipe, objective=partial(ResponseKD, networks[0]))
        return recipe

    def train(
        self, run: Run, data: DataSplits, networks: Sequence[nn.Module]
    ) -> tuple[nn.Module, History, object]:
        part = self.part(run, data)
        teachers = [self.teacher(network, run.needs[0], part, data) for network in networks]
        recipe = self.recipe(run, part, teachers)
        return *load_or_train(recipe, part, name=self.name, progress=False), describe(recipe)

    def judge(
        self, run: Run, network: nn.Module, data: DataSplits, networks: Sequence[nn.Module]
    ) -> dict:
        part = self.part(run, data)
        return judged(network, part.test, part, None) | {"training images": len(part.train)}

    def analyses(self, frame: pd.DataFrame) -> Iterator[Analysis]:
        found = gains(frame)
        if found.empty:
            return
        yield Analysis(
            "Where it pays, and where not",
            "The gain of the distilled student over the same student learning from labels alone, "
            "in points, paired by seed. Rows: what differs from the short budget with the narrow "
            "student and the teacher of all images. A frame: the whole 95 % interval is on one "
            "side of zero. The intervals are not corrected for their number.",
            figure=plots.gain_map(*maps(found)),
        )
        yield Analysis(
            "Does the teacher's lead foretell the gain?",
            "A point a condition: how much better the teacher is than the student that learned "
            "from labels alone, and what the student gained from it.",
            found.drop(columns="half").round(2),
            plots.gain_against(found, LEAD),
        )

    def part(self, run: Run, data: DataSplits) -> DataSplits:
        """The share of the data that a run has."""
        return data if run["share"] == 1 else data.fewer(round(run["share"] * len(data.train)))

    def teacher(
        self, network: nn.Module, run: Run, part: DataSplits, data: DataSplits
    ) -> CachedTeacher:
        """The teacher of a run, on images normalised by the mean and std of its own training
        images.
        """
        own = self.part(run, data)
        if own.fingerprint == part.fingerprint:
            return CachedTeacher(network)
        return CachedTeacher(
            network,
            normalisation=(own.mean, own.std),
            student_normalisation=(part.mean, part.std),
        )


def gains(frame: pd.DataFrame) -> pd.DataFrame:
    """A row a comparison: data, share, condition, baseline and teacher (accuracy, %), lead, gain,
    half, seeds.

    frame: one row per run, as `Results.frame` gives it. gain and half, half the 95 % interval:
      points, paired by seed.
    """
    rows = []
    if frame.empty:
        return pd.DataFrame()
    teachers = frame[frame.arm == TEACHER].set_index(["data", "share"]).accuracy
    for (data, share), runs in frame.groupby(["data", "share"], sort=False):
        for condition, (budget, student, teacher) in CONDITIONS.items():
            if share == 1 and teacher == "same":
                continue
            pair = runs[(runs.budget == budget) & (runs.student == student)].set_index("seed")
            plain = pair[pair.arm == "labels"].accuracy
            distilled = pair[(pair.arm == "distilled") & (pair.teacher == teacher)].accuracy
            seeds = plain.index.intersection(distilled.index)
            if len(seeds):
                accuracy = teachers[data, 1.0 if teacher == "all" else share]
                gain, half = paired_interval(distilled[seeds], plain[seeds])
                baseline = plain[seeds].mean()
                lead = accuracy - baseline
                rows.append(
                    [data, share, condition, baseline, accuracy, lead, gain, half, len(seeds)]
                )
    columns = ["data", "share", "condition", "baseline", "teacher", LEAD, "gain", "half", "seeds"]
    return pd.DataFrame(rows, columns=columns)


def maps(found: pd.DataFrame) -> tuple[dict[str, pd.DataFrame], dict[str, pd.DataFrame]]:
    """What `gains` found as two tables a data set, for `plots.gain_map`: gains, and half their
    intervals.
    """
    tables = {"gain": {}, "half": {}}
    for value, (data, rows) in product(tables, found.groupby("data", sort=False)):
        table = rows.pivot(index="condition", columns="share", values=value).reindex(
            list(CONDITIONS)
        )
        table.columns = pd.Index(
            [f"{share:.0%}" for share in table.columns], name="share of the training images"
        )
        tables[value][data] = table
    return tables["gain"], tables["half"]
