"""Profiles: how much work a notebook does. One table; a papermill parameter or `KDCOURSE_PROFILE`
chooses.
"""

import os
from dataclasses import dataclass

from kdcourse.common.errors import unknown


@dataclass(frozen=True)
class Profile:
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
    feature_epochs: (
        int  # of each student where features are compared, which no cache keeps: notebook 05
    )

    def images(self, limit: int | None = None) -> int | None:
        """The `limit` to load with: a notebook's own, or the profile's if that is None; 0 takes
        all.
        """
        return (self.limit if limit is None else limit) or None


# The budgets of `cpu` hold the course within twelve minutes on two quiet cores: it took ten.
PROFILES = {
    p.name: p
    for p in (
        Profile(
            "smoke",
            "plumbing, in seconds; says nothing of accuracy",
            16,
            150,
            100,
            1,
            1,
            1,
            2,
            32,
            1,
            2,
            1,
        ),
        Profile(
            "cpu",
            "real results on two cores, the default",
            32,
            2000,
            400,
            5,
            20,
            25,
            3,
            64,
            20,
            8,
            6,
        ),
        Profile("gpu", "the published protocols", None, None, None, 20, 60, 60, 5, 128, 60, 8, 60),
    )
}


def profile(name: str | None = None) -> Profile:
    """The profile called `name`, else the one that `KDCOURSE_PROFILE` names, else `cpu`."""
    name = name or os.environ.get("KDCOURSE_PROFILE") or "cpu"
    if name not in PROFILES:
        raise unknown("profile", name, PROFILES)
    return PROFILES[name]
