"""Shipping: teacher, student and int8 student as files, measured alike; `predict`'s start; a map's
time a megapixel.

The networks are those of notebook 03 and 04 (found, or trained and kept). Each file is timed alone
in a fresh process without torch, on the threads named, the files in turns. Before that the round
trip is checked: the test tiles' own GeoTIFFs through `predict` get the first class that PyTorch
gives them, for 99.9 % of them or more.

    python benchmarks/shipping.py                         # scenes, 2,000 tiles, 32×32
    python benchmarks/shipping.py --dataset eurosat_ms    # in the folder that KDCOURSE_DATA names
"""

import statistics
import subprocess
import sys
import tempfile
import time
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
from loading import arguments, describe, finish, machine, parse, spread, tiles

from kdcourse.common import profiles
from kdcourse.data.large_scene import make_wide_scene
from kdcourse.data.scenes import BANDS
from kdcourse.distillation import CachedTeacher, ResponseKD
from kdcourse.evaluation import predict
from kdcourse.experiments import baselines
from kdcourse.shipping.costs import costs
from kdcourse.shipping.export import export
from kdcourse.shipping.maps import classify
from kdcourse.shipping.predict import Model
from kdcourse.shipping.predict import predict as predict_files
from kdcourse.training import load_or_train

LEAST = 99.9  # % of the tiles whose file gets the same first class


def networks(data, settings) -> dict:
    """Teacher and distilled student."""
    teacher, _ = load_or_train(baselines.teacher_recipe(data, settings), data, progress=False)
    recipe = replace(
        baselines.student_recipe(data, settings, 0, settings.compare_epochs), views=settings.views
    )
    objective = partial(
        ResponseKD, CachedTeacher(teacher), temperature=4, soft_weight=0.9, label_weight=0.1
    )
    student, _ = load_or_train(replace(recipe, objective=objective), data, progress=False)
    return {"teacher": teacher, "student": student}


def round_trip(network, file: Path, data, paths: list[str]) -> float:
    """% of the test tiles to which the file, given their GeoTIFFs, answers as the network does in
    PyTorch.
    """
    ours = predict(network, data.test)[0].argmax(1).numpy()
    theirs = [
        answer.argmax()
        for _, answer in predict_files(Model(file), [paths[row] for row in data.test.rows])
    ]
    same = 100 * float((np.array(theirs) == ours).mean())
    if same < LEAST:
        raise SystemExit(
            f"{file.name}: the same first class for {same:.2f} % of the test tiles, expected "
            f"{LEAST} %"
        )
    return same


def start_seconds(file: Path, tile: str, repeats: int) -> list[float]:
    """Of `kdcourse predict` with one tile, from the start of the process to its end. Stops if it
    imports torch.
    """
    code = (
        "import sys; from kdcourse.cli import main\n"
        "try: main()\n"
        "finally: print('torch' in sys.modules)"
    )
    line = [sys.executable, "-c", code, "predict", str(file), tile]
    times = []
    for _ in range(repeats):
        started = time.perf_counter()
        out = subprocess.run(line, capture_output=True, text=True, check=True).stdout
        times.append(time.perf_counter() - started)
        if not out.endswith("False\n"):
            raise SystemExit("predict imports torch")
    return times


def measure(given) -> dict:
    about, settings = machine(), profiles.profile("smoke" if given.quick else "cpu")
    data, paths = tiles(given.dataset, given.tiles, given.image_size)
    with tempfile.TemporaryDirectory() as folder:
        files, same, lost = {}, {}, {}
        trained = networks(data, settings)
        for name, network in trained.items():
            files[name] = Path(folder) / f"{name}.onnx"
            export(network, data, files[name])
            same[name] = round_trip(network, files[name], data, paths)
        files["int8 student"] = Path(folder) / "int8.onnx"
        done = export(trained["student"], data, files["int8 student"], int8=True)
        lost = done.float32.file - done.int8.file
        table = costs(files, data.test, threads=given.threads, rounds=given.repeats)
        starts = start_seconds(files["student"], paths[data.test.rows[0]], given.repeats)
        scene, maps = Path(folder) / "scene.tif", {}
        if data.channels == BANDS:
            make_wide_scene(scene, given.scene)
            rounds = [
                {
                    name: classify(Model(file, given.threads), scene, Path(folder) / "map.tif")
                    for name, file in files.items()
                }
                for _ in range(given.repeats)
            ]
            maps = {
                name: {
                    "pace": spread([one[name].pace for one in rounds]),
                    "network": statistics.median(
                        one[name].answering / one[name].megapixels for one in rounds
                    ),
                }
                for name in files
            }
    return {
        "benchmark": "shipping",
        "machine": about,
        "data": repr(data),
        "same": same,
        "lost": lost,
        "table": table.to_dict("records"),
        "start": spread(starts),
        "maps": maps,
        "ratio": table.median_ms.iloc[0] / table.median_ms.iloc[1],
    }


def report(result: dict) -> str:
    lines = [describe(result["machine"]), result["data"]]
    for name, same in result["same"].items():
        lines.append(
            f"{name}: the same first class as PyTorch for {same:.2f} % of the test tiles' files"
        )
    lines.append(f"int8 loses {result['lost']:+.2f} points of test accuracy")
    for row in result["table"]:
        lines.append(
            f"{row['network']:13} {row['size'] / 1e3:7.1f} kB {row['macs'] / 1e6:7.2f} M MACs "
            f"{row['median_ms']:7.3f} ms ({row['q1_ms']:.3f}–{row['q3_ms']:.3f}, p95 "
            f"{row['p95_ms']:.3f}) {row['images_per_second']:9.0f} tiles/s {row['memory_mb']:6.1f} "
            f"MB, own {row['own_mb']:5.1f}; {row['accuracy']:.2f} %, ECE {row['ece']:.2f} %"
        )
    lines.append(
        f"ratio of one tile's time, teacher to student: {result['ratio']:.1f}; threads "
        f"{row['threads']}"
    )
    start = result["start"]
    lines.append(
        f"predict, one tile: {start['median']:.2f} s "
        f"({start['lowest']:.2f}–{start['highest']:.2f}), no torch"
    )
    for name, timed in result["maps"].items():
        pace = timed["pace"]
        lines.append(
            f"map by {name:13} {pace['median']:.2f} s a megapixel "
            f"({pace['lowest']:.2f}–{pace['highest']:.2f}), of which the network "
            f"{timed['network']:.2f}"
        )
    return "\n".join(lines)


if __name__ == "__main__":
    parser = arguments(__doc__, count=2000, repeats=7)
    parser.add_argument("--threads", type=int, default=1, help="that each file answers with")
    parser.add_argument(
        "--scene", type=int, default=2048, help="pixels a side of the scene that is mapped"
    )
    given = parse(parser)
    if given.quick:
        given.scene = 128
    result = measure(given)
    finish(result, report(result), given.json)
