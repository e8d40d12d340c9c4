"""Write the course map anew into every committed notebook: `make maps`.

After a change of titles, minutes or tasks only the output of that one cell is out of date.
"""

import json
import os
import tempfile
from pathlib import Path

from kdcourse.common.files import write_whole
from kdcourse.common.notebooks import notebook_text, text
from kdcourse.common.paths import checkout
from kdcourse.notebook import course_map


def refresh(path: Path) -> bool:
    """Whether the notebook's map had changed."""
    notebook = json.loads(path.read_text(encoding="utf-8"))
    (cell,) = [c for c in notebook["cells"] if "course_map.show" in text(c["source"])]
    (output,) = cell["outputs"]
    bundle = course_map.show(path.stem[:2])._repr_mimebundle_()
    data = {kind: content.splitlines(keepends=True) for kind, content in bundle.items()}
    changed = output["data"] != data
    output["data"] = data
    if changed:
        write_whole(path, notebook_text(notebook).encode())
    return changed


if __name__ == "__main__":
    os.chdir(checkout() / "notebooks")  # the map's links lead from there
    with tempfile.TemporaryDirectory() as nothing_solved:
        os.environ["KDCOURSE_WORK"] = nothing_solved
        for path in sorted(Path.cwd().glob("0*.ipynb")):
            print(f"{path.name}: {'written' if refresh(path) else 'up to date'}")
