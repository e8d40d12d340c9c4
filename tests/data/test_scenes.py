import json
import os

import numpy as np
import pytest
import rasterio
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from kdcourse.common.errors import DataError, UsageError
from kdcourse.data import scenes
from kdcourse.data.eurosat import read_tile
from kdcourse.data.scenes import BANDS, CLASSES, make_scenes, render_tile


def names(folder):
    return {str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file()}


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return make_scenes(tmp_path_factory.mktemp("scenes") / "made", 25, jobs=1, progress=False)


@pytest.fixture(scope="module")
def tiles():
    """(10, 12, 13, 64, 64) float32: twelve tiles of each class."""
    return np.stack([[render_tile(name, n) for n in range(1, 13)] for name in CLASSES]).astype(
        np.float32
    )


def band(tiles, name):
    return tiles[..., BANDS.index(name), :, :]


def test_layout_is_eurosats_and_classes_are_as_even_as_possible(folder):
    expected = {f"{name}/{name}_{n}.tif" for name in CLASSES for n in (1, 2)}
    expected |= {f"{name}/{name}_3.tif" for name in CLASSES[:5]}
    assert names(folder) == expected | {"scenes.json"}


def test_a_tile_is_a_georeferenced_geotiff_that_the_eurosat_loader_reads(folder):
    path = folder / "River" / "River_2.tif"
    with rasterio.open(path) as file:
        assert (file.driver, file.count, file.shape) == ("GTiff", 13, (64, 64))
        assert set(file.dtypes) == {"uint16"}
        assert file.descriptions == BANDS and BANDS[-1] == "B8A"
        assert file.crs.is_projected and 32601 <= file.crs.to_epsg() <= 32660
        assert (file.transform.a, file.transform.e) == (10, -10)
        assert 100_000 < file.transform.c < 900_000
    np.testing.assert_array_equal(read_tile(path), render_tile("River", 2))


def test_a_tile_depends_on_its_four_arguments_alone():
    first = render_tile("Highway", 4, seed=1, difficulty=0.3)
    render_tile("River", 1)
    np.testing.assert_array_equal(render_tile("Highway", 4, seed=1, difficulty=0.3), first)
    for other in (
        ("Highway", 5, 1, 0.3),
        ("Highway", 4, 2, 0.3),
        ("Highway", 4, 1, 0.4),
        ("Pasture", 4, 1, 0.3),
    ):
        assert (render_tile(*other) != first).mean() > 0.5


def test_the_same_bits_whatever_the_number_of_processes(folder, tmp_path):
    again = make_scenes(tmp_path / "again", 25, jobs=2, progress=False)
    assert names(again) == names(folder)
    for name in names(folder):
        assert (again / name).read_bytes() == (folder / name).read_bytes()


def test_a_larger_count_only_adds_and_a_smaller_one_changes_nothing(tmp_path):
    folder = make_scenes(tmp_path, 10, jobs=1, progress=False)
    before = {name: (folder / name).stat().st_ctime_ns for name in names(folder)}
    make_scenes(folder, 13, jobs=1, progress=False)
    make_scenes(folder, 4, jobs=1, progress=False)
    after = {name: (folder / name).stat().st_ctime_ns for name in names(folder)}
    assert before.items() <= after.items()
    assert set(after) - set(before) == {f"{name}/{name}_2.tif" for name in CLASSES[:3]}


def test_the_same_scenes_have_the_same_date_on_every_machine(folder, tmp_path):
    """Fingerprints hold it: a network that was trained elsewhere on the same scenes is found
    again.
    """
    other = make_scenes(tmp_path / "other", 1, seed=1, jobs=1, progress=False)
    first = f"{CLASSES[0]}/{CLASSES[0]}_1.tif"
    dates = {path.stat().st_mtime_ns for path in folder.glob("*/*.tif")}
    assert len(dates) == 1 and dates != {(other / first).stat().st_mtime_ns}
    again = make_scenes(tmp_path / "again", 1, jobs=1, progress=False)
    assert dates == {(again / first).stat().st_mtime_ns}


def test_vegetation_is_green_and_water_is_dark_in_the_infrared(tiles):
    red, infrared = band(tiles, "B04"), band(tiles, "B08")
    ndvi = dict(zip(CLASSES, ((infrared - red) / (infrared + red)).mean((1, 2, 3)), strict=True))
    assert ndvi["Forest"] > 0.45 and ndvi["Pasture"] > 0.45 and ndvi["SeaLake"] < 0.1
    assert max(ndvi["Industrial"], ndvi["Residential"]) < min(ndvi["Forest"], ndvi["Pasture"])
    swir = dict(zip(CLASSES, np.median(band(tiles, "B11"), axis=(1, 2, 3)), strict=True))
    assert swir.pop("SeaLake") < 300 < 900 < min(swir.values())
    edge = np.median(band(tiles, "B07") / band(tiles, "B05"), axis=(1, 2, 3))  # the red edge
    assert edge[CLASSES.index("Forest")] > 2


def test_digital_numbers_are_in_the_range_of_a_satellites(tiles):
    assert (
        band(tiles, "B10").mean() < 30 and band(tiles, "B10").max() < 100
    )  # cirrus: next to nothing gets through
    assert 900 < band(tiles, "B01").mean() < 1800  # blue haze
    assert np.percentile(tiles, 99.9) < 9000 and tiles.min() >= 1


def test_coarse_bands_are_smoother_than_fine_ones(tiles):
    houses = tiles[CLASSES.index("Residential")]

    def roughness(name):
        image = band(houses, name)
        return np.abs(np.diff(image)).mean() / image.std()

    assert roughness("B08") > 1.2 * roughness("B8A") > 1.2 * roughness("B09")


def test_the_mean_spectrum_does_not_tell_the_class():
    """A linear model on band means, 40 tiles a class: well above chance, far from solving it."""
    means = np.stack([render_tile(name, n).mean((1, 2)) for name in CLASSES for n in range(1, 41)])
    labels, number = np.repeat(np.arange(10), 40), np.tile(np.arange(40), 10)
    train = number < 28
    model = make_pipeline(StandardScaler(), LogisticRegression(max_iter=1000))
    accuracy = 100 * model.fit(means[train], labels[train]).score(means[~train], labels[~train])
    assert 30 < accuracy < 65


def test_scenes_of_another_seed_or_difficulty_are_refused(tmp_path):
    make_scenes(tmp_path, 1, seed=1, difficulty=0.5, jobs=1, progress=False)
    for other in ({"seed": 2, "difficulty": 0.5}, {"seed": 1, "difficulty": 0.6}):
        with pytest.raises(DataError, match="another folder"):
            make_scenes(tmp_path, 1, **other, jobs=1, progress=False)
    (tmp_path / "scenes.json").write_text("{")
    with pytest.raises(DataError, match="scenes.json"):
        make_scenes(tmp_path, 1, seed=1, difficulty=0.5, jobs=1, progress=False)


def test_a_folder_with_tiles_from_elsewhere_is_refused(tmp_path):
    (tmp_path / "Forest").mkdir()
    (tmp_path / "Forest" / "Forest_1.tif").write_bytes(b"a real tile")
    with pytest.raises(DataError, match="not made here"):
        make_scenes(tmp_path, 10, jobs=1, progress=False)
    assert names(tmp_path) == {"Forest/Forest_1.tif"}


def test_an_interrupted_run_leaves_no_half_file_and_goes_on_where_it_stopped(
    tmp_path, monkeypatch, folder
):
    replace, calls = os.replace, []

    def interrupted(source, target):
        calls.append(target)
        if len(calls) == 5:
            raise KeyboardInterrupt
        replace(source, target)

    monkeypatch.setattr(scenes.os, "replace", interrupted)
    with pytest.raises(KeyboardInterrupt):
        make_scenes(tmp_path, 25, jobs=1, progress=False)
    assert len(names(tmp_path)) == 4 and all(
        name.endswith((".tif", ".json")) for name in names(tmp_path)
    )
    monkeypatch.undo()
    make_scenes(tmp_path, 25, jobs=1, progress=False)
    assert all(
        (tmp_path / name).read_bytes() == (folder / name).read_bytes() for name in names(folder)
    )


def test_a_full_disk_is_said_and_leaves_no_half_file(tmp_path):
    resource = pytest.importorskip("resource")
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (50_000, hard))  # half a tile
    try:
        with pytest.raises(DataError, match="AnnualCrop_1.tif.*disk full"):
            make_scenes(tmp_path, 3, jobs=1, progress=False)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert names(tmp_path) == {"scenes.json"}


def test_a_folder_that_cannot_be_made_is_said(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(DataError, match="another folder"):
        make_scenes(tmp_path / "file", 3, jobs=1, progress=False)


def test_the_folder_says_how_it_was_made(folder):
    noted = json.loads((folder / "scenes.json").read_text())
    assert (noted["seed"], noted["difficulty"]) == (0, scenes.DEFAULT_DIFFICULTY)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"count": 0}, "count=0"),
        ({"count": 2.5}, "count=2.5"),
        ({"count": 10, "seed": -1}, "seed=-1"),
        ({"count": 10, "seed": 1.5}, "seed=1.5"),
        ({"count": 10, "difficulty": 1.2}, "difficulty=1.2"),
        ({"count": 10, "difficulty": float("nan")}, "difficulty=nan"),
        ({"count": 10, "jobs": 0}, "jobs=0"),
    ],
)
def test_arguments_that_cannot_be_right(tmp_path, arguments, message):
    with pytest.raises(UsageError, match=message):
        make_scenes(tmp_path / "new", **arguments)
    assert not (tmp_path / "new").exists()


def test_an_unknown_class_or_tile_number():
    with pytest.raises(UsageError, match="Did you mean Forest"):
        render_tile("forest", 1)
    with pytest.raises(UsageError, match="n=0"):
        render_tile("Forest", 0)
