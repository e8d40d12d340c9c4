"""The objectives of response-based distillation, and the baseline that learns from labels alone.

Each is a thin `nn.Module` over a loss of `response`: weights by term, a term of weight 0 left out.
"""

from collections.abc import Sequence

import torch
from torch import nn
from torch.nn import functional as F

from kdcourse.common.errors import UsageError
from kdcourse.data.batches import Batch
from kdcourse.distillation.hooks import ForwardOutput
from kdcourse.distillation.objective import LossTerms, Objective, check_weights
from kdcourse.distillation.response import (
    check_temperature,
    logit_matching_loss,
    nontarget_class_loss,
    relation_matching_loss,
    soft_target_loss,
    standardised_soft_target_loss,
    target_class_loss,
)
from kdcourse.distillation.teacher import Teacher


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

    def terms(
        self, student: ForwardOutput, teacher: ForwardOutput | None, batch: Batch
    ) -> LossTerms:
        return {
            "label": F.cross_entropy(
                student.logits, batch.labels, label_smoothing=self.label_smoothing
            )
        }

    def extra_repr(self) -> str:
        return f"label_smoothing={self.label_smoothing}"


class _Response(Objective):
    """What the objectives below share: a teacher there must be, and some weight on the labels.

    A term whose weight is 0 is left out. Settings are plain attributes, which may change while
    training; a subclass names those that its printed form shows.
    """

    shown: tuple[str, ...] = ()

    def __init__(
        self, teacher: Teacher, label_weight: float, temperature: float = 1.0, **weights: float
    ):
        if teacher is None:
            raise UsageError(
                "teacher=None: there is nobody to learn from. Hand in Teacher(network), or use "
                "CrossEntropy"
            )
        super().__init__(teacher)
        check_temperature(temperature)
        check_weights(**weights, label_weight=label_weight)
        self.label_weight = label_weight

    def label_term(self, student: ForwardOutput, batch: Batch) -> LossTerms:
        if not self.label_weight:
            return {}
        return {"label": self.label_weight * F.cross_entropy(student.logits, batch.labels)}

    def extra_repr(self) -> str:
        return ", ".join(f"{name}={getattr(self, name)}" for name in self.shown)


class ResponseKD(_Response):
    """Knowledge distillation: soft_weight · T² · KL(p_t(T) ‖ p_s(T)) + label_weight ·
    cross-entropy.

    Hinton, Vinyals & Dean 2015, sec. 2; the default weights are those of RepDistiller. Terms: soft,
    label.

    D2's published loss, 0.25 · CE + 0.75 · KL without T² at T = 5, divides the soft weight by 25:
    `ResponseKD(teacher, temperature=5, soft_weight=0.75 / 25, label_weight=0.25)`. As it was meant:
    `ResponseKD(teacher, temperature=5, soft_weight=0.75, label_weight=0.25)`. D3's "60 % labels +
    40 % teacher" is `ResponseKD(teacher, temperature=4, soft_weight=0.4, label_weight=0.6)`, its
    "teacher only" `ResponseKD(teacher, temperature=4, soft_weight=1, label_weight=0)`.
    """

    soft_loss = staticmethod(soft_target_loss)
    shown = ("temperature", "soft_weight", "label_weight")

    def __init__(
        self,
        teacher: Teacher,
        temperature: float = 4.0,
        soft_weight: float = 0.9,
        label_weight: float = 0.1,
    ):
        super().__init__(teacher, label_weight, temperature, soft_weight=soft_weight)
        self.temperature, self.soft_weight = temperature, soft_weight

    def terms(self, student: ForwardOutput, teacher: ForwardOutput, batch: Batch) -> LossTerms:
        terms = {}
        if self.soft_weight:
            soft = self.soft_loss(student.logits, teacher.logits, self.temperature)
            terms["soft"] = self.soft_weight * soft
        return terms | self.label_term(student, batch)


class PartlyLabelled(ResponseKD):
    """`ResponseKD` where only some training images have a label, and the teacher answers for all.

    labelled: the indices of those in the training split. The label term is label_weight / B · Σ
      cross-entropy over the labelled images of a batch of B: each counts as it would if all were
      labelled. Labels of others are never looked at.
    """

    def __init__(self, teacher: Teacher, labelled: Sequence[int], **settings: float):
        super().__init__(teacher, **settings)
        self.register_buffer(
            "labelled", torch.tensor(sorted(labelled), dtype=torch.int64), persistent=False
        )

    def prepare(self, student: nn.Module, batch: Batch, samples: int) -> None:
        super().prepare(student, batch, samples)
        if (
            len(self.labelled)
            and not 0 <= int(self.labelled[0]) <= int(self.labelled[-1]) < samples
        ):
            raise UsageError(
                f"labelled= names images {int(self.labelled[0])} to {int(self.labelled[-1])}: "
                f"expected 0 to {samples - 1}, indices of training images"
            )

    def label_term(self, student: ForwardOutput, batch: Batch) -> LossTerms:
        if not self.label_weight:
            return {}
        known = torch.isin(batch.index, self.labelled)
        loss = F.cross_entropy(student.logits[known], batch.labels[known], reduction="sum")
        return {"label": self.label_weight / len(batch) * loss}

    def extra_repr(self) -> str:
        return f"{super().extra_repr()}, {len(self.labelled)} labelled"


class LogitMatching(_Response):
    """logit_weight · ½ ‖z_s − z_t‖² + label_weight · cross-entropy. Terms: logit, label.

    Ba & Caruana 2014, who learn from the logits alone; so the label weight is 0 unless given.
    """

    shown = ("logit_weight", "label_weight")

    def __init__(self, teacher: Teacher, logit_weight: float = 1.0, label_weight: float = 0.0):
        super().__init__(teacher, label_weight, logit_weight=logit_weight)
        self.logit_weight = logit_weight

    def terms(self, student: ForwardOutput, teacher: ForwardOutput, batch: Batch) -> LossTerms:
        terms = {}
        if self.logit_weight:
            terms["logit"] = self.logit_weight * logit_matching_loss(student.logits, teacher.logits)
        return terms | self.label_term(student, batch)


class DecoupledKD(_Response):
    """target_weight · TCKD + nontarget_weight · NCKD (both × T²) + label_weight · cross-entropy.

    Zhao et al. 2022 (DKD), sec. 3.3, with the weights of their code for ResNet32x4 → ResNet8x4 on
    CIFAR-100. With few classes a nontarget weight of 8 can drown the target's: try less. Their code
    lets the two first terms grow in over 20 epochs; here they have their weight from the start.
    Terms: target, nontarget, label.
    """

    shown = ("temperature", "target_weight", "nontarget_weight", "label_weight")

    def __init__(
        self,
        teacher: Teacher,
        temperature: float = 4.0,
        target_weight: float = 1.0,
        nontarget_weight: float = 8.0,
        label_weight: float = 1.0,
    ):
        weights = {"target_weight": target_weight, "nontarget_weight": nontarget_weight}
        super().__init__(teacher, label_weight, temperature, **weights)
        self.temperature, self.target_weight, self.nontarget_weight = (
            temperature,
            target_weight,
            nontarget_weight,
        )

    def terms(self, student: ForwardOutput, teacher: ForwardOutput, batch: Batch) -> LossTerms:
        terms, arguments = {}, (student.logits, teacher.logits, batch.labels, self.temperature)
        if self.target_weight:
            terms["target"] = self.target_weight * target_class_loss(*arguments).mean()
        if self.nontarget_weight:
            terms["nontarget"] = self.nontarget_weight * nontarget_class_loss(*arguments).mean()
        return terms | self.label_term(student, batch)


class RelationMatchingKD(_Response):
    """inter_weight · (1 − ρ over classes) + intra_weight · (1 − ρ over samples) + label_weight ·
    cross-entropy.

    Huang et al. 2022 (DIST), eq. 11. The official code's T² is in the weights, if it is wanted: see
    `relation_matching_loss`. Terms: inter, intra, label.
    """

    shown = ("temperature", "inter_weight", "intra_weight", "label_weight")

    def __init__(
        self,
        teacher: Teacher,
        temperature: float = 1.0,
        inter_weight: float = 2.0,
        intra_weight: float = 2.0,
        label_weight: float = 1.0,
    ):
        super().__init__(
            teacher, label_weight, temperature, inter_weight=inter_weight, intra_weight=intra_weight
        )
        self.temperature, self.inter_weight, self.intra_weight = (
            temperature,
            inter_weight,
            intra_weight,
        )

    def terms(self, student: ForwardOutput, teacher: ForwardOutput, batch: Batch) -> LossTerms:
        terms, arguments = {}, (student.logits, teacher.logits, self.temperature)
        if self.inter_weight:
            terms["inter"] = relation_matching_loss(
                *arguments, inter_weight=self.inter_weight, intra_weight=0
            )
        if self.intra_weight:
            terms["intra"] = relation_matching_loss(
                *arguments, inter_weight=0, intra_weight=self.intra_weight
            )
        return terms | self.label_term(student, batch)


class StandardisedKD(ResponseKD):
    """`ResponseKD` on standardised logits: soft_weight · T² · KL + label_weight · cross-entropy.

    Sun et al. 2024, with the temperature and weights of their code for CIFAR-100: T = 2, KD 9, CE
    0.1. Terms: soft, label.
    """

    soft_loss = staticmethod(standardised_soft_target_loss)

    def __init__(
        self,
        teacher: Teacher,
        temperature: float = 2.0,
        soft_weight: float = 9.0,
        label_weight: float = 0.1,
    ):
        super().__init__(teacher, temperature, soft_weight, label_weight)
