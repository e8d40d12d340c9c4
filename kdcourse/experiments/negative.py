"""Where does distillation do harm? Published warnings, each beside the plain case.

- "smoothed teacher": one that learned with label smoothing keeps no similarities between classes to
  pass on (Müller, Kornblith & Hinton 2019, "When does label smoothing help?", section 4).
- "stronger teacher": larger and trained for longer; a student may learn less from it (Cho &
  Hariharan 2019, "On the efficacy of knowledge distillation"; Mirzadeh et al. 2020).
- "worse teacher": the teacher's own network, trained for a tenth of its epochs.
- "hint": features of the same kind of network, and of another (MobileNetV2), where layers do not
  correspond (Chen et al. 2021, "Cross-layer distillation with semantic calibration").
- "label smoothing" is the control that needs no teacher.

Whether any of it shows here is for the figures to say.
"""

from collections.abc import Sequence
from dataclasses import replace
from functools import partial

from torch import nn

from kdcourse.data import DataSplits
from kdcourse.distillation import CachedTeacher, CrossEntropy, FitNets, ResponseKD
from kdcourse.experiments import baselines
from kdcourse.experiments.grid import TEACHER, Budget, Experiment, Run
from kdcourse.models import mobilenet_v2
from kdcourse.training import Recipe, adamw

SMOOTHED, STRONGER, WORSE, OTHER = (
    "smoothed teacher",
    "stronger teacher",
    "worse teacher",
    "other architecture",
)
SMOOTHING = 0.1
# method → the teacher that it has
TAUGHT_BY = {
    "labels": TEACHER,
    "label smoothing": TEACHER,
    "distilled": TEACHER,
    f"distilled ({SMOOTHED})": SMOOTHED,
    f"distilled ({STRONGER})": STRONGER,
    f"distilled ({WORSE})": WORSE,
    "hint": TEACHER,
    f"hint ({OTHER})": OTHER,
}


class Negative(Experiment):
    """Negative results: teachers and hints that are said to do harm."""

    name = "negative"
    about = "where does distillation do harm?"
    DATASETS = ("eurosat_rgb", "cifar10")
    METHODS = tuple(TAUGHT_BY)
    TAUGHT_BY = TAUGHT_BY
    REFERENCE = "labels"
    BUDGETS = {
        "smoke": Budget(limit=100, teacher_epochs=1, student_epochs=1, views=2),
        "cpu": Budget(limit=3000, teacher_epochs=20, student_epochs=30),
        "gpu": Budget(limit=None, teacher_epochs=60, student_epochs=60),
    }

    def recipe(self, run: Run, data: DataSplits, networks: Sequence[nn.Module]) -> Recipe:
        if run.arm not in TAUGHT_BY:
            return self._teacher(run, data)
        student = baselines.student_recipe(
            data, self.settings, run.seed, self.budget.student_epochs
        )
        student = replace(student, views=self.budget.views)
        if run.arm == "labels":
            return student
        if run.arm == "label smoothing":
            return replace(student, objective=partial(CrossEntropy, label_smoothing=SMOOTHING))
        teacher = CachedTeacher(networks[0])
        if run.arm.startswith("distilled"):
            return replace(student, objective=partial(ResponseKD, teacher))
        layer = "features.13" if OTHER in run.arm else "layer3"
        return replace(
            student, objective=partial(FitNets, teacher, "layer3", layer, hint_weight=1.0)
        )

    def _teacher(self, run: Run, data: DataSplits) -> Recipe:
        epochs = self.budget.teacher_epochs
        recipe = baselines.teacher_recipe(data, self.settings, run.seed, epochs)
        if run.arm == SMOOTHED:
            return replace(recipe, objective=partial(CrossEntropy, label_smoothing=SMOOTHING))
        if run.arm == STRONGER:
            return replace(recipe, model=partial(recipe.model, width=32), epochs=2 * epochs)
        if run.arm == WORSE:
            return replace(recipe, epochs=max(1, epochs // 10))
        if run.arm == OTHER:
            network, optimizer = partial(mobilenet_v2, stem="small"), partial(adamw, lr=2e-3)
            return baselines.with_network(
                recipe, network, data, optimizer=optimizer, epochs=2 * epochs
            )
        return recipe
