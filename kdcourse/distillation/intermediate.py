"""Intermediate distillation: what the teacher sees.

This module has the methods that compare maps position by position: hints, attention, flow. The
others are in `relations`, `contrastive` and `review`. Each loss is a function of features with its
formula and source; each objective is a thin `nn.Module` over one. Features are maps (B, C, H, W) or
vectors (B, C). Three rules hold throughout:

- No gradient flows to the teacher's features. Half precision is compared as float32, and the
  objectives switch autocast off for their losses and adapters.
- Where vectors are compared, a map is averaged over its positions. Where maps of two sizes are
  compared, the larger is average-pooled to the size of the smaller (flow matrices max-pool, as
  their paper does).
- An adapter is a layer of the objective's own that makes a student's feature comparable with the
  teacher's: it is trained with the student, saved in checkpoints, and thrown away afterwards.

The default weights are those of RepDistiller's script or of the paper, for CIFAR-100 in batches of
64. How large a term is depends on the layers, so look at its size and its gradient before you trust
a weight on other data.
"""

from collections.abc import Sequence

import torch
from torch import nn
from torch.nn import functional as F

from kdcourse.common.errors import UsageError, unknown
from kdcourse.distillation.feature_objective import FeatureObjective
from kdcourse.distillation.features import (
    as_maps,
    as_pair,
    check_channels,
    same_size,
    shape_of,
    unit_rows,
)


def hint_loss(student_hint: torch.Tensor, teacher_hint: torch.Tensor) -> torch.Tensor:
    """mean (s − t)² over all elements (Romero et al. 2015, "FitNets", eq. 3).

    Both (B, C, H, W), the student's after its adapter; H and W may differ. The paper has ½ the sum
    of squares; the mean is RepDistiller's, and does not grow with the size of the layer. Raises
    UsageError if B or C differ.
    """
    student, teacher = same_size(*as_pair(as_maps(student_hint), as_maps(teacher_hint)))
    check_channels(student, teacher)
    return F.mse_loss(student, teacher)


def attention_map(features: torch.Tensor, power: float = 2) -> torch.Tensor:
    """Q = Σ_c |A_c|^power: features (B, C, H, W) → (B, H, W) (Zagoruyko & Komodakis 2017, F_sum^p
    of sec. 3.1).
    """
    return as_maps(features).abs().pow(power).sum(1)


def attention_transfer_loss(
    student_maps: torch.Tensor, teacher_maps: torch.Tensor, mode: str = "code"
) -> torch.Tensor:
    """Where the two look: one pair of features (B, C, H, W), whose C, H and W may differ. With q =
    vec(Q) / ‖vec(Q)‖₂

    mode="paper": mean_b ‖q_s − q_t‖₂ (Zagoruyko & Komodakis 2017, eq. 2, without its factor β/2):
    at most √2. mode="code":  mean_b ‖q_s − q_t‖₂² / (H·W) (the authors' code, and RepDistiller): at
    most 2 / (H·W). The code averages over channels where the paper sums; normalised, that is the
    same.
    """
    if mode not in ("paper", "code"):
        raise unknown("mode of attention transfer", mode, ("paper", "code"))
    student, teacher = same_size(*as_pair(as_maps(student_maps), as_maps(teacher_maps)))
    difference = unit_rows(attention_map(student).flatten(1)) - unit_rows(
        attention_map(teacher).flatten(1)
    )  # (B, H·W)
    return (
        torch.linalg.vector_norm(difference, dim=1).mean()
        if mode == "paper"
        else difference.pow(2).mean()
    )


def flow_matrix(first: torch.Tensor, second: torch.Tensor) -> torch.Tensor:
    """G_ij = Σ_hw F1_ihw F2_jhw / (h·w) (Yim et al. 2017, "FSP", eq. 1): how a network gets from
    one layer to the next.

    first (B, C1, H, W) and second (B, C2, H', W') of the same network → (B, C1, C2). The larger map
    is max-pooled to the size of the smaller, as in the paper; RepDistiller average-pools it.
    """
    first, second = same_size(as_maps(first), as_maps(second), pool=F.adaptive_max_pool2d)
    return torch.einsum("bihw,bjhw->bij", first, second) / first[0, 0].numel()


def flow_loss(student_flow: torch.Tensor, teacher_flow: torch.Tensor) -> torch.Tensor:
    """mean (G_s − G_t)², both (B, C1, C2) (Yim et al. 2017, eq. 2, which sums over a matrix;
    RepDistiller averages).
    """
    student, teacher = as_pair(student_flow, teacher_flow)
    if student.shape != teacher.shape:
        raise UsageError(
            f"flow matrices {shape_of(student)} and {shape_of(teacher)}: expected the same shape. "
            "Student and teacher need layers of the same number of channels, or adapters, which "
            "FlowOfSolution makes"
        )
    return F.mse_loss(student, teacher)


def _flows(features: list[torch.Tensor]) -> list[torch.Tensor]:
    """The flow matrix of each two features: 0 to 1, 2 to 3, …"""
    return [
        flow_matrix(first, second)
        for first, second in zip(features[::2], features[1::2], strict=True)
    ]


def _flat(pairs) -> list[str]:
    """[("a", "b"), ("b", "c")] → ["a", "b", "b", "c"]."""
    pairs = list(pairs)
    if any(isinstance(pair, str) or len(pair) != 2 for pair in pairs):
        raise UsageError(
            f"{pairs}: expected pairs of layers, such as [('layer1', 'layer2'), ('layer2', "
            "'layer3')]"
        )
    return [layer for pair in pairs for layer in pair]


class FitNets(FeatureObjective):
    """hint_weight · `hint_loss`(adapter(s), t) + label_weight · CE (Romero et al. 2015).

    The adapter is a 1×1 convolution at stride 1 from the student's to the teacher's channels. The
    paper's regressor has larger kernels, RepDistiller's also batch norm and ReLU; and the paper
    trains the hint first, then the rest, where this trains both at once, as RepDistiller does.
    hint_weight: RepDistiller's 100.
    """

    needs_adapters = True
    pools = True

    def __init__(
        self, teacher, student_layer: str, teacher_layer: str, hint_weight=100.0, label_weight=1.0
    ):
        super().__init__(
            teacher, student_layer, teacher_layer, hint=hint_weight, label=label_weight
        )
        self.adapter = None

    def adapt(self, student, teacher, samples):
        self.adapter = nn.Conv2d(as_maps(student[0]).shape[1], as_maps(teacher[0]).shape[1], 1)

    def losses(self, student, teacher, batch):
        pooled, _ = same_size(
            as_maps(student[0]), as_maps(teacher[0])
        )  # 1×1: pooling first gives the same, for less
        return {"hint": hint_loss(self.adapter(pooled), teacher[0])}


class AttentionTransfer(FeatureObjective):
    """attention_weight · Σ_layers `attention_transfer_loss` + label_weight · CE (Zagoruyko &
    Komodakis 2017).

    attention_weight: RepDistiller's 1000, for mode="code". The terms of mode="paper" are larger:
      see the bounds there.
    """

    pools = True

    def __init__(
        self,
        teacher,
        student_layers: Sequence[str],
        teacher_layers: Sequence[str],
        attention_weight=1000.0,
        mode: str = "code",
        label_weight=1.0,
    ):
        super().__init__(
            teacher, student_layers, teacher_layers, attention=attention_weight, label=label_weight
        )
        if mode not in ("paper", "code"):
            raise unknown("mode of attention transfer", mode, ("paper", "code"))
        self.mode = mode

    def losses(self, student, teacher, batch):
        pairs = zip(student, teacher, strict=True)
        return {"attention": sum(attention_transfer_loss(s, t, self.mode) for s, t in pairs)}

    def extra_repr(self) -> str:
        return f"{super().extra_repr()}, mode={self.mode}"


class FlowOfSolution(FeatureObjective):
    """flow_weight · Σ_pairs `flow_loss` + label_weight · CE (Yim et al. 2017, "FSP").

    student_pairs, teacher_pairs: pairs of layers, as [("layer1", "layer2"), ("layer2", "layer3")].
    The paper asks for the same number of channels on both sides; where they differ, this takes the
    student's through an adapter, a 1×1 convolution at stride 1. The paper trains the flow first,
    then the rest; this trains both at once. flow_weight: the 50 of RepDistiller's script, whose FSP
    trains the flow alone first, as the paper does.
    """

    needs_adapters = True

    def __init__(self, teacher, student_pairs, teacher_pairs, flow_weight=50.0, label_weight=1.0):
        super().__init__(
            teacher,
            _flat(student_pairs),
            _flat(teacher_pairs),
            flow=flow_weight,
            label=label_weight,
        )
        self.adapters = None

    def adapt(self, student, teacher, samples):
        channels = [
            (as_maps(s).shape[1], as_maps(t).shape[1])
            for s, t in zip(student, teacher, strict=True)
        ]
        self.adapters = nn.ModuleList(
            nn.Identity() if s == t else nn.Conv2d(s, t, 1) for s, t in channels
        )

    def losses(self, student, teacher, batch):
        student = [adapter(as_maps(s)) for adapter, s in zip(self.adapters, student, strict=True)]
        flows = zip(_flows(student), _flows(teacher), strict=True)
        return {"flow": sum(flow_loss(s, t) for s, t in flows)}
