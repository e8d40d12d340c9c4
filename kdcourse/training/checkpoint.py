"""Checkpoints: written beside and moved into place, so that a file under its own name is always
whole.
"""

import hashlib
import os
import pickle
import struct
import zipfile
import zlib
from dataclasses import fields, is_dataclass
from functools import partial
from pathlib import Path

import torch
from torch import nn

from kdcourse.common.errors import CheckpointError, UsageError
from kdcourse.common.files import replacing

FORMAT = 1
# What torch.load raises for files that are cut short, altered, or no checkpoints at all.
DAMAGED = (
    RuntimeError, OSError, EOFError, ValueError, LookupError, TypeError, AttributeError,
    NotImplementedError, struct.error, pickle.UnpicklingError, zipfile.BadZipFile, zlib.error,
)  # fmt: skip


def save(path: str | os.PathLike, content: dict) -> None:
    """Write `content` (tensors, numbers, strings, lists, dictionaries) to `path`, all or nothing.

    Raises CheckpointError if it cannot be written (disk full, no permission); an older file stays
    as it was.
    """
    path = Path(path)
    try:
        with replacing(path) as temporary:
            with open(temporary, "wb") as file:
                torch.save({"format": FORMAT, **content}, file)
    except (OSError, RuntimeError) as error:  # torch reports a full disk as RuntimeError
        raise CheckpointError(
            f"{path}: the checkpoint could not be written ({error}). Free space or name another"
        ) from error


def load(path: str | os.PathLike) -> dict:
    """A checkpoint made by `save`, tensors on the CPU. Raises CheckpointError if it is missing,
    damaged or foreign.
    """
    path = Path(path)
    try:
        with zipfile.ZipFile(
            path
        ) as archive:  # torch itself does not compare the checksums that it writes
            if broken := archive.testzip():
                raise zipfile.BadZipFile(f"the checksum of {broken} is wrong")
        content = torch.load(path, map_location="cpu", weights_only=True)
    except FileNotFoundError as error:
        raise CheckpointError(f"{path}: no such checkpoint") from error
    except DAMAGED as error:
        raise CheckpointError(
            f"{path}: damaged, or not a checkpoint. Delete it to train afresh"
        ) from error
    if not isinstance(content, dict) or content.get("format") != FORMAT:
        raise CheckpointError(
            f"{path}: not a checkpoint of this version of kdcourse. Delete it to train afresh"
        )
    return content


def load_weights(model: nn.Module, state: dict, source: object = "the checkpoint") -> None:
    """Put a state dict into `model`. Raises CheckpointError, naming what differs, if it is of
    another architecture.
    """
    own = model.state_dict()
    differing = [name for name in own if name not in state or state[name].shape != own[name].shape]
    differing += [name for name in state if name not in own]
    if differing:
        name = differing[0]
        shapes = [tuple(s[name].shape) if name in s else "absent" for s in (own, state)]
        raise CheckpointError(
            f"{source}: belongs to another architecture. {len(differing)} of {len(own)} entries "
            f"differ, first {name}: {shapes[0]} in the model, {shapes[1]} in the file. Build the "
            "model as it was when the file was made"
        )
    model.load_state_dict(state)


def digest(model: nn.Module) -> str:
    """A short fingerprint of the weights and buffers, to the bit."""
    total = hashlib.sha256()
    for name, value in sorted(model.state_dict().items()):
        total.update(name.encode())
        total.update(
            value.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy().tobytes()
        )
    return total.hexdigest()[:16]


def describe(thing):
    """A description of a setting that is the same in every process: numbers, names and, for
    networks, their bits.
    """
    if thing is None or isinstance(thing, str | int | float | bool):
        return thing
    if isinstance(thing, partial):
        return [describe(thing.func), describe(thing.args), describe(thing.keywords)]
    if isinstance(thing, nn.Module) and hasattr(
        thing, "fingerprint"
    ):  # a teacher: its weights are not its own state
        return [type(thing).__qualname__, thing.fingerprint]
    if isinstance(thing, nn.Module):
        return [repr(thing), digest(thing)]
    if is_dataclass(thing) and not isinstance(thing, type):
        return [
            type(thing).__qualname__,
            {f.name: describe(getattr(thing, f.name)) for f in fields(thing)},
        ]
    if isinstance(thing, dict):
        return {str(key): describe(value) for key, value in thing.items()}
    if isinstance(thing, list | tuple):
        return [describe(item) for item in thing]
    name = getattr(thing, "__qualname__", None)
    if name is None or "<" in name:
        raise UsageError(
            f"{thing!r} cannot be kept by name: use a module-level function, a class or "
            "functools.partial"
        )
    return f"{thing.__module__}.{name}"
