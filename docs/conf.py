"""Sphinx's settings for the site. `make site` lays out the pages (tools/make_site.py) and calls
Sphinx with this.
"""

import re

from docutils.nodes import SkipNode
from docutils.utils.math import MathError
from docutils.utils.math.latex2mathml import tex2mathml
from sphinx.util import logging

log = logging.getLogger(__name__)

project = "kdcourse"
author = "the kdcourse authors"
html_title = "kdcourse"
language = "en"
smartquotes = False  # mode="paper" is code
extensions = ["myst_nb", "sphinx.ext.autodoc"]
exclude_patterns = ["README.md"]  # its sections are included in pages of the site

myst_enable_extensions = ["colon_fence", "dollarmath"]
myst_heading_anchors = 3
nb_execution_mode = "off"
nb_ipywidgets_js = {}  # controls show as their static picture; nothing is fetched
suppress_warnings = ["ref.python"]  # classes of two modules may bear one name

autodoc_member_order = "bysource"
autodoc_preserve_defaults = True
autodoc_inherit_docstrings = False
autodoc_default_options = {"members": True, "show-inheritance": True}
add_module_names = False
maximum_signature_line_length = 90

html_theme = "sphinx_book_theme"
html_theme_options = {
    "home_page_in_toc": True,
    "navbar_persistent": [],  # the search field stands in the sidebar
    "show_toc_level": 2,
    "use_download_button": False,
}
html_static_path = ["_static"]
html_css_files = ["course.css"]
html_js_files = ["course.js"]
html_copy_source = False
html_math_renderer = "mathml"

# --- formulas: as MathML, which browsers draw by themselves and screen readers read ---------------


def mathml(tex: str, as_block: bool) -> str:
    """LaTeX as MathML. What docutils does not know is spelled otherwise; sizes of brackets are left
    to the browser.
    """
    tex = re.sub(r"\\[Bb]igg?[lrm]?(?![a-zA-Z])", "", tex)
    tex = re.sub(r"frac(\d)(\d)", r"frac{\1}{\2}", tex)
    tex = tex.replace("·", r"\cdot ").replace("×", r"\times ")
    return tex2mathml(tex, as_block=as_block)


def visit_math(translator, node, as_block=False):
    try:
        formula = mathml(node.astext(), as_block)
    except MathError as error:
        log.warning("%s In the formula %s", error, node.astext(), location=node)
        formula = node.astext()
    translator.body.append(f'<div class="formula">{formula}</div>' if as_block else formula)
    raise SkipNode


def visit_math_block(translator, node):
    visit_math(translator, node, as_block=True)


# --- docstrings: plain text of this course's own form, put into reStructuredText ------------------

ARGUMENT = re.compile(
    r"([a-z_]\w*(?:, [a-z_]\w*)*): +(?=\S)"
)  # `name: what it is`, further lines indented
LIST_ITEM = re.compile(r"\(?(\w|[ivx]+|\d+)[.)] ", re.I)


def inline(text: str) -> str:
    """One line: `code` stays code, all other signs that mean something in reStructuredText stand
    for themselves.
    """
    parts = re.split(r"`([^`]+)`", text)
    parts[::2] = [re.sub(r"([\\*|_`])", r"\\\1", part) for part in parts[::2]]
    parts[1::2] = [rf"\ ``{part}``\ " for part in parts[1::2]]
    return "".join(parts)


def as_rst(lines: list[str]) -> list[str]:
    """Paragraphs, lists, arguments (`name: …`), doctests and indented blocks as
    reStructuredText.
    """
    parts = "\n".join(lines).split("`")
    parts[1::2] = [
        " ".join(part.split()) for part in parts[1::2]
    ]  # code that goes on in the next line
    done, kind = [], "blank"
    for line in "`".join(parts).split("\n"):
        ended = kind != "prose" or done[-1].endswith(
            (".", ":", ")")
        )  # so that a new kind may begin
        if not line.strip():
            new, text = "blank", ""
        elif line.startswith(">>>") or kind == "doctest":
            new, text = "doctest", line
        elif line.startswith("  ") and kind in ("argument", "bullet", "code"):
            new, text = kind, line if kind == "code" else "  " + inline(line.strip())
        elif line.startswith("  ") and kind == "blank":
            new, text = "code", line
            done += ["::", ""]
        elif ended and (found := ARGUMENT.match(line)):
            new, text = "argument", f":{found[1]}: {inline(line[found.end() :])}"
        elif ended and line.startswith("- "):
            new, text = "bullet", f"- {inline(line[2:])}"
        else:
            new, text = "prose", inline(line.strip())
            text = f"\\{text}" if LIST_ITEM.match(text) else text
        if new != kind and "blank" not in (new, kind):
            done.append("")
        done.append(text)
        kind = new
    return done


def convert(app, what, name, found, options, lines):
    generated = lines and lines[0].startswith(
        f"{name.rsplit('.', 1)[-1]}("
    )  # a dataclass without a docstring
    lines[:] = [] if generated else as_rst(lines)


def skip(app, what, name, found, skipped, options):
    return (
        True if (found.__doc__ or "").startswith("Alias for field number") else None
    )  # of a NamedTuple


def setup(app):
    app.add_html_math_renderer("mathml", (visit_math, None), (visit_math_block, None))
    app.connect("autodoc-process-docstring", convert)
    app.connect("autodoc-skip-member", skip)
