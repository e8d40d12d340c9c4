"""Answers of an exported network to image files, by onnxruntime alone: nothing here imports
torch.
"""

import csv
import os
import warnings
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import numpy as np

from kdcourse.common.errors import DataError, UsageError, brief
from kdcourse.common.files import replacing
from kdcourse.common.system import cores
from kdcourse.data.eurosat import read_geotiff
from kdcourse.data.images import SUFFIXES, TIFF, read_image, scan
from kdcourse.data.store import resize
from kdcourse.shipping.file_format import check_graph, check_seal, read_description

NOT_FINITE = (
    "the network's answer is not finite. Are pixels missing, or far from the training data?"
)


class Model:
    """An ONNX file made by `kdcourse export`, ready to answer.

    source: the file, or its content. `about` is what the file says of itself; `classes` and
    `channels` are names, `image_size` is (height, width), `dtype` the type of the pixels that it
    was trained on. threads: CPU threads to answer with, by default all that this process may use.

    Raises DataError for a file that is missing, not made by `kdcourse export`, or altered since;
    UsageError without onnxruntime.
    """

    def __init__(self, source: str | os.PathLike | bytes, threads: int | None = None):
        self.name = "the file" if isinstance(source, bytes) else os.fspath(source)
        self._session, self._refusals = _session(source, threads or cores())
        metadata = self._session.get_modelmeta().custom_metadata_map
        self.about = read_description(metadata, self.name)
        graph = self._session.get_inputs(), self._session.get_outputs()
        check_graph(*graph, self.about, self.name)
        self.classes, self.channels = tuple(self.about["classes"]), tuple(self.about["channels"])
        self.image_size, self.dtype = tuple(self.about["image_size"]), np.dtype(self.about["dtype"])

    @property
    def pictures(self) -> bool:
        """Whether it takes pictures as Pillow reads them, grey or colour, and not GeoTIFFs of
        bands.
        """
        return self.dtype == np.uint8 and len(self.channels) in (1, 3)

    @property
    def takes(self) -> str:
        """Which files it takes, in words."""
        if self.pictures:
            return f"{'grey' if len(self.channels) == 1 else 'colour'} images"
        return f"GeoTIFFs of {len(self.channels)} bands ({', '.join(self.channels)}), {self.dtype}"

    def read(self, path: str | os.PathLike) -> np.ndarray:
        """An image file as (C, H, W) in the model's type and size, read and resized as the training
        data were.

        Raises DataError that names the file, what is wrong with it and what was expected.
        """
        try:
            return self.sized(path, self._decoded(path))
        except DataError as error:
            raise DataError(f"{error}. The model takes {self.takes}") from error

    def _decoded(self, path: str | os.PathLike) -> np.ndarray:
        with warnings.catch_warnings():
            # The pixels are all we want, and damage that matters is an error.
            warnings.filterwarnings("ignore", message="Dataset has no geotransform")
            warnings.filterwarnings("ignore", module="PIL")
            if not self.pictures:
                return read_geotiff(path, (len(self.channels), None, None), self.dtype)
            if (
                os.path.splitext(path)[1].lower() in TIFF and (bands := band_count(path)) > 4
            ):  # with transparency 4
                raise DataError(f"{path}: {bands} bands, expected {len(self.channels)}")
            return read_image(path, len(self.channels), size=None)

    def sized(self, path: str | os.PathLike, image: np.ndarray) -> np.ndarray:
        """An image (C, H, W) in the model's size. Raises DataError that names the file if that
        cannot be done.
        """
        height, width = self.image_size
        if image.shape[1:] == (height, width):
            return image
        if height != width or self.dtype.kind == "f":
            raise DataError(
                f"{path}: {image.shape[1]}×{image.shape[2]} pixels, expected {height}×{width}"
            )
        return resize(image, height)

    def logits(self, images: np.ndarray) -> np.ndarray:
        """images (B, C, H, W), raw values as `read` gives them → (B, classes) float32.

        Raises DataError for answers that are not finite.
        """
        logits = self._run(images)
        if not np.isfinite(logits).all():
            raise DataError(f"{self.name}: {NOT_FINITE}")
        return logits

    def _run(self, images: np.ndarray) -> np.ndarray:
        images = np.asarray(images, np.float32)
        try:
            (logits,) = self._session.run(["logits"], {"images": images})
        except self._refusals as error:
            raise DataError(
                f"{self.name}: fails on images of shape {images.shape} ({brief(error)})"
            ) from error
        return logits

    def probabilities(self, images: np.ndarray) -> np.ndarray:
        """images (B, C, H, W), raw values → softmax of the logits, (B, classes) float64."""
        return _softmax(self.logits(images))

    def probabilities_or_errors(
        self, paths: Sequence[str], images: np.ndarray
    ) -> list[np.ndarray | DataError]:
        """As `probabilities`, image by image; an answer that is not finite becomes a DataError that
        names the image's file.
        """
        logits = self._run(images)
        finite = np.isfinite(logits).all(1)
        answers = iter(_softmax(logits[finite]))
        return [
            next(answers) if usable else DataError(f"{path}: {NOT_FINITE}")
            for path, usable in zip(paths, finite, strict=True)
        ]


def _softmax(logits: np.ndarray) -> np.ndarray:
    logits = logits.astype(np.float64)
    powers = np.exp(logits - logits.max(1, keepdims=True))
    return powers / powers.sum(1, keepdims=True)


def band_count(path: str | os.PathLike) -> int:
    """Bands of a raster file; 0 if rasterio cannot read it: who decodes it says why."""
    import rasterio
    from rasterio.errors import RasterioError

    try:
        with rasterio.open(path) as file:
            return file.count
    except (RasterioError, OSError):
        return 0


def predict(
    model: Model, paths: Iterable[str | os.PathLike], batch_size: int = 64
) -> Iterator[tuple[str, np.ndarray | DataError]]:
    """What `model` answers to files, and to all images in folders: (file, probabilities (classes,))
    of each, in order.

    A file that cannot be used comes with its DataError. At most batch_size images are in memory.
    """
    if batch_size < 1:
        raise UsageError(f"batch_size={batch_size}: expected 1 or more")
    waiting: list[tuple[str, np.ndarray | DataError]] = []
    for path, listed in _files(model, paths):
        waiting.append((path, listed or _read(model, path)))
        if len(waiting) == batch_size:
            yield from _answered(model, waiting)
            waiting = []
    yield from _answered(model, waiting)


def _files(
    model: Model, paths: Iterable[str | os.PathLike]
) -> Iterator[tuple[str, DataError | None]]:
    """Each file; of a folder all images of the model's kind, or the error if there are none."""
    suffixes = SUFFIXES if model.pictures else TIFF
    for path in map(str, paths):
        if not os.path.isdir(path):
            yield path, None
            continue
        try:
            found, _ = scan(Path(path), suffixes)
        except DataError as error:
            yield path, error
            continue
        if not found:
            yield (
                path,
                DataError(
                    f"{path}: no images in it ({' '.join(sorted(suffixes))}). The model takes "
                    f"{model.takes}"
                ),
            )
        for name, _ in found:
            yield os.path.join(path, name), None


def _read(model: Model, path: str) -> np.ndarray | DataError:
    try:
        return model.read(path)
    except DataError as error:
        return error
    except MemoryError:
        return DataError(
            f"{path}: too large for this machine's memory. The model takes {model.takes}"
        )


def _answered(model: Model, read: Sequence[tuple[str, np.ndarray | DataError]]) -> Iterator:
    usable = [(path, image) for path, image in read if not isinstance(image, DataError)]
    answers = iter(())
    if usable:
        paths, images = zip(*usable, strict=True)
        answers = iter(model.probabilities_or_errors(paths, np.stack(images)))
    for path, image in read:
        yield path, image if isinstance(image, DataError) else next(answers)


@contextmanager
def table(path: str | os.PathLike | None, classes: Sequence[str]) -> Iterator:
    """A function that writes (file, probabilities) as a row of the CSV file `path`, which is there
    when all is done.

    Columns: file, class, probability, and the probability of each class. Without a path it writes
      nothing.
    """
    if path is None:
        yield lambda file, probabilities: None
        return
    with beside(path) as temporary, open(temporary, "w", newline="", encoding="utf-8") as file:
        rows = csv.writer(file)
        rows.writerow(["file", "class", "probability", *classes])

        def write(name: str, probabilities: np.ndarray) -> None:
            best = int(probabilities.argmax())
            rows.writerow(
                [name, classes[best], *(f"{p:.6f}" for p in (probabilities[best], *probabilities))]
            )

        yield write


@contextmanager
def beside(path: str | os.PathLike) -> Iterator[str]:
    """The name of a temporary file to write, which is renamed to `path` if all goes well and
    removed if not. Raises UsageError if the folder is missing.
    """
    if not os.path.isdir(os.path.dirname(path) or "."):
        raise UsageError(f"{path}: no folder {os.path.dirname(path)}")
    with replacing(path) as temporary:
        yield os.fspath(temporary)


def _session(source: str | os.PathLike | bytes, threads: int):
    """onnxruntime's session for a file, and the exceptions by which onnxruntime refuses."""
    try:
        import onnxruntime
        from onnxruntime.capi import onnxruntime_pybind11_state as refusals
    except ImportError as error:
        raise UsageError(
            "an ONNX file needs the package onnxruntime: pip install 'kdcourse[deploy]'"
        ) from error
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.log_severity_level = 4  # fatal ones alone: errors are raised
    check_seal(source)
    if not isinstance(source, bytes):
        source = os.fspath(source)
    kinds = (
        refusals.Fail,
        refusals.InvalidArgument,
        refusals.InvalidGraph,
        refusals.InvalidProtobuf,
        refusals.NotImplemented,
        refusals.RuntimeException,
    )
    providers = ["CPUExecutionProvider"]
    try:
        return onnxruntime.InferenceSession(source, options, providers=providers), kinds
    except (*kinds, UnicodeDecodeError) as error:
        name = "the file" if isinstance(source, bytes) else source
        raise DataError(f"{name}: not an ONNX file, or damaged ({brief(error)})") from error
