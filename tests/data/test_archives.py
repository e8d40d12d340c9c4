"""Unpacking: archives that mean harm, and archives that are damaged."""

import io
import stat
import tarfile
import zipfile

import numpy as np
import pytest
from archive_files import mutated, tar_of, zip_of

from kdcourse.common.errors import DataError
from kdcourse.data import archives


def special(name, kind, target="/etc/passwd"):
    info = tarfile.TarInfo(name)
    info.type, info.linkname = kind, target
    return info


def link_in_zip(path):
    info = zipfile.ZipInfo("top/link")
    info.external_attr = (stat.S_IFLNK | 0o777) << 16
    with zipfile.ZipFile(path, "w") as file:
        file.writestr("top/good", b"x")
        file.writestr(info, "/etc/passwd")
    return path


EVIL = {
    "zip ..": (lambda p: zip_of(p, ("top/good", b"x"), ("../evil", b"x")), "outside the folder"),
    "zip deep ..": (lambda p: zip_of(p, ("top/a/../../../evil", b"x")), "outside the folder"),
    "zip absolute": (lambda p: zip_of(p, ("/evil", b"x")), "outside the folder"),
    "zip backslash": (lambda p: zip_of(p, ("..\\evil", b"x")), "outside the folder"),
    "zip drive": (lambda p: zip_of(p, ("C:/evil", b"x")), "outside the folder"),
    "zip link": (link_in_zip, "link or device"),
    "tar ..": (lambda p: tar_of(p, ("top/good", b"x"), ("../evil", b"x")), "outside the folder"),
    "tar absolute": (lambda p: tar_of(p, ("/evil", b"x")), "outside the folder"),
    "tar link": (
        lambda p: tar_of(p, (special("top/link", tarfile.SYMTYPE), b"")),
        "link or device",
    ),
    "tar hard link": (
        lambda p: tar_of(p, (special("top/link", tarfile.LNKTYPE), b"")),
        "link or device",
    ),
    "tar device": (
        lambda p: tar_of(p, (special("top/dev", tarfile.CHRTYPE), b"")),
        "link or device",
    ),
    "tar pipe": (
        lambda p: tar_of(p, (special("top/pipe", tarfile.FIFOTYPE), b"")),
        "link or device",
    ),
}


def test_archives_that_reach_outside(tmp_path):
    for kind, (make, message) in EVIL.items():
        folder = tmp_path / kind.replace("/", "")
        folder.mkdir()
        archive = make(folder / "archive")
        with pytest.raises(DataError, match=message):
            archives.unpack(archive, folder / "deep" / "out")
        written = sorted(p.name for p in folder.rglob("*"))
        assert written == ["archive", "deep"], f"{kind}: nothing may be written"


def test_bombs(tmp_path):
    with zipfile.ZipFile(tmp_path / "bomb.zip", "w", zipfile.ZIP_DEFLATED) as file:
        file.writestr("zeros", bytes(80 * 2**20))
    with pytest.raises(DataError, match="more than .* bytes of content"):
        archives.unpack(tmp_path / "bomb.zip", tmp_path / "out")
    many = zip_of(tmp_path / "many.zip", *((f"m/{i}", b"") for i in range(20)))
    with pytest.raises(DataError, match="more than 10 members"):
        archives.unpack(many, tmp_path / "out", max_members=10)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["bomb.zip", "many.zip"]


@pytest.mark.parametrize("content", [b"", b"no archive", b"PK\x03\x04 damaged"])
def test_damaged_archives(tmp_path, content):
    (tmp_path / "a.zip").write_bytes(content)
    with pytest.raises(DataError, match="a.zip: a damaged archive"):
        archives.unpack(tmp_path / "a.zip", tmp_path / "out")
    assert [p.name for p in tmp_path.iterdir()] == ["a.zip"]


@pytest.mark.parametrize("make", [zip_of, tar_of])
def test_a_truncated_archive_leaves_nothing(tmp_path, make):
    archive = make(
        tmp_path / "a", *((f"top/{i}", np.random.default_rng(i).bytes(5000)) for i in range(50))
    )
    archive.write_bytes(archive.read_bytes()[:100_000])
    with pytest.raises(DataError, match="damaged archive"):
        archives.unpack(archive, tmp_path / "out")
    assert [p.name for p in tmp_path.iterdir()] == ["a"]


@pytest.mark.parametrize("make", [zip_of, tar_of])
def test_good_archives(tmp_path, make):
    single = make(
        tmp_path / "single",
        ("top/a/1", b"one"),
        ("top/b/2", b"two"),
        ("__MACOSX/top/._a", b"rubbish"),
    )
    archives.unpack(single, tmp_path / "x")
    assert (tmp_path / "x" / "a" / "1").read_bytes() == b"one" and (
        tmp_path / "x" / "b" / "2"
    ).read_bytes() == b"two"
    several = make(tmp_path / "several", ("a/1", b"one"), ("b/2", b"two"))
    archives.unpack(several, tmp_path / "y")
    assert (tmp_path / "y" / "b" / "2").read_bytes() == b"two"
    assert sorted(p.name for p in tmp_path.iterdir()) == ["several", "single", "x", "y"]


# --- damaged at random ----------------------------------------------------------------------------

FILES = {f"top/{name}": np.random.default_rng(i).bytes(3000) for i, name in enumerate("abcdef")}


def zip_lzma(path):
    with zipfile.ZipFile(path, "w", zipfile.ZIP_LZMA) as file:
        for name, content in FILES.items():
            file.writestr(name, content)


def zip_deflated(path):
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as file:
        for name, content in FILES.items():
            file.writestr(name, content)


def tar(mode):
    def make(path):
        with tarfile.open(path, mode) as file:
            for name, content in FILES.items():
                info = tarfile.TarInfo(name)
                info.size = len(content)
                file.addfile(info, io.BytesIO(content))

    return make


MAKERS = {
    "zip": zip_deflated, "lzma.zip": zip_lzma, "tar": tar("w"), "tar.gz": tar("w:gz"),
    "tar.bz2": tar("w:bz2"), "tar.xz": tar("w:xz"),
}  # fmt: skip


def outcome(path, folder):
    """The files that came out, or None for a DataError that names the archive."""
    try:
        archives.unpack(path, folder)
    except DataError as error:
        assert str(path) in str(error) and not folder.exists()
        return None
    return {f"top/{file.name}": file.read_bytes() for file in folder.rglob("*") if file.is_file()}


def damage(tmp_path, count, seed):
    """Unpack `count` mutated archives of each kind; returns how many were refused."""
    rng, refused = np.random.default_rng(seed), 0
    for kind, make in MAKERS.items():
        whole = tmp_path / f"whole.{kind}"
        make(whole)
        for number in range(count):
            path, folder = tmp_path / f"{number}.{kind}", tmp_path / f"{number}-{kind}"
            path.write_bytes(mutated(whole.read_bytes(), rng))
            found = outcome(path, folder)
            refused += found is None
            if found is None or found == FILES:
                continue
            # A plain tar has checksums for its headers only, and no format has one for names in
            # every place: content or a name may differ, but no file may be missing.
            assert len(found) == len(FILES), f"{path.name}: {len(found)} files came out"
            assert kind == "tar" or sorted(found.values()) == sorted(FILES.values()), path.name
    assert not list(tmp_path.glob(".*partial"))
    return refused


def test_damage_is_an_error_and_never_a_part_of_the_files(tmp_path):
    assert damage(tmp_path, 14, seed=0) > 40


@pytest.mark.slow
def test_much_damage_is_an_error_and_never_a_part_of_the_files(tmp_path):
    assert damage(tmp_path, 80, seed=1) > 250
