"""One submission: its cells run in a sandbox, its answers are judged here, where none of the
student's code runs.
"""

import secrets
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

from kdcourse.checking import safe_call
from kdcourse.checking.safe_call import CallOutcome
from kdcourse.checking.task import GRADE_ROUNDS, Answer, Task, Verdict, Wrong
from kdcourse.grading.merge import GradedCell, Plan
from kdcourse.grading.sandbox import Limits, Lost, Sandbox

GENEROUS = 3  # times the seconds that a task has in the notebook: a machine that grades is busy
SLACK = 5.0  # seconds that a reply may come late

LOST = {
    "time": "It did not end within {seconds:g} s and could not be stopped, so its process was "
    "ended.",
    "memory": "More than {memory:,} MB of memory were in use, so its process was ended.",
    "died": "Its process ended: os._exit, a crash, or more memory than the {memory:,} MB that are "
    "allowed.",
    "unreadable": "The answer could not be read: more came, or something else, than a task's "
    "result.",
    "over": "The {seconds:g} s that a submission has were over.",
}


@dataclass(frozen=True)
class TaskResult:
    """What became of a task. fault: "" if it is right. seconds: of the student's code, from cell to
    last call.
    """

    task: str
    points: float
    of: float
    fault: str = ""
    message: str = ""
    printed: str = ""
    figure: str = ""  # an <img>
    seconds: float = 0.0


class NotStarted(Exception):
    """The sandbox did not start: a fault of the machine, not of a submission."""


class Session:
    """Runs a plan's cells as far as a task needs them. A process that is lost is replaced; what
    lost it is left out.
    """

    def __init__(self, steps: Sequence[GradedCell], start: Callable[[], Sandbox], limits: Limits):
        self.steps, self.start, self.limits = steps, start, limits
        self.first = next(
            i for i, step in enumerate(self.steps) if step.kind != "given"
        )  # that is the student's
        self.names = {
            step.task: step.source
            for step in steps
            if step.kind == "task" and step.source.isidentifier()
        }
        self.cells: dict[int, dict] = {}  # the replies of the cells
        self.left = limits.seconds
        self.sandbox: Sandbox | None = None
        self.position = 0

    def ask(self, *request, seconds: float) -> object:
        """A reply from the process. Raises Lost; the time that the student's code may take is
        counted.
        """
        began = time.monotonic()
        try:
            return self.sandbox.ask(*request, seconds=max(0.1, min(seconds, self.left)))
        except Lost:
            self.drop()
            raise
        finally:
            self.left -= time.monotonic() - began

    def reach(self, position: int) -> None:
        """Have all cells before `position` run in a living process. Raises NotStarted, and
        Lost("over").
        """
        while True:
            if self.left <= 0:
                self.drop()
                raise Lost("over")
            if self.sandbox is None:
                self.sandbox, self.position = self._started(), 0
            try:
                while self.position < position:
                    self._run(self.position)
                    self.position += 1
                return
            except Lost as lost:
                if lost.why == "over":
                    raise
                self.cells[self.position] = {"lost": lost.why}

    def drop(self) -> None:
        if self.sandbox:
            self.sandbox.close()
        self.sandbox = None

    def _started(self) -> Sandbox:
        for _ in range(2):
            try:
                return self.start()
            except Lost as lost:
                why = str(lost)
        raise NotStarted(f"the sandbox did not start, twice ({why})")

    def _run(self, position: int) -> None:
        step = self.steps[position]
        if step.kind == "task" or "lost" in self.cells.get(position, {}):
            return
        if position < self.first:
            self.cells[position] = self._instructors(position)
            return
        forget = self.names.get(step.task, "") if step.kind == "solution" else ""
        self.cells[position] = _cell(
            self.ask("cell", step.source, forget, seconds=self.limits.cell_seconds)
        )

    def _instructors(self, position: int) -> dict:
        """Run a cell before which none of the student's code ran: what goes wrong is the machine's
        fault.
        """
        try:
            cell = _cell(
                self.sandbox.ask(
                    "cell", self.steps[position].source, "", seconds=self.limits.start_seconds
                )
            )
        except Lost as lost:
            self.drop()
            raise NotStarted(f"the instructor's first cells did not run ({lost})") from lost
        if cell["error"]:
            raise NotStarted(f"the instructor's first cells raised {': '.join(cell['error'])}")
        return cell


def _cell(reply: object) -> dict:
    """The reply of a cell, as far as it can be believed."""
    reply = reply if isinstance(reply, dict) else {}
    error = ("Error", _text(reply["failed"])) if "failed" in reply else _error(reply.get("error"))
    return {
        "error": error,
        "line": _text(reply.get("line")),
        "printed": _text(reply.get("printed")),
    }


def _error(value) -> tuple[str, str] | None:
    if isinstance(value, tuple | list) and len(value) == 2:
        return _text(value[0])[:100], _text(value[1])
    return None


def _text(value) -> str:
    return value[: safe_call.PRINTED] if isinstance(value, str) else ""


class RemoteAnswer(Answer):
    """An Answer whose function or value lives in the process of a session."""

    def __init__(self, task: Task, session: Session):
        super().__init__(task.name, seconds=GENEROUS * task.seconds)
        self.session = session

    def run(self, args: tuple, kwargs: Mapping, seconds: float) -> CallOutcome:
        limit = seconds + safe_call.GRACE + SLACK
        outcome = self._outcome("call", self.name, tuple(args), dict(kwargs), seconds, limit=limit)
        if outcome.stopped or outcome.running:  # threads or processes that it started may still run
            self.session.drop()
            outcome = replace(outcome, running=False)
        return outcome

    def look(self) -> CallOutcome:
        return self._outcome("look", self.name, limit=SLACK)

    def _outcome(self, *request, limit: float) -> CallOutcome:
        if self.session.sandbox is None:  # a judge that goes on after a Wrong
            raise Wrong(_lost("died", self.session.limits, self.seconds), "died")
        try:
            reply = self.session.ask(*request, seconds=limit)
        except Lost as lost:
            raise Wrong(_lost(lost.why, self.session.limits, self.seconds), lost.why) from lost
        outcome = _believable(reply)
        if outcome is None:
            failed = _text(reply.get("failed")) if isinstance(reply, dict) else ""
            if not failed:  # what comes next may be as little meant for us
                self.session.drop()
            raise Wrong(f"{LOST['unreadable']} {failed}".strip(), "unreadable")
        return outcome


def _believable(reply: object) -> CallOutcome | None:
    """A reply as a CallOutcome, None if it is none. Types are what they should be; what they say
    may be a lie.
    """
    if not isinstance(reply, dict) or not {"value", "error", "after"} <= reply.keys():
        return None
    after, changed = reply["after"], reply.get("changed", ())
    if not isinstance(after, dict) or not all(isinstance(state, dict) for state in after.values()):
        return None
    if not isinstance(changed, tuple | list) or not all(
        isinstance(key, int | str) for key in changed
    ):
        return None
    seconds = reply.get("seconds", 0.0)
    return CallOutcome(
        value=reply["value"],
        error=_error(reply["error"]),
        after=after,
        printed=_text(reply.get("printed")),
        line=_text(reply.get("line")),
        changed=tuple(changed),
        stopped=reply.get("stopped") is True,
        running=reply.get("running") is True,
        seconds=max(0.0, seconds) if isinstance(seconds, float) else 0.0,
    )


def _lost(why: str, limits: Limits, seconds: float) -> str:
    if why == "over":
        seconds = limits.seconds
    return LOST[why].format(seconds=seconds, memory=limits.memory)


# --- a submission ---------------------------------------------------------------------------------


def judge(
    plan: Plan,
    tasks: Mapping[str, Task],
    start: Callable[[], Sandbox],
    limits: Limits,
    rounds: int = GRADE_ROUNDS,
) -> Iterator[TaskResult]:
    """The results of a submission's tasks, one by one. Raises NotStarted."""
    session = Session(plan.steps, start, limits)
    try:
        for position, step in enumerate(plan.steps):
            if step.kind == "task":
                left = session.left
                verdict = _verdict(plan, position, tasks[step.task], session, rounds)
                yield _result(tasks[step.task], verdict, left - session.left)
    finally:
        session.drop()


def _result(task: Task, verdict: Verdict, seconds: float) -> TaskResult:
    figure = ""
    if verdict.figure:
        from kdcourse import plots  # matplotlib takes seconds to import

        figure = plots.to_html(verdict.figure)
    return TaskResult(
        task.name,
        task.points if verdict.right else 0,
        task.points,
        verdict.fault,
        verdict.message,
        verdict.printed,
        figure,
        round(seconds, 2),
    )


def _verdict(plan: Plan, position: int, task: Task, session: Session, rounds: int) -> Verdict:
    if not plan.found[task.name]:
        return Verdict(False, "No cell of the notebook holds an answer to this task.", "missing")
    try:
        session.reach(position)
        bound = session.ask("bind", task.name, plan.steps[position].source, seconds=SLACK)
    except Lost as lost:
        return Verdict(
            False, _lost(lost.why, session.limits, session.limits.cell_seconds), lost.why
        )
    if not isinstance(bound, dict) or bound.get("error", "") is not None:
        return _unbound(
            plan, position, task, session, _error(isinstance(bound, dict) and bound.get("error"))
        )
    for _ in range(rounds):
        verdict = task.judged(RemoteAnswer(task, session), secrets.randbits(48))
        if not verdict.right:
            return _with_hint(verdict, plan)
    return Verdict(True)


def _unbound(
    plan: Plan, position: int, task: Task, session: Session, error: tuple[str, str] | None
) -> Verdict:
    """Why the name that a task asks for does not exist: what became of the student's cell."""
    place = max(
        i
        for i, step in enumerate(plan.steps[:position])
        if step.kind == "solution" and step.task == task.name
    )
    cell = session.cells.get(place, {})
    if why := cell.get("lost"):
        return Verdict(
            False,
            "The cell itself: " + _lost(why, session.limits, session.limits.cell_seconds),
            why,
        )
    kind, message = cell.get("error") or error or ("", "")
    if kind == "NotImplementedError":
        return Verdict(False, "Not answered yet: the cell is as it was handed out.", "stub")
    if cell.get("error"):
        at = f" in {cell['line']}" if cell["line"] else ""
        verdict = Verdict(
            False, f"The cell raised {kind}{at}: {message}", "raised", printed=cell["printed"]
        )
        return _with_hint(verdict, plan)
    return Verdict(False, f"The cell does not define `{plan.steps[position].source}`.", "missing")


def _with_hint(verdict: Verdict, plan: Plan) -> Verdict:
    """Add why a name is not known, if it is one of the student's own from a cell that is not
    graded.
    """
    if verdict.fault == "raised":
        for name in sorted(plan.extra):
            if (
                "NameError" in verdict.message
                and f"name '{name}' is not defined" in verdict.message
            ):
                message = (
                    f"{verdict.message}. You define `{name}` in another cell. Only the cells of "
                    "the tasks are graded: what an answer needs belongs into its cell."
                )
                return replace(verdict, message=message)
    return verdict
