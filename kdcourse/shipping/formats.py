"""The formats that `export` writes: ONNX, and PyTorch's own.

Each format is a class with `suffix`, the packages that it `needs`, `written` (network, example
images and description → the file's content) and `opened` (content → images to logits).
"""

import io
import json
from collections.abc import Callable

import numpy as np
import torch
from torch import nn

from kdcourse.common.errors import ExportError, brief
from kdcourse.shipping.file_format import ENTRY, seal
from kdcourse.shipping.predict import Model
from kdcourse.shipping.quantise import quiet


class Raw(nn.Module):
    """A network that takes raw images (B, C, H, W): network((images − mean) / std), as `Batches`
    normalises.
    """

    def __init__(self, network: nn.Module, mean, std):
        super().__init__()
        self.network = network
        self.register_buffer("mean", torch.tensor(mean, dtype=torch.float32).reshape(1, -1, 1, 1))
        self.register_buffer(
            "scale", 1 / torch.tensor(std, dtype=torch.float32).reshape(1, -1, 1, 1)
        )

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        return self.network((images - self.mean) * self.scale)


class Onnx:
    """ONNX, for onnxruntime and others."""

    suffix = ".onnx"
    needs = ("onnx", "onnxscript", "onnxruntime")

    @staticmethod
    def written(network: Raw, example: torch.Tensor, about: dict) -> bytes:
        import onnx

        with quiet():
            program = torch.onnx.export(
                _program(network, example),
                (),
                dynamo=True,
                input_names=["images"],
                output_names=["logits"],
                external_data=False,
                verbose=False,
            )
        proto = program.model_proto
        for node in proto.graph.node:
            del node.metadata_props[:]  # where in whose files each line of Python stands
        onnx.helper.set_model_props(proto, {ENTRY: json.dumps(about)})
        return seal(proto.SerializeToString())

    @staticmethod
    def opened(content: bytes) -> Callable[[np.ndarray], np.ndarray]:
        return Model(content).logits


class Pt2:
    """PyTorch's own (`torch.export.load`); the metadata is the extra file "kdcourse.json"."""

    suffix = ".pt2"
    needs = ()
    about = f"{ENTRY}.json"

    @classmethod
    def written(cls, network: Raw, example: torch.Tensor, about: dict) -> bytes:
        program = _program(network, example)
        for node in program.graph.nodes:
            node.meta.pop("stack_trace", None)
        content = io.BytesIO()
        torch.export.save(program, content, extra_files={cls.about: json.dumps(about)})
        return content.getvalue()

    @classmethod
    def opened(cls, content: bytes) -> Callable[[np.ndarray], np.ndarray]:
        network = torch.export.load(io.BytesIO(content)).module()

        def logits(images: np.ndarray) -> np.ndarray:
            with torch.inference_mode():
                return network(torch.from_numpy(images.astype(np.float32))).numpy()

        return logits


FORMATS = {"onnx": Onnx, "pt2": Pt2}


def _program(network: Raw, example: torch.Tensor) -> torch.export.ExportedProgram:
    """The network as a graph, for any number of images. Raises ExportError if torch cannot follow
    it.
    """
    try:
        with quiet():
            return torch.export.export(
                network, (example,), dynamic_shapes=({0: torch.export.Dim("batch")},)
            )
    except (
        RuntimeError,
        ValueError,
        TypeError,
    ) as error:  # what torch.export says of code that it cannot follow
        raise ExportError(
            f"{type(network.network).__name__}: torch.export cannot follow this network for any "
            f"number of images ({type(error).__name__}: {brief(error)})"
        ) from error
