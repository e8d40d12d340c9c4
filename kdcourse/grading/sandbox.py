"""A process for a student's code that nothing gets out of but its answers: bubblewrap, limits, and
a worker in it.

Inside there are the system's programs and libraries, Python with its packages and this package, all
read-only, and an empty /tmp: no network, home, environment, solutions or submissions. Everything in
it ends with the process that started it.
"""

import contextlib
import json
import os
import select
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import kdcourse
from kdcourse.common.errors import UsageError
from kdcourse.grading import protocol

MB = 1_000_000
SYSTEM = ("/usr", "/bin", "/sbin", "/lib", "/lib32", "/lib64", "/libx32", "/nix/store")
SETTINGS = (
    "/etc/alternatives",
    "/etc/ld.so.cache",
    "/etc/ld.so.conf",
    "/etc/ld.so.conf.d",
    "/etc/localtime",
)
# What the student's code may know. No variable of the instructor's is passed on.
ENVIRONMENT = {
    "HOME": "/tmp",
    "IPYTHONDIR": "/tmp/.ipython",
    "KDCOURSE_PROFILE": "smoke",
    "KDCOURSE_WORK": "/tmp/work",
    "LANG": "C.UTF-8",
    "MPLBACKEND": "agg",
    "MPLCONFIGDIR": "/tmp/matplotlib",
    "OMP_NUM_THREADS": "1",
    "PATH": "/usr/bin:/bin",
    "PYTHONDONTWRITEBYTECODE": "1",
    "USER": "student",
}
WATCH = 0.25  # seconds between two looks at the memory
ENDING = 10  # seconds that the processes of a sandbox have to end
INSTALL = (
    "Install it (Debian, Ubuntu: sudo apt install bubblewrap; Fedora: sudo dnf install bubblewrap)"
)


class Lost(Exception):
    """The process is gone or was ended. why: "time", "memory", "died" or "unreadable". last_line:
    of its errors.
    """

    def __init__(self, why: str, last_line: str = ""):
        super().__init__(f"{why}: {last_line}" if last_line else why)
        self.why, self.last_line = why, last_line


@dataclass(frozen=True)
class Limits:
    """For one submission. seconds: of its own code, in all. memory: MB of a process. files: MB of
    one, and of /tmp.
    """

    seconds: float = 180.0
    cell_seconds: float = 60.0
    memory: int = 2000
    processes: int = 64
    files: int = 200
    start_seconds: float = 90.0

    def __post_init__(self):
        for name, value in asdict(self).items():
            if not value > 0:
                raise UsageError(f"{name}={value}: expected more than 0")
        if self.memory < 1200:
            raise UsageError(
                f"memory={self.memory} MB: expected at least 1200; PyTorch alone needs half of "
                "that."
            )


def refusal() -> str:
    """Why there can be no sandbox on this machine; "" if there can."""
    if not sys.platform.startswith("linux"):
        return (
            f"bubblewrap needs Linux, and this is {sys.platform}. Grade in a virtual machine or in "
            "WSL 2."
        )
    if not shutil.which("bwrap"):
        return f"bubblewrap (the program bwrap) is not here. {INSTALL}."
    command = [*_wrap(()), sys.executable, "-I", "-c", "import kdcourse"]
    tried = subprocess.run(
        command, capture_output=True, text=True, errors="replace", env=ENVIRONMENT
    )
    if tried.returncode:
        error = (tried.stderr.strip().splitlines() or [f"status {tried.returncode}"])[-1][:300]
        return (
            f"bubblewrap is here but does not work ({error}). It must be 0.8 or newer, and be "
            "allowed to make namespaces: in a container that needs --privileged; where AppArmor "
            "forbids it, a profile for bwrap."
        )
    return ""


def _wrap(hidden: Sequence[Path], limits: Limits = Limits()) -> list[str]:  # noqa: B008
    """The bubblewrap command, up to the program."""
    command = [
        shutil.which("bwrap") or "bwrap",
        "--die-with-parent",
        "--new-session",
        "--cap-drop",
        "ALL",
    ]
    command += ["--unshare-ipc", "--unshare-pid", "--unshare-net", "--unshare-cgroup-try"]
    command += ["--unshare-uts", "--hostname", "sandbox"]
    if _user() is not None:  # no namespace of users: the worker becomes another user
        command += ["--cap-add", "CAP_SETUID", "--cap-add", "CAP_SETGID"]
    else:
        command += ["--unshare-user", "--disable-userns"]
    for path in SYSTEM:
        if os.path.islink(path):
            command += ["--symlink", os.readlink(path), path]
        elif os.path.isdir(path):
            command += ["--ro-bind", path, path]
    command += ["--dir", "/etc"]
    for path in SETTINGS:
        command += ["--ro-bind-try", path, path]
    scratch = str(limits.files * MB)
    command += ["--proc", "/proc", "--dev", "/dev"]
    for path in ("/dev/shm", "/tmp"):
        command += ["--perms", "1777", "--size", scratch, "--tmpfs", path]
    for path in _python():
        command += _folders_above(path) + ["--ro-bind", path, path]
    for path in _visible(hidden):
        command += ["--perms", "0000", "--tmpfs", path, "--remount-ro", path]
    command += ["--perms", "1777", "--dir", ENVIRONMENT["MPLCONFIGDIR"]]
    for path in _font_list():
        command += ["--ro-bind", path, f"{ENVIRONMENT['MPLCONFIGDIR']}/{os.path.basename(path)}"]
    return [*command, "--remount-ro", "/dev", "--remount-ro", "/", "--chdir", "/tmp", "--"]


def _folders_above(path: str) -> list[str]:
    """Made on purpose: those that bubblewrap makes by itself are closed to other users than
    itself.
    """
    return [word for folder in list(Path(path).parents)[-2::-1] for word in ("--dir", str(folder))]


def _user() -> int | None:
    """If root grades: an id for the student's code, another for each judge. Root's processes have
    no limit.

    None for others, and for a root that is one in name alone, in a container without other users: a
    namespace of users does for them.
    """
    if os.geteuid() != 0:
        return None
    first, _, count = map(int, Path("/proc/self/uid_map").read_text().splitlines()[-1].split())
    return first + count // 2 + os.getpid() % (count // 2 - 2) if count > 2000 else None


def _python() -> list[str]:
    """What this Python consists of, and this package, outer folders first."""
    found = {str(Path(kdcourse.__file__).parent)}
    for prefix in (sys.prefix, sys.exec_prefix, sys.base_prefix, sys.base_exec_prefix):
        found |= {prefix, os.path.realpath(prefix)}
    program = sys.executable
    while os.path.islink(program):  # a virtual environment's program is a link to a link …
        program = os.path.join(os.path.dirname(program), os.readlink(program))
        found.add(os.path.normpath(program))
    return sorted(
        path for path in found if path not in SYSTEM and not _within(path, {*SYSTEM, *found})
    )


def _within(path: str, folders) -> bool:
    return any(path.startswith(folder.rstrip("/") + "/") for folder in folders)


def _visible(hidden: Sequence[Path]) -> list[str]:
    """Those of the hidden folders that would be seen inside, because they lie within what is
    shown.
    """
    real = {os.path.realpath(path) for path in hidden if os.path.isdir(path)}
    return sorted(path for path in real if _within(path, [*SYSTEM, *_python()]))


def _font_list() -> list[str]:
    """matplotlib's list of fonts, if it has made one: to make it takes seconds."""
    import matplotlib

    return [str(path) for path in sorted(Path(matplotlib.get_cachedir()).glob("fontlist-*.json"))]


class Sandbox:
    """A worker in a sandbox (or, unsandboxed, in a plain process). `ask` it; `close` it. Raises
    Lost.
    """

    def __init__(self, limits: Limits, *, hidden: Sequence[Path] = (), sandboxed: bool = True):
        self.limits, self.lost = limits, ""
        about = asdict(limits) | {"sandboxed": sandboxed, "user": _user() if sandboxed else None}
        command = [sys.executable, "-I", "-m", "kdcourse.grading.worker", json.dumps(about)]
        self._errors = tempfile.TemporaryFile()
        self._scratch = None if sandboxed else tempfile.TemporaryDirectory(prefix="kdcourse-")
        environment = dict(ENVIRONMENT)
        if not sandboxed:
            environment = {
                name: value.replace("/tmp", self._scratch.name)
                for name, value in environment.items()
            }
            environment |= {
                name: os.environ[name] for name in ("SYSTEMROOT",) if name in os.environ
            }  # Windows
        self.process = subprocess.Popen(
            [*_wrap(hidden, limits), *command] if sandboxed else command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._errors,
            env=environment,
            cwd=None if sandboxed else self._scratch.name,
            start_new_session=True,
        )
        for pipe in (self.process.stdin, self.process.stdout):
            os.set_blocking(pipe.fileno(), False)
        self._ended = threading.Event()
        self._watcher = threading.Thread(target=self._watch, daemon=True)
        self._watcher.start()
        if self._receive(time.monotonic() + limits.start_seconds) != "ready":
            self._lose("unreadable")

    def ask(self, *request, seconds: float) -> object:
        """The reply to a request (see `worker.serve`), as plain data that may be forged. Raises
        Lost.
        """
        until = time.monotonic() + seconds
        self._send(protocol.pack(request), until)
        return self._receive(until)

    def last_error(self) -> str:
        """The last line that bubblewrap or Python printed when the worker failed, or ""."""
        self._errors.seek(0)
        lines = self._errors.read(20_000).decode(errors="replace").strip().splitlines()
        return lines[-1][:300] if lines else ""

    def close(self) -> None:
        """End every process in it, and wait until they have ended: till then they count to their
        user's limit.
        """
        self._ended.set()
        with contextlib.suppress(ProcessLookupError, PermissionError, subprocess.TimeoutExpired):
            if (
                self._scratch is None
            ):  # bubblewrap ends after the first process of its namespace, that after all others
                for first in _children(self.process.pid):
                    os.kill(first, signal.SIGKILL)
                    self.process.wait(ENDING)
        with contextlib.suppress(ProcessLookupError):
            if hasattr(os, "killpg"):
                os.killpg(self.process.pid, signal.SIGKILL)
            else:
                self.process.kill()
        self.process.wait()
        for pipe in (self.process.stdin, self.process.stdout):
            with contextlib.suppress(OSError):
                pipe.close()
        self._watcher.join()
        if self._scratch:
            self._scratch.cleanup()

    # --- the pipe ---------------------------------------------------------------------------------

    def _lose(self, why: str):
        self.lost = self.lost or why
        self.close()
        raise Lost(self.lost, self.last_error())

    def _send(self, message: bytes, until: float) -> None:
        """All of it, though the other side may not read."""
        view, pipe = memoryview(message), self.process.stdin.fileno()
        while view:
            _, ready, _ = select.select([], [pipe], [], max(0, until - time.monotonic()))
            if not ready:
                self._lose("time")
            try:
                view = view[os.write(pipe, view) :]
            except OSError:
                self._lose("died")

    def _receive(self, until: float) -> object:
        try:
            header, arrays = protocol.lengths(self._read(protocol.PREFIX.size, until))
            return protocol.unpack(self._read(header, until), self._read(arrays, until))
        except protocol.Unreadable:
            self._lose("unreadable")

    def _read(self, size: int, until: float) -> bytes:
        parts, pipe = bytearray(), self.process.stdout.fileno()
        while len(parts) < size:
            ready, _, _ = select.select([pipe], [], [], max(0, until - time.monotonic()))
            if not ready:
                self._lose("time")
            part = os.read(pipe, min(size - len(parts), 1 << 20))
            if not part:
                self._lose("died")
            parts += part
        return bytes(parts)

    # --- memory -----------------------------------------------------------------------------------

    def _watch(self) -> None:
        """The limits hold for each process; their sum is watched from here."""
        while not self._ended.wait(WATCH):
            if _memory(self.process.pid) > 1.5 * self.limits.memory * MB:
                self.lost = "memory"
                with contextlib.suppress(ProcessLookupError):
                    os.killpg(self.process.pid, signal.SIGKILL)
                return


def _children(pid: int) -> list[int]:
    """The living processes that a process started (Linux)."""
    found = []
    with contextlib.suppress(OSError, ValueError):  # it ended meanwhile
        for thread in os.listdir(f"/proc/{pid}/task"):
            found += map(int, Path(f"/proc/{pid}/task/{thread}/children").read_text().split())
    return found


def _memory(pid: int) -> int:
    """Bytes in use by a process and all that it started, pages that are shared among them counted
    once (Linux).
    """
    total, waiting = 0, [pid]
    while waiting:
        pid = waiting.pop()
        waiting += _children(pid)
        with contextlib.suppress(OSError, ValueError):  # it ended meanwhile
            for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines():
                if line.startswith("Pss:"):
                    total += int(line.split()[1]) * 1024
    return total
