"""A wide scene: what lies where, how it is painted, and the file."""

import numpy as np
import pytest
import rasterio

from kdcourse.common.errors import DataError, UsageError
from kdcourse.data import large_scene
from kdcourse.data.eurosat import CLASSES
from kdcourse.data.large_scene import UNSEEN, Landscape, make_wide_scene
from kdcourse.data.scenes import BANDS

SIZE = 300  # no multiple of a strip or a tile


@pytest.fixture(scope="module")
def scene(tmp_path_factory):
    """The file, and what lies where in it."""
    path = tmp_path_factory.mktemp("wide") / "scene.tif"
    return path, make_wide_scene(path, SIZE)


@pytest.fixture(scope="module")
def pixels(scene):
    with rasterio.open(scene[0]) as file:
        return file.read()


def test_the_file_is_a_georeferenced_scene_of_thirteen_bands(scene):
    with rasterio.open(scene[0]) as file:
        assert (file.driver, file.count, file.shape, file.nodata) == ("GTiff", 13, (SIZE, SIZE), 0)
        assert set(file.dtypes) == {"uint16"} and file.descriptions == BANDS
        assert file.crs.to_epsg() == 32632 and (file.transform.a, file.transform.e) == (10, -10)
    assert [path.name for path in scene[0].parent.iterdir()] == ["scene.tif"]


def test_no_data_is_a_corner_in_all_bands_alike(scene, pixels):
    unseen = scene[1].classes(0, SIZE) == UNSEEN
    np.testing.assert_array_equal((pixels == 0).all(0), unseen)
    np.testing.assert_array_equal((pixels == 0).any(0), unseen)
    assert unseen[0, 0] and 0.01 < unseen.mean() < 0.05 and not unseen[:, SIZE // 2 :].any()


def test_it_is_a_function_of_size_and_seed(scene, pixels, tmp_path):
    again, other = tmp_path / "again.tif", tmp_path / "other.tif"
    make_wide_scene(again, SIZE)
    make_wide_scene(other, SIZE, seed=1)
    for path, same in ((again, True), (other, False)):
        with rasterio.open(path) as file:
            assert np.array_equal(file.read(), pixels) is same


def test_what_lies_where_does_not_depend_on_the_rows_asked_for():
    land = Landscape(SIZE, seed=3)
    whole = land.classes(0, SIZE)
    np.testing.assert_array_equal(
        np.concatenate([land.classes(0, 70), land.classes(70, SIZE - 70)]), whole
    )


def test_cells_lie_within_their_tiles():
    """No pixel is farther than half a tile from the grid point of its cell: what would be painted
    there is there.
    """
    land = Landscape(400, seed=5)
    cell = land._cells(0, 400)
    y, x = (at.reshape(-1)[cell] for at in land._grid)
    rows, columns = np.mgrid[:400, :400]
    assert (
        (rows - y).min() >= -32
        and (rows - y).max() < 32
        and (columns - x).min() >= -32
        and (columns - x).max() < 32
    )


def test_water_is_dark_and_forest_is_green():
    land = Landscape(1024)
    top = int(np.argmax((land.classes(0, 1024) == large_scene.LAKE).sum(1)))
    top = min(max(top - 32, 0), 1024 - 64)
    image, found = land.paint(top, 64).astype(float), land.classes(top, 64)
    infrared, red = (image[BANDS.index(name)] for name in ("B08", "B04"))
    lake, forest = (found == CLASSES.index(name) for name in ("SeaLake", "Forest"))
    assert lake.sum() > 500 and infrared[lake].mean() < 800
    assert forest.sum() > 500 and (infrared[forest] / red[forest]).mean() > 2.5


def test_a_tile_is_named_as_eurosat_would():
    def named(**shares):
        given = np.zeros(256)
        for name, share in shares.items():
            given[UNSEEN if name == "unseen" else CLASSES.index(name)] = share
        found = large_scene._dominant_class(given)
        return "unseen" if found == UNSEEN else CLASSES[found]

    assert named(Forest=0.6, Pasture=0.4) == "Forest"
    assert named(Forest=0.97, River=0.03) == "River" and named(Forest=0.99, River=0.01) == "Forest"
    assert named(Forest=0.9, River=0.05, Highway=0.05) == "Highway"
    assert (
        named(Forest=0.6, SeaLake=0.4) == "SeaLake" and named(Forest=0.7, SeaLake=0.3) == "Forest"
    )
    assert named(unseen=0.6, Forest=0.4) == "unseen" and named(unseen=0.5, Forest=0.5) == "Forest"


def test_truth_of_tiles(scene):
    found = scene[1].tiles(64)
    assert found.shape == (4, 4)
    np.testing.assert_array_equal(found, scene[1].tiles(64))
    one = scene[1].classes(128, 64)[:, 192:256]
    assert found[2, 3] == large_scene._dominant_class(
        np.bincount(one.reshape(-1), minlength=256) / 64**2
    )


def test_a_scene_that_is_there_is_left_and_another_refused(scene, tmp_path):
    path, _ = scene
    before = path.stat().st_mtime_ns
    make_wide_scene(path, SIZE)
    assert path.stat().st_mtime_ns == before
    with pytest.raises(DataError, match="holds something else"):
        make_wide_scene(path, SIZE, seed=7)
    (tmp_path / "text.tif").write_text("no scene")
    with pytest.raises(DataError, match="holds something else"):
        make_wide_scene(tmp_path / "text.tif", SIZE)


def test_a_failure_leaves_nothing(tmp_path, monkeypatch):
    monkeypatch.setattr(
        Landscape, "paint", lambda self, top, height: (_ for _ in ()).throw(OSError("disk full"))
    )
    with pytest.raises(DataError, match="disk full"):
        make_wide_scene(tmp_path / "scene.tif", SIZE)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    "arguments, says", [((63,), "size=63"), ((2048.0,), "size="), ((128, -1), "seed=-1")]
)
def test_bad_arguments(tmp_path, arguments, says):
    with pytest.raises(UsageError, match=says):
        Landscape(*arguments)
