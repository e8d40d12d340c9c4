"""Results of longer runs, kept with the course: one CSV file an experiment, and the command that made each row."""

import os
from pathlib import Path

import pandas as pd

from kdcourse.data.splits import DataSplits
from kdcourse.errors import unknown

FOLDER = Path(__file__).parent / "results"


def recorded(experiment: str) -> pd.DataFrame:
    """The rows of an experiment: "baselines", "response", …; the column `command` says what made them."""
    path = FOLDER / f"{experiment}.csv"
    if not path.exists():
        raise unknown("recorded experiment", experiment, [file.stem for file in FOLDER.glob("*.csv")])
    return pd.read_csv(path)


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
