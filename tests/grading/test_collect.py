"""Submissions: whose a file is, zips within zips, and files that are refused."""

import io
import os
import zipfile
from pathlib import Path

import pytest

from kdcourse.common.errors import UsageError
from kdcourse.grading import collect

EMPTY = b"{}"


def collected(root: Path, tmp_path: Path) -> list[tuple[str, str]]:
    (tmp_path / "scratch").mkdir()
    return [
        (found.student, found.refused or found.name)
        for found in collect.collect(root, tmp_path / "scratch")
    ]


def packed(path: Path, *names: str, **content: bytes) -> Path:
    with zipfile.ZipFile(path, "w") as archive:
        for name in names:
            archive.writestr(name, EMPTY)
        for name, data in content.items():
            archive.writestr(name, data)
    return path


@pytest.mark.parametrize(
    ("name", "student"),
    [
        ("ada/ex_04_response.ipynb", "ada"),
        ("ada/ex_04/ex_04.ipynb", "ada"),
        ("ada/deep/er/homework.ipynb", "ada"),
        ("ada_ex_04_response_distillation.ipynb", "ada"),
        ("Ada Lovelace - ex04 (2).ipynb", "Ada Lovelace"),
        ("alex04.ipynb", "alex04"),
        ("ex_04_response_distillation.ipynb", "ex_04_response_distillation"),
        ("Ada Lovelace_123_assignsubmission_file_/ex_04.ipynb", "Ada Lovelace_123"),
        ("Ada Lovelace_123_assignsubmission_file_ex_04.ipynb", "Ada Lovelace_123"),
        ("lovelaceada_LATE_123_4567_ex_04.ipynb", "lovelaceada_LATE_123"),
        ("lovelaceada_123_4567_ex_04.ipynb", "lovelaceada_123"),
        ("Ünïcode/ex.ipynb", "Ünïcode"),
    ],
)
def test_a_student_is_named_by_folder_or_file(tmp_path, name, student):
    path = tmp_path / "in" / name
    path.parent.mkdir(parents=True)
    path.write_bytes(EMPTY)
    assert collected(tmp_path / "in", tmp_path) == [(student, name)]
    (tmp_path / "again").mkdir()
    zipped = packed(tmp_path / "class.zip", name, "zed/ex_04.ipynb")
    assert (student, name) in collected(zipped, tmp_path / "again")


def test_a_folder_around_them_all_is_no_student(tmp_path):
    zipped = packed(
        tmp_path / "class.zip",
        "hand-in/ada/one.ipynb",
        "hand-in/bob/deep/two.ipynb",
        "__MACOSX/x/y.ipynb",
    )
    assert collected(zipped, tmp_path) == [("ada", "ada/one.ipynb"), ("bob", "bob/deep/two.ipynb")]


def test_who_handed_in_no_notebook_is_not_forgotten(tmp_path):
    """Neither from a folder nor from the platform's zip; other files beside a notebook are
    nothing.
    """
    source = tmp_path / "all"
    files = ["ada/ex_01.ipynb", "ada/notes.pdf", "zed/notes.pdf", "zed/more.txt", "bob_ex_02.pdf"]
    files += ["Eve_7_assignsubmission_file_x.txt"]
    files += ["README.txt", "participants.csv", ".DS_Store", "__MACOSX/zed/._notes.pdf"]
    for name in files:
        (source / name).parent.mkdir(parents=True, exist_ok=True)
        (source / name).write_text("{}")
    with zipfile.ZipFile(tmp_path / "all.zip", "w") as archive:
        for name in files:
            archive.write(source / name, name)
        archive.write(source / "zed/notes.pdf", "kim/answer.zip.pdf")
    for what, more in ((source, {}), (tmp_path / "all.zip", {"kim": True})):
        scratch = tmp_path / f"scratch-{what.name}"
        scratch.mkdir()
        found = collect.collect(what, scratch)
        refused = {submission.student: "No notebook" in submission.refused for submission in found}
        assert refused == {"ada": False, "bob": True, "Eve_7": True, "zed": True} | more
        assert len(found) == len(refused)


def test_zips_within_zips_end(tmp_path):
    inner = packed(tmp_path / "0.zip", "ex_04.ipynb").read_bytes()
    for _ in range(4):
        buffer = io.BytesIO()
        with zipfile.ZipFile(buffer, "w") as archive:
            archive.writestr("in.zip", inner)
        inner = buffer.getvalue()
    ((student, told),) = collected(packed(tmp_path / "class.zip", **{"ada.zip": inner}), tmp_path)
    assert student == "ada" and "more than 3 deep" in told


def test_one_students_zip_cannot_use_up_the_room_of_another(tmp_path, monkeypatch):
    monkeypatch.setattr(collect, "MAX_ZIP", 3_000_000)
    (tmp_path / "in").mkdir()
    for name, count in (("greedy", 5), ("modest", 1)):
        with zipfile.ZipFile(tmp_path / "in" / f"{name}.zip", "w", zipfile.ZIP_DEFLATED) as archive:
            for number in range(count):
                archive.writestr(f"{number}.ipynb", b" " * 1_000_000)
    found = collected(tmp_path / "in", tmp_path)
    assert ("modest", "modest/0.ipynb") in found
    assert sum("allowed" in told for student, told in found if student == "greedy") == 2


def test_what_is_no_plain_file_and_names_that_are_no_text_are_survived(tmp_path):
    folder = tmp_path / "in" / "ada"
    folder.mkdir(parents=True)
    os.mkfifo(folder / "pipe.ipynb")
    (folder / "elsewhere").symlink_to("/etc")
    (folder / os.fsdecode(b"\xff\x1b[31m.ipynb")).write_bytes(EMPTY)
    told = [name for _, name in collected(tmp_path / "in", tmp_path)]
    assert any("Not a plain file" in name for name in told) and any("link" in name for name in told)
    assert "\x1b" not in "".join(told) and "".join(told).encode()


@pytest.mark.parametrize(
    ("name", "why"), [("none", "no such folder"), ("file.txt", "no zip"), ("empty", "no notebooks")]
)
def test_nothing_to_grade_is_said(tmp_path, name, why):
    (tmp_path / "file.txt").write_text("hello")
    (tmp_path / "empty").mkdir()
    with pytest.raises(UsageError, match=why):
        collected(tmp_path / name, tmp_path)
