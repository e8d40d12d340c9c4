"""Messages between judge and worker: plain data arrive as they were, forged ones are unreadable."""

import json
import struct

import numpy as np
import pytest
import torch

from kdcourse.checking.safe_call import AnswerPart, same
from kdcourse.grading import protocol


def sent(value):
    message = protocol.pack(value)
    header, arrays = protocol.lengths(message[: protocol.PREFIX.size])
    body = message[protocol.PREFIX.size :]
    assert len(body) == header + arrays
    return protocol.unpack(body[:header], body[header:])


VALUES = [
    None, True, 3, 10**30, 1.5, float("inf"), "ü\ud800", 1 + 2j, [1, [2.0, ()]], (1, "a"),
    {"a": 1, 2: (3,), None: []},
    torch.rand(2, 3), torch.rand(2, 3).double().T, torch.tensor(3), torch.zeros(0, 4),
    torch.tensor([True, False]), torch.rand(3).bfloat16(), torch.rand(3).half(),
    torch.tensor([1 + 2j]), torch.tensor(1 + 2j, dtype=torch.complex128).conj(),
    torch.rand(4, 4)[:, ::2],
    np.arange(6).reshape(2, 3)[:, ::-1], np.arange(6).reshape(2, 3).T, np.float32(1.5),
    np.int8(-3), np.bool_(True), np.array([True, False]), np.array(["a", "bcd"]), np.str_("a"),
    np.zeros((0, 2)), np.float64("nan"), np.array([1, 2], np.uint16), np.float16([1, 2]),
    np.array([1 + 2j]), np.complex64(1j), np.uint64(2**64 - 1),
]  # fmt: skip


def test_plain_data_arrive_as_they_were():
    for value in VALUES:
        assert same(sent(value), value), value
        assert same(sent([value, {"x": value}]), [value, {"x": value}]), value
    big_endian = np.array([1.0, 2.0], ">f4")
    assert same(sent(big_endian), big_endian.astype(np.float32))


def test_gradients_and_answer_parts_arrive():
    assert sent(torch.ones(2, requires_grad=True)).requires_grad
    assert not sent(torch.ones(2)).requires_grad
    assert sent((AnswerPart("tiny_network", (1, [2])),)) == (AnswerPart("tiny_network", (1, [2])),)
    sparse = torch.eye(3).to_sparse()
    assert torch.equal(sent(sparse), torch.eye(3))


def test_what_is_no_plain_data_is_not_sent():
    networks, long_double = [torch.nn.Linear(1, 1)], np.zeros(2, np.longdouble)
    for value in (object(), {1, 2}, np.array([object()]), print, networks, long_double):
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


# --- forged messages ------------------------------------------------------------------------------


def arrays(size: int = 8, **entry) -> bytes:
    """Tensors in the format of safetensors, of which one, named 0, is as `entry` describes it."""
    tensor = {"dtype": "U8", "shape": [size], "data_offsets": [0, size]} | entry
    header = json.dumps({"0": tensor}).encode()
    return struct.pack("<Q", len(header)) + header + b"\7" * size


def test_a_forged_header_is_unreadable_and_nothing_worse():
    for header in (
        b"", b"\xff", b"[", b"[" * 100_000, b'{"a": 1, "b": 2}', b"{}", b'{"other": 1}',
        b'{"tuple": 3}', b'{"dict": [[[1], 2]]}', b'{"dict": [1]}', b'{"dict": [[1, 2, 3]]}',
        b'{"tensor": ["1", false]}', b'{"tensor": []}', b'{"tensor": [["0"], false]}',
        b'[{"tensor": ["0", false]}, {"array": ["0", false]}]', b'{"array": [0, false]}',
        b'{"strings": [[2], ["a"], false]}', b'{"strings": [[-1], ["a"], false]}',
        b'{"part": [1]}', b'{"complex": [1, 2, 3]}', b"1" * 5000,
    ):  # fmt: skip
        with pytest.raises(protocol.Unreadable):
            protocol.unpack(header, arrays())


def test_forged_arrays_are_unreadable_and_nothing_worse():
    for name, forged in {
        "short": b"\x08",
        "a list that is too long": struct.pack("<Q", protocol.MAX_HEADER + 1) + b" " * 100,
        "no JSON": struct.pack("<Q", 4) + b"nope",
        "too little data": arrays()[:-1],
        "too much data": arrays() + b"more",
        "negative": arrays(shape=[-1]),
        "not whole": arrays(shape=[8.0]),
        "larger than its data": arrays(shape=[99999999999999999999]),
        "overflow": arrays(0, shape=[2**62, 4]),
        "huge without data": arrays(0, shape=[0, 2**62]),
        "many dimensions": arrays(1, shape=[1] * 200),
        "a type by name": arrays(dtype="os.system"),
        "8 bit floats": arrays(dtype="F8_E4M3"),
        "16 bit, unsigned": arrays(dtype="U16", shape=[4]),
        "4 bit": arrays(dtype="F4", shape=[16]),
    }.items():
        with pytest.raises(protocol.Unreadable):
            protocol.unpack(b'{"tensor": ["0", false]}', forged)
            pytest.fail(name)


def test_forged_booleans_are_true_or_false():
    for kind in ("tensor", "array"):
        value = protocol.unpack(
            b'{"%s": ["0", false]}' % kind.encode(), arrays(2, dtype="BOOL", shape=[2])
        )
        assert value.tolist() == [True, True]
        assert torch.as_tensor(value).view(torch.uint8).max() == 1


def test_random_changes_of_a_message_are_unreadable_or_plain_data():
    rng = np.random.default_rng(0)
    value = [torch.rand(3), {"a": np.arange(4)}, torch.tensor([1j]), (1, "x", 2.5)]
    message = protocol.pack(value)
    header, _ = protocol.lengths(message[: protocol.PREFIX.size])
    for _ in range(20_000):
        forged = bytearray(message[protocol.PREFIX.size :])
        for place in rng.integers(0, len(forged), rng.integers(1, 4)):
            forged[place] = rng.integers(0, 256)
        try:
            protocol.pack(protocol.unpack(bytes(forged[:header]), bytes(forged[header:])))
        except (protocol.Unreadable, TypeError):
            continue
