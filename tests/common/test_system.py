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


def test_calls_take_turns():
    calls = []
    taken = system.times_in_turns(
        {name: lambda name=name: calls.append(name) for name in "ab"}, rounds=2, seconds=0
    )
    assert calls == [*"aabbaabb"]  # of each turn the first call is not timed
    assert {name: len(seconds) for name, seconds in taken.items()} == {"a": 2, "b": 2}


def test_latency_by_hand():
    latency = system.Latency.of([0.005, 0.001, 0.003, 0.002, 0.004])
    assert (latency.median, latency.q1, latency.q3) == pytest.approx((3, 2, 4))
    assert latency.p95 == pytest.approx(4.8)
    assert str(latency) == "3 (2–4)"
