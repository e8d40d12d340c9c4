"""The parts of a notebook's worker that need no kernel. `test_run.py` has those with kernels."""

import json

from kdcourse.running import worker


def test_links_to_the_checkout_are_rewritten_but_not_outside_of_it(tmp_path):
    content = '[a](../exercises/a.ipynb) [b](b.ipynb) href=\\"../c'
    for folder, links in (
        (tmp_path / "course" / "output" / "mine", "[a](../../exercises/a.ipynb) [b](b.ipynb)"),
        (tmp_path / "elsewhere", "[a](../exercises/a.ipynb) [b](b.ipynb)"),
    ):
        folder.mkdir(parents=True)
        (folder / "x.ipynb").write_text(content)
        worker._redirect_links(folder / "x.ipynb", tmp_path / "course")
        written = (folder / "x.ipynb").read_text()
        assert written.startswith(links)
    assert written == content


def test_data_warnings_are_collected_once_each():
    said = "x.py:3: DataWarning: 1 file is left out\n  warn()\nUserWarning: other\n"
    output = {"output_type": "stream", "name": "stderr", "text": [said]}
    other = {"output_type": "stream", "name": "stdout", "text": "DataWarning: printed"}
    cells = [{"outputs": [output, other]}, {"outputs": [output]}, {}]
    assert worker.warned(json.loads(json.dumps(cells))) == ("1 file is left out",)
