"""Distillation: an epoch of `fit` with a CachedTeacher against one without a teacher, and against
the live teacher.

All sides train the student of the course's pair from the same weights on the same views in the same
order, and take turns. An epoch is that of `fit`, with two images to validate on, so that training
alone is timed. The first epoch of each run warms up; its others are timed together. The teacher is
not trained: its weights do not change its speed. The views are answered before the clock starts;
what that takes is said apart.

    python benchmarks/distillation.py                       # scenes, 2,000 tiles, 32×32
    python benchmarks/distillation.py --dataset eurosat_ms  # in the folder KDCOURSE_DATA
"""

import copy
import os
import tempfile
import time
from collections.abc import Callable
from dataclasses import replace
from functools import partial

import torch
from loading import BATCH_SIZE, arguments, describe, finish, machine, parse, spread, tiles
from torch import nn

from kdcourse.data import Batches, DataSplits
from kdcourse.distillation import CachedTeacher, CrossEntropy, FitNets, ResponseKD, Teacher
from kdcourse.experiments.baselines import STUDENT, TEACHER
from kdcourse.training import fit
from kdcourse.training.settings import resolve_augmentation

VIEWS = 2
PLAIN, CACHED, LIVE, HINTS = (
    "cross-entropy",
    "cached teacher",
    "live teacher",
    "hints, live teacher",
)


class Counting(nn.Module):
    """An objective that counts the training images that it is shown."""

    def __init__(self, objective: nn.Module):
        super().__init__()
        self.objective, self.images = objective, 0

    def prepare(self, student, batch, samples):
        self.objective.prepare(student, batch, samples)

    def forward(self, student, batch):
        self.images += len(batch)
        return self.objective(student, batch)


def run(start: nn.Module, data: DataSplits, make: Callable[[], nn.Module], epochs: int) -> dict:
    """Seconds of the epochs after the first, loss of each epoch, images of an epoch."""
    objective = Counting(make())
    history = fit(
        copy.deepcopy(start), data, objective, epochs=epochs, batch_size=BATCH_SIZE, views=VIEWS,
        seed=0, device="cpu", progress=False,
    )  # fmt: skip
    return {
        "seconds": sum(record["seconds"] for record in history.records[1:]) / (epochs - 1),
        "loss": [record["loss"] for record in history.records],
        "images": objective.images // epochs,
    }


def fill(data: DataSplits, teacher: CachedTeacher) -> float:
    """Seconds to answer one view."""
    augment = resolve_augmentation("default", data)
    batches = Batches(data.train, BATCH_SIZE, seed=0, augment=augment, views=VIEWS)
    started = time.perf_counter()
    teacher.fill(batches, progress=False)
    return (time.perf_counter() - started) / VIEWS


def measure(dataset: str, count: int, size: int, epochs: int, repeats: int) -> dict:
    about = machine()
    data, _ = tiles(dataset, count, size)
    data = replace(data, val=data.val.subset([0, 1]))
    torch.manual_seed(0)
    start, network = (
        make(channels=len(data.channels), classes=len(data.classes)) for make in (STUDENT, TEACHER)
    )
    live, cached = Teacher(network.to(memory_format=torch.channels_last)), CachedTeacher(network)
    sides = {
        PLAIN: CrossEntropy,
        CACHED: partial(ResponseKD, cached),
        LIVE: partial(ResponseKD, live),
        HINTS: partial(FitNets, live, "layer3", "layer3"),
    }
    runs = {side: [] for side in sides}
    before = os.environ.get("KDCOURSE_WORK")
    with tempfile.TemporaryDirectory() as work:
        os.environ["KDCOURSE_WORK"] = work  # answers of this run alone
        try:
            filling, answered = fill(data, cached), cached.computed
            for _ in range(repeats):
                for side, make in sides.items():
                    runs[side].append(run(start, data, make, epochs))
            nbytes = cached.nbytes
        finally:
            os.environ.pop("KDCOURSE_WORK")
            if before is not None:
                os.environ["KDCOURSE_WORK"] = before
    seen = {side: runs[side][0]["images"] for side in sides}
    if len(set(seen.values())) > 1:
        raise SystemExit(f"the sides do not do the same work: images an epoch {seen}")
    if cached.computed != answered or cached.served != seen[CACHED] * epochs * repeats:
        raise SystemExit(
            f"{cached.served} answers were read and {cached.computed - answered} made anew: all "
            "are kept"
        )
    seconds = {side: [r["seconds"] for r in runs[side]] for side in sides}

    def ratio(side: str, to: str) -> dict:
        return spread([a / b for a, b in zip(seconds[side], seconds[to], strict=True)])

    return {
        "benchmark": "distillation",
        "machine": about,
        "dataset": dataset,
        "shape": [len(data.channels), *data.image_size],
        "epochs": epochs,
        "seen": seen,
        "loss": {side: runs[side][0]["loss"] for side in sides},
        "rounding_error": cached.rounding_error,
        "fill_a_view": filling,
        "bytes_a_view": nbytes // VIEWS,
        "epoch": {side: spread(seconds[side]) for side in sides},
        "ratio_to_plain": {side: ratio(side, PLAIN) for side in (CACHED, LIVE, HINTS)},
        "ratio_live_to_cached": ratio(LIVE, CACHED),
    }


def report(result: dict) -> str:
    count, (channels, height, width) = result["seen"][PLAIN], result["shape"]
    lines = [
        describe(result["machine"]),
        f"{result['dataset']}: the course's pair, {count} training images of "
        f"{height}×{width}×{channels}, batches of "
        f"{BATCH_SIZE}, {result['epochs']} epochs; medians of {len(result['epoch'][PLAIN]['all'])} "
        "rounds",
        f"{'':20} {'epoch':>9}   ratio to {PLAIN} (lowest–highest)",
    ]
    for side, times in result["epoch"].items():
        ratio = result["ratio_to_plain"].get(side)
        said = (
            f"{ratio['median']:.2f} ({ratio['lowest']:.2f}–{ratio['highest']:.2f})" if ratio else ""
        )
        lines.append(f"{side:20} {times['median']:7.2f} s   {said}")
    ratio = result["ratio_live_to_cached"]
    lines.append(
        f"ratio of live to cached {ratio['median']:.2f} "
        f"({ratio['lowest']:.2f}–{ratio['highest']:.2f})"
    )
    lines.append(
        f"to answer a view: {result['fill_a_view']:.2f} s, {result['bytes_a_view']:,} bytes, "
        "largest rounding error "
        f"{result['rounding_error']:.2g}"
    )
    return "\n".join(lines)


if __name__ == "__main__":
    parser = arguments(__doc__, count=2000, repeats=7)
    parser.add_argument("--epochs", type=int, default=6, help="of each run, 2 or more")
    given = parse(parser)
    if given.epochs < 2:
        parser.error("--epochs: the first epoch is not timed, so 2 or more")
    if given.quick:
        given.epochs = 3
    result = measure(given.dataset, given.tiles, given.image_size, given.epochs, given.repeats)
    finish(result, report(result), given.json)
