"""Quizzes: their files, what is said of an answer, and that no key is on the page."""

import json

import pytest

from kdcourse.checking import progress
from kdcourse.common.errors import KDCourseError, UsageError
from kdcourse.notebook import quiz
from kdcourse.notebook.quiz import Choice, Question, Quiz
from kdcourse.notebook.widgets import WIDGET_VIEW

ONE = Question(
    "Is `a` < `b`?",
    (
        Choice("`a`", False, "Too small."),
        Choice("b", True, "It is <so>."),
        Choice("c", False, "Too large."),
    ),
)
TWO = Question(
    "Which?",
    (Choice("a", True, "Yes a."), Choice("b", True, "Yes b."), Choice("c", False, "Not c.")),
)


def test_every_question_can_be_asked_and_tells_no_key():
    for name in (f"{part}-{key}" for part in quiz.notebooks() for key in quiz.questions(part)):
        asked = quiz.ask(name)
        bundle = asked._repr_mimebundle_()
        states = [widget.get_state() for widget in [*asked.buttons, *asked.box.children]]
        told = bundle["text/plain"] + bundle["text/html"] + json.dumps(states, default=str)
        for choice in asked.question.choices:
            assert choice.explanation not in told, name
        assert bundle["text/html"].count("<li>") == len(asked.question.choices), name
        assert "$" not in str(asked.question) and "**" not in str(asked.question), "plain text"


def test_one_right_choice_and_several_attempts():
    asked = Quiz(ONE)
    first, second, _ = asked.buttons
    first.click()
    assert asked.status.value == '<div role="status"><p>A: not this one. Too small.</p></div>'
    second.click()
    assert asked.status.value == '<div role="status"><p>B: right. It is &lt;so&gt;.</p></div>'
    first.click()
    assert "Too small" in asked.status.value


def test_several_right_choices():
    asked = Quiz(TWO)
    assert "Several are right" in asked.page and "Several" not in Quiz(ONE).page
    first, second, third = asked.buttons
    first.click()
    assert "A: right. Yes a." in asked.status.value and "1 more is right." in asked.status.value
    third.click()
    assert "C: not this one. Not c." in asked.status.value
    second.click()
    assert "B: right. Yes b." in asked.status.value and "more" not in asked.status.value


@pytest.fixture
def kept(monkeypatch, tmp_path):
    """A file of progress of its own."""
    monkeypatch.setenv("KDCOURSE_PROGRESS", str(tmp_path / "progress.json"))
    return progress.file()


def test_an_answer_is_noted_once_all_that_is_right_was_found(kept):
    asked = Quiz(TWO, "quiz42.which")
    for button, right in zip(
        [*asked.buttons[:1], asked.buttons[2], asked.buttons[1]], (False, False, True), strict=True
    ):
        button.click()
        assert progress.read().get("quiz42.which", progress.EMPTY)["right"] == right
    Quiz(ONE).take(1)
    assert list(progress.read()) == ["quiz42.which"], "one that has no name is noted nowhere"


def test_answered_questions_are_those_of_the_file(kept):
    name, *others = quiz.questions("03")
    assert quiz.answered("03", {}) == [False] * (1 + len(others)) and quiz.answered("99", {}) == []
    asked = quiz.ask(f"03-{name}")
    for place in asked.question.right:
        asked.take(place)
    assert quiz.answered("03", progress.read()) == [True] + [False] * len(others)


def test_a_damaged_file_of_progress_is_told_and_kept(kept):
    kept.write_text("{")
    asked = Quiz(ONE, "quiz42.one")
    asked.take(1)
    (aside,) = kept.parent.glob("progress.damaged-*.json")
    assert (
        aside.read_text() == "{"
        and f"was damaged. It is kept as {aside.name}" in asked.status.value
    )


def test_a_file_that_cannot_be_written_stops_no_answer(kept):
    kept.mkdir()  # as good as a disk that is full, for root too
    asked = Quiz(ONE, "quiz42.one")
    asked.take(1)
    assert "B: right." in asked.status.value and "Progress could not be kept" in asked.status.value


def test_buttons_say_their_choice():
    assert [(button.description, button.tooltip) for button in Quiz(TWO).buttons] == [
        ("A", "a"),
        ("B", "b"),
        ("C", "c"),
    ]


def test_without_a_kernel_question_and_choices_are_seen():
    asked = Quiz(ONE)
    asked.take(1)
    bundle = asked._repr_mimebundle_()
    assert bundle["text/plain"] == "Is `a` < `b`?\n  A. `a`\n  B. b\n  C. c"
    assert (
        "<code>a</code> &lt; <code>b</code>" in bundle["text/html"]
        and '<ol type="A">' in bundle["text/html"]
    )
    assert bundle[WIDGET_VIEW]["model_id"] == asked.box.model_id


def test_an_unknown_name_is_told_with_the_nearest():
    with pytest.raises(UsageError, match="Did you mean 04-temperature"):
        quiz.ask("04-temprature")
    with pytest.raises(UsageError, match="unknown quiz '99'"):
        quiz.ask("99-x")


GOOD = {"text": "a", "right": True, "explanation": "e"}


def test_a_damaged_file_is_named(tmp_path, monkeypatch):
    monkeypatch.setattr(quiz, "FOLDER", tmp_path)
    for content, word in [
        ("{", "can be read"),
        ("[]", "questions by name"),
        ({"q": {"question": "?"}}, "'q': expected a question"),
        ({"q": {"question": 3, "choices": []}}, "expected a question"),
        ({"q": {"question": "?", "choices": [GOOD]}}, "two to"),
        ({"q": {"question": "?", "choices": [GOOD, GOOD]}}, "different"),
        (
            {
                "q": {
                    "question": "?",
                    "choices": [GOOD | {"right": False}, GOOD | {"right": False, "text": "b"}],
                }
            },
            "right",
        ),
        (
            {"q": {"question": "?", "choices": [GOOD, GOOD | {"right": "yes"}]}},
            "choice 2: expected text",
        ),
        ({"q": {"question": "?", "choices": [GOOD, GOOD | {"explanation": " "}]}}, "choice 2"),
        ({"q": {"question": "?", "choices": [GOOD, "b"]}}, "choice 2"),
    ]:
        text = content if isinstance(content, str) else json.dumps(content)
        (tmp_path / "42.json").write_text(text)
        with pytest.raises(KDCourseError, match=word) as caught:
            quiz.ask("42-q")
        assert "42.json" in str(caught.value)
