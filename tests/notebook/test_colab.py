"""The setup on Colab, with a stand-in for Colab's own package. A whole notebook there:
tests/colab.
"""

import sys
from types import ModuleType

import pytest
from IPython.core.error import StdinNotImplementedError

from kdcourse.checking import progress
from kdcourse.common.paths import work_dir
from kdcourse.notebook import colab


@pytest.fixture
def drive(tmp_path, monkeypatch):
    """As on Colab: its package is imported, Drive can be mounted. The folder where it then is."""
    google, package = ModuleType("google"), ModuleType("google.colab")
    package.drive = ModuleType("google.colab.drive")
    package.drive.mount = lambda place: (tmp_path / "drive/MyDrive").mkdir(
        parents=True, exist_ok=True
    )
    monkeypatch.setitem(sys.modules, "google", google)
    monkeypatch.setitem(sys.modules, "google.colab", package)
    monkeypatch.setattr(colab, "DRIVE", tmp_path / "drive")
    monkeypatch.setenv("KDCOURSE_WORK", str(tmp_path / "work"))
    monkeypatch.setenv(
        "KDCOURSE_PROGRESS", ""
    )  # so that what `setup` makes of it ends with the test
    return tmp_path / "drive/MyDrive"


def answer(monkeypatch, *answers):
    left = list(answers)
    monkeypatch.setattr("builtins.input", lambda question: left.pop(0))
    return left


def test_elsewhere_nothing_happens(monkeypatch, tmp_path, capsys):
    monkeypatch.setenv("KDCOURSE_WORK", str(tmp_path))
    monkeypatch.setattr("builtins.input", lambda question: pytest.fail("asked"))
    assert "google.colab" not in sys.modules
    colab.setup()
    assert list(tmp_path.iterdir()) == [] and capsys.readouterr().out == ""


def test_a_network_outlives_the_machine(drive, monkeypatch, tmp_path, capsys):
    models = work_dir() / "models"
    models.mkdir(parents=True)
    (models / "before.pt").write_text("trained before the question was answered")
    left = answer(monkeypatch, "y")
    colab.setup()
    (models / "after.pt").write_text("trained after")
    assert {path.name for path in (drive / "kdcourse/models").iterdir()} == {
        "before.pt",
        "after.pt",
    }
    colab.setup()  # not asked again
    assert left == [] and str(drive / "kdcourse/models") in capsys.readouterr().out

    monkeypatch.setenv("KDCOURSE_WORK", str(tmp_path / "another machine"))
    answer(monkeypatch, "Yes")
    colab.setup()
    assert (
        work_dir() / "models/before.pt"
    ).read_text() == "trained before the question was answered"


def test_what_was_solved_outlives_the_machine(drive, monkeypatch, tmp_path):
    progress.note("ex01.moisture_index", tries=1, right=True)
    answer(monkeypatch, "y", "y")
    colab.setup()
    assert (
        progress.file() == drive / "kdcourse/progress.json"
        and "ex01.moisture_index" in progress.read()
    )

    monkeypatch.setenv("KDCOURSE_WORK", str(tmp_path / "another machine"))
    monkeypatch.setenv("KDCOURSE_PROGRESS", "")
    assert progress.read() == {}
    colab.setup()
    assert "ex01.moisture_index" in progress.read()


def test_a_file_on_drive_is_not_overwritten(drive, monkeypatch):
    for folder, content in ((work_dir() / "models", "short"), (drive / "kdcourse/models", "long")):
        folder.mkdir(parents=True)
        (folder / "same.pt").write_text(content)
    answer(monkeypatch, "y")
    colab.setup()
    assert (work_dir() / "models/same.pt").read_text() == "long"


def test_no_is_no(drive, monkeypatch, capsys):
    answer(monkeypatch, "")
    colab.setup()
    assert not drive.exists() and not (work_dir() / "models").is_symlink()
    assert "stay on this machine" in capsys.readouterr().out


def test_a_run_without_a_page_goes_on(drive, monkeypatch):
    def nobody(question):
        raise StdinNotImplementedError("no frontend")

    monkeypatch.setattr("builtins.input", nobody)
    colab.setup()
    assert not drive.exists()
