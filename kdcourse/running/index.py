"""The page that `kdcourse run` leaves: what ran, how long, and each notebook's results table. One
file, no scripts.
"""

import html
import json
import platform
import time
from collections.abc import Iterable
from html.parser import HTMLParser
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from string import Template

from kdcourse.common.files import write_whole
from kdcourse.common.system import cores

MARKS = {"done": "✓", "failed": "✗", "timed out": "✗", "interrupted": "✗", "not run": "–"}

STYLE = """
  :root { color-scheme: light dark; --ink: #1c2430; --quiet: #56616f; --line: #d5dbe2; --paper: #fff; --band: #f3f6f9;
          --good: #0b6b3a; --bad: #a11d1d; --link: #0b57a4; }
  @media (prefers-color-scheme: dark) { :root { --ink: #e6eaef; --quiet: #a3adb9; --line: #38424e; --paper: #14191f;
          --band: #1d242c; --good: #6fd19a; --bad: #ff9c93; --link: #8ec2ff; } }
  body { font: 16px/1.5 system-ui, sans-serif; color: var(--ink); background: var(--paper); max-width: 60rem;
         margin: 0 auto; padding: 2rem 1rem 4rem; }
  h1 { font-size: 1.6rem; margin: 0 0 .2rem; } h2 { font-size: 1.2rem; margin: 2.4rem 0 .6rem; }
  p.about, dl { color: var(--quiet); } a { color: var(--link); }
  dl { display: grid; grid-template-columns: max-content 1fr; gap: .1rem 1rem; font-size: .9rem; }
  dt { font-weight: 600; } dd { margin: 0; }
  .scroll { overflow-x: auto; }
  table { border-collapse: collapse; font-variant-numeric: tabular-nums; margin: .4rem 0; }
  th, td { padding: .35rem .8rem; border-bottom: 1px solid var(--line); text-align: right; }
  th:first-child, td:first-child { text-align: left; }
  thead th { border-bottom: 2px solid var(--line); background: var(--band); }
  table.runs { width: 100%; } table.runs th:nth-child(2), table.runs td:nth-child(2) { text-align: left; }
  .good { color: var(--good); } .bad { color: var(--bad); font-weight: 600; }
  pre { background: var(--band); padding: .8rem; overflow-x: auto; font-size: .85rem; border-radius: 4px; }
"""

PAGE = Template("""<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>kdcourse: $verdict</title>
<style>$style</style>
</head>
<body>
<h1>Distilling knowledge: the course, run</h1>
<p class="about">$verdict · $date</p>
<div class="scroll"><table class="runs">
<thead><tr><th scope="col">Notebook</th><th scope="col">Status</th><th scope="col">Minutes</th>
<th scope="col">Cells</th></tr></thead>
<tbody>
$rows
</tbody>
</table></div>
$sections
<h2>How it was run</h2>
<dl>$facts</dl>
</body>
</html>
""")


class _Tables(HTMLParser):
    """Keeps the markup of tables and the text; drops all else, with the content of styles and
    scripts.
    """

    KEEP = {
        "table",
        "thead",
        "tbody",
        "tfoot",
        "tr",
        "th",
        "td",
        "caption",
        "sup",
        "sub",
        "b",
        "strong",
        "em",
        "i",
    }
    DROP = {"style", "script", "title", "template", "iframe", "svg"}
    ATTRIBUTES = {"colspan", "rowspan", "scope"}

    def __init__(self):
        super().__init__()
        self.parts: list[str] = []
        self.dropping: list[str] = []

    def handle_starttag(self, tag, attributes):
        if tag in self.DROP:
            self.dropping.append(tag)
        elif tag in self.KEEP and not self.dropping:
            kept = "".join(
                f' {k}="{html.escape(v or "")}"' for k, v in attributes if k in self.ATTRIBUTES
            )
            self.parts.append(f"<{tag}{kept}>")
        elif tag == "br" and not self.dropping:
            self.parts.append("<br>")

    def handle_endtag(self, tag):
        if self.dropping and tag == self.dropping[-1]:
            self.dropping.pop()
        elif tag in self.KEEP and not self.dropping:
            self.parts.append(f"</{tag}>")

    def handle_data(self, data):
        if not self.dropping:
            self.parts.append(html.escape(data))


def table_markup(markup: str) -> str:
    """`markup` reduced to tables and text: no scripts, styles, links or attributes that could
    act.
    """
    parser = _Tables()
    parser.feed(markup)
    parser.close()
    return "".join(parser.parts)


def results(notebook: dict) -> list[str]:
    """The outputs of the cells tagged `results` as safe HTML: tables where there are any, else the
    text.
    """
    found = []
    for cell in notebook["cells"]:
        if "results" in cell.get("metadata", {}).get("tags", []):
            found += [_output(output) for output in cell.get("outputs", [])]
    return [markup for markup in found if markup]


def _output(output: dict) -> str:
    data = output.get("data", {})
    if "text/html" in data:
        return f'<div class="scroll">{table_markup("".join(data["text/html"]))}</div>'
    plain = "".join(
        data.get("text/plain", "") or output.get("text", "")
        if output.get("name") != "stderr"
        else ""
    )
    return f"<pre>{html.escape(plain)}</pre>" if plain.strip() else ""


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
    page = PAGE.substitute(
        style=STYLE,
        verdict=f"{done} of {len(outcomes)} notebooks done",
        date=time.strftime("%Y-%m-%d %H:%M"),
        rows="\n".join(map(_row, outcomes)),
        sections="\n".join(map(_section, outcomes)),
        facts="".join(
            f"<dt>{name}</dt><dd>{html.escape(str(value))}</dd>" for name, value in facts.items()
        ),
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


def _row(outcome) -> str:
    name = html.escape(outcome.name)
    if outcome.file:
        name = f'<a href="{html.escape(outcome.file.name)}">{name}</a>'
    look = "good" if outcome.status == "done" else "" if outcome.status == "not run" else "bad"
    return (
        f'<tr><td>{name}</td><td class="{look}">{MARKS[outcome.status]} {outcome.status}</td>'
        f"<td>{outcome.seconds / 60:.1f}</td><td>{outcome.cells_run} of {outcome.cells}</td></tr>"
    )


def _section(outcome) -> str:
    heading = f"<h2>{html.escape(outcome.name)}</h2>"
    heading += "".join(f"\n<p>{html.escape(note)}</p>" for note in outcome.notes)
    if outcome.error:
        cell = f"<pre>{html.escape(outcome.cell)}</pre>" if outcome.cell else ""
        return f'{heading}\n{cell}<p class="bad">{html.escape(outcome.error)}</p>'
    if outcome.status != "done":
        return ""
    tables = results(json.loads(outcome.file.read_text(encoding="utf-8")))
    return f"{heading}\n" + "\n".join(tables) if tables or outcome.notes else ""
