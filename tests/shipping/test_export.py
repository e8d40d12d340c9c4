import json
import os
import shutil
import signal
import subprocess
import sys
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import torch
from click.testing import CliRunner
from PIL import Image
from torch import nn

from kdcourse import models
from kdcourse.cli import main
from kdcourse.common.errors import CheckpointError, DataError, ExportError, UsageError
from kdcourse.data import AUGMENTATIONS, Batches, load
from kdcourse.distillation import CrossEntropy
from kdcourse.evaluation.metrics import predict
from kdcourse.shipping import export as shipping
from kdcourse.shipping.export import FORMATS, TOLERANCE, export, export_checkpoint, rebuilt
from kdcourse.shipping.formats import Onnx
from kdcourse.shipping.predict import Model
from kdcourse.training import Recipe, fit, load_or_train
from kdcourse.training import checkpoint as files
from shipping import ships

pytest.importorskip("onnx")
pytest.importorskip("onnxscript")
pytest.importorskip("onnxruntime")
quick = dict(epochs=2, batch_size=16, progress=False, device="cpu")


def raw(split, indices=None) -> np.ndarray:
    return split.take(np.arange(len(split)) if indices is None else indices)


# --- the file -------------------------------------------------------------------------------------


@pytest.mark.parametrize("format", FORMATS)
def test_the_file_takes_raw_images_and_answers_as_the_network_does(format):
    """The network gets them normalised by `Batches`: so normalisation is in the file."""
    done, (network, _) = ships.exported(format), ships.trained()
    logits, labels = predict(network, ships.scenes().test)
    answers = FORMATS[format].opened(done.path.read_bytes())(raw(ships.scenes().test))
    torch.testing.assert_close(torch.from_numpy(answers), logits, rtol=1e-4, atol=1e-4)
    accuracy = 100 * (logits.argmax(1) == labels).float().mean().item()
    assert done.float32.file == done.float32.network == pytest.approx(accuracy)
    assert (
        done.float32.difference <= TOLERANCE
        and done.float32.same == 100
        and done.float32.images == len(labels)
    )
    assert done.size == done.path.stat().st_size and done.note == ""


@pytest.mark.parametrize("format", FORMATS)
def test_any_number_of_images(format):
    answers = FORMATS[format].opened(ships.exported(format).path.read_bytes())
    for count in (1, 3, 150):
        images = raw(ships.scenes().train, np.arange(count) % len(ships.scenes().train))
        one_by_one = np.concatenate([answers(image[None]) for image in images[:3]])
        np.testing.assert_allclose(answers(images)[:3], one_by_one, rtol=1e-4, atol=1e-4)
        assert answers(images).shape == (count, 10)


def about_of(format: str) -> dict:
    if format == "onnx":
        return Model(ships.exported().path).about
    extra = {"kdcourse.json": ""}
    torch.export.load(ships.exported("pt2").path, extra_files=extra)
    return json.loads(extra["kdcourse.json"])


@pytest.mark.parametrize("format", FORMATS)
def test_the_file_says_what_it_is(format):
    about, data = about_of(format), ships.scenes()
    assert about["classes"] == list(data.classes) and about["channels"] == list(data.channels)
    assert (
        about["image_size"] == [32, 32] and about["dtype"] == "uint16" and about["data"] == "scenes"
    )
    assert about["mean"] == data.mean.tolist() and about["std"] == data.std.tolist()
    assert about["fingerprint"] == data.fingerprint and about["int8"] is False
    assert about["versions"]["torch"] == torch.__version__ and "kdcourse" in about["versions"]
    assert about["network"][0] == "kdcourse.models.resnet.thin_resnet"


@pytest.mark.parametrize("format", FORMATS)
def test_the_file_names_no_folders_of_this_machine(format):
    content = ships.exported(format).path.read_bytes()
    for place in (Path(models.__file__).parent, Path(torch.__file__).parent, ships.work_dir()):
        assert str(place).encode() not in content


# --- its own check --------------------------------------------------------------------------------


def test_a_file_that_answers_otherwise_is_not_written(make_data, tmp_path, monkeypatch):
    right = Onnx.opened
    monkeypatch.setattr(
        Onnx, "opened", lambda content: lambda images: right(content)(images) * 1.001
    )
    with pytest.raises(
        ExportError, match=r"a.onnx: not written. .* by at most 1.0e-03 .* tolerance is 1e-04"
    ):
        export(ships.tiny(), make_data(), tmp_path / "a.onnx")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("failure", [KeyboardInterrupt, OSError(28, "No space left on device")])
def test_an_export_that_is_stopped_leaves_what_was_there(make_data, tmp_path, monkeypatch, failure):
    (tmp_path / "a.pt2").write_bytes(b"before")

    def half(path, content):
        with open(path, "wb") as file:
            file.write(content[:100])
        raise failure

    monkeypatch.setattr(Path, "write_bytes", half)
    with pytest.raises((KeyboardInterrupt, OSError)):
        export(ships.tiny(), make_data(), tmp_path / "a.pt2", format="pt2")
    assert [path.name for path in tmp_path.iterdir()] == ["a.pt2"]
    assert (tmp_path / "a.pt2").read_bytes() == b"before"


@pytest.mark.slow
@pytest.mark.skipif(os.name != "posix", reason="SIGKILL")
def test_an_export_that_is_killed_leaves_no_half_file(tmp_path):
    code = (
        "import os, signal, sys\n"
        "from pathlib import Path\n"
        "def half(path, content):\n"
        "    open(path, 'wb').write(content[:100])\n"
        "    os.kill(os.getpid(), signal.SIGKILL)\n"
        "Path.write_bytes = half\n"
        "from kdcourse.shipping.export import export_checkpoint\n"
        "export_checkpoint(sys.argv[1], sys.argv[2], format='pt2', check=False)"
    )
    line = [sys.executable, "-c", code, str(ships.trained()[1]), str(tmp_path / "a.pt2")]
    assert subprocess.run(line).returncode == -signal.SIGKILL
    assert [path.suffix for path in tmp_path.iterdir()] == [".partial"]


def test_no_folder_to_write_to(make_data, tmp_path):
    with pytest.raises(UsageError, match="a.onnx: no folder"):
        export(ships.tiny(), make_data(), tmp_path / "deep" / "a.onnx")


# --- a network of one's own -----------------------------------------------------------------------


def test_a_network_of_ones_own_stays_as_it_is(make_data, tmp_path):
    network = ships.tiny().train()
    before = files.digest(network)
    done = export(network, make_data(), tmp_path / "own.pt2", format="pt2", name="my own")
    assert (
        network.training
        and files.digest(network) == before
        and all(p.requires_grad for p in network.parameters())
    )
    assert done.float32.images == len(make_data().test) and done.float32.difference <= TOLERANCE


def test_a_network_with_other_classes(make_data, tmp_path):
    with pytest.raises(UsageError, match=r"with shape \(16, 4\), expected \(16, 3\)"):
        export(ships.tiny(classes=4), make_data(), tmp_path / "a.pt2", format="pt2")


def test_a_network_that_cannot_be_followed(make_data, tmp_path):
    class Fickle(nn.Module):
        def forward(self, images):
            return images.mean((2, 3)) if images.sum() > 0 else images.amax((2, 3))

    with pytest.raises(ExportError, match="Fickle: torch.export cannot follow"):
        export(Fickle(), make_data(), tmp_path / "a.pt2", format="pt2")


# --- checkpoints ----------------------------------------------------------------------------------


def test_a_checkpoint_says_what_it_holds_and_its_data_are_found_again():
    about = files.load(ships.trained()[1])["about"]
    assert (
        about["model"][0] == "kdcourse.models.resnet.thin_resnet"
        and about["asked"]["limit"] == ships.TILES
    )
    data, note = shipping._data(about, None)
    assert data.fingerprint == ships.scenes().fingerprint and note == ""


def test_fewer_training_images_are_found_again():
    data = load("digits", limit=200, split_seed=3).fewer(90, seed=1).fewer(60, seed=2)
    again, note = shipping._data(data.about(), None)
    assert again.fingerprint == data.fingerprint and note == ""
    np.testing.assert_array_equal(again.mean, data.mean)


def test_other_data_are_said_to_be_others():
    about = load("digits", limit=200).about()
    _, note = shipping._data(about | {"fingerprint": "another"}, "digits")
    assert note.startswith("note: not the data as they were in training")
    with pytest.raises(UsageError, match="digits: classes .* but the network was trained on"):
        shipping._data(about | {"classes": ["a", "b"]}, None)
    with pytest.raises(UsageError, match="arrays in memory .* --dataset"):
        shipping._data(about | {"asked": {}}, None)


def test_without_its_data(tmp_path, make_data):
    folder = tmp_path / "mine"
    for name in ("a", "b"):
        (folder / name).mkdir(parents=True)
        for i in range(4):
            images = np.random.default_rng(i).integers(0, 256, (8, 8, 3), dtype=np.uint8)
            Image.fromarray(images).save(folder / name / f"{i}.png")
    data = load(folder, progress=False)
    recipe = Recipe(partial(models.thin_resnet, classes=2, width=4), CrossEntropy, epochs=1)
    load_or_train(recipe, data, name="gone", progress=False, device="cpu")
    checkpoint = ships.work_dir() / "models" / f"gone-{recipe.key(data)}.pt"
    shutil.rmtree(folder)
    with pytest.raises(DataError, match="mine: no such folder.*--no-check"):
        export_checkpoint(checkpoint, tmp_path / "a.pt2", format="pt2")
    with pytest.raises(UsageError, match="leave out --no-check"):
        export_checkpoint(checkpoint, tmp_path / "a.onnx", int8=True, check=False)
    done = export_checkpoint(checkpoint, tmp_path / "a.pt2", format="pt2", check=False)
    assert done.path.exists() and done.float32.file is None and "accuracy is not known" in str(done)


def test_a_run_that_is_not_finished(make_data, tmp_path):
    fit(
        ships.tiny(),
        make_data(),
        CrossEntropy(),
        checkpoint=tmp_path / "a.pt",
        until=1,
        about={"model": 1},
        **quick,
    )
    with pytest.raises(CheckpointError, match="a.pt: trained for 1 of 2 epochs"):
        export_checkpoint(tmp_path / "a.pt")


def test_a_checkpoint_that_does_not_say_its_network(make_data, tmp_path):
    fit(ships.tiny(), make_data(), CrossEntropy(), checkpoint=tmp_path / "a.pt", **quick)
    content = files.load(tmp_path / "a.pt")
    del content["about"]  # as older versions wrote it
    files.save(tmp_path / "old.pt", content)
    for name in ("a.pt", "old.pt"):
        with pytest.raises(
            CheckpointError, match=f"{name}: does not say which network it holds.*train it again"
        ):
            export_checkpoint(tmp_path / name)


def test_an_older_checkpoint_is_still_taken(make_data):
    """`about` is no part of the key, and a file without it is as good for training."""
    recipe, data = Recipe(ships.tiny, CrossEntropy, epochs=1), make_data(seed=3)
    first, _ = load_or_train(recipe, data, name="older", progress=False, device="cpu")
    path = ships.work_dir() / "models" / f"older-{recipe.key(data)}.pt"
    content = files.load(path)
    assert content.pop("about")["data"] == "toy"
    files.save(path, content)
    second, _ = load_or_train(recipe, data, name="older", progress=False, device="cpu")
    assert files.digest(first) == files.digest(second) and "about" not in files.load(path)


@pytest.mark.parametrize(
    "content", [{"settings": {}, "episodes": [], "agent": {}}, {"difficulty": torch.zeros(3)}]
)
def test_a_file_of_another_kind(tmp_path, content):
    files.save(tmp_path / "a.pt", content)
    with pytest.raises(
        CheckpointError, match=f"a.pt: holds no trained network but .*{sorted(content)[0]}"
    ):
        export_checkpoint(tmp_path / "a.pt")


# --- the network from its description -------------------------------------------------------------


@pytest.mark.parametrize(
    "maker",
    [
        models.d1_student,
        partial(models.thin_resnet, 10, width=4, channels=2),
        partial(partial(models.wrn_16_2, channels=1, classes=7), classes=4),
        partial(models.mobilenet_v2, 3, 5, stem="small"),
    ],
)
def test_a_network_is_built_as_its_recipe_built_it(maker):
    described = json.loads(json.dumps(files.describe(maker)))
    assert repr(rebuilt(described)) == repr(maker())


def test_pretrained_weights_are_not_fetched_for_a_network_that_has_its_own(monkeypatch):
    monkeypatch.setattr(
        "kdcourse.models.resnet.load_imagenet", lambda *_, **__: pytest.fail("fetched")
    )
    for maker in (
        partial(models.resnet18, pretrained=True),
        partial(models.resnet18, 3, 10, "small", True),
    ):
        rebuilt(files.describe(maker))


@pytest.mark.parametrize(
    "described",
    [
        "os.getcwd",
        ["os.system", ["exit 1"], {}],
        "kdcourse.models.cost.cost",
        "kdcourse.models.resnet.ThinResNet",
        "kdcourse.models.resnet._resnet",
        "ships.tiny",
        ["kdcourse.models.resnet.thin_resnet", [], {"width": ["os.system", ["exit 1"], {}]}],
        [repr(nn.Linear(2, 2)), "0123456789abcdef"],
        None,
        ["kdcourse.models.resnet.thin_resnet", [], {"breadth": 8}],
    ],
)
def test_nothing_else_is_built(described):
    with pytest.raises(
        CheckpointError,
        match="a.pt: (holds .* kdcourse.models alone|.* does not take its arguments)",
    ):
        rebuilt(described, "a.pt")


# --- the command ----------------------------------------------------------------------------------


def test_the_command_says_what_it_measured(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    checkpoint = ships.trained()[1]
    result = CliRunner().invoke(main, ["export", str(checkpoint), "--format", "pt2"])
    assert result.exit_code == 0, result.output
    first, second = result.output.splitlines()
    assert first.startswith(f"{checkpoint.stem}.pt2: ") and first.endswith(" bytes")
    assert second.startswith(
        f"float32 against PyTorch, {len(ships.scenes().test)} test images: logits differ by"
    )
    assert "accuracy" in second and second.endswith("(tolerance 1e-04)")
    assert [path.name for path in tmp_path.iterdir()] == [f"{checkpoint.stem}.pt2"]


def test_a_package_that_is_missing(monkeypatch, tmp_path):
    monkeypatch.setattr(
        shipping, "find_spec", lambda name: None if name == "onnxscript" else object()
    )
    result = CliRunner().invoke(
        main, ["export", str(ships.trained()[1]), "--output", str(tmp_path / "a.onnx")]
    )
    assert result.exit_code == 2
    assert (
        result.output == "Error: format='onnx' needs onnxscript: pip install 'kdcourse[deploy]'\n"
    )


def test_normalisation_is_that_of_the_batches(make_data):
    data = make_data()
    batch = next(Batches(data.test, 8).epoch())
    wrapped = shipping.Raw(nn.Identity(), data.mean, data.std)
    assert torch.equal(
        wrapped(torch.from_numpy(raw(data.test, np.arange(8))).float()), batch.images
    )
    assert AUGMENTATIONS[data.augmentation] is None
