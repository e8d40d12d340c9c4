"""Relations between the samples of a batch: which images a network finds alike.

The losses compare student and teacher by the distances, angles or similarities between samples, so
their features may have different sizes. See `intermediate` for the rules that all feature losses
share.
"""

import torch
from torch.nn import functional as F

from kdcourse.distillation.feature_objective import FeatureObjective
from kdcourse.distillation.features import as_pair, as_vectors, unit_rows


def similarity_preserving_loss(
    student_features: torch.Tensor, teacher_features: torch.Tensor
) -> torch.Tensor:
    """‖G_s − G_t‖_F² / B², G = rows of F Fᵀ over their length (Tung & Mori 2019, eq. 1–3).

    Features (B, …) are flattened: G (B, B) says which images are alike, so the other dimensions may
    differ.
    """
    student, teacher = (
        unit_rows(f @ f.T)
        for f in as_pair(student_features.flatten(1), teacher_features.flatten(1))
    )
    return F.mse_loss(student, teacher)


def relational_distance_loss(
    student_features: torch.Tensor, teacher_features: torch.Tensor
) -> torch.Tensor:
    """mean_ij huber(d_s − d_t), d_ij = ‖f_i − f_j‖ / μ, μ the mean over i ≠ j (Park et al. 2019,
    sec. 3.2.1).

    Features (B, C); a map is averaged over its positions. The Huber loss turns linear at 1. The
    paper sums over the
    pairs: the mean over all B² is that of the authors' code.
    """
    student, teacher = (
        _distances(f) for f in as_pair(as_vectors(student_features), as_vectors(teacher_features))
    )
    return F.smooth_l1_loss(student, teacher)


def relational_angle_loss(
    student_features: torch.Tensor, teacher_features: torch.Tensor
) -> torch.Tensor:
    """mean_ijk huber(cos∠_s ijk − cos∠_t ijk), the angle at j between f_i and f_k (Park et al.
    2019, sec. 3.2.2).

    Features (B, C); a map is averaged over its positions. Takes memory for B²·C and B³ numbers.
    """
    student, teacher = (
        _angles(f) for f in as_pair(as_vectors(student_features), as_vectors(teacher_features))
    )
    return F.smooth_l1_loss(student, teacher)


def probabilistic_transfer_loss(
    student_features: torch.Tensor, teacher_features: torch.Tensor
) -> torch.Tensor:
    """Σ_{i≠j} p_t(i|j) log (p_t(i|j) / p_s(i|j)) / B², p(i|j) = K_ij / Σ_{k≠j} K_kj (Passalis &
    Tefas 2018, "PKT").

    K_ij = ½ (cos(f_i, f_j) + 1), the paper's cosine kernel. Features (B, C); a map is averaged over
    its positions. The paper sums; its code, and RepDistiller, divide by B² and count i = j too,
    which the paper leaves out.
    """
    pair = as_pair(as_vectors(student_features), as_vectors(teacher_features))
    student, teacher = (_log_neighbours(f) for f in pair)
    return (teacher.exp() * (teacher - student)).sum() / len(pair[0]) ** 2


def _distances(vectors: torch.Tensor) -> torch.Tensor:
    """(B, B) distances over the mean of those between different samples."""
    distances = torch.cdist(
        vectors, vectors, compute_mode="donot_use_mm_for_euclid_dist"
    )  # exact, 0 on the diagonal
    mean = distances.sum() / max(len(vectors) * (len(vectors) - 1), 1)
    return distances / torch.where(mean > 0, mean, 1)


def _angles(vectors: torch.Tensor) -> torch.Tensor:
    """(B, B, B): at [j, i, k] the cosine of the angle at sample j between samples i and k."""
    towards = unit_rows(vectors[None] - vectors[:, None])  # (B, B, C): at [j, i], from j to i
    return towards @ towards.transpose(1, 2)


def _log_neighbours(vectors: torch.Tensor) -> torch.Tensor:
    """(B, B − 1): at [j, i] log p(i|j) over the other samples i of the batch."""
    unit = unit_rows(vectors)
    kernel = (unit @ unit.T + 1).clamp(
        min=0
    ) / 2 + 1e-7  # opposite vectors have K = 0, which has no logarithm
    others = ~torch.eye(len(unit), dtype=torch.bool, device=unit.device)
    kernel = kernel[others].view(len(unit), -1) if len(unit) > 1 else kernel[:, :0]
    return kernel.log() - kernel.sum(1, keepdim=True).log()


class SimilarityPreserving(FeatureObjective):
    """similarity_weight · `similarity_preserving_loss` + label_weight · CE (Tung & Mori 2019).

    similarity_weight: 3000, the paper's γ and RepDistiller's.
    """

    def __init__(
        self,
        teacher,
        student_layer: str,
        teacher_layer: str,
        similarity_weight=3000.0,
        label_weight=1.0,
    ):
        super().__init__(
            teacher, student_layer, teacher_layer, similarity=similarity_weight, label=label_weight
        )

    def losses(self, student, teacher, batch):
        return {"similarity": similarity_preserving_loss(student[0], teacher[0])}


class RelationalKD(FeatureObjective):
    """distance_weight · `relational_distance_loss` + angle_weight · `relational_angle_loss` +
    label_weight · CE.

    Park et al. 2019. The weights: 25 and 50, the authors' and RepDistiller's.
    """

    def __init__(
        self,
        teacher,
        student_layer: str,
        teacher_layer: str,
        distance_weight=25.0,
        angle_weight=50.0,
        label_weight=1.0,
    ):
        weights = dict(distance=distance_weight, angle=angle_weight, label=label_weight)
        super().__init__(teacher, student_layer, teacher_layer, **weights)

    def losses(self, student, teacher, batch):
        losses = {}
        if self.weights["distance"]:
            losses["distance"] = relational_distance_loss(student[0], teacher[0])
        if self.weights["angle"]:
            losses["angle"] = relational_angle_loss(student[0], teacher[0])
        return losses


class ProbabilisticTransfer(FeatureObjective):
    """probability_weight · `probabilistic_transfer_loss` + label_weight · CE (Passalis & Tefas
    2018).

    probability_weight: RepDistiller's 30000.
    """

    def __init__(
        self,
        teacher,
        student_layer: str,
        teacher_layer: str,
        probability_weight=30000.0,
        label_weight=1.0,
    ):
        super().__init__(
            teacher,
            student_layer,
            teacher_layer,
            probability=probability_weight,
            label=label_weight,
        )

    def losses(self, student, teacher, batch):
        return {"probability": probabilistic_transfer_loss(student[0], teacher[0])}
