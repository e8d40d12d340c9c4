"""Whole data sets in a few files, in the published formats; the tests write small ones."""

import bz2
import gzip
import pickle
import struct

import numpy as np
import pytest
from image_files import RNG, every, folder_of, save

from kdcourse.common.errors import DataError
from kdcourse.data import load
from kdcourse.data.formats import unpickle

# --- MNIST, FashionMNIST --------------------------------------------------------------------------


def write_idx(path, array):
    path.parent.mkdir(parents=True, exist_ok=True)
    content = (
        bytes([0, 0, 8, array.ndim])
        + struct.pack(f">{array.ndim}I", *array.shape)
        + array.tobytes()
    )
    path.write_bytes(gzip.compress(content) if path.suffix == ".gz" else content)


def mnist_files(raw, packed="", train=100, test=40):
    for prefix, count in (("train", train), ("t10k", test)):
        labels = np.arange(count, dtype=np.uint8) % 10
        images = np.tile(labels[:, None, None] * 20, (1, 28, 28)).astype(np.uint8)
        write_idx(raw / f"{prefix}-images-idx3-ubyte{packed}", images)
        write_idx(raw / f"{prefix}-labels-idx1-ubyte{packed}", labels)


@pytest.mark.parametrize("packed", ["", ".gz"])
def test_mnist(tmp_path, packed):
    mnist_files(tmp_path / "MNIST" / "raw", packed)
    data = load("mnist", root=tmp_path, progress=False)
    assert data.channels == ("grey",) and data.classes == tuple("0123456789")
    assert [len(labels) for *_, labels in every(data)] == [90, 10, 40]
    for _, images, labels in every(data):
        np.testing.assert_array_equal(images[:, 0, 5, 5], labels * 20)


def test_damaged_idx_files(tmp_path):
    raw = tmp_path / "MNIST" / "raw"
    mnist_files(raw)
    path = raw / "t10k-images-idx3-ubyte"
    whole = path.read_bytes()
    for content, message in [
        (whole[:-5], "truncated"),
        (whole[:6], "not an idx file"),
        (b"text", "not an idx file"),
    ]:
        path.write_bytes(content)
        with pytest.raises(DataError, match=f"t10k-images.*{message}"):
            load("mnist", root=tmp_path, progress=False)
    path.write_bytes(whole)
    write_idx(path, np.zeros((0, 28, 28), dtype=np.uint8))
    write_idx(raw / "t10k-labels-idx1-ubyte", np.zeros(0, dtype=np.uint8))
    with pytest.raises(DataError, match="no part empty"):
        load("mnist", root=tmp_path, progress=False)
    path.write_bytes(whole)
    write_idx(raw / "t10k-labels-idx1-ubyte", np.zeros(39, dtype=np.uint8))
    with pytest.raises(DataError, match="40 images, but 39 labels"):
        load("mnist", root=tmp_path, progress=False)
    (raw / "t10k-labels-idx1-ubyte").unlink()
    with pytest.raises(DataError, match="t10k-labels-idx1-ubyte.* is missing"):
        load("mnist", root=tmp_path, progress=False)


@pytest.mark.real_data
def test_the_real_fashion_mnist_as_torchvision_reads_it(real_data):
    from torchvision.datasets import FashionMNIST

    data = load("fashion_mnist", root=real_data, progress=False)
    assert [len(s) for s in (data.train, data.val, data.test)] == [54000, 6000, 10000]
    theirs = FashionMNIST(real_data, train=False, download=False)
    np.testing.assert_array_equal(data.test.take(np.arange(10000))[:, 0], theirs.data.numpy())
    np.testing.assert_array_equal(data.test.labels, theirs.targets.numpy())
    assert data.classes == tuple(theirs.classes)


# --- USPS -----------------------------------------------------------------------------------------


def usps_rows(count):
    values = RNG.uniform(-1, 1, (count, 256)).round(3)
    values[:, 0] = np.arange(count) % 10 / 10
    return np.arange(count) % 10, values


def test_usps_of_either_format_is_the_same(tmp_path):
    for part, esl, svm in (
        ("train", "zip.train.gz", "usps.bz2"),
        ("test", "zip.test.gz", "usps.t.bz2"),
    ):
        labels, values = usps_rows(100 if part == "train" else 50)
        lines = [
            f"{label} " + " ".join(f"{v:g}" for v in row) + " \n"
            for label, row in zip(labels, values, strict=True)
        ]
        (tmp_path / "esl" / "usps").mkdir(parents=True, exist_ok=True)
        (tmp_path / "esl" / "usps" / esl).write_bytes(gzip.compress("".join(lines).encode()))
        lines = [
            f"{label + 1} " + " ".join(f"{i}:{v:g}" for i, v in enumerate(row, 1)) + " \n"
            for label, row in zip(labels, values, strict=True)
        ]
        (tmp_path / "tv").mkdir(exist_ok=True)
        (tmp_path / "tv" / svm).write_bytes(
            bz2.compress("".join(lines).encode())
        )  # torchvision: in the root itself
    a, b = (load("usps", root=tmp_path / kind, progress=False) for kind in ("esl", "tv"))
    for (_, images, labels), (_, others, marks) in zip(every(a), every(b), strict=True):
        np.testing.assert_array_equal(images, others)
        np.testing.assert_array_equal(labels, marks)
        np.testing.assert_array_equal(images[:, 0, 0, 0], np.rint((labels / 10 + 1) * 127.5))


@pytest.mark.parametrize("content", ["1 0.5 0.5\n", "1 " + "7 " * 256 + "\n", "what is this\n", ""])
@pytest.mark.filterwarnings("ignore:loadtxt")
def test_usps_damaged(tmp_path, content):
    for name in ("zip.train.gz", "zip.test.gz"):
        (tmp_path / "usps").mkdir(exist_ok=True)
        (tmp_path / "usps" / name).write_bytes(gzip.compress(content.encode()))
    with pytest.raises(DataError, match="zip.train.gz.*256 values"):
        load("usps", root=tmp_path, progress=False)


@pytest.mark.real_data
def test_the_real_usps_and_d4s_cut(real_data):
    data = load("usps", root=real_data, progress=False)
    assert [len(s) for s in (data.train, data.val, data.test)] == [6562, 729, 2007]
    assert (
        data.image_size == (16, 16)
        and data.train.images.min() == 0
        and data.train.images.max() == 255
    )
    d4 = load("usps", root=real_data, split="d4", progress=False)
    assert [len(s) for s in (d4.train, d4.val, d4.test)] == [7291, 1404, 603]
    assert not set(d4.val.rows) & set(d4.test.rows)
    assert d4.fingerprint != data.fingerprint


# --- CIFAR ----------------------------------------------------------------------------------------


def cifar_batch(path, count, **labels):
    path.parent.mkdir(parents=True, exist_ok=True)
    pixels = np.zeros((count, 3, 1024), dtype=np.uint8)
    pixels[:] = (np.arange(count, dtype=np.uint8) % 10)[:, None, None] * 10
    pixels[:, 1] += 1
    pixels[:, 2] += 2
    content = {"data": pixels.reshape(count, 3072)} | labels
    path.write_bytes(pickle.dumps(content, protocol=2))


def test_cifar10_pickles(tmp_path):
    folder = tmp_path / "cifar-10-batches-py"
    for name in [f"data_batch_{i}" for i in range(1, 6)] + ["test_batch"]:
        cifar_batch(folder / name, 20, labels=[i % 10 for i in range(20)])
    names = [f"thing{i}" for i in range(10)]
    (folder / "batches.meta").write_bytes(pickle.dumps({"label_names": names}, protocol=2))
    data = load("cifar10", root=tmp_path, progress=False)
    assert data.classes == tuple(names)
    assert [len(labels) for *_, labels in every(data)] == [90, 10, 20]
    for _, images, labels in every(data):
        np.testing.assert_array_equal(images[:, :, 3, 3], labels[:, None] * 10 + np.arange(3))


def test_cifar100_has_its_fine_names(tmp_path):
    folder = tmp_path / "cifar-100-python"
    for name, count in (("train", 300), ("test", 100)):
        fine = [i % 100 for i in range(count)]
        cifar_batch(folder / name, count, fine_labels=fine, coarse_labels=[0] * count)
    names = [f"fine{i}" for i in range(100)]
    (folder / "meta").write_bytes(
        pickle.dumps({"fine_label_names": names, "coarse_label_names": ["x"]}, protocol=2)
    )
    data = load("cifar100", root=tmp_path, progress=False)
    assert data.classes == tuple(names) and [len(labels) for *_, labels in every(data)] == [
        200,
        100,
        100,
    ]


class Bomb:
    def __reduce__(self):
        return (exec, ("raise SystemExit('a pickle ran code')",))


@pytest.mark.parametrize(
    "content", [pickle.dumps({"data": Bomb()}), b"no pickle", b"", pickle.dumps([1, 2])]
)
def test_pickles_that_are_not_cifars(tmp_path, content):
    folder = tmp_path / "cifar-100-python"
    folder.mkdir()
    for name in ("train", "test", "meta"):
        (folder / name).write_bytes(content)
    with pytest.raises(DataError, match="train"):
        load("cifar100", root=tmp_path, progress=False)


def test_a_damaged_pickle_is_an_error_and_no_crash(tmp_path):
    """numpy trusts a pickle's type and shape: with numpy's own classes some of these bring the
    interpreter down.
    """
    whole = pickle.dumps(
        {"data": np.zeros((3, 3072), dtype=np.uint8), "labels": [1, 2, 3]}, protocol=2
    )
    path, rng, errors = tmp_path / "batch", np.random.default_rng(0), 0
    for _ in range(300):
        damaged = bytearray(whole)
        damaged[rng.integers(0, 400)] = rng.integers(0, 256)
        path.write_bytes(damaged)
        try:
            unpickle(path)
        except DataError:
            errors += 1
    assert errors > 50


def test_cifar_arrays_in_either_order(tmp_path):
    pixels = RNG.integers(0, 256, (5, 3072), dtype=np.uint8)
    for array in (pixels, np.asfortranarray(pixels)):
        (tmp_path / "batch").write_bytes(pickle.dumps({"data": array}, protocol=2))
        np.testing.assert_array_equal(unpickle(tmp_path / "batch")["data"], pixels)
    (tmp_path / "batch").write_bytes(pickle.dumps({"data": pixels.astype(np.float32)}, protocol=2))
    with pytest.raises(DataError, match="type f4"):
        unpickle(tmp_path / "batch")


def test_cifar10_as_a_folder_of_images(tmp_path):
    from kdcourse.data import CATALOG

    folder_of(
        tmp_path / "cifar10", ("train", "test"), CATALOG["cifar10"].classes, count=4, size=(32, 32)
    )
    data = load("cifar10", root=tmp_path, progress=False)
    assert [len(labels) for *_, labels in every(data)] == [30, 10, 40]
    with pytest.raises(DataError, match="10 of 10 classes without images"):
        (tmp_path / "cifar10" / "test").rename(tmp_path / "elsewhere")
        load("cifar10", root=tmp_path, progress=False)


@pytest.mark.real_data
def test_the_real_cifar10(real_data):
    data = load("cifar10", root=real_data, limit=1200, progress=False)
    assert [len(s) for s in (data.train, data.val, data.test)] == [900, 100, 200]
    assert data.image_size == (32, 32)


# --- ImageNet's small relatives -------------------------------------------------------------------


def tiny(root, nested):
    """Tiny ImageNet with 2 classes: as released (nested) or with val sorted into class folders."""
    folder = root / ("tiny-imagenet-200" if nested else "tiny-imagenet-20")
    inner = "images/" if nested else ""
    annotations = []
    for c, wnid in enumerate(("n01", "n02")):
        for n in range(10):
            pixels = np.full((64, 64, 3), 100 * c + n, dtype=np.uint8)
            save(folder / "train" / wnid / f"{inner}{wnid}_{n}.JPEG", pixels)
        save(
            folder / "train" / wnid / f"{inner}grey.JPEG",
            np.full((64, 64), 100 * c, dtype=np.uint8),
        )
        for n in range(3):
            name = f"val_{2 * n + c}.JPEG"
            save(
                folder / "val" / ("images" if nested else wnid) / name,
                np.full((64, 64, 3), 100 * c, dtype=np.uint8),
            )
            annotations.append(f"{name}\t{wnid}\t0\t0\t9\t9")
    if nested:
        (folder / "val" / "val_annotations.txt").write_text("\n".join(annotations) + "\n")
        (folder / "train" / "n01" / "n01_boxes.txt").write_text("boxes")
        save(folder / "test" / "images" / "test_0.JPEG", np.zeros((64, 64, 3), dtype=np.uint8))
    (folder / "words.txt").write_text(
        "n00\tentity\nn01\tgoldfish, Carassius auratus\nn02\tgoldfish, another one\n"
    )
    return folder


@pytest.mark.parametrize("nested", [True, False])
def test_tiny_imagenet(tmp_path, nested):
    tiny(tmp_path, nested)
    data = load("tiny_imagenet", root=tmp_path, progress=False)
    assert data.classes == ("goldfish (n01)", "goldfish (n02)")
    assert [len(labels) for *_, labels in every(data)] == [20, 2, 6]
    for _, images, labels in every(data):
        assert images.shape[1:] == (3, 64, 64)
        np.testing.assert_array_equal(images[:, 0, 0, 0] // 50 > 1, labels)


def test_tiny_imagenet_with_a_validation_image_missing(tmp_path):
    (tiny(tmp_path, True) / "val" / "images" / "val_3.JPEG").unlink()
    with pytest.raises(DataError, match="val_annotations.txt.*1 image.*val_3.JPEG"):
        load("tiny_imagenet", root=tmp_path, progress=False)


def test_tiny_imagenet_with_a_line_that_names_no_class(tmp_path):
    annotations = tiny(tmp_path, True) / "val" / "val_annotations.txt"
    annotations.write_bytes(annotations.read_bytes() + b"val_0.JPEG\n\xff\xfe\n")
    with pytest.raises(
        DataError, match=r"val_annotations.txt: 1 image.* 1 class\(es\) are not in train"
    ):
        load("tiny_imagenet", root=tmp_path, progress=False)


def test_mini_imagenet_of_the_few_shot_release_is_pooled(tmp_path):
    for part, classes in (("train", "abcd"), ("val", "ef"), ("test", "gh")):
        folder_of(tmp_path / "mini_imagenet", (part,), classes, count=10, size=(90, 120))
    data = load("mini_imagenet", root=tmp_path, progress=False)
    assert data.classes == tuple("abcdefgh") and data.image_size == (84, 84)
    assert [len(labels) for *_, labels in every(data)] == [56, 8, 16]
    assert "pooled" in data.notes[0]


def test_mini_imagenet_with_all_classes_in_each_part(tmp_path):
    for part, count in (("train", 6), ("val", 2), ("test", 3)):
        folder_of(tmp_path / "mini-imagenet", (part,), "abc", count=count, size=(90, 120))
    data = load("mini_imagenet", root=tmp_path, image_size=32, progress=False)
    assert [len(labels) for *_, labels in every(data)] == [18, 6, 9] and data.image_size == (32, 32)
    assert not data.notes


@pytest.mark.real_data
def test_the_real_tiny_imagenet_20(real_data):
    data = load("tiny_imagenet", root=real_data, limit=440, progress=False)
    assert len(data.classes) == 20 and "goldfish" in data.classes
    assert [len(s) for s in (data.train, data.val, data.test)] == [360, 40, 40]


def test_digits_need_no_files():
    data = load("digits", progress=False)
    assert sum(len(labels) for *_, labels in every(data)) == 1797
    assert data.train.images.shape[1:] == (1, 8, 8) and data.train.images.max() == 16
