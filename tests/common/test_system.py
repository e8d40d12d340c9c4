import subprocess
import sys

import pytest

from kdcourse.common import system


def test_the_peak_stays_when_memory_is_let_go():
    code = (
        "from kdcourse.common.system import peak_memory\n"
        "before = peak_memory(); held = b'x' * 200_000_000; del held; print(peak_memory() - before)"
    )
    grown = float(
        subprocess.run(
            [sys.executable, "-c", code], text=True, capture_output=True, check=True
        ).stdout
    )
    assert 190 < grown < 260


def test_calls_warm_up_and_fill_the_time(monkeypatch):
    clock = iter(range(0, 1000, 2))
    monkeypatch.setattr(system.time, "perf_counter", lambda: next(clock))
    calls = []
    assert system.times(lambda: calls.append(1), warm_up=3, runs=2, seconds=0.5) == pytest.approx(
        [2, 2]
    )
    assert len(calls) == 3 + 2
    assert len(system.times(lambda: None, warm_up=0, runs=2, seconds=9)) == 5
