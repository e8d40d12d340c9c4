"""A student's solution cells among the instructor's: what is graded, whatever else the student's
notebook holds.
"""

import ast
import json
import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from kdcourse.common.errors import DataError
from kdcourse.common.notebooks import read_notebook, text

MAX_NOTEBOOK = 20_000_000  # bytes


class Refused(Exception):
    """A submission that cannot be graded, and why."""


@dataclass(frozen=True)
class GradedCell:
    """What is done with a cell, in the order of the instructor's notebook.

    kind: "given" runs `source`, the instructor's; "solution" runs `source`, the student's; "task"
    judges what the expression `source` stands for then.
    """

    kind: str
    source: str
    task: str = ""


@dataclass(frozen=True)
class Exercise:
    """An exercise to grade. name: "ex04". notebook: the instructor's, with solutions. module: with
    its Tasks.
    """

    name: str
    notebook: Path
    module: str

    @property
    def title(self) -> str:
        return self.notebook.stem.removeprefix("sol_")


@dataclass
class Plan:
    """One submission of one exercise. found: whether the student has an answer, by task. notes: for
    the student.
    """

    steps: list[GradedCell]
    found: dict[str, bool] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)
    extra: set[str] = field(
        default_factory=set
    )  # names that are defined in cells of theirs that are not run


# --- notebooks ------------------------------------------------------------------------------------


def read(path: Path) -> dict:
    """A student's notebook. Raises Refused if it is none."""
    size = path.stat().st_size
    if size > MAX_NOTEBOOK:
        raise Refused(
            f"The file is {size / 1e6:,.0f} MB; {MAX_NOTEBOOK / 1e6:,.0f} MB are allowed. Clear "
            "the outputs and save."
        )
    try:
        notebook = json.loads(path.read_bytes())
    except (ValueError, RecursionError) as error:
        raise Refused(f"The file is no notebook: it is not JSON ({str(error)[:100]}).") from error
    cells = notebook.get("cells") if isinstance(notebook, dict) else None
    if not isinstance(cells, list):
        raise Refused("The file is JSON but no notebook of format 4: it has no cells.")
    return notebook


def code_cells(notebook: dict) -> list[tuple[str, str]]:
    """grade_id (or "") and source of each code cell. Cells that are none are left out."""
    found = []
    for cell in notebook["cells"]:
        if isinstance(cell, dict) and cell.get("cell_type") == "code":
            source = cell.get("source", "")
            if isinstance(source, str) or (
                isinstance(source, list) and all(isinstance(line, str) for line in source)
            ):
                found.append((_grade_id(cell), text(source)))
    return found


def _nbgrader(cell: dict) -> dict:
    metadata = cell.get("metadata")
    about = metadata.get("nbgrader") if isinstance(metadata, dict) else None
    return about if isinstance(about, dict) else {}


def _grade_id(cell: dict) -> str:
    about = _nbgrader(cell)
    grade_id = about.get("grade_id")
    return grade_id if isinstance(grade_id, str) and about.get("solution") is True else ""


def instructor_steps(path: Path) -> list[GradedCell]:
    """The steps of the instructor's notebook, with the reference's solutions. Raises DataError if
    it is damaged.
    """
    steps: list[GradedCell] = []
    for cell in read_notebook(path)["cells"]:
        source, about = text(cell["source"]), _nbgrader(cell)
        if cell["cell_type"] != "code" or not source.strip():
            continue
        if about.get("solution"):
            steps.append(GradedCell("solution", source, about["grade_id"]))
        elif about.get("grade"):
            steps.append(GradedCell("task", *_asked(source, path)))
        else:
            steps.append(GradedCell("given", source))
    tasks = [step.task for step in steps if step.kind == "task"]
    solutions = [step.task for step in steps if step.kind == "solution"]
    if not tasks or set(tasks) - set(solutions) or len(set(tasks)) < len(tasks):
        raise DataError(
            f"{path}: each task needs one solution cell and one check cell; found {solutions} and "
            f"{tasks}."
        )
    return steps


def _asked(source: str, path: Path) -> tuple[str, str]:
    """From `ex04.soft_target_loss.check(my_loss)`: the expression that is checked, and the task's
    name.
    """
    for node in ast.walk(ast.parse(source)):
        if (
            isinstance(node, ast.Call)
            and isinstance(node.func, ast.Attribute)
            and node.func.attr == "check"
        ):
            if isinstance(node.func.value, ast.Attribute) and len(node.args) == 1:
                return ast.unparse(node.args[0]), node.func.value.attr
    raise DataError(
        f"{path}: the check cell {source[:60]!r} does not call exNN.TASK.check(ANSWER)."
    )


# --- which exercise -------------------------------------------------------------------------------


def recognise(notebook: dict, file_name: str, steps: dict[str, list[GradedCell]]) -> str:
    """The exercise that a notebook belongs to: by its cells' grade_ids, else its name, else the
    names it defines.

    Raises Refused.
    """
    cells = code_cells(notebook)
    ids = {grade_id for grade_id, _ in cells}
    if best := _most({name: len(ids & _tasks(steps[name])) for name in steps}):
        return best
    if numbered := re.search(r"(?:ex|sol)[_\- ]?0?(\d{1,2})(?!\d)", file_name, re.IGNORECASE):
        if (name := f"ex{int(numbered[1]):02d}") in steps:
            return name
    defined = set().union(*(defines(source) for _, source in cells))
    if best := _most({name: len(defined & _answers(steps[name])) for name in steps}):
        return best
    raise Refused(
        "Which exercise is this? No cell bears the mark of a task, the file's name holds no ex01, "
        "ex02, …, and no cell defines what a task asks for."
    )


def _most(count: dict[str, int]) -> str | None:
    best = max(count, key=count.get, default=None)
    return best if best and count[best] else None


def _tasks(steps: Sequence[GradedCell]) -> set[str]:
    return {step.task for step in steps if step.kind == "task"}


def _answers(steps: Sequence[GradedCell]) -> set[str]:
    return {step.source for step in steps if step.kind == "task" and step.source.isidentifier()}


def defines(source: str) -> set[str]:
    """The names that a cell defines on its outermost level; a guess from the text if it is no
    Python.
    """
    try:
        body = ast.parse(source).body
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return set(
            re.findall(r"^(?:(?:async )?def |class )?(\w+) *(?:\(|:|=(?!=))", source, re.MULTILINE)
        )
    names = set()
    for node in body:
        if isinstance(node, ast.FunctionDef | ast.ClassDef | ast.AsyncFunctionDef):
            names.add(node.name)
        elif isinstance(node, ast.Assign | ast.AnnAssign):
            targets = node.targets if isinstance(node, ast.Assign) else [node.target]
            names |= {
                inner.id
                for target in targets
                for inner in ast.walk(target)
                if isinstance(inner, ast.Name)
            }
        elif isinstance(node, ast.Import | ast.ImportFrom):
            names |= {(alias.asname or alias.name).split(".")[0] for alias in node.names}
    return names


# --- the graded notebook --------------------------------------------------------------------------


def assemble(notebook: dict, steps: Sequence[GradedCell]) -> Plan:
    """The instructor's steps with the student's solution cells."""
    cells = code_cells(notebook)
    plan, used = Plan([]), set()
    expressions = {step.task: step.source for step in steps if step.kind == "task"}
    for step in steps:
        if step.kind != "solution":
            plan.steps.append(step)
            continue
        answer = expressions.get(step.task, step.task)
        place, note = _find(step.task, answer, cells)
        if note:
            plan.notes.append(note)
        if step.task in expressions:
            plan.found[step.task] = place is not None
        if place is not None:
            used.add(place)
            plan.steps.append(GradedCell("solution", cells[place][1], step.task))
    given = [step.source.strip() for step in steps]
    for place, (_, source) in enumerate(cells):
        if place not in used and source.strip() not in given:
            plan.extra |= defines(source)
    return plan


def _find(task: str, answer: str, cells: Sequence[tuple[str, str]]) -> tuple[int | None, str]:
    """Which cell holds the answer to a task, and what is to be said of it."""
    marked = [place for place, (grade_id, _) in enumerate(cells) if grade_id == task]
    named = [place for place, (_, source) in enumerate(cells) if answer in defines(source)]
    if len(marked) > 1:
        written = [
            place for place in marked if "NotImplementedError" not in cells[place][1]
        ] or marked
        return written[
            -1
        ], f"{task}: {len(marked)} cells bear its mark; the last one that holds an answer counts."
    if marked and (marked[0] in named or not named):
        return marked[0], ""
    if named:
        return named[
            -1
        ], f"{task}: its own cell is gone or empty; the last cell that defines `{answer}` counts."
    return None, ""
