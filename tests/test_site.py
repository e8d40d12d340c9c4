"""The site: what is laid out, how docstrings and links are put into it, and that it builds without
a warning.
"""

import importlib.util
import json
import re
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent


def load(name: str, path: Path):
    spec = importlib.util.spec_from_file_location(name, path)
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    spec.loader.exec_module(module)
    return module


make_site = load("make_site", ROOT / "tools/make_site.py")


@pytest.fixture(scope="module")
def pages() -> dict[str, str]:
    return make_site.course_pages() | make_site.reference_pages()


# --- what is laid out -----------------------------------------------------------------------------


def test_all_notebooks_and_exercises_and_no_solution(pages):
    wanted = {
        path.relative_to(ROOT).as_posix()
        for f in ("notebooks", "exercises")
        for path in ROOT.glob(f"{f}/*.ipynb")
    }
    assert {place for place in pages if place.endswith(".ipynb")} == wanted
    documented = set(re.findall(r"automodule:: (\S+)", "".join(pages.values())))
    assert (
        "kdcourse.checking.task" in documented
    )  # what an exercise is made of, but not the answers
    assert not [name for name in documented if re.search(r"exercises\.(ex\d|bug_cases)", name)]


def test_every_part_of_the_package_has_a_page(pages):
    parts = {path.parent.name for path in (ROOT / "kdcourse").glob("*/__init__.py")}
    assert parts == {*make_site.GROUPS, "cli"}  # the commands have a page of their own
    assert all(f"kdcourse.{part}" in pages[f"reference/{part}.md"] for part in parts - {"cli"})
    assert "kdcourse data get" in pages["reference/cli.md"]
    assert "automodule:: kdcourse.common.errors" in pages["reference/common.md"]


def test_links_are_those_of_the_page(pages):
    places = {ROOT / "docs/errors.md": "errors.md"}

    def mended(text):
        return make_site.mended(
            text, ROOT / "docs/index.md", "deep/index.md", places, "https://example.org"
        )

    assert mended("[a](errors.md#data)") == "[a](../errors.md#data)"
    assert mended("![b](course.png)") == "![b](../course.png)"
    assert mended("[c](../LICENSE)") == "[c](https://example.org/tree/main/LICENSE)"
    assert mended("[d](gone.md)") == "[d](gone.md)"  # so that Sphinx warns
    for alone in ("[e](#here)", "[f](https://example.org/x.md)", "[g](mailto:a@example.org)"):
        assert mended(alone) == alone
    assert (
        "(errors.md)" in pages["index.md"]
        and "colab-badge" not in pages["notebooks/01_datasets.ipynb"]
    )
    assert json.loads(pages["notebooks/01_datasets.ipynb"])["nbformat"] == 4


def test_links_of_outputs_lead_to_pages_and_not_to_files(pages):
    outputs = [
        cell.get("outputs", ())
        for cell in json.loads(pages["notebooks/03_baselines.ipynb"])["cells"]
    ]
    markup = "".join(
        "".join(output.get("data", {}).get("text/html", ""))
        for found in outputs
        for output in found
    )
    assert (
        'href="04_response_distillation.html"' in markup
        and 'href="../exercises/ex_03_baselines.html"' in markup
    )
    assert ".ipynb" not in markup
    away = '<a href="https://example.org/x.ipynb">'
    assert make_site.NOTEBOOK_LINK.sub(r"\1.html", away) == away


# --- links of a built site ------------------------------------------------------------------------


def test_broken_links_are_found(tmp_path):
    (tmp_path / "a.html").write_text(
        '<h1 id="top-of-a">A</h1><a href="#top-of-a">ok</a><a href="b.html#there">ok</a>'
        '<a href="b.html#gone">no</a><a href="c.html">no</a><a href="https://example.org">away</a>'
        '<script src="https://example.org/x.js"></script>'
    )
    (tmp_path / "b.html").write_text('<h1 id="there">B</h1><img src="data:image/png;base64,xx">')
    broken, away = make_site.check_links(tmp_path)
    assert broken == [
        "a.html: b.html#gone: no such anchor",
        "a.html: c.html is not there",
        "a.html loads https://example.org/x.js: the site is to work offline",
    ]
    assert away == ["https://example.org", "https://example.org/x.js"]


# --- with Sphinx ----------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def conf():
    pytest.importorskip("myst_nb", reason="the extra `site` is not installed: make site")
    return load("site_conf", ROOT / "docs/conf.py")


@pytest.mark.parametrize(
    "docstring, rst",
    [
        ("KL(p_t ‖ p_s) of `a_b` * |x|.", "KL(p\\_t ‖ p\\_s) of \\ ``a_b``\\  \\* \\|x\\|."),
        ("First:\n- one\n  more\n- two", "First:\n\n- one\n  more\n- two"),
        (
            "stem: a\n  b\nwidth, depth: c\nRaises E.",
            ":stem: a\n  b\n:width, depth: c\n\nRaises E.",
        ),
        ("It says\nname: no argument.", "It says\nname: no argument."),
        (">>> f(1)\n2", ">>> f(1)\n2"),
        ("As in:\n\n    x_1 = *y", "As in:\n\n::\n\n    x_1 = *y"),
        ("A `code that\ngoes on`.", "A \\ ``code that goes on``\\ ."),
        ("D. Brown", "\\D. Brown"),
    ],
)
def test_docstrings_become_restructuredtext(conf, docstring, rst):
    assert "\n".join(conf.as_rst(docstring.split("\n"))) == rst


def test_formulas_become_mathml(conf):
    assert "<mfrac>" in conf.mathml(r"\frac12 · \Big( c \bigl) \big| \bigcup", as_block=True)
    with pytest.raises(conf.MathError):
        conf.mathml(r"\nosuchthing", as_block=False)


@pytest.mark.timeout(1200)
def test_the_site_builds_without_a_warning_and_its_links_hold(conf, tmp_path):
    assert make_site.build(tmp_path / "site", tmp_path / "pages") == 0
    site = tmp_path / "site"
    assert "soft_target_loss" in (site / "searchindex.js").read_text(encoding="utf-8").lower()
    response = (site / "reference/distillation.html").read_text(encoding="utf-8")
    assert 'id="kdcourse.distillation.response.soft_target_loss"' in response
    notebook = (site / "notebooks/00_start_here.html").read_text(encoding="utf-8")
    assert "<math" in (site / "notebooks/04_response_distillation.html").read_text(encoding="utf-8")
    assert (
        "widget-view" not in notebook and 'role="status"' in notebook
    )  # the controls' static picture
