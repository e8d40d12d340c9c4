"""What a folder of results says: a page, and two CSV files. `kdcourse report` writes them.

They are a function of the results alone: no date, no durations, nothing of the machine that writes
them. So the same results give the same bytes, whatever was killed on the way.
"""

import html
import os
import shlex
from collections.abc import Iterator
from dataclasses import replace
from math import isnan, nan
from pathlib import Path
from string import Template

import pandas as pd
from pandas.api.types import is_numeric_dtype

from kdcourse import plots
from kdcourse.common.errors import DataError, KDCourseError, UsageError
from kdcourse.common.files import write_whole
from kdcourse.evaluation.comparison import holm, paired
from kdcourse.evaluation.metrics import mean_interval
from kdcourse.experiments.analysis import Analysis
from kdcourse.experiments.grid import Experiment
from kdcourse.experiments.records import Packed, last_line
from kdcourse.experiments.registry import as_it_was
from kdcourse.experiments.results_folder import Results
from kdcourse.running.index import STYLE, table_markup

NONE = "–"

PAGE = Template("""<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>kdcourse: $name</title>
<style>$style
  h1 { line-height: 1.25; } h1 + p { margin-top: .6rem; }
  dd, li, summary, h1 { overflow-wrap: anywhere; }
  /* a shade where there is more to scroll to */
  .scroll { background: linear-gradient(to left, var(--paper) 1rem, transparent) right / 2rem 100% no-repeat local,
            linear-gradient(to left, var(--line), transparent) right / .6rem 100% no-repeat; }
  .scroll:focus-visible, summary:focus-visible { outline: 2px solid var(--link); outline-offset: 2px; }
  table.results th, table.results td { padding: .35rem .55rem; white-space: nowrap; }
  table.results thead th { vertical-align: bottom; } table.results thead th[colspan] { text-align: center; }
  table.results tbody th { font-weight: normal; text-align: left; }
  table.results th[scope=row] { position: sticky; left: 0; background: var(--paper); white-space: normal;
                                min-width: 7rem; }
  table.results th.data { font-weight: 600; padding-top: .9rem; } th.data span { position: sticky; left: .55rem; }
  td.published { color: var(--quiet); font-style: italic; }
  figure { margin: .8rem 0; } figure img { background: #fff; border-radius: 4px; max-width: 100%; }
  details { margin: .4rem 0; } summary { cursor: pointer; }
  @media (max-width: 40rem) { dl { grid-template-columns: 1fr; } dd { margin: 0 0 .5rem 1rem; } }
</style>
</head>
<body>
<h1>$name: $about</h1>
<p class="about">$count · profile $profile</p>
<main>
<h2>Measured$published</h2>
$table
$gains
<h2>Protocol</h2>
<dl>$protocol</dl>
$differences
$analyses
$lost
<h2>How this was made</h2>
<pre>$command</pre>
<dl>$machines</dl>
</main>
</body>
</html>
""")


# --- the table ------------------------------------------------------------------------------------


def table(experiment: Experiment, frame: pd.DataFrame) -> pd.DataFrame:
    """Measured beside published: a row a data set, arm and combination of factors, in the order of
    `experiment.runs()`.

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
    for (other, name, its), reference in accuracy.items():
        common = sorted(own.keys() & reference.keys())
        if other == data and name == experiment.REFERENCE and its <= factors and common:
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
    """Write report.html, report.csv (the table) and runs.csv (a row a run), and return the page's
    path.

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
    published = "published" in rows and bool(rows.published.notna().any())
    return PAGE.substitute(
        style=STYLE,
        name=html.escape(experiment.name.upper()),
        about=html.escape(experiment.about),
        count=count,
        profile=html.escape(f"{experiment.settings.name} ({experiment.settings.about})"),
        published=" and published" if published else "",
        table=_table(experiment, rows, published),
        gains=_gains(experiment, rows),
        protocol=_facts(_protocol(experiment, about, records, frame, rows)),
        differences=_differences(experiment),
        analyses="\n".join(_analyses(experiment, frame)),
        lost=_lost(failed, missing, damaged),
        command=html.escape(_command(experiment)),
        machines=_facts([("Machine", machine) for machine in sorted(machines)]),
    )


def _table(experiment: Experiment, rows: pd.DataFrame, published: bool) -> str:
    factors = _factors(rows)
    both = '<th scope="col">measured</th>'
    if published:
        both = '<th scope="col">published</th>' + both
    wide = '<th scope="col" rowspan="2">{}</th>'.format
    reference = html.escape(experiment.REFERENCE)
    head = (
        f"<tr>{wide('Arm')}{''.join(wide(html.escape(name)) for name in factors)}"
        f'<th scope="colgroup" colspan="{2 + published}">Test accuracy, %</th>'
        f'<th scope="colgroup" colspan="{3 + published}">Gain over {reference}, points</th></tr>'
        f'<tr>{both}<th scope="col">seeds</th>{both}<th scope="col">p</th><th scope="col">p (Holm)</th></tr>'
    )
    width = 6 + 2 * published + len(factors)
    bodies = []
    for data, group in rows.groupby("data", sort=False):
        lines = [
            f'<tr><th class="data" scope="rowgroup" colspan="{width}"><span>{html.escape(data)}</span></th></tr>'
        ]
        for row in group.to_dict("records"):
            arm = html.escape(row["arm"]) + (
                " (reference)" if row["arm"] == experiment.REFERENCE else ""
            )
            cells = [
                NONE if pd.isna(row[name]) else html.escape(str(row[name])) for name in factors
            ]
            cells = [f"<td>{cell}</td>" for cell in cells]
            if published:
                cells.append(f'<td class="published">{_number(row["published"])}</td>')
            cells.append(
                f"<td>{_interval(row['measured'], row['± 95 %'])}</td><td>{row['seeds'] or NONE}</td>"
            )
            if published:
                cells.append(f'<td class="published">{_number(row["published gain"], "+")}</td>')
            fewer = f" (n = {row['pairs']})" if 0 < row["pairs"] < row["seeds"] else ""
            cells.append(f"<td>{_interval(row['gain'], row['gain ± 95 %'], '+')}{fewer}</td>")
            cells += [f"<td>{_p(row[name])}</td>" for name in ("p", "p (Holm)")]
            lines.append(f'<tr><th scope="row">{arm}</th>{"".join(cells)}</tr>')
        bodies.append("<tbody>" + "\n".join(lines) + "</tbody>")
    notes = (
        "± is half the width of the 95 % interval (Student’s t) over seeds, with the same teacher "
        "and test images; "
        "one seed has none. Gains are paired by seed; n: the seeds that both have, if fewer. p is "
        "that of the paired "
        f"t test; Holm’s allows for all {rows.gain.notna().sum()} gains of this table. {NONE}: not "
        "known."
    )
    if published:
        notes = f"In italics: as published ({experiment.SOURCE}), not measured here. All else was measured. {notes}"
    name = "Measured and published" if published else "Measured"
    return (
        f'<div class="scroll" role="region" aria-label="{name} accuracy" tabindex="0"><table class="results">\n'
        f'<thead>{head}</thead>\n{"".join(bodies)}\n</table></div>\n<p class="about">{html.escape(notes)}</p>'
    )


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
    return NONE if isnan(value) else "&lt; 0.001" if value < 0.001 else f"{value:.3f}"


def _gains(experiment: Experiment, rows: pd.DataFrame) -> str:
    rows = rows[rows.gain.notna()]
    if rows.empty:
        return ""
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
    return f"<h2>Gains</h2>\n{_figure(figure, figure.alt)}"


def _figure(figure, alt: str) -> str:
    """An image of 64 pixels an inch or more, so that letters stay readable: on a narrow screen it
    scrolls.
    """
    least = f"min-width:{64 * figure.get_figwidth():.0f}px"
    image = (
        f'<img role="img" alt="{html.escape(alt)}" src="{plots.data_uri(figure)}" style="{least}">'
    )
    return f'<figure class="scroll" tabindex="0">{image}</figure>'


def _protocol(experiment, about, records, frame, rows) -> Iterator[tuple[str, str]]:
    """What can be told from the results themselves: name and value."""
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


def _facts(facts) -> str:
    return "".join(
        f"<dt>{html.escape(name)}</dt><dd>{html.escape(value)}</dd>" for name, value in facts
    )


def _differences(experiment: Experiment) -> str:
    said = experiment.differences()
    return f"<p>How it differs from the published one:</p>\n{_list(said)}" if said else ""


def _analyses(experiment: Experiment, frame: pd.DataFrame) -> Iterator[str]:
    if frame.empty:
        return
    try:
        for analysis in experiment.analyses(frame):
            yield _analysis(analysis)
    except KDCourseError as error:  # from results that are not all there yet
        yield f'<h2>Analyses</h2>\n<p class="bad">They could not be finished: {html.escape(str(error))}</p>'


def _analysis(analysis: Analysis) -> str:
    parts = [f"<h2>{html.escape(analysis.title)}</h2>"]
    parts += [
        f"<p>{html.escape(paragraph)}</p>"
        for paragraph in analysis.text.split("\n\n")
        if paragraph.strip()
    ]
    if analysis.table is not None:
        own_index = not isinstance(analysis.table.index, pd.RangeIndex)
        markup = analysis.table.to_html(index=own_index, na_rep=NONE, float_format="{:.4g}".format)
        parts.append(f'<div class="scroll" tabindex="0">{table_markup(markup)}</div>')
    if analysis.figure is not None:
        parts.append(_figure(analysis.figure, analysis.alt))
    return "\n".join(parts)


def _lost(failed: dict[str, dict], missing: list[str], damaged: list[str]) -> str:
    parts = []
    if failed:
        parts.append("<h2>Runs that failed</h2>")
        parts += [
            f"<details><summary>{html.escape(name)}: {html.escape(last_line(record))}</summary>\n"
            f"<pre>{html.escape(record.get('error', ''))}</pre></details>"
            for name, record in failed.items()
        ]
    if missing:
        parts.append(
            "<h2>Runs that are missing</h2>\n<p>Of the data sets, methods and seeds that were "
            "begun:</p>"
        )
        parts.append(_list(missing))
    if damaged:
        parts.append(
            "<h2>Damaged files</h2>\n<p>Set aside; their runs are not among the results:</p>"
        )
        parts.append(_list(damaged))
    return "\n".join(parts)


def _list(items: list[str]) -> str:
    return "<ul>\n" + "\n".join(f"<li>{html.escape(item)}</li>" for item in items) + "\n</ul>"


def _command(experiment: Experiment) -> str:
    """What makes these results."""
    said = ["kdcourse", "reproduce", experiment.name, "--profile", experiment.settings.name]
    said += ["--datasets", ",".join(experiment.datasets)]
    if experiment.methods != experiment.METHODS:
        said += ["--methods", ",".join(experiment.methods)]
    said += ["--seeds", str(experiment.seeds), "--networks", experiment.networks]
    if experiment.limit != experiment.BUDGETS[experiment.settings.name].limit:
        said += ["--limit", str(experiment.limit)]
    return shlex.join(said)


def _listed(facts: dict) -> str:
    return ", ".join(f"{name} {value}" for name, value in facts.items())
