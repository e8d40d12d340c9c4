"""Where the runs of a grid are executed: in processes of this machine, or on a Ray cluster.

An engine has `free` (can it take another run?), `busy` (is one under way?), `submit(experiment,
run, networks, needed)`, `ended(timeout)`, which waits and gives the runs that ended with their
outcomes, and `close()`, which stops what is under way.
"""

from collections.abc import Iterator, Sequence

import torch

from kdcourse.common.errors import KDCourseError, UsageError
from kdcourse.common.processes import Place, Pool, Result
from kdcourse.common.system import cores
from kdcourse.experiments.grid import Experiment, Run, RunOutcome, execute

ATTEMPTS = 3  # of a run whose worker dies
PRELOAD = ("kdcourse.experiments.engines", "kdcourse.experiments.registry")


def default_jobs() -> int:
    """Runs at a time: one per GPU if there are any, else one per core."""
    return torch.cuda.device_count() or cores()


class Local:
    """Runs in processes of this machine, `jobs` at a time, each with `threads` CPU threads and a
    GPU if there is one.

    Each run has a process of its own. If the process dies, the run is started again, up to twice,
    and training goes on from its last whole epoch. The number of threads is fixed and doesn't
    depend on idle cores, because the last bits of the results depend on it.
    """

    def __init__(self, jobs: int | None = None, threads: int = 1):
        if jobs is not None and jobs < 1:
            raise UsageError(f"jobs={jobs}: expected 1 or more")
        if threads < 1:
            raise UsageError(f"threads={threads}: expected 1 or more")
        self.jobs, self.threads = jobs or default_jobs(), threads
        self._pool = Pool(self.jobs, attempts=ATTEMPTS, preload=PRELOAD)

    @property
    def free(self) -> bool:
        return self._pool.free

    @property
    def busy(self) -> bool:
        return self._pool.busy

    def submit(
        self, experiment: Experiment, run: Run, networks: Sequence[bytes], needed: bool
    ) -> None:
        self._pool.submit(run, _work, self.threads, experiment, run, list(networks), needed)

    def ended(self, timeout: float) -> Iterator[tuple[Run, RunOutcome]]:
        for event in self._pool.events(timeout):
            if isinstance(event, Result):
                yield event.key, event.value
            else:  # a run sends no messages, so this is a Failure
                error = (
                    f"its process died {ATTEMPTS} times, last with exit code {event.exit_code} "
                    "(-9: killed, often for want of memory: try fewer --jobs)"
                )
                yield event.key, RunOutcome(error=error)

    def close(self) -> None:
        self._pool.close()


def _work(
    place: Place,
    threads: int,
    experiment: Experiment,
    run: Run,
    networks: Sequence[bytes],
    needed: bool,
) -> RunOutcome:
    """In the process of a run."""
    if torch.cuda.device_count() > 1:
        torch.cuda.set_device(place.slot % torch.cuda.device_count())
    torch.set_num_threads(threads)
    try:
        data = experiment.load(run.data)
    except KDCourseError as error:  # the parent could load it: files that went meanwhile
        return RunOutcome(error=str(error))
    return execute(experiment, run, data, networks, needed)
