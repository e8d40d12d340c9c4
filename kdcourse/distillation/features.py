"""Features as the losses compare them: maps (B, C, H, W) or vectors (B, C), in one size and
precision.
"""

import torch
from torch.nn import functional as F

from kdcourse.common.errors import UsageError


def as_maps(features: torch.Tensor) -> torch.Tensor:
    """features as maps (B, C, H, W), or a UsageError."""
    if features.dim() != 4:
        raise UsageError(
            f"features of shape {shape_of(features)}: expected maps (B, C, H, W). Name a layer "
            "before the pooling, or use a method that compares vectors, such as RelationalKD"
        )
    return full_precision(features)


def as_vectors(features: torch.Tensor) -> torch.Tensor:
    """features as vectors (B, C): maps are averaged over their positions."""
    if features.dim() not in (2, 4):
        raise UsageError(
            f"features of shape {shape_of(features)}: expected vectors (B, C) or maps (B, C, H, W)"
        )
    return (
        full_precision(features).mean((2, 3)) if features.dim() == 4 else full_precision(features)
    )


def as_pair(student: torch.Tensor, teacher: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """The two as they are compared: of one batch, half precision as float32, no gradient to the
    teacher's.
    """
    if len(student) != len(teacher):
        raise UsageError(
            f"student's features {shape_of(student)}, teacher's {shape_of(teacher)}: expected the "
            "same batch, and so the same first number"
        )
    return full_precision(student), full_precision(teacher.detach())


def same_size(first: torch.Tensor, second: torch.Tensor, pool=F.adaptive_avg_pool2d):
    """Maps of the same height and width: the larger pooled to the smaller."""
    size = common_size(first, second)
    return tuple(f if f.shape[2:] == size else pool(f, size) for f in (first, second))


def common_size(first: torch.Tensor, second: torch.Tensor) -> torch.Size:
    return torch.Size(min(pair) for pair in zip(first.shape[2:], second.shape[2:], strict=True))


def check_channels(student: torch.Tensor, teacher: torch.Tensor) -> None:
    if student.shape[1] != teacher.shape[1]:
        raise UsageError(
            f"{student.shape[1]} channels of the student's and {teacher.shape[1]} of the "
            "teacher's: expected the same number. An adapter makes it so: the objectives FitNets "
            "and ReviewKD have one"
        )


def unit_rows(vectors: torch.Tensor) -> torch.Tensor:
    """Rows over their length. A row of zeros stays one, and has a finite gradient."""
    length = torch.linalg.vector_norm(vectors, dim=-1, keepdim=True)
    return vectors / torch.where(length > 0, length, 1)


def full_precision(features: torch.Tensor) -> torch.Tensor:
    """Half precision as float32; float64 stays."""
    return features.float() if features.dtype in (torch.float16, torch.bfloat16) else features


def shape_of(tensor: torch.Tensor) -> str:
    return str(tuple(tensor.shape))
