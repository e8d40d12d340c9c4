"""Execute notebooks in place, as they are committed: `make notebooks`.

Clock times and widget models are left out: the one changes with every run, the other means nothing
without its kernel. The map of the course shows what a newcomer has done: nothing.
"""

import os
import sys
import tempfile
from pathlib import Path

import nbformat
from nbclient import NotebookClient


def execute(path: Path) -> None:
    notebook = nbformat.read(path, as_version=4)
    where = {"metadata": {"path": path.parent}}
    quiet = ["--IPKernelApp.log_level=40"]  # else ipykernel 7 warns of its own transport
    NotebookClient(
        notebook, timeout=1800, kernel_name="python3", resources=where, extra_arguments=quiet
    ).execute()
    for cell in notebook.cells:
        cell.metadata = {key: value for key, value in cell.metadata.items() if key == "tags"}
        for output in cell.get("outputs", []):
            output.get("data", {}).pop("application/vnd.jupyter.widget-view+json", None)
    needs = {"kdcourse": notebook.metadata["kdcourse"]} if "kdcourse" in notebook.metadata else {}
    notebook.metadata = needs | {
        "kernelspec": {
            "display_name": "Python 3 (ipykernel)",
            "language": "python",
            "name": "python3",
        },
        "language_info": {"name": "python"},
    }
    beside = path.with_suffix(".partial.ipynb")
    nbformat.write(notebook, beside)
    os.replace(beside, path)


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as empty:
        os.environ["KDCOURSE_PROGRESS"] = os.path.join(empty, "progress.json")
        os.environ["TQDM_DISABLE"] = "1"  # no bars that stand still for ever
        for name in sys.argv[1:]:
            print(name, flush=True)
            execute(Path(name))
