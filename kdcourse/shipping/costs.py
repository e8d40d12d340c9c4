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
from kdcourse.common.system import peak_memory, times
from kdcourse.shipping.predict import Model


def costs(
    files: Mapping[str, str | os.PathLike],
    test,
    *,
    threads: int = 1,
    batch_size: int = 64,
    rounds: int = 1,
):
    """A row a file of `kdcourse export`: what it takes, how fast it answers, and how well. files:
    {"name": path}.

    test: the split that accuracy and calibration are measured on. Columns: network; size (bytes on
    disk); parameters; macs (of one image); median_ms and p95_ms (of a single image);
    images_per_second (in batches); memory_mb (the most that the process ever held) and own_mb (of
    which not by Python and onnxruntime before the file was read); accuracy, low, high and ece (%);
    threads. Timings are medians over rounds in which the files take turns.

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
    timed = {name: [] for name in files}
    for _ in range(rounds):
        for name, path in files.items():
            timed[name].append(in_fresh_process(path, threads, batch_size))
    rows = []
    for name, model in models.items():
        images = (
            test.take(np.arange(i, min(i + 256, len(test)))) for i in range(0, len(test), 256)
        )
        logits = torch.from_numpy(np.concatenate([model.logits(part) for part in images]))
        judged = score(logits, torch.tensor(test.labels), model.classes)
        row = {"network": name, "size": os.path.getsize(files[name])}
        row |= {key: model.about.get(key, np.nan) for key in ("parameters", "macs")}
        row |= {key: float(np.median([one[key] for one in timed[name]])) for key in timed[name][0]}
        row |= {key: judged.row()[key] for key in ("accuracy", "low", "high", "ece")}
        rows.append(row | {"threads": threads})
    return pd.DataFrame(rows)


def on_front(rows, of: Sequence[str]) -> list[bool]:
    """Whether no other row is at least as accurate at no more of each cost, and better in one
    (Pareto's front).

    rows: a table with the column accuracy and the costs `of`.
    """
    values = rows[["accuracy", *of]].to_numpy(float) * [1, *(-1 for _ in of)]  # more is better
    return [not any((one >= own).all() and (one > own).any() for one in values) for own in values]


def in_fresh_process(
    path: str | os.PathLike, threads: int = 1, batch_size: int = 64
) -> dict[str, float]:
    """median_ms, p95_ms, images_per_second, memory_mb and own_mb of a file: see `costs`."""
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


def measured(path: str, threads: int, batch_size: int) -> dict[str, float]:
    """As `in_fresh_process`, here and now."""
    import onnxruntime  # noqa: F401, its memory is not the file's

    before = peak_memory()
    model = Model(path, threads)
    shape = (len(model.channels), *model.image_size)
    one, many = (np.zeros((count, *shape), np.float32) for count in (1, batch_size))
    single, batches = (
        1000 * np.array(times(lambda images=images: model.logits(images))) for images in (one, many)
    )
    after = peak_memory()
    return {
        "median_ms": float(np.median(single)),
        "p95_ms": float(np.percentile(single, 95)),
        "images_per_second": float(1000 * batch_size / np.median(batches)),
        "memory_mb": after,
        "own_mb": after - before,
    }


if __name__ == "__main__":
    print(json.dumps(measured(sys.argv[1], int(sys.argv[2]), int(sys.argv[3]))))
