"""Every notebook in JupyterLab and a real browser, in the smoke profile: run, moved by keyboard,
looked at.
"""

import csv
import re
import time

import pytest

from browser.access import serious
from browser.lab import ROOT
from kdcourse.notebook.quiz import questions

pytestmark = pytest.mark.timeout(1800)
NOTEBOOKS = sorted(path.stem for path in (ROOT / "notebooks").glob("*.ipynb"))
OURS = (".jp-Notebook .jp-OutputArea-output", ".jp-Notebook .jp-MarkdownOutput")
TROUBLE = re.compile(
    r"^\[E|^\[C(?!.*received signal 15)|Traceback|\w(Error|Exception)\b|\bERROR\b", re.M
)


@pytest.fixture(scope="module", params=NOTEBOOKS)
def notebook(request, opened, lab, output):
    """A notebook, run from top to bottom. At the end its line of output/browser/list.csv is
    written.
    """
    started, logged = time.monotonic(), len(lab.log.read_text())
    notebook = opened(f"notebooks/{request.param}.ipynb")
    notebook.name, notebook.moved = request.param, []
    notebook.run_all(900)
    notebook.logged = lambda: lab.log.read_text()[logged:]
    yield notebook
    row = {
        "notebook": request.param,
        "cells": len(notebook.cells()),
        "controls": len(notebook.moved),
    }
    row |= {"moved": "; ".join(notebook.moved), "seconds": round(time.monotonic() - started)}
    file = output / "list.csv"
    lines = list(csv.DictReader(file.open())) if file.exists() else []
    with file.open("w", newline="") as opened_file:
        writer = csv.DictWriter(opened_file, row)
        writer.writeheader()
        writer.writerows([*lines, row])


def test_runs_to_the_end(notebook):
    cells = notebook.cells()
    assert [error for cell in cells for error in cell["errors"]] == []
    assert [int(cell["number"]) for cell in cells] == list(range(1, len(cells) + 1))
    assert [text for cell in cells for text in cell["stderr"]] == []


def test_every_control_changes_picture_and_sentence(notebook):
    for control in reversed(
        notebook.controls()
    ):  # sliders before the choices above them, which stay as chosen
        notebook.moved.append(notebook.move(control))


def test_quiz_answers_back(notebook):
    number = notebook.name[:2]
    asked = list(questions(number).values())
    assert notebook.quizzes().count() == len(asked)
    for choice, words in ((False, "not this one"), (True, "right")):
        place = [answer.right for answer in asked[0].choices].index(choice)
        said = notebook.answer(notebook.quizzes().first, place)
        explained = asked[0].choices[place].explanation.replace("`", "")
        assert said.startswith(f"{'ABCDEFGH'[place]}: {words}. ") and explained in said


def test_headings_are_in_order(notebook):
    headings = notebook.page.locator(".jp-Notebook").locator("h1, h2, h3, h4, h5, h6")
    levels = headings.evaluate_all("all => all.map(heading => Number(heading.tagName[1]))")
    assert levels[0] == 1 and levels.count(1) == 1
    assert all(after <= before + 1 for before, after in zip(levels, levels[1:], strict=False)), (
        levels
    )


def test_every_picture_has_a_text(notebook):
    pictures = notebook.page.locator(".jp-Notebook .jp-OutputArea-output").locator(
        "img, canvas, svg[role=img]"
    )
    without = pictures.evaluate_all(
        "all => all.filter(one => !one.alt?.trim()).map(one => one.outerHTML.slice(0, 200))"
    )
    assert without == []


def test_light_and_accessible(notebook, output):
    notebook.photograph(output, f"{notebook.name[:2]}-light")
    assert serious(notebook.page, *OURS) == []


def test_dark_and_accessible(notebook, output):
    with notebook.dark():
        notebook.photograph(output, f"{notebook.name[:2]}-dark")
        assert serious(notebook.page, *OURS, dark=True) == []


def test_nothing_was_complained_of(notebook):
    """Last, after all that was done to the notebook."""
    assert notebook.complaints == []
    assert [line for line in notebook.logged().splitlines() if TROUBLE.search(line)] == []
