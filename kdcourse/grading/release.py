"""What learners get of the exercises: `kdcourse release`. No solutions, no hidden tests, no
keys.
"""

import json
import os
import shutil
import tempfile
import zipfile
from pathlib import Path

from kdcourse import __version__
from kdcourse.common.errors import DataError, UsageError
from kdcourse.common.notebooks import read_notebook, text
from kdcourse.common.paths import checkout
from kdcourse.exercises.build import MARKER, build
from kdcourse.notebook.badges import repository

MARK = "release.json"  # in a release, and in nothing else: such a folder may be replaced

REQUIREMENTS = """# The course's package, in the version of these exercises, and JupyterLab.
kdcourse[lab] @ git+{repository}@v{version}
"""

README = """# Exercises: distilling knowledge

{count} exercises for the notebooks of the course. Each task asks for code, for a figure read off
a picture, or for a judgement, and answers back: run the cell below yours as often as you like.
Progress is kept on your machine; `kdcourse progress` shows it.

## Set up

Python 3.11 or newer, about 7 GB, a few minutes:

```
python3 -m venv .venv
.venv/bin/pip install -r requirements.txt -c constraints.txt
.venv/bin/kdcourse doctor
.venv/bin/jupyter lab exercises
```

On Windows it is `.venv\\Scripts` instead of `.venv/bin`. `requirements.txt` names kdcourse
{version}, the version that these exercises were made with; `constraints.txt` the versions of
everything else that it was tested with. Or open a notebook on Colab by its badge: nothing to
install.

## Data

Nothing has to be downloaded: the course makes its own satellite tiles, and what else the
exercises need comes with the packages. If you want real data, `kdcourse data list` says what
there is, and `kdcourse data get NAME` fetches it.

## Hand in

Hand in the notebooks as they are, with their names. Cells that you add are yours; only the cells
of the tasks are graded, so what an answer needs belongs into its cell. Restart the kernel and run
all cells once before you hand in.

| exercise | tasks | points |
|---|---|---|
{rows}
"""


def release(folder: str | os.PathLike) -> Path:
    """Write the exercises, what to install and a README for learners to `folder`, and the same as
    `folder`.zip.

    An earlier release there is replaced, when the new one is whole. Returns the path of the zip.

    Raises UsageError outside a checkout, if exercises are out of step with solutions, or if the
    folder holds something else; DataError for an exercise that still holds what should be hidden.
    """
    root = checkout()
    if root is None:
        raise UsageError(
            "kdcourse release needs a checkout of the course: this is an installed package."
        )
    exercises = sorted((root / "exercises").glob("ex_*.ipynb"))
    if out_of_step := build(check=True):
        names = ", ".join(path.name for path in out_of_step)
        raise UsageError(f"out of step with solutions/: {names}. Run: kdcourse exercises build")
    if not exercises:
        raise UsageError(f"there are no exercises in {root / 'exercises'}.")
    folder = Path(folder).expanduser().absolute()
    if folder.is_dir() and any(folder.iterdir()) and not (folder / MARK).is_file():
        raise UsageError(
            f"{folder} holds something else than a release. Name a new or empty folder."
        )
    if folder.exists() and not folder.is_dir():
        raise UsageError(f"{folder} is a file. Name a new or empty folder.")
    folder.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(
        prefix=f".{folder.name}.partial-", dir=folder.parent
    ) as scratch:
        made = Path(scratch) / "new"
        _write(made, exercises, root)
        packed = _zip(made, folder.name, Path(scratch) / "new.zip")
        if folder.exists():
            os.replace(folder, Path(scratch) / "old")
        os.replace(made, folder)
        target = folder.with_name(f"{folder.name}.zip")
        os.replace(packed, target)
    return target


def _write(folder: Path, exercises: list[Path], root: Path) -> None:
    (folder / "exercises").mkdir(parents=True)
    rows = []
    for path in exercises:
        rows.append(_row(path))
        shutil.copyfile(path, folder / "exercises" / path.name)
    shutil.copyfile(root / "constraints.txt", folder / "constraints.txt")
    about = {
        "version": __version__,
        "count": len(exercises),
        "rows": "\n".join(rows),
        "repository": repository(root),
    }
    (folder / "requirements.txt").write_text(REQUIREMENTS.format(**about), encoding="utf-8")
    (folder / "README.md").write_text(README.format(**about), encoding="utf-8")
    (folder / MARK).write_text(json.dumps({"kdcourse": __version__}) + "\n", encoding="utf-8")


def _row(path: Path) -> str:
    """An exercise's line in the README. Raises DataError if it shows what learners are not to
    see.
    """
    cells = read_notebook(path)["cells"]
    title, points, tasks = text(cells[0]["source"]).splitlines()[0].lstrip("# "), 0, 0
    for cell in cells:
        about = cell["metadata"].get("nbgrader", {})
        if MARKER.search(text(cell["source"])) or cell.get("outputs"):
            raise DataError(
                f"{path} holds a solution, a hidden test or an output. Run: kdcourse exercises "
                "build --force"
            )
        tasks, points = tasks + bool(about.get("grade")), points + about.get("points", 0)
    return f"| [{title}](exercises/{path.name}) | {tasks} | {points} |"


def _zip(folder: Path, name: str, path: Path) -> Path:
    """All files of `folder`, under `name`; of equal content an equal zip."""
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for file in sorted(folder.rglob("*")):
            if file.is_file():
                entry = zipfile.ZipInfo(f"{name}/{file.relative_to(folder).as_posix()}")
                entry.external_attr = 0o644 << 16
                archive.writestr(entry, file.read_bytes(), zipfile.ZIP_DEFLATED)
    return path
