"""Small archives for tests."""

import io
import tarfile
import zipfile


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
