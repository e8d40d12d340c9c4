"""The shipped ONNX file: any alteration is one clear error that names the file."""

import json

import numpy as np
import pytest
import torch
from torch import nn

from kdcourse.common.errors import DataError, ExportError
from kdcourse.shipping.export import export
from kdcourse.shipping.file_format import ENTRY, FORMAT, TRAILER, check_seal, read_description, seal
from kdcourse.shipping.predict import Model
from shipping import ships

onnx = pytest.importorskip("onnx")
pytest.importorskip("onnxscript")
pytest.importorskip("onnxruntime")


def content() -> bytes:
    return ships.exported().path.read_bytes()


def with_description(about: dict | str) -> bytes:
    """The student's file with another description and a right checksum."""
    text = about if isinstance(about, str) else json.dumps(about)
    proto = onnx.load_from_string(content()[:-TRAILER])
    onnx.helper.set_model_props(proto, {ENTRY: text})
    return seal(proto.SerializeToString())


def refused(tmp_path, altered: bytes, says: str) -> None:
    (tmp_path / "m.onnx").write_bytes(altered)
    with pytest.raises(DataError, match=f"m.onnx: .*{says}"):
        Model(tmp_path / "m.onnx")


def test_other_programs_read_the_file():
    proto = onnx.load_from_string(content())
    onnx.checker.check_model(proto)
    assert [entry.key for entry in proto.metadata_props] == ["kdcourse", "kdcourse.sha256"]
    int8 = onnx.load_from_string(ships.exported(int8=True).path.read_bytes())
    assert [entry.key for entry in int8.metadata_props] == ["kdcourse", "kdcourse.sha256"]


def test_altered_metadata(tmp_path):
    for old, new in (
        (b'"River"', b'"Rivet"'),  # a class
        (b'"B8A"', b'"B8B"'),  # a band
        (b'"classes": ', b'"klasses": '),
        (b'"River"', b'"Riv\xffr"'),  # no UTF-8
        (b"[32, 32]", b"[31, 32]"),
        (b"kdcourse.sha256", b"kdcourse.sha255"),
    ):
        assert old in content()
        refused(tmp_path, content().replace(old, new), "checksum.*Export the network again")


def test_altered_weights_and_a_cut_file(tmp_path):
    whole = content()
    weight = next(i for i in onnx.load_from_string(whole).graph.initializer if i.raw_data)
    at = whole.index(weight.raw_data)
    nan = np.float32(np.nan).tobytes()
    refused(tmp_path, whole[:at] + nan + whole[at + 4 :], "altered or damaged since .* exported")
    for cut in (9000, len(whole) - 1):
        refused(tmp_path, whole[:cut], "without the checksum of `kdcourse export`")
    refused(tmp_path, whole + b"\0", "without the checksum")


def test_files_of_others(tmp_path):
    refused(tmp_path, b"", "not an ONNX file, or damaged")
    refused(tmp_path, b"no network at all", "not an ONNX file, or damaged")
    refused(tmp_path, content()[:-TRAILER], "by another program or an older version")
    refused(tmp_path, ships.exported("pt2").path.read_bytes(), "not an ONNX file but one of PyT")
    proto = onnx.load_from_string(content()[:-TRAILER])
    del proto.metadata_props[:]
    refused(tmp_path, seal(proto.SerializeToString()), "does not say its classes and bands")
    newer = {"format": FORMAT + 97, "versions": {"kdcourse": "9.9"}}
    refused(tmp_path, with_description(newer), r"made by a newer kdcourse \(9.9\)")
    refused(tmp_path, seal(content()[:5000]), "not an ONNX file, or damaged")
    with pytest.raises(DataError, match="the file: .*checksum"):
        check_seal(content()[:-1])


def test_a_description_with_a_wrong_value():
    for change in (
        {"format": 1},
        {"classes": None},
        {"classes": ["a", 3]},
        {"channels": []},
        {"channels": "B01"},
        {"image_size": [32]},
        {"image_size": [32, 0]},
        {"image_size": [32, 10**9]},
        {"image_size": [32, True]},
        {"dtype": "no type"},
        {"dtype": "object"},
        {"mean": [0.0]},
        {"std": [0.0] * 13},
        {"mean": [float("nan")] * 13},
    ):
        about = Model(ships.exported().path).about | change
        with pytest.raises(DataError, match="m.onnx: its description is damaged: .*Export"):
            read_description({ENTRY: json.dumps(about)}, "m.onnx")


def test_a_description_that_is_none():
    for metadata in ({}, {ENTRY: "{"}, {ENTRY: "[]"}, {ENTRY: "[" * 10**5}):
        with pytest.raises(DataError, match="m.onnx: .*does not say its classes"):
            read_description(metadata, "m.onnx")


def test_a_network_that_does_not_suit_its_description(tmp_path):
    about = Model(ships.exported().path).about
    for change in (
        {"classes": about["classes"][:9]},
        {"image_size": [64, 64]},
        {key: about[key][:12] for key in ("channels", "mean", "std")},
    ):
        refused(tmp_path, with_description(about | change), "does not suit its description")


def test_a_network_with_a_weight_that_is_not_finite(make_data, tmp_path):
    network = ships.tiny()
    nn.init.constant_(network[0].weight, torch.nan)
    with pytest.raises(
        ExportError, match="a.onnx: not written. The network's own answers are not finite"
    ):
        export(network, make_data(), tmp_path / "a.onnx")
    assert list(tmp_path.iterdir()) == []
