"""Files damaged at random: a data set loads as it was, or a clear error names the file."""

import gzip
import pickle
import warnings

import numpy as np
import pytest
from archive_files import mutated
from PIL import Image

from kdcourse.common.errors import DataError
from kdcourse.data import load
from kdcourse.data.eurosat import read_geotiff

pytestmark = pytest.mark.slow
PIXELS = np.random.default_rng(0).integers(0, 256, (12, 8, 8, 3), dtype=np.uint8)


def image_folder(root, suffix):
    for i, pixels in enumerate(PIXELS):
        path = root / "pictures" / "ab"[i % 2] / f"{i}.{suffix}"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(pixels).save(path)
    return root / "pictures", root / "pictures" / "a" / f"0.{suffix}"


def idx(root, name="mnist"):
    rng = np.random.default_rng(1)
    folder = root / "MNIST" / "raw"
    folder.mkdir(parents=True)
    for part, count in (("train", 60), ("t10k", 30)):
        images, labels = rng.integers(0, 256, (count, 28, 28)), np.arange(count) % 10
        for kind, array in (("images-idx3", images), ("labels-idx1", labels)):
            head = bytes([0, 0, 8, array.ndim]) + np.array(array.shape, ">i4").tobytes()
            content = gzip.compress(head + array.astype(np.uint8).tobytes())
            (folder / f"{part}-{kind}-ubyte.gz").write_bytes(content)
    return name, folder / "train-images-idx3-ubyte.gz"


def cifar(root):
    rng = np.random.default_rng(2)
    folder = root / "cifar-10-batches-py"
    folder.mkdir(parents=True)
    for name in (*(f"data_batch_{i}" for i in range(1, 6)), "test_batch"):
        data = rng.integers(0, 256, (20, 3072), dtype=np.uint8)
        content = {"data": data, "labels": [i % 10 for i in range(20)]}
        (folder / name).write_bytes(pickle.dumps(content, protocol=2))
    names = {"label_names": [f"class{i}" for i in range(10)]}
    (folder / "batches.meta").write_bytes(pickle.dumps(names, protocol=2))
    return "cifar10", folder / "data_batch_1"


def usps(root):
    rng = np.random.default_rng(3)
    folder = root / "usps"
    folder.mkdir(parents=True)
    for part, count in (("train", 60), ("test", 30)):
        rows = [
            " ".join([f"{i % 10}.0", *(f"{v:.4f}" for v in rng.uniform(-1, 1, 256))])
            for i in range(count)
        ]
        (folder / f"zip.{part}.gz").write_bytes(gzip.compress("\n".join(rows).encode()))
    return "usps", folder / "zip.train.gz"


MAKERS = {
    "png": lambda root: image_folder(root, "png"),
    "jpg": lambda root: image_folder(root, "jpg"),
    "bmp": lambda root: image_folder(root, "bmp"),
    "mnist": idx,
    "cifar10": cifar,
    "usps": usps,
}


CHECKSUMMED = ("png", "mnist", "usps")  # zlib and gzip notice every changed value


@pytest.mark.parametrize("kind", MAKERS)
def test_a_damaged_file_is_an_error_or_the_same_number_of_images(kind, tmp_path):
    rng = np.random.default_rng(4)
    name, victim = MAKERS[kind](tmp_path)
    whole, refused = victim.read_bytes(), 0
    before = contents(load_parts(name, tmp_path))
    for _ in range(40):
        victim.write_bytes(mutated(whole, rng))
        try:
            parts = load_parts(name, tmp_path)
        except DataError as error:
            refused += 1
            assert victim.name in str(error) or victim.parent.name in str(error), error
        else:
            assert len(contents(parts)) == len(before)
            assert kind not in CHECKSUMMED or contents(parts) == before
    assert refused, "no damage was noticed"


def contents(parts) -> list[tuple[int, bytes]]:
    """Label and pixels of every image."""
    return [
        (int(split.labels[i]), split.take([i]).tobytes())
        for split in parts
        for i in range(len(split))
    ]


def load_parts(name, root):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        data = load(name, root=root, progress=False)
    return data.train, data.val, data.test


def test_a_damaged_tile_is_an_error_or_has_its_pixels(write_tile, tmp_path):
    """A TIFF has no checksum, so changed and shifted values may pass; missing strips may not."""
    rng, path = np.random.default_rng(5), tmp_path / "a.tif"
    whole = write_tile(tmp_path / "whole.tif")
    pixels = read_geotiff(whole, (13, 64, 64), np.uint16)
    refused = 0
    for _ in range(120):
        path.write_bytes(mutated(whole.read_bytes(), rng, insert=False))
        try:
            found = read_geotiff(path, (13, 64, 64), np.uint16)
        except DataError as error:
            refused += 1
            assert "a.tif" in str(error)
        else:
            assert (found == pixels).mean() > 0.99
    assert refused > 20
