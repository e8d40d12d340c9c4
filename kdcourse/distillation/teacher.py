"""The teacher: a network that cannot be trained by accident, and its answers, kept."""

import hashlib
from collections.abc import Sequence

import torch
from torch import nn

from kdcourse.data.batches import Batch
from kdcourse.distillation.taps import Seen, look
from kdcourse.training.checkpoint import digest


class Teacher(nn.Module):
    """A network held frozen: in eval mode even after `.train()`, without gradients, its parameters never optimised.

    The network is no submodule: its weights are in no checkpoint of the student's run, and no optimiser finds them.
    It moves with `.to(device)`.
    """

    def __init__(self, network: nn.Module, *, label_map: Sequence[int] | None = None):
        super().__init__()
        self._held = (network.eval().requires_grad_(False),)
        self.label_map = None if label_map is None else tuple(label_map)

    @property
    def network(self) -> nn.Module:
        return self._held[0]

    @property
    def fingerprint(self) -> str:
        return hashlib.sha256(f"{self.network!r} {digest(self.network)} {self.label_map}".encode()).hexdigest()[:16]

    def train(self, mode: bool = True) -> "Teacher":
        return super().train(False)

    def _apply(self, fn, recurse=True):
        self.network._apply(fn)
        return super()._apply(fn, recurse)

    def forward(self, batch: Batch) -> torch.Tensor:
        """Logits (B, C) float32 for the images of a batch."""
        return self.look(batch).logits

    @torch.no_grad()
    def look(self, batch: Batch, layers: Sequence[str] = ()) -> Seen:
        """Logits (B, C), and the features of the layers named."""
        seen = look(self.network, batch.images, layers)
        return seen if self.label_map is None else Seen(seen.logits[:, list(self.label_map)], seen.features)
