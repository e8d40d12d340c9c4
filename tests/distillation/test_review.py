"""ReviewKD: the loss and the fusion."""

import pytest
import torch
from feature_cases import (
    a_batch,
    build,
    features,
    student,
)
from torch.nn import functional as F

from kdcourse.distillation import (
    AttentionBasedFusion,
    review_loss,
)


def numpy_review(s, t):
    def pooled(f, size):
        step = f.shape[2] // size
        return f.reshape(*f.shape[:2], size, step, size, step).mean((3, 5))

    total, weights = ((s - t) ** 2).mean(), 1.0
    for size, weight in (
        ((2, 0.25), (1, 0.125)) if s.shape[2] == 6 else ((4, 0.5), (2, 0.25), (1, 0.125))
    ):
        total += weight * ((pooled(s, size) - pooled(t, size)) ** 2).mean()
        weights += weight
    return total / weights


def test_the_review_loss_in_numpy():
    student, teacher = (
        features(seed)[..., :1].expand(-1, -1, -1, 6).repeat(1, 1, 2, 2)[..., :8, :8]
        for seed in (1, 2)
    )
    assert student.shape == (6, 4, 8, 8)
    expected = numpy_review(student.numpy(), teacher.numpy())
    assert review_loss(student, teacher).item() == pytest.approx(expected, rel=1e-12)


def test_the_review_loss_of_a_small_map_has_fewer_levels():
    student, teacher = features(1)[..., :2, :2], features(2)[..., :2, :2]
    one = ((student - teacher).mean((2, 3)) ** 2).mean()
    assert review_loss(student, teacher).item() == pytest.approx(
        (F.mse_loss(student, teacher) + 0.5 * one).item() / 1.5
    )
    vectors = features(1)[..., :1, :1], features(2)[..., :1, :1]
    assert review_loss(*vectors).item() == pytest.approx(F.mse_loss(*vectors).item())


def test_fusion_by_hand():
    torch.manual_seed(0)
    fusion = AttentionBasedFusion(3, 2, 5, fuses=True).eval()
    here, behind = torch.randn(2, 3, 4, 4), torch.randn(2, 2, 2, 2)
    out, x = fusion(here, behind, (4, 4))
    entered, wide = fusion.enter(here), behind.repeat_interleave(2, 2).repeat_interleave(2, 3)
    a = torch.sigmoid(fusion.attend[0](torch.cat([entered, wide], 1)))
    torch.testing.assert_close(x, a[:, 0:1] * entered + a[:, 1:2] * wide)
    torch.testing.assert_close(out, fusion.leave(x))
    assert out.shape == (2, 5, 4, 4)
    assert fusion(here, behind, (2, 2))[0].shape == (2, 5, 2, 2)


def test_a_review_hands_deep_layers_to_the_shallow_ones(make_data):
    """What the teacher's first layer says must reach the student's last."""
    objective, batch, pupil = build("review", label_weight=0), a_batch(make_data()), student()
    objective.prepare(pupil, batch, 72)
    torch.manual_seed(0)
    features = [
        torch.randn(8, 4 * 2**i, 4 // 2**i, 4 // 2**i, requires_grad=True) for i in range(3)
    ]
    behind = None
    for fusion, f in zip(reversed(objective.fusions), reversed(features), strict=True):
        fused, behind = fusion(f, behind, f.shape[2:])
    review_loss(fused, torch.zeros_like(fused)).backward()
    assert features[2].grad.abs().sum() > 0
