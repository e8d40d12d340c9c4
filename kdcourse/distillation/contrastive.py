"""Contrastive distillation (Tian et al. 2020, "CRD"): tell a sample's own embedding from those of
others.
"""

import math

import torch
from torch import nn
from torch.nn import functional as F

from kdcourse.common.errors import UsageError
from kdcourse.distillation.feature_objective import FeatureObjective
from kdcourse.distillation.features import as_vectors, full_precision, shape_of, unit_rows


def contrastive_loss(
    embeddings: torch.Tensor,
    bank: torch.Tensor,
    chosen: torch.Tensor,
    temperature: float = 0.07,
    log_normaliser: torch.Tensor | float = 0.0,
) -> torch.Tensor:
    """−mean_b [log h_b0 + Σ_k log(1 − h_bk)], h = e^{v·w/τ}/Z / (e^{v·w/τ}/Z + K/N):
    noise-contrastive estimation.

    Tian et al. 2020, "CRD", eq. 18–19. embeddings v (B, D) of one network; bank (N, D) of the
    other's, one unit vector a sample; chosen (B, 1 + K), rows of the bank: the sample itself, then
    K others. The paper has no Z: it is the code's. No gradient flows to the bank. Raises UsageError
    for a temperature that is not above 0, or shapes that do not fit.
    """
    if not temperature > 0:
        raise UsageError(f"temperature={temperature}: expected a number above 0")
    if (
        embeddings.shape[1:] != bank.shape[1:]
        or len(chosen) != len(embeddings)
        or chosen.shape[1] < 2
    ):
        raise UsageError(
            f"embeddings {shape_of(embeddings)}, bank {shape_of(bank)}, chosen {shape_of(chosen)}: "
            "expected (B, D), (N, D) and (B, 1 + K) with K of 1 or more"
        )
    scores = (full_precision(embeddings) @ bank.detach().T).gather(
        1, chosen
    ) / temperature - log_normaliser
    odds = scores - math.log((chosen.shape[1] - 1) / len(bank))  # log h / (1 − h), (B, 1 + K)
    return -(F.logsigmoid(odds[:, 0]) + F.logsigmoid(-odds[:, 1:]).sum(1)).mean()


class ContrastiveKD(FeatureObjective):
    """contrast_weight · (`contrastive_loss` of the student's embeddings + that of the teacher's) +
    label_weight · CE.

    Tian et al. 2020. The adapters are two linear embeddings into `dimensions`; the teacher's is
    trained too. Two banks keep the last embedding of every training sample (N · dimensions · 4
    bytes each), student's and teacher's: they are what an embedding is held against, move by
    `momentum`, and are saved in checkpoints. Banks change only in training mode. `negatives` of the
    other samples are drawn for each image, with replacement, at most N − 1; the authors' code draws
    them from the other classes only. Defaults: the paper's and RepDistiller's.
    """

    needs_adapters = True

    def __init__(
        self,
        teacher,
        student_layer: str,
        teacher_layer: str,
        contrast_weight=0.8,
        negatives: int = 16384,
        temperature: float = 0.07,
        dimensions: int = 128,
        momentum: float = 0.5,
        label_weight=1.0,
    ):
        super().__init__(
            teacher, student_layer, teacher_layer, contrast=contrast_weight, label=label_weight
        )
        if negatives < 1 or dimensions < 1 or not temperature > 0 or not 0 <= momentum < 1:
            raise UsageError(
                f"negatives={negatives}, dimensions={dimensions}, temperature={temperature}, "
                f"momentum={momentum}: expected 1 or more, 1 or more, above 0, and 0 ≤ momentum < 1"
            )
        self.negatives, self.temperature = negatives, temperature
        self.dimensions, self.momentum = dimensions, momentum
        self.student_embedding = self.teacher_embedding = None
        for name in ("student_bank", "teacher_bank", "log_normalisers"):
            self.register_buffer(name, None)

    def adapt(self, student, teacher, samples):
        if samples < 2:
            raise UsageError(f"{samples} training image(s): a contrast needs two or more")
        student, teacher = as_vectors(student[0]), as_vectors(teacher[0])
        self.student_embedding, self.teacher_embedding = (
            nn.Linear(f.shape[1], self.dimensions).to(f.device) for f in (student, teacher)
        )
        self.student_bank, self.teacher_bank = (
            unit_rows(torch.randn(samples, self.dimensions)).to(student.device) for _ in range(2)
        )
        # Z: the mean of e^{v·w/τ} over the bank, times N, as the code takes it from its first batch
        with torch.no_grad():
            scores = [
                unit_rows(self.student_embedding(student)) @ self.teacher_bank.T / self.temperature,
                unit_rows(self.teacher_embedding(teacher)) @ self.student_bank.T / self.temperature,
            ]
        self.log_normalisers = torch.stack(
            [s.flatten().logsumexp(0) - math.log(len(s)) for s in scores]
        )

    def losses(self, student, teacher, batch):
        student = unit_rows(self.student_embedding(as_vectors(student[0])))  # (B, D)
        teacher = unit_rows(self.teacher_embedding(as_vectors(teacher[0].detach())))
        chosen = self._choose(batch.index)
        log_zs, log_zt = self.log_normalisers
        loss = contrastive_loss(student, self.teacher_bank, chosen, self.temperature, log_zs)
        loss = loss + contrastive_loss(teacher, self.student_bank, chosen, self.temperature, log_zt)
        if self.training:
            self.student_bank = self._moved(self.student_bank, batch.index, student)
            self.teacher_bank = self._moved(self.teacher_bank, batch.index, teacher)
        return {"contrast": loss}

    def _choose(self, index: torch.Tensor) -> torch.Tensor:
        """(B, 1 + K) rows of a bank: the sample's own, then K others, drawn by torch's generator,
        which `fit` seeds.
        """
        samples = len(self.student_bank)
        size = (len(index), min(self.negatives, samples - 1))
        others = (index[:, None] + torch.randint(1, samples, size, device=index.device)) % samples
        return torch.cat([index[:, None], others], dim=1)

    def _moved(
        self, bank: torch.Tensor, index: torch.Tensor, embeddings: torch.Tensor
    ) -> torch.Tensor:
        """A new bank, not the old one altered: the backward pass still needs that."""
        moved = self.momentum * bank[index] + (1 - self.momentum) * embeddings.detach()
        return bank.index_copy(0, index, unit_rows(moved))

    def extra_repr(self) -> str:
        size = "" if self.student_bank is None else f", 2 banks of {shape_of(self.student_bank)}"
        drawn = f"negatives={self.negatives}, temperature={self.temperature:g}"
        return f"{super().extra_repr()}, {drawn}{size}"
