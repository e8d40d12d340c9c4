"""The report of an experiment's results: a page and two CSV files. `kdcourse report` writes them.

They depend on the results alone, not on the date or on the machine that writes them. So the same
results give the same bytes, even if the experiment was interrupted and resumed.
"""

import os
import shlex
from collections.abc import Iterator
from dataclasses import replace
from math import isnan, nan
from pathlib import Path

import pandas as pd
from pandas.api.types import is_numeric_dtype

from kdcourse import plots
from kdcourse.common import html
from kdcourse.common.errors import DataError, KDCourseError, UsageError
from kdcourse.common.files import write_whole
from kdcourse.evaluation.comparison import holm, paired
from kdcourse.evaluation.metrics import mean_interval
from kdcourse.experiments.analysis import Analysis
from kdcourse.experiments.grid import Experiment
from kdcourse.experiments.records import Packed, last_line
from kdcourse.experiments.registry import as_it_was
from kdcourse.experiments.results_folder import Results

NONE = "–"


# --- the table ------------------------------------------------------------------------------------


def table(experiment: Experiment, frame: pd.DataFrame) -> pd.DataFrame:
    """Measured beside published: one row per data set, arm and combination of factors, in the order
    of `experiment.runs()`.

    frame: as `Results.frame` gives it. Columns: data, arm, the factors; accuracies in %: published,
    measured (mean over seeds), "± 95 %", seeds; for each student but the reference, in points:
    published gain, gain, "gain ± 95 %", pairs; p, "p (Holm)".

    A gain is over the REFERENCE arm, paired by seed, on the same data with the same factors, as far
    as the reference has them. p is that of the paired t test, Holm's over all gains of the table;
    one without p counts as looked at.
    What is not known is nan: an interval from one seed, a p from equal differences, an arm without
    runs. Published figures are found by the columns that PUBLISHED's index names; without PUBLISHED
    there are no columns for them.
    """
    runs = experiment.runs()
    factors = list(dict.fromkeys(name for run in runs for name, _ in run.factors))
    accuracy = {(run.data, run.arm, frozenset(run.factors)): {} for run in runs}  # row → seed → %
    for run in frame.to_dict("records"):
        own = frozenset((name, run[name]) for name in factors if not pd.isna(run.get(name, nan)))
        accuracy.setdefault((run["data"], run["arm"], own), {})[run["seed"]] = run["accuracy"]

    columns = ["data", "arm", *factors, "published", "measured", "± 95 %", "seeds"]
    columns += ["published gain", "gain", "gain ± 95 %", "pairs", "p"]
    rows = pd.DataFrame([_row(experiment, accuracy, *key) for key in accuracy], columns=columns)
    compared = rows.gain.notna()
    rows.loc[compared, "p (Holm)"] = holm(rows.p[compared].fillna(1))
    rows["p (Holm)"] = rows["p (Holm)"].where(rows.p.notna())
    rows[["seeds", "pairs"]] = rows[["seeds", "pairs"]].fillna(0).astype(int)
    return (
        rows
        if experiment.PUBLISHED is not None
        else rows.drop(columns=["published", "published gain"])
    )


def _row(experiment: Experiment, accuracy: dict, data: str, arm: str, factors: frozenset) -> dict:
    row = dict(data=data, arm=arm, **dict(factors))
    row["published"] = _published(experiment, row)
    own = accuracy[data, arm, factors]
    row["seeds"] = len(own)
    if own:
        row["measured"], row["± 95 %"] = mean_interval(list(own.values()))
    if arm not in experiment.METHODS or arm == experiment.REFERENCE:
        return row
    row["published gain"] = row["published"] - _published(
        experiment, row | {"arm": experiment.REFERENCE}
    )
    for (other, name, shared), reference in accuracy.items():
        common = sorted(own.keys() & reference.keys())
        if other == data and name == experiment.REFERENCE and shared <= factors and common:
            found = paired([own[seed] for seed in common], [reference[seed] for seed in common])
            row |= {"gain": found.mean, "gain ± 95 %": found.half, "pairs": found.n, "p": found.p}
    return row


def _published(experiment: Experiment, row: dict) -> float:
    if experiment.PUBLISHED is None:
        return nan
    key = tuple(row.get(name) for name in experiment.PUBLISHED.index.names)
    return experiment.PUBLISHED.published.get(key, nan)


# --- the files ------------------------------------------------------------------------------------


def write(source: str | os.PathLike, output: str | os.PathLike | None = None) -> Path:
    """Write report.html, report.csv (the table) and runs.csv (one row per run), and return the
    page's path.

    source: a folder of results, or a file that `pack` made of one. output: a folder, by default
    that of the results. Raises DataError for what holds no results, UsageError for a file without
    an output.
    """
    source = Path(source)
    if source.is_file() and output is None:
        raise UsageError(f"{source}: a file of results. Name a folder for its report with --output")
    results = Packed(source) if source.is_file() else Results(source)
    about = results.about()
    try:
        experiment = as_it_was(about)
    except (KeyError, TypeError, UsageError) as error:
        raise DataError(
            f"{source}: not an experiment of this version of the course ({error})"
        ) from error
    records = results.records()
    if not records:
        raise DataError(
            f"{source}: no run has ended yet, nothing to report. Expected results of `kdcourse "
            "reproduce`"
        )
    experiment = _narrowed(experiment, records)
    frame = results.frame()
    rows = table(experiment, frame)

    output = Path(output or source)
    runs = frame[
        [name for name in frame if name in rows or is_numeric_dtype(frame[name])]
    ]  # without lists
    for name, content in (("runs.csv", runs), ("report.csv", rows)):
        write_whole(output / name, content.to_csv(index=False, float_format="%.8g").encode())
    page = _page(experiment, about, records, frame, rows, _damaged(source))
    write_whole(output / "report.html", page.encode())
    return output / "report.html"


def made_by(results: Results) -> str:
    """The command that makes such results, a folder's or packed ones."""
    return _command(_narrowed(as_it_was(results.about()), results.records()))


def _narrowed(experiment: Experiment, records: dict[str, dict]) -> Experiment:
    """With the data sets, methods and number of seeds that the records have."""
    runs = [record["run"] for record in records.values()]
    data, arms = {run["data"] for run in runs}, {run["arm"] for run in runs}
    return replace(
        experiment,
        datasets=(
            *(name for name in experiment.DATASETS if name in data),
            *sorted(data - set(experiment.DATASETS)),
        ),
        methods=tuple(arm for arm in experiment.METHODS if arm in arms),
        seeds=1 + max(run["seed"] for run in runs),
    )


def _damaged(folder: Path) -> list[str]:
    """Files that were set aside, now or before, and whose runs have not been done again."""
    return [
        file.name
        for file in sorted(folder.glob("runs/*.damaged"))
        if not file.with_suffix(".json").exists()
    ]


# --- the page -------------------------------------------------------------------------------------


def _page(experiment, about, records, frame, rows, damaged) -> str:
    failed = {
        name: record for name, record in sorted(records.items()) if record["status"] == "failed"
    }
    missing = [run.name for run in experiment.runs() if run.name not in records]
    count = f"{len(records) - len(failed)} of {len(records) + len(missing)} runs done"
    count += f", {len(failed)} failed, {len(missing)} missing" if failed or missing else ""
    machines = {
        _listed(record["machine"]) for record in records.values() if record["status"] == "done"
    }
    analyses, unfinished = _analyses(experiment, frame)
    return html.render(
        "experiment.html",
        title=f"kdcourse: {experiment.name.upper()}",
        heading=f"{experiment.name.upper()}: {experiment.about}",
        count=count,
        profile=f"{experiment.settings.name} ({experiment.settings.about})",
        published="published" in rows and bool(rows.published.notna().any()),
        reference=experiment.REFERENCE,
        source=experiment.SOURCE,
        factors=_factors(rows),
        groups=_groups(rows),
        gains=rows.gain.notna().sum(),
        gain_figure=_gains(experiment, rows),
        protocol=_protocol(experiment, about, records, frame, rows),
        differences=experiment.differences(),
        analyses=analyses,
        unfinished=unfinished,
        failed=[
            (name, last_line(record), record.get("error", "")) for name, record in failed.items()
        ],
        missing=missing,
        damaged=damaged,
        command=_command(experiment),
        machines=[("Machine", machine) for machine in sorted(machines)],
    )


def _groups(rows: pd.DataFrame) -> Iterator[tuple[str, list[dict]]]:
    """Per data set: its name, and its rows as text."""
    factors = _factors(rows)
    for data, group in rows.groupby("data", sort=False):
        texts = []
        for row in group.to_dict("records"):
            fewer = f" (n = {row['pairs']})" if 0 < row["pairs"] < row["seeds"] else ""
            text = dict(arm=row["arm"], seeds=row["seeds"] or NONE)
            text["factors"] = [NONE if pd.isna(row[name]) else row[name] for name in factors]
            text["measured"] = _interval(row["measured"], row["± 95 %"])
            text["gain"] = _interval(row["gain"], row["gain ± 95 %"], "+") + fewer
            text["published"] = _number(row.get("published", nan))
            text["published_gain"] = _number(row.get("published gain", nan), "+")
            text |= {"p": _p(row["p"]), "p_holm": _p(row["p (Holm)"])}
            texts.append(text)
        yield data, texts


def _factors(rows: pd.DataFrame) -> list[str]:
    """They stand between the arm and the figures."""
    return [
        name for name in rows.columns[2 : rows.columns.get_loc("measured")] if name != "published"
    ]


def _number(value: float, sign: str = "") -> str:
    return (
        NONE if isnan(value) else f"{round(value, 2) + 0.0:{sign}.2f}".replace("-", "−")
    )  # + 0.0: no −0.00


def _interval(mean: float, half: float, sign: str = "") -> str:
    return NONE if isnan(mean) else f"{_number(mean, sign)} ± {_number(half)}"


def _p(value: float) -> str:
    return NONE if isnan(value) else "< 0.001" if value < 0.001 else f"{value:.3f}"


def _gains(experiment: Experiment, rows: pd.DataFrame) -> dict | None:
    rows = rows[rows.gain.notna()]
    if rows.empty:
        return None
    factors = _factors(rows)
    named = [
        ", ".join(
            [row["arm"], *(f"{name} {row[name]}" for name in factors if not pd.isna(row[name]))]
        )
        for row in rows.to_dict("records")
    ]
    points = rows.rename(columns={"gain ± 95 %": "half"}).assign(name=named)
    points["published"] = points.get("published gain", nan)
    figure = plots.gain_panels(points, experiment.REFERENCE)
    return _image(figure, figure.alt)


def _image(figure, alt: str) -> dict:
    """For the macro `figure`: 64 pixels an inch or more, so that letters stay readable."""
    return dict(alt=alt, source=plots.data_uri(figure), width=f"{64 * figure.get_figwidth():.0f}")


def _protocol(experiment, about, records, frame, rows) -> Iterator[tuple[str, str]]:
    """Facts about the runs, read off the results: name and value."""
    yield "Networks", "the course’s thin pair" if about["networks"] == "thin" else "as published"
    yield "Image size", _image_sizes(experiment)
    training = {}
    for record in records.values():
        if record["recipe"]:
            training.setdefault(record["run"]["data"], set()).add(
                record["recipe"][1]["training images"]
            )
    yield "Training images", "; ".join(f"{data} {_of(training[data])}" for data in sorted(training))
    if "n" in frame:
        tests = frame.groupby("data")["n"].agg(_of)
        yield "Test images", "; ".join(f"{data} {count}" for data, count in tests.items())
    if about["student_epochs"]:  # 0: the experiment counts otherwise
        yield "Epochs", f"teacher {about['teacher_epochs']}, students {about['student_epochs']}"
    views = about["views"]
    yield (
        "Augmentation",
        f"{views} epochs of views, then the same again" if views else "new views every epoch",
    )
    yield (
        "Seeds",
        _of(rows.seeds[rows.arm.isin(experiment.METHODS) & (rows.seeds > 0)]) + " of each student",
    )
    yield "Split", f"seed {about['split_seed']}"


def _image_sizes(experiment: Experiment) -> str:
    sizes = {name: experiment.image_size(name) for name in experiment.datasets}
    texts = {
        name: f"{size} × {size} pixels" if size else "the files’ own"
        for name, size in sizes.items()
    }
    if len(set(texts.values())) == 1:
        return texts.popitem()[1]
    return "; ".join(f"{name} {text}" for name, text in texts.items())


def _of(counts) -> str:
    return " or ".join(f"{count:,}" for count in sorted(set(counts)))


def _analyses(experiment: Experiment, frame: pd.DataFrame) -> tuple[list[dict], str]:
    """The analyses as the page shows them, and why the others could not be finished, or ""."""
    shown = []
    if frame.empty:
        return shown, ""
    try:
        for analysis in experiment.analyses(frame):
            shown.append(_analysis(analysis))
    except KDCourseError as error:  # from results that are not all there yet
        return shown, str(error)
    return shown, ""


def _analysis(analysis: Analysis) -> dict:
    table = analysis.table
    if table is not None:
        table = html.safe(  # pandas escapes the values
            table.to_html(
                index=not isinstance(table.index, pd.RangeIndex),
                na_rep=NONE,
                float_format="{:.4g}".format,
                border=0,
            )
        )
    return dict(
        title=analysis.title,
        paragraphs=[text for text in analysis.text.split("\n\n") if text.strip()],
        table=table,
        figure=analysis.figure and _image(analysis.figure, analysis.alt),
    )


def _command(experiment: Experiment) -> str:
    """What makes these results."""
    words = ["kdcourse", "reproduce", experiment.name, "--profile", experiment.settings.name]
    words += ["--datasets", ",".join(experiment.datasets)]
    if experiment.methods != experiment.METHODS:
        words += ["--methods", ",".join(experiment.methods)]
    words += ["--seeds", str(experiment.seeds), "--networks", experiment.networks]
    if experiment.limit != experiment.BUDGETS[experiment.settings.name].limit:
        words += ["--limit", str(experiment.limit)]
    return shlex.join(words)


def _listed(facts: dict) -> str:
    return ", ".join(f"{name} {value}" for name, value in facts.items())
