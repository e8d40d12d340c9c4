"""Small archives for tests, and damage for files of any kind."""

import io
import tarfile
import zipfile

import numpy as np


def zip_of(path, *members):
    with zipfile.ZipFile(path, "w") as file:
        for name, content in members:
            file.writestr(name, content)
    return path


def tar_of(path, *members):
    with tarfile.open(path, "w:gz") as file:
        for member, content in members:
            info = tarfile.TarInfo(member) if isinstance(member, str) else member
            info.size = len(content)
            file.addfile(info, io.BytesIO(content))
    return path


def mutated(content: bytes, rng: np.random.Generator, insert: bool = True) -> bytes:
    """Some bytes changed or removed, the end cut off, or, if `insert`, bytes inserted."""
    content = bytearray(content)
    place, count = int(rng.integers(len(content))), int(rng.integers(1, 9))
    kind = rng.integers(4)
    if kind == 0:
        content[place : place + count] = rng.bytes(count)
    elif kind == 1:
        del content[place : place + count]
    elif kind == 2 and insert:
        content[place:place] = rng.bytes(count)
    else:
        del content[place:]
    return bytes(content)
