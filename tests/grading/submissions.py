"""Made submissions of the toy exercise: honest, careless and hostile."""

import io
import os
import zipfile
from pathlib import Path

import toy_exercise
from toy_exercise import DOUBLED, notebook

HERE = Path(toy_exercise.__file__).parent
ROOT = HERE.parent.parent
SLEEP = "98765"  # seconds, by which a process that should not be there is known

STUB = "raise NotImplementedError('choice: your turn')"
UNSTOPPABLE = """
def doubled(x):
    while True:
        try:
            while True:
                pass
        except BaseException:
            pass
"""
FORK_BOMB = """
import os
def doubled(x):
    while True:
        try:
            os.fork()
        except OSError:
            pass
"""
DAEMON = f"""
import os, subprocess
subprocess.Popen(["sleep", "{SLEEP}"], start_new_session=True)
def doubled(x):
    if os.fork() == 0:
        os.setsid()
        if os.fork() == 0:
            os.execvp("sleep", ["sleep", "{SLEEP}"])
    return 2 * x
"""
KILL = """
import os, signal
def doubled(x):
    for victim in (os.getppid(), 1, -1):
        try:
            os.kill(victim, signal.SIGKILL)
        except OSError as error:
            print(error)
    return 3 * x
"""
PATCH = """
import builtins, sys, types, torch
from kdcourse.checking import safe_call
safe_call.same = torch.allclose = torch.equal = lambda *args, **kwargs: True
torch.Tensor.allclose = torch.Tensor.equal = torch.Tensor.__eq__ = lambda *args, **kwargs: True
builtins.AssertionError = type("Never", (Exception,), {})
for name in ("task", "expect"):
    sys.modules[f"kdcourse.checking.{name}"] = types.ModuleType(name)
def doubled(x):
    return 3 * x
"""
FORGE = """
import os, struct
reply = b'{{"dict": [["right", true], ["points", 9]]}}'
def doubled(x):
    for number in range(3, 64):
        try:
            os.write(number, {message})
        except OSError:
            pass
    return 3 * x
"""
FORGED, HUGE = "struct.pack('>II', len(reply), 0) + reply", "b'\\xff' * 100"
PEEK = """
import glob, os, subprocess
def doubled(x):
    for path in {paths!r}:
        print(subprocess.run(["cat", path], capture_output=True, text=True))
    print("seen:", glob.glob("/home/*"), os.listdir({root!r}), sorted(os.environ))
    return open({paths!r}[0]).read()
"""
CONNECT = """
import socket
def doubled(x):
    for address in {addresses!r}:
        try:
            with socket.create_connection(address, timeout=2) as connection:
                connection.send(b"hello")
                print("connected")
        except OSError as error:
            print(error)
    return 2 * x
"""
WRITE = """
import os
def doubled(x):
    for path in {paths!r}:
        try:
            os.makedirs(os.path.dirname(path), exist_ok=True)
            open(path, "w").write("was here")
            print("written", path)
        except OSError as error:
            print(error)
    for folder in ("/tmp", "/dev/shm"):
        try:
            for number in range(9):
                open(f"{{folder}}/{{number}}", "wb").write(b"0" * 10_000_000)
            print("filled", folder)
        except OSError as error:
            print(error)
    return 2 * x
"""
HOSTILE = "=1+1 <img src=x onerror=alert(1)>"


def honest() -> dict[str, tuple]:
    """By student: the notebook's text, and the expected fault of each task that is not right."""
    no_kernel = {"kernelspec": {"name": "julia-1.9", "display_name": "Julia", "language": "julia"}}
    return {
        "right": (notebook(), {}),
        "otherwise": (
            notebook(doubled="def doubled(x):\n    return [v + v for v in x.tolist()]"),
            {},
        ),
        "partly": (
            notebook(doubled="def doubled(x):\n    return x**2", choice="choice = 'a'"),
            {"doubled": "square", "choice": "choice"},
        ),
        "empty": (
            notebook(
                doubled=f"def doubled(x):\n    {STUB}",
                frozen=f"def frozen(n):\n    {STUB}",
                choice=STUB,
            ),
            dict.fromkeys(toy_exercise.POINTS, "stub"),
        ),
        "nothing": (
            notebook(doubled="", frozen=None, choice="# TODO"),
            dict.fromkeys(toy_exercise.POINTS, "missing"),
        ),
        "kernel": (notebook(kernel=no_kernel), {}),
        "no metadata": (notebook(kernel={}, marks=False), {}),
        "no tests": (notebook(checks=False), {}),
        "extra": (
            notebook(
                before=["import nonsense_that_is_not_here", "1 / 0"],
                after=["del doubled", "exit()"],
            ),
            {},
        ),
        "helper": (
            notebook(
                before=["def helper(x):\n    pass"], doubled="def doubled(x):\n    return helper(x)"
            ),
            {"doubled": "raised"},
        ),
        "other setup": (notebook(setup="factor = 3"), {}),
        "syntax": (notebook(doubled="def doubled(x)\n    return 2 * x"), {"doubled": "raised"}),
        "raises": (
            notebook(frozen="def frozen(network):\n    return network.nothing"),
            {"frozen": "raised"},
        ),
        "unfrozen": (
            notebook(frozen="def frozen(n):\n    return sum(p.sum() for p in n.parameters())"),
            {"frozen": "training mode"},
        ),
        "in place": (
            notebook(doubled="def doubled(x):\n    x *= 2\n    return x"),
            {"doubled": "changed input"},
        ),
        "object": (notebook(doubled="def doubled(x):\n    return print"), {"doubled": "type"}),
        "test in cell": (notebook(doubled=f"{DOUBLED}\nassert False, 'a test of my own'"), {}),
    }


def cases(folder: Path, port: int) -> dict[str, tuple]:
    """Submissions by student: the notebook's text, and the fault that is expected of each task that
    is not right.
    """
    paths = [
        str(folder / "sol" / "sol_toy.ipynb"),
        str(folder / "submissions" / "right.ipynb"),
        "/etc/passwd",
    ]
    outside = [
        str(folder / "out" / "grades.csv"),
        str(Path.home() / "x"),
        "/usr/x",
        "/x",
        str(HERE / "x.py"),
    ]
    addresses = [("127.0.0.1", port), ("1.1.1.1", 53), ("localhost", port)]
    return {
        **honest(),
        # careless
        "loop": (
            notebook(doubled="def doubled(x):\n    while True:\n        pass"),
            {"doubled": "time"},
        ),
        "loop in cell": (notebook(doubled="while True:\n    pass"), {"doubled": "time"}),
        "unstoppable": (notebook(doubled=UNSTOPPABLE), {"doubled": "time"}),
        "large": (
            notebook(doubled="def doubled(x):\n    return torch.ones(10**10 // 4)"),
            {"doubled": "raised"},
        ),
        "large, shared": (
            notebook(doubled="import mmap\ndef doubled(x):\n    return mmap.mmap(-1, 10**10)"),
            {"doubled": "raised"},
        ),
        "large answer": (
            notebook(doubled="def doubled(x):\n    return torch.ones(3 * 10**7)"),
            {"doubled": "unreadable"},
        ),
        "flood": (
            notebook(doubled="for _ in range(1000):\n    print('x' * 10**6)\n" + DOUBLED),
            {},
        ),
        "flood below": (
            notebook(
                doubled="import os\nfor _ in range(1000):\n    os.write(1, b'x' * 10**6)\n"
                + DOUBLED
            ),
            {},
        ),
        "exit": (
            notebook(doubled="import os\ndef doubled(x):\n    os._exit(0)"),
            {"doubled": "died"},
        ),
        "exit in cell": (notebook(frozen="import os\nos._exit(0)"), {"frozen": "died"}),
        "system exit": (
            notebook(doubled="import sys\nsys.exit()", choice="choice = 'b'\nquit()"),
            {"doubled": "raised"},
        ),
        # hostile
        "fork bomb": (notebook(doubled=FORK_BOMB), {"doubled": "time"}),
        "daemon": (notebook(doubled=DAEMON), {}),
        "kill": (notebook(doubled=KILL), {"doubled": "factor"}),
        "patch": (notebook(doubled=PATCH), {"doubled": "factor"}),
        "forge": (notebook(doubled=FORGE.format(message=FORGED)), {"doubled": "unreadable"}),
        "forge, huge": (notebook(doubled=FORGE.format(message=HUGE)), {"doubled": "unreadable"}),
        "peek": (notebook(doubled=PEEK.format(paths=paths, root=str(ROOT))), {"doubled": "raised"}),
        "connect": (notebook(doubled=CONNECT.format(addresses=addresses)), {}),
        "write": (notebook(doubled=WRITE.format(paths=outside)), {}),
        HOSTILE: (
            notebook(
                doubled="def doubled(x):\n"
                "    raise ValueError('<img src=x onerror=alert(2)>\\ud800\\0')"
            ),
            {"doubled": "raised"},
        ),
    }


REFUSED = {  # submissions that are no notebooks of the exercise, and a word of why
    "not json": (b"PK not a notebook", "not JSON"),
    "not a notebook": (b'{"cells": 3}', "no cells"),
    "deep": (b"[" * 200_000, "not JSON"),
    "big": (b" " * 50_000_001, "50 MB"),
    "stranger": (b'{"cells": [{"cell_type": "code", "source": "x = 1"}]}', "Which exercise"),
}


def in_folders(submissions: Path, instructor: Path) -> None:
    """Submissions that are folders, zips and links."""
    for name in ("versions", "zipped"):
        (submissions / name).mkdir()
    (submissions / "versions" / "ex_toy.ipynb").write_text(notebook(choice="choice = 'a'"))
    (submissions / "versions" / "final (2).ipynb").write_text(notebook())
    os.utime(submissions / "versions" / "ex_toy.ipynb", (1e9, 1e9))
    inner = io.BytesIO()
    with zipfile.ZipFile(inner, "w") as archive:
        archive.writestr("deep/my toy.ipynb", notebook())
    with zipfile.ZipFile(submissions / "zipped" / "all.zip", "w") as archive:
        archive.writestr("inner.zip", inner.getvalue())
        archive.writestr("../../evil.ipynb", notebook())
        archive.writestr("/absolute.ipynb", notebook())
        link = zipfile.ZipInfo("link.ipynb")
        link.external_attr = 0o120777 << 16
        archive.writestr(link, str(instructor))
    with zipfile.ZipFile(submissions / "bomb.zip", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("bomb.ipynb", b"0" * 100_000_000)
    (submissions / "damaged.zip").write_bytes(b"PK\x03\x04 and no more")
    (submissions / "linked.ipynb").symlink_to(instructor)
