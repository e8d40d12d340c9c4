"""Which notebooks run, and with which parameters."""

import pytest

from kdcourse.common.errors import UsageError
from kdcourse.running import selection


def test_a_parameter_goes_to_the_notebooks_that_know_it_and_that_is_said(notebook):
    tasks = [
        selection.prepare(notebook("one")),
        selection.prepare(notebook("two", parameters="profile = None")),
    ]
    lines = []
    selection.assign(tasks, {"limit": 3}, lines.append)
    assert [task.parameters for task in tasks] == [{"limit": 3}, {}]
    assert len(lines) == 1 and "limit" in lines[0] and "one" in lines[0]


def test_another_name_for_the_python_kernel_does_not_matter(notebook):
    other = {"kernelspec": {"name": "my-env", "display_name": "Mine", "language": "python"}}
    known = selection.prepare(notebook("toy", metadata=other)).known
    assert known == {"profile", "dataset", "limit"}


def test_names_and_numbers(tmp_path, monkeypatch):
    folder = tmp_path / "notebooks"
    folder.mkdir()
    for name in ("00_start_here", "03_baselines", "draft"):
        (folder / f"{name}.ipynb").write_text("{}")
    monkeypatch.setattr(selection, "notebooks_folder", lambda: folder)
    stems = lambda *names: [path.stem for path in selection.select(names)]  # noqa: E731
    assert stems() == ["00_start_here", "03_baselines"]
    assert stems("3") == stems("03") == stems("03_baselines") == ["03_baselines"]
    assert stems(str(folder / "draft.ipynb")) == ["draft"]
    with pytest.raises(UsageError, match="Did you mean 03_baselines"):
        stems("03_baseline")
    with pytest.raises(UsageError, match="unknown notebook '07'"):
        stems("07")
    with pytest.raises(UsageError, match="named twice"):
        stems("3", "03_baselines")


def test_no_notebooks_at_all(tmp_path, monkeypatch):
    monkeypatch.setattr(selection, "notebooks_folder", lambda: tmp_path)
    with pytest.raises(UsageError, match="no notebooks in"):
        selection.select()


def test_parameter_values():
    values = {
        "n=3": 3,
        "n=1e-3": 1e-3,
        "n=None": None,
        "n=null": None,
        "n=true": True,
        "n=False": False,
        "n=scenes": "scenes",
        "n=a=b": "a=b",
        "n=": None,
        "n=[1, 2]": [1, 2],
        "n='3'": "3",
        "n=2020-01-02": "2020-01-02",
        "n={": "{",
    }
    for given, value in values.items():
        assert selection.parse_parameter(given) == ("n", value), given
    for given in ("n", "=3", "a b=3", ""):
        with pytest.raises(UsageError, match="expected NAME=VALUE"):
            selection.parse_parameter(given)
