"""Which notebooks to run, and with which parameters."""

import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from kdcourse.common.errors import DataError, UsageError, unknown
from kdcourse.common.notebooks import read_notebook, tags, text
from kdcourse.common.paths import checkout, data_root
from kdcourse.running.doctor import where

Echo = Callable[[str], None]


@dataclass
class NotebookJob:
    """A notebook to run, with the parameters that it knows."""

    path: Path
    known: set[str]
    code_cells: int
    needs: frozenset[str] = frozenset()  # notebooks whose networks it loads
    parameters: dict = field(default_factory=dict)
    attempt: int = 1

    @property
    def name(self) -> str:
        return self.path.stem


# --- which notebooks ------------------------------------------------------------------------------


def notebooks_folder() -> Path:
    root = checkout()
    return (root or Path.cwd()) / "notebooks"


def select(names: Sequence[str] = ()) -> list[Path]:
    """Paths of the notebooks called `names`: names ("03_baselines"), numbers ("03") or paths; by
    default all.

    Raises UsageError for a name that no notebook has, a missing file, or two notebooks that would
    share an output.
    """
    folder = notebooks_folder()
    course = {path.stem: path for path in sorted(folder.glob("0*.ipynb"))}
    if not names and not course:
        raise UsageError(
            f"no notebooks in {folder}. Run this in a checkout of the course, or name notebooks by "
            "path."
        )
    paths = [_find(name, course, folder) for name in names] or list(course.values())
    stems = [path.stem for path in paths]
    if twice := {stem for stem in stems if stems.count(stem) > 1}:
        raise UsageError(
            f"{', '.join(sorted(twice))}: named twice; their outputs would overwrite each other."
        )
    return paths


def _find(name: str, course: dict[str, Path], folder: Path) -> Path:
    if name in course:
        return course[name]
    if name.isdecimal():
        for stem, path in course.items():
            if stem.split("_")[0] == name.zfill(2):
                return path
    elif name.endswith(".ipynb") or os.sep in name:
        path = Path(name).expanduser().resolve()
        if not path.is_file():
            raise UsageError(f"notebook {name}: no such file.")
        return path
    if not course:
        raise UsageError(f"notebook {name!r}: there are no notebooks in {folder}. Name it by path.")
    raise unknown("notebook", name, course)


def prepare(path: Path) -> NotebookJob:
    """A task for the notebook: which parameters it knows (papermill), how many code cells it has.

    Raises DataError if it is no Python notebook or has no cell tagged `parameters`.
    """
    import papermill

    notebook = read_notebook(path)
    metadata = notebook.get("metadata", {})
    kernel = metadata.get("kernelspec", {})
    language = metadata.get("language_info", {}).get("name") or kernel.get("language")
    if language != "python":
        raise DataError(
            f"{path} is a notebook for {language or 'no language'} (kernel "
            f"{kernel.get('name', 'not named')!r}); the course runs Python. Choose the kernel "
            "'Python 3' in JupyterLab and save."
        )
    if not any("parameters" in tags(cell) for cell in notebook["cells"]):
        raise DataError(
            f"{path} has no cell tagged `parameters`, so a profile or data set cannot reach it. "
            "Add the tag to the "
            'cell that holds `profile = None` and `dataset = "scenes"`.'
        )
    code_cells = sum(
        cell["cell_type"] == "code" and bool(text(cell["source"]).strip())
        for cell in notebook["cells"]
    )
    needs = frozenset(metadata.get("kdcourse", {}).get("needs", ()))
    return NotebookJob(path, set(papermill.inspect_notebook(path)), code_cells, needs)


# --- parameters -----------------------------------------------------------------------------------


def parse_parameter(assignment: str) -> tuple[str, object]:
    """`"limit=300"` to `("limit", 300)`. Values are Python or YAML: 1e-3, none, true, [1, 2];
    anything else is text.

    Raises UsageError if there is no name or no `=`.
    """
    import ast

    import yaml

    name, equals, value = assignment.partition("=")
    if not equals or not name.strip().isidentifier():
        raise UsageError(
            f"--param {assignment!r}: expected NAME=VALUE, for example --param limit=300."
        )
    try:
        parsed = ast.literal_eval(value.strip())
    except (ValueError, SyntaxError):
        try:
            parsed = yaml.safe_load(value)
        except yaml.YAMLError:
            parsed = value
    if not isinstance(parsed, str | int | float | bool | list | None):
        parsed = value  # a date or a mapping stays text
    return name.strip(), parsed


def assign(tasks: list[NotebookJob], parameters: dict[str, object], echo: Echo) -> None:
    """Give each notebook those of `parameters` that it knows.

    A profile that no notebook knows is left out, because it also reaches them by the environment;
    so is a data set of None. Raises UsageError for any other parameter that no notebook knows.
    """
    for name, value in parameters.items():
        knowing = [task for task in tasks if name in task.known]
        if (name == "profile" and not knowing) or (name == "dataset" and value is None):
            continue
        if not knowing:
            raise unknown("parameter", name, set().union(*(task.known for task in tasks)))
        for task in knowing:
            task.parameters[name] = value
        if len(knowing) < len(tasks):
            echo(
                f"Note: only {', '.join(task.name for task in knowing)} know the parameter {name}."
            )


def find_dataset(name: str) -> str:
    """The data set's name, or the absolute path of a folder of images (a notebook runs in its own
    folder).

    Raises UsageError if it is neither, DataError if the files or the folder are not here.
    """
    from kdcourse.data.datasets import CATALOG, dataset_info

    info = dataset_info(name)
    if name in CATALOG:
        if not where(info, data_root()):
            info.found(None)  # raises the error that says how to get it
        return name
    return os.path.abspath(os.path.expanduser(name))
