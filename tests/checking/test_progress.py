"""Progress: what it keeps, damaged files, several kernels at once."""

import subprocess
import sys

import pytest
from click.testing import CliRunner

from kdcourse.checking import progress
from kdcourse.cli import main
from kdcourse.common.errors import DataWarning
from kdcourse.exercises import tasks


@pytest.fixture(autouse=True)
def folder(monkeypatch, tmp_path):
    monkeypatch.setenv("KDCOURSE_WORK", str(tmp_path / "work"))
    return tmp_path / "work"


def test_tries_add_up_and_nothing_goes_back():
    progress.note("ex04.a", tries=1, hints=2)
    progress.note("ex04.a", tries=1, right=True, hints=1)
    progress.note("ex04.a", tries=1)
    known = progress.read()["ex04.a"]
    assert (known["tries"], known["hints"], known["right"], known["solution"]) == (
        3,
        2,
        True,
        False,
    )
    assert known["when"]


@pytest.mark.parametrize(
    "content",
    [
        "",
        "{",
        "[]",
        '{"format": 1}',
        '{"format": 99, "tasks": {}}',
        '{"format": 1, "tasks": {"a": {"tries": "x"}}}',
    ],
)
def test_a_damaged_file_is_set_aside(folder, content):
    folder.mkdir()
    progress.file().write_text(content)
    assert progress.read() == {}
    known, trouble = progress.told()
    assert known == {} and str(progress.file()) in trouble
    assert trouble in CliRunner().invoke(main, ["progress"]).output
    with pytest.warns(DataWarning, match="damaged"):
        progress.note("ex04.a", tries=1)
    assert progress.read()["ex04.a"]["tries"] == 1
    (aside,) = folder.glob("progress.damaged-*.json")
    assert aside.read_text() == content


def test_another_place_can_be_named(monkeypatch, tmp_path):
    monkeypatch.setenv("KDCOURSE_PROGRESS", str(tmp_path / "elsewhere" / "mine.json"))
    progress.note("ex04.a", right=True)
    assert (tmp_path / "elsewhere" / "mine.json").is_file() and progress.told() == (
        progress.read(),
        "",
    )


def test_no_byte_that_is_no_text_stops_it(folder):
    folder.mkdir()
    progress.file().write_bytes(b"\xff\xfe\x00")
    assert progress.read() == {}


def test_two_kernels_at_once_lose_nothing(folder):
    code = """if True:
        import runpy, sys
        note = runpy.run_path(sys.argv[1])["note"]  # by path: importing the package takes seconds
        for i in range(40):
            note("ex04.both", tries=1)
            note(f"ex04.{sys.argv[2]}{i}", tries=1)
    """
    kernels = [
        subprocess.Popen([sys.executable, "-c", code, progress.__file__, name]) for name in "ab"
    ]
    assert [kernel.wait(120) for kernel in kernels] == [0, 0]
    known = progress.read()
    assert known["ex04.both"]["tries"] == 80 and len(known) == 81
    assert {path.name for path in folder.iterdir()} == {"progress.json", "progress.lock"}


def test_the_command_shows_and_forgets():
    progress.note("ex04.soft_target_loss", tries=3, hints=1, right=True)
    progress.note("quiz04.temperature", right=True)
    shown = CliRunner().invoke(main, ["progress"]).output
    assert (
        f"ex04: 1 of {len(tasks('ex04'))} tasks right" in shown and "3 tries, 1 of 3 hints" in shown
    )
    assert "quiz 04: 1 of 4 questions right" in shown and "quiz 03: 0 of 3" in shown
    CliRunner().invoke(main, ["progress", "--reset"], input="n\n")
    assert progress.read()
    CliRunner().invoke(main, ["progress", "--reset"], input="y\n")
    assert progress.read() == {}
    assert CliRunner().invoke(main, ["progress"]).exit_code == 0
