"""The page that `kdcourse run` leaves: what ran, how long, and each notebook's results table. One
file, no scripts.
"""

import json
import platform
import time
from collections.abc import Iterable
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from kdcourse.common import html
from kdcourse.common.errors import UsageError
from kdcourse.common.files import write_whole
from kdcourse.common.system import cores

MARKS = {"done": "✓", "failed": "✗", "timed out": "✗", "interrupted": "✗", "not run": "–"}

# The tags of a table and of its words; everything else in a results cell is dropped.
TAGS = set("table thead tbody tfoot tr th td caption sup sub b strong em i br".split())
ATTRIBUTES = {name: {"colspan", "rowspan", "scope"} for name in ("th", "td")}
DROPPED = {"style", "script", "title", "template", "iframe", "svg"}  # with their content


def table_markup(markup: str) -> str:
    """`markup` reduced to tables and text: no scripts, styles, links or attributes that could act.

    Raises UsageError where nh3 isn't installed.
    """
    try:
        import nh3
    except ImportError as error:
        raise UsageError(
            "the page of a run needs nh3, which cleans tables: pip install 'kdcourse[lab]'."
        ) from error
    return nh3.clean(
        markup,
        tags=TAGS,
        attributes=ATTRIBUTES,
        clean_content_tags=DROPPED,
        generic_attribute_prefixes=set(),
    )


def results(notebook: dict) -> list[dict]:
    """The outputs of the cells tagged `results`: {"table": safe HTML} where an output has HTML,
    else {"text": …}.
    """
    found = []
    for cell in notebook["cells"]:
        if "results" in cell.get("metadata", {}).get("tags", []):
            found += [_output(output) for output in cell.get("outputs", [])]
    return [output for output in found if any(map(str.strip, output.values()))]


def _output(output: dict) -> dict:
    data = output.get("data", {})
    if "text/html" in data:
        return {"table": html.safe(table_markup("".join(data["text/html"])))}
    if output.get("name") == "stderr":
        return {"text": ""}
    text = data.get("text/markdown", "") or data.get("text/plain", "") or output.get("text", "")
    return {"text": "".join(text).replace("**", "")}


def write_index(
    folder: Path, outcomes: Iterable, profile: str, dataset: str | None, parameters: dict | None
) -> Path:
    """Write `index.html` for a run (outcomes: kdcourse.running.worker.NotebookOutcome) beside the
    notebooks.
    """
    outcomes = list(outcomes)
    done = sum(outcome.status == "done" for outcome in outcomes)
    facts = {
        "Profile": profile,
        "Data set": dataset or "each notebook's own",
        "Parameters": ", ".join(f"{name} = {value}" for name, value in (parameters or {}).items())
        or "none",
        "Versions": versions(),
        "Machine": f"{platform.system()} {platform.machine()}, {cores()} cores",
    }
    columns = ("Notebook", html.Column("Status", "words"), "Minutes", "Cells")
    heads, rows = html.table(columns, map(_row, outcomes))
    page = html.render(
        "run_index.html",
        title=f"kdcourse: {done} of {len(outcomes)} notebooks done",
        heading="Distilling knowledge: the course, run",
        verdict=f"{done} of {len(outcomes)} notebooks done",
        date=time.strftime("%Y-%m-%d %H:%M"),
        columns=heads,
        rows=rows,
        sections=[section for outcome in outcomes if (section := _section(outcome))],
        run_facts=facts.items(),
    )
    path = folder / "index.html"
    write_whole(path, page.encode())
    return path


def versions() -> str:
    """The packages that results depend on, with their versions."""
    found = [f"Python {platform.python_version()}"]
    for name in ("kdcourse", "torch", "torchvision", "numpy", "scikit-learn", "rasterio"):
        try:
            found.append(f"{name} {version(name)}")
        except PackageNotFoundError:
            found.append(f"{name} missing")
    return ", ".join(found)


def _row(outcome) -> tuple:
    look = {"done": "good", "not run": ""}.get(outcome.status, "bad")
    return (
        html.Cell(outcome.name, href=outcome.file.name if outcome.file else ""),
        html.Cell(f"{MARKS[outcome.status]} {outcome.status}", look=f"words {look}".strip()),
        f"{outcome.seconds / 60:.1f}",
        f"{outcome.cells_run} of {outcome.cells}",
    )


def _section(outcome) -> dict | None:
    """A notebook's part of the page; None for one that leaves nothing to say."""
    section = dict(name=outcome.name, notes=outcome.notes, cell="", error="", outputs=[])
    if outcome.error:
        return section | dict(cell=outcome.cell, error=outcome.error)
    if outcome.status != "done":
        return None
    outputs = results(json.loads(outcome.file.read_text(encoding="utf-8")))
    return section | dict(outputs=outputs) if outputs or outcome.notes else None
