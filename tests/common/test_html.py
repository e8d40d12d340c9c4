"""Templates: values are escaped, nothing missing is overlooked, and one style sheet is in pages."""

import subprocess
import sys

import pytest
from jinja2 import UndefinedError

from kdcourse.common import html
from kdcourse.common.html import Cell, Column


def render_table(*table) -> str:
    columns, rows = html.table(*table)
    macros = html._environment().get_template("macros.html").module
    return str(macros.table(columns, rows))


def test_values_are_escaped_and_markup_is_not():
    shown = html.render("explorer.html", picture=html.safe("<img>"), sentence="<b> & \"c\" 'd'")
    assert shown == '<img><p role="status">&lt;b&gt; &amp; &#34;c&#34; &#39;d&#39;</p>'
    assert html.with_code("`a<b` and <c>") == "<code>a&lt;b</code> and &lt;c&gt;"


def test_a_value_that_is_missing_is_an_error():
    with pytest.raises(UndefinedError, match="sentence"):
        html.render("explorer.html", picture="")


def test_tables():
    columns = ("Name", Column("Why", "words"), "Points")
    shown = render_table(columns, [(Cell("<a>", href='x".html'), "so", 2.50), ("b", "", 3)])
    assert '<th scope="col" class="words">Why</th>' in shown
    assert '<td><a href="x&#34;.html">&lt;a&gt;</a></td><td class="words">so</td>' in shown
    assert "<td>2.5</td>" in shown and "<td>3</td>" in shown
    assert '<td class="bad">' in render_table(("a",), [(Cell("x", "bad"),)])
    assert '<td colspan="3">none</td>' in render_table(columns, [])


def test_pages_have_the_style_sheet_and_run_nothing():
    page = html.render("feedback.html", title="<T>", sandboxed=True, records=[])
    assert (html.TEMPLATES / "style.css").read_text().strip() in page
    assert "default-src 'none'" in page and "<h1>&lt;T&gt;</h1>" in page


def test_jinja2_is_imported_on_first_use():
    code = "import sys; from kdcourse.common import html; assert 'jinja2' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True)
