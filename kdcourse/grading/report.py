"""What a grading leaves: grades.csv, totals.csv, a page for each student, and the class report.

What students wrote is hostile text: escaped on pages, which run no scripts, and kept from being
a spreadsheet's formula.
"""

import csv
import hashlib
import io
import re
import time
import unicodedata
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from kdcourse.common import html
from kdcourse.common.files import write_whole
from kdcourse.grading.merge import Exercise
from kdcourse.running.index import versions

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
                record.student, record.exercise, task["task"], task["points"], task["of"],
                task["fault"], task["message"], task["seconds"], sandboxed, record.name,
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
    return html.render(
        "feedback.html",
        title=f"Feedback: {student}",
        sandboxed=all(record.sandboxed for record in records),
        records=[_shown(record, exercises) for record in records],
    )


def _shown(record, exercises: Mapping[str, Exercise]) -> dict:
    """What a student reads of a record."""
    known = exercises.get(record.exercise)
    points, most = _points(record) if record.status == "graded" else (0, 0)
    return dict(
        title=known.title if known else record.exercise or "Not recognised",
        name=record.name,
        status=record.status,
        reason=record.reason,
        points=points,
        most=most,
        notes=record.notes,
        tasks=record.tasks,
    )


def class_report(
    by_student: Mapping[str, Sequence], exercises: Mapping[str, Exercise], facts: Mapping
) -> str:
    """The class: which task fails how, the commonest faults, every student's points, what was not
    graded.
    """
    records = [record for own in by_student.values() for record in own]
    graded = [record for record in records if record.status == "graded"]
    ungraded = [record for record in records if record.status != "graded"]
    faults = Counter(task["fault"] for record in graded for task in record.tasks if task["fault"])
    limits = facts["limits"]
    how = {
        "Sandbox": "bubblewrap" if facts["sandboxed"] else "none",
        "Limits": f"{limits.seconds:g} s and {limits.memory:,} MB a submission, "
        f"{limits.processes} processes, files of {limits.files:,} MB",
        "Versions": versions(),
    }
    words = [html.Column(name, "words") for name in ("File", "Status", "Why")]
    return html.render(
        "class_report.html",
        title="Grading report",
        date=time.strftime("%Y-%m-%d %H:%M"),
        graded=len(graded),
        ungraded=len(ungraded),
        class_size=len(by_student),
        missing=facts["missing"],
        sandboxed=all(record.sandboxed for record in records),
        tasks=_tasks(graded),
        faults=html.table(("Fault", "Answers"), faults.most_common(15)),
        students=_students(by_student),
        not_graded=html.table(
            ("Student", *words),
            [(record.student, record.name, record.status, record.reason) for record in ungraded],
        ),
        how=how.items(),
    )


def _tasks(graded: Sequence) -> tuple:
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
    columns = (
        "Exercise",
        html.Column("Task", "words"),
        "Right",
        html.Column("Wrong, by fault", "words"),
    )
    return html.table(columns, rows)


def _students(by_student: Mapping[str, Sequence]) -> tuple:
    rows = []
    for student, own in by_student.items():
        points = {record.exercise: _points(record) for record in own if record.status == "graded"}
        by_exercise = [f"{name} {right:g} of {most:g}" for name, (right, most) in points.items()]
        rows.append(
            (
                html.Cell(student, href=f"feedback/{slug(student)}.html"),
                ", ".join(by_exercise) or "none",
                sum(right for right, _ in points.values()),
            )
        )
    return html.table(("Student", html.Column("Exercises", "words"), "Points"), rows)
