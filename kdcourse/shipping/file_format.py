"""The shipped ONNX file: its description and the checksum at its end. Nothing here imports torch.

The description is the metadata entry "kdcourse", a JSON object (classes, channels, image_size …).
The checksum is the file's last metadata entry, "kdcourse.sha256": the SHA-256 of all bytes before
it, as hexadecimal digits. In protobuf, fields may stand anywhere and a field may be repeated, so
the entry can be appended to a finished file, and other programs read the file as before.
"""

import hashlib
import io
import json
import os
from collections.abc import Mapping
from typing import BinaryIO

import numpy as np

from kdcourse.common.errors import DataError

ENTRY = "kdcourse"  # of the metadata: the description, as JSON
FORMAT = 2  # of the description; 1 had no checksum
CHECKSUM = b"kdcourse.sha256"
DIGITS = 64  # of a SHA-256
_ENTRY_HEAD = b"\x0a" + bytes([len(CHECKSUM)]) + CHECKSUM + b"\x12" + bytes([DIGITS])
# Field 14 of an ONNX model, metadata_props, and the entry's length.
_TRAILER_HEAD = b"\x72" + bytes([len(_ENTRY_HEAD) + DIGITS]) + _ENTRY_HEAD
TRAILER = len(_TRAILER_HEAD) + DIGITS  # bytes
ONNX_HEAD = b"\x08"  # every ONNX file begins with its version of the format
ZIP_HEAD = b"PK\3\4"  # of PyTorch's files
CHUNK = 1 << 20
LARGEST_SIDE = 1 << 14  # pixels: no network of the course takes larger images
AGAIN = "Export the network again: `kdcourse export`"


def seal(content: bytes) -> bytes:
    """An ONNX file with the checksum appended."""
    return content + _TRAILER_HEAD + hashlib.sha256(content).hexdigest().encode()


def check_seal(source: str | os.PathLike | bytes) -> None:
    """Compare a file's checksum with its content.

    source: the file, or its content. Raises DataError for a file that is missing, of another
    kind, or altered since it was exported.
    """
    if isinstance(source, bytes):
        _check_seal(io.BytesIO(source), len(source), "the file")
        return
    try:
        with open(source, "rb") as file:
            _check_seal(file, os.fstat(file.fileno()).st_size, source)
    except OSError as error:
        raise DataError(
            f"{source}: {error.strerror}. Expected a file made by `kdcourse export`"
        ) from error


def _check_seal(file: BinaryIO, size: int, name: object) -> None:
    head = file.read(4)
    if head == ZIP_HEAD:
        raise DataError(
            f"{name}: not an ONNX file but one of PyTorch. Make one: `kdcourse export … --format "
            "onnx`"
        )
    if head[:1] != ONNX_HEAD:
        raise DataError(f"{name}: not an ONNX file, or damaged. {AGAIN}")
    digest, left = hashlib.sha256(head), size - TRAILER - len(head)
    while left > 0 and (chunk := file.read(min(left, CHUNK))):
        digest.update(chunk)
        left -= len(chunk)
    trailer = file.read()
    if not trailer.startswith(_TRAILER_HEAD) or len(trailer) != TRAILER:
        raise DataError(
            f"{name}: an ONNX file without the checksum of `kdcourse export`: made by another "
            f"program or an older version, or cut short. {AGAIN}"
        )
    if trailer[-DIGITS:] != digest.hexdigest().encode():
        raise DataError(
            f"{name}: altered or damaged since it was exported (its checksum differs). {AGAIN}"
        )


def read_description(metadata: Mapping[str, str], name: object) -> dict:
    """The description in an ONNX file's metadata, with types, lengths and ranges checked.

    Raises DataError for a description that is missing, incomplete or of a newer version.
    """
    try:
        about = json.loads(metadata[ENTRY])
        newer = about["format"] > FORMAT
    except (KeyError, TypeError, ValueError, RecursionError) as error:
        raise DataError(
            f"{name}: an ONNX file, but it does not say its classes and bands: not made by "
            "`kdcourse export`"
        ) from error
    if newer:
        versions = about.get("versions")
        version = versions.get("kdcourse") if isinstance(versions, dict) else None
        raise DataError(
            f"{name}: made by a newer kdcourse ({version or 'unknown version'}): install that one"
        )
    fault = first_fault(about)
    if about["format"] != FORMAT:
        fault = f"format {about['format']}, expected {FORMAT}"
    if fault:
        raise DataError(f"{name}: its description is damaged: {fault}. {AGAIN}")
    return about


def first_fault(about: Mapping) -> str:
    """The first value in a description of a network and its data that cannot be right, and what
    was expected; "" if all can.
    """
    for key, (is_right, expected) in _EXPECTED.items():
        if key not in about or not is_right(about[key]):
            return f"{key} {about.get(key)!r:.80}, expected {expected}"
    for key in ("mean", "std"):
        if len(about[key]) != len(about["channels"]):
            return f"{len(about[key])} values of {key} for {len(about['channels'])} bands"
    return ""


def check_graph(inputs: list, outputs: list, about: dict, name: object) -> None:
    """Compare the description with the graph: names and sizes of its input and output.

    inputs, outputs: as onnxruntime's session gives them. Raises DataError.
    """
    expected = {
        "images": (len(about["channels"]), *about["image_size"]),
        "logits": (len(about["classes"]),),
    }
    found = {value.name: tuple(value.shape or ())[1:] for value in (*inputs, *outputs)}
    for key, sizes in expected.items():
        known = found.get(key, ())
        same = len(known) == len(sizes) and all(
            size == side or not isinstance(side, int)
            for size, side in zip(sizes, known, strict=True)
        )
        if not same or len(found) != 2:
            raise DataError(
                f"{name}: the network in it does not suit its description: expected {key} of shape "
                f"(B, {', '.join(map(str, sizes))}), found {found}. {AGAIN}"
            )


def _names(value: object) -> bool:
    return isinstance(value, list) and bool(value) and all(isinstance(name, str) for name in value)


def _sides(value: object) -> bool:
    return (
        isinstance(value, list)
        and len(value) == 2
        and all(type(side) is int and 1 <= side <= LARGEST_SIDE for side in value)
    )


def _pixel_type(value: object) -> bool:
    try:
        return isinstance(value, str) and np.dtype(value).kind in "uif"
    except TypeError:
        return False


def _numbers(value: object, positive: bool = False) -> bool:
    return isinstance(value, list) and all(
        type(number) in (int, float) and np.isfinite(number) and (number > 0 or not positive)
        for number in value
    )


_EXPECTED = {
    "classes": (_names, "a list of names"),
    "channels": (_names, "a list of names"),
    "image_size": (_sides, f"[height, width] of 1 to {LARGEST_SIDE} pixels"),
    "dtype": (_pixel_type, "a type of numbers, such as uint16"),
    "mean": (_numbers, "a number for each band"),
    "std": (lambda value: _numbers(value, positive=True), "a positive number for each band"),
}
