"""A teacher whose answers are kept: each repeated view of an image is answered once.

Where views are repeated (`Batches(…, views=V)`), a `CachedTeacher` answers each of them once,
writes the logits to disk, and reads them from then on.
"""

import json
import shutil
import uuid
import zlib
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from torch import nn

from kdcourse.common.errors import CheckpointError, UsageError
from kdcourse.common.paths import work_dir
from kdcourse.common.progress_bar import bar
from kdcourse.data.batches import Batch, Batches
from kdcourse.distillation.hooks import ForwardOutput
from kdcourse.distillation.teacher import Teacher

FORMAT = 1  # of the folders with kept answers
# images that are answered at a time: always the same number, so that the bits are the same
AT_ONCE = 256
CHECKED = 16  # images of a kept view that are answered once more when it is opened
# by which these may differ, as a share of the largest logit: devices and TF32 round differently
TOLERANCE = 0.01


class CachedTeacher(Teacher):
    """A Teacher that keeps its logits on disk: it answers each repeated view of each image once.

    When a view is first asked for, all of it is answered, in the split's order, `AT_ONCE` images at
    a time, in float32 without autocast, so that the kept logits are the same for every caller. They
    are written in half precision, memory-mapped, to
    `work_dir()/answers/<teacher>-<batches>/view-000`, named by the fingerprint of the weights and
    settings and by `Batches.repeated`. The largest rounding error is in `meta.json` and in
    `rounding_error`: 0.004 for logits below 16, 0.008 below 32. A fill that is killed loses the
    view at hand; the others stay.

    Where views are not repeated (`batch.source` None, `repeated` None) and where features are
    wanted, the live teacher answers. What is kept is never taken on trust: when a view is opened,
    its description, size and checksum must be right and a few images, answered once more, must
    agree. The weights are looked at again every epoch.

    `served` and `computed` count the images answered from disk and by the network.

    Raises CheckpointError for kept answers that are damaged or another's, and where they cannot be
    written; UsageError for logits that half precision cannot hold.
    """

    def __init__(self, network: nn.Module, **settings):
        super().__init__(network, **settings)
        self.served = self.computed = 0
        self.rounding_error = 0.0  # the largest of the views opened
        self._forget_opened()

    @property
    def fingerprint(self) -> str:
        return f"{super().fingerprint}-cached"

    @torch.no_grad()
    def forward_with_features(self, batch: Batch, layers: Sequence[str] = ()) -> ForwardOutput:
        if layers or (kept := self._kept(batch)) is None:
            self.computed += len(batch)
            return super().forward_with_features(batch, layers)
        self.served += len(batch)
        logits = torch.from_numpy(kept[batch.index.cpu().numpy()])
        return ForwardOutput(logits.to(batch.images.device).float())

    def fill(self, batches: Batches, *, progress: bool = True) -> None:
        """Answer all views of these batches now. Raises UsageError if they are not repeated."""
        if batches.repeated is None:
            raise UsageError(
                "the views of these batches are not repeated, so their answers cannot be kept: "
                "Batches(…, views=8), with an augmentation of the course and data that have a "
                "fingerprint"
            )
        views = range(batches.views if batches.augment else 1)
        for view in bar(views, desc="the teacher answers", unit="view", shown=progress):
            self._opened(batches, view)

    def forget(self) -> None:
        """Remove all that is kept of this teacher, of any data."""
        self._forget_opened()
        for folder in self._folders():
            shutil.rmtree(folder)

    @property
    def nbytes(self) -> int:
        """Bytes on disk of all that is kept of this teacher, of any data."""
        return sum(
            file.stat().st_size
            for folder in self._folders()
            for file in folder.glob("*/answers.npy")
        )

    def __getstate__(self):  # copies and pickles open the views for themselves
        return {**self.__dict__, "_views": {}, "_at": None, "_rows": None}

    def _forget_opened(self) -> None:
        self._views: dict[Path, np.ndarray] = {}
        self._at = self._rows = None

    def _folders(self) -> list[Path]:
        return sorted((work_dir() / "answers").glob(f"{super().fingerprint}-*"))

    def _kept(self, batch: Batch) -> np.ndarray | None:
        """(N, C): the answers to the view of this batch, or None if there can be none."""
        at = (batch.source, batch.epoch, batch.view)
        if at != self._at:
            keepable = batch.source is not None and batch.source.repeated is not None
            self._rows = self._opened(batch.source, batch.view) if keepable else None
            self._at = at
        return self._rows

    def _opened(self, source: Batches, view: int) -> np.ndarray:
        about = {
            "format": FORMAT,
            "teacher": super().fingerprint,
            "batches": source.repeated,
            "view": view,
            "images": len(source.split),
        }
        folder = (
            work_dir() / "answers" / f"{about['teacher']}-{about['batches']}" / f"view-{view:03}"
        )
        if folder not in self._views:
            source = Batches(
                source.split,
                AT_ONCE,
                seed=source.seed,
                augment=source.augment,
                device=source.device,
                views=source.views,
            )
            if not folder.exists():
                _write(folder, self._answers(source.view(view), len(source.split)), about)
                self.computed += len(source.split)
            answers, meta = _read(folder, about)
            self._compare(answers, source, view, folder)
            self._views[folder] = answers
            self.rounding_error = max(self.rounding_error, meta["rounding_error"])
        return self._views[folder]

    def _answers(self, batches, count: int) -> np.ndarray:
        """The live teacher's logits, (N, C) float32, for batches in the split's order."""
        answers, start = None, 0
        for batch in batches:
            with torch.autocast(batch.images.device.type, enabled=False):
                logits = super().forward_with_features(batch).logits.cpu().numpy()
            answers = np.empty((count, logits.shape[1]), np.float32) if answers is None else answers
            answers[start : start + len(logits)] = logits
            start += len(logits)
        return answers

    def _compare(self, answers: np.ndarray, source: Batches, view: int, folder: Path) -> None:
        rows = np.unique(np.linspace(0, len(answers) - 1, CHECKED).astype(int))
        live = self._answers(source.view(view, rows), len(rows))
        same = answers[rows].shape == live.shape
        if not (
            same and np.abs(answers[rows] - live).max() <= TOLERANCE * np.abs(live).max()
        ):  # NaN is not either
            raise CheckpointError(
                f"{folder}: these are not this teacher's answers to these images: some, answered "
                "once more, differ. Was the code of the network or the data changed without their "
                "fingerprint? Remove the folder to have them answered anew"
            )


def _write(folder: Path, answers: np.ndarray, about: dict) -> None:
    """A kept view, all or nothing: written to a temporary folder and renamed. If another process
    was first, its stays.
    """
    largest = np.abs(answers).max()
    if not largest <= np.finfo(np.float16).max:  # a NaN is not either
        raise UsageError(
            f"the teacher's logits reach {largest:,.0f}, and half precision ends at 65,504: look "
            "at the network, or use Teacher, which keeps nothing"
        )
    half = answers.astype(np.float16)
    error = float(np.abs(half.astype(np.float32) - answers).max())
    meta = {
        **about,
        "classes": half.shape[1],
        "rounding_error": error,
        "checksum": zlib.crc32(half),
    }
    partial = folder.with_name(f"{folder.name}.{uuid.uuid4().hex}.partial")
    try:
        partial.mkdir(parents=True)
        np.save(partial / "answers.npy", half)
        (partial / "meta.json").write_text(json.dumps(meta, indent=2), encoding="utf-8")
        try:
            partial.rename(folder)
        except OSError:
            if not folder.exists():
                raise
    except OSError as problem:
        raise CheckpointError(
            f"{folder}: the teacher's answers could not be written ({problem}): {half.nbytes:,} "
            "bytes a view. Free space, name another folder with KDCOURSE_WORK, or use Teacher, "
            "which keeps nothing"
        ) from problem
    finally:
        shutil.rmtree(partial, ignore_errors=True)


def _read(folder: Path, about: dict) -> tuple[np.ndarray, dict]:
    """A kept view, (N, C) float16, memory-mapped, and its description. Raises CheckpointError
    unless it is as `about` describes it.
    """
    advice = "Remove the folder to have the teacher answer anew"
    try:
        meta = json.loads((folder / "meta.json").read_text(encoding="utf-8"))
        answers = np.load(folder / "answers.npy", mmap_mode="r")
        shape, checksum = (meta["images"], meta["classes"]), meta["checksum"]
    except (OSError, EOFError, ValueError, KeyError, TypeError) as error:
        raise CheckpointError(f"{folder}: damaged ({error}). {advice}") from error
    for name, expected in about.items():
        if meta.get(name) != expected:
            raise CheckpointError(
                f"{folder}: kept for another {name} ({meta.get(name)}, expected {expected}). "
                f"{advice}"
            )
    if answers.dtype != np.float16 or answers.shape != shape or zlib.crc32(answers) != checksum:
        raise CheckpointError(
            f"{folder}: damaged: {answers.dtype} of shape {answers.shape}, or its checksum, is not "
            f"what meta.json says. {advice}"
        )
    return np.asarray(answers), meta
