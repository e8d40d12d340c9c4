"""What a grading leaves: grades.csv, totals.csv, a page for each student, and the class report.

What students wrote is hostile text: escaped on pages, which run no scripts, and kept from being
a spreadsheet's formula.
"""

import csv
import hashlib
import html
import io
import re
import time
import unicodedata
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from string import Template

from kdcourse.common.files import write_whole
from kdcourse.grading.merge import Exercise
from kdcourse.running.index import STYLE, versions

COLUMNS = (
    "student",
    "exercise",
    "task",
    "points",
    "of",
    "fault",
    "message",
    "seconds",
    "sandboxed",
    "file",
)

PAGE = Template("""<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta http-equiv="Content-Security-Policy" content="default-src 'none'; style-src 'unsafe-inline'; img-src data:">
<title>$title</title>
<style>$style
  .scroll table td:not(:first-child) { vertical-align: top; } td.words, th.words { text-align: left; }
  p.message { white-space: pre-wrap; overflow-wrap: anywhere; } img { max-width: 100%; background: #fff; }
</style>
</head>
<body>
<h1>$title</h1>
$body
</body>
</html>
""")
UNSANDBOXED = '<p class="bad">Graded without a sandbox: a submission could have changed its own result and those of others.</p>'


def slug(name: str) -> str:
    """A file name for a student: plain letters, and a few digits that keep two students apart."""
    plain = unicodedata.normalize("NFKD", name).encode("ascii", "ignore").decode()
    plain = re.sub(r"[^A-Za-z0-9]+", "-", plain).strip("-")[:40]
    return f"{plain or 'student'}-{hashlib.sha256(name.encode()).hexdigest()[:8]}"


def write_text(path: Path, text: str) -> None:
    write_whole(
        path, text.encode(errors="replace")
    )  # half a letter must not cost a class its report


def write(
    folder: Path, records: Sequence, exercises: Mapping[str, Exercise], facts: Mapping
) -> None:
    """Write tables and pages. records: kdcourse.grading.grade.Record; facts: how they were
    graded.
    """
    records = sorted(
        records, key=lambda record: (record.student.casefold(), record.student, record.exercise)
    )
    write_text(folder / "grades.csv", _csv(COLUMNS, _rows(records)))
    write_text(folder / "totals.csv", _totals(records))
    by_student = defaultdict(list)
    for record in records:
        by_student[record.student].append(record)
    (folder / "feedback").mkdir(exist_ok=True)
    for student, own in by_student.items():
        write_text(folder / "feedback" / f"{slug(student)}.html", feedback(student, own, exercises))
    write_text(folder / "report.html", class_report(by_student, exercises, facts))


# --- tables ---------------------------------------------------------------------------------------


def _csv(columns: Sequence[str], rows: Iterable[Sequence]) -> str:
    out = io.StringIO()
    writer = csv.writer(out)
    writer.writerow(columns)
    writer.writerows([_cell(value) for value in row] for row in rows)
    return out.getvalue()


def _cell(value):
    """Spreadsheets run what begins like a formula: a ' before it makes it text."""
    if isinstance(value, str):
        value = " ".join(value.split())
        return f"'{value}" if value.startswith(("=", "+", "-", "@")) else value
    return value


def _rows(records: Iterable) -> Iterable[tuple]:
    for record in records:
        sandboxed = "yes" if record.sandboxed else "no"
        if record.status != "graded":
            yield (
                record.student,
                record.exercise,
                "",
                0,
                "",
                record.status,
                record.reason,
                "",
                sandboxed,
                record.name,
            )
            continue
        for task in record.tasks:
            yield (
                record.student, record.exercise, task["task"], task["points"], task["of"], task["fault"],
                task["message"], task["seconds"], sandboxed, record.name,
            )  # fmt: skip


def _totals(records: Sequence) -> str:
    """A row a student, a column an exercise: points. Empty where nothing was graded."""
    graded = [record for record in records if record.status == "graded"]
    names = sorted({record.exercise for record in graded})
    points = {(record.student, record.exercise): _points(record)[0] for record in graded}
    students = dict.fromkeys(record.student for record in records)
    rows = [
        (
            student,
            *(points.get((student, name), "") for name in names),
            sum(points.get((student, n), 0) for n in names),
        )
        for student in students
    ]
    return _csv(("student", *names, "sum"), rows)


def _points(record) -> tuple[float, float]:
    return sum(task["points"] for task in record.tasks), sum(task["of"] for task in record.tasks)


# --- pages ----------------------------------------------------------------------------------------


def feedback(student: str, records: Sequence, exercises: Mapping[str, Exercise]) -> str:
    """One student's page: each task, right or what is wrong with it."""
    body = [] if all(record.sandboxed for record in records) else [UNSANDBOXED]
    for record in records:
        body.append(f"<h2>{html.escape(_title(record, exercises))}</h2>")
        body.append(f'<p class="about">{html.escape(record.name)}</p>')
        if record.status == "refused":
            body.append(f'<p class="message bad">Not graded: {html.escape(record.reason)}</p>')
        elif record.status != "graded":
            body.append(
                '<p class="message bad">Not graded yet, for a fault of the machine that grades.</p>'
            )
        else:
            points, most = _points(record)
            body.append(f"<p><strong>{points:g} of {most:g} points</strong></p>")
            body += [f'<p class="message">{html.escape(note)}</p>' for note in record.notes]
            body += map(_task, record.tasks)
    return PAGE.substitute(
        title=f"Feedback: {html.escape(student)}", style=STYLE, body="\n".join(body)
    )


def _title(record, exercises: Mapping[str, Exercise]) -> str:
    return (
        exercises[record.exercise].title
        if record.exercise in exercises
        else record.exercise or "Not recognised"
    )


def _task(task: dict) -> str:
    look, mark = ("bad", "✘") if task["fault"] else ("good", "✔")
    points = f"{task['points']:g} of {task['of']:g}"
    parts = [
        f'<h3><span class="{look}">{mark}</span> <code>{html.escape(task["task"])}</code> · {points}</h3>'
    ]
    if task["message"]:
        parts.append(f'<p class="message">{html.escape(task["message"])}</p>')
    parts.append(task["figure"])
    if task["printed"]:
        parts.append(f"<p>It printed, at first:</p><pre>{html.escape(task['printed'])}</pre>")
    return "\n".join(filter(None, parts))


def class_report(
    by_student: Mapping[str, Sequence], exercises: Mapping[str, Exercise], facts: Mapping
) -> str:
    """The class: which task fails how, the commonest faults, every student's points, what was not
    graded.
    """
    records = [record for own in by_student.values() for record in own]
    graded = [record for record in records if record.status == "graded"]
    body = [
        f'<p class="about">{len(graded)} submissions graded, {len(records) - len(graded)} not, of '
        f"{len(by_student)} students · {time.strftime('%Y-%m-%d %H:%M')}</p>"
    ]
    if facts["missing"] > 0:
        body.append(
            f'<p class="bad">Not all were graded: {facts["missing"]} are missing. Run the same command again.</p>'
        )
    if not all(record.sandboxed for record in records):
        body.append(UNSANDBOXED)
    body += ["<h2>Tasks</h2>", _tasks(graded)]
    faults = Counter(task["fault"] for record in graded for task in record.tasks if task["fault"])
    body += ["<h2>Commonest faults</h2>", _table(("Fault", "Answers"), faults.most_common(15))]
    body += ["<h2>Students</h2>", _students(by_student)]
    if ungraded := [record for record in records if record.status != "graded"]:
        rows = [(record.student, record.name, record.status, record.reason) for record in ungraded]
        body += ["<h2>Not graded</h2>", _table(("Student", "File", "Status", "Why"), rows, words=3)]
    limits = facts["limits"]
    told = {
        "Sandbox": "bubblewrap" if facts["sandboxed"] else "none",
        "Limits": f"{limits.seconds:g} s and {limits.memory:,} MB a submission, {limits.processes} processes, "
        f"files of {limits.files:,} MB",
        "Versions": versions(),
    }
    body.append("<h2>How it was graded</h2><dl>")
    body += [f"<dt>{name}</dt><dd>{html.escape(value)}</dd>" for name, value in told.items()]
    return PAGE.substitute(title="Grading report", style=STYLE, body="\n".join([*body, "</dl>"]))


def _tasks(graded: Sequence) -> str:
    outcomes, order = defaultdict(Counter), {}
    for record in graded:
        for place, task in enumerate(record.tasks):
            key = (record.exercise, task["task"])
            outcomes[key][task["fault"]] += 1
            order[key] = (record.exercise, place)
    rows = []
    for key in sorted(order, key=order.get):
        handed_in = outcomes[key].total()
        right = outcomes[key].pop("", 0)
        faults = ", ".join(f"{name} {count}" for name, count in outcomes[key].most_common())
        rows.append((*key, f"{right} of {handed_in}", faults))
    return _table(("Exercise", "Task", "Right", "Wrong, by fault"), rows, words=1, last=True)


def _students(by_student: Mapping[str, Sequence]) -> str:
    rows = []
    for student, own in by_student.items():
        graded = [record for record in own if record.status == "graded"]
        points = ", ".join(
            f"{record.exercise} {_points(record)[0]:g} of {_points(record)[1]:g}"
            for record in graded
        )
        link = f'<a href="feedback/{slug(student)}.html">{html.escape(student)}</a>'
        rows.append((_Markup(link), points or "none", sum(_points(record)[0] for record in graded)))
    return _table(("Student", "Exercises", "Points"), rows, words=1)


class _Markup(str):
    """Text that is HTML already."""


def _table(
    heads: Sequence[str], rows: Iterable[Sequence], words: int = 0, last: bool = False
) -> str:
    """A table, every value escaped; `words` columns after the first, and with `last` the last, hold
    text.
    """

    def look(place: int) -> str:
        return ' class="words"' if 0 < place <= words or (last and place == len(heads) - 1) else ""

    head = "".join(f'<th scope="col"{look(i)}>{name}</th>' for i, name in enumerate(heads))
    lines = [
        "".join(f"<td{look(i)}>{_shown(value)}</td>" for i, value in enumerate(row)) for row in rows
    ] or [f'<td colspan="{len(heads)}">none</td>']  # fmt: skip
    lines = "\n".join(f"<tr>{line}</tr>" for line in lines)
    return f'<div class="scroll"><table><thead><tr>{head}</tr></thead>\n<tbody>\n{lines}\n</tbody></table></div>'


def _shown(value) -> str:
    if isinstance(value, _Markup):
        return str(value)
    return f"{value:g}" if isinstance(value, float) else html.escape(str(value))
