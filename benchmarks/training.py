"""Training: `fit` against the plain loop of D1, for the same network, images, epochs, batches and
optimiser.

The plain loop is what one writes first in PyTorch: a Dataset that reads a GeoTIFF by rasterio for
each sample, a DataLoader, float32, NCHW, Adam. Both sides start from the same weights, see the same
batches in the same order, without augmentation, and validate after each epoch (`fit` measures its
training accuracy as well). What the ratio
holds is therefore: the store instead of files, channels_last, and autocast to bfloat16 where the
  hardware has it.

A whole run begins with the files: that of `fit` includes decoding them into a fresh store. The
  sides take turns.

    python benchmarks/training.py                       # scenes, 800 tiles, 32×32, D1's student
    python benchmarks/training.py --dataset eurosat_ms  # in the folder KDCOURSE_DATA
"""

import copy
import os
import tempfile
import time
from functools import partial

import numpy as np
import rasterio
import torch
from loading import BATCH_SIZE, arguments, describe, finish, machine, parse, spread, tiles
from torch import nn
from torch.nn import functional as F
from torch.utils.data import DataLoader, Dataset

from kdcourse.common.paths import data_root
from kdcourse.data import Batches, DataSplits, Split
from kdcourse.distillation import CrossEntropy
from kdcourse.models import d1_student
from kdcourse.training import constant, fit

WORKERS = (0, 2)
LEARNING_RATE = 1e-3


class Tiles(Dataset):
    """One GeoTIFF a sample: (C, size, size) float32, normalised, and its label."""

    def __init__(self, split: Split, paths: list[str], size: int):
        self.paths, self.labels, self.size = [paths[row] for row in split.rows], split.labels, size
        self.mean, self.std = (
            torch.from_numpy(value)[:, None, None] for value in (split.mean, split.std)
        )

    def __len__(self) -> int:
        return len(self.paths)

    def __getitem__(self, index: int) -> tuple[torch.Tensor, int]:
        with rasterio.open(self.paths[index]) as file:
            image = torch.from_numpy(file.read().astype(np.float32))
        if image.shape[1:] != (self.size, self.size):
            image = F.interpolate(
                image[None], size=(self.size, self.size), mode="bilinear", antialias=True
            )[0]
        return (image - self.mean) / self.std, int(self.labels[index])


def plain_loop(
    model: nn.Module, data: DataSplits, paths: list[str], epochs: int, workers: int
) -> list[dict]:
    size = data.image_size[0]
    order = []  # of the epoch: that of `fit`, where one would otherwise write shuffle=True
    train = DataLoader(
        Tiles(data.train, paths, size), BATCH_SIZE, sampler=order, num_workers=workers
    )
    val = DataLoader(Tiles(data.val, paths, size), BATCH_SIZE, num_workers=workers)
    optimizer = torch.optim.Adam(model.parameters(), lr=LEARNING_RATE)
    records = []
    for epoch in range(epochs):
        started = time.perf_counter()
        order[:] = Batches(data.train, BATCH_SIZE, seed=0).order(epoch).tolist()
        model.train()
        total, seen = 0.0, 0
        for images, labels in train:
            loss = F.cross_entropy(model(images), labels)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            total, seen = total + loss.item() * len(labels), seen + len(labels)
        model.eval()
        with torch.no_grad():
            correct = sum(
                (model(images).argmax(1) == labels).sum().item() for images, labels in val
            )
        record = {"seconds": time.perf_counter() - started, "loss": total / seen, "images": seen}
        records.append(record | {"val_accuracy": 100 * correct / len(data.val)})
    return records


class CountingCrossEntropy(CrossEntropy):
    """Counts the training images that it is shown."""

    images = 0

    def forward(self, student, batch):
        self.images += len(batch)
        return super().forward(student, batch)


def course_loop(model: nn.Module, data: DataSplits, epochs: int) -> list[dict]:
    adam, objective = partial(torch.optim.Adam, lr=LEARNING_RATE), CountingCrossEntropy()
    settings = dict(
        optimizer=adam, schedule=constant, batch_size=BATCH_SIZE, augment=None, device="cpu"
    )
    history = fit(model, data, objective, epochs=epochs, seed=0, progress=False, **settings)
    keys = ("seconds", "loss", "val_accuracy")
    return [
        {key: record[key] for key in keys} | {"images": objective.images // epochs}
        for record in history.records
    ]


def run(side: str, start: nn.Module, dataset: str, count: int, size: int, epochs: int) -> dict:
    """One whole run of a side, from the files on."""
    model, before = copy.deepcopy(start), os.environ.get("KDCOURSE_WORK")
    root = data_root()  # where the tiles are; the store of this run is made in an empty folder
    with tempfile.TemporaryDirectory() as work:
        os.environ["KDCOURSE_WORK"] = work
        try:
            if side == "fit":
                started = time.perf_counter()
                data, _ = tiles(dataset, count, size, root)
                records = course_loop(model, data, epochs)
            else:
                data, paths = tiles(
                    dataset, count, size, root
                )  # for the split, mean and std: not timed
                started = time.perf_counter()
                records = plain_loop(model, data, paths, epochs, workers=int(side.split()[-1]))
            return {"epochs": records, "whole": time.perf_counter() - started}
        finally:
            os.environ.pop("KDCOURSE_WORK")
            if before is not None:
                os.environ["KDCOURSE_WORK"] = before


def measure(dataset: str, count: int, size: int, epochs: int, repeats: int) -> dict:
    about = machine()
    data, _ = tiles(dataset, count, size)  # makes the tiles of `scenes`, if they are not there yet
    torch.manual_seed(0)
    start = d1_student(len(data.channels), len(data.classes))
    sides = ["fit", *(f"plain, workers {workers}" for workers in WORKERS)]
    runs = {side: [] for side in sides}
    for _ in range(repeats):
        for side in sides:
            runs[side].append(run(side, start, dataset, count, size, epochs))
    seen = {side: [record["images"] for record in runs[side][0]["epochs"]] for side in sides}
    if any(images != seen["fit"] for images in seen.values()):
        raise SystemExit(f"the sides do not do the same work: images an epoch {seen}")
    second = {side: [r["epochs"][1]["seconds"] for r in runs[side]] for side in sides}
    whole = {side: [r["whole"] for r in runs[side]] for side in sides}

    def ratios(times: dict[str, list[float]], side: str) -> dict:
        return spread([plain / ours for plain, ours in zip(times[side], times["fit"], strict=True)])

    return {
        "benchmark": "training",
        "machine": about,
        "dataset": dataset,
        "shape": [len(data.channels), *data.image_size],
        "epochs": epochs,
        "seen": seen,
        "loss": {side: [record["loss"] for record in runs[side][0]["epochs"]] for side in sides},
        "second_epoch": {side: spread(second[side]) for side in sides},
        "whole_run": {side: spread(whole[side]) for side in sides},
        "ratio_second_epoch": {side: ratios(second, side) for side in sides[1:]},
        "ratio_whole_run": {side: ratios(whole, side) for side in sides[1:]},
    }


def report(result: dict) -> str:
    count, (channels, height, width) = result["seen"]["fit"][0], result["shape"]
    lines = [
        describe(result["machine"]),
        f"{result['dataset']}: D1's student, {count} training images of "
        f"{height}×{width}×{channels}, batches of "
        f"{BATCH_SIZE}, {result['epochs']} epochs; medians of "
        f"{len(result['whole_run']['fit']['all'])} rounds",
        f"{'':18} {'second epoch':>14} {'whole run':>11}   loss of each epoch",
    ]
    for side in result["seen"]:
        second, whole = result["second_epoch"][side]["median"], result["whole_run"][side]["median"]
        losses = " ".join(f"{loss:.3f}" for loss in result["loss"][side])
        lines.append(f"{side:18} {second:12.2f} s {whole:9.2f} s   {losses}")
    for side in result["ratio_second_epoch"]:
        parts = []
        for name, key in (("second epoch", "ratio_second_epoch"), ("whole run", "ratio_whole_run")):
            ratio = result[key][side]
            parts.append(
                f"{name} {ratio['median']:.2f} ({ratio['lowest']:.2f}–{ratio['highest']:.2f})"
            )
        lines.append(f"ratio to {side}: {', '.join(parts)}")
    return "\n".join(lines)


if __name__ == "__main__":
    parser = arguments(__doc__, count=800, repeats=3)
    parser.add_argument("--epochs", type=int, default=3, help="2 or more")
    given = parse(parser)
    if given.epochs < 2:
        parser.error("--epochs: the second epoch is timed, so 2 or more")
    if given.quick:
        given.epochs = 2
    result = measure(given.dataset, given.tiles, given.image_size, given.epochs, given.repeats)
    finish(result, report(result), given.json)
