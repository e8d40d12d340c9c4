"""The sandbox itself."""

import time
from pathlib import Path

import psutil
import pytest
import torch

import kdcourse
from kdcourse.common.errors import UsageError
from kdcourse.grading import sandbox

LIMITS = sandbox.Limits(memory=1303, processes=40, files=11, start_seconds=300)
MANY = """
import os, time
for _ in range(20):  # each within its limit, together far beyond
    if os.fork() == 0:
        kept = os.urandom(1 << 20) * 200
        time.sleep(300)
time.sleep(300)
"""


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


@pytest.mark.slow
def test_memory_of_all_its_processes_together_is_bounded(bubblewrap):
    box = sandbox.Sandbox(LIMITS)
    try:
        with pytest.raises(sandbox.Lost, match="memory"):
            box.ask("cell", MANY, seconds=240)
    finally:
        box.close()


@pytest.mark.slow
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
