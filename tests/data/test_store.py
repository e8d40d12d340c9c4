"""The store: decoded once, noticed when stale, never half."""

import os
import shutil
import signal
import subprocess
import sys
import textwrap
from dataclasses import replace
from multiprocessing import get_context
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from PIL import Image
from torch.nn import functional as F

from kdcourse.common.errors import DataError
from kdcourse.data import images, load, store


@pytest.fixture
def place(tmp_path, monkeypatch):
    """A work folder of the test's own: the folder of stores in it."""
    monkeypatch.setenv("KDCOURSE_WORK", str(tmp_path / "work"))
    return tmp_path / "work" / "store"


@pytest.fixture
def pictures(tmp_path):
    """A folder of 3 classes × 5 PNG files of 6×6; the pixels tell the class and the number."""
    for c, name in enumerate("abc"):
        for n in range(5):
            path = tmp_path / "pictures" / name / f"{n}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            Image.new("RGB", (6, 6), (10 * c, n, 7)).save(path)
    return tmp_path / "pictures"


def source_of(folder, decode=None) -> store.Source:
    source = images.image_folder(folder)
    return replace(source, decode=decode) if decode else source


def test_images_come_back_in_order(place, pictures):
    source = source_of(pictures)
    array, bad, _ = store.decoded(source, None, progress=False)
    assert array.shape == (15, 3, 6, 6) and array.dtype == np.uint8 and not bad
    for i, row in enumerate(array):
        assert tuple(row[:, 0, 0]) == (10 * (i // 5), i % 5, 7)


def test_nothing_is_in_memory_or_writable(place, pictures):
    array, _, _ = store.decoded(source_of(pictures), None, progress=False)
    assert isinstance(array.base, np.memmap)
    with pytest.raises(ValueError, match="read-only"):
        array[0] = 0


def test_decoded_once(place, pictures):
    store.decoded(source_of(pictures), None, progress=False)

    def never(item):
        raise AssertionError(f"{item} is decoded again")

    array, _, _ = store.decoded(source_of(pictures, never), None, progress=False)
    assert len(array) == 15


@pytest.mark.parametrize("change", ["content", "time", "more", "fewer", "renamed"])
def test_a_changed_source_is_noticed_and_the_old_store_goes(place, pictures, change):
    _, _, key = store.decoded(source_of(pictures), None, progress=False)
    (before,) = place.iterdir()
    file = pictures / "a" / "0.png"
    if change == "content":
        Image.new("RGB", (6, 6), (200, 200, 200)).save(file, compress_level=0)
    elif change == "time":
        os.utime(file, ns=(1, 1))
    elif change == "more":
        shutil.copy(file, pictures / "a" / "9.png")
    elif change == "fewer":
        file.unlink()
    else:
        file.rename(pictures / "a" / "01.png")
    _, _, other = store.decoded(source_of(pictures), None, progress=False)
    assert other != key
    (after,) = place.iterdir()
    assert after != before


def test_sizes_and_limits_keep_stores_of_their_own(place, pictures):
    for size in (None, 4):
        for slot in ((), (9, 0)):
            store.decoded(source_of(pictures), size, slot=slot, progress=False)
    assert len(list(place.iterdir())) == 4


def test_a_damaged_store_is_built_anew(place, pictures):
    whole, _, _ = store.decoded(source_of(pictures), None, progress=False)
    whole = whole.copy()
    (folder,) = place.iterdir()
    for name, content in (
        ("images.npy", b""),
        ("meta.json", b""),
        ("images.npy", b"\x93NUMPY"),
        ("meta.json", None),
    ):
        if content is None:
            (folder / name).unlink()
        else:
            (folder / name).write_bytes(content)
        array, _, _ = store.decoded(source_of(pictures), None, progress=False)
        np.testing.assert_array_equal(array, whole)
    with open(folder / "images.npy", "r+b") as file:  # cut short, as after a crash of the machine
        file.truncate(300)
    np.testing.assert_array_equal(
        store.decoded(source_of(pictures), None, progress=False)[0], whole
    )


def test_an_interrupted_build_leaves_nothing(place, pictures):
    def stop(item):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        store.decoded(source_of(pictures, stop), None, progress=False)
    assert not list(place.iterdir())
    assert len(store.decoded(source_of(pictures), None, progress=False)[0]) == 15


SLOW = """
    import sys, time
    from dataclasses import replace
    from kdcourse.data import images, store
    source = images.image_folder(__import__("pathlib").Path(sys.argv[1]))
    decode = source.decode
    def slow(item):
        print("decoding", flush=True)
        time.sleep(float(sys.argv[2]))
        return decode(item)
    store.CHUNK = 1
    store.decoded(replace(source, decode=slow), None, progress=False)
"""


def test_a_killed_build_does_not_pass_for_whole_and_is_cleared_away(place, pictures):
    process = subprocess.Popen(
        [sys.executable, "-c", textwrap.dedent(SLOW), str(pictures), "0.2"],
        stdout=subprocess.PIPE,
        env=os.environ,
    )
    process.stdout.readline()
    process.send_signal(signal.SIGKILL)
    process.wait()
    process.stdout.close()
    (left,) = place.iterdir()
    assert left.suffix == ".partial"
    array, _, _ = store.decoded(source_of(pictures), None, progress=False)
    assert array[14, 1, 0, 0] == 4
    (whole,) = place.iterdir()
    assert whole.suffix != ".partial"


def _build(folder, barrier, results):
    decode = (source := source_of(folder)).decode

    def together(item):
        if not barrier.broken and item.endswith("a/0.png"):
            barrier.wait(60)  # both are building now
        return decode(item)

    array, _, key = store.decoded(replace(source, decode=together), None, progress=False)
    results.put((int(array.sum()), key))


def test_two_processes_may_build_at_once(place, pictures):
    context = get_context("fork" if sys.platform == "linux" else "spawn")
    barrier, results = context.Barrier(2), context.Queue()
    processes = [
        context.Process(target=_build, args=(pictures, barrier, results)) for _ in range(2)
    ]
    for process in processes:
        process.start()
    got = [results.get(timeout=60) for _ in processes]
    for process in processes:
        process.join(60)
        assert process.exitcode == 0
    assert got[0] == got[1]
    assert len(list(place.iterdir())) == 1


def test_a_full_disk_is_seen_beforehand(place, pictures, monkeypatch):
    monkeypatch.setattr(
        store.shutil, "disk_usage", lambda path: SimpleNamespace(total=10**6, used=10**6, free=1000)
    )
    with pytest.raises(DataError, match="too full") as error:
        store.decoded(source_of(pictures), None, progress=False)
    for word in (str(place), "1,620 bytes needed", "1,000 free", "KDCOURSE_WORK"):
        assert word in str(error.value)
    assert not list(place.iterdir())


@pytest.mark.skipif(sys.platform != "linux", reason="RLIMIT_FSIZE as a stand-in for a full disk")
def test_a_disk_that_fills_up_while_writing(place, pictures):
    code = """
        import resource, signal
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (500, 500))
        from kdcourse.data import load
        from kdcourse.common.errors import DataError
        try:
            load(SOURCE, progress=False)
        except DataError as error:
            print(error)
    """.replace("SOURCE", repr(str(pictures)))
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(code)], capture_output=True, text=True
    )
    assert "too full" in done.stdout and "KDCOURSE_WORK" in done.stdout, done.stderr
    assert not list(place.iterdir())


def test_a_work_folder_that_cannot_be_made(pictures, tmp_path, monkeypatch):
    (tmp_path / "file").write_text("in the way")
    monkeypatch.setenv("KDCOURSE_WORK", str(tmp_path / "file"))
    with pytest.raises(DataError, match="cannot be made.*KDCOURSE_WORK"):
        load(pictures, progress=False)


def test_resizing_is_antialiased_and_rounded():
    checks = np.indices((64, 64)).sum(0) % 2 * 60000  # without antialiasing all 0 or all 60,000
    small = store.resize(checks.astype(np.uint16)[None], 32)
    assert small.shape == (1, 32, 32) and small.dtype == np.uint16
    np.testing.assert_allclose(small[0, 2:-2, 2:-2], 30000, atol=1)
    assert store.resize(np.full((1, 5, 5), 255, np.uint8), 9).min() == 255


@pytest.mark.parametrize("size", [24, 32, 84])
def test_resizing_is_that_of_torch(size):
    """Torch rounds sums of products as the processor has it: where they end in a half, one up or
    down.
    """
    tile = np.random.default_rng(size).integers(0, 10_000, (13, 64, 64)).astype(np.uint16)
    values = torch.from_numpy(tile.astype(np.float32))[None]
    expected = F.interpolate(
        values, size=[size, size], mode="bilinear", antialias=True, align_corners=False
    )
    difference = np.abs(store.resize(tile, size) - expected[0].round().numpy())
    assert difference.max() <= 1 and difference.mean() < 1e-3


def test_resizing_keeps_the_middle_and_the_shape_of_things():
    wide = np.zeros((1, 10, 30), dtype=np.uint8)
    wide[:, :, 10:20] = 200
    np.testing.assert_array_equal(store.resize(wide, 10), np.full((1, 10, 10), 200))


def test_memory_stays_small(tmp_path):
    """30,000 images (352 MiB decoded) do not pass through memory all at once."""
    code = """
        import resource
        from pathlib import Path
        from types import SimpleNamespace
        import numpy as np
        from kdcourse.data import store

        class Source(SimpleNamespace):
            def __len__(self):
                return 30_000

        decode = lambda item: np.full((3, 64, 64), 7, dtype=np.uint8)
        source = Source(name="many", folder="", items=range(30_000), decode=decode, dtype=np.uint8)
        before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        store._build(Path(OUT), source, (30_000, 3, 64, 64), None, False)
        print((resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 1024)
    """.replace("OUT", repr(str(tmp_path / "out")))
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(code)], capture_output=True, text=True, check=True
    )
    assert float(done.stdout) < 100


def test_listing_27_000_files_is_quick_enough_to_do_every_time(tmp_path):
    """No bound on time: the number of calls a file is what may not grow."""
    for name in "ab":
        (tmp_path / name).mkdir()
        for n in range(50):
            (tmp_path / name / f"{n}.png").touch()
    calls = []
    real = os.stat
    try:
        os.stat = lambda *args, **kwargs: calls.append(args) or real(*args, **kwargs)
        rows, _ = images.labelled(tmp_path, "ab")
    finally:
        os.stat = real
    assert len(rows) == 100 and len(calls) <= 4  # DirEntry.stat does the rest


def test_time_between_listing_and_decoding(place, pictures):
    """A file that vanishes after it was listed is a bad file, not a crash."""
    source = source_of(pictures)
    Path(source.items[3]).unlink()
    with pytest.raises(DataError, match="1 of 15 files"):
        store.decoded(source, None, progress=False)
    assert not list(place.iterdir())
