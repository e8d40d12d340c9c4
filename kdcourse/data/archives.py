"""Archives: unpacked whole or not at all, and never outside their folder."""

import errno
import lzma
import os
import shutil
import stat
import tarfile
import zipfile
import zlib
from pathlib import Path, PurePosixPath
from tempfile import mkdtemp

from kdcourse.common.errors import DataError, brief
from kdcourse.common.paths import work_dir
from kdcourse.data.store import digest

MAX_GROWTH = 20  # an archive of images grows little when it is unpacked
MAX_MEMBERS = 500_000  # files and folders in an archive
BLOCK = 2**16  # bytes read at a time
DAMAGED = (
    zipfile.BadZipFile, tarfile.TarError, EOFError, zlib.error, lzma.LZMAError, NotImplementedError,
    RuntimeError, ValueError, OverflowError,
)  # fmt: skip


def unpacked(archive: Path, folder: Path) -> Path:
    """Where an archive's files are: `folder`, or the work folder if its parent is read-only."""
    if not os.access(folder.parent, os.W_OK):
        info = archive.stat()
        version = digest(str(archive), info.st_size, info.st_mtime_ns)
        folder = work_dir() / "unpacked" / f"{folder.name}-{version}"
    if not folder.is_dir():
        unpack(archive, folder)
    return folder


def unpack(
    archive: str | os.PathLike,
    folder: str | os.PathLike,
    *,
    max_bytes: int | None = None,
    max_members: int = MAX_MEMBERS,
) -> Path:
    """Unpack a zip or tar archive as `folder`; a single top folder becomes `folder` itself.

    max_bytes: bound on the content, checked before anything is written. Default: 20 times the
      archive's size, and 64 MiB.

    Raises DataError, and leaves nothing behind, for a member that is a link, a device or outside
    the folder, for too many members or bytes, for a damaged archive, and for a full disk.
    """
    archive, folder = Path(archive), Path(folder)
    if max_bytes is None:
        max_bytes = MAX_GROWTH * archive.stat().st_size + 2**26
    folder.parent.mkdir(parents=True, exist_ok=True)
    partial = Path(mkdtemp(prefix=f".{folder.name}.", suffix=".partial", dir=folder.parent))
    try:
        _extract(archive, partial, _Bound(archive, max_bytes, max_members))
        _move(partial, folder)
    except DAMAGED as error:
        raise _damaged(archive, error) from error
    except OSError as error:
        if error.errno is None:  # bz2's word for damaged data
            raise _damaged(archive, error) from error
        raise DataError(f"{archive}: cannot be unpacked into {folder.parent} ({error})") from error
    finally:
        shutil.rmtree(partial, ignore_errors=True)
    return folder


def _damaged(archive: Path, error: Exception) -> DataError:
    return DataError(
        f"{archive}: a damaged archive, or none ({brief(error)}). Delete it and fetch it anew."
    )


class _Bound:
    """Counts members and bytes before they are written, and refuses too many."""

    def __init__(self, archive: Path, max_bytes: int, max_members: int):
        self.archive, self.max_bytes, self.max_members = archive, max_bytes, max_members
        self.bytes = self.members = 0

    def check(self, name: str, size: int, *, plain: bool) -> None:
        """A member's name, its size in bytes, and whether it is a file or folder."""
        self.members += 1
        self.bytes += size
        if self.members > self.max_members:
            raise DataError(
                f"{self.archive}: more than {self.max_members:,} members. It is not what it should "
                "be."
            )
        if self.bytes > self.max_bytes:
            raise DataError(
                f"{self.archive}: more than {self.max_bytes:,} bytes of content. Not unpacked."
            )
        if not plain:
            raise DataError(
                f"{self.archive}: the member {name!r} is a link or device. Not unpacked."
            )
        path = PurePosixPath(name.replace("\\", "/"))
        if path.is_absolute() or ".." in path.parts or ":" in name or "\0" in name:
            raise DataError(
                f"{self.archive}: the member {name!r} would be written outside the folder. Not "
                "unpacked."
            )


def _extract(archive: Path, folder: Path, bound: _Bound) -> None:
    if zipfile.is_zipfile(archive):
        with zipfile.ZipFile(archive) as file:
            for member in file.infolist():
                kind = stat.S_IFMT(member.external_attr >> 16)
                plain = kind in (0, stat.S_IFREG, stat.S_IFDIR)
                bound.check(member.filename, member.file_size, plain=plain)
                member.filename = member.filename.replace("\\", "/")
                file.extract(member, folder)  # reads no more than file_size, and checks the CRC
        return
    with tarfile.open(archive, tarinfo=_StrictHeader) as file:
        for member in file:
            plain = member.isreg() or member.isdir()
            bound.check(member.name, member.size, plain=plain)
            member.name = member.name.replace("\\", "/")
            file.extract(member, folder, filter="data")
        # Read on to the end of the stream: a gzip's checksum is there.
        rest = 0
        while block := file.fileobj.read(BLOCK):
            rest += len(block)
            if rest > bound.max_bytes:
                raise DataError(f"{archive}: more than {bound.max_bytes:,} bytes behind its end.")


class _StrictHeader(tarfile.TarInfo):
    """tarfile takes a damaged or missing header for the end of the archive; here it is an error."""

    @classmethod
    def fromtarfile(cls, tar):
        try:
            return super().fromtarfile(tar)
        except tarfile.EOFHeaderError:  # the end, as it should be
            raise
        except tarfile.HeaderError as error:
            raise tarfile.ReadError(f"member at byte {tar.offset}: {error}") from error


def _move(partial: Path, folder: Path) -> None:
    """Rename what was unpacked to its place."""
    top = [path for path in partial.iterdir() if path.name != "__MACOSX"]
    whole = top[0] if len(top) == 1 and top[0].is_dir() else partial
    whole.chmod(0o755)
    try:
        whole.rename(folder)
    except OSError as error:
        # Another process may have been first: what it unpacked is as good.
        if error.errno not in (errno.ENOTEMPTY, errno.EEXIST):
            raise
