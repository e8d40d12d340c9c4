"""Names of files, cells of tables, and the pages for a student and the class."""

from types import SimpleNamespace

from kdcourse.grading import report
from kdcourse.grading.sandbox import Limits

HOSTILE = "<img src=x onerror=alert(2)>"
PICTURE = '<img alt="made by the judge" src="data:image/png;base64,AA">'
FACTS = {"missing": 1, "sandboxed": True, "limits": Limits()}


def record(student="ada", status="graded", sandboxed=True, **others) -> SimpleNamespace:
    task = dict(task="twice", of=2.0, seconds=0.1, printed="", figure="")
    wrong = dict(points=0.0, fault="stub", message=HOSTILE, printed=HOSTILE, figure=PICTURE)
    tasks = [task | dict(points=2.0, fault="", message=""), task | wrong]
    return SimpleNamespace(
        student=student,
        exercise="toy",
        name=f"{student}.ipynb",
        status=status,
        sandboxed=sandboxed,
        reason=others.get("reason", ""),
        notes=["A note."],
        tasks=tasks if status == "graded" else [],
    )


def test_feedback_shows_each_task_and_what_students_wrote_cannot_act():
    refused = record(status="refused", reason="<not> JSON")
    page = report.feedback(HOSTILE, [record(), refused, record(status="failed")], {})
    assert page.count("<img") == 1 and PICTURE in page
    assert "<h1>Feedback: &lt;img src=x onerror=alert(2)&gt;</h1>" in page
    assert "default-src 'none'" in page and "without a sandbox" not in page
    assert "<strong>2 of 4 points</strong>" in page and "A note." in page
    assert "<code>twice</code> · 2 of 2</h3>" in page and "· 0 of 2</h3>" in page
    assert "Not graded: &lt;not&gt; JSON" in page and "a fault of the machine" in page
    exercises = {"toy": SimpleNamespace(title="Toy <exercise>")}
    page = report.feedback("ada", [record(sandboxed=False)], exercises)
    assert "without a sandbox" in page and "<h2>Toy &lt;exercise&gt;</h2>" in page


def test_the_class_report_counts_and_links():
    refused = record(HOSTILE, "refused", sandboxed=False, reason="not JSON")
    page = report.class_report({"ada": [record()], HOSTILE: [refused]}, {}, FACTS)
    assert "1 submissions graded, 1 not, of 2 students" in page and "<img" not in page
    assert "1 are missing" in page and "without a sandbox" in page and "bubblewrap" in page
    assert '<td class="words">twice</td><td>1 of 2</td><td class="words">stub 1</td>' in page
    assert "<td>stub</td><td>1</td>" in page
    link = f'<a href="feedback/{report.slug("ada")}.html">ada</a>'
    assert f'<td>{link}</td><td class="words">toy 2 of 4</td><td>2</td>' in page
    assert "refused</td>" in page and "not JSON</td>" in page
    page = report.class_report({}, {}, FACTS | {"missing": 0})
    assert '<td colspan="4">none</td>' in page and "Not graded" not in page


def test_file_names_are_safe_and_differ():
    names = ["ada", "Ada", "../../etc/passwd", "a/b", "a b", "", "💥", "x" * 300, "con", "‮evil"]
    slugs = list(map(report.slug, names))
    assert len(set(map(str.lower, slugs))) == len(names)
    assert all(
        len(slug) < 60
        and set(slug) <= set("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-")
        for slug in slugs
    )


def test_formulas_are_text_in_tables():
    table = report._csv(("a",), [("=1+1",), ("\t@x",), ("-2",), (-2,), ("fine\r\nnext",)])
    assert table.split("\r\n") == ["a", "'=1+1", "'@x", "'-2", "-2", "fine next", ""]
