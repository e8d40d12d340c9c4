"""The parts of grading: whose a file is, which cells count, what goes over the wire, and the
sandbox itself.
"""

import io
import json
import os
import struct
import time
import zipfile
from pathlib import Path

import numpy as np
import psutil
import pytest
import torch
from toy_exercise import DOUBLED, check_cell, marked, notebook

import kdcourse
from kdcourse.checking.safe_call import AnswerPart, same
from kdcourse.common.errors import DataError, UsageError
from kdcourse.exercises import tasks
from kdcourse.grading import collect, merge, protocol, report, sandbox
from kdcourse.grading.grade import exercises
from kdcourse.grading.judge import judge

EMPTY = b"{}"


# --- whose ----------------------------------------------------------------------------------------


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


# --- which cells ----------------------------------------------------------------------------------


@pytest.fixture
def steps(tmp_path):
    (tmp_path / "sol_toy.ipynb").write_text(notebook())
    return merge.instructor_steps(tmp_path / "sol_toy.ipynb")


def planned(text: str, steps) -> merge.Plan:
    return merge.assemble(json.loads(text), steps)


def test_the_instructors_cells_with_the_students_solutions(steps):
    mine = "def doubled(x):\n    return x + x"
    plan = planned(notebook(doubled=mine, setup="factor = 3", after=["del doubled"]), steps)
    assert [(step.kind, step.task) for step in plan.steps] == [
        ("given", ""), ("solution", "doubled"), ("task", "doubled"), ("solution", "frozen"), ("task", "frozen"),
        ("solution", "choice"), ("task", "choice"),
    ]  # fmt: skip
    assert plan.steps[0].source == "import torch\n\nfactor = 2" and plan.steps[1].source == mine
    assert "BEGIN" not in "".join(step.source for step in plan.steps[:3])
    assert plan.found == {"doubled": True, "frozen": True, "choice": True} and not plan.notes


def test_a_copied_cell_the_last_that_was_written_counts(steps):
    made = json.loads(notebook(doubled="def doubled(x):\n    return 1"))
    copy = marked("doubled", "def doubled(x):\n    return 2", solution=True)
    stub = marked("doubled", "def doubled(x):\n    raise NotImplementedError", solution=True)
    made["cells"] += [copy, stub]
    plan = merge.assemble(made, steps)
    assert plan.steps[1].source.endswith("return 2") and "3 cells bear its mark" in plan.notes[0]


def test_an_answer_in_another_cell_is_found_by_its_name(steps):
    plan = planned(notebook(doubled="# below", after=["doubled = lambda x: 2 * x"]), steps)
    assert (
        plan.steps[1].source == "doubled = lambda x: 2 * x" and "defines `doubled`" in plan.notes[0]
    )


@pytest.mark.parametrize(
    "made",
    [
        {
            "cells": [
                1,
                None,
                {"cell_type": "code"},
                {"cell_type": "code", "source": 5, "metadata": []},
            ]
        },
        {
            "cells": [
                {
                    "cell_type": "code",
                    "source": "x",
                    "metadata": {"nbgrader": {"grade_id": ["a"], "solution": True}},
                }
            ]
        },
        {"cells": [{"cell_type": "code", "source": ["a", 1], "metadata": {"nbgrader": 3}}]},
    ],
)
def test_cells_that_are_none_are_survived(steps, made):
    assert set(merge.assemble(made, steps).found.values()) == {False}


@pytest.mark.parametrize(
    ("text", "file", "exercise"),
    [
        (notebook(), "ex_05 but really another.ipynb", "toy"),
        (notebook(marks=False, doubled="1", frozen="1", choice="1"), "my Ex5 final.ipynb", "ex05"),
        (notebook(marks=False), "homework.ipynb", "toy"),
        (
            notebook(marks=False, doubled="def doubled(x)\n    pass", frozen="1", choice="1"),
            "homework.ipynb",
            "toy",
        ),
    ],
)
def test_which_exercise_by_marks_then_file_name_then_names(steps, text, file, exercise):
    other = [merge.GradedCell("solution", "", "other"), merge.GradedCell("task", "other", "other")]
    assert merge.recognise(json.loads(text), file, {"ex05": other, "toy": steps}) == exercise


@pytest.mark.parametrize(
    ("source", "names"),
    [
        (
            "def f(): pass\nclass C: pass\na, b = 1, 2\nimport os.path as p, sys\nc: int = 3",
            "f C a b p sys c",
        ),
        ("def f(x)\n    y = 1\nz = 2", "f z"),
        ("%matplotlib inline\nx = 1", "x"),
        ("", ""),
        ("\0", ""),
    ],
)
def test_the_names_that_a_cell_defines(source, names):
    assert merge.defines(source) == set(names.split())


def test_a_damaged_instructors_notebook_is_named(tmp_path):
    path = tmp_path / "sol_toy.ipynb"
    path.write_text(notebook().replace("toy_exercise.choice.check", "toy_exercise.choice.chek"))
    with pytest.raises(DataError, match="sol_toy.*does not call"):
        merge.instructor_steps(path)
    made = json.loads(notebook(choice=None))
    path.write_text(json.dumps(made))
    with pytest.raises(DataError, match="one solution cell and one check cell"):
        merge.instructor_steps(path)
    assert check_cell("choice")["metadata"]["nbgrader"]["points"] == 1 and "SOLUTION" in DOUBLED


# --- the wire -------------------------------------------------------------------------------------


def sent(value):
    message = protocol.pack(value)
    header, arrays = protocol.lengths(message[: protocol.PREFIX.size])
    body = message[protocol.PREFIX.size :]
    assert len(body) == header + arrays
    return protocol.unpack(body[:header], body[header:])


VALUES = [
    None, True, 3, 10**30, 1.5, float("inf"), "ü\ud800", 1 + 2j, [1, [2.0, ()]], (1, "a"), {"a": 1, 2: (3,), None: []},
    torch.rand(2, 3), torch.rand(2, 3).double().T, torch.tensor(3), torch.zeros(0, 4), torch.tensor([True, False]),
    torch.rand(3).bfloat16(), torch.rand(3).half(), torch.tensor([1 + 2j]), torch.rand(4, 4)[:, ::2],
    np.arange(6).reshape(2, 3)[:, ::-1], np.float32(1.5), np.int8(-3), np.bool_(True), np.array(["a", "bcd"]),
    np.zeros((0, 2)), np.float64("nan"),
]  # fmt: skip


@pytest.mark.parametrize("value", VALUES, ids=lambda value: type(value).__name__)
def test_plain_data_arrive_as_they_were(value):
    assert same(sent(value), value)
    assert same(sent([value, {"x": value}]), [value, {"x": value}])


def test_gradients_and_pieces_arrive():
    assert sent(torch.ones(2, requires_grad=True)).requires_grad
    assert sent((AnswerPart("tiny_network", (1, [2])),)) == (AnswerPart("tiny_network", (1, [2])),)


@pytest.mark.parametrize(
    "value", [object(), {1, 2}, np.array([object()]), print, [torch.nn.Linear(1, 1)]]
)
def test_what_is_no_plain_data_is_not_sent(value):
    with pytest.raises(TypeError):
        protocol.pack(value)


def test_too_much_is_not_sent_and_not_read():
    with pytest.raises(protocol.Unreadable, match="MB"):
        protocol.pack(torch.zeros(protocol.MAX_ARRAYS // 4 + 1))
    with pytest.raises(protocol.Unreadable):
        protocol.lengths(b"\xff" * 8)
    endless: list = []
    endless.append(endless)
    with pytest.raises(TypeError):
        protocol.pack(endless)


@pytest.mark.parametrize(
    "header",
    [
        b"", b"\xff", b"[", b"[" * 100_000, b'{"a": 1, "b": 2}', b"{}", b'{"other": 1}', b'{"tuple": 3}',
        b'{"dict": [[[1], 2]]}', b'{"dict": [1]}', b'{"tensor": ["float32", [2], false]}', b'{"tensor": []}',
        b'{"tensor": ["float32", [-1], false]}', b'{"tensor": ["os", [1], false]}', b'{"tensor": [[], [1], false]}',
        b'{"tensor": ["float32", [1e9], false]}', b'{"tensor": ["uint8", [99999999999999999999], false]}',
        b'{"array": ["O8", [1], false]}', b'{"array": ["f4,i4", [1], false]}', b'{"array": ["U9", [1], false]}',
        b'{"array": ["V8", [1], false]}', b'{"strings": [[2], ["a"], false]}', b'{"piece": [1]}',
        b'{"complex": [1, 2, 3]}', b"1" * 5000,
    ],
)  # fmt: skip
def test_a_forged_message_is_unreadable_and_nothing_worse(header):
    with pytest.raises(protocol.Unreadable):
        protocol.unpack(header, b"12345678"[: 4 if b"float32" in header else 8])


def test_forged_booleans_are_true_or_false():
    value = protocol.unpack(
        b'[{"tensor": ["bool", [2], false]}, {"array": ["b1", [2], false]}]', b"\x07\x00\x02\x00"
    )
    assert value[0].tolist() == [True, False] and value[1].tolist() == [True, False]
    assert value[0].view(torch.uint8).max() == 1


# --- the sandbox ----------------------------------------------------------------------------------

LIMITS = sandbox.Limits(memory=1303, processes=40, files=11, start_seconds=300)
MANY = """
import os, time
for _ in range(20):  # each within its limit, together far beyond
    if os.fork() == 0:
        kept = os.urandom(1 << 20) * 200
        time.sleep(300)
time.sleep(300)
"""


@pytest.fixture(scope="module")
def bubblewrap():
    if why := sandbox.refusal():
        pytest.skip(f"no sandbox: {why}")


@pytest.fixture
def inside(bubblewrap):
    """`inside(source)`: what a cell in a sandbox prints, in which one of the package's folders is
    hidden.
    """
    hidden = Path(kdcourse.__file__).parent / "shipping"
    box = sandbox.Sandbox(LIMITS, hidden=[hidden])

    def run(source: str) -> str:
        reply = box.ask("cell", source, seconds=60)
        return reply["printed"] + " ".join(reply["error"] or ())

    yield run
    box.close()


def test_within_there_is_nothing_to_see_write_or_talk_to(inside, monkeypatch):
    package = Path(kdcourse.__file__).parent
    assert "Permission" in inside(f"import os; os.listdir({str(package / 'shipping')!r})")
    assert (
        inside("print(*map(os.path.exists, ('/home', '/sys', '/etc/passwd')))")
        == "False False False\n"
    )
    assert set(inside(f"print(*os.listdir({str(package.parent)!r}))").split()) <= {
        "kdcourse",
        Path(".venv").name,
    }
    assert (
        inside(
            "print(*sorted(set(os.environ) & {'KDCOURSE_DATA', 'SSH_AUTH_SOCK', 'VIRTUAL_ENV'}))"
        ).strip()
        == ""
    )
    for path in ("/x", "/usr/x", f"{package}/x", "/dev/x", "/etc/x"):
        assert "Error" in inside(f"open({path!r}, 'w')")
    assert inside("open('/tmp/x', 'w').write('here'); print('written')") == "written\n"
    assert "Error" in inside(
        "import socket; socket.create_connection(('127.0.0.1', 22), timeout=2)"
    )
    assert inside("print(*[p for p in os.listdir('/proc') if p.isdecimal()])").split()[0] == "1"
    assert int(inside("print(len([p for p in os.listdir('/proc') if p.isdecimal()]))")) <= 3
    assert "Error" in inside("os.setuid(0)")
    assert (
        inside(
            "import ctypes; print(ctypes.CDLL(None, use_errno=True).mount(b'none', b'/tmp', "
            "b'tmpfs', 0, None))"
        )
        == "-1\n"
    )
    assert "FileNotFoundError" in inside(
        "import kdcourse; open(kdcourse.__path__[0] + '/../solutions/x')"
    )
    assert "Error" in inside(
        "import resource; resource.setrlimit(resource.RLIMIT_NPROC, (999, 999))"
    )


def test_memory_of_all_its_processes_together_is_bounded(bubblewrap):
    box = sandbox.Sandbox(LIMITS)
    try:
        with pytest.raises(sandbox.Lost, match="memory"):
            box.ask("cell", MANY, seconds=240)
    finally:
        box.close()


def test_what_does_not_end_or_does_not_read_is_ended(bubblewrap):
    box = sandbox.Sandbox(LIMITS)
    with pytest.raises(sandbox.Lost, match="time"):
        box.ask("cell", "import time; time.sleep(60)", seconds=0.5)
    assert box.process.returncode is not None
    box = sandbox.Sandbox(LIMITS)
    for process in psutil.Process(box.process.pid).children(recursive=True):
        process.suspend()
    began = time.monotonic()
    with pytest.raises(sandbox.Lost, match="time"):
        box.ask("call", "x", (torch.zeros(10**7),), {}, 1.0, seconds=1)  # more than a pipe holds
    assert time.monotonic() - began < 30


def test_limits_that_cannot_be_are_said():
    with pytest.raises(UsageError, match="seconds=0"):
        sandbox.Limits(seconds=0)
    with pytest.raises(UsageError, match="at least 1200"):
        sandbox.Limits(memory=500)


# --- the course's exercises -----------------------------------------------------------------------


@pytest.fixture(scope="module")
def one_box(bubblewrap):
    """One sandbox for all exercises, which need not be kept apart here."""
    box = sandbox.Sandbox(sandbox.Limits(start_seconds=300))
    yield box
    box.close()


class Lent:
    """A sandbox that is not closed after use."""

    def __init__(self, box):
        self.ask = box.ask

    def close(self):
        pass


@pytest.mark.parametrize("exercise", exercises(), ids=lambda exercise: exercise.name)
def test_every_exercise_can_be_judged_from_without(one_box, exercise):
    steps = merge.instructor_steps(exercise.notebook)
    unsolved = exercise.notebook.parent.parent / "exercises" / f"ex_{exercise.title}.ipynb"
    for path, faults in ((unsolved, {"stub"}), (exercise.notebook, {""})):
        made = merge.read(path)
        assert merge.recognise(made, "x.ipynb", {exercise.name: steps}) == exercise.name
        plan = merge.assemble(made, steps)
        results = list(
            judge(
                plan, tasks(exercise.name), lambda: Lent(one_box), sandbox.Limits(start_seconds=300)
            )
        )
        assert {result.fault for result in results} == faults, [
            result for result in results if result.fault
        ]
        assert [result.task for result in results] == list(tasks(exercise.name))
        assert all(result.points == (0 if result.fault else result.of) for result in results)


# --- names and cells of tables --------------------------------------------------------------------


def test_file_names_are_safe_and_differ():
    names = ["ada", "Ada", "../../etc/passwd", "a/b", "a b", "", "💥", "x" * 300, "con", "‮evil"]
    slugs = list(map(report.slug, names))
    assert len(set(map(str.lower, slugs))) == len(names)
    assert all(
        len(slug) < 60
        and set(slug) <= set("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-")
        for slug in slugs
    )


def test_formulas_are_text_in_tables():
    table = report._csv(("a",), [("=1+1",), ("\t@x",), ("-2",), (-2,), ("fine\r\nnext",)])
    assert table.split("\r\n") == ["a", "'=1+1", "'@x", "'-2", "-2", "fine next", ""]
    assert struct.calcsize(">II") == protocol.PREFIX.size
