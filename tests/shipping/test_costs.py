"""What files cost: each measured alone in a fresh process, and judged by its own answers."""

import subprocess
import sys

import numpy as np
import pandas as pd
import pytest

from kdcourse.common.errors import DataError, UsageError
from kdcourse.models import cost
from kdcourse.shipping import costs as module
from kdcourse.shipping.costs import costs, in_fresh_process, on_front
from shipping import ships

pytest.importorskip("onnx")
pytest.importorskip("onnxscript")
pytest.importorskip("onnxruntime")


def test_a_row_a_file():
    files = {"float": ships.exported().path, "int8": ships.exported(int8=True).path}
    table = costs(files, ships.scenes().test, rounds=1).set_index("network")
    network, _ = ships.trained()
    expected = cost(network, (13, 32, 32), latency=False)
    for name, path in files.items():
        row = table.loc[name]
        assert row["size"] == path.stat().st_size
        assert (row.parameters, row.macs, row.threads) == (expected.parameters, expected.macs, 1)
        assert (
            0 < row.q1_ms <= row.median_ms <= row.q3_ms <= row.p95_ms and row.images_per_second > 0
        )
        assert 0 < row.own_mb < row.memory_mb < 1000
        assert row.low <= row.accuracy <= row.high and 0 <= row.ece <= 100
    assert table.accuracy["float"] == pytest.approx(ships.exported().float32.file)
    assert table.accuracy["int8"] == pytest.approx(ships.exported(int8=True).int8.file)


def test_the_process_is_fresh():
    """What this process holds is not counted."""
    held = np.ones(60_000_000)  # 480 MB
    found = in_fresh_process(ships.exported().path, batch_size=2)
    assert set(found) == {"single", "batches", "memory_mb", "own_mb"}
    assert found["memory_mb"] < held.nbytes / 1e6
    assert min(map(len, (found["single"], found["batches"]))) >= 5


def test_what_is_measured_needs_no_torch():
    code = "import sys, kdcourse.shipping.costs; print('torch' in sys.modules)"
    line = [sys.executable, "-c", code]
    assert subprocess.run(line, text=True, capture_output=True, check=True).stdout == "False\n"


def test_files_take_turns_and_those_of_one_architecture_share_their_timings(monkeypatch):
    float32, int8 = ships.exported().path, ships.exported(int8=True).path
    ms, asked = iter([1, 9, 50, 5, 3, 60]), []

    def fake(path, threads, batch_size):
        asked.append((path, threads, batch_size))
        return {"single": [next(ms) / 1000] * 2, "batches": [0.1] * 2} | dict.fromkeys(
            ("memory_mb", "own_mb"), 1.0
        )

    monkeypatch.setattr(module, "in_fresh_process", fake)
    monkeypatch.setattr(module, "_architecture", lambda model: str(model.name == str(int8)))
    files = {"a": float32, "b": float32, "int8": int8}
    table = costs(files, ships.scenes().test, threads=2, batch_size=8, rounds=2)
    assert asked == 2 * [(path, 2, 8) for path in files.values()]
    assert list(table.median_ms) == pytest.approx([4, 4, 55])  # of 1, 9, 5 and 3; of 50 and 60
    assert list(table.q1_ms) == pytest.approx([2.5, 2.5, 50])
    assert list(table.images_per_second) == pytest.approx([80, 80, 80])
    monkeypatch.undo()
    models = [module.Model(path) for path in (float32, float32, int8)]
    first, second, third = map(module._architecture, models)
    assert first == second != third


def test_the_front():
    rows = pd.DataFrame(
        {"accuracy": [80, 90, 80, 85, 90], "kb": [1, 9, 2, 3, 9], "ms": [1, 5, 1, 6, 5]}
    )
    assert on_front(rows, ["kb", "ms"]) == [
        True,
        True,
        False,
        True,
        True,
    ]  # the two that are equal both stay
    assert on_front(rows, ["ms"]) == [True, True, True, False, True]


def test_what_cannot_be_measured(tmp_path):
    (tmp_path / "m.onnx").write_text("no network")
    with pytest.raises(DataError, match="m.onnx: could not be measured .*not an ONNX file"):
        in_fresh_process(tmp_path / "m.onnx")
    with pytest.raises(DataError, match="not an ONNX file"):
        costs({"m": tmp_path / "m.onnx"}, ships.scenes().test)
    for arguments in ({"threads": 0}, {"batch_size": 0}, {"rounds": 0}):
        with pytest.raises(UsageError, match=f"{next(iter(arguments))}=0"):
            costs({"float": ships.exported().path}, ships.scenes().test, **arguments)
    with pytest.raises(UsageError, match="0 files"):
        costs({}, ships.scenes().test)
