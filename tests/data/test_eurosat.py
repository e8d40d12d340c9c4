"""EuroSAT's tiles: what is read, and what each kind of bad file says."""

import builtins
import warnings

import numpy as np
import pytest

from kdcourse.common.errors import DataError, UsageError
from kdcourse.data import load
from kdcourse.data.eurosat import BANDS, CLASSES, FALSE_COLOUR, TRUE_COLOUR, is_tile, read_tile


@pytest.fixture
def small_eurosat(tmp_path, write_tile):
    """A data root with 4 tiles of each class; tile n of class i is full of the value 100·i + n."""

    def make(a_class=4):
        for i, name in enumerate(CLASSES):
            for n in range(1, a_class + 1):
                tile = np.full((13, 64, 64), 100 * i + n, dtype=np.uint16)
                write_tile(tmp_path / "EuroSAT_MS" / name / f"{name}_{n}.tif", tile)
        return tmp_path

    return make


def test_the_band_table_is_in_file_order():
    names = [band.name for band in BANDS]
    assert names == "B01 B02 B03 B04 B05 B06 B07 B08 B09 B10 B11 B12 B8A".split()
    assert [names[i] for i in TRUE_COLOUR] == ["B04", "B03", "B02"]
    assert [names[i] for i in FALSE_COLOUR] == ["B08", "B04", "B03"]
    assert list(CLASSES) == sorted(CLASSES) and len(CLASSES) == 10


def test_a_tile_comes_back_as_it_was_written(tmp_path, write_tile):
    tile = np.random.default_rng(0).integers(0, 65536, (13, 64, 64), dtype=np.uint16)
    read = read_tile(write_tile(tmp_path / "a.tif", tile))
    assert read.dtype == np.uint16
    np.testing.assert_array_equal(read, tile)


def bad_tiles(folder, write_tile):
    """One of each kind of bad tile in Forest: file name → what its error must say."""
    good = (folder / "Forest_1.tif").read_bytes()
    (folder / "Forest_11.tif").write_bytes(good[: len(good) // 2])
    (folder / "Forest_12.tif").write_bytes(b"")
    (folder / "Forest_13.tif").write_bytes(b"this is text and no picture")
    write_tile(folder / "Forest_14.tif", np.zeros((12, 64, 64), dtype=np.uint16))
    write_tile(folder / "Forest_15.tif", np.zeros((13, 64, 63), dtype=np.uint16))
    write_tile(folder / "Forest_16.tif", np.zeros((13, 64, 64), dtype=np.float32))
    (folder / "Forest_17.tif").write_bytes(good[:20])
    (folder / "Forest_18.tif").symlink_to(folder / "gone.tif")
    return {
        "Forest_11.tif": "truncated or damaged",
        "Forest_12.tif": "the file is empty",
        "Forest_13.tif": "not a TIFF file",
        "Forest_14.tif": "12 bands, expected 13",
        "Forest_15.tif": "64×63 pixels, expected 64×64",
        "Forest_16.tif": "type float32, expected uint16",
        "Forest_17.tif": "truncated or damaged",
        "Forest_18.tif": "a link that leads nowhere",
    }


def test_what_is_a_tile(tmp_path, write_tile):
    assert is_tile(write_tile(tmp_path / "Forest_1.tif"))
    for name in bad_tiles(tmp_path, write_tile):
        assert is_tile(tmp_path / name) == (name == "Forest_15.tif")  # 64×63 pixels
        assert not is_tile(tmp_path / name, size=(64, 64))


def test_all_bad_tiles_are_listed_at_once(small_eurosat, write_tile):
    root = small_eurosat()
    expected = bad_tiles(root / "EuroSAT_MS" / "Forest", write_tile)
    with pytest.raises(DataError) as error:
        load("eurosat_ms", root=root, progress=False)
    lines = str(error.value).splitlines()
    assert lines[0].startswith("8 of 48 files cannot be used")
    for name, reason in expected.items():
        (line,) = [line for line in lines if name in line]
        assert reason in line
    assert "--skip-bad" in lines[-1]


def test_skip_bad_goes_on_and_says_the_count(small_eurosat, write_tile, work):
    root = small_eurosat()
    bad_tiles(root / "EuroSAT_MS" / "Forest", write_tile)
    with pytest.warns(UserWarning, match="8 of 48 files could not be read"):
        data = load("eurosat_ms", root=root, skip_bad=True, progress=False)
    assert len(data.train) + len(data.val) + len(data.test) == 40
    assert any("8 of 48" in note for note in data.notes)
    for split in (data.train, data.val, data.test):  # pixels and labels still belong together
        images = split.take(np.arange(len(split)))
        np.testing.assert_array_equal(images[:, 0, 0, 0] // 100, split.labels)
    with pytest.raises(DataError):  # and the damaged set does not pass for whole afterwards
        load("eurosat_ms", root=root, progress=False)


def test_skip_bad_is_true_or_false(small_eurosat):
    with pytest.raises(UsageError, match="skip_bad='maybe': expected True or False"):
        load("eurosat_ms", root=small_eurosat(3), skip_bad="maybe", progress=False)


def test_skip_bad_with_a_class_lost(small_eurosat):
    root = small_eurosat(3)
    for path in (root / "EuroSAT_MS" / "River").iterdir():
        path.write_bytes(b"")
    with (
        pytest.raises(DataError, match="no readable file is left of River"),
        warnings.catch_warnings(),
    ):
        warnings.simplefilter("ignore")
        load("eurosat_ms", root=root, skip_bad=True, progress=False)


def test_more_bad_tiles_than_are_listed_are_counted(small_eurosat):
    root = small_eurosat(3)
    for path in (root / "EuroSAT_MS").rglob("*.tif"):
        path.write_bytes(b"")
    with pytest.raises(DataError, match="… and 10 more") as error:
        load("eurosat_ms", root=root, progress=False)
    assert str(error.value).count("the file is empty") == 20


def test_a_tile_without_permission(tmp_path, write_tile, monkeypatch):
    path = write_tile(tmp_path / "a.tif")
    real = builtins.open

    def refuse(file, *args, **kwargs):  # root may read everything, so the refusal is played
        if file == path:
            raise PermissionError(13, "Permission denied")
        return real(file, *args, **kwargs)

    monkeypatch.setattr(builtins, "open", refuse)
    with pytest.raises(DataError, match="a.tif: no permission"):
        read_tile(path)


def test_a_tile_that_is_not_there(tmp_path):
    with pytest.raises(DataError, match="gone.tif"):
        read_tile(tmp_path / "gone.tif")


def test_an_empty_class_is_named(small_eurosat):
    root = small_eurosat()
    for path in (root / "EuroSAT_MS" / "Pasture").iterdir():
        path.unlink()
    with pytest.raises(DataError, match="1 of 10 classes without images.*Pasture"):
        load("eurosat_ms", root=root, progress=False)


def test_strange_folders_and_files_are_said(small_eurosat):
    root = small_eurosat()
    (root / "EuroSAT_MS" / "Volcano").mkdir()
    (root / "EuroSAT_MS" / "Forest" / "notes.txt").write_text("x")
    (root / "EuroSAT_MS" / "Forest" / "._Forest_1.tif").write_text("what macOS leaves")
    notes = " ".join(load("eurosat_ms", root=root, progress=False).notes)
    assert "Volcano" in notes and "1 other file" in notes


def test_the_official_inner_folders_are_found(small_eurosat):
    root = small_eurosat()
    inner = (
        root
        / "EuroSATallBands"
        / "ds"
        / "images"
        / "remote_sensing"
        / "otherDatasets"
        / "sentinel_2"
    )
    inner.mkdir(parents=True)
    (root / "EuroSAT_MS").rename(inner / "tif")
    assert len(load("eurosat_ms", root=root, progress=False).train) == 20


def test_tiles_without_a_georeference_are_tiles_too(tmp_path, recwarn):
    import rasterio

    for i, name in enumerate(CLASSES):
        for n in range(3):
            path = tmp_path / "EuroSAT_MS" / name / f"{name}_{n}.tif"
            path.parent.mkdir(parents=True, exist_ok=True)
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                with rasterio.open(
                    path, "w", driver="GTiff", count=13, height=64, width=64, dtype="uint16"
                ) as file:
                    file.write(np.full((13, 64, 64), i, dtype=np.uint16))
    load("eurosat_ms", root=tmp_path, progress=False)
    assert not [w for w in recwarn if "geotransform" in str(w.message)]


@pytest.mark.real_data
def test_the_real_tiles(real_data):
    data = load("eurosat_ms", root=real_data, progress=False)
    assert data.classes == CLASSES
    assert data.channels == tuple(band.name for band in BANDS)
    assert data.train.images.shape[1:] == (13, 64, 64) and data.train.images.dtype == np.uint16
    sizes = [len(s) for s in (data.train, data.val, data.test)]
    assert sum(sizes) == len(data.train.images)
    np.testing.assert_allclose(np.array(sizes) / sum(sizes), (0.7, 0.1, 0.2), atol=0.01)
    cirrus, blue = data.mean[9], data.mean[1]
    assert cirrus < 50 < 500 < blue  # B10 sees next to nothing through the air
    path = next((real_data / "EuroSAT_MS" / "Forest").iterdir())
    assert read_tile(path).shape == (13, 64, 64)
