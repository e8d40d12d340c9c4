"""Files with random damage: each ends in one clear error or in a right answer, never in a raw
traceback.

The damage is drawn from a fixed seed, so that a failure can be repeated: its message names the
number of the mutation.
"""

import struct
from collections.abc import Callable, Iterator

import numpy as np
import pytest
from PIL import Image

from kdcourse.common.errors import CheckpointError, DataError, KDCourseError
from kdcourse.shipping.export import export, export_checkpoint
from kdcourse.shipping.predict import Model, predict
from kdcourse.training import checkpoint
from shipping import ships

pytestmark = pytest.mark.slow
pytest.importorskip("onnx")
pytest.importorskip("onnxscript")
pytest.importorskip("onnxruntime")


KINDS = 6  # of damage
INSERTION = 5


def damaged(content: bytes, rng: np.random.Generator, low: int, high: int | None, kinds: int):
    """`content` with one of the first `kinds` kinds of damage between `low` and `high` (bytes)."""
    high = len(content) if high is None else min(high, len(content))
    at, run = int(rng.integers(low, high)), int(rng.integers(1, 9))
    noise = rng.integers(0, 256, run, dtype=np.uint8).tobytes()
    match rng.integers(kinds):
        case 0:  # one bit
            return content[:at] + bytes([content[at] ^ 1 << rng.integers(8)]) + content[at + 1 :]
        case 1:  # a run of random bytes
            return content[:at] + noise + content[at + run :]
        case 2:  # a run of bytes that stand for large or small numbers
            return content[:at] + rng.choice([b"\0", b"\xff", b"\x01"]) * run + content[at + run :]
        case 3:
            return content[:at] + content[at + run :]
        case 4:
            return content[:at]
        case _:
            return content[:at] + noise + content[at:]


def mutations(
    content: bytes, count: int, seed: int, low: int = 0, high: int | None = None, kinds=KINDS
) -> Iterator[tuple[int, bytes]]:
    """`count` different contents that differ from `content`, with their numbers."""
    for number in range(count):
        rng = np.random.default_rng([seed, number])
        altered = damaged(content, rng, low, high, kinds)
        if altered != content:
            yield number, altered


def outcome(call: Callable, number: int, kinds: type | tuple[type, ...], name: str):
    """What a call returns, or None if it raised one of the errors that name the file."""
    try:
        return call()
    except kinds as error:
        assert name in str(error) and len(str(error).splitlines()) == 1, (number, error)
        return None
    except Exception as error:
        raise AssertionError(f"mutation {number}: {type(error).__name__}: {error}") from error


# --- ONNX files -----------------------------------------------------------------------------------


def test_onnx_files_with_random_damage(tmp_path):
    """Any altered byte is refused: the checksum covers the whole file."""
    path, content = tmp_path / "m.onnx", ships.exported().path.read_bytes()
    at = content.index(b'{"')  # the description
    for low, seed in ((0, 1), (at, 2)):
        for number, altered in mutations(content, 100, seed, low):
            path.write_bytes(altered)
            model = outcome(lambda: Model(path), number, DataError, "m.onnx")
            assert model is None, f"mutation {number} of seed {seed} was accepted"


# --- tiles and pictures ---------------------------------------------------------------------------


def answered(model: Model, path, number: int):
    """What `predict` says of a good file, a damaged one and another good one."""
    good = ships.tiles()[0] if not model.pictures else str(path.parent / "good.png")
    answers = outcome(lambda: list(predict(model, [good, path, good])), number, (), "")
    assert [name for name, _ in answers] == [good, str(path), good]
    for _, answer in (answers[0], answers[2]):
        assert np.isfinite(answer).all()
    _, answer = answers[1]
    if isinstance(answer, DataError):
        assert str(answer).startswith(f"{path}: ") and "The model takes" in str(answer), number
        return None
    return answer


def with_altered_tags(content: bytes, count: int, seed: int) -> Iterator[tuple[int, bytes]]:
    """A little-endian TIFF in which one number of one tag of the first image is another."""
    (start,) = struct.unpack("<I", content[4:8])
    (tags,) = struct.unpack("<H", content[start : start + 2])
    for number in range(count):
        rng = np.random.default_rng([seed, number])
        at = start + 2 + 12 * int(rng.integers(tags)) + int(rng.choice([0, 2, 4, 8]))
        (old,) = struct.unpack("<H", content[at : at + 2])
        new = rng.choice([0, 1, old + 1, old - 1, 2 * old, old // 2, 60_000, rng.integers(1 << 16)])
        new = int(new) % (1 << 16)
        if new != old:
            yield number, content[:at] + struct.pack("<H", new) + content[at + 2 :]


def test_tiles_with_random_damage(tmp_path, write_tile):
    """Pixels whose bytes are damaged can't be told from others; but none may be lost or moved.

    Insertions are left out: they move all pixels behind them, and no tag tells.
    """
    model, path = Model(ships.exported().path), tmp_path / "tile.tif"
    rng = np.random.default_rng(0)
    pixels = rng.integers(1000, 4000, (13, 64, 64), dtype=np.uint16)
    content = write_tile(tmp_path / "plain.tif", pixels).read_bytes()
    right = model.read(tmp_path / "plain.tif")
    cases = (
        *mutations(content, 100, 3, 0, 1000, INSERTION),
        *mutations(content, 40, 4, kinds=INSERTION),
        *with_altered_tags(content, 160, 8),
    )
    refused = 0
    for number, altered in cases:
        path.write_bytes(altered)
        if answered(model, path, number) is None:
            refused += 1
            continue
        other = (model.read(path) != right).mean()
        assert other < 0.01, f"mutation {number}: {other:.0%} of the pixels are others"
    assert 100 < refused < len(cases)


@pytest.mark.parametrize("suffix", [".png", ".jpg"])
def test_pictures_with_random_damage(tmp_path, make_data, suffix):
    export(ships.tiny(3), make_data(channels=3), tmp_path / "m.onnx")
    model, path = Model(tmp_path / "m.onnx"), tmp_path / f"picture{suffix}"
    image = Image.fromarray(np.random.default_rng(0).integers(0, 256, (8, 8, 3), dtype=np.uint8))
    image.save(path)
    image.save(tmp_path / "good.png")
    for number, altered in mutations(path.read_bytes(), 60, 5):
        path.write_bytes(altered)
        answered(model, path, number)


# --- checkpoints ----------------------------------------------------------------------------------


def test_checkpoints_with_random_damage(tmp_path):
    content, path = ships.trained()[1].read_bytes(), tmp_path / "a.pt"
    before = checkpoint.load(ships.trained()[1])
    for number, altered in mutations(content, 100, 6):
        path.write_bytes(altered)
        loaded = outcome(lambda: checkpoint.load(path), number, CheckpointError, "a.pt")
        if loaded is not None:
            assert repr(loaded) == repr(before), f"mutation {number} was accepted"


def test_export_of_checkpoints_with_wrong_content(tmp_path):
    """Checkpoints that are whole files, but one of their values is of another kind."""
    path = tmp_path / "a.pt"
    values = (None, 0, -1, 10**9, 0.5, float("nan"), "text", [], {}, ["a", [], {}], True)
    for number in range(40):
        rng = np.random.default_rng([7, number])
        content = checkpoint.load(ships.trained()[1])
        keys = [("about", key) for key in content["about"]] + [("student",), ("finished",)]
        *outer, key = keys[rng.integers(len(keys))]
        place = content[outer[0]] if outer else content
        place[key] = values[rng.integers(len(values))]
        checkpoint.save(path, content)
        outcome(
            lambda: export_checkpoint(path, tmp_path / "a.pt2", format="pt2", check=False),
            (number, *outer, key, place[key]),
            KDCourseError,
            "",
        )
