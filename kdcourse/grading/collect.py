"""Finding submissions: folders, files and zips as learning platforms export them.

Nothing is written under a name that a student chose, and no link is followed.
"""

import math
import os
import re
import stat
import tempfile
import zipfile
import zlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from kdcourse.common.errors import UsageError
from kdcourse.grading.merge import MAX_NOTEBOOK

MAX_ENTRIES = 20_000  # of a zip
MAX_ZIP = 200_000_000  # bytes of a student's zip, and of all that comes out of it
MAX_DEPTH = 3  # zips within zips
NO_NOTEBOOK = "No notebook (.ipynb) and no zip with one was handed in."
DOCUMENTS = ("pdf", "py", "html", "docx", "rar", "7z", "gz")  # what students hand in instead
IGNORED = ("__MACOSX", ".ipynb_checkpoints")  # folders that machines add

EXERCISE = re.compile(r"(?:^|[\s_\-.]+)(?:ex|sol)[_\- ]?\d{1,2}(?!\d).*$", re.IGNORECASE)
MOODLE = re.compile(
    r"^(?P<student>.+?_\d+)_assignsubmission_[a-z]+"
)  # Ada Lovelace_123_assignsubmission_file_…
CANVAS = re.compile(
    r"^(?P<student>[^_]+(?:_LATE)?_\d{2,})_\d{2,}_"
)  # lovelaceada_123_4567_ex_04….ipynb


@dataclass(frozen=True)
class Submission:
    """A notebook that a student handed in, or what stands in its place and why it is refused."""

    student: str
    name: str  # as the student, or the platform, named it
    path: Path | None = None
    refused: str = ""
    when: float = 0.0  # last changed


def collect(submissions: str | os.PathLike, scratch: Path) -> list[Submission]:
    """What students handed in: of a folder, or a zip, with a folder or a file for each student.

    scratch: an empty folder, for what comes out of zips. Raises UsageError if there is nothing to
    grade, or the zip itself cannot be read.
    """
    source = Path(submissions).expanduser()
    if source.is_dir():
        entries = _folder(source)
    elif source.is_file() and zipfile.is_zipfile(source):
        entries = _zip(source, _Unpacked(scratch, math.inf))
    elif source.exists():
        raise UsageError(
            f"{source} is no folder and no zip. Name the folder of submissions, or the platform's "
            "zip."
        )
    else:
        raise UsageError(f"{source}: no such folder or zip.")
    found = _submissions_of(list(_unzipped(entries, scratch)), zipped=source.is_file())
    if all(submission.refused == NO_NOTEBOOK for submission in found):
        raise UsageError(
            f"{source} holds no notebooks: expected a folder or an .ipynb for each student."
        )
    return sorted(
        found,
        key=lambda submission: (submission.student.casefold(), submission.student, submission.name),
    )


@dataclass(frozen=True)
class _Entry:
    """A file, by its path within SUBMISSIONS: which says whose it is."""

    parts: tuple[str, ...]
    path: Path | None = None
    refused: str = ""
    when: float = 0.0


def _kind(name: str) -> str:
    return name.rpartition(".")[2].lower() if "." in name else ""


def _ignored(parts: Sequence[str]) -> bool:
    return any(part in IGNORED or part.startswith(".") for part in parts)


def _wanted(parts: Sequence[str]) -> bool:
    return _kind(parts[-1]) in ("ipynb", "zip")


# --- folders --------------------------------------------------------------------------------------


def _folder(root: Path) -> Iterator[_Entry]:
    for folder, inner, files in os.walk(root):
        for name in sorted(inner):
            path = Path(folder, name)
            if path.is_symlink() and name not in IGNORED:
                yield _Entry(
                    path.relative_to(root).parts,
                    refused="A link to a folder; links are not followed.",
                )
        for name in sorted(files):
            path = Path(folder, name)
            parts = path.relative_to(root).parts
            if _ignored(parts):
                continue
            about = path.lstat()
            if not _wanted(parts):
                yield _Entry(parts, refused=NO_NOTEBOOK)
            elif stat.S_ISLNK(about.st_mode):
                yield _Entry(parts, refused="A link; links are not followed.")
            elif not stat.S_ISREG(about.st_mode):
                yield _Entry(parts, refused="Not a plain file.")
            elif not os.access(path, os.R_OK):
                yield _Entry(parts, refused="The file may not be read: its permissions forbid it.")
            else:
                yield _Entry(parts, path, when=about.st_mtime)


# --- zips -----------------------------------------------------------------------------------------


class _Unpacked:
    """Writes files under names of its own, `left` bytes in all."""

    def __init__(self, folder: Path, left: float):
        self.folder, self.left = folder, left

    def write(self, stream, limit: int) -> Path | None:
        """None if there is more than `limit`, or than is left."""
        descriptor, name = tempfile.mkstemp(dir=self.folder)
        limit = min(limit, self.left)
        with open(descriptor, "wb") as file:
            while block := stream.read(1 << 20):
                self.left -= len(block)
                limit -= len(block)
                if limit < 0:
                    break
                file.write(block)
            else:
                return Path(name)
        os.unlink(name)
        return None


def _zip(path: Path, unpacked: _Unpacked) -> Iterator[_Entry]:
    """The files of a zip. Raises UsageError if it cannot be read as a whole."""
    try:
        with zipfile.ZipFile(path) as archive:
            entries = archive.infolist()
            if len(entries) > MAX_ENTRIES:
                raise UsageError(
                    f"{path.name} holds {len(entries):,} files; {MAX_ENTRIES:,} are allowed."
                )
            for entry in entries:
                if not entry.is_dir():
                    yield from _member(archive, entry, unpacked)
    except (zipfile.BadZipFile, NotImplementedError, OSError, ValueError) as error:
        raise UsageError(f"{path.name} is a damaged zip ({error}).") from error


def _member(
    archive: zipfile.ZipFile, entry: zipfile.ZipInfo, unpacked: _Unpacked
) -> Iterator[_Entry]:
    name = entry.filename.replace("\\", "/")
    parts = tuple(part for part in PurePosixPath(name).parts if part not in ("/", "..", "."))
    if not parts or _ignored(parts):
        return
    limit = MAX_NOTEBOOK if _kind(parts[-1]) == "ipynb" else MAX_ZIP
    if not _wanted(parts):
        refused = NO_NOTEBOOK
    elif name.startswith("/") or ".." in PurePosixPath(name).parts or re.match(r"^[A-Za-z]:", name):
        refused = f"Its path within the zip leads out of it: {name[:200]!r}."
    elif stat.S_ISLNK(entry.external_attr >> 16):
        refused = "A link; links are not followed."
    elif entry.flag_bits & 1:
        refused = "It is encrypted."
    elif entry.file_size > limit:
        refused = (
            f"The file is {entry.file_size / 1e6:,.0f} MB; {limit / 1e6:,.0f} MB are allowed. "
            "Clear the outputs."
        )
    else:
        try:
            with archive.open(entry) as stream:
                path = unpacked.write(stream, limit)
        except (
            zipfile.BadZipFile,
            NotImplementedError,
            zlib.error,
            EOFError,
            OSError,
            RuntimeError,
        ) as error:
            yield _Entry(parts, refused=f"It is damaged within the zip ({error}).")
            return
        if path:
            yield _Entry(parts, path, when=_when(entry))
            return
        refused = f"It unpacks to more than the {limit / 1e6:,.0f} MB that are allowed."
    yield _Entry(parts, refused=refused)


def _when(entry: zipfile.ZipInfo) -> float:
    """Orders entries by time; of what epoch does not matter."""
    year, month, day, hour, minute, second = entry.date_time
    return ((((year * 12 + month) * 31 + day) * 24 + hour) * 60 + minute) * 60.0 + second


def _unzipped(entries: Iterator[_Entry], scratch: Path) -> Iterator[_Entry]:
    """Notebooks, and those within students' zips. One student's zip cannot use up what another's
    needs.
    """
    for entry in entries:
        yield from _inner(entry, _Unpacked(scratch, MAX_ZIP), 1)


def _inner(entry: _Entry, unpacked: _Unpacked, depth: int) -> Iterator[_Entry]:
    if _kind(entry.parts[-1]) != "zip" or entry.refused:
        yield entry
        return
    folder = (*entry.parts[:-1], entry.parts[-1][:-4])
    count = 0
    try:
        if depth > MAX_DEPTH:
            raise UsageError(f"zips within zips, more than {MAX_DEPTH} deep")
        for member in _zip(entry.path, unpacked):
            if member.refused == NO_NOTEBOOK:
                continue
            for inner in _inner(member, unpacked, depth + 1):
                count += 1
                yield _Entry(folder + inner.parts, inner.path, inner.refused, inner.when)
    except UsageError as error:
        yield _Entry(entry.parts, refused=f"{error}")
        return
    if not count:
        yield _Entry(entry.parts, refused="The zip holds no notebook.")


# --- whose ----------------------------------------------------------------------------------------


def _submissions_of(entries: Sequence[_Entry], zipped: bool) -> list[Submission]:
    """Of files that are neither notebook nor zip one a student, who handed in nothing else: that is
    said to them.
    """
    wanted = [entry for entry in entries if entry.refused != NO_NOTEBOOK]
    depth = _wrapping([entry.parts for entry in wanted]) if zipped else 0
    students = {_student(entry.parts[depth:]) for entry in wanted}
    for entry in entries:
        parts = entry.parts[depth:]
        if (
            entry.refused != NO_NOTEBOOK
            or not parts
            or (len(parts) == 1 and not _handed_in(parts[0]))
        ):
            continue
        if (student := _student(parts)) not in students:
            students.add(student)
            wanted.append(entry)
    return [
        Submission(
            _clean(_student(entry.parts[depth:])),
            _clean("/".join(entry.parts[depth:])),
            entry.path,
            entry.refused,
            entry.when,
        )
        for entry in wanted
    ]


def _handed_in(name: str) -> bool:
    """Whether a file by itself is a student's, and not the platform's list or a note of the
    instructor's.
    """
    return _kind(name) in DOCUMENTS or bool(MOODLE.match(name) or CANVAS.match(name))


def _clean(name: str) -> str:
    """What can be written down: no control characters, nothing that is not Unicode, 200
    characters.
    """
    name = name.encode("utf-8", "replace").decode()
    return "".join(letter if letter.isprintable() else "?" for letter in name)[:200].strip() or "?"


def _wrapping(paths: Sequence[tuple[str, ...]]) -> int:
    """1 if everything lies in one folder that is no student's: it holds several folders, no
    notebooks or exercises.
    """
    within = all(len(parts) > 2 and not EXERCISE.match(parts[1]) for parts in paths)
    return int(
        within
        and len({parts[0] for parts in paths}) == 1
        and len({parts[1] for parts in paths}) > 1
    )


def _student(parts: Sequence[str]) -> str:
    """Whose it is: the outermost folder's name, or of a file by itself what stands before the
    exercise.
    """
    for pattern in (MOODLE, CANVAS):
        if found := pattern.match(parts[0]):
            return found["student"]
    if len(parts) > 1:
        return parts[0]
    stem = parts[0].rpartition(".")[0]
    return EXERCISE.sub("", stem) or stem
