"""Response-based distillation: what the teacher says.

Each loss is a function of logits (B, C) with its formula and source; each objective is a thin `nn.Module` over one.
"""

import torch
from torch.nn import functional as F

from kdcourse.data.batches import Batch
from kdcourse.distillation.objective import Objective
from kdcourse.distillation.taps import Seen
from kdcourse.errors import UsageError


class CrossEntropy(Objective):
    """Learning from labels alone, the baseline that every distilled student is held against.

    loss = −Σ_c q_c log softmax(z)_c, with q the one-hot label smoothed to (1 − ε)·onehot + ε / C
    (label smoothing: Szegedy et al. 2016, sec. 7).
    """

    def __init__(self, label_smoothing: float = 0.0):
        super().__init__()
        if not 0 <= label_smoothing < 1:
            raise UsageError(f"label_smoothing={label_smoothing}: expected 0 ≤ ε < 1")
        self.label_smoothing = label_smoothing

    def terms(self, seen: Seen, taught: Seen | None, batch: Batch) -> dict[str, torch.Tensor]:
        return {"label": F.cross_entropy(seen.logits, batch.labels, label_smoothing=self.label_smoothing)}

    def extra_repr(self) -> str:
        return f"label_smoothing={self.label_smoothing}"
