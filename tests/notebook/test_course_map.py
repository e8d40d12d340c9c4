"""The map of the course: its table agrees with the notebooks and tasks, and it says what was
done.
"""

import json
import re
import sys
from html.parser import HTMLParser
from types import ModuleType

import pytest

from kdcourse.checking import progress
from kdcourse.common.errors import UsageError
from kdcourse.common.paths import checkout
from kdcourse.exercises import tasks
from kdcourse.notebook import course_map, quiz
from kdcourse.notebook.course_map import CHAPTERS, Count, show, steps

NOTEBOOKS = sorted(checkout().glob("notebooks/*.ipynb"))
SOLUTIONS = sorted(checkout().glob("solutions/*.ipynb"))
README = (checkout() / "README.md").read_text(encoding="utf-8")
MAP = "from kdcourse.notebook import course_map\n\ncourse_map.show({!r})"


@pytest.fixture(autouse=True)
def folder(monkeypatch, tmp_path):
    """Progress of its own, and a kernel that was started in notebooks/."""
    monkeypatch.setenv("KDCOURSE_PROGRESS", str(tmp_path / "progress.json"))
    monkeypatch.chdir(checkout() / "notebooks")
    return tmp_path


def cells(path) -> list[dict]:
    return json.loads(path.read_text(encoding="utf-8"))["cells"]


def source(cell) -> str:
    return "".join(cell["source"])


class Table(HTMLParser):
    """The cells' texts by rows, the links, and the names of all attributes."""

    def __init__(self, markup: str):
        super().__init__()
        self.rows, self.links, self.attributes, self.tags = [], [], set(), set()
        self.inside = False
        self.feed(markup)

    def handle_starttag(self, tag, attributes):
        self.tags.add(tag)
        self.attributes |= {name for name, _ in attributes}
        if tag == "tr":
            self.rows.append([])
        if tag in ("th", "td"):
            self.rows[-1].append("")
            self.inside = True
        if tag == "a":
            self.links.append(dict(attributes)["href"])

    def handle_endtag(self, tag):
        self.inside = self.inside and tag not in ("th", "td")

    def handle_data(self, data):
        if self.inside:
            self.rows[-1][-1] += data


def table(here: str) -> Table:
    return Table(show(here)._repr_mimebundle_()["text/html"])


# --- the table of chapters ------------------------------------------------------------------------


def test_titles_and_minutes_are_those_of_the_notebooks():
    by_name = {chapter.name: chapter for chapter in CHAPTERS}
    assert {path.stem for path in NOTEBOOKS} <= {
        chapter.name for chapter in CHAPTERS if chapter.minutes
    }
    for path in NOTEBOOKS:
        title = source(cells(path)[0])
        assert title.startswith(f"# {by_name[path.stem].heading}\n")
        assert int(re.search(r"(\d+) (?:minutes )?to read", title)[1]) == by_name[path.stem].minutes


def test_tasks_and_minutes_are_those_of_the_exercises():
    by_name = {f"sol_{chapter.name}": chapter for chapter in CHAPTERS if chapter.tasks}
    assert {path.stem for path in SOLUTIONS} == set(by_name)
    for path in SOLUTIONS:
        chapter = by_name[path.stem]
        assert source(cells(path)[0]).startswith(f"# Exercise {chapter.heading}\n")
        found = tasks(f"ex{chapter.number}").values()
        counted = (len(found), sum(task.minutes for task in found))
        assert counted == (chapter.tasks, chapter.task_minutes), (
            f"ex{chapter.number}: tasks and minutes in course_map.py"
        )


def test_the_readme_says_the_same():
    for chapter in CHAPTERS:
        if chapter.tasks:
            link = rf"\(exercises/ex_{chapter.name}\.ipynb\)"
            row = rf"{link} \| {chapter.tasks} \| {chapter.task_minutes} \|"
            assert re.search(row, README), f"README: {chapter.name}'s tasks and minutes"


def test_every_notebook_shows_it_below_the_setup():
    for path in NOTEBOOKS + SOLUTIONS:
        found = cells(path)
        (setup,) = [
            place for place, cell in enumerate(found) if "setup" in cell["metadata"].get("tags", [])
        ]
        here = path.stem[:2] if path in NOTEBOOKS else f"ex{path.stem[4:6]}"
        shown = MAP.format(here).replace("'", '"')
        if here == "00":  # shows its experiment first, and the map where it explains the course
            assert shown in map(source, found)
        else:
            assert source(found[setup + 1]) == shown, path
        assert sum("course_map.show" in source(cell) for cell in found) == 1, path


def test_the_committed_map_is_that_of_a_newcomer(monkeypatch):
    for path in NOTEBOOKS:
        monkeypatch.chdir(path.parent)  # its links lead from there
        (cell,) = [cell for cell in cells(path) if "course_map.show" in source(cell)]
        assert "nbval-ignore-output" in cell["metadata"]["tags"]
        (output,) = cell["outputs"]
        committed = {kind: "".join(content) for kind, content in output["data"].items()}
        assert committed == show(path.stem[:2])._repr_mimebundle_(), f"{path}: make maps"


# --- what it shows --------------------------------------------------------------------------------


def test_a_row_a_chapter_and_what_comes_next():
    shown = table("03")
    assert len(shown.rows) == 1 + len(CHAPTERS)
    assert shown.rows[4] == [
        "03 · Baselines (you are here) 30 min",
        "0 of 3",
        "Exercise 03 51 min",
        "0 of 5",
    ]
    assert shown.rows[1][2:] == ["–", "–"] and shown.rows[-1][:2] == ["09 · The bug clinic", "–"]
    text = str(show("03"))
    assert "\n> 03 · Baselines" in text and "Next: Exercise 03, 51 minutes." in text
    assert "Next: 04 · Response-based distillation, 45 minutes." in str(show("ex03"))
    assert "Next: Exercise 09, 85 minutes." in str(show("ex08")) and "Next" not in str(show("ex09"))


def test_done_and_not_done_are_said_in_words():
    name, *others = tasks("ex03")
    for each in others:
        progress.note(f"ex03.{each}", tries=1, right=True)
    progress.note(f"ex03.{name}", tries=1)
    progress.note("quiz03.epochs", right=True)
    assert table("00").rows[4][1::2] == ["1 of 3", "4 of 5"]
    progress.note(f"ex03.{name}", right=True)
    progress.note("ex03.of_an_older_version", right=True)
    assert table("00").rows[4][3] == "5 of 5, done"
    assert f"Right so far: 5 of {sum(c.tasks for c in CHAPTERS)} tasks, 1 of " in str(show("00"))
    assert str(Count(0, 0)) == "–"


def test_a_table_with_headers_and_without_what_clashes_or_acts():
    shown = table("ex03")
    assert shown.attributes == {"style", "scope", "href"} and not shown.tags & {"script", "style"}
    assert {"caption", "thead", "tbody", "th"} <= shown.tags


def test_links_lead_to_files_that_are_here(folder, monkeypatch):
    for at, here in (("notebooks", "02"), ("exercises", "ex02"), ("solutions", "ex02")):
        monkeypatch.chdir(checkout() / at)
        links = table(here).links
        assert len(links) == len(NOTEBOOKS) + len(SOLUTIONS) - 1 and len(set(links)) == len(links)
        assert all((checkout() / at / link).is_file() for link in links)
    monkeypatch.chdir(folder)
    assert table("02").links == [], "a notebook that was taken elsewhere"


def test_on_colab_links_lead_to_colab(monkeypatch):
    monkeypatch.setitem(sys.modules, "google.colab", ModuleType("google.colab"))
    link = "https://colab.research.google.com/github/kdcourse/kdcourse/blob/main/notebooks/01_datasets.ipynb"
    assert link in table("00").links and all(
        each.startswith("https://colab.") for each in table("00").links
    )
    assert link in source(cells(NOTEBOOKS[1])[0]), "the badge's"


def test_a_file_that_cannot_be_read_is_named_and_stays(folder):
    progress.file().write_text("{")
    for shown in show("03")._repr_mimebundle_().values():
        assert "could not be read" in shown and str(progress.file()) in shown
    assert progress.file().read_text() == "{"
    progress.file().unlink()
    progress.file().mkdir()
    assert "could not be read" in str(show("03")) and str(progress.file()) in str(show("03"))


def test_an_unknown_notebook():
    with pytest.raises(UsageError, match="unknown notebook 'ex00'"):
        show("ex00")


def test_the_order_of_steps():
    assert [step.here for chapter in CHAPTERS[:3] for step in steps(chapter) if step] == [
        "00",
        "01",
        "ex01",
        "02",
        "ex02",
    ]
    assert [chapter.number for chapter in CHAPTERS] == sorted(
        chapter.number for chapter in CHAPTERS
    )
    assert set(quiz.notebooks()) <= {chapter.number for chapter in CHAPTERS}
    assert course_map.CHAPTERS[-1].minutes == 0
