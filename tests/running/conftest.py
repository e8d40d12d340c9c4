"""A maker of toy notebooks, and a runner of them."""

from pathlib import Path

import nbformat
import pytest
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook
from toy_notebooks import PARAMETERS, PYTHON

from kdcourse.running import run as course


@pytest.fixture
def notebook(tmp_path):
    """A maker of notebooks: `notebook(name, *sources, results=source)` returns the path."""

    def make(name, *sources, parameters=PARAMETERS, metadata=PYTHON, results=None) -> Path:
        cells = [new_markdown_cell("# Toy")]
        if parameters is not None:
            cells.append(new_code_cell(parameters, metadata={"tags": ["parameters"]}))
        cells += map(new_code_cell, sources)
        if results:
            cells.append(new_code_cell(results, metadata={"tags": ["results"]}))
        path = tmp_path / "toys" / f"{name}.ipynb"
        path.parent.mkdir(exist_ok=True)
        nbformat.write(new_notebook(metadata=metadata, cells=cells), path)
        return path

    return make


@pytest.fixture
def run(tmp_path, no_data):
    """`run(*paths, **options)`: the outcomes, and the lines that were printed."""

    def call(*paths, **options):
        lines = []
        outcomes = course.run(
            list(map(str, paths)), output=tmp_path / "out", echo=lines.append, **options
        )
        return outcomes, "\n".join(lines)

    return call
