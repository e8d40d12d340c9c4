"""One call of a learner's function, guarded: it may loop for ever, raise, print without end or
spoil its arguments.

Only plain data go in and come out: tensors, arrays, numbers, strings, None, and lists, tuples and
dicts of these. What is no plain data, such as a network, goes in as an `AnswerPart`, a description
from which it is made here.
"""

import contextlib
import copy
import ctypes
import io
import linecache
import sys
import sysconfig
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

import numpy as np
import torch
from torch import nn

import kdcourse
from kdcourse.checking import answer_parts

PRINTED = 2000  # characters that are kept of what a call prints
GRACE = 2.0  # seconds in which a call whose time is up must let itself be stopped


class NotPlain(TypeError):
    """A value that is no plain data."""


@dataclass(frozen=True)
class AnswerPart:
    """Something that is no plain data, made where the learner's code runs.

    name: a key of `answer_parts.MAKERS`. arguments: plain data, or AnswerParts. Within a call,
    equal AnswerParts are one and the same object, so that an optimiser belongs to its network.
    """

    name: str
    arguments: tuple = ()


@dataclass(frozen=True)
class CallOutcome:
    """What became of a call."""

    value: object = None  # plain data; None if it raised
    error: tuple[str, str] | None = None  # type and message, if the learner's code raised
    # For arguments, by position or name. A network: {"training", "state", "gradients": names of
    # parameters with .grad, "trainable": names with requires_grad, "hooks": number of hooks}. A
    # tensor that requires grad: {"gradient": of the returned scalar, None where it does not depend
    # on it}.
    after: dict = field(default_factory=dict)
    printed: str = ""  # the beginning
    line: str = ""  # of the learner's code that raised: "line 3: `loss.backward()`"
    changed: tuple = ()  # positions or names of arguments that were changed in place
    stopped: bool = False  # its time was up
    running: bool = False  # and it could not be stopped
    seconds: float = 0.0


# --- plain data -----------------------------------------------------------------------------------


def plain(value):
    """A copy of value as plain data: tensors detached and on the CPU. Raises NotPlain."""
    if isinstance(value, torch.Tensor):
        return value.detach().cpu().clone()
    if isinstance(value, np.ndarray) and value.dtype != object:
        return value.copy()
    if value is None or isinstance(value, bool | int | float | complex | str | np.generic):
        return value
    if isinstance(value, Mapping):
        return {plain(key): plain(inner) for key, inner in value.items()}
    if isinstance(value, list | tuple):
        return (
            type(value)(map(plain, value))
            if type(value) in (list, tuple)
            else tuple(map(plain, value))
        )
    raise NotPlain(type_name(value))


def same(a, b) -> bool:
    """Whether two plain values are equal in type, shape and every number; NaN equals NaN."""
    if isinstance(a, torch.Tensor | np.ndarray):
        if type(a) is not type(b) or a.shape != b.shape or a.dtype != b.dtype:
            return False
        unequal = a != b
        return not bool((unequal & ~((a != a) & (b != b))).any())
    if isinstance(a, Mapping):
        return (
            isinstance(b, Mapping)
            and a.keys() == b.keys()
            and all(same(a[key], b[key]) for key in a)
        )
    if isinstance(a, list | tuple):
        return type(a) is type(b) and len(a) == len(b) and all(map(same, a, b))
    return type(a) is type(b) and (a == b or a != a)


class Workshop:
    """Makes the arguments of one call: copies of plain data, and what AnswerParts describe."""

    def __init__(self):
        self.made = {}

    def make(self, value):
        if isinstance(value, AnswerPart):
            if repr(value) not in self.made:
                self.made[repr(value)] = answer_parts.MAKERS[value.name](
                    *map(self.make, value.arguments)
                )
            return self.made[repr(value)]
        if isinstance(value, list | tuple):
            return type(value)(map(self.make, value))
        if isinstance(value, dict):
            return {key: self.make(inner) for key, inner in value.items()}
        return copy.deepcopy(value)  # a leaf tensor that requires grad stays one


def _changed(before, after) -> bool:
    """Whether an argument was changed in place. For an AnswerPart, `CallOutcome.after` describes
    the change instead.
    """
    if isinstance(before, AnswerPart):
        return False
    if isinstance(before, list | tuple | dict):
        items = before.items() if isinstance(before, dict) else enumerate(before)
        try:
            return len(before) != len(after) or any(
                _changed(inner, after[key]) for key, inner in items
            )
        except (TypeError, KeyError, IndexError):
            return True
    return not same(before, after)


def _after(argument, value) -> dict | None:
    if isinstance(argument, nn.Module):
        parameters = list(argument.named_parameters())
        hooks = [
            hook
            for module in argument.modules()
            for hook in (module._forward_hooks, module._forward_pre_hooks)
        ]
        return {
            "training": argument.training,
            "state": plain(argument.state_dict()),
            "gradients": [name for name, parameter in parameters if parameter.grad is not None],
            "trainable": [name for name, parameter in parameters if parameter.requires_grad],
            "hooks": sum(map(len, hooks)),
        }
    if isinstance(argument, torch.Tensor) and argument.requires_grad and argument.is_leaf:
        gradient = None
        if isinstance(value, torch.Tensor) and value.requires_grad and value.numel() == 1:
            (gradient,) = torch.autograd.grad(
                value.sum(), argument, retain_graph=True, allow_unused=True
            )
        return {"gradient": plain(gradient)}
    return None


# --- a call ---------------------------------------------------------------------------------------


class _Beginning(io.TextIOBase):
    """Keeps the first characters written to it and forgets the rest."""

    def __init__(self):
        self.text = ""

    def writable(self):
        return True

    def write(self, text):
        if len(self.text) < PRINTED:
            self.text += str(text)[: PRINTED - len(self.text)]
        return len(text)


class _OutOfTime(
    SystemExit
):  # no Exception, which learners' code may catch; of a SystemExit threads say nothing
    pass


def call(
    function: Callable, args: Sequence = (), kwargs: Mapping | None = None, seconds: float = 5.0
) -> CallOutcome:
    """Call a learner's function on plain data and AnswerParts; whatever it does comes back as a
    CallOutcome.

    It runs in a thread, on copies. When `seconds` are over, an exception is set off in that thread.
    That stops any loop of Python, on every system. It cannot stop one call into C that does not
    return (`time.sleep(1e9)`, a huge matrix product), nor code that catches BaseException again and
    again: such a thread is left running, and `running` says so; only a new kernel ends it. Nor does
    it bound memory. Grading, which must, does so from outside the process.
    """
    if not callable(function):
        return CallOutcome(error=("NotCallable", type_name(function)))
    started = time.monotonic()
    args, kwargs = tuple(args), dict(kwargs or {})
    given = dict(enumerate(args)) | kwargs
    printed, result = _Beginning(), {}

    work = partial(_work, function, len(args), given, result)
    thread = threading.Thread(target=work, daemon=True, name="learner's code")
    with contextlib.redirect_stdout(printed), contextlib.redirect_stderr(printed):
        thread.start()
        try:
            thread.join(seconds)
        finally:  # also when the learner interrupts the kernel
            running = not _stop(thread)
    if running:
        result = {}
    if "unmade" in result:
        raise result["unmade"]  # an AnswerPart that cannot be made is the judge's fault
    return CallOutcome(
        value=result.get("value"),
        error=result.get("error"),
        after=result.get("after", {}),
        printed=printed.text,
        line=result.get("line", ""),
        changed=result.get("changed", ()),
        stopped=not result.keys() & {"value", "error"},
        running=running,
        seconds=time.monotonic() - started,
    )


def _work(function: Callable, positional: int, given: dict, result: dict) -> None:
    """In the thread of a call: make the arguments, call the function, enter into `result` what
    became of it. given: arguments by position, of which there are `positional`, or name.
    """
    try:
        workshop = Workshop()
        arguments = {key: workshop.make(value) for key, value in given.items()}
        result["made"] = True
        named = {key: value for key, value in arguments.items() if isinstance(key, str)}
        value = function(*(arguments[i] for i in range(positional)), **named)
        after = {key: _after(argument, value) for key, argument in arguments.items()}
        result["after"] = {key: state for key, state in after.items() if state is not None}
        result["changed"] = tuple(
            key for key, before in given.items() if _changed(before, arguments[key])
        )
        result["value"] = plain(value)
    except _OutOfTime:
        pass
    except BaseException as error:  # noqa: BLE001  SystemExit too
        if "made" not in result:
            result["unmade"] = error
        result["error"] = type(error).__name__, str(error)[:PRINTED]
        result["line"] = _line(error)


def look(value: object) -> CallOutcome:
    """A learner's value as a CallOutcome. A set, which has no order, comes as a dict: {"a"} as
    {"a": True}.
    """
    try:
        return CallOutcome(
            plain(dict.fromkeys(value, True) if isinstance(value, set | frozenset) else value)
        )
    except NotPlain as error:
        return CallOutcome(error=("NotPlain", str(error)))


def type_name(value: object) -> str:
    """What something is, in words: "a Linear", "None", "a tensor of shape (3, 4)"."""
    if value is None:
        return "None"
    if isinstance(value, torch.Tensor | np.ndarray):
        kind = "a tensor" if isinstance(value, torch.Tensor) else "an array"
        return f"{kind} of shape {tuple(value.shape)}"
    if callable(value) and not isinstance(value, type):
        return (
            "a function"
            if hasattr(value, "__code__")
            else f"an object of type {type(value).__name__}"
        )
    kind = type(value).__name__
    return f"{'an' if kind[0] in 'aeiouAEIO' else 'a'} {kind}"


def _stop(thread: threading.Thread) -> bool:
    """Whether the thread has ended, of itself or by an exception."""
    until = time.monotonic() + GRACE
    while thread.is_alive() and time.monotonic() < until:
        ctypes.pythonapi.PyThreadState_SetAsyncExc(
            ctypes.c_ulong(thread.ident), ctypes.py_object(_OutOfTime)
        )
        thread.join(0.05)
    return not thread.is_alive()


def _line(error: BaseException) -> str:
    """The line of the learner's code that an error came from: the innermost that is in no
    library.
    """
    paths = sysconfig.get_paths()
    libraries = (
        *{paths[name] for name in ("stdlib", "platstdlib", "purelib", "platlib")},
        sys.base_prefix + "/lib",
    )
    libraries += (str(Path(kdcourse.__file__).parent), "<frozen")
    found, trace = "", error.__traceback__
    while trace:
        file = trace.tb_frame.f_code.co_filename
        if not file.startswith(libraries):
            text = linecache.getline(file, trace.tb_lineno).strip()
            found = f"line {trace.tb_lineno}" + (f": `{text}`" if text else "")
        trace = trace.tb_next
    return found
