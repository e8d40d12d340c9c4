"""The command line as a user meets it: help, statuses, one-line errors. What `run` does:
tests/running/test_run.py.
"""

import json
import subprocess
import sys
from importlib.metadata import version

import pytest
from click.testing import CliRunner

from kdcourse.cli import main
from kdcourse.common.errors import UsageError
from kdcourse.common.profiles import profile
from kdcourse.data.datasets import CATALOG
from kdcourse.experiments import reproduce as reproduction
from kdcourse.experiments.eurosat import D1
from kdcourse.experiments.grid import RunOutcome, execute
from kdcourse.experiments.registry import EXPERIMENTS

NO_EXAMPLE = (("data", "list"), ("data", "make"))


@pytest.fixture
def call(no_data):
    """`call("data list")`: what click's runner says of it."""
    return lambda line: CliRunner().invoke(main, line.split())


def test_help_on_every_command(call):
    """Every command has a help with an example, groups and lists apart."""
    lines = [()]
    while lines:
        line, command = lines.pop(), main
        for name in line:
            command = command.commands[name]
        lines += [(*line, name) for name in getattr(command, "commands", ())]
        result = call(" ".join((*line, "--help")))
        assert result.exit_code == 0 and result.output.startswith("Usage:"), line
        assert "Example" in result.output or line in NO_EXAMPLE, line


def test_help_is_there_before_pytorch_is():
    code = (
        "import sys\n"
        "from kdcourse.cli import main\n"
        "try: main(['--help'])\n"
        "except SystemExit: pass\n"
        "heavy = {'torch', 'torchvision', "
        "'numpy', 'pandas', 'matplotlib', 'papermill', 'rasterio'} & "
        "set(sys.modules)\n"
        "sys.exit(f'imported: {heavy}' if heavy else 0)"
    )
    done = subprocess.run([sys.executable, "-c", code], text=True, capture_output=True)
    assert done.returncode == 0, done.stderr


def test_version(call):
    assert call("--version").output.strip() == f"kdcourse, version {version('kdcourse')}"


# --- errors ---------------------------------------------------------------------------------------


ERRORS = [
    ("data info eurosat", "unknown data set 'eurosat'. Did you mean eurosat_"),
    ("data get cifar", "unknown data set 'cifar'"),
    ("data get digits", "comes with scikit-learn"),
    ("data make scenes --count 0", "count=0"),
    ("data make scenes --count 3 --difficulty 7", "difficulty=7"),
    ("run --profile fast", "unknown profile 'fast'. Known: cpu, gpu, smoke"),
    ("run nowhere.ipynb", "nowhere.ipynb: no such file"),
    ("run --param limit", "expected NAME=VALUE"),
    ("run --jobs 0", "must be positive"),
    ("reproduce d5", "unknown experiment 'd5'. Did you mean d"),
    ("reproduce d4 --profile fast", "unknown profile 'fast'"),
    (
        "reproduce d4 --methods response,respons",
        "unknown method of d4 'respons'. Did you mean response",
    ),
    ("reproduce d4 --datasets digits,digts", "unknown data set 'digts'. Did you mean digits"),
    ("reproduce d4 --engine rya", "unknown engine 'rya'. Did you mean ray"),
    ("reproduce d4 --networks thick", "unknown networks 'thick'"),
    ("reproduce d4 --seeds 0", "seeds=0: expected 1 or more"),
    ("reproduce d4 --limit 0", "limit=0: expected 1"),
    ("reproduce d4 --jobs 0", "jobs=0: expected 1 or more"),
    ("reproduce d4 --threads 0", "threads=0: expected 1 or more"),
    ("report nowhere", "nowhere"),
    ("export nowhere.pt", "nowhere.pt: no such checkpoint"),
    ("export nowhere.pt --format onx", "unknown format 'onx'. Did you mean onnx"),
    ("export nowhere.pt --format pt2 --int8", "only ONNX files are quantised"),
    ("export nowhere.pt --int8 --no-check", "leave out --no-check"),
    ("predict nowhere.onnx tile.tif", "nowhere.onnx: No such file"),
]


def test_an_error_is_one_line_and_status_2(call):
    for line, words in ERRORS:
        result = call(line)
        assert result.exit_code == 2, line
        assert result.output.startswith("Error: ") and words in result.output, line
        assert len(result.output.splitlines()) == 1 and "Traceback" not in result.output, line


def test_a_data_root_that_does_not_exist(call, monkeypatch):
    monkeypatch.setenv("KDCOURSE_DATA", "/nowhere/at/all")
    result = call("data list")
    assert result.exit_code == 2 and "/nowhere/at/all" in result.output


def test_debug_shows_the_traceback():
    line = [sys.executable, "-m", "kdcourse.cli", "--debug", "run", "--profile", "fast"]
    done = subprocess.run(line, text=True, capture_output=True)
    assert done.returncode != 0 and "Traceback" in done.stderr and "UsageError" in done.stderr


def test_a_data_set_that_is_not_here_says_how_to_get_it(call, tmp_path, monkeypatch):
    from kdcourse.running import run

    monkeypatch.setenv("KDCOURSE_DATA", str(tmp_path))
    monkeypatch.setattr(run, "select", lambda names: [])
    result = call("run --dataset eurosat_ms")
    assert result.exit_code == 2 and "kdcourse data get eurosat_ms" in result.output
    result = call("run --dataset eurosat_mss")
    assert result.exit_code == 2 and "Did you mean eurosat_ms" in result.output


# --- reproduce ------------------------------------------------------------------------------------

TINY = (
    "reproduce d4 --profile smoke --datasets digits --seeds 1 --methods response --jobs 2 --output"
)


def test_help_of_reproduce_names_experiments_and_options(call):
    output = call("reproduce --help").output
    options = "profile datasets methods seeds limit networks output engine address jobs threads"
    for option in (*options.split(), "tensorboard"):
        assert f"--{option}" in output
    for name in EXPERIMENTS:
        assert f"\n    {name} " in output


def test_wrong_arguments_of_reproduce_leave_no_folder(call, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert (
        call("reproduce d4 --datasets digts").exit_code
        == call("reproduce d4 --profile smoke").exit_code
        == 2
    )
    assert list(tmp_path.iterdir()) == []


def test_a_data_set_that_reproduce_lacks_says_how_to_get_it(call, tmp_path, monkeypatch):
    monkeypatch.setenv("KDCOURSE_DATA", str(tmp_path))
    result = call(f"reproduce d4 --datasets usps --output {tmp_path / 'out'}")
    assert result.exit_code == 2 and "kdcourse data get usps" in result.output
    assert len(result.output.splitlines()) == 1 and not (tmp_path / "out").exists()


def test_what_reproduce_hands_on(call, tmp_path, monkeypatch):
    """Words of the command line → experiment, engine and folder."""
    calls = []

    def watched(*args, **options):
        calls.append(args)
        raise UsageError("enough")

    monkeypatch.setattr(reproduction, "reproduce", watched)
    monkeypatch.chdir(tmp_path)
    call(
        "reproduce d1 --profile smoke --datasets digits,usps, --methods labels --limit 30 --jobs 3 "
        "--threads 2"
    )
    call("reproduce d1 --profile gpu --output here")
    call("reproduce d1 --profile gpu --networks thin")
    (first, folder, engine), (second, here, _), (third, *_) = calls
    assert first == D1(
        profile("smoke"), datasets=("digits", "usps"), methods=("labels",), seeds=3, limit=30
    )
    assert (engine.jobs, engine.threads, str(folder), str(here)) == (3, 2, "output/d1", "here")
    assert (second.networks, third.networks, second.seeds, second.limit) == (
        "published",
        "thin",
        3,
        None,
    )


class InProcess:
    """An engine that does each run at once, here: a process of its own takes seconds to start."""

    free = True

    def __init__(self, jobs, threads):
        self.outcomes = []

    busy = property(lambda self: bool(self.outcomes))

    def submit(self, experiment, run, networks, needed):
        data = experiment.load(run.data)
        self.outcomes.append((run, execute(experiment, run, data, networks, needed)))

    def ended(self, timeout):
        while self.outcomes:
            yield self.outcomes.pop(0)

    def close(self):
        pass


def test_reproduce_trains_reports_and_ends_with_0_and_does_nothing_twice(
    call, tmp_path, monkeypatch
):
    pytest.importorskip("tensorboard")
    monkeypatch.setattr("kdcourse.experiments.engines.Local", InProcess)
    result = call(f"{TINY} {tmp_path} --tensorboard")
    assert result.exit_code == 0, result.output
    first, *_, last = result.output.splitlines()
    assert (
        first.startswith("digits--teacher--seed=0")
        and "[1 of 3 runs done, 2 left, 0 failed" in first
    )
    assert last == f"Report: {tmp_path / 'report.html'}" and (tmp_path / "report.csv").exists()
    runs = {path.stem for path in (tmp_path / "runs").iterdir()}
    assert {name.split("--")[1] for name in runs} == {"teacher", "scratch", "response"} and len(
        runs
    ) == 3
    events = list(tmp_path.glob("tensorboard/*/events.out.tfevents*"))
    assert {path.parent.name for path in events} == runs
    before = {path: path.stat().st_mtime_ns for path in tmp_path.glob("runs/*")}
    again = call(f"{TINY} {tmp_path}")
    assert again.exit_code == 0 and again.output.splitlines() == [
        "3 of 3 runs were done before",
        last,
    ]
    assert {path: path.stat().st_mtime_ns for path in tmp_path.glob("runs/*")} == before


def test_a_run_that_fails_gives_status_1_and_still_a_report(call, tmp_path, monkeypatch):
    class Nowhere(InProcess):
        """An engine whose runs all fail."""

        def submit(self, experiment, run, networks, needed):
            self.outcomes.append((run, RunOutcome(error="no machine")))

    monkeypatch.setattr("kdcourse.experiments.engines.Local", Nowhere)
    result = call(f"{TINY} {tmp_path}")
    assert result.exit_code == 1 and "failed: no machine" in result.output
    assert result.output.splitlines()[-1] == f"Report: {tmp_path / 'report.html'}"


def test_tensorboard_without_its_package(call, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "torch.utils.tensorboard", None)
    result = call(f"{TINY} {tmp_path / 'out'} --tensorboard")
    assert result.exit_code == 2 and not (tmp_path / "out").exists()
    assert (
        result.output
        == "Error: --tensorboard needs the package tensorboard: pip install tensorboard\n"
    )


# --- data -----------------------------------------------------------------------------------------


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


def test_info_on_every_data_set(call, tmp_path, monkeypatch):
    monkeypatch.setenv("KDCOURSE_DATA", str(tmp_path))
    for name in CATALOG:
        output = call(f"data info {name}").output
        for label in ("Title:", "Classes:", "Source:", "Licence:", "Layout:", "Here:"):
            assert label in output, name


def test_what_the_system_refuses_is_one_line(call, monkeypatch):
    def closed(*_):
        raise PermissionError(13, "Permission denied", "/closed")

    monkeypatch.setattr("kdcourse.data.download.get", closed)
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


# --- doctor ---------------------------------------------------------------------------------------


def test_doctor_as_text_and_as_json(call):
    text = call("doctor")
    assert text.exit_code == 0 and "torch" in text.output and "Ready." in text.output
    report = json.loads(call("doctor --json").output)
    assert report["usable"] and {"name", "ok", "found", "advice", "fatal", "group"} == set(
        report["checks"][0]
    )
