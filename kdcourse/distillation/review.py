"""ReviewKD (Chen et al. 2021): a teacher's shallow layers also teach the student's deep ones."""

from collections.abc import Sequence

import torch
from torch import nn
from torch.nn import functional as F

from kdcourse.distillation.feature_objective import FeatureObjective
from kdcourse.distillation.features import as_maps, as_pair, check_channels, common_size, same_size


def review_loss(student_maps: torch.Tensor, teacher_maps: torch.Tensor) -> torch.Tensor:
    """Σ_l w_l mean (pool_l(s) − pool_l(t))² / Σ_l w_l: the hierarchical context loss (Chen et al.
    2021, "ReviewKD").

    One pair of maps (B, C, H, W), the student's after fusion. Levels: the maps themselves (w = 1),
    then average-pooled to 4×4, 2×2 and 1×1 (w = ½, ¼, ⅛, the code's figures), leaving out levels
    that are no smaller than the map.
    """
    student, teacher = same_size(*as_pair(as_maps(student_maps), as_maps(teacher_maps)))
    check_channels(student, teacher)
    sizes = [size for size in (4, 2, 1) if size < min(student.shape[2:])]
    loss, weight, total = F.mse_loss(student, teacher), 1.0, 1.0
    for size in sizes:
        weight /= 2
        total += weight
        loss = loss + weight * F.mse_loss(
            *(F.adaptive_avg_pool2d(f, size) for f in (student, teacher))
        )
    return loss / total


class AttentionBasedFusion(nn.Module):
    """ReviewKD's ABF: fuse a student's map with what came from the layer behind it (Chen et al.
    2021, sec. 3.3).

    x = BN(conv1×1(map)); from the second on x = a₁·x + a₂·behind, with (a₁, a₂) =
    sigmoid(conv1×1([x, behind])) at each position; out = BN(conv3×3(x)), which has the teacher's
    channels. Returns (out, x): x goes on to the layer before.
    """

    def __init__(self, channels: int, middle: int, teacher_channels: int, fuses: bool):
        super().__init__()
        self.enter = nn.Sequential(
            nn.Conv2d(channels, middle, 1, bias=False), nn.BatchNorm2d(middle)
        )
        self.attend = nn.Sequential(nn.Conv2d(2 * middle, 2, 1), nn.Sigmoid()) if fuses else None
        self.leave = nn.Sequential(
            nn.Conv2d(middle, teacher_channels, 3, padding=1, bias=False),
            nn.BatchNorm2d(teacher_channels),
        )

    def forward(
        self, features: torch.Tensor, behind: torch.Tensor | None, size
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """features (B, C, H, W); behind (B, middle, h, w) or None; size (H', W') ≤ (H, W) of what
        is returned.
        """
        x = self.enter(features)
        if self.attend is not None:
            behind = F.interpolate(behind, x.shape[2:], mode="nearest")
            weights = self.attend(torch.cat([x, behind], dim=1))  # (B, 2, H, W)
            x = x * weights[:, :1] + behind * weights[:, 1:]
        x = F.adaptive_avg_pool2d(x, size)
        return self.leave(x), x


class ReviewKD(FeatureObjective):
    """review_weight · Σ_layers `review_loss`(fused student, teacher) + label_weight · CE (Chen et
    al. 2021).

    student_layers from shallow to deep. The deepest is compared first and handed on:
    `AttentionBasedFusion` mixes it into the next, so that a teacher's shallow layer also teaches
    the student's deep ones. The authors' code resizes the student's fused maps to the teacher's
    size; here the larger of the two is average-pooled. It also raises the weight over 20 epochs,
    from 0. review_weight: 1, the code's default; its scripts use 0.6 to 8, by pair (batch 128).
    Batch norm in the fusion needs batches of two or more where a map is 1×1.
    """

    needs_adapters = True
    pools = True

    def __init__(
        self,
        teacher,
        student_layers: Sequence[str],
        teacher_layers: Sequence[str],
        review_weight=1.0,
        label_weight=1.0,
    ):
        super().__init__(
            teacher, student_layers, teacher_layers, review=review_weight, label=label_weight
        )
        self.fusions = None

    def adapt(self, student, teacher, samples):
        channels = [
            (as_maps(s).shape[1], as_maps(t).shape[1])
            for s, t in zip(student, teacher, strict=True)
        ]
        middle = min(512, channels[-1][0])
        self.fusions = nn.ModuleList(
            AttentionBasedFusion(s, middle, t, fuses=i < len(channels) - 1)
            for i, (s, t) in enumerate(channels)
        )

    def losses(self, student, teacher, batch):
        loss, behind = 0, None
        for fusion, s, t in reversed(list(zip(self.fusions, student, teacher, strict=True))):
            fused, behind = fusion(as_maps(s), behind, common_size(as_maps(s), as_maps(t)))
            loss = loss + review_loss(fused, t)
        return {"review": loss}
