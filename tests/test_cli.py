"""The command line as a user meets it: help, statuses, one-line errors. What `run` does: tests/course/test_run.py."""

import json
import subprocess
import sys
from importlib.metadata import version

import pytest
from click.testing import CliRunner

from kdcourse.cli import main
from kdcourse.data.catalog import CATALOG

COMMANDS = ["", "run", "doctor", "data", "data list", "data info", "data get", "data make", "data make scenes"]


@pytest.fixture
def call(no_data):
    """`call("data list")`: what click's runner says of it."""
    return lambda line: CliRunner().invoke(main, line.split())


@pytest.mark.parametrize("command", COMMANDS)
def test_help_on_all(call, command):
    result = call(f"{command} --help")
    assert result.exit_code == 0 and result.output.startswith("Usage:")
    assert "Example" in result.output or command in ("data list", "data make")


def test_help_is_there_before_pytorch_is():
    code = (
        "import sys\n"
        "from kdcourse.cli import main\n"
        "try: main(['--help'])\n"
        "except SystemExit: pass\n"
        "heavy = {'torch', 'numpy', 'pandas', 'matplotlib', 'papermill', 'rasterio'} & set(sys.modules)\n"
        "sys.exit(f'imported: {heavy}' if heavy else 0)"
    )
    done = subprocess.run([sys.executable, "-c", code], text=True, capture_output=True)
    assert done.returncode == 0, done.stderr


def test_version(call):
    assert call("--version").output.strip() == f"kdcourse, version {version('kdcourse')}"


# --- errors ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "line, words",
    [
        ("data info eurosat", "unknown data set 'eurosat'. Did you mean eurosat_"),
        ("data get cifar", "unknown data set 'cifar'"),
        ("data get digits", "comes with scikit-learn"),
        ("data make scenes --count 0", "count=0"),
        ("data make scenes --count 3 --difficulty 7", "difficulty=7"),
        ("run --profile fast", "unknown profile 'fast'. Known: cpu, gpu, smoke"),
        ("run nowhere.ipynb", "nowhere.ipynb: no such file"),
        ("run --param limit", "expected NAME=VALUE"),
        ("run --jobs 0", "must be positive"),
    ],
)
def test_an_error_is_one_line_and_status_2(call, line, words):
    result = call(line)
    assert result.exit_code == 2
    assert result.output.startswith("Error: ") and words in result.output
    assert len(result.output.splitlines()) == 1 and "Traceback" not in result.output


def test_a_data_root_that_does_not_exist(call, monkeypatch):
    monkeypatch.setenv("KDCOURSE_DATA", "/nowhere/at/all")
    result = call("data list")
    assert result.exit_code == 2 and "/nowhere/at/all" in result.output


def test_debug_shows_the_traceback():
    line = [sys.executable, "-m", "kdcourse.cli", "--debug", "run", "--profile", "fast"]
    done = subprocess.run(line, text=True, capture_output=True)
    assert done.returncode != 0 and "Traceback" in done.stderr and "UsageError" in done.stderr


def test_a_data_set_that_is_not_here_says_how_to_get_it(call, tmp_path, monkeypatch):
    from kdcourse.course import run

    monkeypatch.setenv("KDCOURSE_DATA", str(tmp_path))
    monkeypatch.setattr(run, "select", lambda names: [])
    result = call("run --dataset eurosat_ms")
    assert result.exit_code == 2 and "kdcourse data get eurosat_ms" in result.output
    result = call("run --dataset eurosat_mss")
    assert result.exit_code == 2 and "Did you mean eurosat_ms" in result.output


# --- data ------------------------------------------------------------------------------------------------------------


def test_list_has_every_data_set_and_says_what_is_here(call, tmp_path, monkeypatch):
    tile = tmp_path / "EuroSAT_MS" / "Forest" / "Forest_1.tif"
    tile.parent.mkdir(parents=True)
    tile.write_bytes(b"x" * 3000)
    (tmp_path / "EuroSAT_RGB.zip").write_bytes(b"not opened by a mere list")
    monkeypatch.setenv("KDCOURSE_DATA", str(tmp_path))
    lines = {line.split()[0]: line for line in call("data list").output.splitlines() if line}
    assert set(CATALOG) <= set(lines)
    assert str(tmp_path / "EuroSAT_MS") in lines["eurosat_ms"]
    assert "unpacked when first used" in lines["eurosat_rgb"]
    assert lines["mnist"].split()[3] == "no" and "built in" in lines["scenes"]
    assert "(1 files, 0.0 MB)" in call("data info eurosat_ms").output


@pytest.mark.parametrize("name", CATALOG)
def test_info(call, tmp_path, monkeypatch, name):
    monkeypatch.setenv("KDCOURSE_DATA", str(tmp_path))
    output = call(f"data info {name}").output
    for label in ("Title:", "Classes:", "Source:", "Licence:", "Layout:", "Here:"):
        assert label in output


def test_what_the_system_refuses_is_one_line(call, monkeypatch):
    def closed(*_):
        raise PermissionError(13, "Permission denied", "/closed")

    monkeypatch.setattr("kdcourse.data.fetch.get", closed)
    result = call("data get mnist")
    assert result.exit_code == 2
    assert result.output == "Error: /closed: Permission denied. `kdcourse --debug …` shows where.\n"
    assert isinstance(call("--debug data get mnist").exception, PermissionError)


def test_make_scenes(call, tmp_path):
    result = call(f"data make scenes --count 10 --jobs 1 --output {tmp_path / 'made'}")
    assert result.exit_code == 0, result.output
    assert len(list((tmp_path / "made").glob("*/*.tif"))) == 10


@pytest.mark.real_data
def test_real_data_are_found(monkeypatch, real_data):
    monkeypatch.setenv("KDCOURSE_DATA", str(real_data))
    assert "(810 files" in CliRunner().invoke(main, ["data", "info", "eurosat_ms"]).output


# --- doctor ----------------------------------------------------------------------------------------------------------


def test_doctor_as_text_and_as_json(call):
    text = call("doctor")
    assert text.exit_code == 0 and "torch" in text.output and "Ready." in text.output
    report = json.loads(call("doctor --json").output)
    assert report["usable"] and {"name", "ok", "found", "advice", "fatal"} == set(report["checks"][0])
