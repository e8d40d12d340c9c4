"""Every notebook as on Colab, in the smoke profile: its own setup cell, old ipywidgets and IPython.
`make test-colab`.

The stand-in is an environment with Colab's versions, a package `google.colab`, and git told to take
the repository from a copy of this working tree.
"""

import json
import os
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import nbformat
import pytest
from nbclient import NotebookClient

from kdcourse.notebook.badges import repository

HERE = Path(__file__).resolve().parent
ROOT = HERE.parent.parent
pytestmark = pytest.mark.colab


def output(*command) -> str:
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout


@pytest.fixture(scope="session")
def python() -> Path:
    """The stand-in's Python, without the course."""
    if "KDCOURSE_COLAB" not in os.environ:
        pytest.skip("KDCOURSE_COLAB names no stand-in for Colab: make test-colab")
    found = Path(os.environ["KDCOURSE_COLAB"]).absolute()
    subprocess.run([found, "-m", "pip", "uninstall", "-q", "-y", "kdcourse"], check=True)
    return found


@pytest.fixture(scope="session")
def tree(tmp_path_factory) -> Path:
    """A repository that holds this working tree as its only commit."""
    tree = tmp_path_factory.mktemp("tree")
    listed = subprocess.run(
        ["git", "ls-files", "-coz", "--exclude-standard"], cwd=ROOT, capture_output=True, check=True
    )
    for name in listed.stdout.decode().split("\0"):
        if name and (ROOT / name).is_file():
            (tree / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(ROOT / name, tree / name)
    who = ["-c", "user.name=test", "-c", "user.email=test@example.invalid"]
    for command in (
        ["init", "-q", "-b", "main"],
        ["add", "-A"],
        [*who, "commit", "-q", "-m", "tree"],
    ):
        subprocess.run(["git", *command], cwd=tree, check=True)
    return tree


@pytest.fixture(scope="session")
def kernel(python, tree, tmp_path_factory) -> Iterator[dict[str, str]]:
    """The environment in which a kernel `colab` starts."""
    jupyter = tmp_path_factory.mktemp("jupyter")
    (jupyter / "kernels/colab").mkdir(parents=True)
    command = [str(python), "-m", "ipykernel_launcher", "-f", "{connection_file}"]
    spec = {"argv": command, "display_name": "Colab", "language": "python"}
    (jupyter / "kernels/colab/kernel.json").write_text(json.dumps(spec))
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("JUPYTER_PATH", str(jupyter))
        yield os.environ | {
            "PYTHONPATH": str(HERE / "stub"),
            "KDCOURSE_PROFILE": "smoke",
            "KDCOURSE_DATA": "",
            "MPLBACKEND": "agg",
            "GIT_CONFIG_COUNT": "1",
            "GIT_CONFIG_KEY_0": f"url.file://{tree}.insteadOf",
            "GIT_CONFIG_VALUE_0": repository(ROOT),
        }


def packages(python: Path) -> set[str]:
    listed = subprocess.run(
        [python, "-m", "pip", "list", "--format=freeze"], capture_output=True, text=True, check=True
    )
    return set(listed.stdout.split())


@pytest.mark.timeout(1800)
@pytest.mark.parametrize(
    "path", sorted((ROOT / "notebooks").glob("*.ipynb")), ids=lambda path: path.stem
)
def test_runs_and_leaves_colabs_packages_alone(path, python, kernel, tmp_path):
    before = packages(python)
    notebook = nbformat.read(path, as_version=4)
    where = {"metadata": {"path": tmp_path}}
    NotebookClient(notebook, timeout=900, kernel_name="colab", resources=where).execute(env=kernel)
    assert before <= packages(python)
    said = "".join(
        output.get("text", "") for cell in notebook.cells for output in cell.get("outputs", [])
    )
    assert (
        "Trained networks stay on this machine" in said
    )  # the setup cell took itself to be on Colab
