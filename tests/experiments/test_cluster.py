"""Grids on Ray, on this machine. Ray takes seconds to start: most tests share one."""

import os
import socket
import tempfile
import time
from pathlib import Path

import psutil
import pytest
from grids import Restless, Toy, Waits, marked

from kdcourse.common.errors import ClusterError, UsageError
from kdcourse.common.profiles import profile
from kdcourse.experiments.complexity import D4
from kdcourse.experiments.engines import Local
from kdcourse.experiments.reproduce import reproduce
from kdcourse.experiments.results_folder import Results

ray = pytest.importorskip("ray", reason="Ray is not installed: pip install 'kdcourse[cluster]'")

from kdcourse.experiments import cluster  # noqa: E402
from kdcourse.experiments.cluster import Ray  # noqa: E402

pytestmark = pytest.mark.slow  # Ray takes seconds to start
SMOKE = profile("smoke")
HERE = str(Path(__file__).parent)


@pytest.fixture(autouse=True, scope="module")
def environment():
    """Workers can import `grids`, and nothing is written to the home folder."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv(
            "PYTHONPATH", os.pathsep.join(filter(None, [HERE, os.environ.get("PYTHONPATH")]))
        )
        patch.delenv("RAY_AUTH_MODE", raising=False)  # Ray sets it
        patch.setenv("RAY_AUTH_TOKEN", "0123456789abcdef" * 2)
        yield


@pytest.fixture
def own_work(tmp_path, monkeypatch):
    """A work folder for this test: nothing is found again."""

    def named(name: str) -> Path:
        monkeypatch.setenv("KDCOURSE_WORK", str(tmp_path / name))
        (tmp_path / name).mkdir()
        return tmp_path / name

    return named


@pytest.fixture(scope="module")
def address():
    """Of a cluster of one machine, with room for two runs."""
    from ray.cluster_utils import Cluster

    folder = tempfile.TemporaryDirectory(
        prefix="ray", ignore_cleanup_errors=True
    )  # short: it holds sockets
    head = Cluster(
        True,
        head_node_args=dict(num_cpus=2, num_gpus=0, include_dashboard=False, temp_dir=folder.name),
    )
    yield head.address
    head.shutdown()
    folder.cleanup()


@pytest.fixture(scope="module")
def joined(address):
    """This process has joined the cluster: engines use it as it is."""
    ray.init(address, log_to_driver=False, logging_level="ERROR")
    yield
    ray.shutdown()


@pytest.fixture
def pretend(monkeypatch):
    """`pretend(…)`: a cluster of machines with these resources. Nothing is run there."""

    def machines(*resources: dict):
        monkeypatch.setattr(ray, "is_initialized", lambda: True)
        monkeypatch.setattr(
            ray, "nodes", lambda: [dict(Alive=True, Resources=has) for has in resources]
        )

    return machines


def processes() -> set[psutil.Process]:
    """What this process has started and still runs."""
    return {
        p for p in psutil.Process().children(recursive=True) if p.status() != psutil.STATUS_ZOMBIE
    }


def within(seconds: float, holds) -> bool:
    end = time.monotonic() + seconds
    while not holds():
        if time.monotonic() > end:
            return False
        time.sleep(0.1)
    return True


# --- clusters that cannot be joined ---------------------------------------------------------------


@pytest.mark.parametrize("form", ["{}", "ray://{}"])
def test_an_address_that_does_not_answer_is_said_soon(form, monkeypatch):
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        closed = form.format(f"127.0.0.1:{probe.getsockname()[1]}")  # bound and not listened to
        started = time.monotonic()
        with pytest.raises(ClusterError, match=f"{closed}: nothing answers there"):
            Ray(closed)
        monkeypatch.setenv("RAY_ADDRESS", closed)
        with pytest.raises(ClusterError, match=f"{closed}: nothing answers there"):
            Ray("auto")
    assert time.monotonic() - started < 5
    assert not ray.is_initialized()


@pytest.mark.parametrize(
    "address", ["here", "host:", "host:port", "http://host:6379", "host:6379/"]
)
def test_an_address_that_is_none_is_refused(address):
    with pytest.raises(UsageError, match="expected auto, HOST:PORT or ray://HOST:PORT"):
        Ray(address)


def test_what_ray_says_is_said_on(monkeypatch):
    def refuse(*arguments, **options):
        raise RuntimeError("Version mismatch: the cluster was started with Ray 2.0")

    monkeypatch.setattr(ray, "init", refuse)
    with pytest.raises(ClusterError, match="Version mismatch"):
        Ray(jobs=1)


def test_without_ray_the_extra_is_named(monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "ray", None)
    monkeypatch.delitem(__import__("sys").modules, "kdcourse.experiments.cluster")
    with pytest.raises(UsageError, match=r"pip install 'kdcourse\[cluster\]'"):
        __import__("kdcourse.experiments.cluster")


# --- runs -----------------------------------------------------------------------------------------


def test_same_results_as_processes_and_nothing_is_left(own_work):
    experiment = D4(SMOKE, datasets=("digits",), seeds=2)
    found = {}
    for name, make in (("local", lambda: Local(2)), ("ray", lambda: Ray(jobs=2))):
        work = own_work(name)
        before = processes()
        progress = reproduce(experiment, work / "out", make(), echo=lambda line: None)
        assert (progress.done, progress.failed) == (7, 0)
        assert len(list((work / "models").glob("*.pt"))) == 7  # in the folder that was named here
        found[name] = {
            name: record["results"] for name, record in Results(work / "out").records().items()
        }
    assert found["ray"] == found["local"]
    assert within(20, lambda: not processes() - before)
    assert not ray.is_initialized()


def test_a_worker_that_dies_costs_its_own_run_alone_and_data_are_loaded_once(
    address, own_work, monkeypatch
):
    monkeypatch.setattr(cluster, "ATTEMPTS", 2)
    work = own_work("restless")
    experiment = Restless(SMOKE, datasets=("first",), seeds=2)
    progress = reproduce(experiment, work / "out", Ray(address), echo=lambda line: None)
    assert (progress.done, progress.failed) == (4, 1)
    starts = {
        (run.arm, run.seed): marked(run, "starts").stat().st_size for run in experiment.runs()
    }
    assert starts == {
        ("teacher", 0): 1,
        ("plain", 0): 1,
        ("plain", 1): 1,
        ("taught", 0): 2,
        ("taught", 1): 2,
    }
    failed = [
        record
        for record in Results(work / "out").records().values()
        if record["status"] == "failed"
    ]
    assert [(record["run"]["arm"], record["run"]["seed"]) for record in failed] == [("taught", 1)]
    assert "its worker was lost 2 times" in failed[0]["error"]
    assert (
        work / "first.loads"
    ).stat().st_size == 2  # by the grid, to see that it is there, and for the cluster
    assert not ray.is_initialized()
    host, port = address.split(":")
    socket.create_connection((host, int(port)), timeout=5).close()  # the cluster itself goes on


def test_what_a_worker_cannot_import_is_a_failed_run(joined, own_work):
    class Elsewhere(Toy):
        def __reduce__(self):
            return __import__, ("nowhere_to_be_found",)

    experiment = Elsewhere(SMOKE, datasets=("first",), seeds=1)
    lines = []
    assert (
        reproduce(experiment, own_work("elsewhere") / "out", Ray(), echo=lines.append).failed == 3
    )
    assert "No module named 'nowhere_to_be_found'" in lines[0].splitlines()[0]


def test_close_ends_what_is_under_way(joined, own_work):
    own_work("waits")
    engine, (run, *_) = Ray(), Waits(SMOKE).runs()
    engine.submit(Waits(SMOKE), run, [], True)
    assert engine.busy
    assert within(60, lambda: marked(run, "began").exists() and marked(run, "began").read_text())
    worker = int(marked(run, "began").read_text())
    engine.close()
    assert not engine.busy
    assert within(
        20, lambda: not psutil.pid_exists(worker) or psutil.Process(worker).status() == "zombie"
    )
    assert ray.is_initialized()  # it was not ours


def test_an_address_is_refused_where_ray_is_in_use(joined, address):
    with pytest.raises(UsageError, match="uses a Ray already"):
        Ray(address)


def test_a_worker_with_another_kdcourse_trains_nothing():
    outcome = cluster._work(dict(version="0.0.1", threads=1), None, None, False, None)
    assert outcome.status == "failed"
    assert f"{socket.gethostname()} has kdcourse" in outcome.error and "not 0.0.1" in outcome.error


# --- shares ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("jobs", "machines", "gpus"),
    [
        (2, [dict(CPU=4)], 0),
        (None, [dict(CPU=4), dict(CPU=8, GPU=2)], 1),
        (2, [dict(CPU=8, GPU=2)], 1),
        (3, [dict(CPU=8, GPU=2)], 0.5),
        (4, [dict(CPU=8, GPU=1)], 0.25),
    ],
)
def test_runs_share_what_gpus_there_are(jobs, machines, gpus, pretend):
    pretend(*machines)
    engine = Ray(jobs=jobs)
    assert engine.gpus == gpus
    assert engine.free


@pytest.mark.parametrize("wanted", [dict(threads=5), dict(gpus=2), dict(threads=3, gpus=1)])
def test_a_run_that_has_room_nowhere_is_refused(wanted, pretend):
    pretend(dict(CPU=4), dict(CPU=2, GPU=1))
    with pytest.raises(ClusterError, match="no machine of the cluster has them"):
        Ray(**wanted)


@pytest.mark.parametrize("wrong", [dict(jobs=0), dict(threads=0), dict(gpus=-1), dict(gpus=1.5)])
def test_numbers_that_cannot_be_right_are_refused(wrong):
    with pytest.raises(UsageError, match=f"{next(iter(wrong))}="):
        Ray(**wrong)
