"""Tasks: what an exercise asks for, and the judge that tells right from wrong.

    @task("ex04", title="The loss", minutes=8, difficulty="easy", points=2, hints=["…", "…"])
    def soft_target_loss(answer, rng):
        \"""T² · KL from log-probabilities.\"""
        ...
        expect.close(answer(log_p_s, log_p_t, 4.0), right, mistakes={…}, of="the loss")

The judge calls the learner's function through an `Answer` and raises `Wrong`. It passes plain data
and AnswerParts, and gets plain data back (see `safe_call`), so that grading can run the learner's
code in a process of its own.
"""

import random
import re
import secrets
import textwrap
from collections.abc import Callable, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch

from kdcourse.checking import progress, safe_call
from kdcourse.checking.safe_call import AnswerPart, CallOutcome
from kdcourse.common import html
from kdcourse.common.errors import UsageError
from kdcourse.common.paths import checkout

if TYPE_CHECKING:  # matplotlib and IPython take seconds to import, and few judges need them
    from matplotlib.figure import Figure

__all__ = ["Answer", "CallOutcome", "AnswerPart", "Task", "Verdict", "Wrong", "task"]

DIFFICULTIES = ("easy", "medium", "hard")
CHECK_ROUNDS, GRADE_ROUNDS = 3, 5  # times that a judge is asked, each with other random numbers


class Wrong(Exception):
    """What is wrong with an answer. message: for the learner. fault: its short name, for class
    reports.

    figure: a small matplotlib figure with a text `alt`, as `kdcourse.plots` makes them.
    """

    def __init__(self, message: str, fault: str = "other", figure: "Figure | None" = None):
        super().__init__(message)
        self.message, self.fault, self.figure = message, fault, figure


@dataclass(frozen=True)
class Verdict:
    right: bool
    message: str = ""
    fault: str = ""
    figure: "Figure | None" = None
    printed: str = ""  # by the call that was wrong


class Answer:
    """What a judge gets: a learner's function or value, whose calls are guarded.

    For an answer that lives elsewhere, override `run` and `look`.
    """

    def __init__(self, name: str, given: object = None, seconds: float = 5.0):
        self.name, self.given = name, given
        self.seconds = self.left = seconds  # for all calls of one verdict together
        self.printed = ""

    def run(self, args: tuple, kwargs: Mapping, seconds: float) -> CallOutcome:
        """One call of the learner's function."""
        return safe_call.call(self.given, args, kwargs, seconds)

    def look(self) -> CallOutcome:
        """The learner's value, in `CallOutcome.value`."""
        return safe_call.look(self.given)

    def __call__(self, *args, **kwargs) -> object:
        """The value of a call; an exception becomes Wrong too."""
        outcome = self.outcome(*args, **kwargs)
        if outcome.error:
            kind, message = outcome.error
            place = f" in {outcome.line}" if outcome.line else ""
            reason = f": {message}" if message else ""
            stub = (
                ". Keep the name and the arguments of the stub."
                if kind == "TypeError" and not place
                else ""
            )
            raise Wrong(f"Your code raised {kind}{place}{reason}{stub}", "raised")
        return outcome.value

    def outcome(self, *args, **kwargs) -> CallOutcome:
        """What became of a call; an exception of the learner's code is told in it.

        Raises Wrong for a call without end, arguments changed in place, a result that is no plain
        data, a stub.
        """
        outcome = self.run(args, kwargs, self.left) if self.left > 0 else CallOutcome(stopped=True)
        self.left -= outcome.seconds
        self.printed = outcome.printed
        kind, message = outcome.error or ("", "")
        if outcome.stopped:
            raise Wrong(
                f"No answer within {self.seconds:g} s, so it was stopped. Is there a loop that "
                "does not end?"
                + (
                    " It could not be stopped and still runs: restart the kernel."
                    if outcome.running
                    else ""
                ),
                "time",
            )
        if kind == "NotImplementedError" and (
            "your turn" in message or not message
        ):  # torch raises it too
            raise Wrong(
                f"`{self.name}` is not written yet: replace its `raise NotImplementedError(…)` by "
                "your code, run the cell, then this one again.",
                "stub",
            )
        if kind == "NotCallable":
            raise Wrong(
                f"Expected a function, but `{self.name}` is {message}. Hand in the function "
                f"itself, without calling it: check({self.name}).",
                "type",
            )
        if kind == "NotPlain":
            raise Wrong(
                f"`{self.name}` returned {message}: expected a tensor, an array, a number, or a "
                "list, tuple or dict of these.",
                "type",
            )
        if outcome.changed:
            names = ", ".join(
                f"argument {key + 1}" if isinstance(key, int) else f"`{key}`"
                for key in outcome.changed
            )
            raise Wrong(
                f"`{self.name}` changed its input in place ({names}). The caller still needs it: "
                "write x = x / 2 where you wrote x /= 2, x[...] = … or a method that ends in _, or "
                "work on x.clone().",
                "changed input",
            )
        return outcome

    def value(self) -> object:
        """The value handed in, as plain data."""
        outcome = self.look()
        kind, message = outcome.error or ("", "")
        if kind == "NotPlain":
            raise Wrong(
                f"`{self.name}` is {message}: expected a number, a text, or a list, tuple, dict or "
                "array of these.",
                "type",
            )
        if outcome.value is None:
            raise Wrong(f"`{self.name}` has no value yet: put your answer in its place.", "stub")
        return outcome.value


# The tasks that the decorator has made: by exercise, then by name.
_made: dict[str, dict[str, "Task"]] = {}


class Task:
    """One thing that a learner defines, its texts and its judge. Made by the decorator `task`."""

    def __init__(self, judge, exercise, title, minutes, difficulty, points, hints, seconds):
        if difficulty not in DIFFICULTIES:
            raise UsageError(
                f"difficulty={difficulty!r}: expected one of {', '.join(DIFFICULTIES)}"
            )
        if not hints:
            raise UsageError("hints=[]: expected one or more")
        self.judge, self.exercise, self.name, self.title = judge, exercise, judge.__name__, title
        self.minutes, self.difficulty, self.points = minutes, difficulty, points
        self.hints, self.seconds = tuple(hints), seconds
        self.asks = (judge.__doc__ or title).strip()

    def __repr__(self) -> str:
        effort = f"{self.difficulty}, {self.minutes} minutes, {self.points} points"
        return f"{self.key}: {self.asks} ({effort})"

    @property
    def key(self) -> str:
        return f"{self.exercise}.{self.name}"

    # --- judging ----------------------------------------------------------------------------------

    def verdict(self, answer: object, seed: int | None = None) -> Verdict:
        """Judge a learner's function or value once. seed: of the random numbers; None: fresh
        ones.
        """
        return self.judged(Answer(self.name, answer, self.seconds), seed)

    def judged(self, answer: Answer, seed: int | None = None) -> Verdict:
        """The same for an Answer."""
        seed = secrets.randbits(48) if seed is None else seed
        with _undisturbed():
            try:
                self.judge(answer, torch.Generator().manual_seed(seed))
            except Wrong as wrong:
                return Verdict(False, wrong.message, wrong.fault, wrong.figure, answer.printed)
            # Whatever came back from a learner, a check must not end in a traceback of ours.
            except Exception as error:  # noqa: BLE001
                cause = f"{type(error).__name__}: {error}"
                message = f"The check could make nothing of your answer ({cause})."
                return Verdict(False, message, "unexpected", None, answer.printed)
        return Verdict(True)

    def several(self, answer: object, rounds: int) -> Verdict:
        """The first verdict that is not right of several, each with fresh random numbers."""
        for _ in range(rounds):
            verdict = self.verdict(answer)
            if not verdict.right:
                break
        return verdict

    def grade(self, answer: object) -> None:
        """For hidden tests. Raises AssertionError with the message if the answer is wrong."""
        verdict = self.several(answer, GRADE_ROUNDS)
        if not verdict.right:
            raise AssertionError(verdict.message)

    # --- in the notebook --------------------------------------------------------------------------

    def check(self, answer: object) -> None:
        """Say whether the answer is right, and if not, what is wrong."""
        verdict = self.several(answer, CHECK_ROUNDS)
        if verdict.right:
            self._note(tries=1, right=True)
            return self._show(f"✔ Right: {self.title}.", self._standing())
        if verdict.fault == "stub":
            return self._show("○ Not yet.", verdict.message, self._help())
        self._note(tries=1)
        printed = f"Your code printed:\n{verdict.printed}" if verdict.printed else ""
        self._show(
            "✘ Not right yet.", verdict.message, printed, self._help(), figure=verdict.figure
        )

    def hint(self) -> None:
        """The next hint, below those that were seen."""
        count = min(self._known()["hints"] + 1, len(self.hints))
        self._note(hints=count)
        shown = [f"{number}. {hint}" for number, hint in enumerate(self.hints[:count], 1)]
        self._show(f"Hint {count} of {len(self.hints)}: {self.title}.", *shown, self._help())

    def solution(self) -> None:
        """The solution with its reasoning, once all hints were seen or the task is solved."""
        known = self._known()
        if not known["right"] and known["hints"] < len(self.hints):
            return self._show("Hints first.", self._help())
        code = self.solution_code()
        if code is None:
            return self._show(
                "The solutions are not here.",
                f"They are in the course's repository: solutions/sol_{self.exercise[2:]}_….ipynb. "
                "In a class, ask your instructor.",
            )
        self._note(solution=True)
        self._show(f"Solution: {self.title}.", code=code)

    def solution_code(self) -> str | None:
        """The source of the solution cell, or None where there are no solutions."""
        from kdcourse.common.notebooks import read_notebook, text

        root = checkout()
        for path in (
            sorted((root / "solutions").glob(f"sol_{self.exercise[2:]}_*.ipynb")) if root else ()
        ):
            for cell in read_notebook(path)["cells"]:
                if cell["metadata"].get("nbgrader", {}).get("grade_id") == self.name:
                    lines = text(cell["source"]).splitlines()
                    return "\n".join(
                        line for line in lines if not re.match(r"\s*### (BEGIN|END) SOLUTION", line)
                    )
        return None

    def _standing(self) -> str:
        siblings = _made[self.exercise].values()
        right = sum(sibling._known()["right"] for sibling in siblings)
        return f"{right} of {len(siblings)} tasks of {self.exercise} are right."

    def _help(self) -> str:
        shown, of = self._known()["hints"], len(self.hints)
        if shown < of:
            return f"Stuck? `{self.key}.hint()` gives hint {shown + 1} of {of}."
        return f"All hints are seen. `{self.key}.solution()` shows the solution."

    def _known(self) -> dict:
        try:
            return progress.EMPTY | progress.read().get(self.key, {})
        except OSError:  # `_note` says so
            return progress.EMPTY

    def _note(self, **what) -> None:
        try:
            progress.note(self.key, **what)
        except OSError as error:
            self._show(f"Progress could not be kept: {error}.")

    def _show(self, *lines: str, figure: "Figure | None" = None, code: str = "") -> None:
        from IPython.display import display

        display(Shown([line for line in lines if line], figure, code))


class Shown:
    """Lines of text, the first of which stands out, with a picture or code: as HTML, and as text
    for terminals.
    """

    def __init__(self, lines: Sequence[str], figure: "Figure | None" = None, code: str = ""):
        self.lines, self.figure, self.code = lines, figure, code

    def _repr_html_(self) -> str:
        picture = ""
        if self.figure:
            from kdcourse import plots

            picture = html.safe(plots.to_html(self.figure))
        return html.render("task.html", lines=self.lines, picture=picture, code=self.code)

    def __repr__(self) -> str:
        lines = [
            textwrap.fill(line, 100, replace_whitespace=False, drop_whitespace=True)
            for line in self.lines
        ]
        lines += [f"[figure: {self.figure.alt}]"] if self.figure else []
        return "\n".join([*lines, *([self.code] if self.code else [])])


def task(
    exercise: str,
    *,
    title: str,
    minutes: int,
    difficulty: str,
    points: int,
    hints: Sequence[str],
    seconds: float = 5.0,
) -> Callable[[Callable[[Answer, torch.Generator], None]], Task]:
    """Make a Task of a judge: a function of (answer, rng) that raises Wrong unless the answer is
    right.

    exercise: such as "ex04". difficulty: easy, medium or hard. hints: one or more, each says more
      than the last.
    seconds: that all calls of the learner's function by one verdict may take together. The judge's
    docstring says in one line what is asked. It is called several times and must be right for every
    seed of rng.

    Raises UsageError for another difficulty, or without hints.
    """

    def make(judge: Callable[[Answer, torch.Generator], None]) -> Task:
        made = Task(judge, exercise, title, minutes, difficulty, points, hints, seconds)
        _made.setdefault(exercise, {})[made.name] = made
        return made

    return make


@contextmanager
def _undisturbed():
    """The random generators are afterwards as they were."""
    states = random.getstate(), np.random.get_state()  # noqa: NPY002  the learner's code may use it
    try:
        with torch.random.fork_rng(devices=[]):
            yield
    finally:
        random.setstate(states[0])
        np.random.set_state(states[1])  # noqa: NPY002
