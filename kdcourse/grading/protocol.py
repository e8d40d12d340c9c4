"""Plain data between the judge and a student's process, without pickle: a JSON header, then the
bytes of the arrays.

What is read comes from a process that a student may have taken over. So sizes are bounded, nothing
is made by the name of its type but tensors and arrays of numbers, and whatever does not fit is
`Unreadable`.
"""

import json
import math
import struct

import numpy as np
import torch

from kdcourse.checking.safe_call import AnswerPart

PREFIX = struct.Struct(">II")  # bytes of the header, bytes of the arrays
MAX_HEADER, MAX_ARRAYS = 4_000_000, 64_000_000
MAX_DEPTH = 30

DTYPES = {
    str(dtype).removeprefix("torch."): dtype
    for dtype in (
        torch.float16, torch.bfloat16, torch.float32, torch.float64, torch.complex64, torch.complex128,
        torch.uint8, torch.int8, torch.int16, torch.int32, torch.int64, torch.bool,
    )
}  # fmt: skip


class Unreadable(Exception):
    """A message that is none, or is too large."""


def pack(value: object) -> bytes:
    """One message. Raises TypeError for what is no plain data, Unreadable if it is too large."""
    arrays: list[bytes] = []
    header = json.dumps(_encode(value, arrays, 0)).encode()
    size = sum(map(len, arrays))
    if len(header) > MAX_HEADER or size > MAX_ARRAYS:
        raise Unreadable(f"{(len(header) + size) / 1e6:,.0f} MB, more than an answer may have")
    return b"".join([PREFIX.pack(len(header), size), header, *arrays])


def lengths(prefix: bytes) -> tuple[int, int]:
    """Bytes of header and arrays, from the first `PREFIX.size` bytes of a message."""
    header, arrays = PREFIX.unpack(prefix)
    if header > MAX_HEADER or arrays > MAX_ARRAYS:
        raise Unreadable(f"a message of {(header + arrays) / 1e6:,.0f} MB was announced")
    return header, arrays


def unpack(header: bytes, arrays: bytes) -> object:
    """The value of a message. Raises Unreadable, and nothing else, for one that `pack` did not
    write.
    """
    try:
        return _decode(json.loads(header), memoryview(arrays))
    except (
        ValueError,
        TypeError,
        KeyError,
        IndexError,
        OverflowError,
        RecursionError,
        RuntimeError,
    ) as error:
        raise Unreadable(f"no message ({type(error).__name__})") from error


# --- writing --------------------------------------------------------------------------------------


def _encode(value, arrays: list[bytes], depth: int):
    if depth > MAX_DEPTH:
        raise TypeError(f"lists more than {MAX_DEPTH} deep")
    if value is None or type(value) in (bool, int, float, str):
        return value
    if isinstance(value, AnswerPart):
        return {"piece": [value.name, _encode(list(value.arguments), arrays, depth + 1)]}
    if isinstance(value, torch.Tensor):
        return {"tensor": _tensor(value, arrays)}
    if isinstance(value, np.generic | np.ndarray) and value.dtype.kind in "biufcU":
        return _array(value, arrays)
    if isinstance(value, complex):
        return {"complex": [value.real, value.imag]}
    if isinstance(value, list):
        return [_encode(inner, arrays, depth + 1) for inner in value]
    if isinstance(value, tuple):
        return {"tuple": [_encode(inner, arrays, depth + 1) for inner in value]}
    if isinstance(value, dict):
        return {
            "dict": [
                [_encode(inner, arrays, depth + 1) for inner in item] for item in value.items()
            ]
        }
    for kind in (bool, int, float, str):  # a subclass, such as an enumeration's
        if isinstance(value, kind):
            return kind(value)
    raise TypeError(f"{type(value).__name__} is no plain data")


def _tensor(value: torch.Tensor, arrays: list[bytes]) -> list:
    name = str(value.dtype).removeprefix("torch.")
    if name not in DTYPES:
        raise TypeError(f"a tensor of {name} is no plain data")
    dense = (
        value.detach().cpu().to_dense() if value.layout != torch.strided else value.detach().cpu()
    )
    flat = dense.resolve_conj().resolve_neg().contiguous().reshape(-1)
    arrays.append(flat.view(torch.uint8).numpy().tobytes() if flat.numel() else b"")
    return [name, list(value.shape), bool(value.requires_grad)]


def _array(value: np.generic | np.ndarray, arrays: list[bytes]) -> dict:
    scalar = isinstance(value, np.generic)
    if value.dtype.kind == "U":
        return {"strings": [np.shape(value), np.ravel(value).tolist(), scalar]}
    little = np.ascontiguousarray(value, value.dtype.newbyteorder("<"))
    if little.dtype.itemsize > 16 or little.dtype.str[1:] in (
        "f16",
        "c32",
    ):  # long doubles differ between machines
        raise TypeError(f"an array of {value.dtype} is no plain data")
    arrays.append(little.tobytes())
    return {"array": [little.dtype.str[1:], np.shape(value), scalar]}


# --- reading --------------------------------------------------------------------------------------


def _decode(tree, arrays: memoryview):
    """`arrays` is used up from the front, in the order of writing."""
    position = 0

    def take(size: int) -> bytearray:
        nonlocal position
        if size > len(arrays) - position:
            raise ValueError("the arrays end early")
        position += size
        return bytearray(arrays[position - size : position])

    def decode(node, depth: int):
        if depth > 3 * MAX_DEPTH:
            raise ValueError("too deep")
        if node is None or isinstance(node, bool | int | float | str):
            return node
        if isinstance(node, list):
            return [decode(inner, depth + 1) for inner in node]
        ((kind, content),) = node.items()
        if kind == "tuple":
            return tuple(decode(inner, depth + 1) for inner in content)
        if kind == "dict":
            return {decode(key, depth + 1): decode(value, depth + 1) for key, value in content}
        if kind == "complex":
            return complex(*map(float, content))
        if kind == "tensor":
            name, shape, requires_grad = content
            return _read_tensor(DTYPES[name], _shape(shape), bool(requires_grad), take)
        if kind == "array":
            name, shape, scalar = content
            array = _read_array(name, _shape(shape), take)
            return array[()] if scalar else array
        if kind == "strings":
            shape, strings, scalar = content
            array = np.array([str(string) for string in strings], dtype=str).reshape(_shape(shape))
            return array[()] if scalar else array
        if kind == "piece":
            name, arguments = content
            return AnswerPart(str(name), tuple(decode(arguments, depth + 1)))
        raise ValueError("an unknown kind")

    return decode(tree, 0)


def _shape(shape) -> tuple[int, ...]:
    if len(shape) > 16 or not all(type(n) is int and 0 <= n <= MAX_ARRAYS for n in shape):
        raise ValueError("no shape")
    return tuple(shape)


def _read_tensor(
    dtype: torch.dtype, shape: tuple[int, ...], requires_grad: bool, take
) -> torch.Tensor:
    count = math.prod(shape)
    raw = take(count * dtype.itemsize)
    if dtype == torch.bool:  # a byte other than 0 and 1 is no bool
        value = (
            torch.frombuffer(raw, dtype=torch.uint8) != 0 if count else torch.empty(0, dtype=dtype)
        )
    else:
        value = torch.frombuffer(raw, dtype=dtype) if count else torch.empty(0, dtype=dtype)
    return value.reshape(shape).requires_grad_(
        requires_grad and (dtype.is_floating_point or dtype.is_complex)
    )


def _read_array(name: str, shape: tuple[int, ...], take) -> np.ndarray:
    dtype = np.dtype("<" + name[:3])
    if dtype.kind not in "biufc" or dtype.itemsize > 16:
        raise ValueError("no array of numbers")
    raw = take(math.prod(shape) * dtype.itemsize)
    if dtype.kind == "b":
        return (np.frombuffer(raw, np.uint8) != 0).reshape(shape)
    return np.frombuffer(raw, dtype).reshape(shape)
