"""The page of a run."""

from kdcourse.running.index import table_markup


def test_tables_are_all_that_a_results_cell_brings_into_the_page():
    markup = (
        '<style>td {color: red}</style><div><table class="x" style="y"><thead><tr>'
        '<th colspan="2">a &lt; b</th></tr></thead><tr><td><a href="javascript:x()">1</a>'
        "<img src=x onerror=y></td></tr></table></div>"
    )
    clean = (
        '<table><thead><tr><th colspan="2">a &lt; b</th></tr></thead><tr><td>1</td></tr></table>'
    )
    assert table_markup(markup) == clean
