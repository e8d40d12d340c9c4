"""TIFF files whose tags are damaged: refused before they are read."""

import struct

import numpy as np
import pytest
import rasterio

from kdcourse.common.errors import DataError
from kdcourse.data.tiff import check_tiff

pytestmark = pytest.mark.filterwarnings("ignore::rasterio.errors.NotGeoreferencedWarning")


@pytest.fixture
def altered(tmp_path, write_tile):
    """`altered(tag, number)`: a tile with another first number in a tag."""
    content = write_tile(tmp_path / "tile.tif").read_bytes()
    (start,) = struct.unpack("<I", content[4:8])
    (tags,) = struct.unpack("<H", content[start : start + 2])

    def write(tag: int, number: int, part: int = 8):
        for at in range(start + 2, start + 2 + 12 * tags, 12):
            if struct.unpack("<H", content[at : at + 2]) == (tag,):
                new = struct.pack("<I", number)[: 2 if part < 4 else 4]
                path = tmp_path / "altered.tif"
                path.write_bytes(content[: at + part] + new + content[at + part + len(new) :])
                return path
        raise LookupError(tag)

    return write


def test_kinds_of_files_that_are_whole(tmp_path):
    pixels = np.random.default_rng(0).integers(0, 99, (3, 100, 70), dtype=np.uint16)
    tiled = dict(tiled=True, blockxsize=32, blockysize=16)
    for options in (
        {},
        tiled,
        {"interleave": "band"},
        {"BIGTIFF": "YES"},
        {"ENDIANNESS": "BIG"},
        {"compress": "lzw", "predictor": 2},
        {"compress": "deflate", "interleave": "band", **tiled},
        {"driver": "COG"},
    ):
        about = {"driver": "GTiff", "count": 3, "height": 100, "width": 70, "dtype": "uint16"}
        with rasterio.open(tmp_path / "a.tif", "w", **about | options) as file:
            file.write(pixels)
        check_tiff(tmp_path / "a.tif")


def test_altered_tags(altered):
    for tag, number, says in (
        (256, 63, "block 0 has 6656 bytes, expected 6552"),
        (257, 65, "16 offsets and 16 sizes of 17 strips"),
        (256, 0, "tag 256"),
        (273, 4, "overlap|at bytes"),
        (278, 3, "of 22 strips"),
        (279, 10**6, "bytes 1000000"),
        (284, 2, "of 208 strips"),
    ):
        with pytest.raises(DataError, match=f"altered.tif: truncated or damaged .*{says}"):
            check_tiff(altered(tag, number))
    with pytest.raises(DataError, match="truncated or damaged .*bits of 0 bands"):
        check_tiff(altered(258, 0, part=4))  # no value at all
    for tag in (256, 273, 279):
        with pytest.raises(DataError, match="truncated or damaged"):
            check_tiff(altered(tag, 65_000, part=0))  # the tag is another one


def test_metadata_that_are_no_text(tmp_path):
    about = dict(driver="GTiff", count=1, height=8, width=8, dtype="uint8")
    with rasterio.open(tmp_path / "a.tif", "w", **about) as file:
        file.update_tags(place="Freiburg, Zürich")
    check_tiff(tmp_path / "a.tif")
    content = (tmp_path / "a.tif").read_bytes()
    (tmp_path / "a.tif").write_bytes(content.replace("ü".encode(), b"\xff\xff"))
    with pytest.raises(DataError, match="a.tif: truncated or damaged .*tag 42112 is not UTF-8"):
        check_tiff(tmp_path / "a.tif")


def test_a_size_that_no_memory_holds(altered, tmp_path):
    path = altered(256, 60_000)
    path = path.rename(tmp_path / "wide.tif")
    with pytest.raises(DataError, match="wide.tif: truncated or damaged"):
        check_tiff(path)
    with pytest.raises(DataError, match="64 × 60,000 pixels, 0.1 GB: too large, expected"):
        check_tiff(path, largest=10**7)


def test_a_scene_without_some_blocks(tmp_path):
    about = dict(driver="GTiff", count=1, height=64, width=64, dtype="uint8", SPARSE_OK=True)
    tiled = dict(tiled=True, blockxsize=32, blockysize=32)
    with rasterio.open(tmp_path / "a.tif", "w", **about, **tiled) as file:
        file.write(np.ones((1, 32, 32), np.uint8), window=rasterio.windows.Window(0, 0, 32, 32))
    check_tiff(tmp_path / "a.tif", sparse=True)
    with pytest.raises(DataError, match="a.tif: truncated or damaged .*block 1 has 0 bytes"):
        check_tiff(tmp_path / "a.tif")


def test_files_that_are_none(tmp_path, write_tile):
    whole = write_tile(tmp_path / "tile.tif").read_bytes()
    for content, says in (
        (b"", "the file is empty"),
        (b"no picture", "not a TIFF file"),
        (whole[:-1], "truncated or damaged"),
        (whole[:100], "truncated or damaged"),
        (whole[:6], "truncated or damaged"),
    ):
        (tmp_path / "a.tif").write_bytes(content)
        with pytest.raises(DataError, match=f"a.tif: {says}"):
            check_tiff(tmp_path / "a.tif")
    with pytest.raises(DataError, match="nowhere.tif: no such file"):
        check_tiff(tmp_path / "nowhere.tif")


def test_a_last_strip_may_be_as_long_as_the_others(write_tile, tmp_path):
    """GDAL writes it so: 12 bands in strips of 5 rows leave 4 of 64 rows over."""
    bands = np.zeros((12, 64, 64), np.uint16)
    check_tiff(write_tile(tmp_path / "a.tif", bands))
