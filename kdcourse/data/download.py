"""Downloads: mirrors, checksums, resumed where they broke off. `get(name)` fetches a data set.

A file is compared with its published checksum before anything reads it. See `archives` for what
happens to an archive then.
"""

import os
import time
from dataclasses import dataclass
from pathlib import Path

import pooch
import requests

from kdcourse.common.errors import DownloadError, UsageError, unknown
from kdcourse.common.paths import data_root
from kdcourse.common.progress_bar import bar
from kdcourse.data.archives import BLOCK, unpack
from kdcourse.data.datasets import CATALOG

TIMEOUT = (10, 60)  # seconds to connect, and between two blocks
ATTEMPTS = 5  # broken connections in a row, without a byte gained, before a mirror is given up


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
    if name not in CATALOG:
        raise unknown("data set", name, CATALOG)
    info, place = CATALOG[name], data_root(root)
    if not info.folders:
        raise UsageError(f"{name}: nothing to fetch. {info.layout}")
    if (found := info.find(place)) is not None:
        return found
    if name not in DOWNLOADS:
        raise DownloadError(
            f"{name}: no mirror with a published checksum is known. {info.by_hand(place)}"
        )
    for item in DOWNLOADS[name]:
        folder = place / item.folder
        try:
            file = fetch(item.mirrors, place if item.archive else folder, progress=progress)
        except DownloadError as error:
            raise DownloadError(f"{name}: {error}\n{info.by_hand(place)}") from error
        if item.archive:
            unpack(file, folder)
            file.unlink()
    found = info.find(place)
    if found is None:
        raise DownloadError(
            f"{name}: fetched, but {place} does not look as expected. {info.by_hand(place)}"
        )
    return found


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
        self.resumed = False  # whether the last call put a file together from two downloads

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
                nothing = idle and not self._have()  # no network: try the next mirror
                if idle >= ATTEMPTS or nothing:
                    raise
                time.sleep(self.pause * 2**idle)
        os.replace(self.partial, output_file)

    def _have(self) -> int:
        return self.partial.stat().st_size if self.partial.exists() else 0

    def _get(self, url: str) -> None:
        have = self._have()
        headers = {"Accept-Encoding": "identity"} | ({"Range": f"bytes={have}-"} if have else {})
        with requests.get(url, headers=headers, stream=True, timeout=TIMEOUT) as response:
            if response.status_code == 416:  # nothing is missing, if the checksum agrees
                return
            response.raise_for_status()
            if response.status_code != 206:  # the server knows no ranges and sends all of it
                have = 0
            length = int(response.headers.get("Content-Length", 0))
            name, total = url.rsplit("/", 1)[1], have + length or None
            progress_bar = bar(
                total=total, initial=have, desc=name, unit="B", unit_scale=True, shown=self.progress
            )
            with progress_bar, open(self.partial, "ab" if have else "wb") as file:
                for block in response.iter_content(BLOCK):
                    file.write(block)
                    progress_bar.update(len(block))
