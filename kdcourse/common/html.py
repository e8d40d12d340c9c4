"""HTML of pages and of tables in notebooks: jinja2 templates, and one style sheet for all pages.

Templates escape every value that they print. `templates/style.css` holds the looks of whole pages;
what a notebook shows has its looks inline, because JupyterLab drops style sheets from outputs.
"""

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:  # imported on first use: commands and notebooks' setup cells render nothing
    from jinja2 import Environment
    from markupsafe import Markup

TEMPLATES = Path(__file__).parent / "templates"


@dataclass(frozen=True)
class Column:
    """The head of a table's column. look: a class of the style sheet, such as "words"."""

    name: str
    look: str = ""


@dataclass(frozen=True)
class Cell:
    """A cell. look: a class of the style sheet, by default the column's. href: of a link."""

    text: object
    look: str = ""
    href: str = ""


def render(template: str, **values: object) -> str:
    """A template of the folder `templates`, filled in. Every value is escaped, unless it is Markup.

    Raises jinja2.UndefinedError for a value that the template names and nobody gave.
    """
    return _environment().get_template(template).render(**values)


def table(
    columns: Sequence[Column | str], rows: Iterable[Sequence[object]]
) -> tuple[list[Column], list[list[Cell]]]:
    """Arguments of the macro `table`: columns and rows, with plain values made cells.

    Floats are written with six digits.
    """
    heads = [column if isinstance(column, Column) else Column(column) for column in columns]
    return heads, [[_cell(value) for value in row] for row in rows]


def _cell(value: object) -> Cell:
    if isinstance(value, Cell):
        return value
    return Cell(f"{value:g}" if isinstance(value, float) else value)


def safe(markup: str) -> "Markup":
    """HTML that was made or cleaned by a library, to be printed as it is."""
    from markupsafe import Markup

    return Markup(markup)


def with_code(text: str) -> "Markup":
    """Text, escaped, with `code` in backticks as code."""
    from markupsafe import escape

    return safe(re.sub("`([^`\n]+)`", r"<code>\1</code>", str(escape(text))))


@cache
def _environment() -> "Environment":
    from jinja2 import Environment, FileSystemLoader, StrictUndefined

    environment = Environment(
        loader=FileSystemLoader(TEMPLATES),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["with_code"] = with_code
    return environment
