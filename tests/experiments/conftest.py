"""An engine for the tests of grids."""

import pytest

from kdcourse.experiments.grid import execute


class InProcess:
    """Executes each run at once and here, where patches hold. `submitted`: the runs, in their order."""

    free = True

    def __init__(self):
        self.submitted, self._done = [], []

    @property
    def busy(self):
        return bool(self._done)

    def submit(self, experiment, run, networks, needed):
        self.submitted.append(run)
        self._done.append((run, execute(experiment, run, experiment.load(run.data), networks, needed)))

    def ended(self, timeout):
        while self._done:
            yield self._done.pop(0)

    def close(self):
        pass


@pytest.fixture
def in_process():
    return InProcess()
