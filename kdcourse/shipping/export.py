"""From a trained network to one file that takes raw images and needs nothing of the course.

The file holds the network with its normalisation in front: images (B, C, H, W) float32 in the
data's own units go in, for any B, and logits (B, classes) come out. Its metadata, the entry
"kdcourse", says as JSON what it is: classes, channels (bands), image_size, dtype, mean, std,
parameters, macs, data, versions …

Before anything is written, the file's answers are compared with the network's.
"""

import copy
import inspect
import os
from collections.abc import Callable
from dataclasses import dataclass, replace
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import torch
from torch import nn

import kdcourse
from kdcourse import models
from kdcourse.common.errors import (
    CheckpointError,
    DataError,
    ExportError,
    UsageError,
    unknown,
)
from kdcourse.data.catalog import load
from kdcourse.data.splits import DataSplits, Split
from kdcourse.models.cost import cost, evaluating
from kdcourse.shipping.file_format import FORMAT, first_fault
from kdcourse.shipping.formats import FORMATS, Raw
from kdcourse.shipping.predict import beside
from kdcourse.shipping.quantise import CALIBRATION, quantise
from kdcourse.training import checkpoint as files

TOLERANCE = 1e-4  # of the largest logit: how far the file's answers may be from the network's
MADE = 16  # images made up to compare answers where there are no data
BATCH = 128


@dataclass(frozen=True)
class Agreement:
    """The network's and the file's answers to the same images. Accuracies are None for images that
    were made up.
    """

    images: int
    difference: float  # largest |logit of file − logit of network|, a share of the largest |logit|
    same: float  # % of images with the same first class
    network: float | None  # accuracy, %
    file: float | None

    def __str__(self) -> str:
        kind = "made-up" if self.file is None else "test"
        text = (
            f"{self.images} {kind} images: logits differ by at most {self.difference:.1e} of the "
            f"largest, top-1 agree on {self.same:.1f} %"
        )
        if self.file is None:
            return text
        return f"{text}; accuracy {self.network:.2f} % → {self.file:.2f} %"


@dataclass(frozen=True)
class Exported:
    """What was exported. Printed: one line a fact."""

    path: Path
    size: int  # bytes
    float32: Agreement  # of the file in float32
    int8: Agreement | None = None  # of the quantised file, if that is what was asked for
    float32_size: int = 0  # bytes
    calibrated: int = 0  # validation images
    note: str = ""

    def __str__(self) -> str:
        lines = [
            f"{self.path}: {self.size:,} bytes",
            f"float32 against PyTorch, {self.float32} (tolerance {TOLERANCE:.0e})",
        ]
        if self.int8:
            lines[0] += f", int8; {self.float32_size:,} in float32"
            lines.append(
                f"int8 against PyTorch, {self.int8}; calibrated on {self.calibrated} validation "
                "images"
            )
        return "\n".join(lines + [self.note] * bool(self.note))


def export(
    network: nn.Module,
    data: DataSplits,
    path: str | os.PathLike,
    *,
    format: str = "onnx",
    int8: bool = False,
    name: str | None = None,
) -> Exported:
    """Write a network that was trained on `data` to one file, and compare the two on `data.test`.

    The network may be any `nn.Module` that `torch.export` can follow, images (B, C, H, W)
    normalised → logits. It stays
    as it is, where it is. format: "onnx" or "pt2". int8: quantise it, calibrated on `data.val`.
    name: of the network, by default its class.

    Raises ExportError if it cannot be exported, or if the file's logits differ from the network's
    by more than
    TOLERANCE of the largest: then nothing is written. UsageError for an argument that cannot be
      right.
    """
    return _export(
        network,
        {"network": name or type(network).__name__, **data.about()},
        data,
        path,
        format,
        int8,
    )


def export_checkpoint(
    checkpoint: str | os.PathLike,
    path: str | os.PathLike | None = None,
    *,
    format: str = "onnx",
    int8: bool = False,
    dataset: str | None = None,
    check: bool = True,
) -> Exported:
    """As `export`, for a checkpoint of `load_or_train`: it says which network it holds and what
    that was trained on.

    path: by default the checkpoint's name with the format's suffix, in the current folder. dataset:
    a name or folder in place of the data that the network was trained on. check=False: without
    data, the answers to made-up images alone are compared, and nothing can be quantised.

    Raises CheckpointError for a file that holds no trained network, or not all that is needed;
    DataError if the data are not there; else as `export`.
    """
    _checked(format, int8)
    if int8 and not check:
        raise UsageError(
            "int8 is calibrated on validation images and cannot go without data: leave out "
            "--no-check"
        )
    about, weights = read(checkpoint)
    network = rebuilt(about["model"], checkpoint)
    files.load_weights(network, weights, checkpoint)
    data, note = (
        _data(about, dataset)
        if check
        else (None, "not compared on data: its accuracy is not known")
    )
    if path is None:
        path = Path(checkpoint).stem + (".int8" if int8 else "") + FORMATS[format].suffix
    about = {
        "network": about["model"],
        **{key: value for key, value in about.items() if key not in ("model", "asked")},
    }
    return _export(network, about, data, path, format, int8, note)


def read(checkpoint: str | os.PathLike) -> tuple[dict, dict]:
    """What a checkpoint says of its network, and the weights. Raises CheckpointError if that is not
    all there.
    """
    content = files.load(checkpoint)
    if not {"student", "finished", "settings"} <= set(content):
        held = ", ".join(sorted(set(content) - {"format"}))
        raise CheckpointError(
            f"{checkpoint}: holds no trained network but {held}. Name a file that `load_or_train` "
            "kept"
        )
    about, weights = content.get("about"), content["student"]
    if not content["finished"]:
        raise CheckpointError(
            f"{checkpoint}: {_progress(content)}. Train it to the end first: run again what "
            "trained it"
        )
    if not about:
        raise CheckpointError(
            f"{checkpoint}: does not say which network it holds: kept by an older version, or by "
            "`fit` itself. Delete it and train it again (load_or_train; `kdcourse run` for a "
            "notebook's), or use kdcourse.shipping.export.export(network, data, path)"
        )
    fault = "no description" if not isinstance(about, dict) else first_fault(about)
    if not fault and not isinstance(about.get("asked"), dict):
        fault = f"asked {about.get('asked')!r:.80}, expected the arguments of `load`"
    if not fault and not _is_state(weights):
        fault = "no weights"
    if fault:
        raise CheckpointError(f"{checkpoint}: damaged: {fault}. Delete it and train it again")
    return about, weights


def _is_state(weights: object) -> bool:
    return isinstance(weights, dict) and all(map(torch.is_tensor, weights.values()))


def _progress(content: dict) -> str:
    history, settings = content.get("history"), content["settings"]
    if not isinstance(history, list) or not isinstance(settings, dict):
        return "training has not finished"
    return f"trained for {len(history)} of {settings.get('epochs')} epochs"


def rebuilt(described, source: object = "the checkpoint") -> nn.Module:
    """The network, with fresh weights, that `describe` told of: a function of kdcourse.models and
    plain arguments.

    Nothing is imported by a name in a file. Raises CheckpointError for anything else.
    """
    arguments, keywords = [], {}
    while (
        isinstance(described, list)
        and len(described) == 3
        and isinstance(described[1], list)
        and isinstance(described[2], dict)
    ):  # a partial
        described, before, more = described
        arguments, keywords = [*before, *arguments], {**more, **keywords}
    known = {
        f"{maker.__module__}.{maker.__qualname__}": maker
        for maker in (getattr(models, name) for name in models.__all__)
    }
    makers = {
        name: maker
        for name, maker in known.items()
        if "classes" in inspect.signature(maker).parameters
    }
    plain = all(
        isinstance(value, str | int | float | bool | None)
        for value in (*arguments, *keywords.values())
    )
    if not isinstance(described, str) or described not in makers or not plain:
        what = described if isinstance(described, str) else "a network"
        raise CheckpointError(
            f"{source}: holds {what}, which is not built by a function of kdcourse.models alone. "
            "Build it yourself, load the weights, and use kdcourse.shipping.export.export(network, "
            "data, path)"
        )
    try:
        bound = inspect.signature(makers[described]).bind(*arguments, **keywords)
    except TypeError as error:
        raise CheckpointError(
            f"{source}: {described} of this version does not take its arguments ({error})"
        ) from error
    if "pretrained" in bound.arguments:
        bound.arguments["pretrained"] = False  # its weights come from the file
    return makers[described](*bound.args, **bound.kwargs)


def _checked(format: str, int8: bool) -> None:
    if format not in FORMATS:
        raise unknown("format", format, FORMATS)
    if int8 and format != "onnx":
        raise UsageError(
            f"int8 with format={format!r}: only ONNX files are quantised, use format='onnx'"
        )
    if missing := [name for name in FORMATS[format].needs if find_spec(name) is None]:
        raise UsageError(
            f"format={format!r} needs {', '.join(missing)}: pip install 'kdcourse[deploy]'"
        )


def _data(about: dict, dataset: str | None) -> tuple[DataSplits, str]:
    """The data that a network was trained on, or others with the same classes and channels, and
    what to say of them.
    """
    asked = dict(about["asked"])
    fewer = asked.pop("fewer", [])
    if not asked and dataset is None:
        raise UsageError(
            f"trained on arrays in memory ({about['data']}): name a data set with --dataset, or "
            "--no-check"
        )
    if dataset is not None and dataset != asked.get("name"):
        asked, fewer = {"image_size": about["image_size"][0]}, []
    try:
        data = load(**asked | {"name": dataset or asked["name"]})
    except DataError as error:
        raise DataError(f"{error} To export without comparing on data: --no-check.") from error
    for count, seed in fewer:
        data = data.fewer(count, seed)
    loaded = data.about()
    for key in ("classes", "channels", "image_size", "dtype"):
        if loaded[key] != about[key]:
            raise UsageError(
                f"{data.name}: {key} {loaded[key]}, but the network was trained on {about[key]}"
            )
    if data.fingerprint == about["fingerprint"]:
        return data, ""
    return data, (
        "note: not the data as they were in training (another set, or changed files): it may know "
        "test images"
    )


def _export(
    network: nn.Module,
    about: dict,
    data: DataSplits | None,
    path,
    format: str,
    int8: bool,
    note: str = "",
) -> Exported:
    _checked(format, int8)
    path, kind = Path(path), FORMATS[format]
    # "asked" names folders of this machine.
    about = {key: value for key, value in about.items() if key != "asked"}
    about |= {"format": FORMAT, "int8": int8, "versions": {"kdcourse": kdcourse.__version__}}
    about["versions"] |= {
        package: import_module(package).__version__ for package in ("torch", *kind.needs)
    }
    raw = Raw(copy.deepcopy(network), about["mean"], about["std"])
    raw = raw.to("cpu", memory_format=torch.contiguous_format).float().eval()
    price = cost(raw.network, (len(about["channels"]), *about["image_size"]), latency=False)
    about |= {"parameters": price.parameters, "macs": price.macs}
    made = _made(about)
    images, labels = (made, None) if data is None else (data.test, data.test.labels)
    with evaluating(raw):
        if not torch.isfinite(raw(torch.from_numpy(made[:2]))).all():
            raise ExportError(f"{path}: not written. The network's own answers are not finite")
    with beside(path) as temporary:
        content = kind.written(raw, torch.from_numpy(made[:2]), about)
        answers = kind.opened(content)
        if (shape := answers(made).shape) != (MADE, len(about["classes"])):
            raise UsageError(
                f"the network answers {MADE} images with shape {shape}, expected ({MADE}, "
                f"{len(about['classes'])}): one logit per class"
            )
        float32 = _compare(raw, answers, images, labels)
        if not float32.difference <= TOLERANCE:
            raise ExportError(
                f"{path}: not written. Against PyTorch, {float32}; the tolerance is {TOLERANCE:.0e}"
            )
        done = Exported(path, len(content), float32, note=note)
        if int8:
            content = quantise(content, data.val)
            small = _compare(raw, kind.opened(content), images, labels)
            calibrated = min(CALIBRATION, len(data.val))
            done = replace(
                done, size=len(content), int8=small, float32_size=done.size, calibrated=calibrated
            )
        Path(temporary).write_bytes(content)
    return done


def _made(about: dict) -> np.ndarray:
    """Images of noise with the mean and spread of the data, (MADE, C, H, W) float32."""
    mean, std = (np.reshape(about[key], (1, -1, 1, 1)) for key in ("mean", "std"))
    noise = np.random.default_rng(0).standard_normal(
        (MADE, len(about["channels"]), *about["image_size"])
    )
    return (mean + std * noise).astype(np.float32)


def _compare(
    network: Raw, answers: Callable, images: Split | np.ndarray, labels: np.ndarray | None
) -> Agreement:
    """The network's and the file's answers to raw images, a split or an array, batch by batch."""
    take = images.take if isinstance(images, Split) else images.__getitem__
    theirs, ours = [], []
    for start in range(0, len(images), BATCH):
        batch = take(np.arange(start, min(start + BATCH, len(images)))).astype(np.float32)
        with evaluating(network):
            theirs.append(network(torch.from_numpy(batch)).numpy())
        ours.append(answers(batch))
    theirs, ours = np.concatenate(theirs), np.concatenate(ours)
    first, second = theirs.argmax(1), ours.argmax(1)
    return Agreement(
        images=len(images),
        difference=float(np.abs(ours - theirs).max() / max(np.abs(theirs).max(), 1e-12)),
        same=100 * float((first == second).mean()),
        network=None if labels is None else 100 * float((first == labels).mean()),
        file=None if labels is None else 100 * float((second == labels).mean()),
    )
