"""Profiles: how much work a notebook does. The papermill parameter `profile` or the variable
`KDCOURSE_PROFILE` chooses one.
"""

import os
from dataclasses import dataclass

from kdcourse.common.errors import unknown


@dataclass(frozen=True)
class Profile:
    """The settings of a profile."""

    name: str
    about: str
    image_size: int | None  # pixels; None keeps the files' own size
    limit: int | None  # images of a data set; None takes all
    d1_limit: int | None  # images for D1's heavy networks
    d1_epochs: int
    teacher_epochs: int
    student_epochs: int  # also run at twice as many, to see whether the baseline is under-trained
    seeds: int
    batch_size: int
    compare_epochs: int  # of each student where methods are compared: notebook 04
    views: int  # distinct epochs of augmentation there: a teacher's answers to them are kept
    feature_epochs: int  # of each student where features are compared: notebook 05 (no cache)

    def images(self, limit: int | None = None) -> int | None:
        """The `limit` to load with: a notebook's own, or the profile's if that is None; 0 takes
        all.
        """
        return (self.limit if limit is None else limit) or None


SMOKE = Profile(
    name="smoke",
    about="plumbing, in seconds; says nothing of accuracy",
    image_size=16,  # pixels
    limit=150,  # images of a data set
    d1_limit=100,  # images for D1's heavy networks
    d1_epochs=1,  # of D1's networks
    teacher_epochs=1,  # of a course teacher
    student_epochs=1,  # of a student; also run at twice as many
    seeds=2,  # runs per method
    batch_size=32,  # images per optimiser step
    compare_epochs=1,  # of each student in notebook 04
    views=2,  # distinct epochs of augmentation there
    feature_epochs=1,  # of each student in notebook 05
)

# These budgets hold the course within twelve minutes on two quiet cores: it took ten.
CPU = Profile(
    name="cpu",
    about="real results on two cores, the default",
    image_size=32,  # pixels
    limit=2000,  # images of a data set
    d1_limit=400,  # images for D1's heavy networks
    d1_epochs=5,  # of D1's networks
    teacher_epochs=20,  # of a course teacher
    student_epochs=25,  # of a student; also run at twice as many
    seeds=3,  # runs per method
    batch_size=64,  # images per optimiser step
    compare_epochs=20,  # of each student in notebook 04
    views=8,  # distinct epochs of augmentation there
    feature_epochs=6,  # of each student in notebook 05
)

GPU = Profile(
    name="gpu",
    about="the published protocols",
    image_size=None,  # the files' own size
    limit=None,  # all images of a data set
    d1_limit=None,  # all images for D1's heavy networks
    d1_epochs=20,  # of D1's networks
    teacher_epochs=60,  # of a course teacher
    student_epochs=60,  # of a student; also run at twice as many
    seeds=5,  # runs per method
    batch_size=128,  # images per optimiser step
    compare_epochs=60,  # of each student in notebook 04
    views=8,  # distinct epochs of augmentation there
    feature_epochs=60,  # of each student in notebook 05
)

PROFILES = {p.name: p for p in (SMOKE, CPU, GPU)}


def profile(name: str | None = None) -> Profile:
    """The profile called `name`, else the one that `KDCOURSE_PROFILE` names, else `cpu`."""
    name = name or os.environ.get("KDCOURSE_PROFILE") or "cpu"
    if name not in PROFILES:
        raise unknown("profile", name, PROFILES)
    return PROFILES[name]
