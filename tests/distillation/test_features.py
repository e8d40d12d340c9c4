"""What holds for all losses of features: gradients, precision, batches, shapes."""

import pytest
import torch
from feature_cases import (
    LOSSES,
    VECTOR_LOSSES,
    features,
    paper_attention,
    teacher,
)
from torch.nn import functional as F

from kdcourse.common.errors import UsageError
from kdcourse.distillation import (
    AttentionTransfer,
    attention_transfer_loss,
    flow_loss,
    flow_matrix,
    hint_loss,
    probabilistic_transfer_loss,
    relational_angle_loss,
    relational_distance_loss,
    review_loss,
    similarity_preserving_loss,
)


def test_zero_where_the_student_is_the_teacher_and_above_elsewhere():
    for loss in LOSSES:
        student, teacher = features(1, loss), features(2, loss)
        same = student.clone().requires_grad_()
        value = loss(same, student)
        value.backward()
        assert value.item() == pytest.approx(0, abs=1e-14)
        assert same.grad.abs().max() < 1e-7  # a minimum; also finite where a norm is 0
        assert loss(student, teacher).item() > 1e-4
        assert loss(student, teacher).dim() == 0


def test_no_gradient_goes_to_the_teacher():
    for loss in LOSSES:
        student, teacher = features(1, loss).requires_grad_(), features(2, loss).requires_grad_()
        loss(student, teacher).backward()
        assert teacher.grad is None
        assert student.grad.abs().sum() > 0


def test_a_step_down_the_gradient_lowers_the_loss():
    for loss in LOSSES:
        student, teacher = features(1, loss).requires_grad_(), features(2, loss)
        before = loss(student, teacher)
        (gradient,) = torch.autograd.grad(before, student)
        step = 1e-3 * before.item() / gradient.pow(2).sum()
        after = loss(student - step * gradient, teacher)
        assert after.item() == pytest.approx(before.item() * (1 - 1e-3), rel=1e-4)  # to first order


def test_the_order_of_the_batch_does_not_matter():
    for loss in LOSSES:
        student, teacher = features(1, loss), features(2, loss)
        order = torch.tensor([3, 0, 5, 1, 4, 2])
        torch.testing.assert_close(loss(student[order], teacher[order]), loss(student, teacher))
        assert loss(student[order], teacher).item() != pytest.approx(
            loss(student, teacher).item(), rel=1e-3
        )


def test_which_losses_depend_on_the_scale():
    """Compared up to scale: attention, similarities, relations. Compared element by element: hints,
    flows, reviews.
    """
    for loss in LOSSES:
        student, teacher = features(1, loss), features(2, loss)
        scaled = loss(10 * student, 0.1 * teacher).item()
        if loss in (hint_loss, flow_loss, review_loss):
            assert scaled != pytest.approx(loss(student, teacher).item(), rel=0.5)
        else:
            assert scaled == pytest.approx(loss(student, teacher).item(), rel=1e-6)


def test_a_rotation_of_the_features_changes_no_relation():
    for loss in [similarity_preserving_loss, *VECTOR_LOSSES]:
        student, teacher = features(1, loss).flatten(1), features(2, loss).flatten(1)
        generator = torch.Generator().manual_seed(0)
        square = torch.randn(
            student.shape[1], student.shape[1], generator=generator, dtype=torch.float64
        )
        rotation = torch.linalg.qr(square).Q
        torch.testing.assert_close(loss(student @ rotation, teacher), loss(student, teacher))


def test_a_shift_of_the_features_changes_no_distance_and_no_angle():
    for loss in [relational_distance_loss, relational_angle_loss]:
        student, teacher = features(1, loss), features(2, loss)
        torch.testing.assert_close(loss(student + 3, teacher), loss(student, teacher))
        assert probabilistic_transfer_loss(student + 3, teacher) != pytest.approx(
            probabilistic_transfer_loss(student, teacher).item(), rel=1e-3
        )


def test_other_numbers_of_channels_can_be_compared():
    for loss in [similarity_preserving_loss, *VECTOR_LOSSES, attention_transfer_loss]:
        student, teacher = features(1, loss), features(2, loss)
        assert torch.isfinite(loss(student[:, :2], teacher))


def test_the_larger_map_is_pooled_to_the_smaller():
    for loss in [hint_loss, attention_transfer_loss, paper_attention, review_loss]:
        large, small = features(1), features(2)[..., :3, :3]
        pooled = F.avg_pool2d(large, 2)
        torch.testing.assert_close(loss(large, small), loss(pooled, small))
        torch.testing.assert_close(loss(small, large), loss(small, pooled))
        wide = large[..., :3, :]  # smaller in one direction, larger in the other
        assert torch.isfinite(loss(wide, large[..., :3]))


def test_maps_are_averaged_where_vectors_are_compared():
    for loss in VECTOR_LOSSES:
        student, teacher = features(1), features(2)
        expected = loss(student.mean((2, 3)), teacher.mean((2, 3)))
        torch.testing.assert_close(loss(student, teacher), expected)
        torch.testing.assert_close(loss(student, teacher.mean((2, 3), keepdim=True)), expected)


def test_finite_for_large_and_small_features():
    for scale in [1e4, 1e-4]:
        for loss in LOSSES:
            student = (scale * features(1, loss, dtype=torch.float32)).requires_grad_()
            value = loss(student, scale * features(2, loss, dtype=torch.float32))
            value.backward()
            assert torch.isfinite(value) and torch.isfinite(student.grad).all()


def test_finite_for_dead_features_and_twins():
    """A layer that gives zeros, and two images with the very same features: gradients stay finite
    and moderate.
    """
    for dead in ["student", "teacher", "both", "twins"]:
        for loss in LOSSES:
            student, teacher = (
                features(1, loss, dtype=torch.float32),
                features(2, loss, dtype=torch.float32),
            )
            if dead in ("student", "both"):
                student = torch.zeros_like(student)
            if dead in ("teacher", "both"):
                teacher = torch.zeros_like(teacher)
            if dead == "twins":
                student[1] = student[0]
            student.requires_grad_()
            value = loss(student, teacher)
            value.backward()
            assert torch.isfinite(value) and student.grad.abs().max() < 100


def test_a_batch_of_one_is_finite():
    """The last batch of an epoch may be that small: there are no pairs in it, and so no relation to
    learn.
    """
    for loss in LOSSES:
        student = features(1, loss, batch=1).requires_grad_()
        value = loss(student, features(2, loss, batch=1))
        value.backward()
        assert torch.isfinite(value) and torch.isfinite(student.grad).all()
        if loss in VECTOR_LOSSES:
            assert value.item() == 0


def test_nan_is_not_swallowed():
    """It must reach `fit`, which stops and names the term."""
    for loss in LOSSES:
        student = features(1, loss)
        student[2].view(-1)[0] = float("nan")
        assert loss(student, features(2, loss)).isnan()


def test_bfloat16_features_within_two_per_cent():
    """Eight bits of a feature are lost before the loss sees it; the loss itself is computed in
    float32.
    """
    for loss in LOSSES:
        student, teacher = features(1, loss), features(2, loss)
        half = loss(student.bfloat16(), teacher.bfloat16())
        assert half.dtype == torch.float32
        assert half.item() == pytest.approx(loss(student, teacher).item(), rel=0.02)


def test_channels_last_is_the_same():
    for loss in LOSSES:
        student, teacher = features(1, loss), features(2, loss)
        if student.dim() == 4:
            turned = [f.to(memory_format=torch.channels_last) for f in (student, teacher)]
            torch.testing.assert_close(loss(*turned), loss(student, teacher))


def test_batches_of_different_size_are_named():
    for loss in LOSSES:
        with pytest.raises(UsageError, match=r"\(5, .*\(6, .*same batch"):
            loss(features(1, loss)[:5], features(2, loss))


def test_channels_that_differ_are_named():
    for loss in [hint_loss, review_loss]:
        with pytest.raises(UsageError, match="2 channels of the student's and 4"):
            loss(features(1)[:, :2], features(2))


def test_flow_matrices_of_different_shape_are_named():
    with pytest.raises(UsageError, match=r"\(6, 3, 5\) and \(6, 4, 5\)"):
        flow_loss(features(1, flow_loss)[:, :3], features(2, flow_loss))


def test_a_vector_where_a_map_is_needed_is_named():
    for loss in [hint_loss, attention_transfer_loss, review_loss, flow_matrix]:
        with pytest.raises(UsageError, match=r"\(6, 4\): expected maps"):
            loss(features(1).mean((2, 3)), features(2))


def test_features_that_are_neither_map_nor_vector():
    with pytest.raises(UsageError, match=r"\(6, 4, 6\): expected vectors"):
        relational_distance_loss(features(1)[..., 0], features(2)[..., 0])


def test_an_unknown_mode_of_attention_transfer():
    with pytest.raises(UsageError, match="'papers'. Did you mean paper"):
        attention_transfer_loss(features(1), features(2), mode="papers")
    with pytest.raises(UsageError, match="'papers'"):
        AttentionTransfer(teacher(), "layer1", "layer1", mode="papers")
