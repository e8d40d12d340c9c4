"""Loading: an epoch from the store against an epoch of GeoTIFFs read by rasterio, the same work on
both sides.

Both sides hand out the same samples in the same order: resized to the same size, normalised, in
batches of float32 tensors. Both are warm (one epoch before the clock starts, so the files are in
the system's page cache) and single: no worker processes. The sides take turns, since a machine may
be busier at one moment than at the next.

    python benchmarks/loading.py                        # scenes, 2,000 tiles, 32×32
    python benchmarks/loading.py --image-size 64        # the tiles as they are: nothing to resize
    python benchmarks/loading.py --dataset eurosat_ms   # found by KDCOURSE_DATA
"""

import argparse
import json
import os
import platform
import statistics
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import rasterio
import torch

from kdcourse.data import CATALOG, Batches, DataSplits, load
from kdcourse.data.datasets import Request
from kdcourse.data.store import resize
from kdcourse.training.settings import has_bfloat16

BATCH_SIZE = 64


def machine() -> dict:
    """What the figures hold for."""
    info = Path("/proc/cpuinfo")
    models = [
        line.split(":")[1].strip()
        for line in info.read_text().splitlines()
        if line.startswith("model name")
    ]
    cpu = models[0] if models else platform.processor() or platform.machine()
    return {
        "cpu": cpu,
        "cores": os.cpu_count(),
        "torch_threads": torch.get_num_threads(),
        "bfloat16": has_bfloat16(torch.device("cpu")),
        "load_before": round(
            os.getloadavg()[0], 2
        ),  # processes that wanted a core in the last minute
        "python": platform.python_version(),
        "torch": torch.__version__,
        "rasterio": f"{rasterio.__version__} (GDAL {rasterio.__gdal_version__})",
    }


def tiles(
    dataset: str, count: int, image_size: int | None, root=None
) -> tuple[DataSplits, list[str]]:
    """A data set of GeoTIFFs, and the file behind each row of its array. count: of `scenes`,
    rounded up to tens.
    """
    limit = -(-count // 10) * 10 if dataset == "scenes" else None
    info = CATALOG[dataset]
    data = load(dataset, image_size=image_size, limit=limit, root=root, progress=False)
    paths = [
        str(path) for path in info.open(info, Request(root=root, limit=limit, progress=False)).items
    ]
    if len(paths) != len(data.train.images):
        raise SystemExit(f"{len(paths)} files for {len(data.train.images)} rows of the store")
    return data, paths


def from_store(data: DataSplits, epoch: int) -> Iterator[torch.Tensor]:
    """(B, C, H, W) float32."""
    for batch in Batches(data.train, BATCH_SIZE, seed=0).epoch(epoch):
        yield batch.images


def from_files(data: DataSplits, paths: list[str], epoch: int) -> Iterator[torch.Tensor]:
    """(B, C, H, W) float32, the same samples as `from_store` in the same order."""
    mean, std = (torch.from_numpy(value)[:, None, None] for value in (data.mean, data.std))
    size = data.image_size[0]
    order = data.train.rows[Batches(data.train, BATCH_SIZE, seed=0).order(epoch)]
    for start in range(0, len(order), BATCH_SIZE):
        images = []
        for row in order[start : start + BATCH_SIZE]:
            with rasterio.open(paths[row]) as file:
                image = resize(file.read(), size)
            images.append((torch.from_numpy(image.astype(np.float32)) - mean) / std)
        yield torch.stack(images)


def pixels(batches: Iterator[torch.Tensor]) -> dict:
    """What an epoch holds: number of images, mean, and mean absolute value weighted by position in
    the epoch.
    """
    count, total, weighted = 0, 0.0, 0.0
    for images in batches:
        total += images.double().mean((1, 2, 3)).sum().item()
        position = torch.arange(count, count + len(images), dtype=torch.float64)
        weighted += (position * images.double().abs().mean((1, 2, 3))).sum().item()
        count += len(images)
    return {"images": count, "mean": total / count, "weighted": weighted / count**2}


def seconds(epoch: Callable[[], Iterator]) -> float:
    started = time.perf_counter()
    for _ in epoch():
        pass
    return time.perf_counter() - started


def spread(values: list[float]) -> dict:
    return {
        "median": statistics.median(values),
        "lowest": min(values),
        "highest": max(values),
        "all": values,
    }


def measure(dataset: str, count: int, image_size: int | None, repeats: int) -> dict:
    about = machine()
    data, paths = tiles(dataset, count, image_size)
    held = {
        "store": pixels(from_store(data, 0)),
        "files": pixels(from_files(data, paths, 0)),
    }  # the first epoch
    for name, value in held["store"].items():
        if not np.isclose(value, held["files"][name], rtol=1e-4, atol=1e-5):
            raise SystemExit(
                f"the sides do not do the same work: {name} {value} and {held['files'][name]}"
            )
    times = {"store": [], "files": []}
    for epoch in range(1, repeats + 1):
        times["store"].append(seconds(lambda epoch=epoch: from_store(data, epoch)))
        times["files"].append(seconds(lambda epoch=epoch: from_files(data, paths, epoch)))
    ratios = [files / store for files, store in zip(times["files"], times["store"], strict=True)]
    return {
        "benchmark": "loading",
        "machine": about,
        "dataset": dataset,
        "shape": [len(data.channels), *data.image_size],
        "held": held,
        "seconds": {side: spread(values) for side, values in times.items()},
        "ratio": spread(ratios),
    }


def report(result: dict) -> str:
    count, (channels, height, width) = result["held"]["store"]["images"], result["shape"]
    lines = [
        describe(result["machine"]),
        f"{result['dataset']}: {count} training images of {height}×{width}×{channels} as float32, "
        f"batches of {BATCH_SIZE}; medians of {len(result['ratio']['all'])} rounds",
    ]
    for side, what in (("store", "from the store"), ("files", "files by rasterio")):
        time = result["seconds"][side]["median"]
        lines.append(f"{what:18} {1000 * time:8.1f} ms an epoch {count / time:10.0f} images/s")
    ratio = result["ratio"]
    lines.append(f"ratio {ratio['median']:.1f} ({ratio['lowest']:.1f}–{ratio['highest']:.1f})")
    return "\n".join(lines)


def describe(machine: dict) -> str:
    return (
        f"{machine['cpu']}, {machine['cores']} cores, {machine['torch_threads']} threads for "
        f"PyTorch, bfloat16: {machine['bfloat16']}, load before {machine['load_before']}; Python "
        f"{machine['python']}, torch {machine['torch']}, rasterio {machine['rasterio']}"
    )


def arguments(about: str, count: int, repeats: int) -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=about.splitlines()[0])
    parser.add_argument("--dataset", default="scenes", choices=("scenes", "eurosat_ms"))
    parser.add_argument(
        "--tiles", type=int, default=count, help="tiles of scenes; eurosat_ms is taken whole"
    )
    parser.add_argument("--image-size", type=int, default=32, help="pixels a side")
    parser.add_argument("--repeats", type=int, default=repeats, help="rounds, each with both sides")
    parser.add_argument(
        "--quick", action="store_true", help="60 tiles of 16×16, one round: does it run?"
    )
    parser.add_argument("--json", type=Path, help="write the result there as well")
    return parser


def parse(parser: argparse.ArgumentParser) -> argparse.Namespace:
    given = parser.parse_args()
    if given.quick:
        given.tiles, given.image_size, given.repeats = 60, 16, 1
    return given


def finish(result: dict, text: str, file: Path | None) -> None:
    print(text)
    if file:
        file.write_text(json.dumps(result, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    given = parse(arguments(__doc__, count=2000, repeats=7))
    result = measure(given.dataset, given.tiles, given.image_size, given.repeats)
    finish(result, report(result), given.json)
