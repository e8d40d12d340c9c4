"""The pair that the course distils: chosen by measuring in notebook 03, found again by every notebook after it.

The teacher is clearly more accurate than the student's baseline, the student many times cheaper, and neither is
under-trained. Notebook 03 shows all three; `kdcourse.models.cost` gives the price.
"""

import os
from functools import partial
from pathlib import Path

import pandas as pd

from kdcourse.data.splits import DataSplits
from kdcourse.distillation import CrossEntropy
from kdcourse.models import thin_resnet
from kdcourse.profiles import Profile
from kdcourse.training import Recipe, adamw

RESULTS = Path(__file__).parent / "results" / "baselines.csv"

TEACHER = partial(thin_resnet, depth=14, width=16)
STUDENT = partial(thin_resnet, depth=8, width=8, stem_stride=4)


def teacher_recipe(data: DataSplits, settings: Profile, seed: int = 0, epochs: int | None = None) -> Recipe:
    """The teacher, learning from labels alone; epochs as the profile says unless given."""
    return _recipe(TEACHER, 5e-3, data, settings, seed, epochs or settings.teacher_epochs)


def student_recipe(data: DataSplits, settings: Profile, seed: int = 0, epochs: int | None = None) -> Recipe:
    """The student's baseline, learning from labels alone; epochs as the profile says unless given."""
    return _recipe(STUDENT, 3e-2, data, settings, seed, epochs or settings.student_epochs)


def _recipe(network: partial, lr: float, data: DataSplits, settings: Profile, seed: int, epochs: int) -> Recipe:
    return Recipe(
        model=partial(network, channels=len(data.channels), classes=len(data.classes)),
        objective=CrossEntropy,
        epochs=epochs,
        optimizer=partial(adamw, lr=lr),
        batch_size=settings.batch_size,
        seed=seed,
    )


def recorded() -> pd.DataFrame:
    """What notebook 03 measured with long budgets: a row a data set and network, with the command that made it."""
    return pd.read_csv(RESULTS)


def add_record(path: str | os.PathLike, data: DataSplits, results: pd.DataFrame, command: str) -> None:
    """Put the results of one data set into a CSV file in the place of its older ones, all or nothing."""
    path = Path(path)
    rows = results.assign(**{"data set": data.name, "test images": len(data.test), "command": command})
    if path.exists():
        older = pd.read_csv(path)
        rows = pd.concat([older[older["data set"] != data.name], rows])
    temporary = path.with_suffix(".partial")
    rows[["data set", *(c for c in rows if c != "data set")]].to_csv(temporary, index=False)
    os.replace(temporary, path)
