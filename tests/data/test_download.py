"""Downloads from a server of our own, with everything that can go wrong."""

import gzip
import hashlib
import io
import re
import threading
import zipfile
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import numpy as np
import pytest
import requests
from PIL import Image

from kdcourse.common.errors import DownloadError, UsageError
from kdcourse.data import CATALOG, download, load
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
    monkeypatch.setattr(download.time, "sleep", lambda seconds: None)
    for name in ("HTTP_PROXY", "http_proxy", "ALL_PROXY", "all_proxy"):
        monkeypatch.delenv(name, raising=False)


def get(server, folder, *checksums, name="data.bin"):
    mirrors = tuple(download.Mirror(server.url(name), c) for c in checksums or (MD5,))
    return download.fetch(mirrors, folder, progress=False)


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
    assert len(server.asked) == 1 + download.ATTEMPTS


def test_a_wrong_checksum_is_an_error_and_leaves_nothing(server, tmp_path):
    wrong = "md5:" + "0" * 32
    with pytest.raises(DownloadError, match=f"does not match.*{'0' * 32}"):
        get(server, tmp_path, wrong)
    assert not list(tmp_path.iterdir())


def test_the_next_mirror_is_tried(server, tmp_path):
    mirrors = (
        download.Mirror("http://127.0.0.1:9/data.bin", MD5),  # nobody listens
        download.Mirror(server.url("gone.bin"), MD5),
        download.Mirror(server.url(), "md5:" + "0" * 32),
        download.Mirror(server.url(), SHA),
    )
    assert download.fetch(mirrors, tmp_path, progress=False).read_bytes() == CONTENT
    with pytest.raises(DownloadError) as error:
        download.fetch(mirrors[:2], tmp_path / "other", progress=False)
    assert "127.0.0.1:9/data.bin: ConnectionError" in str(error.value)
    assert "gone.bin: 404" in str(error.value)


# --- get ------------------------------------------------------------------------------------------


def test_without_a_network_the_error_says_what_to_do(tmp_path, monkeypatch):
    def unreachable(url, **_):
        raise requests.ConnectionError("no network")

    monkeypatch.setattr(download.requests, "get", unreachable)
    for name in download.DOWNLOADS:
        with pytest.raises(DownloadError) as error:
            download.get(name, tmp_path, progress=False)
        text = str(error.value)
        for word in (name, str(tmp_path), CATALOG[name].layout, "--dataset scenes"):
            assert word in text
        for mirror in download.DOWNLOADS[name][0].mirrors:
            assert mirror.url in text


def test_sets_without_a_known_checksum_are_by_hand(tmp_path):
    with pytest.raises(
        DownloadError, match="mini_imagenet: no mirror.*mini_imagenet/{train,val,test}"
    ):
        download.get("mini_imagenet", tmp_path)
    with pytest.raises(UsageError, match="nothing to fetch"):
        download.get("scenes", tmp_path)
    with pytest.raises(UsageError, match="unknown data set"):
        download.get("nothing", tmp_path)


def test_every_checksum_has_the_length_of_its_kind():
    for items in download.DOWNLOADS.values():
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
    mirror = download.Mirror(
        server.url("EuroSAT_RGB.zip"), f"md5:{hashlib.md5(content).hexdigest()}"
    )
    monkeypatch.setitem(
        download.DOWNLOADS,
        "eurosat_rgb",
        (download.Download("EuroSAT_RGB", (mirror,), archive=True),),
    )
    root = tmp_path / "root"
    root.mkdir()
    assert download.get("eurosat_rgb", root, progress=False) == root / "EuroSAT_RGB"
    assert [p.name for p in root.iterdir()] == ["EuroSAT_RGB"]
    assert len(load("eurosat_rgb", root=root, progress=False).train) == 10
    asked = len(server.asked)
    download.get("eurosat_rgb", root, progress=False)
    assert len(server.asked) == asked


def test_get_puts_files_where_load_looks(server, tmp_path, monkeypatch):
    row = "3 " + "0.5 " * 256 + "\n"
    rows = "".join(f"{n % 10} " + "0.5 " * 256 + "\n" for n in range(40))
    assert row in rows
    downloads = []
    for name in ("zip.train.gz", "zip.test.gz"):
        content = server.files[f"/{name}"] = gzip.compress(rows.encode())
        mirror = download.Mirror(server.url(name), f"sha256:{hashlib.sha256(content).hexdigest()}")
        downloads.append(download.Download("usps", (mirror,)))
    monkeypatch.setitem(download.DOWNLOADS, "usps", tuple(downloads))
    assert download.get("usps", tmp_path, progress=False) == tmp_path / "usps"
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
    real = download.os.access
    monkeypatch.setattr(download.os, "access", lambda path, mode: path != root and real(path, mode))
    assert len(load("eurosat_rgb", root=root, progress=False).train) == 10
    assert [p.name for p in root.iterdir()] == ["EuroSAT.zip"]
