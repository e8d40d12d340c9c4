"""The doctor: each line ok, or what to do; not usable only if the course cannot run."""

import re
import shutil
from collections import namedtuple
from importlib.metadata import version
from pathlib import Path

import psutil
import pytest
from packaging.requirements import Requirement

from kdcourse.running import doctor as module
from kdcourse.running.doctor import Check, Report, doctor


def test_here_all_is_well(no_data):
    report = doctor()
    assert report.usable
    names = [check.name for check in report.checks]
    for name in (
        "Python",
        "torch",
        "papermill",
        "Cores",
        "Memory",
        "GPU",
        "bfloat16",
        "Work folder",
        "Disk",
        "Data root",
    ):
        assert name in names
    assert all(check.ok or check.advice for check in report.checks), (
        "what is not ok says what to do"
    )


def test_versions_are_compared_with_the_tested_ones():
    tested = module.tested_versions()
    assert tested["torch"] == version("torch") and "colorama" not in tested, (
        "markers hold on this machine"
    )
    check = module.package_check(Requirement("numpy>=1"), "1.2.3", core=True)
    assert check.ok and "(tested with 1.2.3)" in check.found


@pytest.mark.parametrize(
    "line, core, found",
    [
        ("no-such-package>=2", True, "not installed"),
        ("no-such-package>=2", False, "not installed"),
        ("numpy>=99", True, "too old"),
    ],
)
def test_a_missing_or_old_package(line, core, found):
    check = module.package_check(Requirement(line), None, core)
    assert not check.ok and check.fatal == core
    assert found in check.found and "pip install" in check.advice and line in check.advice


def test_a_work_folder_that_cannot_be_written(tmp_path):
    (tmp_path / "file").write_text("")
    check = module.writable("Work folder", tmp_path / "file" / "work")
    assert not check.ok and check.fatal and "KDCOURSE_WORK" in check.advice


def test_little_disk_and_memory(monkeypatch):
    usage = namedtuple("usage", "total used free")
    monkeypatch.setattr(shutil, "disk_usage", lambda path: usage(100, 99, 1))
    assert not module.disk().ok
    memory = namedtuple("memory", "total available")
    monkeypatch.setattr(psutil, "virtual_memory", lambda: memory(4 * module.GIB, module.GIB))
    check = module.memory()
    assert not check.ok and not check.fatal and "close other programs" in check.advice


def test_a_data_root_that_does_not_exist_makes_the_course_unusable(monkeypatch):
    monkeypatch.setenv("KDCOURSE_DATA", "/nowhere/at/all")
    report = doctor()
    assert not report.usable and "/nowhere/at/all" in str(report)


def test_data_that_are_here_and_not(tmp_path, monkeypatch):
    (tmp_path / "EuroSAT_MS").mkdir()
    monkeypatch.setenv("KDCOURSE_DATA", str(tmp_path))
    found = {check.name: check.found for check in module.data()}
    assert found["Data: eurosat_ms"].endswith("EuroSAT_MS")
    assert found["Data: mnist"] == "not here" and "kdcourse data info" in found["More data"]


def test_paths_are_said_as_from_the_checkout_or_home(monkeypatch, tmp_path):
    monkeypatch.setattr(module, "checkout", lambda: tmp_path / "course")
    monkeypatch.setattr(Path, "home", lambda: tmp_path)
    assert module.short(tmp_path / "course" / "data") == "data"
    assert module.short(tmp_path / "elsewhere") == "~/elsewhere"
    assert module.short(Path("/srv/data")) == "/srv/data"


def test_the_table_says_in_words_what_is_wrong_and_escapes():
    report = Report(
        (
            Check("A", True, "<b>"),
            Check("B", False, "old", "renew it"),
            Check("C", False, "gone", "get it", True),
        )
    )
    page = report._repr_html_()
    assert (
        "&lt;b&gt;" in page and "✓ ok" in page and "! look at this" in page and "✗ needed" in page
    )
    assert page.count("What to do:") == 2 and "renew it" in page and "get it" in page
    assert "✗ Not ready" in page and "Not ready" in str(report) and " id=" not in page
    assert (
        "! Ready." in Report(report.checks[:2])._repr_html_()
        and "✓ Ready." in Report(report.checks[:1])._repr_html_()
    )
    assert repr(report) == str(report), "as the terminal prints it"
    assert str(report).splitlines()[:4] == [
        "ok  A  <b>",
        "!   B  old",
        "       renew it",
        "!   C  gone",
    ]
    assert Report(report.checks[:2]).verdict == "Ready. 1 thing to look at."


def test_what_is_well_shares_a_row_and_what_is_not_has_its_own():
    well = [Check(name, True, "1.0", group="Packages") for name in "ab"]
    page = Report((*well, Check("c", False, "old", "renew it", True, "Packages")))._repr_html_()
    assert page.count("<tr") == 3 and "a 1.0, b 1.0" in page and ">c</th>" in page


def luminance(colour: str) -> float:
    """Relative luminance by WCAG 2. colour: #rrggbb."""
    parts = [int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5)]
    linear = [
        part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts
    ]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


def test_verdicts_can_be_read_and_told_apart_without_colour():
    signs = {look[0] for look in module.LOOKS.values()}
    assert len(signs) == len(module.LOOKS)
    for _, _, style in module.LOOKS.values():
        paper, ink = (luminance(colour) for colour in re.findall("#[0-9a-f]{6}", style))
        assert (max(paper, ink) + 0.05) / (min(paper, ink) + 0.05) >= 4.5
