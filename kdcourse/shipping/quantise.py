"""Eight bits instead of 32: a network's weights and activations as integers, after training.

x ≈ scale · (q − zero point), q in −128 … 127 (Jacob et al. 2018, "Quantization and training of
neural networks for efficient integer-arithmetic-only inference", eq. 1). Weights have a scale for
each output channel; activations one for each tensor, from their range over *calibration* images:
validation images here, never test images.
"""

import logging
import tempfile
import warnings
from contextlib import contextmanager
from pathlib import Path

import numpy as np

from kdcourse.common.errors import UsageError
from kdcourse.data.splits import Split
from kdcourse.shipping.file_format import CHECKSUM, seal

CALIBRATION = 256  # images
# What computes with integers. Not Sub and Mul: raw values of all bands do not fit 8 bits, so
# normalising stays float32.
INTEGER = [
    "Conv",
    "Gemm",
    "MatMul",
    "Add",
    "Relu",
    "Clip",
    "MaxPool",
    "AveragePool",
    "GlobalAveragePool",
]


def calibration_images(split: Split, count: int = CALIBRATION) -> np.ndarray:
    """`count` raw images of a validation split, or all if there are fewer, spread evenly: (N, C, H,
    W) float32.

    Raises UsageError for another split: what is measured on test must not have chosen anything.
    """
    if split.name != "val":
        raise UsageError(
            f"calibration on the {split.name} split: expected validation images (data.val)"
        )
    count = min(count, len(split))
    return split.take(np.arange(count) * len(split) // count).astype(np.float32)


def quantise(content: bytes, calibration: Split, batch_size: int = 32) -> bytes:
    """A shipped ONNX file in float32 → the same in int8, by onnxruntime's static quantisation in
    QDQ form.

    calibration: the validation split; see `calibration_images`. Weights take 7 of the 8 bits
    (`reduce_range`), so that processors without VNNI, whose 16-bit sums would overflow, answer
    alike.
    """
    import onnx
    from onnxruntime import quantization
    from onnxruntime.quantization.shape_inference import quant_pre_process

    images = calibration_images(calibration)
    batches = iter(
        [{"images": images[i : i + batch_size]} for i in range(0, len(images), batch_size)]
    )

    class Reader(quantization.CalibrationDataReader):
        def get_next(self):
            return next(batches, None)

    with tempfile.TemporaryDirectory() as folder, quiet():
        plain, prepared, done = (
            Path(folder) / f"{name}.onnx" for name in ("plain", "prepared", "done")
        )
        plain.write_bytes(content)
        quant_pre_process(plain, prepared, skip_symbolic_shape=True)
        quantization.quantize_static(
            prepared,
            done,
            Reader(),
            quant_format=quantization.QuantFormat.QDQ,
            op_types_to_quantize=INTEGER,
            per_channel=True,
            reduce_range=True,
        )
        small = onnx.load(done)
    metadata = onnx.load_from_string(content).metadata_props
    onnx.helper.set_model_props(
        small, {p.key: p.value for p in metadata if p.key != CHECKSUM.decode()}
    )
    return seal(small.SerializeToString())


@contextmanager
def quiet():
    """Exporters and quantisers give advice on themselves, which is not for the user."""
    before = logging.root.manager.disable
    logging.disable(logging.WARNING)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(before)
