"""What learners get: everything that they need, and nothing of what they are to find out."""

import json
import re
import zipfile
from pathlib import Path

import pytest
from click.testing import CliRunner
from packaging.requirements import Requirement
from toy_exercise import notebook

from kdcourse import __version__
from kdcourse.cli import main
from kdcourse.common.errors import DataError, UsageError
from kdcourse.common.notebooks import text
from kdcourse.common.paths import checkout
from kdcourse.exercises import build
from kdcourse.grading import release

REGION = re.compile(r"### BEGIN (SOLUTION|HIDDEN TESTS)\n(.*?)### END \1", re.DOTALL)


def cells(path: Path) -> list[str]:
    return [text(cell["source"]) for cell in json.loads(path.read_text())["cells"]]


def hidden_and_shown(paths) -> tuple[set[str], set[str]]:
    """Lines of solutions and hidden tests, and all others."""
    hidden, shown = set(), set()
    for source in (source for path in paths for source in cells(path)):
        for region in REGION.finditer(source):
            hidden |= {line.strip() for line in region[2].splitlines()}
        shown |= {line.strip() for line in REGION.sub("", source).splitlines()}
    return hidden, shown


@pytest.fixture
def toys(tmp_path, monkeypatch) -> Path:
    """A checkout with one exercise, for release and for `exercises build`."""
    root = tmp_path / "checkout"
    for folder in ("solutions", "exercises"):
        (root / folder).mkdir(parents=True)
    (root / "constraints.txt").write_text("torch==2.15.0\n")
    (root / "pyproject.toml").write_text((checkout() / "pyproject.toml").read_text())
    (root / "solutions" / "sol_01_toy.ipynb").write_text(notebook())
    for module in (build, release):
        monkeypatch.setattr(module, "checkout", lambda: root)
    build.build()
    return root


def test_the_courses_release_gives_nothing_away(tmp_path):
    solutions = sorted((checkout() / "solutions").glob("sol_*.ipynb"))
    packed = release.release(tmp_path / "handout")
    hidden, shown = hidden_and_shown(solutions)
    secret = {line for line in hidden - shown if len(line) > 8}
    assert len(secret) > 20 * len(solutions)
    with zipfile.ZipFile(packed) as archive:
        contents = {
            name.removeprefix("handout/"): archive.read(name).decode()
            for name in archive.namelist()
        }
    folder = tmp_path / "handout"
    assert contents == {
        str(p.relative_to(folder)): p.read_text() for p in folder.rglob("*") if p.is_file()
    }
    for name, content in contents.items():
        assert not re.search(r"BEGIN (SOLUTION|HIDDEN)|END (SOLUTION|HIDDEN)|\.grade\(", content), (
            name
        )
        lines = content.splitlines()
        if name.endswith(".ipynb"):
            made = json.loads(content)
            lines = [line for cell in made["cells"] for line in text(cell["source"]).splitlines()]
            assert not any(cell.get("outputs") for cell in made["cells"])
        assert not secret & {line.strip() for line in lines}, name
    names = {f"exercises/ex_{path.stem.removeprefix('sol_')}.ipynb" for path in solutions}
    assert set(contents) == names | {
        "README.md",
        "requirements.txt",
        "constraints.txt",
        "release.json",
    }
    for name in names:
        assert f"]({name})" in contents["README.md"]


def test_the_package_is_pinned_and_data_are_explained(toys, tmp_path):
    release.release(tmp_path / "out")
    (line,) = [
        line
        for line in (tmp_path / "out" / "requirements.txt").read_text().splitlines()
        if line[:1] != "#"
    ]
    wanted = Requirement(line)
    assert (wanted.name, wanted.extras) == ("kdcourse", {"lab"}) and wanted.url.endswith(
        f"@v{__version__}"
    )
    readme = (tmp_path / "out" / "README.md").read_text()
    assert "kdcourse data get" in readme and __version__ in readme and "| 3 | 6 |" in readme
    assert (tmp_path / "out" / "constraints.txt").read_text() == "torch==2.15.0\n"


def test_exercises_out_of_step_are_not_released(toys, tmp_path):
    (toys / "solutions" / "sol_01_toy.ipynb").write_text(
        notebook(choice="### BEGIN SOLUTION\nx = 1\n### END SOLUTION")
    )
    with pytest.raises(UsageError, match="ex_01_toy.ipynb.*kdcourse exercises build"):
        release.release(tmp_path / "out")
    assert not (tmp_path / "out").exists() and not (tmp_path / "out.zip").exists()


def test_a_marker_that_was_overlooked_is_not_released(toys, tmp_path, monkeypatch):
    monkeypatch.setattr(release, "build", lambda check: [])
    (toys / "exercises" / "ex_01_toy.ipynb").write_text(notebook())
    with pytest.raises(DataError, match="ex_01_toy"):
        release.release(tmp_path / "out")
    assert [path.name for path in tmp_path.iterdir()] == ["checkout"]


def test_an_earlier_release_is_replaced_whole_and_nothing_else_is(toys, tmp_path):
    first = release.release(tmp_path / "out").read_bytes()
    (tmp_path / "out" / "exercises" / "ex_99_gone.ipynb").write_text("{}")
    assert release.release(tmp_path / "out").read_bytes() == first
    assert [path.name for path in (tmp_path / "out" / "exercises").iterdir()] == ["ex_01_toy.ipynb"]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["checkout", "out", "out.zip"]
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thesis.txt").write_text("years of work")
    with pytest.raises(UsageError, match="something else"):
        release.release(tmp_path / "mine")
    with pytest.raises(UsageError, match="is a file"):
        release.release(tmp_path / "mine" / "thesis.txt")
    assert (tmp_path / "mine" / "thesis.txt").read_text() == "years of work"


def test_from_the_command_line(toys, tmp_path):
    result = CliRunner().invoke(main, ["release", str(tmp_path / "out")])
    assert result.exit_code == 0 and "out.zip" in result.output
    (toys / "exercises" / "ex_01_toy.ipynb").unlink()
    result = CliRunner().invoke(main, ["release", str(tmp_path / "out")])
    assert result.exit_code == 2 and "out of step" in result.output
