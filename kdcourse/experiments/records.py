"""Results of longer runs, kept with the course.

A table of a notebook is a CSV file, with the command that made each row. The runs of a grid are a
JSON file, a line
each: `pack` writes it, `recorded_runs` gives its frame, and `kdcourse report` makes the report of
  it.
"""

import json
import os
from pathlib import Path

import pandas as pd

from kdcourse.common.errors import DataError, unknown
from kdcourse.common.files import write_whole
from kdcourse.data.splits import DataSplits
from kdcourse.experiments.results_folder import FORMAT, Results

FOLDER = Path(__file__).parent / "results"


def recorded(experiment: str) -> pd.DataFrame:
    """The rows of an experiment: "baselines", "response", …; the column `command` says what made
    them.
    """
    path = FOLDER / f"{experiment}.csv"
    if not path.exists():
        raise unknown(
            "recorded experiment", experiment, [file.stem for file in FOLDER.glob("*.csv")]
        )
    return pd.read_csv(path)


def add_record(
    path: str | os.PathLike, data: DataSplits, results: pd.DataFrame, command: str
) -> None:
    """Put the results of one data set into a CSV file in place of its older ones, all or
    nothing.
    """
    path = Path(path)
    rows = results.assign(
        **{"data set": data.name, "test images": len(data.test), "command": command}
    )
    if path.exists():
        older = pd.read_csv(path)
        rows = pd.concat([older[older["data set"] != data.name], rows])
    write_whole(
        path, rows[["data set", *(c for c in rows if c != "data set")]].to_csv(index=False).encode()
    )


class Packed(Results):
    """The results that `pack` wrote, to be read as those of a folder. Raises DataError for another
    file.
    """

    def __init__(self, path: str | os.PathLike):
        super().__init__(path)
        try:
            content = json.loads(Path(path).read_text(encoding="utf-8"))
            self._about = content["about"]
            self._records = {}
            for rest in content["runs"]:
                record = {**content["same"], **rest}
                self._records[record["run"]["name"]] = record
            found = self._about["format"]
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise DataError(
                f"{path}: not packed results. Expected a file of `kdcourse report DIR --pack`"
            ) from error
        if found != FORMAT:
            raise DataError(f"{path}: results of format {found}, expected {FORMAT}")

    def about(self) -> dict:
        return self._about

    def records(self) -> dict[str, dict]:
        return self._records


def pack(folder: str | os.PathLike, path: str | os.PathLike) -> Path:
    """Put the results of a folder into one JSON file, a run a line; what all runs share stands
    once, under "same".

    Of an error only the last line is kept: tracebacks name the folders of the machine that they
    come from. Networks stay behind. Raises DataError for a folder without results.
    """
    results, path = Results(folder), Path(path)
    about, records = results.about(), list(results.records().values())
    if not records:
        raise DataError(f"{folder}: no run has ended yet, nothing to pack")
    for record in records:
        if record["status"] == "failed":
            record["error"] = last_line(record)
    same = {
        key: value
        for key, value in records[0].items()
        if all(value == record.get(key) for record in records)
    }
    lines = [
        _compact({key: value for key, value in record.items() if key not in same})
        for record in records
    ]
    text = (
        f'{{"about":{_compact(about)},\n"same":{_compact(same)},\n"runs":[\n'
        + ",\n".join(lines)
        + "\n]}\n"
    )
    write_whole(path, text.encode())
    return path


def recorded_runs(experiment: str) -> pd.DataFrame:
    """The runs of an experiment, packed with the course: "d4", …; a row each, as `Results.frame`
    has them.
    """
    path = FOLDER / f"{experiment}.json"
    if not path.exists():
        raise unknown(
            "recorded experiment", experiment, [file.stem for file in FOLDER.glob("*.json")]
        )
    return Packed(path).frame()


def last_line(record: dict) -> str:
    """Of a failed run's error: in a traceback, what was raised."""
    return (record.get("error", "").strip() or "no reason was given").splitlines()[-1]


def _compact(content: dict) -> str:
    return json.dumps(content, ensure_ascii=False, separators=(",", ":"))
