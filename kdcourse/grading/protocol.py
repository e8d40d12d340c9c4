"""Plain data between the judge and a student's process, without pickle: a JSON header, then the
tensors and arrays in the format of safetensors.

The judge reads from a process that a student may have taken over. So sizes are bounded, only plain
data, tensors and arrays of numbers can be made, and everything else is `Unreadable`.
"""

import json
import struct

import numpy as np
import torch
from safetensors import SafetensorError
from safetensors.torch import load, save

from kdcourse.checking.safe_call import AnswerPart

PREFIX = struct.Struct(">II")  # bytes of the header, bytes of the arrays
MAX_HEADER, MAX_ARRAYS = 4_000_000, 64_000_000
MAX_DEPTH, MAX_DIMENSIONS = 30, 16

TENSOR_TYPES = {
    torch.float16, torch.bfloat16, torch.float32, torch.float64, torch.complex64,
    torch.complex128, torch.uint8, torch.int8, torch.int16, torch.int32, torch.int64, torch.bool,
}  # fmt: skip


class Unreadable(Exception):
    """A message that is none, or is too large."""


def pack(value: object) -> bytes:
    """One message. Raises TypeError for anything but plain data, Unreadable if it is too large."""
    tensors: dict[str, torch.Tensor] = {}
    header = json.dumps(_encode(value, tensors, 0)).encode()
    size = sum(tensor.nbytes for tensor in tensors.values())
    arrays = save(tensors) if tensors and size <= MAX_ARRAYS else b""
    if len(header) > MAX_HEADER or max(size, len(arrays)) > MAX_ARRAYS:
        raise Unreadable(f"{(len(header) + size) / 1e6:,.0f} MB, more than an answer may have")
    return b"".join([PREFIX.pack(len(header), len(arrays)), header, arrays])


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
        return _decode(json.loads(header), _read_tensors(arrays), 0)
    except (
        ArithmeticError,
        AttributeError,
        LookupError,
        RecursionError,
        RuntimeError,
        SafetensorError,
        TypeError,
        ValueError,
    ) as error:
        raise Unreadable(f"no message ({type(error).__name__})") from error


# --- writing --------------------------------------------------------------------------------------


def _encode(value, tensors: dict[str, torch.Tensor], depth: int):
    """The value as JSON; tensors and arrays go to `tensors`, and only their names to the JSON."""
    if depth > MAX_DEPTH:
        raise TypeError(f"lists more than {MAX_DEPTH} deep")

    def each(items) -> list:
        return [_encode(inner, tensors, depth + 1) for inner in items]

    if value is None or type(value) in (bool, int, float, str):
        return value
    if isinstance(value, AnswerPart):
        return {"part": [value.name, _encode(list(value.arguments), tensors, depth + 1)]}
    if isinstance(value, torch.Tensor):
        return {"tensor": [_put_tensor(value, tensors), bool(value.requires_grad)]}
    if isinstance(value, np.generic | np.ndarray) and value.dtype.kind in "biufcU":
        return _encode_array(value, tensors)
    if isinstance(value, complex):
        return {"complex": [value.real, value.imag]}
    if isinstance(value, list):
        return each(value)
    if isinstance(value, tuple):
        return {"tuple": each(value)}
    if isinstance(value, dict):
        return {"dict": [each(item) for item in value.items()]}
    for kind in (bool, int, float, str):  # a subclass, such as an enumeration's
        if isinstance(value, kind):
            return kind(value)
    raise TypeError(f"{type(value).__name__} is no plain data")


def _put_tensor(value: torch.Tensor, tensors: dict[str, torch.Tensor]) -> str:
    """Add a tensor; return its name. Names of complex tensors, which safetensors has only in part,
    begin with c: they are stored as pairs of real numbers.
    """
    if value.dtype not in TENSOR_TYPES:
        raise TypeError(f"a tensor of {value.dtype} is no plain data")
    plain = value.detach().cpu()
    plain = plain if plain.layout == torch.strided else plain.to_dense()
    plain = plain.resolve_conj().resolve_neg()
    name = f"{'c' if plain.is_complex() else ''}{len(tensors)}"
    plain = torch.view_as_real(plain) if plain.is_complex() else plain
    # A copy, because safetensors refuses tensors that share memory.
    tensors[name] = plain.clone(memory_format=torch.contiguous_format)
    return name


def _encode_array(value: np.generic | np.ndarray, tensors: dict[str, torch.Tensor]) -> dict:
    scalar = isinstance(value, np.generic)
    if value.dtype.kind == "U":
        return {"strings": [np.shape(value), np.ravel(value).tolist(), scalar]}
    native = np.array(value, value.dtype.newbyteorder("="), order="C")
    try:
        tensor = torch.from_numpy(native)
    except TypeError:  # long doubles, which differ between machines
        raise TypeError(f"an array of {value.dtype} is no plain data") from None
    if tensor.is_complex():
        name, tensor = f"c{len(tensors)}", torch.view_as_real(tensor)
    else:
        name = str(len(tensors))
    tensors[name] = tensor
    return {"array": [name, scalar]}


# --- reading --------------------------------------------------------------------------------------


def _read_tensors(arrays: bytes) -> dict[str, torch.Tensor]:
    if not arrays:
        return {}
    if int.from_bytes(arrays[:8], "little") > MAX_HEADER:  # it could announce millions of tensors
        raise ValueError("the list of arrays is too long")
    tensors = load(arrays)
    for name, tensor in tensors.items():
        if tensor.dim() > MAX_DIMENSIONS or any(size > MAX_ARRAYS for size in tensor.shape):
            raise ValueError("no shape")
        if tensor.dtype == torch.bool:  # a byte other than 0 and 1 is no bool
            tensors[name] = tensor.view(torch.uint8) != 0
        elif name.startswith("c"):
            tensors[name] = torch.view_as_complex(tensor)
    return tensors


def _decode(node, tensors: dict[str, torch.Tensor], depth: int):
    """The value of a node of JSON. Each tensor can be used once."""
    if depth > 3 * MAX_DEPTH:
        raise ValueError("too deep")

    def each(items) -> list:
        return [_decode(inner, tensors, depth + 1) for inner in items]

    if node is None or isinstance(node, bool | int | float | str):
        return node
    if isinstance(node, list):
        return each(node)
    ((kind, content),) = node.items()
    if kind == "tuple":
        return tuple(each(content))
    if kind == "dict":
        return {key: value for key, value in map(each, content)}
    if kind == "complex":
        return complex(*map(float, content))
    if kind == "tensor":
        name, requires_grad = content
        tensor = tensors.pop(name)
        if tensor.dtype not in TENSOR_TYPES:
            raise ValueError("no tensor of numbers")
        real = tensor.dtype.is_floating_point or tensor.is_complex()
        return tensor.requires_grad_(bool(requires_grad) and real)
    if kind == "array":
        name, scalar = content
        array = tensors.pop(name).numpy()
        return array[()] if scalar else array
    if kind == "strings":
        shape, strings, scalar = content
        array = np.array([str(string) for string in strings], dtype=str).reshape(_shape(shape))
        return array[()] if scalar else array
    if kind == "part":
        name, arguments = content
        return AnswerPart(str(name), tuple(each(arguments)))
    raise ValueError("an unknown kind")


def _shape(shape) -> tuple[int, ...]:
    if len(shape) > MAX_DIMENSIONS or not all(type(n) is int and 0 <= n for n in shape):
        raise ValueError("no shape")
    return tuple(shape)
