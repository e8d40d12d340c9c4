"""The folder with the results of an experiment.

FOLDER/experiment.json          which experiment, at which size
FOLDER/runs/NAME.json           one result
FOLDER/networks/NAME.pt         a network that other runs need: a teacher
FOLDER/report.html, report.csv  see `kdcourse.experiments.report`
"""

import hashlib
import json
import os
from pathlib import Path

import pandas as pd

from kdcourse.common.errors import DataError, UsageError
from kdcourse.common.files import write_whole
from kdcourse.experiments.grid import Experiment, Run, RunOutcome

FORMAT = 1


class Results:
    """The folder with the results of an experiment. One JSON file a run, written beside and moved
    into place.

    Raises UsageError for a folder that belongs to another experiment or size. `set_aside` names the
    files that were
    damaged: they are renamed to .damaged, and their runs count as missing.
    """

    def __init__(self, folder: str | os.PathLike):
        self.folder = Path(folder)
        self.set_aside: list[Path] = []

    def claim(self, experiment: Experiment) -> None:
        """Make the folder this experiment's, or see that it is."""
        path, wanted = self.folder / "experiment.json", experiment.size()
        if not path.exists():
            if self.folder.is_dir() and any(
                found.suffix != ".partial" for found in self.folder.iterdir()
            ):
                raise UsageError(
                    f"{self.folder}: holds other files. Name a new folder for --output"
                )
            _write(path, {"format": FORMAT, **wanted})
            return
        found = self.about()
        for key in wanted:
            if found.get(key) != wanted[key]:
                raise UsageError(
                    f"{path}: holds results of another recipe: {key} is {found.get(key)!r}, now "
                    f"{wanted[key]!r}. Name another folder for --output"
                )

    def about(self) -> dict:
        """Which experiment, at which size. Raises DataError if that cannot be read."""
        path = self.folder / "experiment.json"
        try:
            about = json.loads(path.read_text(encoding="utf-8"))
        except (OSError, ValueError) as error:
            raise DataError(
                f"{path}: not the folder of an experiment ({error}). Expected one that `kdcourse "
                "reproduce` wrote"
            ) from error
        if (
            not isinstance(about, dict)
            or about.get("format") != FORMAT
            or "experiment" not in about
        ):
            raise DataError(
                f"{path}: expected JSON with format {FORMAT} and the name of an experiment"
            )
        return about

    def records(self) -> dict[str, dict]:
        """Name of a run → its record; sets damaged files aside."""
        records = {}
        for path in sorted((self.folder / "runs").glob("*.json")):
            try:
                record = json.loads(path.read_text(encoding="utf-8"))
                if record["format"] != FORMAT or record["status"] not in ("done", "failed"):
                    raise ValueError("not a result of this version")
                if record["status"] == "done":
                    float(record["results"]["accuracy"])
                records[record["run"]["name"]] = record
            except (ValueError, KeyError, TypeError):
                aside = path.with_suffix(".damaged")
                os.replace(path, aside)
                self.set_aside.append(aside)
        return records

    def frame(self) -> pd.DataFrame:
        """A row a run that is done: data, arm, seed, its factors, and its numbers, accuracies in
        %.
        """
        rows = []
        for record in self.records().values():
            if record["status"] == "done":
                run = record["run"]
                rows.append(
                    dict(data=run["data"], arm=run["arm"], seed=run["seed"])
                    | run["factors"]
                    | record["results"]
                )
        frame = pd.DataFrame(rows)
        return (
            frame.sort_values(["data", "arm", "seed"], kind="stable", ignore_index=True)
            if rows
            else frame
        )

    def write(self, experiment: Experiment, run: Run, outcome: RunOutcome) -> None:
        record = {
            "format": FORMAT,
            "status": outcome.status,
            "run": dict(
                name=run.name, data=run.data, arm=run.arm, seed=run.seed, factors=dict(run.factors),
                needs=[need.name for need in run.needs],
            ),
            "experiment": experiment.size(),
            "recipe": outcome.recipe,
            "results": outcome.results,
            "seconds": {name: round(value, 2) for name, value in outcome.seconds.items()},
            "machine": outcome.machine,
        }  # fmt: skip
        if outcome.error:
            record["error"] = outcome.error
        if outcome.network is not None:  # first, so that a result that is there has its network
            write_whole(self._network(run), outcome.network)
            record["network"] = hashlib.sha256(outcome.network).hexdigest()
        _write(self.folder / "runs" / f"{run.name}.json", record)

    def network(self, run: Run, record: dict) -> bytes | None:
        """The packed network of a run that is done; None if its file is missing or not the one that
        was written.
        """
        path = self._network(run)
        content = path.read_bytes() if path.exists() else b""
        return content if hashlib.sha256(content).hexdigest() == record.get("network") else None

    def _network(self, run: Run) -> Path:
        return self.folder / "networks" / f"{run.name}.pt"


def _write(path: Path, content: dict) -> None:
    write_whole(path, (json.dumps(content, indent=1, ensure_ascii=False) + "\n").encode())
