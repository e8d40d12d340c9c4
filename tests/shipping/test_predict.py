"""An exported file at work: tests/shipping/test_export.py is about how it comes to be."""

import csv
import os
import shutil
import struct
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from click.testing import CliRunner
from PIL import Image

from kdcourse.cli import main
from kdcourse.common.errors import DataError, UsageError
from kdcourse.data import Batches, DataSplits
from kdcourse.shipping.export import export
from kdcourse.shipping.predict import Model, predict
from shipping import ships

pytest.importorskip("onnx")
pytest.importorskip("onnxscript")
pytest.importorskip("onnxruntime")


@pytest.fixture
def call():
    """`call(file, …)`: what click's runner says of `kdcourse predict` with the shipped student."""
    return lambda *words, model=None: CliRunner().invoke(
        main, ["predict", str(model or ships.exported().path), *map(str, words)]
    )


@pytest.fixture(scope="module")
def model():
    return Model(ships.exported().path)


def by_pytorch(network, data: DataSplits) -> np.ndarray:
    """Probabilities of all the data's images, normalised by `Batches`, in the order of the store's
    rows.
    """
    parts = (data.train, data.val, data.test)
    answers = np.zeros((sum(map(len, parts)), len(data.classes)))
    for part in parts:
        with torch.inference_mode():
            logits = torch.cat([network(batch.images) for batch in Batches(part, 16).epoch()])
        answers[part.rows] = logits.double().softmax(1)
    return answers


def test_tiles_are_answered_as_pytorch_answers_the_training_data(model):
    """From the GeoTIFFs: reading, resizing (64 → 32 pixels) and normalising are those of
    training.
    """
    network, _ = ships.trained()
    expected = by_pytorch(network, ships.scenes())
    paths, answers = zip(*predict(model, ships.tiles(), batch_size=16), strict=True)
    assert list(paths) == ships.tiles() and len(paths) == ships.TILES
    np.testing.assert_allclose(np.stack(answers), expected, atol=1e-5)
    assert (np.stack(answers).argmax(1) == expected.argmax(1)).all()
    for path, row in zip(paths, ships.scenes().train.images, strict=True):
        np.testing.assert_array_equal(model.read(path), row)


def test_a_line_and_a_row_a_file(call, tmp_path, model):
    some = ships.tiles()[::9]
    result = call(*some, "--csv", tmp_path / "out.csv", "--batch-size", 2)
    assert result.exit_code == 0 and result.stderr == ""
    with open(tmp_path / "out.csv", newline="") as file:
        head, *rows = csv.reader(file)
    assert head == ["file", "class", "probability", *model.classes]
    for line, row, path in zip(result.stdout.splitlines(), rows, some, strict=True):
        name, answer, probability = line.split("\t")
        chances = dict(zip(head[3:], map(float, row[3:]), strict=True))
        assert name == row[0] == path and answer == row[1] == max(chances, key=chances.get)
        assert (
            float(probability)
            == pytest.approx(float(row[2]), abs=1e-4)
            == pytest.approx(chances[answer])
        )
        assert sum(chances.values()) == pytest.approx(1, abs=1e-4)
    assert [path.name for path in tmp_path.iterdir()] == ["out.csv"]


def test_batches_change_nothing(model):
    some = ships.tiles()[:5]
    for size in (1, 2, 64):
        answers = np.stack([answer for _, answer in predict(model, some, batch_size=size)])
        np.testing.assert_allclose(
            answers, np.stack([a for _, a in predict(model, some)]), atol=1e-6
        )
    with pytest.raises(UsageError, match="batch_size=0"):
        list(predict(model, some, batch_size=0))


def test_folders(call, tmp_path):
    for i, name in enumerate(("b/2.tif", "b/1.TIF", "a/3.tiff", "a/notes.txt", ".hidden.tif")):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        shutil.copy(ships.tiles()[i], tmp_path / name)
    result = call(tmp_path)
    assert result.exit_code == 0
    names = [line.split("\t")[0] for line in result.stdout.splitlines()]
    assert names == [str(tmp_path / name) for name in ("a/3.tiff", "b/1.TIF", "b/2.tif")]
    (tmp_path / "empty").mkdir()
    result = call(tmp_path / "empty")
    assert result.exit_code == 1 and f"{tmp_path / 'empty'}: no images in it" in result.stderr


def test_tiles_of_another_size_are_resized(model, tmp_path, write_tile):
    plain = np.full((13, 40, 96), 1234, np.uint16)
    read = model.read(write_tile(tmp_path / "wide.tif", plain))
    np.testing.assert_array_equal(read, np.full((13, 32, 32), 1234, np.uint16))


def test_without_torch_and_other_heavy_packages():
    """As where only onnxruntime is: an import of these would end in an ImportError."""
    code = (
        "import sys\n"
        "for name in ('torch', 'torchvision', 'pandas', 'matplotlib', 'sklearn', 'scipy', 'onnx', "
        "'IPython'):\n"
        "    sys.modules[name] = None\n"
        "from kdcourse.cli import main\n"
        "main()"
    )
    some = ships.tiles()[:3]
    line = [sys.executable, "-c", code, "predict", str(ships.exported().path), *some]
    done = subprocess.run(line, text=True, capture_output=True)
    assert done.returncode == 0, done.stderr
    assert [row.split("\t")[0] for row in done.stdout.splitlines()] == some


# --- pictures -------------------------------------------------------------------------------------


SHIPPED = {}  # channels → as `pictures` gives it


@pytest.fixture
def pictures(make_data, tmp_path_factory):
    """`pictures(channels)`: a network for pictures as (its file, made once; the network; data)."""

    def get(channels):
        if channels not in SHIPPED:
            data, network = make_data(count=30, channels=channels), ships.tiny(channels)
            path = tmp_path_factory.mktemp("pictures") / "own.onnx"
            export(network, data, path)
            SHIPPED[channels] = path, network, data
        return SHIPPED[channels]

    return get


@pytest.mark.parametrize("channels, mode", [(1, "L"), (3, "RGB")])
def test_pictures(pictures, tmp_path, call, channels, mode):
    path, network, data = pictures(channels)
    model, expected = Model(path), by_pytorch(network, data)
    names = []
    for i, image in enumerate(data.train.images[:4]):
        names.append(str(tmp_path / f"{i}.png"))
        Image.fromarray(image.transpose(1, 2, 0).squeeze()).save(names[-1])
        assert Image.open(names[-1]).mode == mode
    answers = np.stack([answer for _, answer in predict(model, names)])
    np.testing.assert_allclose(answers, expected[:4], atol=1e-5)
    Image.open(names[0]).resize((30, 24)).save(tmp_path / "large.png")
    assert model.read(tmp_path / "large.png").shape == (channels, 8, 8)
    (tmp_path / "notes.txt").write_text("no picture")
    result = call(tmp_path, model=path)
    assert result.exit_code == 0 and len(result.stdout.splitlines()) == 5


def test_grey_for_colour_and_colour_for_grey(pictures, tmp_path, write_tile):
    grey, colour = (Model(pictures(channels)[0]) for channels in (1, 3))
    Image.new("L", (8, 8), 77).save(tmp_path / "grey.png")
    Image.new("RGB", (8, 8)).save(tmp_path / "colour.png")
    assert (colour.read(tmp_path / "grey.png") == 77).all()
    with pytest.raises(
        DataError, match="colour.png: a colour image .*, expected grey. The model takes grey images"
    ):
        grey.read(tmp_path / "colour.png")
    Image.new("RGB", (8, 8), (1, 2, 3)).save(tmp_path / "picture.tif")
    assert (colour.read(tmp_path / "picture.tif")[2] == 3).all()
    with pytest.raises(
        DataError, match="tile.tif: 13 bands, expected 3. The model takes colour images"
    ):
        colour.read(write_tile(tmp_path / "tile.tif"))
    (tmp_path / "cut.tif").write_bytes(b"II*")
    with pytest.raises(DataError, match="cut.tif: not a readable image"):
        colour.read(tmp_path / "cut.tif")


# --- answers that are none ------------------------------------------------------------------------


def test_an_answer_that_is_not_finite_names_its_file(model, monkeypatch):
    some = ships.tiles()[:3]

    def run(images):
        return np.array([[1.0, 2.0], [np.nan, 1.0], [1.0, np.inf]])[: len(images)]

    monkeypatch.setattr(model, "_run", run)
    (_, first), *others = predict(model, some)
    assert first.sum() == pytest.approx(1)
    for path, (_, answer) in zip(some[1:], others, strict=True):
        assert isinstance(answer, DataError) and str(answer).startswith(f"{path}: ")
    with pytest.raises(DataError, match="student.onnx: the network's answer is not finite"):
        model.logits(np.zeros((2, 13, 32, 32)))
    monkeypatch.undo()
    with pytest.raises(DataError, match=r"student.onnx: fails on images of shape \(1, 4, 32, 32\)"):
        model.logits(np.zeros((1, 4, 32, 32)))


# --- files that cannot be used --------------------------------------------------------------------


def test_each_bad_file_is_named_and_the_others_are_done(call, tmp_path, write_tile):
    good = ships.tiles()[0]
    write_tile(tmp_path / "four.tif", np.zeros((4, 64, 64), np.uint16))
    write_tile(tmp_path / "float.tif", np.zeros((13, 64, 64), np.float32))
    (tmp_path / "empty.tif").write_bytes(b"")
    (tmp_path / "cut.tif").write_bytes(Path(good).read_bytes()[:5000])
    Image.new("RGB", (64, 64)).save(tmp_path / "picture.png")
    huge = bytearray(Path(good).read_bytes())  # claims 60,000 × 60,000 pixels
    for tag in (256, 257):
        at = huge.index(struct.pack("<HHI", tag, 3, 1))
        huge[at + 8 : at + 10] = struct.pack("<H", 60_000)
    (tmp_path / "huge.tif").write_bytes(huge)
    bad = {
        "huge.tif": "60,000 × 60,000 pixels, 93.6 GB: too large, expected 0.3 GB at most",
        "four.tif": "4 bands, expected 13",
        "float.tif": "type float32, expected uint16",
        "empty.tif": "the file is empty",
        "cut.tif": "truncated or damaged",
        "picture.png": "not a TIFF file",
        "nowhere.tif": "no such file",
    }
    result = call(
        good, *(tmp_path / name for name in bad), ships.tiles()[1], "--csv", tmp_path / "out.csv"
    )
    assert result.exit_code == 1
    assert [line.split("\t")[0] for line in result.stdout.splitlines()] == ships.tiles()[:2]
    for line, (name, words) in zip(result.stderr.splitlines(), bad.items(), strict=True):
        assert line.startswith(f"{tmp_path / name}: ") and words in line
        assert "The model takes GeoTIFFs of 13 bands (B01, B02" in line and line.endswith("uint16")
    assert len((tmp_path / "out.csv").read_text().splitlines()) == 3


@pytest.mark.skipif(os.name != "posix" or os.geteuid() == 0, reason="root may read anything")
def test_a_file_that_may_not_be_read(call, tmp_path):
    (tmp_path / "closed.tif").touch(mode=0)
    result = call(tmp_path / "closed.tif")
    assert result.exit_code == 1 and "no permission" in result.stderr


# --- models that are none -------------------------------------------------------------------------


def test_a_model_that_is_none(call, tmp_path):
    """The command's answer; tests/shipping/test_file_format.py has all kinds of such files."""
    (tmp_path / "text.onnx").write_text("no network at all")
    words = {"text.onnx": "not an ONNX file, or damaged", "nowhere.onnx": "No such file"}
    for name, says in words.items():
        result = call(ships.tiles()[0], "--csv", tmp_path / "out.csv", model=tmp_path / name)
        assert result.exit_code == 2 and result.stdout == ""
        assert result.stderr.startswith(f"Error: {tmp_path / name}: ") and says in result.stderr
        assert len(result.stderr.splitlines()) == 1 and not (tmp_path / "out.csv").exists()


def test_no_folder_for_the_table(call, tmp_path):
    result = call(ships.tiles()[0], "--csv", tmp_path / "deep" / "out.csv")
    assert result.exit_code == 2 and "no folder" in result.stderr and result.stdout == ""


def test_without_onnxruntime(call, monkeypatch):
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    result = call(ships.tiles()[0], model=__file__)
    assert result.exit_code == 2
    assert (
        result.stderr
        == "Error: an ONNX file needs the package onnxruntime: pip install 'kdcourse[deploy]'\n"
    )
