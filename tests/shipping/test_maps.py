"""Maps: the right class at the right place, in a file that other programs understand."""

import subprocess
import sys
import warnings

import numpy as np
import pytest
import rasterio
from click.testing import CliRunner
from rasterio.errors import NotGeoreferencedWarning

from kdcourse.cli import main
from kdcourse.common.errors import DataError, UsageError
from kdcourse.data.eurosat import CLASSES
from kdcourse.shipping import maps
from kdcourse.shipping.maps import NONE, classify, colours, overview

AFFINE = rasterio.Affine(10, 0, 500_000, 0, -10, 5_400_000)


class Brightness:
    """In the place of a Model: the class of a tile is its mean over 100, and `asked` the tiles that
    it was shown.
    """

    classes, channels, dtype = ("dark", "grey", "Forest"), ("B02", "B03"), np.dtype("uint16")
    takes = "GeoTIFFs of 2 bands"

    def __init__(self):
        self.asked, self.sizes = [], []

    def sized(self, name, image):
        return image

    def logits(self, images):
        self.asked += list(images)
        self.sizes.append(len(images))
        return np.eye(3)[(images.mean((1, 2, 3)) / 100).astype(int).clip(0, 2)]


@pytest.fixture
def model():
    return Brightness()


@pytest.fixture
def scene(tmp_path):
    """A maker of scenes: `scene(array (2, H, W))`, with EPSG 32632 and nodata 0."""

    def make(pixels, name="scene.tif", **other):
        about = dict(crs="EPSG:32632", transform=AFFINE, nodata=0) | other
        count, height, width = pixels.shape
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", NotGeoreferencedWarning)
            with rasterio.open(
                tmp_path / name,
                "w",
                driver="GTiff",
                count=count,
                height=height,
                width=width,
                dtype=pixels.dtype,
                **about,
            ) as file:
                file.write(pixels)
        return tmp_path / name

    return make


def blocks(values, size=8):
    """(2, H, W) uint16: each value a block of size × size pixels."""
    return np.repeat(np.repeat(np.array([values, values], np.uint16), size, 1), size, 2)


def read(path):
    with rasterio.open(path) as file:
        return file.read(1)


def test_each_tile_has_its_class_at_its_place(model, scene, tmp_path):
    done = classify(
        model, scene(blocks([[50, 150, 250], [250, 50, 150]])), tmp_path / "map.tif", tile=8
    )
    expected = np.repeat(np.repeat(np.array([[0, 1, 2], [2, 0, 1]]), 8, 0), 8, 1)
    np.testing.assert_array_equal(read(tmp_path / "map.tif"), expected)
    assert done.tiles == 6 and done.megapixels == pytest.approx(16 * 24 / 1e6) and done.without == 0
    assert done.shares == pytest.approx({"dark": 100 / 3, "grey": 100 / 3, "Forest": 100 / 3})
    assert 0 < done.answering < done.seconds and done.pace == pytest.approx(
        done.seconds / done.megapixels
    )


def test_the_file_has_the_scenes_place_colours_and_names(model, scene, tmp_path):
    path = scene(blocks([[50, 150]]))
    classify(model, path, tmp_path / "map.tif", tile=8)
    with rasterio.open(tmp_path / "map.tif") as file, rasterio.open(path) as before:
        assert (file.crs, file.transform, file.shape) == (
            before.crs,
            before.transform,
            before.shape,
        )
        assert (file.count, file.dtypes, file.nodata) == (1, ("uint8",), NONE)
        assert file.colorinterp[0] == rasterio.enums.ColorInterp.palette
        for i, colour in enumerate(colours(model.classes)):
            assert file.colormap(1)[i] == (*colour, 255)
        assert file.colormap(1)[NONE][3] == 0
        assert [file.tags(1)[f"CLASS_{i}"] for i in range(3)] == list(model.classes)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["map.tif", "scene.tif"]


def test_edges_that_are_no_multiple_of_the_tile(model, scene, tmp_path):
    """The last tiles are moved inwards: whole tiles of the scene, and nothing made up."""
    pixels = np.full((2, 21, 19), 50, np.uint16)
    pixels[:, 13:, 11:] = 250  # the last tile, whole
    classify(model, scene(pixels), tmp_path / "map.tif", tile=8)
    found = read(tmp_path / "map.tif")
    assert found.shape == (21, 19) and all(image.shape == (2, 8, 8) for image in model.asked)
    assert len(model.asked) == 9 and (model.asked[-1] == 250).all()
    assert (found[16:, 16:] == 2).all() and (found[:8] == 0).all()


def test_a_finer_step_shows_the_tile_around_each_block(model, scene, tmp_path):
    pixels = np.arange(32, dtype=np.uint16)[None, None, :].repeat(2, 0).repeat(8, 1) + 1
    classify(model, scene(pixels), tmp_path / "map.tif", tile=8, step=4)
    lefts = [int(image[0, 0, 0]) - 1 for image in model.asked[:8]]
    assert lefts == [
        0,
        2,
        6,
        10,
        14,
        18,
        22,
        24,
    ]  # block 4k … 4k + 4 in the middle of 4k − 2 … 4k + 6, within 0 … 32


def test_no_data(model, scene, tmp_path):
    pixels = blocks([[50, 250, 250]])
    pixels[:, :, 8:13] = 0  # more than half of the second tile
    pixels[:, :, 16:19] = 0  # less than half of the third
    pixels[0, 0, 0] = 0  # in one band only: that is a value
    done = classify(model, scene(pixels), tmp_path / "map.tif", tile=8)
    found = read(tmp_path / "map.tif")
    assert (
        (found[:, :8] == 0).all() and (found[:, 8:19] == NONE).all() and (found[:, 19:] == 2).all()
    )
    assert done.tiles == 2 and (model.asked[1] == 250).all()  # filled with the mean of the rest
    assert done.without == pytest.approx(100 * 11 / 24) and done.shares["Forest"] == pytest.approx(
        100 * 5 / 13
    )
    assert "(no data)" in str(done)
    plain = classify(
        Brightness(), scene(pixels, "plain.tif", nodata=None), tmp_path / "plain_map.tif", tile=8
    )
    assert plain.without == 0 and plain.tiles == 3


def test_tiles_come_in_batches(model, scene, tmp_path):
    classify(model, scene(blocks([[50] * 7])), tmp_path / "map.tif", tile=8, batch_size=3)
    assert model.sizes == [3, 3, 1]


def test_a_scene_without_a_place_gives_a_map_without_one(model, scene, tmp_path, recwarn):
    classify(model, scene(blocks([[50]]), crs=None, transform=None), tmp_path / "map.tif", tile=8)
    assert not [w for w in recwarn if issubclass(w.category, NotGeoreferencedWarning)]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", NotGeoreferencedWarning)
        with rasterio.open(tmp_path / "map.tif") as file:
            assert file.crs is None


# --- bad input ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "pixels, says",
    [
        (np.ones((3, 16, 16), np.uint16), "3 bands. The model takes GeoTIFFs of 2 bands"),
        (np.ones((2, 16, 16), np.float32), "type float32"),
        (np.ones((2, 16, 7), np.uint16), "16×7 pixels, less than a tile of 8×8"),
    ],
)
def test_a_scene_that_does_not_suit(model, scene, tmp_path, pixels, says):
    with pytest.raises(DataError, match=says):
        classify(model, scene(pixels), tmp_path / "map.tif", tile=8)
    assert not (tmp_path / "map.tif").exists()


def test_a_scene_that_is_none(model, scene, tmp_path):
    (tmp_path / "text.tif").write_text("no scene")
    cut = scene(np.random.default_rng(0).integers(1, 999, (2, 64, 64), np.uint16))
    cut.write_bytes(cut.read_bytes()[:6000])
    for path, says in (
        (tmp_path / "nowhere.tif", "no such file"),
        (tmp_path / "text.tif", "not a GeoTIFF"),
        (cut, "dam"),
    ):
        with pytest.raises(DataError, match=f"{path.name}: .*{says}"):
            classify(model, path, tmp_path / "map.tif", tile=8)
    assert not [path for path in tmp_path.iterdir() if "map" in path.name]


def test_an_older_map_stays_where_a_new_one_fails(scene, tmp_path):
    class Broken(Brightness):
        def logits(self, images):
            raise DataError("broken")

    (tmp_path / "map.tif").write_text("older")
    with pytest.raises(DataError, match="broken"):
        classify(Broken(), scene(blocks([[50]])), tmp_path / "map.tif", tile=8)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["map.tif", "scene.tif"]
    assert (tmp_path / "map.tif").read_text() == "older"


def test_bad_arguments(model, scene, tmp_path):
    path = scene(blocks([[50]]))
    for arguments, says in (
        ({"tile": 0}, "tile=0"),
        ({"step": 9}, "step=9"),
        ({"batch_size": 0}, "batch_size=0"),
    ):
        with pytest.raises(UsageError, match=says):
            classify(model, path, tmp_path / "map.tif", **{"tile": 8, **arguments})
    with pytest.raises(UsageError, match="is the scene itself"):
        classify(model, path, path, tile=8)
    with pytest.raises(UsageError, match="no folder"):
        classify(model, path, tmp_path / "deep" / "map.tif", tile=8)


def test_no_torch_is_needed():
    code = (
        "import sys, kdcourse.shipping.maps\n"
        "print([n for n in ('torch', 'pandas', 'matplotlib') if n in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], text=True, capture_output=True)
    assert done.stdout == "[]\n"


# --- colours, pictures, the command ---------------------------------------------------------------


def test_colours_are_all_different():
    for classes in (CLASSES, [f"class {i}" for i in range(30)]):
        assert len(set(colours(classes))) == len(classes)


def test_overview(scene):
    pixels = np.zeros((2, 40, 20), np.uint16)
    pixels[1, ::2] = 100
    small = overview(scene(pixels, nodata=None), (2,), size=10, average=True)
    assert small.shape == (1, 10, 5) and np.abs(small - 50.0).max() <= 1
    assert set(np.unique(overview(scene(pixels, nodata=None), (1, 2), size=10))) <= {0, 100}
    assert overview(scene(pixels), (1,), size=512).shape == (1, 40, 20)


def test_the_command(tmp_path, monkeypatch):
    pytest.importorskip("onnxruntime")
    from shipping import ships

    monkeypatch.chdir(tmp_path)
    call = CliRunner().invoke
    assert (
        call(main, ["data", "make", "wide", "--size", "150", "--output", "s.tif"]).output
        == "Scene: s.tif\n"
    )
    result = call(main, ["map", str(ships.exported().path), "s.tif"])
    assert result.exit_code == 0 and result.output.startswith(
        "s_map.tif: 0.02 megapixels in 9 tiles"
    )
    assert read("s_map.tif").shape == (150, 150)
    result = call(main, ["map", str(ships.exported().path), "nowhere.tif"])
    assert result.exit_code == 2 and "nowhere.tif: no such file" in result.output
    assert maps.TILE == 64
