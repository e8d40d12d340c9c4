"""Atomic writes: the whole file or the older one, and nothing beside it."""

import pytest

from kdcourse.common import files


def test_a_file_is_replaced_as_a_whole_and_its_folder_is_made(tmp_path):
    path = tmp_path / "new" / "a.txt"
    for content in (b"one", b"two"):
        files.write_whole(path, content)
        assert path.read_bytes() == content
    assert list(path.parent.iterdir()) == [path]


def test_an_error_while_writing_leaves_the_older_file_alone(tmp_path):
    path = tmp_path / "a.txt"
    path.write_text("older")
    with pytest.raises(ZeroDivisionError):
        with files.replacing(path) as temporary:
            assert temporary.suffix == ".partial" and temporary.parent == tmp_path
            temporary.write_text("half")
            raise ZeroDivisionError
    assert path.read_text() == "older" and list(tmp_path.iterdir()) == [path]


def test_a_file_that_another_process_holds_for_a_moment_is_moved_all_the_same(
    tmp_path, monkeypatch
):
    (tmp_path / "a").write_text("new")
    replace, refusals = files.os.replace, [PermissionError("held"), PermissionError("held")]

    def refused(source, target):
        if refusals:
            raise refusals.pop()
        replace(source, target)

    monkeypatch.setattr(files.os, "replace", refused)
    files.move(tmp_path / "a", tmp_path / "b")
    assert (tmp_path / "b").read_text() == "new"
