"""Exercises are made of solutions: `kdcourse exercises build`.

`solutions/sol_NN_….ipynb` has nbgrader's delimiters and metadata. In `exercises/ex_NN_….ipynb` what
stands between `### BEGIN SOLUTION` and `### END SOLUTION` has become a stub, hidden tests are gone,
and outputs are cleared.
"""

import copy
import hashlib
import json
import re
import textwrap
from pathlib import Path

from kdcourse.common.errors import DataError, UsageError
from kdcourse.common.files import write_whole
from kdcourse.common.notebooks import notebook_text, read_notebook, text
from kdcourse.common.paths import checkout

# from the line that begins a region to the one that ends it, both whole
REGION = r"^(?P<indent>[ \t]*)### BEGIN {0}\n(?P<inside>.*?)^[ \t]*### END {0}(?:\n|\Z)"
SOLUTION = re.compile(REGION.format("SOLUTION"), re.MULTILINE | re.DOTALL)
HIDDEN = re.compile(REGION.format("HIDDEN TESTS"), re.MULTILINE | re.DOTALL)
MARKER = re.compile(r"### (BEGIN|END) (SOLUTION|HIDDEN TESTS)")


def build(
    solutions: Path | None = None,
    exercises: Path | None = None,
    *,
    check: bool = False,
    force: bool = False,
):
    """Write every exercise that is not as its solution has it, and return their paths; check: only
    return them.

    solutions, exercises: folders; by default those of the checkout. An exercise that was edited by
      hand, such as one that somebody solves, is left alone: UsageError, unless force. Exercises
      without a solution are returned too, and stay. Raises UsageError outside a checkout, DataError
      for a solutions notebook that is damaged.
    """
    root = checkout()
    if not root and not (solutions and exercises):
        raise UsageError(
            "exercises are built in a checkout of the course: this is an installed package"
        )
    solutions, exercises = (
        Path(solutions or root / "solutions"),
        Path(exercises or root / "exercises"),
    )
    wanted = {}
    for path in sorted(solutions.glob("sol_*.ipynb")):
        wanted[exercises / f"ex_{path.stem.removeprefix('sol_')}.ipynb"] = exercise(
            read_notebook(path), path.name
        )
    out_of_step = [path for path in sorted(exercises.glob("*.ipynb")) if path not in wanted]
    for path, notebook in wanted.items():
        content = notebook_text(notebook)
        if path.exists() and path.read_text(encoding="utf-8") == content:
            continue
        out_of_step.append(path)
        if check:
            continue
        if path.exists() and not force and _edited(path):
            raise UsageError(
                f"{path} was edited by hand. Move it away, or overwrite it with --force."
            )
        write_whole(path, content.encode())
    return out_of_step


def exercise(solution: dict, name: str = "the notebook") -> dict:
    """The exercise of a solutions notebook, as parsed JSON. Raises DataError, which names the cell,
    for bad regions.
    """
    notebook, grade_ids = copy.deepcopy(solution), set()
    for cell in notebook["cells"]:
        source = text(cell["source"])
        graded = cell["metadata"].get("nbgrader", {})
        grade_id, where = graded.get("grade_id", ""), f"{name}, cell {cell.get('id', '?')}"
        if grade_id in grade_ids:
            raise DataError(
                f"{where}: the grade_id {grade_id!r} is there twice. Give each cell its own."
            )
        grade_ids |= {grade_id} - {""}
        if bool(SOLUTION.search(source)) != bool(graded.get("solution")):
            raise DataError(
                f"{where}: expected `### BEGIN SOLUTION` … `### END SOLUTION` in every cell that "
                "is a solution by its nbgrader metadata, and in no other."
            )
        source = SOLUTION.sub(lambda region, name=grade_id: _stub(region, name), source)
        source = HIDDEN.sub("", source)
        if found := MARKER.search(source):
            raise DataError(
                f"{where}: `{found.group()}` stands alone. A region begins and ends in the same "
                "cell."
            )
        cell["source"] = source.rstrip("\n").splitlines(True)
        if cell["cell_type"] == "code":
            cell["outputs"], cell["execution_count"] = [], None
    notebook["metadata"]["kdcourse"] = {"built": _digest(notebook)}
    return notebook


def _stub(region: re.Match, name: str) -> str:
    """What stands in the place of a solution; where a value is asked for, with a line that says
    which name it has.
    """
    value = re.search(rf"^{re.escape(name)}\s*=", textwrap.dedent(region["inside"]), re.MULTILINE)
    lines = [f"# {name} = …"] if value else []
    lines.append(f'raise NotImplementedError("{name}: your turn")')
    return "".join(f"{region['indent']}{line}\n" for line in lines)


def _digest(notebook: dict) -> str:
    sources = [[cell["cell_type"], text(cell["source"])] for cell in notebook["cells"]]
    return hashlib.sha256(json.dumps(sources).encode()).hexdigest()[:16]


def _edited(path: Path) -> bool:
    """Whether the cells of an exercise are others than those that it was built with."""
    notebook = read_notebook(path)
    return notebook["metadata"].get("kdcourse", {}).get("built") != _digest(notebook)
