"""Fixtures that every test may use, and small makers of data."""

import os
from pathlib import Path

# Before torch is imported: small tensors gain nothing from threads.
os.environ.setdefault("OMP_NUM_THREADS", "1")

import numpy as np
import pytest
from toy_data import toy_data

from kdcourse.experiments.grid import execute

LONG = ("test_notebooks.py", "test_grade_sandboxed.py", "test_benchmarks.py")  # minutes each


def pytest_collection_modifyitems(items):
    """The longest files first, so that no worker is left alone with one of them at the end."""
    items.sort(key=lambda item: item.path.name not in LONG)
    for item in items:
        if item.path.parent.name in ("browser", "colab"):  # they need more than .venv
            item.add_marker(pytest.mark.slow)


@pytest.fixture(autouse=True, scope="session")
def work(tmp_path_factory):
    """Everything that the tests make goes to a folder of their own, never to the user's."""
    folder = tmp_path_factory.mktemp("work")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("KDCOURSE_WORK", str(folder))
        yield folder


@pytest.fixture(scope="session")
def real_data() -> Path:
    """The folder of the real data sets (KDCOURSE_DATA); the test is skipped where there is none."""
    named = os.environ.get("KDCOURSE_DATA")
    if not named or not Path(named).is_dir():
        pytest.skip("KDCOURSE_DATA names no folder of real data")
    return Path(named)


@pytest.fixture
def no_data(monkeypatch):
    """As for a newcomer: KDCOURSE_DATA unset."""
    monkeypatch.delenv("KDCOURSE_DATA", raising=False)


@pytest.fixture
def make_data():
    """A maker of small data sets in memory: see `toy_data`."""
    return toy_data


@pytest.fixture
def write_tile():
    """A writer of GeoTIFF tiles: `write_tile(path, array)`, array (bands, height, width); by
    default a EuroSAT tile.
    """

    def write(path: Path, array: np.ndarray | None = None, seed: int = 0) -> Path:
        import rasterio

        if array is None:
            array = np.random.default_rng(seed).integers(0, 4000, (13, 64, 64), dtype=np.uint16)
        path.parent.mkdir(parents=True, exist_ok=True)
        bands, height, width = array.shape
        with rasterio.open(
            path,
            "w",
            driver="GTiff",
            count=bands,
            height=height,
            width=width,
            dtype=array.dtype,
            crs="EPSG:32632",
            transform=rasterio.Affine(10, 0, 500_000, 0, -10, 5_500_000),
        ) as file:
            file.write(array)
        return path

    return write


class InProcess:
    """An engine for grids: executes each run at once and here, where patches hold. `submitted`: the
    runs, in order.
    """

    free = True

    def __init__(self):
        self.submitted, self._done = [], []

    @property
    def busy(self):
        return bool(self._done)

    def submit(self, experiment, run, networks, needed):
        self.submitted.append(run)
        self._done.append(
            (run, execute(experiment, run, experiment.load(run.data), networks, needed))
        )

    def ended(self, timeout):
        while self._done:
            yield self._done.pop(0)

    def close(self):
        pass


@pytest.fixture
def in_process():
    return InProcess()
