"""What shipped files cost, all measured alike: each alone in a fresh process that has onnxruntime
and no torch.
"""

import json
import os
import subprocess
import sys
from collections.abc import Mapping, Sequence

import numpy as np

from kdcourse.common.errors import DataError, UsageError
from kdcourse.common.system import Latency, peak_memory, times
from kdcourse.shipping.predict import Model

SECONDS = 0.2  # of a process's passes of one image, and of its batches


def costs(
    files: Mapping[str, str | os.PathLike],
    test,
    *,
    threads: int = 1,
    batch_size: int = 64,
    rounds: int = 3,
):
    """One row per file of `kdcourse export`: its size, its speed, and its accuracy.

    files: {"name": path}. test: the split that accuracy and calibration are measured on. Columns:
    network; size (bytes on disk); parameters; macs (of one image); median_ms, q1_ms, q3_ms
    (quartiles) and p95_ms (of a single image); images_per_second (in batches); memory_mb (the most
    that the process ever held) and own_mb (of which not by Python and onnxruntime before the file
    was read); accuracy, low, high and ece (%); threads.

    The files take turns, `rounds` times, each time in a fresh process. Files of one architecture
    and precision share their timings, since only their weights differ.

    Raises UsageError for arguments, DataError for a file that is not ours.
    """
    import pandas as pd
    import torch

    from kdcourse.evaluation import score

    if not files or min(threads, batch_size, rounds) < 1:
        raise UsageError(
            f"{len(files)} files, threads={threads}, batch_size={batch_size}, rounds={rounds}: "
            "expected 1 or more each"
        )
    models = {name: Model(path) for name, path in files.items()}
    architectures = {name: _architecture(model) for name, model in models.items()}
    runs = {architecture: [] for architecture in architectures.values()}
    for _ in range(rounds):
        for name, path in files.items():
            runs[architectures[name]].append(in_fresh_process(path, threads, batch_size))
    timings = {architecture: _summary(own, batch_size) for architecture, own in runs.items()}
    rows = []
    for name, model in models.items():
        images = (
            test.take(np.arange(i, min(i + 256, len(test)))) for i in range(0, len(test), 256)
        )
        logits = torch.from_numpy(np.concatenate([model.logits(part) for part in images]))
        judged = score(logits, torch.tensor(test.labels), model.classes)
        row = {"network": name, "size": os.path.getsize(files[name])}
        row |= {key: model.about.get(key, np.nan) for key in ("parameters", "macs")}
        row |= timings[architectures[name]]
        row |= {key: judged.row()[key] for key in ("accuracy", "low", "high", "ece")}
        rows.append(row | {"threads": threads})
    return pd.DataFrame(rows)


def _architecture(model: Model) -> str:
    """The same for two files that differ in their weights alone."""
    keys = ("network", "int8", "channels", "classes", "image_size", "parameters", "macs")
    return json.dumps([model.about.get(key) for key in keys])


def _summary(runs: Sequence[dict], batch_size: int) -> dict[str, float]:
    """The columns of a table for the runs of one architecture, all passes together."""
    single = Latency.of([seconds for run in runs for seconds in run["single"]])
    batches = Latency.of([seconds for run in runs for seconds in run["batches"]])
    return {
        "median_ms": single.median,
        "q1_ms": single.q1,
        "q3_ms": single.q3,
        "p95_ms": single.p95,
        "images_per_second": 1000 * batch_size / batches.median,
        "memory_mb": float(np.median([run["memory_mb"] for run in runs])),
        "own_mb": float(np.median([run["own_mb"] for run in runs])),
    }


def on_front(rows, of: Sequence[str]) -> list[bool]:
    """Whether no other row is at least as accurate at no more of each cost, and better in one
    (Pareto's front).

    rows: a table with the column accuracy and the costs `of`.
    """
    values = rows[["accuracy", *of]].to_numpy(float) * [1, *(-1 for _ in of)]  # more is better
    return [not any((one >= own).all() and (one > own).any() for one in values) for own in values]


def in_fresh_process(path: str | os.PathLike, threads: int = 1, batch_size: int = 64) -> dict:
    """single and batches (seconds of each pass of one image, and of a batch), memory_mb and own_mb
    of a file: see `costs`.
    """
    line = [
        sys.executable,
        "-m",
        "kdcourse.shipping.costs",
        os.fspath(path),
        str(threads),
        str(batch_size),
    ]
    done = subprocess.run(line, capture_output=True, text=True)
    if done.returncode:
        raise DataError(
            f"{path}: could not be measured "
            f"({(done.stderr.strip().splitlines() or ['no reason given'])[-1]})"
        )
    return json.loads(done.stdout)


def measured(path: str, threads: int, batch_size: int) -> dict:
    """As `in_fresh_process`, here and now."""
    import onnxruntime  # noqa: F401, its memory is not the file's

    before = peak_memory()
    model = Model(path, threads)
    shape = (len(model.channels), *model.image_size)
    one, many = (np.zeros((count, *shape), np.float32) for count in (1, batch_size))
    # Briefly, for the files take turns.
    single = times(lambda: model.logits(one), seconds=SECONDS)
    batches = times(lambda: model.logits(many), seconds=SECONDS)
    after = peak_memory()
    return {"single": single, "batches": batches, "memory_mb": after, "own_mb": after - before}


if __name__ == "__main__":
    print(json.dumps(measured(sys.argv[1], int(sys.argv[2]), int(sys.argv[3]))))
