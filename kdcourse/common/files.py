"""Atomic writes: a file is written under a temporary name, then renamed."""

import os
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def replacing(path: str | os.PathLike) -> Iterator[Path]:
    """The name of a temporary file in the same folder, for the caller to write. It takes the place
    of `path` if all goes well, and is removed if not. Makes the folder; raises OSError.

    The temporary name ends in `.partial`. Only a process that is killed leaves such a file.
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    # Unique, because processes on several machines may write the same file in a shared folder.
    temporary = path.with_name(f".{path.name}.{uuid.uuid4().hex[:8]}.partial")
    try:
        yield temporary
        move(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)


def write_whole(path: str | os.PathLike, content: bytes) -> None:
    """Write all of `content` to `path`, or nothing. Makes the folder; raises OSError."""
    with replacing(path) as temporary:
        temporary.write_bytes(content)


def move(source: str | os.PathLike, target: str | os.PathLike) -> None:
    """Rename a file, over an older one."""
    for pause in (0.02, 0.1, 0.5):
        try:
            return os.replace(source, target)
        except PermissionError:  # on Windows, while another process reads the file
            time.sleep(pause)
    os.replace(source, target)
