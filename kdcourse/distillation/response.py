"""Response-based objectives: what a network is asked to answer.

An objective is an `nn.Module` that turns (student, batch) into named, weighted loss terms. `fit` adds them up, logs
them by name, and never asks which objective it has.
"""

import torch
from torch import nn
from torch.nn import functional as F

from kdcourse.data.batches import Batch
from kdcourse.errors import UsageError


class CrossEntropy(nn.Module):
    """Learning from labels alone, the baseline that every distilled student is held against.

    loss = −Σ_c q_c log softmax(z)_c, with q the one-hot label smoothed to (1 − ε)·onehot + ε / C
    (label smoothing: Szegedy et al. 2016, sec. 7).
    """

    def __init__(self, label_smoothing: float = 0.0):
        super().__init__()
        if not 0 <= label_smoothing < 1:
            raise UsageError(f"label_smoothing={label_smoothing}: expected 0 ≤ ε < 1")
        self.label_smoothing = label_smoothing

    def forward(self, student: nn.Module, batch: Batch) -> dict[str, torch.Tensor]:
        logits = student(batch.images).float()  # (B, C); float32 also under autocast
        return {"label": F.cross_entropy(logits, batch.labels, label_smoothing=self.label_smoothing)}

    def extra_repr(self) -> str:
        return f"label_smoothing={self.label_smoothing}"
