"""`load`: names, splits, limits, sizes, and what it says when something is missing."""

import os
from dataclasses import fields

import numpy as np
import pytest

from kdcourse.common.errors import DataError, UsageError
from kdcourse.data import AUGMENTATIONS, CATALOG, load
from kdcourse.data.download import DOWNLOADS
from kdcourse.data.eurosat import BANDS, CLASSES

NAMES = (
    "scenes eurosat_ms eurosat_rgb mnist fashion_mnist usps cifar10 cifar100 tiny_imagenet "
    "mini_imagenet digits"
).split()


@pytest.fixture
def tiles(tmp_path, write_tile):
    """A data root with 10 EuroSAT tiles of each class."""
    for i, name in enumerate(CLASSES):
        for n in range(1, 11):
            tile = np.random.default_rng([i, n]).integers(0, 3000, (13, 64, 64), dtype=np.uint16)
            write_tile(tmp_path / "EuroSAT_MS" / name / f"{name}_{n}.tif", tile)
    return tmp_path


def sizes(data):
    return [len(data.train), len(data.val), len(data.test)]


def test_the_catalogue_is_whole():
    assert set(CATALOG) == set(NAMES), f"NAMES and CATALOG differ by {set(CATALOG) ^ set(NAMES)}"
    for name, info in CATALOG.items():
        assert info.name == name and info.augmentation in AUGMENTATIONS
        for field in ("title", "about", "source", "licence", "layout", "channels"):
            assert getattr(info, field), f"{name}.{field}"
    assert {f.name for f in fields(CATALOG["usps"])} >= {"classes", "image_size", "official_test"}
    assert set(DOWNLOADS) < set(CATALOG)


@pytest.mark.parametrize("name", [n for n in NAMES if n not in ("scenes", "digits")])
def test_an_absent_set_says_what_to_do(tmp_path, name):
    with pytest.raises(DataError) as error:
        load(name, root=tmp_path)
    text = str(error.value)
    for word in (
        name,
        str(tmp_path),
        CATALOG[name].layout,
        f"kdcourse data get {name}",
        "--dataset scenes",
    ):
        assert word in text


def test_a_data_root_that_does_not_exist(tmp_path, monkeypatch):
    with pytest.raises(DataError, match="nowhere: no such folder"):
        load("usps", root=tmp_path / "nowhere")
    monkeypatch.setenv("KDCOURSE_DATA", str(tmp_path / "nowhere"))
    with pytest.raises(DataError, match="KDCOURSE_DATA=.*nowhere: no such folder"):
        load("usps")


def test_unknown_names():
    with pytest.raises(UsageError, match="unknown data set 'eurosat_sm'.*eurosat_ms"):
        load("eurosat_sm")
    with pytest.raises(DataError, match="~nobody-here/x: no such folder"):
        load("~nobody-here/x")
    with pytest.raises(UsageError, match="unknown data set ''"):
        load("")
    with pytest.raises(UsageError, match="unknown split 'd3'.*d1"):
        load("digits", split="d3")


@pytest.mark.parametrize(
    "argument",
    [
        {"image_size": 0},
        {"image_size": 32.5},
        {"limit": 0},
        {"limit": True},
        {"split_seed": -1},
        {"split_seed": None},
    ],
)
def test_numbers_that_cannot_be(argument):
    with pytest.raises(UsageError, match=f"{next(iter(argument))}="):
        load("digits", **argument)


def test_the_shares_of_the_classes_are_d1s(tiles):
    data = load("eurosat_ms", root=tiles, progress=False)
    for split, each in ((data.train, 7), (data.val, 1), (data.test, 2)):
        np.testing.assert_array_equal(np.bincount(split.labels), [each] * 10)
    rows = np.concatenate([data.train.rows, data.val.rows, data.test.rows])
    np.testing.assert_array_equal(np.sort(rows), np.arange(100))
    d1 = load("eurosat_ms", root=tiles, split="d1", progress=False)
    np.testing.assert_array_equal(d1.test.rows, data.test.rows)


def test_mean_and_deviation_are_trains(tiles):
    data = load("eurosat_ms", root=tiles, progress=False)
    images = data.train.take(np.arange(len(data.train))).astype(float)
    np.testing.assert_allclose(data.mean, images.mean((0, 2, 3)), rtol=1e-6)
    np.testing.assert_allclose(data.std, images.std((0, 2, 3)), rtol=1e-5)


def test_the_same_call_gives_the_same_splits_in_any_listing_order(tiles, monkeypatch):
    first = load("eurosat_ms", root=tiles, limit=60, progress=False)
    real = os.scandir

    class Backwards:
        def __init__(self, path):
            with real(path) as entries:
                self.entries = sorted(entries, key=lambda e: e.name, reverse=True)

        def __enter__(self):
            return iter(self.entries)

        def __exit__(self, *_):
            return None

    monkeypatch.setattr(os, "scandir", Backwards)
    monkeypatch.setenv("KDCOURSE_WORK", str(tiles / "work"))  # decoded anew
    again = load("eurosat_ms", root=tiles, limit=60, progress=False)
    assert again.fingerprint == first.fingerprint
    for a, b in ((first.train, again.train), (first.val, again.val), (first.test, again.test)):
        np.testing.assert_array_equal(a.rows, b.rows)
        np.testing.assert_array_equal(a.take(range(len(a))), b.take(range(len(b))))


def test_the_fingerprint_covers_all_that_matters(tiles):
    def fingerprint(**options):
        return load("eurosat_ms", root=tiles, progress=False, **options).fingerprint

    variants = [
        fingerprint(),
        fingerprint(image_size=32),
        fingerprint(limit=50),
        fingerprint(split_seed=1),
        fingerprint(limit=50, split_seed=1),
        fingerprint(split="d1"),
    ]
    assert len(set(variants)) == len(variants)
    assert (
        fingerprint()
        == variants[0]
        == fingerprint(limit=100)
        == fingerprint(limit=1000, image_size=64)
    )
    os.utime(tiles / "EuroSAT_MS" / "River" / "River_3.tif", ns=(1, 1))
    assert fingerprint() != variants[0]


def test_split_seeds_differ(tiles):
    a = load("eurosat_ms", root=tiles, progress=False)
    b = load("eurosat_ms", root=tiles, split_seed=1, progress=False)
    assert not np.array_equal(a.test.rows, b.test.rows)


def test_a_limit_keeps_the_shares_and_has_its_least(tiles):
    data = load("eurosat_ms", root=tiles, limit=50, progress=False)
    assert sum(sizes(data)) == 50
    labels = np.concatenate([data.train.labels, data.val.labels, data.test.labels])
    np.testing.assert_array_equal(np.bincount(labels), [5] * 10)
    assert len(data.train.images) == 50  # the others are not even decoded
    with pytest.raises(DataError, match="limit=29 is too small for the 10 classes.*at least 30"):
        load("eurosat_ms", root=tiles, limit=29, progress=False)
    assert sizes(load("eurosat_ms", root=tiles, limit=30, progress=False)) == [10, 10, 10]


def test_resizing_is_done_once_at_decoding(tiles):
    data = load("eurosat_ms", root=tiles, image_size=32, progress=False)
    assert data.image_size == (32, 32) and data.train.images.dtype == np.uint16
    whole = load("eurosat_ms", root=tiles, progress=False)
    np.testing.assert_array_equal(whole.train.rows, data.train.rows)
    np.testing.assert_allclose(
        data.train.take([0])[0, :, 1:-1, 1:-1].mean(),
        whole.train.take([0])[0, :, 2:-2, 2:-2].mean(),
        rtol=0.02,
    )


def test_d4_needs_an_official_test_set(tiles):
    with pytest.raises(UsageError, match="split='d4'.*has none"):
        load("eurosat_ms", root=tiles, split="d4", progress=False)


def test_scenes_are_painted_on_demand(tmp_path, monkeypatch):
    monkeypatch.setenv("KDCOURSE_WORK", str(tmp_path))
    monkeypatch.delenv("KDCOURSE_DATA", raising=False)
    data = load("scenes", limit=35, progress=False)
    assert data.classes == CLASSES and data.channels == tuple(b.name for b in BANDS)
    assert sum(sizes(data)) == 35
    assert len(list((tmp_path / "scenes").rglob("*.tif"))) == 40  # four of each class
    images = data.train.take(range(len(data.train)))
    more = load("scenes", limit=60, progress=False)
    assert len(list((tmp_path / "scenes").rglob("*.tif"))) == 60 and sum(sizes(more)) == 60
    again = load("scenes", limit=35, progress=False)  # the tiles that were added since do not count
    assert again.fingerprint == data.fingerprint
    np.testing.assert_array_equal(again.train.take(range(len(again.train))), images)


def test_a_larger_limit_leaves_the_store_of_a_smaller_one(tmp_path, monkeypatch):
    monkeypatch.setenv("KDCOURSE_WORK", str(tmp_path))
    for limit in (30, 40):  # whole classes of tiles: there is nothing to draw from them
        load("scenes", limit=limit, image_size=8, progress=False)
    assert len(list((tmp_path / "store").iterdir())) == 2


def test_scenes_of_a_root(tmp_path, monkeypatch, write_tile):
    monkeypatch.setenv("KDCOURSE_WORK", str(tmp_path / "work"))
    for i, name in enumerate(CLASSES):
        for n in range(1, 5):
            write_tile(
                tmp_path / "root" / "scenes" / name / f"{name}_{n}.tif",
                np.full((13, 64, 64), i, np.uint16),
            )
    data = load("scenes", root=tmp_path / "root", limit=40, progress=False)
    np.testing.assert_array_equal(
        data.train.take(range(len(data.train)))[:, 0, 0, 0], data.train.labels
    )
    assert not (tmp_path / "work" / "scenes").exists()


@pytest.mark.real_data
def test_the_real_true_colour_tiles(real_data):
    data = load("eurosat_rgb", root=real_data, limit=600, image_size=32, progress=False)
    assert data.channels == ("red", "green", "blue") and data.image_size == (32, 32)
    assert sum(sizes(data)) == 600 and 60 < data.mean.mean() < 140
