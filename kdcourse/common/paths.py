"""Where the course reads data from and writes what it makes.

- `data_root()`: the data sets. `KDCOURSE_DATA`, else the same as `work_dir()`.
- `work_dir()`: what the course makes (scenes, decoded stores, trained networks). `KDCOURSE_WORK`,
  else `data/` of a checkout, else `~/.kdcourse`. So a data root may be read-only.
"""

import os
from pathlib import Path

from kdcourse.common.errors import DataError


def checkout() -> Path | None:
    """The root of the repository if the package runs from one (an editable install), else None."""
    root = Path(__file__).resolve().parents[2]
    return root if (root / "notebooks").is_dir() and (root / "pyproject.toml").is_file() else None


def errors_page() -> str:
    """Where docs/errors.md is: a path in a checkout, else its address."""
    from importlib.metadata import metadata

    if checkout():
        return "docs/errors.md"
    addresses = dict(line.split(", ") for line in metadata("kdcourse").get_all("Project-URL"))
    return f"{addresses['Repository']}/blob/main/docs/errors.md"


def work_dir() -> Path:
    if named := os.environ.get("KDCOURSE_WORK"):
        return Path(os.path.expanduser(named))
    root = checkout()
    return root / "data" if root else Path.home() / ".kdcourse"


def data_root(root: str | os.PathLike | None = None) -> Path:
    """The folder with the data sets: `root`, or `KDCOURSE_DATA`, or `work_dir()`.

    Raises DataError if a folder that was named does not exist.
    """
    named = root or os.environ.get("KDCOURSE_DATA")
    if not named:
        return work_dir()
    path = Path(os.path.expanduser(named))
    if not os.path.isdir(path):  # Path.is_dir raises where a folder above it is closed
        source = "root=" if root else "KDCOURSE_DATA="
        raise DataError(
            f"{source}{path}: no such folder. Name a folder that holds the data sets, or leave it "
            "unset."
        )
    return path
