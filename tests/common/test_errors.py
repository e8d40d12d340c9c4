"""docs/errors.md: its entries are messages that the code still has, and errors lead to its
sections.
"""

import ast
import inspect
import re
from pathlib import Path

import pytest
from click.testing import CliRunner

from kdcourse.cli import main
from kdcourse.common import errors, paths
from kdcourse.common.errors import DataError, KDCourseError, UsageError, with_pointer
from kdcourse.common.paths import errors_page

ROOT = Path(__file__).resolve().parents[2]
PAGE = (ROOT / "docs/errors.md").read_text(encoding="utf-8")
OTHERS = (
    "Python, PyTorch and the system",
    "Windows",
    "macOS",
)  # sections whose messages are not the course's


def entries() -> list[tuple[str, str]]:
    """(section, message) of each heading that is a message."""
    found, section = [], ""
    for level, title in re.findall(r"^(##+) (.+)$", PAGE, re.M):
        if level == "##":
            section = title
        elif title.startswith("`"):
            found.append((section, title.strip("`")))
    return found


def texts(path: Path) -> list[str]:
    """The strings of a module, with … for what is put into them."""
    found = []
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.JoinedStr):
            found.append(
                "".join(
                    part.value if isinstance(part, ast.Constant) else "…" for part in node.values
                )
            )
        elif isinstance(node, ast.Constant) and isinstance(node.value, str):
            found.append(node.value)
    return found


@pytest.fixture(scope="module")
def messages() -> str:
    found = [text for path in (ROOT / "kdcourse").rglob("*.py") for text in texts(path)]
    return "\n".join(found + [(ROOT / "Makefile").read_text(encoding="utf-8")]).replace("`", "")


@pytest.mark.parametrize("section, message", entries())
def test_the_message_of_each_entry_is_still_in_the_code(section, message, messages):
    pattern = ".*".join(map(re.escape, message.split("…")))
    assert bool(re.search(pattern, messages)) == (section not in OTHERS)


def test_the_search_notices_a_message_that_is_gone(messages):
    assert "the checkpoint could not be written" in messages
    assert "the checkpoint could not be painted" not in messages


def slugs() -> set[str]:
    return {
        re.sub(r"[^\w\- ]", "", title.lower()).replace(" ", "-")
        for title in re.findall(r"^#+ (.+)$", PAGE, re.M)
    }


def test_every_kind_of_error_leads_to_a_section_or_none():
    kinds = [
        kind
        for _, kind in inspect.getmembers(errors, inspect.isclass)
        if issubclass(kind, KDCourseError)
    ]
    sections = {kind.section for kind in kinds}
    assert "data" in sections and sections - {""} <= slugs()
    assert set(re.findall(r"\(#(.+?)\)", PAGE)) <= slugs()


def test_a_message_of_the_command_line_ends_with_the_pointer(tmp_path, monkeypatch):
    monkeypatch.setenv("KDCOURSE_DATA", str(tmp_path / "nowhere"))
    output = CliRunner().invoke(main, ["data", "list"]).output
    assert output.endswith("or leave it unset. See docs/errors.md#data\n")


def test_where_it_points_to(monkeypatch):
    assert with_pointer(UsageError("all is said"), errors_page()) == "all is said"
    data_error = DataError("a.tif: the file is empty")
    assert with_pointer(data_error, errors_page()).startswith("a.tif: the file is empty. See ")
    assert with_pointer(DataError("two files:\n  a\n  b"), errors_page()).endswith(
        "  b\nSee docs/errors.md#data"
    )
    monkeypatch.setattr(paths, "checkout", lambda: None)
    assert re.search(
        r"See https://\S+/blob/main/docs/errors.md#data$",
        with_pointer(DataError("a"), errors_page()),
    )
