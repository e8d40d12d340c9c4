"""Progress bars: seen for long work, gone after it, and nowhere where nobody looks."""

import time

import pytest
from torch import nn

from kdcourse.common.progress_bar import bar
from kdcourse.distillation import CrossEntropy
from kdcourse.training import fit


@pytest.fixture(autouse=True)
def seen(monkeypatch):
    monkeypatch.delenv("TQDM_DISABLE", raising=False)


def work(steps: int, seconds: float, shown: bool = True) -> None:
    with bar(total=steps, shown=shown, desc="work") as each:
        for _ in range(steps):
            time.sleep(seconds)
            each.update()


def test_long_work_shows_its_bar_and_takes_it_away(capsys):
    work(8, 0.2)
    written = capsys.readouterr().err
    assert "work:" in written and "/8 [" in written
    assert not written.split("\r")[-1].strip() and not written.split("\r")[-2].strip()


@pytest.mark.parametrize("shown, variable", [(False, None), (True, "1")])
def test_none_where_it_is_not_wanted(capsys, monkeypatch, shown, variable):
    if variable:
        monkeypatch.setenv("TQDM_DISABLE", variable)
    work(8, 0.2, shown)
    assert capsys.readouterr().err == ""


def test_none_for_short_work(capsys, make_data, monkeypatch):
    work(3, 0.001)
    monkeypatch.setattr(
        "time.time", lambda: 0.0
    )  # what tqdm looks at: however slow this machine is now
    fit(nn.Sequential(nn.Flatten(), nn.Linear(192, 3)), make_data(), CrossEntropy(), epochs=3)
    assert capsys.readouterr().err == ""
