"""Folders of images, which the tests write themselves."""

import numpy as np
import pytest
from image_files import every, folder_of, save
from PIL import Image

from kdcourse.common.errors import DataError
from kdcourse.data import load
from kdcourse.data.images import read_image


def test_a_folder_by_path(tmp_path):
    data = load(folder_of(tmp_path / "mine"), progress=False)
    assert (
        data.name == "mine"
        and data.classes == ("a", "b", "c")
        and data.channels == ("red", "green", "blue")
    )
    assert [len(labels) for *_, labels in every(data)] == [12, 3, 3]
    for _, images, labels in every(data):
        np.testing.assert_array_equal(images[:, 0, 0, 0] // 40, labels)
    assert load(str(tmp_path / "mine"), progress=False).fingerprint == data.fingerprint


def test_train_val_test_folders_are_the_splits(tmp_path):
    folder_of(tmp_path / "m", ("train",), count=10)
    folder_of(tmp_path / "m", ("val",), count=3)
    folder_of(tmp_path / "m", ("test",), count=4)
    data = load(tmp_path / "m", progress=False)
    assert [len(labels) for *_, labels in every(data)] == [30, 9, 12]


def test_train_and_test_folders_validate_on_a_tenth_of_train(tmp_path):
    folder_of(tmp_path / "m", ("train",), count=20)
    folder_of(tmp_path / "m", ("test",), count=4)
    assert [len(labels) for *_, labels in every(load(tmp_path / "m", progress=False))] == [
        54,
        6,
        12,
    ]
    assert [
        len(labels) for *_, labels in every(load(tmp_path / "m", split="d4", progress=False))
    ] == [60, 8, 4]
    assert [
        len(labels) for *_, labels in every(load(tmp_path / "m", split="d1", progress=False))
    ] == [51, 6, 15]


def test_train_and_val_folders_test_on_val(tmp_path):
    folder_of(tmp_path / "m", ("train",), count=20)
    folder_of(tmp_path / "m", ("val",), count=5)
    assert [len(labels) for *_, labels in every(load(tmp_path / "m", progress=False))] == [
        54,
        6,
        15,
    ]


def test_parts_with_different_classes_are_an_error(tmp_path):
    folder_of(tmp_path / "m", ("train",), "abc")
    folder_of(tmp_path / "m", ("test",), "abd")
    with pytest.raises(DataError, match="do not hold the same classes.*c, d"):
        load(tmp_path / "m", progress=False)


def test_grey_folders_are_grey_and_grey_among_colour_becomes_colour(tmp_path):
    grey = load(folder_of(tmp_path / "grey", channels=1), progress=False)
    assert grey.channels == ("grey",) and grey.train.images.shape[1:] == (1, 8, 8)
    folder_of(tmp_path / "mixed")
    save(tmp_path / "mixed" / "a" / "grey.png", np.full((8, 8), 33, dtype=np.uint8))
    mixed = load(tmp_path / "mixed", progress=False)
    images = np.asarray(mixed.train.images)
    assert images.shape == (19, 3, 8, 8)
    assert (images[:, :, 0, 0] == 33).all(axis=1).sum() == 1


def test_sizes_that_differ_need_image_size(tmp_path):
    folder_of(tmp_path / "m", classes="ab", size=(8, 8))
    folder_of(tmp_path / "m", classes="cd", size=(9, 12))
    with pytest.raises(DataError, match="differ in size.*image_size="):
        load(tmp_path / "m", progress=False)
    assert load(tmp_path / "m", image_size=5, progress=False).image_size == (5, 5)


def test_bad_images_are_listed(tmp_path):
    folder_of(tmp_path / "m", count=20)
    whole = (tmp_path / "m" / "a" / "1.png").read_bytes()
    (tmp_path / "m" / "a" / "x1.png").write_bytes(whole[: len(whole) // 2])
    (tmp_path / "m" / "a" / "x2.jpg").write_bytes(b"hello")
    (tmp_path / "m" / "b" / "x3.png").write_bytes(b"")
    (tmp_path / "m" / "b" / "x6.png").symlink_to(tmp_path / "gone.png")
    save(tmp_path / "m" / "c" / "x4.png", np.zeros((8, 9, 3), dtype=np.uint8))
    save(tmp_path / "m" / "c" / "x5.png", np.zeros((8, 8), dtype=np.uint16))
    with pytest.raises(DataError) as error:
        load(tmp_path / "m", progress=False)
    text = str(error.value)
    assert text.startswith("6 of 66 files")
    reasons = dict(
        x1="not a readable", x2="not a readable", x3="empty", x4="8×9 pixels", x6="leads nowhere"
    )
    for name, reason in reasons.items():
        (line,) = [line for line in text.splitlines() if f"{name}." in line]
        assert reason in line
    assert "8 bits" in text


def test_an_error_that_says_nothing_is_named_by_its_kind(tmp_path, monkeypatch):
    save(tmp_path / "a.png", np.zeros((8, 8, 3), dtype=np.uint8))

    def speechless(*_, **__):
        raise EOFError

    monkeypatch.setattr(Image, "open", speechless)
    with pytest.raises(DataError, match=r"a.png: not a readable image \(EOFError\)"):
        read_image(tmp_path / "a.png", 3, None)


def test_folders_that_hold_nothing_to_learn(tmp_path):
    with pytest.raises(DataError, match="no such folder"):
        load(tmp_path / "gone", progress=False)
    (tmp_path / "empty").mkdir()
    with pytest.raises(DataError, match="no images"):
        load(tmp_path / "empty", progress=False)
    (tmp_path / "hollow" / "a").mkdir(parents=True)
    (tmp_path / "hollow" / "b").mkdir()
    with pytest.raises(DataError, match="no images"):
        load(tmp_path / "hollow", progress=False)
    with pytest.raises(DataError, match="one class only"):
        load(folder_of(tmp_path / "single", classes="a"), progress=False)
    folder_of(tmp_path / "m")
    (tmp_path / "m" / "z").mkdir()
    with pytest.raises(DataError, match="1 of 4 classes without images.*/z"):
        load(tmp_path / "m", progress=False)
    folder_of(tmp_path / "few", classes="ab")
    folder_of(tmp_path / "few", classes="c", count=2)
    with pytest.raises(DataError, match="few: class c has 2 image.* 3 splits"):
        load(tmp_path / "few", progress=False)
    (tmp_path / "m" / "z" / "self").symlink_to(tmp_path / "m" / "z")
    with pytest.raises(DataError, match="z/self.*cannot be listed"):
        load(tmp_path / "m", progress=False)
    with pytest.raises(DataError, match="1.png: a file. Expected a folder"):
        load(tmp_path / "m" / "a" / "1.png", progress=False)


def test_a_folder_of_multispectral_tiles_by_path(tmp_path, write_tile):
    for c, name in enumerate("ab"):
        for n in range(5):
            write_tile(
                tmp_path / "tiles" / name / f"{n}.tif",
                np.full((4, 10, 10), 1000 * c + n, dtype=np.uint16),
            )
    data = load(tmp_path / "tiles", progress=False)
    assert (
        data.channels == ("band1", "band2", "band3", "band4")
        and data.train.images.dtype == np.uint16
    )
    for _, images, labels in every(data):
        np.testing.assert_array_equal(images[:, 0, 0, 0] // 1000, labels)
