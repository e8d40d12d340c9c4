"""How long a notebook would take, from the first steps of each training."""

import json
from pathlib import Path
from types import SimpleNamespace

import nbformat
import numpy as np
import pytest
from click.testing import CliRunner
from nbformat.v4 import new_code_cell, new_notebook

from kdcourse.cli import main
from kdcourse.common.paths import work_dir
from kdcourse.distillation import CrossEntropy
from kdcourse.models import thin_resnet
from kdcourse.running import rehearse
from kdcourse.training import fit
from kdcourse.training.epoch import set_epoch_runner

TRAINING = """
from functools import partial
from kdcourse.data import load
from kdcourse.distillation import CrossEntropy
from kdcourse.models import thin_resnet
from kdcourse.training import Recipe, load_or_train
data = load("digits", limit=400)
recipe = Recipe(partial(thin_resnet, channels=1, classes=10, width=8), CrossEntropy, epochs=EPOCHS,
                batch_size=8)
model, history = load_or_train(recipe, data)
print(len(data.train), len(history.records), history.records[-1]["val_accuracy"])
"""


@pytest.fixture
def notebook(tmp_path) -> Path:
    cells = [
        new_code_cell("profile = None\nEPOCHS = 50", metadata={"tags": ["parameters"]}),
        new_code_cell(TRAINING),
    ]
    python = {"kernelspec": {"name": "python3", "display_name": "Python 3", "language": "python"}}
    path = tmp_path / "long.ipynb"
    nbformat.write(new_notebook(metadata=python, cells=cells), path)
    return path


def test_a_few_steps_are_done_and_the_rest_is_foreseen(notebook, no_data):
    before = sorted(work_dir().rglob("*"))
    [found] = rehearse.rehearse([str(notebook)], profile="smoke")
    assert found.outcome.status == "done", found.outcome.error
    # 400 digits, 320 of them or about as many to train: 40 steps an epoch
    steps = found.done + found.left_out
    assert 50 * found.done == steps and 30 <= found.done <= 50  # one epoch
    assert found.seconds > found.outcome.seconds
    assert (
        sorted(work_dir().rglob("*")) == before
    )  # such networks must never be taken for trained ones


@pytest.mark.slow
def test_what_an_earlier_notebook_trained_is_there(notebook, no_data):
    later = notebook.with_name("later.ipynb")
    later.write_bytes(notebook.read_bytes())
    first, second = rehearse.rehearse(
        [str(notebook), str(later)], profile="smoke", parameters={"EPOCHS": 3}
    )
    assert first.left_out == 2 * first.done and (second.done, second.left_out) == (0, 0)
    assert second.seconds == second.outcome.seconds


@pytest.fixture
def rehearsal(tmp_path, monkeypatch):
    """In this process, with a clock that goes a second at each look."""
    monkeypatch.setattr(rehearse, "STEPS", 20)
    ticks = iter(range(10**6))
    monkeypatch.setattr(rehearse, "_now", lambda: next(ticks))
    yield rehearse.Rehearsal(str(tmp_path / "totals.json"))
    set_epoch_runner(None)


def test_seconds_are_those_of_a_step_times_the_steps_left_out(rehearsal, make_data):
    """The clock says: 1 s for steps 6 to 20, so 1/15 s a step; 1 s for an epoch's validation."""
    data = make_data(count=600)
    student = thin_resnet(8, 8, channels=3, classes=3)
    history = fit(student, data, CrossEntropy(), epochs=4, batch_size=8, progress=False)
    steps = -(-len(data.train) // 8)
    assert steps > rehearse.STEPS and len(history.records) == 4
    totals = json.loads(rehearsal.file.read_text())
    assert totals["done"] == rehearse.STEPS and totals["left_out"] == 4 * steps - rehearse.STEPS
    assert totals["seconds"] == pytest.approx((4 * steps - rehearse.STEPS) / 15 + 3)
    for name in ("loss", "val_accuracy", "train_accuracy"):
        values = [record[name] for record in history.records]
        assert values == values[:1] * 4 and np.isfinite(values[0])


def test_short_epochs_are_done_whole_once(rehearsal, make_data):
    data = make_data(count=60)
    fit(
        thin_resnet(8, 8, channels=3, classes=3),
        data,
        CrossEntropy(),
        epochs=3,
        batch_size=64,
        progress=False,
    )
    totals = json.loads(rehearsal.file.read_text())
    assert (totals["done"], totals["left_out"]) == (1, 2) and totals["seconds"] == pytest.approx(
        2 * 1 + 2
    )


@pytest.mark.slow
def test_the_command_with_a_notebook(notebook, no_data):
    result = CliRunner().invoke(
        main, ["rehearse", str(notebook), "--profile=smoke", "--param", "EPOCHS=2"]
    )
    assert result.exit_code == 0, result.output
    first, last = result.output.splitlines()
    assert first.startswith("long") and " of " in first and "training steps" in first
    assert last.startswith("Together") and "min" in last

    content = nbformat.read(notebook, as_version=4)
    content.cells.append(new_code_cell("raise ValueError('no such luck')"))
    nbformat.write(content, notebook)
    result = CliRunner().invoke(
        main, ["rehearse", str(notebook), "--profile=smoke", "--param", "EPOCHS=2"]
    )
    assert result.exit_code == 1 and "failed: ValueError: no such luck" in result.output
    assert "Together" not in result.output


def test_the_command_adds_up_the_estimates_and_names_what_failed(monkeypatch):
    def outcome(name, status="done", error=None):
        return SimpleNamespace(name=name, status=status, error=error, seconds=2.0)

    first = rehearse.Estimate(outcome("first"), seconds=90.0, done=10, left_out=990)
    second = rehearse.Estimate(outcome("second"), seconds=30.0, done=5, left_out=0)
    monkeypatch.setattr(rehearse, "rehearse", lambda *names, **options: iter([first, second]))
    result = CliRunner().invoke(main, ["rehearse"])
    assert result.exit_code == 0, result.output
    lines = result.output.splitlines()
    assert "1.5 min" in lines[0] and "10 of 1,000 training steps" in lines[0]
    assert lines[2].startswith("Together") and "2.0 min" in lines[2]

    broken = rehearse.Estimate(outcome("broken", "failed", "ValueError: no such luck"), 3.0, 0, 0)
    monkeypatch.setattr(rehearse, "rehearse", lambda *names, **options: iter([broken, second]))
    result = CliRunner().invoke(main, ["rehearse"])
    assert result.exit_code == 1 and "failed: ValueError: no such luck" in result.output
    assert "Together" not in result.output
