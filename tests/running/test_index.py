"""The page of a run."""

import json
import sys

import pytest

from kdcourse.common.errors import UsageError
from kdcourse.running.index import results, table_markup, write_index
from kdcourse.running.worker import NotebookOutcome


def cell(**output) -> dict:
    return {"metadata": {"tags": ["results"]}, "outputs": [output]}


def test_tables_are_all_that_a_results_cell_brings_into_the_page():
    markup = (
        '<style>td {color: red}</style><div><table class="x" style="y"><thead><tr>'
        '<th colspan="2" scope="col">a &lt; b</th></tr></thead><tbody><tr><td onclick="z">'
        '<a href="javascript:x()">1</a><br><img src=x onerror=y><script>alert(1)</script>'
        "<!-- c --></td></tr></tbody></table></div>"
    )
    clean = (
        '<table><thead><tr><th colspan="2" scope="col">a &lt; b</th></tr></thead>'
        "<tbody><tr><td>1<br></td></tr></tbody></table>"
    )
    assert table_markup(markup) == clean


def test_without_nh3_it_says_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "nh3", None)
    with pytest.raises(UsageError, match=r"needs nh3.*kdcourse\[lab\]"):
        table_markup("<table></table>")


def test_results_are_tables_or_text_of_tagged_cells():
    plain = {"data": {"text/plain": ["a\n", "b"]}}
    notebook = {
        "cells": [
            {"metadata": {}, "outputs": [plain]},
            cell(**plain),
            cell(name="stdout", text="printed"),
            cell(name="stderr", text="a warning"),
            cell(name="stdout", text=" \n"),
            cell(data={"text/html": "<b>c</b>", "text/plain": "c"}),
        ]
    }
    assert results(notebook) == [{"text": "a\nb"}, {"text": "printed"}, {"table": "<b>c</b>"}]


def test_the_page_says_what_became_of_each_notebook(tmp_path):
    file = tmp_path / "good.ipynb"
    table = "<table><tr><td onclick='x'>91.5</td></tr></table>"
    words = cell(data={"text/markdown": ["**91.5 %** right"], "text/plain": "<Markdown object>"})
    file.write_text(json.dumps({"cells": [cell(data={"text/html": table}), words]}))
    outcomes = [
        NotebookOutcome("good", "done", 90.0, 3, 3, file, notes=("<one> file left out",)),
        NotebookOutcome("bad", "failed", 6.0, 1, 4, None, "ValueError: <x>", "a < b"),
        NotebookOutcome("later", cells=2),
    ]
    page = write_index(tmp_path, outcomes, "smoke", None, {"limit": 5}).read_text()
    assert "<pre>91.5 % right</pre>" in page
    for text in (
        "1 of 3 notebooks done",
        '<td><a href="good.ipynb">good</a></td><td class="words good">✓ done</td><td>1.5</td>',
        "<td>3 of 3</td>",
        '<td class="words bad">✗ failed</td>',
        '<td class="words">– not run</td>',
        "<tr><td>91.5</td></tr>",
        "&lt;one&gt; file left out",
        "<pre>a &lt; b</pre>",
        "ValueError: &lt;x&gt;",
        "<dt>Parameters</dt><dd>limit = 5</dd>",
        "<dd>each notebook&#39;s own</dd>",
    ):
        assert text in page, text
    assert "<h2>later</h2>" not in page and "onclick" not in page
