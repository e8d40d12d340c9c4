"""A learner's progress: tries, hints shown, tasks solved and questions answered right, in a file in
the work folder.

Several kernels may write it: each change is made under a lock, and the file is replaced as a whole.
"""

import json
import os
import uuid
import warnings
from datetime import datetime
from pathlib import Path

from filelock import FileLock

from kdcourse.common.errors import DataWarning
from kdcourse.common.files import move, write_whole
from kdcourse.common.paths import work_dir

FORMAT = 1
EMPTY = {"tries": 0, "hints": 0, "right": False, "solution": False, "when": ""}  # of one task


def file() -> Path:
    """`progress.json` in the work folder, or what KDCOURSE_PROGRESS names."""
    named = os.environ.get("KDCOURSE_PROGRESS")
    return Path(os.path.expanduser(named)) if named else work_dir() / "progress.json"


def read() -> dict[str, dict]:
    """By task ("ex04.soft_target_loss") or question ("quiz04.temperature"; of these only `right`
    and `when` are told): tries, hints (seen), right, solution (seen), when (last, ISO 8601). Raises
    OSError.
    """
    return _load() or {}


def told() -> tuple[dict[str, dict], str]:
    """The same, and what is to be said where the file could not be read: nothing is known then. ""
    where it could.
    """
    try:
        known = _load()
    except OSError as error:
        return {}, f"Progress could not be read: {error}."
    if known is None:
        return (
            {},
            f"Progress could not be read: {file()} is damaged. It will be kept when a new one is "
            "begun.",
        )
    return known, ""


def note(
    key: str, *, tries: int = 0, hints: int = 0, right: bool = False, solution: bool = False
) -> None:
    """Add tries to what is known of a task; hints, right and solution never go back. Raises
    OSError.
    """
    with _locked():
        tasks = _load()
        if tasks is None:
            _set_aside()
            tasks = {}
        known = EMPTY | tasks.get(key, {})
        tasks[key] = {
            "tries": known["tries"] + tries,
            "hints": max(known["hints"], hints),
            "right": known["right"] or right,
            "solution": known["solution"] or solution,
            "when": datetime.now().astimezone().isoformat(timespec="seconds"),
        }
        write_whole(file(), json.dumps({"format": FORMAT, "tasks": tasks}, indent=1).encode())


def reset() -> None:
    """Forget everything. Raises OSError."""
    with _locked():
        file().unlink(missing_ok=True)


def _load() -> dict | None:
    """The tasks in the file; {} if there is none; None if it is damaged."""
    try:
        content = json.loads(file().read_text(encoding="utf-8"))
    except FileNotFoundError:
        return {}
    except ValueError:
        return None
    tasks = (
        content.get("tasks")
        if isinstance(content, dict) and content.get("format") == FORMAT
        else None
    )
    right = isinstance(tasks, dict) and all(
        isinstance(known, dict)
        and all(type(known.get(name)) is type(empty) for name, empty in EMPTY.items())
        for known in tasks.values()
    )
    return tasks if right else None


def _set_aside() -> None:
    aside = file().with_name(
        f"progress.damaged-{datetime.now():%Y%m%d-%H%M%S}-{uuid.uuid4().hex[:4]}.json"
    )
    move(file(), aside)
    message = f"{file()} was damaged. It is kept as {aside.name}, and a new one is begun."
    warnings.warn(message, DataWarning, stacklevel=3)


def _locked() -> FileLock:
    """One process at a time. The system frees the lock of a process that dies."""
    file().parent.mkdir(parents=True, exist_ok=True)
    return FileLock(file().with_name("progress.lock"))
