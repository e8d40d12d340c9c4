"""Quizzes: `ask("04-temperature")` shows a question and its choices, and says why the one taken is
right or not.

The questions of notebook NN stand in `quizzes/NN.json`, away from the notebook, so that the key is
not on the page:

    {"temperature": {"question": "…", "choices": [{"text": "…", "right": true, "explanation": "…"},
    …]}, …}

Several choices may be right. Texts are plain, with `code` in backticks.
"""

import json
import warnings
from dataclasses import dataclass
from importlib import resources

import ipywidgets as widgets

from kdcourse.checking import progress
from kdcourse.common import html
from kdcourse.common.errors import DataWarning, KDCourseError, unknown
from kdcourse.notebook.widgets import WIDGET_VIEW

FOLDER = resources.files("kdcourse.exercises") / "quizzes"
LETTERS = "ABCDEFGH"


@dataclass(frozen=True)
class Choice:
    text: str
    right: bool
    explanation: str


@dataclass(frozen=True)
class Question:
    """A question with its choices, two or more, of which one or more are right."""

    question: str
    choices: tuple[Choice, ...]

    @property
    def right(self) -> set[int]:
        return {place for place, choice in enumerate(self.choices) if choice.right}

    def answer(self, place: int, found: set[int]) -> str:
        """What is said of a choice, as lines of text. found: the right ones so far, this one with
        them.
        """
        choice, missing = self.choices[place], len(self.right - found)
        if not choice.right:
            return f"{LETTERS[place]}: not this one. {choice.explanation}"
        more = f"\n{missing} more {'is' if missing == 1 else 'are'} right." if missing else ""
        return f"{LETTERS[place]}: right. {choice.explanation}{more}"


def ask(name: str) -> "Quiz":
    """The question called NN-name, as the value of a notebook's cell.

    Raises KDCourseError, which names the file, for a name that is not there and for a damaged file.
    """
    notebook, _, key = name.partition("-")
    known = questions(notebook)
    if key not in known:
        raise unknown("question", name, [f"{notebook}-{key}" for key in known])
    return Quiz(known[key], _noted(notebook, key))


def notebooks() -> list[str]:
    """The notebooks that have a quiz: "00", "01" …"""
    return sorted(
        file.name.removesuffix(".json") for file in FOLDER.iterdir() if file.name.endswith(".json")
    )


def questions(notebook: str) -> dict[str, Question]:
    """The questions of a notebook by name, in their order. Raises KDCourseError."""
    if notebook not in notebooks():
        raise unknown("quiz", notebook, notebooks())
    file = FOLDER / f"{notebook}.json"
    try:
        content = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise KDCourseError(
            f"{file}: no quiz that can be read ({error}). Restore it, e.g. by git."
        ) from error
    if not isinstance(content, dict):
        raise KDCourseError(f"{file}: expected questions by name, {{name: {{question, choices}}}}")
    return {name: _question(entry, f"{file}, {name!r}") for name, entry in content.items()}


def answered(notebook: str, known: dict[str, dict]) -> list[bool]:
    """Of each question of a notebook whether it was answered right; none where there is no quiz.

    known: what `progress.read` gives.
    """
    asked = questions(notebook) if notebook in notebooks() else ()
    return [known.get(_noted(notebook, key), progress.EMPTY)["right"] for key in asked]


def _noted(notebook: str, key: str) -> str:
    """The name of a question in the file of progress."""
    return f"quiz{notebook}.{key}"


def _question(entry, where: str) -> Question:
    wanted = {"text": str, "right": bool, "explanation": str}
    choices = (
        entry.get("choices")
        if isinstance(entry, dict) and entry.keys() == {"question", "choices"}
        else None
    )
    if not isinstance(choices, list) or not isinstance(entry["question"], str):
        raise KDCourseError(
            f"{where}: expected a question (a text) and choices (a list), and nothing else"
        )
    for place, choice in enumerate(choices, 1):
        kinds = (
            {key: type(value) for key, value in choice.items()}
            if isinstance(choice, dict)
            else None
        )
        if kinds != wanted or not (choice["text"].strip() and choice["explanation"].strip()):
            raise KDCourseError(
                f"{where}, choice {place}: expected text, right (true or false) and explanation"
            )
    question = Question(entry["question"], tuple(Choice(**choice) for choice in choices))
    different = len({choice.text for choice in question.choices}) == len(choices)
    if not (2 <= len(choices) <= len(LETTERS) and different and question.right):
        raise KDCourseError(
            f"{where}: expected two to {len(LETTERS)} different choices, one or more of them right"
        )
    return question


class Quiz:
    """A question that one can answer with mouse or keyboard, as often as one likes: a button a
    choice.

    Buttons, because JupyterLab keeps the arrow keys, by which radio buttons are reached, to itself;
    with letters on them, because they cut long labels. What is said of a choice stands in a live
    region, which screen readers read out. Where there is no kernel behind the page, question and
    choices take the buttons' place.

    noted: its name in the file of progress, where an answer is noted once all that is right was
      found; "": nowhere.
    """

    def __init__(self, question: Question, noted: str = ""):
        self.question, self.found, self.noted = question, set(), noted
        self.buttons, narrow = [], widgets.Layout(width="4em")
        for place, choice in enumerate(question.choices):
            button = widgets.Button(description=LETTERS[place], tooltip=choice.text, layout=narrow)
            button.on_click(lambda _, place=place: self.take(place))
            self.buttons.append(button)
        self.status = widgets.HTML(value=html.render("quiz_answer.html", lines=[]))
        self.box = widgets.VBox(
            [widgets.HTML(value=self.page), widgets.HBox(self.buttons), self.status]
        )

    @property
    def page(self) -> str:
        """Question and choices as HTML."""
        return html.render("quiz.html", question=self.question)

    def take(self, place: int) -> None:
        """What happens at the press of a button."""
        self.found |= self.question.right & {place}
        lines = self.question.answer(place, self.found).split("\n")
        if self.noted and self.found == self.question.right:
            lines += self._note()
        self.status.value = html.render("quiz_answer.html", lines=lines)

    def _note(self) -> list[str]:
        """Record the right answer; returns lines about problems, which a button's callback could
        not print.
        """
        with warnings.catch_warnings(record=True, category=DataWarning, action="always") as caught:
            try:
                progress.note(self.noted, right=True)
            except OSError as error:
                return [f"Progress could not be kept: {error}."]
        return [str(warning.message) for warning in caught]

    def _repr_mimebundle_(self, include=None, exclude=None) -> dict:
        view = {"model_id": self.box.model_id, "version_major": 2, "version_minor": 0}
        return {"text/plain": repr(self), "text/html": self.page, WIDGET_VIEW: view}

    def __repr__(self) -> str:
        choices = [
            f"  {LETTERS[place]}. {choice.text}"
            for place, choice in enumerate(self.question.choices)
        ]
        return "\n".join([self.question.question, *choices])
