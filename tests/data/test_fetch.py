"""Downloads from a server of our own, with all that can go wrong; unpacking of archives that mean
harm.
"""

import gzip
import hashlib
import io
import re
import stat
import tarfile
import threading
import zipfile
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import numpy as np
import pytest
import requests
from PIL import Image

from kdcourse.common.errors import DataError, DownloadError, UsageError
from kdcourse.data import CATALOG, fetch, load
from kdcourse.data.eurosat import CLASSES

CONTENT = np.random.default_rng(0).bytes(3_000_000)
MD5 = f"md5:{hashlib.md5(CONTENT).hexdigest()}"
SHA = f"sha256:{hashlib.sha256(CONTENT).hexdigest()}"


class Server(ThreadingHTTPServer):
    """Serves `files`; drops the connection after `drops` bytes, as often as the list is long;
    `ranges` or none.
    """

    def __init__(self):
        super().__init__(("127.0.0.1", 0), Handler)
        self.files, self.drops, self.ranges, self.asked = {"/data.bin": CONTENT}, [], True, []

    def url(self, name="data.bin"):
        return f"http://127.0.0.1:{self.server_port}/{name}"


class Handler(BaseHTTPRequestHandler):
    def do_GET(self):
        content, asked = self.server.files.get(self.path), self.headers.get("Range")
        self.server.asked.append(asked)
        if content is None:
            return self.send_error(404)
        start = int(re.match(r"bytes=(\d+)-", asked)[1]) if asked and self.server.ranges else 0
        if start and start >= len(content):
            return self.send_error(416)
        self.send_response(206 if start else 200)
        self.send_header("Content-Length", str(len(content) - start))
        if start:
            self.send_header("Content-Range", f"bytes {start}-{len(content) - 1}/{len(content)}")
        self.end_headers()
        part = content[start:]
        if self.server.drops:
            part = part[: self.server.drops.pop(0)]
            self.close_connection = True
        self.wfile.write(part)

    def log_message(self, *_):
        """Quiet."""


@pytest.fixture
def server():
    with Server() as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield server
        server.shutdown()
        thread.join()


@pytest.fixture(autouse=True)
def no_waiting(monkeypatch):
    monkeypatch.setattr(fetch.time, "sleep", lambda seconds: None)
    for name in ("HTTP_PROXY", "http_proxy", "ALL_PROXY", "all_proxy"):
        monkeypatch.delenv(name, raising=False)


def get(server, folder, *checksums, name="data.bin"):
    mirrors = tuple(fetch.Mirror(server.url(name), c) for c in checksums or (MD5,))
    return fetch.fetch(mirrors, folder, progress=False)


@pytest.mark.parametrize("checksum", [MD5, SHA])
def test_a_file_is_fetched_and_checked(server, tmp_path, checksum):
    path = get(server, tmp_path, checksum)
    assert path == tmp_path / "data.bin" and path.read_bytes() == CONTENT
    assert [p.name for p in tmp_path.iterdir()] == ["data.bin"]
    get(server, tmp_path, checksum)
    assert len(server.asked) == 1  # it is there already


def test_a_dropped_connection_goes_on_where_it_broke(server, tmp_path):
    server.drops = [1_000_000, 700_000]
    assert get(server, tmp_path).read_bytes() == CONTENT
    assert len(server.asked) == 3 and server.asked[0] is None
    starts = [int(re.search(r"\d+", asked)[0]) for asked in server.asked[1:]]
    assert 0 < starts[0] < starts[1] < len(CONTENT)


def test_a_new_process_goes_on_as_well(server, tmp_path):
    partial = tmp_path / f"data.bin.{MD5[4:12]}.partial"
    partial.write_bytes(CONTENT[:2_000_000])
    assert get(server, tmp_path).read_bytes() == CONTENT
    assert server.asked == ["bytes=2000000-"] and not partial.exists()


def test_a_server_without_ranges_starts_anew(server, tmp_path):
    server.ranges, server.drops = False, [1_000_000]
    assert get(server, tmp_path).read_bytes() == CONTENT
    assert len(server.asked) == 2


@pytest.mark.parametrize("left", [b"x" * 1000, b"x" * 4_000_000, CONTENT])
def test_what_was_left_may_be_damaged_or_whole(server, tmp_path, left):
    (tmp_path / f"data.bin.{MD5[4:12]}.partial").write_bytes(left)
    assert get(server, tmp_path).read_bytes() == CONTENT


def test_a_server_that_always_drops_is_given_up(server, tmp_path):
    server.drops = [100_000] + [0] * 50
    with pytest.raises(DownloadError, match="data.bin: .*Error"):
        get(server, tmp_path)
    assert len(server.asked) == 1 + fetch.ATTEMPTS


def test_a_wrong_checksum_is_an_error_and_leaves_nothing(server, tmp_path):
    wrong = "md5:" + "0" * 32
    with pytest.raises(DownloadError, match=f"does not match.*{'0' * 32}"):
        get(server, tmp_path, wrong)
    assert not list(tmp_path.iterdir())


def test_the_next_mirror_is_tried(server, tmp_path):
    mirrors = (
        fetch.Mirror("http://127.0.0.1:9/data.bin", MD5),  # nobody listens
        fetch.Mirror(server.url("gone.bin"), MD5),
        fetch.Mirror(server.url(), "md5:" + "0" * 32),
        fetch.Mirror(server.url(), SHA),
    )
    assert fetch.fetch(mirrors, tmp_path, progress=False).read_bytes() == CONTENT
    with pytest.raises(DownloadError) as error:
        fetch.fetch(mirrors[:2], tmp_path / "other", progress=False)
    assert "127.0.0.1:9/data.bin: ConnectionError" in str(error.value)
    assert "gone.bin: 404" in str(error.value)


# --- get ------------------------------------------------------------------------------------------


def test_without_a_network_the_error_says_what_to_do(tmp_path, monkeypatch):
    def unreachable(url, **_):
        raise requests.ConnectionError("no network")

    monkeypatch.setattr(fetch.requests, "get", unreachable)
    for name in fetch.DOWNLOADS:
        with pytest.raises(DownloadError) as error:
            fetch.get(name, tmp_path, progress=False)
        text = str(error.value)
        for word in (name, str(tmp_path), CATALOG[name].layout, "--dataset scenes"):
            assert word in text
        for mirror in fetch.DOWNLOADS[name][0].mirrors:
            assert mirror.url in text


def test_sets_without_a_known_checksum_are_by_hand(tmp_path):
    with pytest.raises(
        DownloadError, match="mini_imagenet: no mirror.*mini_imagenet/{train,val,test}"
    ):
        fetch.get("mini_imagenet", tmp_path)
    with pytest.raises(UsageError, match="nothing to fetch"):
        fetch.get("scenes", tmp_path)
    with pytest.raises(UsageError, match="unknown data set"):
        fetch.get("nothing", tmp_path)


def test_every_checksum_has_the_length_of_its_kind():
    for items in fetch.DOWNLOADS.values():
        for item in items:
            for mirror in item.mirrors:
                kind, value = mirror.checksum.split(":")
                assert (
                    re.fullmatch(r"[0-9a-f]+", value)
                    and len(value) == {"md5": 32, "sha256": 64}[kind]
                )
                assert mirror.url.startswith("http")


def eurosat_zip(path, top):
    with zipfile.ZipFile(path, "w") as file:
        for i, name in enumerate(CLASSES):
            for n in range(3):
                picture = io.BytesIO()
                Image.new("RGB", (64, 64), (20 * i, n, 0)).save(picture, "JPEG")
                file.writestr(f"{top}/{name}/{name}_{n}.jpg", picture.getvalue())
    return path


@pytest.mark.parametrize("top", ["EuroSAT_RGB", "2750"])
def test_get_unpacks_and_load_reads(server, tmp_path, monkeypatch, top):
    content = eurosat_zip(tmp_path / "made.zip", top).read_bytes()
    server.files["/EuroSAT_RGB.zip"] = content
    mirror = fetch.Mirror(server.url("EuroSAT_RGB.zip"), f"md5:{hashlib.md5(content).hexdigest()}")
    monkeypatch.setitem(
        fetch.DOWNLOADS, "eurosat_rgb", (fetch.Download("EuroSAT_RGB", (mirror,), archive=True),)
    )
    root = tmp_path / "root"
    root.mkdir()
    assert fetch.get("eurosat_rgb", root, progress=False) == root / "EuroSAT_RGB"
    assert [p.name for p in root.iterdir()] == ["EuroSAT_RGB"]
    assert len(load("eurosat_rgb", root=root, progress=False).train) == 10
    asked = len(server.asked)
    fetch.get("eurosat_rgb", root, progress=False)
    assert len(server.asked) == asked


def test_get_puts_files_where_load_looks(server, tmp_path, monkeypatch):
    row = "3 " + "0.5 " * 256 + "\n"
    rows = "".join(f"{n % 10} " + "0.5 " * 256 + "\n" for n in range(40))
    assert row in rows
    downloads = []
    for name in ("zip.train.gz", "zip.test.gz"):
        content = server.files[f"/{name}"] = gzip.compress(rows.encode())
        mirror = fetch.Mirror(server.url(name), f"sha256:{hashlib.sha256(content).hexdigest()}")
        downloads.append(fetch.Download("usps", (mirror,)))
    monkeypatch.setitem(fetch.DOWNLOADS, "usps", tuple(downloads))
    assert fetch.get("usps", tmp_path, progress=False) == tmp_path / "usps"
    assert len(load("usps", root=tmp_path, progress=False).test) == 40


@pytest.mark.parametrize(
    ("name", "top"), [("EuroSAT_RGB.zip", "EuroSAT_RGB"), ("EuroSAT.zip", "2750")]
)
def test_an_archive_laid_by_hand_is_enough(tmp_path, name, top):
    eurosat_zip(tmp_path / name, top)
    assert len(load("eurosat_rgb", root=tmp_path, progress=False).train) == 10
    assert (tmp_path / "EuroSAT_RGB" / "Forest" / "Forest_0.jpg").is_file()


def test_an_archive_under_a_root_that_cannot_be_written(tmp_path, monkeypatch):
    root, work = tmp_path / "root", tmp_path / "work"
    root.mkdir()
    work.mkdir()
    eurosat_zip(root / "EuroSAT.zip", "2750")
    monkeypatch.setenv("KDCOURSE_WORK", str(work))
    real = fetch.os.access
    monkeypatch.setattr(fetch.os, "access", lambda path, mode: path != root and real(path, mode))
    assert len(load("eurosat_rgb", root=root, progress=False).train) == 10
    assert [p.name for p in root.iterdir()] == ["EuroSAT.zip"]


# --- archives -------------------------------------------------------------------------------------


def zip_of(path, *members):
    with zipfile.ZipFile(path, "w") as file:
        for name, content in members:
            file.writestr(name, content)
    return path


def tar_of(path, *members):
    with tarfile.open(path, "w:gz") as file:
        for member, content in members:
            info = tarfile.TarInfo(member) if isinstance(member, str) else member
            info.size = len(content)
            file.addfile(info, io.BytesIO(content))
    return path


def special(name, kind, target="/etc/passwd"):
    info = tarfile.TarInfo(name)
    info.type, info.linkname = kind, target
    return info


def link_in_zip(path):
    info = zipfile.ZipInfo("top/link")
    info.external_attr = (stat.S_IFLNK | 0o777) << 16
    with zipfile.ZipFile(path, "w") as file:
        file.writestr("top/good", b"x")
        file.writestr(info, "/etc/passwd")
    return path


EVIL = {
    "zip ..": (lambda p: zip_of(p, ("top/good", b"x"), ("../evil", b"x")), "outside the folder"),
    "zip deep ..": (lambda p: zip_of(p, ("top/a/../../../evil", b"x")), "outside the folder"),
    "zip absolute": (lambda p: zip_of(p, ("/evil", b"x")), "outside the folder"),
    "zip backslash": (lambda p: zip_of(p, ("..\\evil", b"x")), "outside the folder"),
    "zip drive": (lambda p: zip_of(p, ("C:/evil", b"x")), "outside the folder"),
    "zip link": (link_in_zip, "link or device"),
    "tar ..": (lambda p: tar_of(p, ("top/good", b"x"), ("../evil", b"x")), "outside the folder"),
    "tar absolute": (lambda p: tar_of(p, ("/evil", b"x")), "outside the folder"),
    "tar link": (
        lambda p: tar_of(p, (special("top/link", tarfile.SYMTYPE), b"")),
        "link or device",
    ),
    "tar hard link": (
        lambda p: tar_of(p, (special("top/link", tarfile.LNKTYPE), b"")),
        "link or device",
    ),
    "tar device": (
        lambda p: tar_of(p, (special("top/dev", tarfile.CHRTYPE), b"")),
        "link or device",
    ),
    "tar pipe": (
        lambda p: tar_of(p, (special("top/pipe", tarfile.FIFOTYPE), b"")),
        "link or device",
    ),
}


@pytest.mark.parametrize("kind", EVIL)
def test_archives_that_reach_outside(tmp_path, kind):
    make, message = EVIL[kind]
    archive = make(tmp_path / "archive")
    with pytest.raises(DataError, match=message):
        fetch.unpack(archive, tmp_path / "deep" / "out")
    assert sorted(p.name for p in tmp_path.rglob("*")) == [
        "archive",
        "deep",
    ]  # nothing written anywhere


def test_bombs(tmp_path):
    with zipfile.ZipFile(tmp_path / "bomb.zip", "w", zipfile.ZIP_DEFLATED) as file:
        file.writestr("zeros", bytes(80 * 2**20))
    with pytest.raises(DataError, match="more than .* bytes of content"):
        fetch.unpack(tmp_path / "bomb.zip", tmp_path / "out")
    many = zip_of(tmp_path / "many.zip", *((f"m/{i}", b"") for i in range(20)))
    with pytest.raises(DataError, match="more than 10 members"):
        fetch.unpack(many, tmp_path / "out", max_members=10)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["bomb.zip", "many.zip"]


@pytest.mark.parametrize("content", [b"", b"no archive", b"PK\x03\x04 damaged"])
def test_damaged_archives(tmp_path, content):
    (tmp_path / "a.zip").write_bytes(content)
    with pytest.raises(DataError, match="a.zip: a damaged archive"):
        fetch.unpack(tmp_path / "a.zip", tmp_path / "out")
    assert [p.name for p in tmp_path.iterdir()] == ["a.zip"]


@pytest.mark.parametrize("make", [zip_of, tar_of])
def test_a_truncated_archive_leaves_nothing(tmp_path, make):
    archive = make(
        tmp_path / "a", *((f"top/{i}", np.random.default_rng(i).bytes(5000)) for i in range(50))
    )
    archive.write_bytes(archive.read_bytes()[:100_000])
    with pytest.raises(DataError, match="damaged archive"):
        fetch.unpack(archive, tmp_path / "out")
    assert [p.name for p in tmp_path.iterdir()] == ["a"]


@pytest.mark.parametrize("make", [zip_of, tar_of])
def test_good_archives(tmp_path, make):
    single = make(
        tmp_path / "single",
        ("top/a/1", b"one"),
        ("top/b/2", b"two"),
        ("__MACOSX/top/._a", b"rubbish"),
    )
    fetch.unpack(single, tmp_path / "x")
    assert (tmp_path / "x" / "a" / "1").read_bytes() == b"one" and (
        tmp_path / "x" / "b" / "2"
    ).read_bytes() == b"two"
    several = make(tmp_path / "several", ("a/1", b"one"), ("b/2", b"two"))
    fetch.unpack(several, tmp_path / "y")
    assert (tmp_path / "y" / "b" / "2").read_bytes() == b"two"
    assert sorted(p.name for p in tmp_path.iterdir()) == ["several", "single", "x", "y"]
