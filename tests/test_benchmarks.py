"""The benchmarks run, and both of their sides do the same work. How fast they are is not tested."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from kdcourse.grading.sandbox import refusal

pytestmark = pytest.mark.slow

FOLDER = Path(__file__).resolve().parent.parent / "benchmarks"


def run(script: str, output: Path, *options: str) -> dict:
    process = subprocess.run(
        [sys.executable, str(FOLDER / script), "--quick", f"--json={output}", *options],
        env={**os.environ, "KDCOURSE_DATA": os.environ.get("KDCOURSE_DATA", "") if options else ""},
        text=True,
        capture_output=True,
    )
    assert process.returncode == 0, process.stdout + process.stderr
    assert "ratio" in process.stdout and "torch" in process.stdout
    return json.loads(output.read_text())


def check_loading(result: dict, images: int) -> None:
    store, files = result["held"]["store"], result["held"]["files"]
    assert store["images"] == files["images"] == images
    assert store["mean"] == pytest.approx(files["mean"], abs=1e-5)
    assert store["weighted"] == pytest.approx(files["weighted"], rel=1e-4)  # in the same order
    assert result["ratio"]["lowest"] <= result["ratio"]["median"] <= result["ratio"]["highest"]


def test_loading_reads_the_same_pixels_on_both_sides(tmp_path):
    result = run("loading.py", tmp_path / "loading.json")
    check_loading(result, images=40)  # of 60 tiles in ten classes, 4 + 1 + 1 of each class
    assert result["shape"] == [13, 16, 16] and result["machine"]["cores"] >= 1


def test_training_shows_both_sides_the_same_images(tmp_path):
    result = run("training.py", tmp_path / "training.json")
    assert list(result["seen"]) == ["fit", "plain, workers 0", "plain, workers 2"]
    assert all(seen == [40, 40] for seen in result["seen"].values())
    for side, losses in result["loss"].items():  # the same weights and batches; bfloat16 rounds
        assert losses[0] == pytest.approx(result["loss"]["fit"][0], rel=0.05), side
    assert all(
        times["median"] > 0
        for key in ("second_epoch", "whole_run")
        for times in result[key].values()
    )


def test_distillation_shows_all_sides_the_same_images(tmp_path):
    result = run("distillation.py", tmp_path / "distillation.json")
    assert set(result["seen"].values()) == {40} and len(result["seen"]) == 4
    live, cached = result["loss"]["live teacher"], result["loss"]["cached teacher"]
    assert cached[0] == pytest.approx(
        live[0], rel=0.05
    )  # the live teacher answers in bfloat16 where there is any
    assert all(times["median"] > 0 for times in result["epoch"].values())
    assert result["bytes_a_view"] > 40 * 10 * 2 and result["rounding_error"] < 0.01


def test_grading_gives_the_same_points_on_all_sides(tmp_path):
    if why := refusal():
        pytest.skip(f"no sandbox: {why}")
    result = run("grading.py", tmp_path / "grading.json")
    assert result["points"] > 0 and list(result["ratio"]) == [
        "sandbox, 1 at a time",
        "no sandbox, 1 at a time",
    ]
    assert all(memory["median"] > 500 for memory in result["memory"].values())


def test_grid_does_the_same_runs_on_all_sides(tmp_path, monkeypatch):
    pytest.importorskip("ray", reason="Ray is not installed: pip install 'kdcourse[cluster]'")
    monkeypatch.setenv(
        "RAY_AUTH_TOKEN", "0123456789abcdef" * 2
    )  # or Ray writes one to the home folder
    result = run("grid.py", tmp_path / "grid.json")  # which compares the accuracies itself
    assert (
        list(result["a_run"]) == ["in this process", "Local(2)", "Ray(2)"]
        and len(result["accuracies"]) == 4
    )
    assert all(
        result[key][side]["median"] > 0
        for key in ("first", "a_run")
        for side in ("Local(2)", "Ray(2)")
    )


def test_shipping_measures_all_files_alike(tmp_path):
    pytest.importorskip(
        "onnxruntime", reason="onnxruntime is not installed: pip install 'kdcourse[deploy]'"
    )
    result = run(
        "shipping.py", tmp_path / "shipping.json"
    )  # which compares the answers of files itself
    assert [row["network"] for row in result["table"]] == ["teacher", "student", "int8 student"]
    assert all(row["median_ms"] > 0 and row["own_mb"] > 0 for row in result["table"])
    assert set(result["same"]) == {"teacher", "student"} and min(result["same"].values()) >= 99.9
    assert result["start"]["median"] > 0 and all(
        its["pace"]["median"] > 0 for its in result["maps"].values()
    )


@pytest.mark.real_data
def test_loading_of_real_tiles(tmp_path, real_data):
    result = run("loading.py", tmp_path / "loading.json", "--dataset=eurosat_ms")
    check_loading(result, images=result["held"]["files"]["images"])
