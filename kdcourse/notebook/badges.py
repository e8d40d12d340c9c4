"""What leads a notebook to Colab and sets it up there: its badge, and the head of its setup cell.
`kdcourse badges`.

Both are made from one setting, `[project.urls] Repository` in pyproject.toml, so that they always
agree.
"""

import re
import tomllib
from pathlib import Path

from kdcourse.common.errors import DataError, UsageError
from kdcourse.common.files import write_whole
from kdcourse.common.notebooks import notebook_text, read_notebook, tags, text
from kdcourse.common.paths import checkout

BRANCH = "main"
PICTURE = "https://colab.research.google.com/assets/colab-badge.svg"
BADGE = re.compile(r"\[!\[Open in Colab\]\([^)]*\)\]\([^)]*\)")
HEAD = re.compile(
    r'\A(?P<imports>(?:import \w+\n)*)\nif "google\.colab" in sys\.modules:\n'
    r"(?P<body>(?:    .*\n|\n(?=    ))+)\n*"
)


def badges(check: bool = False) -> list[str]:
    """Put badge and setup head into every notebook and solution of the checkout; returns what
    differed.

    check: change nothing. Raises UsageError outside a checkout, DataError for a notebook with no
      title or setup cell.
    """
    root = checkout()
    if root is None:
        raise UsageError(
            "badges: run this in a checkout of the course, installed by `make setup` or `pip "
            "install -e .`."
        )
    address = repository(root)
    differing = []
    for path in sorted([*root.glob("notebooks/*.ipynb"), *root.glob("solutions/*.ipynb")]):
        notebook = read_notebook(path)
        found = update(notebook, path, address)
        differing += [f"{path.relative_to(root)}: {what}" for what in found]
        if found and not check:
            write_whole(path, notebook_text(notebook).encode())
    return differing


def repository(root: Path) -> str:
    """The address of the repository, without a slash at its end."""
    project = tomllib.loads((root / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    return project["urls"]["Repository"].rstrip("/")


def update(notebook: dict, path: Path, address: str) -> list[str]:
    """Give the notebook (parsed JSON) its badge and setup head; returns which of the two were
    others before.
    """
    cells = notebook["cells"]
    setup = [cell for cell in cells if cell["cell_type"] == "code" and "setup" in tags(cell)]
    if not cells or not text(cells[0]["source"]).startswith("# ") or len(setup) != 1:
        raise DataError(
            f"{path}: expected a first cell with the title (# …) and one cell tagged `setup`."
        )
    differing = []
    for cell, change, what in (
        (cells[0], with_badge, "badge"),
        (setup[0], with_head, "setup cell"),
    ):
        before = text(cell["source"])
        after = change(before, path, address)
        if after != before:
            cell["source"] = after.splitlines(keepends=True)
            differing.append(what)
    return differing


def on_colab(place: str, address: str) -> str:
    """Where Colab opens a notebook of the repository. place: its path there."""
    github = address.removeprefix("https://").removesuffix("/").replace("github.com", "github", 1)
    return f"https://colab.research.google.com/{github}/blob/{BRANCH}/{place}"


def with_badge(source: str, path: Path, address: str) -> str:
    """The title's cell with the badge of the notebook; a solution's badge opens the exercise made
    from it.
    """
    place = f"{path.parent.name}/{path.name}".replace("solutions/sol_", "exercises/ex_")
    wanted = f"[![Open in Colab]({PICTURE})]({on_colab(place, address)})"
    if BADGE.search(source):
        return BADGE.sub(lambda _: wanted, source, count=1)
    title, _, rest = source.partition("\n")
    return f"{title}\n\n{wanted}\n{rest}"


def with_head(source: str, path: Path, address: str) -> str:
    """The setup cell, headed by what Colab needs. An extra that stood there, as in
    `kdcourse[agent]`, stays.

    Colab's own packages become constraints: pip adds what is missing, and fails rather than replace
    one of them.
    """
    found = HEAD.match(source)
    imports, body, rest = (
        (found["imports"], found["body"], source[found.end() :]) if found else ("", "", source)
    )
    match = re.search(r"kdcourse(\[\w+\])?", body)
    extra = match[1] or "" if match else ""
    head = f"""\
import sys

if "google.colab" in sys.modules:
    %pip list --format=freeze > colab-packages.txt
    %pip install -q -c colab-packages.txt "kdcourse{extra} @ git+{address}"
    from kdcourse.notebook import colab

    colab.setup()

"""
    return (
        head
        + imports.replace("import sys\n", "")
        + "\n" * (imports not in ("", "import sys\n"))
        + rest
    )
