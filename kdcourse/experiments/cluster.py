"""Runs of a grid as tasks of Ray: on the machines of a cluster, or on this one alone. Needs the
extra `cluster`.
"""

import math
import os
import re
import socket
from collections import Counter
from collections.abc import Iterator, Sequence

import torch

import kdcourse
from kdcourse.common.errors import ClusterError, UsageError, brief
from kdcourse.common.paths import work_dir
from kdcourse.experiments.engines import ATTEMPTS, default_jobs
from kdcourse.experiments.grid import Experiment, Run, RunOutcome, execute

try:
    import ray
    from ray.exceptions import RayError, RayTaskError
except ImportError as error:
    raise UsageError("a grid on Ray needs Ray: pip install 'kdcourse[cluster]'") from error

PROBE = 10  # s that a cluster's port may take to answer


class Ray:
    """Runs as tasks of Ray, each with `threads` CPU threads and, if there are GPUs, a GPU or a
    share of one.

    address: of a cluster: "auto" for the one that this machine belongs to, "HOST:PORT" to name it,
    "ray://HOST:PORT" from a machine outside. Without one, the Ray that this process uses already,
    which is left as it is, or else a new
    one of this machine alone. jobs: runs at a time; on a cluster None is as many as there is room
    for. gpus: of each run, such as 0.5.

    Data and teachers are sent to a machine once, and not read there. Checkpoints lie in the work
    folder of the machine that trains. A run whose worker is lost is tried again, twice. Raises
    ClusterError for a cluster that does not answer, has other versions or no room for a run.
    """

    def __init__(
        self,
        address: str | None = None,
        jobs: int | None = None,
        threads: int = 1,
        gpus: float | None = None,
    ):
        for name, value in (("jobs", jobs), ("threads", threads)):
            if value is not None and value < 1:
                raise UsageError(f"{name}={value}: expected 1 or more")
        if gpus is not None and not (0 <= gpus <= 1 or gpus == int(gpus) > 0):
            raise UsageError(f"gpus={gpus}: expected a share from 0 to 1, or a whole number")
        self._ours = not ray.is_initialized()
        if address is not None:
            if not self._ours:
                raise UsageError(
                    f"address={address}: this process uses a Ray already. Name none, or "
                    "ray.shutdown() first"
                )
            _join(address)
        elif self._ours:
            jobs = jobs or default_jobs()
            _begin("local", num_cpus=jobs * threads)
        self.jobs, self.threads = jobs, threads
        machines = [machine["Resources"] for machine in ray.nodes() if machine["Alive"]]
        devices = sum(machine.get("GPU", 0) for machine in machines)
        if gpus is None:
            gpus = 1 / math.ceil((jobs or 1) / devices) if devices else 0
        self.gpus = gpus
        if not any(
            machine.get("CPU", 0) >= threads and machine.get("GPU", 0) >= gpus
            for machine in machines
        ):
            self._leave()
            raise ClusterError(
                f"a run needs {threads} cores and {gpus:g} GPUs: no machine of the cluster has them"
            )
        # Ray's own retries have no end where memory is short
        self._remote = ray.remote(num_cpus=threads, num_gpus=gpus, max_retries=0)(_work)
        self._running: dict[ray.ObjectRef, tuple] = {}  # task → what `submit` was called with
        self._attempts: Counter[Run] = Counter()
        self._data: dict[str, ray.ObjectRef] = {}
        self._networks: dict[Run, ray.ObjectRef] = {}

    @property
    def free(self) -> bool:
        return self.jobs is None or len(self._running) < self.jobs

    @property
    def busy(self) -> bool:
        return bool(self._running)

    def submit(
        self, experiment: Experiment, run: Run, networks: Sequence[bytes], needed: bool
    ) -> None:
        if run.data not in self._data:
            self._data[run.data] = ray.put(experiment.load(run.data))
        for need, network in zip(run.needs, networks, strict=True):
            if need not in self._networks:
                self._networks[need] = ray.put(network)
        about = dict(version=kdcourse.__version__, threads=self.threads)
        if "KDCOURSE_WORK" in os.environ:
            about["work"] = str(work_dir().absolute())
        packed = [self._networks[need] for need in run.needs]
        task = self._remote.remote(about, experiment, run, needed, self._data[run.data], *packed)
        self._running[task] = (experiment, run, networks, needed)
        self._attempts[run] += 1

    def ended(self, timeout: float) -> Iterator[tuple[Run, RunOutcome]]:
        if not self._running:
            return
        for task in ray.wait(list(self._running), timeout=timeout)[0]:
            submitted = self._running.pop(task)
            run = submitted[1]
            try:
                outcome = ray.get(task)
            except RayTaskError as error:  # `execute` itself raises nothing
                outcome = RunOutcome(error=f"could not begin: {brief(error.cause)}\n\n{error}")
            except RayError as error:
                if self._attempts[run] < ATTEMPTS:
                    self.submit(*submitted)
                    continue
                outcome = RunOutcome(
                    error=f"its worker was lost {ATTEMPTS} times, often for want of memory: "
                    f"try fewer --jobs\n\n{error}"
                )
            del self._attempts[run]
            yield run, outcome

    def close(self) -> None:
        for task in self._running:
            ray.cancel(task, force=True)
        self._running.clear()
        self._data.clear()
        self._networks.clear()
        self._leave()

    def _leave(self) -> None:
        if self._ours:
            ray.shutdown()


def _join(address: str) -> None:
    if address == "auto":
        address = os.environ.get("RAY_ADDRESS", address)
    if address != "auto":
        _probe(address)
    name = "RAY_gcs_server_port_wait_time_s"
    os.environ[name] = "1"  # one try takes 41 s at most; Ray would make 20
    try:
        _begin(address)
    finally:
        del os.environ[name]


def _begin(address: str, **options) -> None:
    """Start or join Ray, quietly."""
    os.environ["RAY_USAGE_STATS_ENABLED"] = "0"
    try:
        ray.init(
            address, include_dashboard=False, log_to_driver=False, logging_level="ERROR", **options
        )
    except Exception as error:  # of many kinds, some of them plain Exceptions
        ray.shutdown()
        advice = ""
        if isinstance(error, ConnectionError):
            advice = (
                ". Is Ray running, this machine one of the cluster (from outside: "
                "ray://HOST:10001), and are RAY_AUTH_MODE and the token the cluster's? See "
                "docs/scaling.md"
            )
        raise ClusterError(f"Ray ({address}): {error}{advice}") from error


def _probe(address: str) -> None:
    """Raises ClusterError if nothing listens there."""
    match = re.fullmatch(r"(?:ray://)?\[?([^/]+?)\]?:(\d{1,5})", address)
    if not match:
        raise UsageError(f"address={address!r}: expected auto, HOST:PORT or ray://HOST:PORT")
    try:
        socket.create_connection((match[1], int(match[2])), timeout=PROBE).close()
    except (OSError, OverflowError) as error:
        raise ClusterError(
            f"{address}: nothing answers there ({error}). Start Ray there with `ray start --head`, "
            "or open its port"
        ) from error


def _work(
    about: dict, experiment: Experiment, run: Run, needed: bool, data, *packed: bytes
) -> RunOutcome:
    """In a worker, perhaps on another machine. about: version and threads of the grid, and its work
    folder if named.
    """
    if kdcourse.__version__ != about["version"]:
        return RunOutcome(
            error=f"{socket.gethostname()} has kdcourse {kdcourse.__version__}, not "
            f"{about['version']}"
        )
    if "work" in about:
        os.environ["KDCOURSE_WORK"] = about["work"]
    torch.set_num_threads(about["threads"])
    return execute(experiment, run, data, packed, needed)
