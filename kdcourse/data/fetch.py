"""Downloads: mirrors, checksums, resumed where they broke off, unpacked safely. `get(name)` is the
door.

A file is checked against its published checksum before anything reads it. An archive is unpacked
beside its place and renamed when it is whole; a member that would land elsewhere, a link, a device
or too much of anything stops it.
"""

import errno
import os
import shutil
import stat
import tarfile
import time
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from tempfile import mkdtemp
from typing import IO

import pooch
import requests

from kdcourse.common.errors import DataError, DownloadError, UsageError, brief, unknown
from kdcourse.common.paths import data_root, work_dir
from kdcourse.common.progress_bar import bar
from kdcourse.data.store import digest

BLOCK = 2**16  # bytes read at a time; a broken connection loses less than one
TIMEOUT = (10, 60)  # seconds to connect, and between two blocks
ATTEMPTS = 5  # broken connections in a row, without a byte gained, before a mirror is given up
MAX_GROWTH = 20  # an archive of images grows little when it is unpacked
MAX_MEMBERS = 500_000  # files and folders in an archive


@dataclass(frozen=True)
class Mirror:
    url: str
    checksum: str  # "md5:…" or "sha256:…", as published


@dataclass(frozen=True)
class Download:
    """A file of a data set. The mirrors may carry different archives of the same images, each with
    its checksum.
    """

    folder: str  # where it belongs, relative to the data root
    mirrors: tuple[Mirror, ...]
    archive: bool = False  # to be unpacked as `folder`; otherwise the file is put into it


def _files(folder: str, bases: tuple[str, ...], names: dict[str, str]) -> tuple[Download, ...]:
    return tuple(
        Download(folder, tuple(Mirror(b + n, f"md5:{md5}") for b in bases))
        for n, md5 in names.items()
    )


# Addresses and checksums as published: torchvision's and torchgeo's sources, Zenodo record 7711810.
DOWNLOADS: dict[str, tuple[Download, ...]] = {
    "eurosat_ms": (
        Download(
            "EuroSAT_MS",
            (
                Mirror(
                    "https://zenodo.org/records/7711810/files/EuroSAT_MS.zip",
                    "md5:091174add3c8e680a49244acf185b9f0",
                ),
                Mirror(
                    "https://huggingface.co/datasets/torchgeo/eurosat/resolve/"
                    "1ce6f1bfb56db63fd91b6ecc466ea67f2509774c/EuroSATallBands.zip",
                    "md5:5ac12b3b2557aa56e1826e981e8e200e",
                ),
                Mirror(
                    "https://madm.dfki.de/files/sentinel/EuroSATallBands.zip",
                    "md5:5ac12b3b2557aa56e1826e981e8e200e",
                ),
            ),
            archive=True,
        ),
    ),
    "eurosat_rgb": (
        Download(
            "EuroSAT_RGB",
            (
                Mirror(
                    "https://zenodo.org/records/7711810/files/EuroSAT_RGB.zip",
                    "md5:f46e308c4d50d4bf32fedad2d3d62f3b",
                ),
                Mirror(
                    "https://huggingface.co/datasets/torchgeo/eurosat/resolve/"
                    "c877bcd43f099cd0196738f714544e355477f3fd/EuroSAT.zip",
                    "md5:c8fa014336c82ac7804f0398fcb19387",
                ),
                Mirror(
                    "https://madm.dfki.de/files/sentinel/EuroSAT.zip",
                    "md5:c8fa014336c82ac7804f0398fcb19387",
                ),
            ),
            archive=True,
        ),
    ),
    "mnist": _files(
        "MNIST/raw",
        (
            "https://ossci-datasets.s3.amazonaws.com/mnist/",
            "https://storage.googleapis.com/cvdf-datasets/mnist/",
        ),
        {
            "train-images-idx3-ubyte.gz": "f68b3c2dcbeaaa9fbdd348bbdeb94873",
            "train-labels-idx1-ubyte.gz": "d53e105ee54ea40749a09fcbcd1e9432",
            "t10k-images-idx3-ubyte.gz": "9fb629c4189551a2d022fa330f9573f3",
            "t10k-labels-idx1-ubyte.gz": "ec29112dd5afa0611ce80d1b7f02629c",
        },
    ),
    "fashion_mnist": _files(
        "FashionMNIST/raw",
        (
            "http://fashion-mnist.s3-website.eu-central-1.amazonaws.com/",
            "https://github.com/zalandoresearch/fashion-mnist/raw/master/data/fashion/",
        ),
        {
            "train-images-idx3-ubyte.gz": "8d4fb7e6c68d591d4c3dfef9ec88bf0d",
            "train-labels-idx1-ubyte.gz": "25c81989df183df01b3e8a0aad5dffbe",
            "t10k-images-idx3-ubyte.gz": "bef4ecab320f06d8554ea6380940ec79",
            "t10k-labels-idx1-ubyte.gz": "bb300cfdad3c16e7a12a480ee83cd310",
        },
    ),
    "usps": _files(
        "usps",
        ("https://www.csie.ntu.edu.tw/~cjlin/libsvmtools/datasets/multiclass/",),
        {
            "usps.bz2": "ec16c51db3855ca6c91edd34d0e9b197",
            "usps.t.bz2": "8ea070ee2aca1ac39742fdd1ef5ed118",
        },
    ),
    "cifar10": (
        Download(
            "cifar-10-batches-py",
            (
                Mirror(
                    "https://www.cs.toronto.edu/~kriz/cifar-10-python.tar.gz",
                    "md5:c58f30108f718f92721af3b95e74349a",
                ),
            ),
            archive=True,
        ),
    ),
    "cifar100": (
        Download(
            "cifar-100-python",
            (
                Mirror(
                    "https://www.cs.toronto.edu/~kriz/cifar-100-python.tar.gz",
                    "md5:eb9058c3a382ffc7106e4002c42a8d85",
                ),
            ),
            archive=True,
        ),
    ),
    "tiny_imagenet": (
        Download(
            "tiny-imagenet-200",
            (
                Mirror(
                    "http://cs231n.stanford.edu/tiny-imagenet-200.zip",
                    "md5:90528d7ca1a48142e341f4ef8d21d0de",
                ),
            ),
            archive=True,
        ),
    ),
}


def get(name: str, root: str | os.PathLike | None = None, *, progress: bool = True) -> Path:
    """Fetch a data set into the data root, unless it is there. Returns the folder with its files.

    Raises DownloadError if no mirror gives the file with the right checksum: it says where to put
    the files by hand.
    """
    from kdcourse.data.catalog import CATALOG  # here: the catalogue itself needs `unpacked`

    if name not in CATALOG:
        raise unknown("data set", name, CATALOG)
    info, place = CATALOG[name], data_root(root)
    if not info.folders:
        raise UsageError(f"{name}: nothing to fetch. {info.layout}")
    if (found := info.find(place)) is not None:
        return found
    if name not in DOWNLOADS:
        raise DownloadError(
            f"{name}: no mirror with a published checksum is known. {by_hand(info, place)}"
        )
    for item in DOWNLOADS[name]:
        folder = place / item.folder
        try:
            file = fetch(item.mirrors, place if item.archive else folder, progress=progress)
        except DownloadError as error:
            raise DownloadError(f"{name}: {error}\n{by_hand(info, place)}") from error
        if item.archive:
            unpack(file, folder)
            file.unlink()
    found = info.find(place)
    if found is None:
        raise DownloadError(
            f"{name}: fetched, but {place} does not look as expected. {by_hand(info, place)}"
        )
    return found


def by_hand(info, root: Path) -> str:
    """What to do where there is no network: `info` is a DatasetInfo."""
    return (
        f"To lay it by hand: under {root}, {info.layout} (from {info.source}). Or go on without "
        "it: the embedded data "
        "set needs no download, --dataset scenes, load('scenes')."
    )


# --- one file -------------------------------------------------------------------------------------


def fetch(mirrors: tuple[Mirror, ...], folder: Path, *, progress: bool = True) -> Path:
    """The file from the first mirror that gives it whole and with its checksum, put into `folder`.

    What a broken download left is kept as `<file>.<checksum>.partial` and goes on from there the
    next time. Raises DownloadError with what each mirror answered.
    """
    pooch.get_logger().setLevel("WARNING")
    failures = []
    for mirror in mirrors:
        name = mirror.url.rsplit("/", 1)[1]
        downloader = Resumed(
            folder / f"{name}.{mirror.checksum.split(':')[1][:8]}.partial", progress=progress
        )
        for _ in range(2):  # the second time from the start, if what was resumed had been damaged
            try:
                return Path(
                    pooch.retrieve(
                        mirror.url, mirror.checksum, fname=name, path=folder, downloader=downloader
                    )
                )
            except requests.RequestException as error:
                failures.append(f"{mirror.url}: {_reason(error)}")
                break
            except ValueError as error:  # pooch's word for a wrong checksum
                if not downloader.resumed:
                    failures.append(f"{mirror.url}: {error}")
                    break
            except OSError as error:  # after RequestException, which is one too
                raise DownloadError(f"{folder}: cannot be written ({error})") from error
    raise DownloadError("no mirror gave the file.\n  " + "\n  ".join(failures))


def _reason(error: requests.RequestException) -> str:
    response = error.response
    if response is not None:
        return f"{response.status_code} {response.reason}"
    return f"{type(error).__name__} (no network, or the server is down)"


class Resumed:
    """A downloader for pooch that goes on where a broken download ended (HTTP Range)."""

    def __init__(self, partial: Path, *, progress: bool = True, pause: float = 1.0):
        self.partial, self.progress, self.pause = partial, progress, pause
        self.resumed = (
            False  # whether the file of the last call was put together from two downloads
        )

    def __call__(self, url: str, output_file, pooch_instance) -> None:
        """Download `url` to `output_file`. Raises requests.RequestException."""
        self.resumed = self.partial.exists() and self.partial.stat().st_size > 0
        idle = 0
        while True:
            before = self._have()
            try:
                self._get(url)
                break
            except (
                requests.ConnectionError,
                requests.Timeout,
                requests.exceptions.ChunkedEncodingError,
            ):
                idle = 0 if self._have() > before else idle + 1
                if idle >= ATTEMPTS or (
                    idle and not self._have()
                ):  # nothing at all: no network, try the next mirror
                    raise
                time.sleep(self.pause * 2**idle)
        os.replace(self.partial, output_file)

    def _have(self) -> int:
        return self.partial.stat().st_size if self.partial.exists() else 0

    def _get(self, url: str) -> None:
        have = self._have()
        headers = {"Accept-Encoding": "identity"} | ({"Range": f"bytes={have}-"} if have else {})
        with requests.get(url, headers=headers, stream=True, timeout=TIMEOUT) as response:
            if (
                response.status_code == 416
            ):  # nothing after what is here: it is whole, which the checksum will tell
                return
            response.raise_for_status()
            if response.status_code != 206:  # the server knows no ranges and sends all of it
                have = 0
            length = int(response.headers.get("Content-Length", 0))
            name, total = url.rsplit("/", 1)[1], have + length or None
            seen = bar(
                total=total, initial=have, desc=name, unit="B", unit_scale=True, shown=self.progress
            )
            with seen, open(self.partial, "ab" if have else "wb") as file:
                for block in response.iter_content(BLOCK):
                    file.write(block)
                    seen.update(len(block))


# --- archives -------------------------------------------------------------------------------------


def unpacked(archive: Path, folder: Path) -> Path:
    """The folder of an archive's files: `folder`, or a place in the work folder if nothing can be
    written beside it.
    """
    if not os.access(folder.parent, os.W_OK):
        info = archive.stat()
        folder = (
            work_dir()
            / "unpacked"
            / f"{folder.name}-{digest(str(archive), info.st_size, info.st_mtime_ns)}"
        )
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
    """Unpack a zip or tar archive as `folder`. A single folder at the top of the archive becomes
    `folder` itself.

    Only plain files and folders inside `folder` are written: a path that leads out of it, an
    absolute path, a link or a device raises DataError, as do more than `max_members` members or
    `max_bytes` bytes (20 times the archive's own size and 64 MiB), a damaged archive and a full
    disk. Then nothing of it stays.
    """
    archive, folder = Path(archive), Path(folder)
    if max_bytes is None:
        max_bytes = MAX_GROWTH * archive.stat().st_size + 2**26
    folder.parent.mkdir(parents=True, exist_ok=True)
    partial = Path(mkdtemp(prefix=f".{folder.name}.", suffix=".partial", dir=folder.parent))
    try:
        members = written = 0
        try:
            for name, content in _members(archive):
                members += 1
                if members > max_members:
                    raise DataError(
                        f"{archive}: more than {max_members:,} members. It is not what it should "
                        "be."
                    )
                target = _inside(archive, partial, name)
                if content is None:
                    target.mkdir(parents=True, exist_ok=True)
                    continue
                target.parent.mkdir(parents=True, exist_ok=True)
                with content, open(target, "wb") as file:
                    while block := content.read(BLOCK):
                        written += len(block)
                        if written > max_bytes:
                            raise DataError(
                                f"{archive}: more than {max_bytes:,} bytes of content. Not "
                                "unpacked."
                            )
                        file.write(block)
        except (
            zipfile.BadZipFile,
            tarfile.TarError,
            EOFError,
            zlib.error,
            NotImplementedError,
            RuntimeError,
        ) as error:
            raise DataError(
                f"{archive}: a damaged archive, or none ({brief(error)}). Delete it and fetch it "
                "anew."
            ) from error
        except OSError as error:
            raise DataError(
                f"{archive}: cannot be unpacked into {folder.parent} ({error})"
            ) from error
        top = [p for p in partial.iterdir() if p.name != "__MACOSX"]
        whole = top[0] if len(top) == 1 and top[0].is_dir() else partial
        whole.chmod(0o755)
        try:
            whole.rename(folder)
        except OSError as error:
            if error.errno not in (errno.ENOTEMPTY, errno.EEXIST):
                raise
            # another process was first: what it unpacked is as good
    finally:
        shutil.rmtree(partial, ignore_errors=True)
    return folder


def _inside(archive: Path, folder: Path, name: str) -> Path:
    """Where a member goes. Raises DataError if that is not inside the folder."""
    path = PurePosixPath(name.replace("\\", "/"))
    if path.is_absolute() or ".." in path.parts or ":" in name or "\0" in name:
        raise DataError(
            f"{archive}: the member {name!r} would be written outside the folder. Not unpacked."
        )
    return folder / path


@contextmanager
def _opened(archive: Path):
    if zipfile.is_zipfile(archive):
        with zipfile.ZipFile(archive) as file:
            yield file
    else:
        with tarfile.open(archive) as file:
            yield file


def _members(archive: Path) -> Iterator[tuple[str, IO[bytes] | None]]:
    """name and open content of each member, None for a folder. Raises DataError for anything
    else.
    """
    with _opened(archive) as file:
        if isinstance(file, zipfile.ZipFile):
            for member in file.infolist():
                kind = stat.S_IFMT(member.external_attr >> 16)
                if kind not in (0, stat.S_IFREG, stat.S_IFDIR):
                    raise DataError(
                        f"{archive}: the member {member.filename!r} is a link or device. Not "
                        "unpacked."
                    )
                yield member.filename, None if member.is_dir() else file.open(member)
        else:
            for member in file:
                if not (member.isreg() or member.isdir()):
                    raise DataError(
                        f"{archive}: the member {member.name!r} is a link or device. Not unpacked."
                    )
                yield member.name, None if member.isdir() else file.extractfile(member)
