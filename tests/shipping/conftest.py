"""A work folder that the tests of this folder share with no others."""

from pathlib import Path

import pytest


@pytest.fixture(scope="session")
def shipping_work(tmp_path_factory) -> Path:
    return tmp_path_factory.mktemp("shipping")


@pytest.fixture(autouse=True, scope="module")
def own_work(work, shipping_work):
    """`ships.tiles` are all tiles of the work folder, and other files' tests, which may run first,
    make more.
    """
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("KDCOURSE_WORK", str(shipping_work))
        yield
