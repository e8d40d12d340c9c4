from dataclasses import replace

import numpy as np
import pytest

from kdcourse.common.errors import UsageError
from kdcourse.shipping.export import export
from kdcourse.shipping.predict import Model
from kdcourse.shipping.quantise import calibration_images, quantise
from shipping import ships

onnx = pytest.importorskip("onnx")
pytest.importorskip("onnxscript")
pytest.importorskip("onnxruntime")


def test_int8_is_smaller_and_what_it_loses_is_said():
    whole, small = ships.exported(), ships.exported(int8=True)
    assert small.size == small.path.stat().st_size < 0.6 * whole.size
    assert small.float32.file == whole.float32.file and small.int8.images == len(
        ships.scenes().test
    )
    model, test = Model(small.path), ships.scenes().test
    logits = model.logits(test.take(np.arange(len(test))))
    assert small.int8.file == pytest.approx(100 * (logits.argmax(1) == test.labels).mean())
    assert 0 < small.int8.difference < 0.3  # rounded, not broken
    assert f"accuracy {small.int8.network:.2f} % → {small.int8.file:.2f} %" in str(small)
    assert f"calibrated on {len(ships.scenes().val)} validation images" in str(small)
    assert model.about["int8"] is True and model.classes == ships.scenes().classes


def test_convolutions_are_in_integers_and_normalisation_is_not():
    graph = onnx.load(ships.exported(int8=True).path).graph
    made_by = {name: node.op_type for node in graph.node for name in node.output}
    inputs = {node.op_type: [made_by.get(name) for name in node.input] for node in graph.node}
    assert inputs["Conv"][:2] == ["DequantizeLinear", "DequantizeLinear"]
    assert inputs["Sub"][0] is None and inputs["Mul"][0] == "Sub"  # raw images as they come
    whole = onnx.load(ships.exported().path).graph
    weights = {tensor.name: tensor for tensor in graph.initializer}
    convolutions = sum(node.op_type == "Conv" for node in whole.node)
    eight_bits = [
        t for t in weights.values() if t.data_type == onnx.TensorProto.INT8 and len(t.dims) == 4
    ]
    assert len(eight_bits) == convolutions > 0


def test_calibration_sees_validation_images_alone(make_data, tmp_path):
    """The same images make the same file, to the bit; others another; other splits are refused."""
    data = make_data()
    export(ships.tiny(), data, tmp_path / "a.onnx")
    content = (tmp_path / "a.onnx").read_bytes()
    small = quantise(content, data.val)
    assert quantise(content, data.val) == small
    assert quantise(content, replace(data.val, images=255 - data.val.images)) != small
    for split in (data.train, data.test):
        with pytest.raises(UsageError, match=f"calibration on the {split.name} split"):
            quantise(b"", split)


def test_calibration_images_are_spread_over_the_split(make_data):
    val = make_data(count=300).val
    images = calibration_images(val, 20)
    assert images.dtype == np.float32 and images.shape == (20, 3, 8, 8)
    np.testing.assert_array_equal(images, val.take(np.arange(0, len(val), len(val) // 20)))
    assert len(calibration_images(val, 1000)) == len(val)
