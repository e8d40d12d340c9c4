"""Notebooks as files: read, checked and written the way JupyterLab writes them."""

import json
from pathlib import Path

from kdcourse.common.errors import DataError


def read_notebook(path: Path) -> dict:
    """The notebook as parsed JSON. Raises DataError if it is none that the course can run."""
    try:
        notebook = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise DataError(
            f"{path} is not a readable notebook ({error}). Restore it, e.g. by git."
        ) from error
    if (
        not isinstance(notebook, dict)
        or not isinstance(notebook.get("cells"), list)
        or notebook.get("nbformat") != 4
    ):
        raise DataError(
            f"{path} is JSON but no notebook of format 4. Open and save it in JupyterLab to "
            "convert it."
        )
    return notebook


def notebook_text(notebook: dict) -> str:
    """A notebook as it is committed: the form in which JupyterLab, too, would write it."""
    return json.dumps(notebook, indent=1, ensure_ascii=False) + "\n"


def tags(cell: dict) -> list[str]:
    return cell.get("metadata", {}).get("tags", [])


def text(source: str | list[str]) -> str:
    """A notebook's text field, which JSON may hold as a list of lines."""
    return source if isinstance(source, str) else "".join(source)
