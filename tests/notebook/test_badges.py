"""Badges and setup cells: made from one setting, in agreement, and nothing else of a notebook is
touched.
"""

import copy
import json
from pathlib import Path

import pytest
from click.testing import CliRunner

from kdcourse.cli import main
from kdcourse.common.errors import DataError
from kdcourse.notebook import badges

ROOT = Path(__file__).resolve().parent.parent.parent
OLD_SETUP = """import math
import sys

if "google.colab" in sys.modules:
    %pip install -q "kdcourse[agent] @ git+https://github.com/old/place"

import numpy as np

print(np.pi)"""
NEW_SETUP = """import sys

if "google.colab" in sys.modules:
    %pip list --format=freeze > colab-packages.txt
    %pip install -q -c colab-packages.txt "kdcourse[agent] @ git+https://github.com/me/mine"
    from kdcourse.notebook import colab

    colab.setup()

import math

import numpy as np

print(np.pi)"""


def notebook(title="# 01 · Data sets\n\nText.", setup=OLD_SETUP) -> dict:
    cells = [
        {
            "cell_type": "markdown",
            "id": "a",
            "metadata": {},
            "source": title.splitlines(keepends=True),
        },
        {
            "cell_type": "code",
            "id": "b",
            "metadata": {"tags": ["setup"]},
            "execution_count": 1,
            "outputs": [{"output_type": "stream", "name": "stdout", "text": ["3.14\n"]}],
            "source": setup.splitlines(keepends=True),
        },
    ]
    return {
        "cells": cells,
        "metadata": {"kernelspec": {"name": "python3"}},
        "nbformat": 4,
        "nbformat_minor": 5,
    }


@pytest.fixture
def checkout(tmp_path, monkeypatch):
    """A repository with one notebook and one solution, which name another place."""
    (tmp_path / "pyproject.toml").write_text(
        '[project.urls]\nRepository = "https://github.com/me/mine/"\n'
    )
    for place in ("notebooks/01_datasets.ipynb", "solutions/sol_01_datasets.ipynb"):
        (tmp_path / place).parent.mkdir()
        (tmp_path / place).write_text(json.dumps(notebook(), indent=1, ensure_ascii=False) + "\n")
    monkeypatch.setattr(badges, "checkout", lambda: tmp_path)
    return tmp_path


def test_every_notebook_and_solution_agrees_with_the_setting():
    assert badges.badges(check=True) == [], "kdcourse badges"


def test_badge_and_setup_are_written_and_nothing_else_changes(checkout):
    assert len(badges.badges()) == 4 and badges.badges() == []
    found = json.loads((checkout / "notebooks/01_datasets.ipynb").read_text())
    wanted = notebook(setup=NEW_SETUP)
    link = "https://colab.research.google.com/github/me/mine/blob/main/notebooks/01_datasets.ipynb"
    badge = f"[![Open in Colab](https://colab.research.google.com/assets/colab-badge.svg)]({link})"
    wanted["cells"][0]["source"] = ["# 01 · Data sets\n", "\n", badge + "\n", "\n", "Text."]
    assert found == wanted
    assert {path.name for path in (checkout / "notebooks").iterdir()} == {"01_datasets.ipynb"}


def test_the_badge_of_a_solution_opens_the_exercise(checkout):
    badges.badges()
    text = (checkout / "solutions/sol_01_datasets.ipynb").read_text()
    assert (
        "me/mine/blob/main/exercises/ex_01_datasets.ipynb" in text
        and "blob/main/solutions" not in text
    )


def test_check_says_what_differs_and_changes_nothing(checkout):
    path = checkout / "notebooks/01_datasets.ipynb"
    before = path.read_bytes()
    result = CliRunner().invoke(main, ["badges", "--check"])
    assert result.exit_code == 1 and "notebooks/01_datasets.ipynb: badge differs" in result.output
    assert path.read_bytes() == before
    badges.badges()
    assert CliRunner().invoke(main, ["badges", "--check"]).exit_code == 0


@pytest.mark.parametrize(
    "setup, rest",
    [
        ("import numpy as np\n", "import numpy as np\n"),  # none was there
        (
            'import sys\n\nif "google.colab" in sys.modules:\n    %pip install kdcourse\n\n'
            "import time\n",
            "import time\n",
        ),
        (NEW_SETUP.replace("[agent]", ""), "import math\n\nimport numpy as np\n\nprint(np.pi)"),
    ],
)
def test_one_head_whatever_stood_there(setup, rest):
    head = NEW_SETUP.replace("[agent]", "").partition("import math")[0]
    once = badges.with_head(setup, Path("notebooks/a.ipynb"), "https://github.com/me/mine")
    assert once == head + rest
    assert badges.with_head(once, Path("notebooks/a.ipynb"), "https://github.com/me/mine") == once


def test_a_notebook_without_title_or_setup_is_named():
    for broken in (notebook(title="Text"), {**notebook(), "cells": notebook()["cells"][:1]}):
        with pytest.raises(DataError, match=r"a\.ipynb: expected a first cell with the title"):
            badges.update(
                copy.deepcopy(broken), Path("notebooks/a.ipynb"), "https://github.com/me/mine"
            )
