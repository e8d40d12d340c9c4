"""What GDAL does not check in a TIFF file: that its pixels are all there. Needs no PyTorch.

GDAL fills strips that a file doesn't list with zeros, and allocates whatever size a header claims.
So a file whose tags are damaged may be read as an image that is nearly black, or end in a
MemoryError. Source: TIFF 6.0 (Adobe 1992); BigTIFF (libtiff's specification).
"""

import math
import os
import struct
from dataclasses import dataclass
from typing import BinaryIO

from kdcourse.common.errors import DataError

LARGEST = 1 << 28  # bytes of an image that is read whole: 13 bands of 16 bits, 3,200 × 3,200 pixels
WIDTH, LENGTH, BITS, COMPRESSION, PHOTOMETRIC = 256, 257, 258, 259, 262
SAMPLES, ROWS_PER_STRIP, PLANAR = 277, 278, 284
TILE_WIDTH, TILE_LENGTH = 322, 323
STRIPS, TILES = (273, 279), (324, 325)  # tags of the offsets and of the byte counts
GDAL_METADATA = 42112  # a tag that holds XML
SINGLE = {WIDTH, LENGTH, COMPRESSION, PHOTOMETRIC, SAMPLES, ROWS_PER_STRIP, PLANAR}
SINGLE |= {TILE_WIDTH, TILE_LENGTH}
DEFAULTS = {COMPRESSION: 1, PHOTOMETRIC: 1, SAMPLES: 1, ROWS_PER_STRIP: 2**32 - 1, PLANAR: 1}
FORMATS = {1: "B", 3: "H", 4: "I", 16: "Q"}  # of whole numbers, by the type of a tag
SIZES = {1: 1, 2: 1, 3: 2, 4: 4, 5: 8, 6: 1, 7: 1, 8: 2, 9: 4, 10: 8, 11: 4, 12: 8, 13: 4}
SIZES |= {16: 8, 17: 8, 18: 8}  # bytes, by the type of a tag
MOST_TAGS = 4096
YCBCR = 6  # a photometric interpretation whose colours may be stored at half the resolution


class _Damaged(Exception):
    """What is wrong with a file."""


@dataclass
class _Directory:
    """The first image's tags, and the parts of the file that hold no pixels."""

    tags: dict[int, tuple[int, ...]]
    parts: list[tuple[int, int]]  # from, to (bytes)


def check_tiff(
    path: str | os.PathLike, *, largest: int | None = LARGEST, sparse: bool = False
) -> None:
    """Check that a TIFF file holds all the pixels that its first image claims.

    largest: bytes that the image may take in memory; None for any number. sparse: blocks without
    data may be left out, as GDAL does in large scenes. Raises DataError that names the file.
    """
    try:
        with open(path, "rb") as file:
            size = os.fstat(file.fileno()).st_size
            if not size:
                raise DataError(f"{path}: the file is empty")
            directory = _read_directory(file, size, path)
    except FileNotFoundError as error:
        raise DataError(f"{path}: no such file, or a link that leads nowhere") from error
    except PermissionError as error:
        raise DataError(f"{path}: no permission to read it") from error
    except (_Damaged, OSError, struct.error) as error:
        raise DataError(f"{path}: truncated or damaged ({error})") from error
    tags = directory.tags
    try:
        pixels = tags[WIDTH][0] * tags[LENGTH][0] * tags[SAMPLES][0]
        claimed = pixels * max(tags.get(BITS) or (1,)) // 8
        if largest is not None and claimed > largest:
            raise DataError(
                f"{path}: {tags[LENGTH][0]:,} × {tags[WIDTH][0]:,} pixels, {claimed / 1e9:.1f} GB: "
                f"too large, expected {largest / 1e9:.1f} GB at most. `kdcourse map` reads large "
                "scenes"
            )
        _check_blocks(directory, size, sparse)
    except _Damaged as error:
        raise DataError(f"{path}: truncated or damaged ({error})") from error


def _read_directory(file: BinaryIO, size: int, path: object) -> _Directory:
    """The tags of the first image that hold whole numbers."""
    head = file.read(16)
    order = {b"II": "<", b"MM": ">"}.get(head[:2])
    version = struct.unpack(f"{order}H", head[2:4])[0] if order and len(head) >= 4 else 0
    if version not in (42, 43):
        raise DataError(f"{path}: not a TIFF file")
    big = version == 43
    word = f"{order}{'Q' if big else 'I'}"  # of offsets and of counts
    width = struct.calcsize(word)
    (start,) = struct.unpack(word, head[width : 2 * width])
    counts = f"{order}{'Q' if big else 'H'}"
    (count,) = struct.unpack(counts, _bytes(file, size, start, struct.calcsize(counts)))
    if not 1 <= count <= MOST_TAGS:
        raise _Damaged(f"a directory of {count} tags")
    first, entry = start + struct.calcsize(counts), 4 + 2 * width
    table = _bytes(file, size, first, count * entry)
    found = _Directory({}, [(0, 2 * width), (start, first + len(table) + width)])
    for at in range(0, len(table), entry):
        tag, kind, number = struct.unpack(f"{order}HH{word[1]}", table[at : at + 4 + width])
        length = SIZES.get(kind, 0) * number
        value = table[at + 4 + width : at + entry]
        if length > width:
            (offset,) = struct.unpack(word, value)
            found.parts.append((offset, offset + length))
        if tag == GDAL_METADATA and length > width:
            _check_text(_bytes(file, size, offset, length))
        if kind not in FORMATS or tag not in {BITS, *SINGLE, *STRIPS, *TILES}:
            continue
        content = value[:length] if length <= width else _bytes(file, size, offset, length)
        found.tags[tag] = struct.unpack(f"{order}{number}{FORMATS[kind]}", content)
    for tag, default in DEFAULTS.items():
        found.tags.setdefault(tag, (default,))
    for tag in (WIDTH, LENGTH, *(SINGLE & set(found.tags))):
        if len(found.tags.get(tag, ())) != 1 or not found.tags[tag][0]:
            raise _Damaged(f"tag {tag} {found.tags.get(tag, ('missing',))[:3]}")
    return found


def _check_text(content: bytes) -> None:
    """rasterio prints a traceback where GDAL quotes text that is no UTF-8."""
    try:
        content.decode()
    except UnicodeDecodeError as error:
        raise _Damaged(f"tag {GDAL_METADATA} is not UTF-8") from error


def _bytes(file: BinaryIO, size: int, start: int, length: int) -> bytes:
    if start + length > size:
        raise _Damaged(f"bytes {start} to {start + length} of a file of {size}")
    file.seek(start)
    return file.read(length)


def _check_blocks(directory: _Directory, size: int, sparse: bool) -> None:
    """The strips or tiles: as many as the image has, each within the file and apart from others."""
    tags = directory.tags
    tiled = TILE_WIDTH in tags or TILES[0] in tags
    offsets, counts = (tags.get(tag, ()) for tag in (TILES if tiled else STRIPS))
    expected = _block_bytes(tags, tiled)
    if not len(offsets) == len(counts) == len(expected):
        raise _Damaged(
            f"{len(offsets)} offsets and {len(counts)} sizes of {len(expected)} "
            f"{'tiles' if tiled else 'strips'}"
        )
    # Only uncompressed blocks have a known size.
    known = tags[COMPRESSION][0] == 1 and tags[PHOTOMETRIC][0] != YCBCR
    stored = []
    for i, (offset, count, right) in enumerate(zip(offsets, counts, expected, strict=True)):
        if sparse and not offset and not count:
            continue
        # A last strip holds the rows left over; GDAL fills it up to a whole strip.
        if known and count not in (right, expected[0]):
            raise _Damaged(f"block {i} has {count} bytes, expected {right}")
        if not count or offset + count > size:
            raise _Damaged(f"block {i} at bytes {offset} to {offset + count} of {size}")
        stored.append((offset, offset + count))
    # Two blocks may be one and the same where a program stored equal blocks once.
    stored = set(stored) if not known else stored
    end = 0
    for start, stop in sorted([*stored, *_merged(directory.parts)]):
        if start < end:
            raise _Damaged(f"two parts of the file overlap at byte {start}")
        end = stop


def _merged(parts: list[tuple[int, int]]) -> list[tuple[int, int]]:
    """The same bytes as parts that do not overlap: tags may share their values."""
    merged = []
    for start, stop in sorted(parts):
        if merged and start < merged[-1][1]:
            merged[-1] = (merged[-1][0], max(stop, merged[-1][1]))
        else:
            merged.append((start, stop))
    return merged


def _block_bytes(tags: dict[int, tuple[int, ...]], tiled: bool) -> list[int]:
    """Bytes of each strip or tile without compression; a last strip holds the rows left over."""
    width, length, samples = (tags[tag][0] for tag in (WIDTH, LENGTH, SAMPLES))
    bits = tags.get(BITS, (1,))
    if len(bits) not in (1, samples):
        raise _Damaged(f"bits of {len(bits)} bands, but {samples} bands")
    planes = samples if tags[PLANAR][0] == 2 else 1
    pixel_bits = bits[0] * (samples // planes)
    if tiled:
        if not {TILE_WIDTH, TILE_LENGTH} <= set(tags):
            raise _Damaged("tiles without a size")
        wide, high = tags[TILE_WIDTH][0], tags[TILE_LENGTH][0]
        number = math.ceil(width / wide) * math.ceil(length / high)
        _check_number(number * planes)
        return [math.ceil(wide * pixel_bits / 8) * high] * (number * planes)
    rows = min(tags[ROWS_PER_STRIP][0], length)
    row_bytes, number = math.ceil(width * pixel_bits / 8), math.ceil(length / rows)
    _check_number(number * planes)
    last = (length - (number - 1) * rows) * row_bytes
    return ([rows * row_bytes] * (number - 1) + [last]) * planes


def _check_number(blocks: int) -> None:
    if blocks > 1 << 24:
        raise _Damaged(f"{blocks} strips or tiles")
