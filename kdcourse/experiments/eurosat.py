"""D1's question: what did its student gain from distillation, and what from augmentation?

D1 trains a ResNet-18 on EuroSAT's 13 bands without augmentation, then distils one *with*
augmentation, and puts the difference down to distillation. Its ResNet-18 also keeps the image's
resolution, while its teacher's stem reduces it to a quarter at once. Here all three change one at a
time: augmentation × distillation × stem, every cell with every seed.

What differs from D1: the pair, unless networks="published"; the optimiser (AdamW, one cycle); an
eighth of D1's training images validate; several seeds. T = 4, soft weight 0.9, label weight 0.1: D1
does not give its own.
"""

from collections.abc import Iterator, Sequence
from dataclasses import replace
from functools import partial

import pandas as pd
from torch import nn

from kdcourse import plots
from kdcourse.data import DataSplits
from kdcourse.distillation import CachedTeacher, ResponseKD
from kdcourse.evaluation.comparison import main_effects
from kdcourse.experiments import baselines
from kdcourse.experiments.analysis import Analysis
from kdcourse.experiments.grid import TEACHER, Budget, Experiment, Run
from kdcourse.models import d1_student, d1_teacher, resnet18
from kdcourse.training import Recipe, adamw

# The cells of the design. "fine" is D1's own stem, which keeps the resolution; "coarse" reduces it
# at once.
FACTORS = ("augmentation", "distillation", "stem")
CELLS = {
    "labels": (False, False, "fine"),
    "labels + augmentation": (True, False, "fine"),
    "distilled": (False, True, "fine"),
    "distilled + augmentation": (True, True, "fine"),
    "labels (coarse stem)": (False, False, "coarse"),
    "labels + augmentation (coarse stem)": (True, False, "coarse"),
    "distilled (coarse stem)": (False, True, "coarse"),
    "distilled + augmentation (coarse stem)": (True, True, "coarse"),
}
UNAUGMENTED = "teacher (no augmentation)"


class D1(Experiment):
    """D1's confound taken apart: a full factorial of augmentation, distillation and stem."""

    name = "d1"
    about = (
        "what did the student gain from distillation, and what from augmentation and from its stem?"
    )
    DATASETS = ("eurosat_ms", "eurosat_rgb")
    METHODS = tuple(CELLS)
    REFERENCE = "labels"
    BUDGETS = {
        "smoke": Budget(limit=100, teacher_epochs=1, student_epochs=1, views=2),
        "cpu": Budget(limit=None, teacher_epochs=20, student_epochs=10),
        "gpu": Budget(limit=None, teacher_epochs=20, student_epochs=10, views=None),
    }
    # D1's figures, one run each, test accuracy in %, EuroSAT_MS, all 27,000 tiles
    PUBLISHED = pd.DataFrame(
        {"published": (93.09, 85.0, 89.57, 96.65)},
        index=pd.MultiIndex.from_product(
            [["eurosat_ms"], [TEACHER, UNAUGMENTED, "labels", "distilled + augmentation"]],
            names=["data", "arm"],
        ),
    )
    SOURCE = "D1, an experiment of a blog, one run each"

    def runs(self) -> list[Run]:
        runs = super().runs()
        return runs + [Run(data, UNAUGMENTED, 0) for data in self.datasets or self.DATASETS]

    def recipe(self, run: Run, data: DataSplits, networks: Sequence[nn.Module]) -> Recipe:
        settings, budget = self.settings, self.budget
        if run.arm in (TEACHER, UNAUGMENTED):
            recipe = baselines.teacher_recipe(data, settings, run.seed, budget.teacher_epochs)
            recipe = self._own(recipe, d1_teacher, data)
            return replace(recipe, augment=None) if run.arm == UNAUGMENTED else recipe
        augmentation, distillation, stem = CELLS[run.arm]
        recipe = baselines.student_recipe(data, settings, run.seed, budget.student_epochs)
        if self.networks == "published":
            recipe = self._own(recipe, d1_student if stem == "fine" else resnet18, data)
        elif stem == "fine":
            recipe = replace(recipe, model=partial(recipe.model, stem_stride=1))
        recipe = replace(recipe, views=budget.views, augment="default" if augmentation else None)
        return (
            replace(recipe, objective=partial(ResponseKD, CachedTeacher(networks[0])))
            if distillation
            else recipe
        )

    def _own(self, recipe: Recipe, network, data: DataSplits) -> Recipe:
        """D1's network instead of the course's, at a learning rate for networks of its
        size.
        """
        if self.networks == "thin":
            return recipe
        return baselines.with_network(recipe, network, data, optimizer=partial(adamw, lr=1e-3))

    def analyses(self, frame: pd.DataFrame) -> Iterator[Analysis]:
        for data, effects in effects_by_data(frame).items():
            points = effects.rename(columns={"effect": "name", "points": "gain", "± 95 %": "half"})
            yield Analysis(
                f"What each change brings: {data}",
                "Each cell of augmentation × distillation × stem was trained with every seed. The "
                "effect of a factor is the mean accuracy with it less that without it, over all "
                "the other cells; a × b is half of how much more b brings with a than without. D1 "
                "changed augmentation and distillation together: its difference cannot say which "
                "of the two made it.",
                effects.round({"points": 2, "± 95 %": 2, "p": 3, "p (Holm)": 3}),
                plots.gains(points),
            )

    def differences(self) -> list[str]:
        own = (
            "its own networks"
            if self.networks == "published"
            else "thin networks instead of its ResNets"
        )
        return [
            own,
            "a tenth of all tiles validates and does not train",
            "AdamW with one cycle, T = 4, soft weight 0.9, label weight 0.1: D1 gives none of "
            "these",
        ]


def effects_by_data(frame: pd.DataFrame) -> dict[str, pd.DataFrame]:
    """Data set → `main_effects` of the three factors, where every cell is there with every seed.

    frame: one row per run, as `Results.frame` gives it.
    """
    found = {}
    cells = frame[frame.arm.isin(CELLS)]
    for data, runs in cells.groupby("data", sort=False):
        if (runs.groupby("seed").arm.nunique() == len(CELLS)).all():
            runs = runs.sort_values("arm", key=lambda arms: arms.map(list(CELLS).index))
            levels = pd.DataFrame([CELLS[arm] for arm in runs.arm], runs.index, FACTORS)
            found[data] = main_effects(runs[["seed", "accuracy"]].join(levels), FACTORS)
    return found
