"""A teacher of thirteen bands, a student of three: what is there in training and not where the
student is used.

"Learning using privileged information" (Vapnik & Vashist 2009), by distillation (Lopez-Paz et al.
2016). The student sees red, green and blue alone, as any camera gives them. The teacher sees the
thirteen bands of the very same crops.

- "three bands": the student learns from labels.
- "three (taught by three)": a teacher that sees no more than the student.
- "three (taught by thirteen)": a teacher that sees all bands.
- "thirteen bands": the same student, if it had them all.
"""

from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial

import torch
from torch import nn

from kdcourse.common.errors import UsageError
from kdcourse.data import DataSplits
from kdcourse.data.eurosat import TRUE_COLOUR
from kdcourse.distillation import CachedTeacher, ResponseKD
from kdcourse.experiments import baselines
from kdcourse.experiments.grid import TEACHER, Budget, Experiment, Run
from kdcourse.training import Recipe

TEACHER_OF_THREE = "teacher of three bands"
THREE, BY_THREE, BY_ALL, ALL = (
    "three bands",
    "three (taught by three)",
    "three (taught by thirteen)",
    "thirteen bands",
)
TAUGHT_BY = {
    THREE: TEACHER,
    BY_THREE: TEACHER_OF_THREE,
    BY_ALL: TEACHER,
    ALL: TEACHER,
}  # of whom agreement is told


class SomeBands(nn.Module):
    """A network that is shown some channels of its images (B, C, H, W) alone. make(channels=…):
    makes the network.
    """

    def __init__(self, make: Callable[..., nn.Module], bands: Sequence[int]):
        super().__init__()
        self.bands, self.network = list(bands), make(channels=len(bands))

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        return self.network(images[:, self.bands])


def with_bands(data: DataSplits, bands: Sequence[int] = TRUE_COLOUR) -> DataSplits:
    """The data with these channels alone, copied: what a student of some bands is shipped with."""
    images = data.train.images[:, list(bands)]
    of = dict(mean=data.mean[list(bands)], std=data.std[list(bands)])
    train, val, test = (
        replace(split, images=images, **of) for split in (data.train, data.val, data.test)
    )
    channels = tuple(data.channels[band] for band in bands)
    return replace(data, train=train, val=val, test=test, channels=channels, asked={})


class Bands(Experiment):
    """A multispectral teacher with an RGB student."""

    name = "bands"
    about = "does a teacher of thirteen bands help a student that sees three?"
    DATASETS = ("scenes", "eurosat_ms")
    METHODS = tuple(TAUGHT_BY)
    TAUGHT_BY = TAUGHT_BY
    REFERENCE = THREE
    BUDGETS = {
        "smoke": Budget(limit=100, teacher_epochs=1, student_epochs=1, views=2),
        "cpu": Budget(limit=3000, teacher_epochs=20, student_epochs=30),
        "gpu": Budget(limit=None, teacher_epochs=60, student_epochs=60),
    }

    def recipe(self, run: Run, data: DataSplits, networks: Sequence[nn.Module]) -> Recipe:
        if len(data.channels) <= len(TRUE_COLOUR):
            raise UsageError(
                f"{data.name}: {len(data.channels)} bands; this experiment needs more than three"
            )
        if run.arm in (TEACHER, TEACHER_OF_THREE):
            recipe = baselines.teacher_recipe(
                data, self.settings, run.seed, self.budget.teacher_epochs
            )
        else:
            recipe = baselines.student_recipe(
                data, self.settings, run.seed, self.budget.student_epochs
            )
            recipe = replace(recipe, views=self.budget.views)
        if run.arm not in (TEACHER, ALL):
            recipe = replace(recipe, model=partial(SomeBands, recipe.model, TRUE_COLOUR))
        if run.arm in (BY_THREE, BY_ALL):
            recipe = replace(recipe, objective=partial(ResponseKD, CachedTeacher(networks[0])))
        return recipe

    def differences(self) -> list[str]:
        return [
            "red, green and blue are Sentinel-2's own, reflectance in digital numbers, not a "
            "camera's picture"
        ]
