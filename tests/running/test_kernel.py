"""The kernel of the notebooks: this Python, and its environment."""

import json
import sys
from pathlib import Path

import pytest

from kdcourse.common.errors import UsageError
from kdcourse.running import kernel


def test_a_relative_data_root_means_the_same_in_a_notebooks_folder(monkeypatch):
    monkeypatch.setenv("KDCOURSE_DATA", "some/data")
    assert kernel.kernel_environment("cpu", 1)["KDCOURSE_DATA"] == str(Path.cwd() / "some/data")


def test_a_kernel_of_another_python_is_refused(tmp_path, monkeypatch):
    folder = tmp_path / "kernels" / "python3"
    folder.mkdir(parents=True)
    spec = {
        "argv": ["/usr/elsewhere/python", "-m", "ipykernel_launcher"],
        "display_name": "x",
        "language": "python",
    }
    (folder / "kernel.json").write_text(json.dumps(spec))
    monkeypatch.setenv("JUPYTER_PATH", str(tmp_path))
    with pytest.raises(
        UsageError, match=f"/usr/elsewhere/python, not {sys.executable}.*ipykernel install"
    ):
        kernel.check_kernel()


def test_worker_environment_leaves_threads_alone_for_a_single_job(monkeypatch):
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    assert "OMP_NUM_THREADS" not in kernel.kernel_environment("cpu", 1)
    assert kernel.kernel_environment("smoke", 1)["KDCOURSE_PROFILE"] == "smoke"
