"""A fixture for the tests of kept answers."""

from pathlib import Path

import pytest


@pytest.fixture
def folder(tmp_path, monkeypatch) -> Path:
    """Where answers are kept in this test, and nowhere else."""
    monkeypatch.setenv("KDCOURSE_WORK", str(tmp_path))
    return tmp_path / "answers"
