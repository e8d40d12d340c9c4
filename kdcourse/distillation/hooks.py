"""FeatureHooks: features of a network by forward hooks, named by module path, without a change to
the network.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field

import torch
from torch import nn

from kdcourse.common.errors import UsageError, unknown


class FeatureHooks:
    """The outputs of some layers, as the network computes them: a context manager and a mapping
    from path to tensor.

    >>> with FeatureHooks(network, ["layer1", "layer2.0"]) as hooks:
    ...     logits = network(images)
    >>> hooks["layer1"].shape  # (B, 16, 32, 32)

    The hooks are removed on leaving, also after an error; the features stay, as they left their
    layer. A layer that ran more than once gives its last output. Raises UsageError for an unknown
    path (with the nearest ones), for a layer that has not run, and for one whose output is no
    tensor.
    """

    def __init__(self, network: nn.Module, paths: Sequence[str]):
        self.network, self.paths = network, tuple(paths)
        modules = dict(network.named_modules())
        for path in self.paths:
            if path not in modules or not path:
                raise unknown(
                    f"layer of {type(network).__name__}", path, [name for name in modules if name]
                )
        self._modules = [modules[path] for path in self.paths]
        self._features: dict[str, torch.Tensor] = {}
        self._handles = []

    def __enter__(self) -> "FeatureHooks":
        self._features.clear()
        for path, module in zip(self.paths, self._modules, strict=True):
            self._handles.append(module.register_forward_hook(self._keeper(path)))
        return self

    def __exit__(self, *_) -> None:
        for handle in self._handles:
            handle.remove()
        self._handles.clear()

    def _keeper(self, path: str):
        def keep(module, inputs, output):
            if not isinstance(output, torch.Tensor):
                raise UsageError(
                    f"layer {path!r} gives {type(output).__name__}, not a tensor: name a layer "
                    "inside it"
                )
            self._features[path] = (
                output.clone()
            )  # a later layer may change it in place, as ReLU(inplace=True) does

        return keep

    def __getitem__(self, path: str) -> torch.Tensor:
        if path not in self._features:
            if path in self.paths:
                raise UsageError(
                    f"layer {path!r} did not run in the forward pass: it has no output"
                )
            raise unknown("hooked layer", path, self.paths)
        return self._features[path]

    def __iter__(self):
        return iter(self.paths)

    def __len__(self) -> int:
        return len(self.paths)


@dataclass(frozen=True)
class ForwardOutput:
    """What a network made of some images."""

    logits: torch.Tensor  # (B, C) float32, also under autocast
    features: dict[str, torch.Tensor] = field(
        default_factory=dict
    )  # module path → output of that layer, (B, …)


def forward_with_features(
    network: nn.Module, images: torch.Tensor, layers: Sequence[str] = ()
) -> ForwardOutput:
    """One forward pass: the logits, and the outputs of the layers named."""
    if not layers:
        return ForwardOutput(network(images).float())
    with FeatureHooks(network, layers) as hooks:
        logits = network(images)
    return ForwardOutput(logits.float(), {path: hooks[path] for path in layers})
