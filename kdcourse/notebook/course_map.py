"""The map of the course, which every notebook shows below its setup cell: `course_map.show("03")`,
`show("ex03")`.

It says what there is, how many minutes it takes, what of it you have done (from the file of
`kdcourse progress`) and what comes next.
"""

import sys
from dataclasses import dataclass
from importlib.metadata import metadata
from pathlib import Path

from kdcourse.checking import progress
from kdcourse.common import html
from kdcourse.common.errors import unknown


@dataclass(frozen=True)
class Chapter:
    """name: of its notebook, and after `ex_` of its exercise. minutes: to read; 0 for an exercise
    without a notebook.

    tasks, task_minutes: of its exercise, 0 if it has none.
    """

    name: str
    title: str
    minutes: int
    tasks: int = 0
    task_minutes: int = 0

    @property
    def number(self) -> str:
        return self.name[:2]

    @property
    def heading(self) -> str:
        return f"{self.number} · {self.title}"


CHAPTERS = (
    Chapter("00_start_here", "Start here", 10),
    Chapter("01_datasets", "Data sets", 35, tasks=5, task_minutes=45),
    Chapter("02_teacher_and_student", "Teacher and student", 25, tasks=6, task_minutes=57),
    Chapter("03_baselines", "Baselines", 30, tasks=5, task_minutes=51),
    Chapter(
        "04_response_distillation", "Response-based distillation", 45, tasks=6, task_minutes=56
    ),
    Chapter(
        "05_intermediate_distillation", "Intermediate distillation", 40, tasks=6, task_minutes=58
    ),
    Chapter("06_curriculum_sampling", "Curriculum sampling", 45, tasks=6, task_minutes=54),
    Chapter("07_fair_comparison", "A fair comparison", 50, tasks=6, task_minutes=59),
    Chapter("08_shipping_the_student", "Shipping the student", 45, tasks=6, task_minutes=53),
    Chapter("09_bug_clinic", "The bug clinic", 0, tasks=26, task_minutes=85),
)


@dataclass(frozen=True)
class CourseStep:
    """A notebook or an exercise, as one goes from one to the next. here: what `show` is told in
    it.
    """

    here: str
    title: str
    minutes: int
    path: str  # in the repository

    @property
    def address(self) -> str:
        """Where a link leads to it from the notebook that shows the map; "" if it is not here. On
        Colab: to Colab.
        """
        if "google.colab" in sys.modules:
            from kdcourse.notebook.badges import on_colab

            urls = dict(line.split(", ", 1) for line in metadata("kdcourse").get_all("Project-URL"))
            return on_colab(self.path, urls["Repository"])
        path = Path(self.path)
        places = (path.name, f"../{self.path}")  # a kernel starts in its notebook's folder
        return next((place for place in places if Path(place).is_file()), "")


def steps(chapter: Chapter) -> tuple[CourseStep | None, CourseStep | None]:
    """The notebook of a chapter and its exercise."""
    number, name = chapter.number, chapter.name
    notebook = CourseStep(number, chapter.heading, chapter.minutes, f"notebooks/{name}.ipynb")
    exercise = CourseStep(
        f"ex{number}", f"Exercise {number}", chapter.task_minutes, f"exercises/ex_{name}.ipynb"
    )
    return notebook if chapter.minutes else None, exercise if chapter.tasks else None


def show(here: str) -> "Map":
    """The map, as the value of a cell of notebook `here`: "03", of an exercise "ex03". Raises
    UsageError for others.
    """
    found = [step for chapter in CHAPTERS for step in steps(chapter) if step]
    if here not in (known := [step.here for step in found]):
        raise unknown("notebook", here, known)
    place = known.index(here)
    return Map(found[place], *found[place + 1 : place + 2])


@dataclass(frozen=True)
class Count:
    """So many right, of so many."""

    right: int
    of: int

    def __str__(self) -> str:
        if not self.of:
            return "–"
        return f"{self.right} of {self.of}{', done' * (self.right == self.of)}"


@dataclass(frozen=True)
class Row:
    """A chapter, with the counts of its quiz and of its exercise's tasks."""

    chapter: Chapter
    quiz: Count
    tasks: Count


def rows(known: dict[str, dict]) -> list[Row]:
    """The map's rows. known: what `progress.read` gives."""
    from kdcourse.notebook import (
        quiz,
    )  # not above: it takes a moment, and where exercises are graded nothing is shown

    found = []
    for chapter in CHAPTERS:
        answers = quiz.answered(chapter.number, known)
        solved = sum(
            each["right"] for key, each in known.items() if key.startswith(f"ex{chapter.number}.")
        )
        solved = min(solved, chapter.tasks)  # the file may name tasks of an older version
        found.append(Row(chapter, Count(sum(answers), len(answers)), Count(solved, chapter.tasks)))
    return found


@dataclass(frozen=True, repr=False)
class Map:
    """A table in a notebook, lines of text elsewhere. What was done is looked up whenever it is
    shown.
    """

    here: CourseStep
    next: CourseStep | None = None

    def _repr_mimebundle_(self, include=None, exclude=None) -> dict:
        known, trouble = progress.told()
        found = rows(known)
        right, of = (sum(getattr(row.tasks, name) for row in found) for name in ("right", "of"))
        answered, asked = (
            sum(getattr(row.quiz, name) for row in found) for name in ("right", "of")
        )
        after = (
            f"Next: {self.next.title}, {self.next.minutes} minutes."
            if self.next
            else "Nothing comes after it."
        )
        notes = [
            f"You are here: {self.here.title}. {after}",
            f"Right so far: {right} of {of} tasks, {answered} of {asked} questions. Run this cell "
            "again to count anew.",
        ]
        notes += [trouble] if trouble else []
        return {"text/plain": self._text(found, notes), "text/html": self._html(found, notes)}

    def __repr__(self) -> str:
        return self._repr_mimebundle_()["text/plain"]

    def _text(self, found: list[Row], notes: list[str]) -> str:
        lines = [f"{'':2}{'Chapter':<34}{'min':>4}  {'Quiz':<14}{'Exercise':<12}{'min':>4}  Tasks"]
        for row in found:
            notebook, exercise = steps(row.chapter)
            mark = "> " if self.here in (notebook, exercise) else "  "
            line = (
                f"{mark}{row.chapter.heading:<34}{row.chapter.minutes or '–':>4}  {row.quiz!s:<14}"
            )
            if exercise:
                line += f"{exercise.title:<12}{exercise.minutes:>4}  {row.tasks}"
            lines.append(line.rstrip())
        return "\n".join([*lines, "", *notes])

    def _html(self, found: list[Row], notes: list[str]) -> str:
        rows = [(row, *steps(row.chapter)) for row in found]
        return html.render("course_map.html", here=self.here, rows=rows, notes=notes).strip()
