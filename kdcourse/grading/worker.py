"""The process in which a student's code runs: `python -m kdcourse.grading.worker LIMITS`.

It gives up its rights and limits itself before it imports PyTorch or any of the student's code.
Then it follows the requests on standard input: run a cell, name a task's answer, call it, look at
it. Whatever the student's code writes to files 1 and 2 is lost; the beginning of its prints goes
with the replies. A student's code can take this process over and forge its own replies, so the
judge, in another process, believes nothing but the answers.
"""

import contextlib
import ctypes
import json
import os
import signal
import sys

try:
    import resource
except ImportError:  # Windows: only with --unsandboxed, and only the limits on time hold
    resource = None

MB = 1_000_000
SHARED = (
    1000 * MB
)  # address space beyond --memory: libraries that are imported later, stacks of threads


def confine(limits: dict) -> None:
    """Another user, if this one is root; then limits that can't be raised again."""
    if limits["user"] is not None:
        os.setgroups([])
        os.setgid(limits["user"])
        os.setuid(limits["user"])
    if resource is None:
        return
    bound = {
        "RLIMIT_NPROC": limits["processes"],  # in the sandbox: of its own namespace or user
        "RLIMIT_DATA": limits["memory"] * MB,
        "RLIMIT_FSIZE": limits["files"] * MB,
        "RLIMIT_CPU": limits["seconds"] + limits["start_seconds"],
        "RLIMIT_NOFILE": 256,
        "RLIMIT_CORE": 0,
    }
    if not limits["sandboxed"]:
        del bound["RLIMIT_NPROC"]  # counts all processes of the instructor
        with contextlib.suppress(
            OSError, AttributeError
        ):  # Linux: end with the process that judges
            ctypes.CDLL(None).prctl(1, signal.SIGKILL)
    for name, value in bound.items():
        if hasattr(resource, name):
            _bound(getattr(resource, name), int(value))
    with contextlib.suppress(
        OSError
    ):  # where memory runs out all the same, this process goes first
        with open("/proc/self/oom_score_adj", "w") as file:
            file.write("1000")


def _bound(kind: int, value: int) -> None:
    hard = resource.getrlimit(kind)[1]
    value = value if hard == resource.RLIM_INFINITY else min(value, hard)
    resource.setrlimit(kind, (value, value))


def confine_address_space(limits: dict) -> None:
    """Shared memory counts to no other limit. PyTorch's libraries need much more room than memory:
    so only now.
    """
    if resource is not None and os.path.exists("/proc/self/statm"):
        with open("/proc/self/statm") as file:
            used = int(file.read().split()[0]) * resource.getpagesize()
        _bound(resource.RLIMIT_AS, used + limits["memory"] * MB + SHARED)


class Session:
    """The cells of a notebook and the answers that they define. Each method is a request that the
    judge can make; it returns plain data.
    """

    REQUESTS = ("cell", "bind", "call", "look")

    def __init__(self, shell):
        self.shell = shell
        self.answers: dict[str, object] = {}

    def cell(self, source: str, forget: str = "") -> dict:
        """Run a cell; return its error, if any. forget: a name that only this cell may define."""
        from kdcourse.checking import safe_call

        self.shell.user_ns.pop(forget, None)
        printed = safe_call._Beginning()
        with contextlib.redirect_stdout(printed), contextlib.redirect_stderr(printed):
            result = self.shell.run_cell(source, silent=True)
        error = result.error_before_exec or result.error_in_exec
        return {
            "error": error and _described(error),
            "line": _place(error) if error else "",
            "printed": printed.text,
        }

    def bind(self, task: str, expression: str) -> dict:
        """Keep the present value of the expression as the answer of a task."""
        self.answers.pop(task, None)
        try:
            self.answers[task] = eval(expression, self.shell.user_ns)
        except Exception as error:  # noqa: BLE001  of the student's code
            return {"error": _described(error)}
        return {"error": None}

    def call(self, task: str, args: tuple, kwargs: dict, seconds: float) -> dict:
        from kdcourse.checking import safe_call

        return vars(safe_call.call(self.answers[task], args, kwargs, seconds))

    def look(self, task: str) -> dict:
        from kdcourse.checking import safe_call

        return vars(safe_call.look(self.answers[task]))

    def reply(self, request) -> bytes:
        """The packed reply to an unpacked request."""
        from kdcourse.checking import safe_call
        from kdcourse.grading import protocol

        kind, *arguments = request
        try:
            if kind not in self.REQUESTS:
                raise ValueError(f"no request {kind!r}")
            return protocol.pack(getattr(self, kind)(*arguments))
        except Exception as error:  # noqa: BLE001  an answer that cannot be sent, or a student's code that reached us
            failed = f"{type(error).__name__}: {error}"[: safe_call.PRINTED]
            return protocol.pack({"failed": failed})


def serve(reading, writing, limits: dict) -> None:
    """Reply to the judge's requests until the pipe is closed."""
    import torch

    from kdcourse.checking import answer_parts
    from kdcourse.grading import protocol

    answer_parts.provide("implementation", _bug_case)
    torch.set_num_threads(1)
    session = Session(shell())
    confine_address_space(limits)
    own = os.getpid()
    _nowhere(2)  # until here it tells the instructor why the worker did not start
    _write(writing, protocol.pack("ready"))
    while prefix := reading.read(protocol.PREFIX.size):
        header, arrays = protocol.lengths(prefix)
        message = session.reply(protocol.unpack(reading.read(header), reading.read(arrays)))
        if os.getpid() != own:  # a child that the student's code forked came back to here
            os._exit(0)
        _write(writing, message)


def _described(error: BaseException) -> tuple[str, str]:
    from kdcourse.checking import safe_call

    return type(error).__name__, str(error)[: safe_call.PRINTED]


def _place(error: BaseException) -> str:
    from kdcourse.checking import safe_call

    if isinstance(error, SyntaxError):
        return f"line {error.lineno}" + (f": `{error.text.strip()}`" if error.text else "")
    return safe_call._line(error)


def _bug_case(*arguments):
    from kdcourse.exercises import bug_cases  # only the bug clinic needs them

    return bug_cases.one_implementation(*arguments)


def _nowhere(*files: int) -> None:
    nothing = os.open(os.devnull, os.O_RDWR)
    for number in files:
        os.dup2(nothing, number)
    os.close(nothing)


def _write(writing, message: bytes) -> None:
    writing.write(message)
    writing.flush()


def shell():
    """IPython as in a notebook, but it keeps no history of what was run and printed, and shows no
    tracebacks.
    """
    from IPython.core.interactiveshell import InteractiveShell
    from traitlets.config import Config

    config = Config()
    config.HistoryManager.enabled = False
    made = InteractiveShell.instance(config=config)
    # From IPython 9 on, it would keep every print.
    made._tee = lambda channel: contextlib.nullcontext()
    made.showtraceback = lambda *args, **kwargs: None
    made.showsyntaxerror = lambda *args, **kwargs: None
    return made


def main() -> None:
    limits = json.loads(sys.argv[1])
    reading, writing = os.fdopen(os.dup(0), "rb"), os.fdopen(os.dup(1), "wb")
    confine(limits)
    _nowhere(0, 1)
    serve(reading, writing, limits)


if __name__ == "__main__":
    main()
