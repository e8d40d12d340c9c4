"""The course on Google Colab: what its setup cell does there, after the package is installed.

Colab takes a machine back when it is idle, or after some hours. The scenes are soon made again,
with the same fingerprint; networks that were trained, and the list of what was solved, are worth
keeping. They go to the user's Drive, if the user says so, and training goes on from the last whole
epoch. Everything else stays on the machine's own disk, which is faster.
"""

import os
import shutil
import sys
from pathlib import Path

from IPython.core.error import StdinNotImplementedError

from kdcourse.checking import progress
from kdcourse.common.paths import work_dir

DRIVE = Path("/content/drive")  # where Colab shows it


def setup() -> None:
    """On Colab: ask whether trained networks are to be kept on Drive, and keep them there, and
    beside them what one has
    solved. Elsewhere: nothing.

    Once they are there, it asks no more. Where nobody can answer, as in a run without a page, they
    stay here.
    """
    if "google.colab" not in sys.modules:
        return
    models = work_dir() / "models"
    if not models.is_symlink():
        question = (
            "Keep trained networks on your Google Drive, for when Colab takes this machine back? "
            "[y/N] "
        )
        try:
            wanted = input(question).strip().lower() in ("y", "yes")
        except StdinNotImplementedError:
            wanted = False
        if not wanted:
            print(
                "Trained networks stay on this machine. Run this cell again to keep them on Drive."
            )
            return
        keep(models, mounted())
    own, kept = progress.file(), Path(os.readlink(models)).with_name("progress.json")
    if own.is_file() and not kept.exists():
        shutil.move(own, kept)
    os.environ["KDCOURSE_PROGRESS"] = str(kept)
    print(f"Trained networks are kept in {os.readlink(models)}.")


def mounted() -> Path:
    """The user's Drive, which Colab asks leave for. Raises what Colab raises if that is denied."""
    from google.colab import drive

    drive.mount(str(DRIVE))
    return DRIVE / "MyDrive"


def keep(folder: Path, drive: Path) -> None:
    """Make `folder` a link to one on the drive, where all that it held goes. Files that are there
    already stay.
    """
    target = drive / "kdcourse" / folder.name
    target.mkdir(parents=True, exist_ok=True)
    if folder.is_dir():
        for file in sorted(folder.iterdir()):
            if not (target / file.name).exists():
                shutil.move(file, target)
        shutil.rmtree(folder)
    folder.parent.mkdir(parents=True, exist_ok=True)
    folder.symlink_to(target)
