"""Losses of logits against what holds on paper."""

from functools import partial

import numpy as np
import pytest
import torch
from torch.nn import functional as F

from kdcourse.common.errors import UsageError
from kdcourse.distillation import (
    decoupled_loss,
    logit_matching_loss,
    nontarget_class_loss,
    relation_matching_loss,
    soft_target_loss,
    standardised_soft_target_loss,
    target_class_loss,
)

# every loss as (student_logits, teacher_logits, labels, temperature) → scalar
LOSSES = {
    "soft": lambda s, t, y, T: soft_target_loss(s, t, T),
    "logit": lambda s, t, y, T: logit_matching_loss(s, t),
    "decoupled": lambda s, t, y, T: decoupled_loss(
        s, t, y, T, target_weight=1.5, nontarget_weight=4.0
    ),
    "relation": lambda s, t, y, T: relation_matching_loss(
        s, t, T, inter_weight=2.0, intra_weight=3.0
    ),
    "standardised": lambda s, t, y, T: standardised_soft_target_loss(s, t, T),
}


every_loss = pytest.mark.parametrize("loss", LOSSES.values(), ids=LOSSES)


softened = pytest.mark.parametrize(
    "loss", [LOSSES[n] for n in LOSSES if n != "logit"], ids=[n for n in LOSSES if n != "logit"]
)


def logits(batch=12, classes=5, seed=0, scale=2.0, dtype=torch.float64):
    """Student's and teacher's logits (B, C), and labels (B,)."""
    draw = torch.Generator().manual_seed(seed)
    s, t = scale * torch.randn(2, batch, classes, generator=draw, dtype=torch.float64)
    return s.to(dtype), t.to(dtype), torch.arange(batch) % classes


def gradient(loss, s, t, y, T):
    s = s.clone().requires_grad_()
    loss(s, t, y, T).backward()
    return s.grad


def softmax(z, T):
    e = np.exp(np.asarray(z) / T)
    return e / e.sum()


def kl(p, q):
    return sum(a * np.log(a / b) for a, b in zip(p, q, strict=True))


def by_hand_soft(s, t, y, T):
    return T**2 * np.mean([kl(softmax(b, T), softmax(a, T)) for a, b in zip(s, t, strict=True)])


def by_hand_logit(s, t, y, T):
    return sum((s[i, c] - t[i, c]) ** 2 for i in range(len(s)) for c in range(s.shape[1])) / (
        2 * len(s)
    )


def by_hand_parts(s, t, label, T):
    """TCKD and NCKD of one sample."""
    p_s, p_t = softmax(s, T), softmax(t, T)
    target = kl([p_t[label], 1 - p_t[label]], [p_s[label], 1 - p_s[label]])
    others = np.arange(len(s)) != label
    return target, kl(p_t[others] / p_t[others].sum(), p_s[others] / p_s[others].sum())


def by_hand_decoupled(s, t, y, T):
    parts = np.array([by_hand_parts(s[i], t[i], y[i], T) for i in range(len(s))])
    return T**2 * (1.5 * parts[:, 0].mean() + 4.0 * parts[:, 1].mean())


def by_hand_relation(s, t, y, T):
    p_s, p_t = np.array([softmax(z, T) for z in s]), np.array([softmax(z, T) for z in t])
    inter = np.mean([1 - np.corrcoef(a, b)[0, 1] for a, b in zip(p_s, p_t, strict=True)])
    intra = np.mean([1 - np.corrcoef(a, b)[0, 1] for a, b in zip(p_s.T, p_t.T, strict=True)])
    return 2.0 * inter + 3.0 * intra


def by_hand_standardised(s, t, y, T):
    s, t = ((z - z.mean(1, keepdims=True)) / z.std(1, keepdims=True) for z in (s, t))
    return by_hand_soft(s, t, y, T)


BY_HAND = {
    "soft": by_hand_soft,
    "logit": by_hand_logit,
    "decoupled": by_hand_decoupled,
    "relation": by_hand_relation,
    "standardised": by_hand_standardised,
}


def test_the_papers_formula():
    for classes in [3, 7]:
        for temperature in [1.0, 4.0, 0.7]:
            for name in LOSSES:
                s, t, y = logits(classes=classes)
                expected = BY_HAND[name](s.numpy(), t.numpy(), y.numpy(), temperature)
                assert LOSSES[name](s, t, y, temperature).item() == pytest.approx(
                    expected, rel=1e-6
                )


def test_zero_where_student_and_teacher_agree_and_above_elsewhere():
    for loss in LOSSES.values():
        s, t, y = logits()
        assert loss(t, t, y, 4.0).item() == pytest.approx(0, abs=1e-12)
        assert gradient(loss, t, t, y, 4.0).abs().max() < 1e-7
        assert all(loss(*logits(seed=seed), 4.0) > 0.01 for seed in range(5))


def test_gradient_reaches_the_student_alone():
    for loss in LOSSES.values():
        s, t, y = logits()
        s.requires_grad_(), t.requires_grad_()
        loss(s, t, y, 2.0).backward()
        assert s.grad.abs().max() > 0
        assert t.grad is None


def test_the_gradient_is_that_of_the_loss():
    for loss in LOSSES.values():
        s, t, y = logits(batch=4, classes=3)
        of_student = partial(lambda loss, t, y, z: loss(z, t, y, 2.0), loss, t, y)
        assert torch.autograd.gradcheck(of_student, s.requires_grad_())


def test_the_order_of_the_batch_is_irrelevant():
    for loss in LOSSES.values():
        s, t, y = logits()
        order = torch.randperm(len(s), generator=torch.Generator().manual_seed(1))
        assert torch.allclose(
            loss(s[order], t[order], y[order], 2.0), loss(s, t, y, 2.0), rtol=1e-12
        )


def test_the_order_of_the_classes_is_irrelevant():
    for loss in LOSSES.values():
        s, t, y = logits()
        order = torch.tensor([3, 0, 4, 1, 2])
        assert torch.allclose(
            loss(s[:, order], t[:, order], order.argsort()[y], 2.0), loss(s, t, y, 2.0), rtol=1e-12
        )


def test_a_shift_of_a_samples_logits_is_irrelevant():
    """A softmax takes no notice of it. Logit matching does: there only a shift of both together is
    irrelevant.
    """
    for loss in [LOSSES[n] for n in LOSSES if n != "logit"]:
        s, t, y = logits()
        shift = 10 * torch.randn(len(s), 1, dtype=torch.float64)
        assert torch.allclose(loss(s + shift, t, y, 2.0), loss(s, t, y, 2.0), rtol=1e-9)
        assert torch.allclose(loss(s, t - shift, y, 2.0), loss(s, t, y, 2.0), rtol=1e-9)


def test_logit_matching_takes_notice_of_a_shift_of_one():
    s, t, _ = logits()
    assert torch.allclose(logit_matching_loss(s + 3, t + 3), logit_matching_loss(s, t))
    assert logit_matching_loss(t + 3, t).item() == pytest.approx(0.5 * 5 * 3**2)


def test_the_standardised_loss_takes_no_notice_of_scale():
    s, t, y = logits()
    scale = 0.5 + 20 * torch.rand(len(s), 1, dtype=torch.float64)
    expected = standardised_soft_target_loss(s, t, 2.0)
    assert torch.allclose(standardised_soft_target_loss(s * scale, t, 2.0), expected, rtol=1e-6)
    assert torch.allclose(standardised_soft_target_loss(s, t * scale, 2.0), expected, rtol=1e-6)
    assert not torch.allclose(
        soft_target_loss(s * scale, t, 2.0), soft_target_loss(s, t, 2.0), rtol=0.1
    )


def test_at_high_temperature_the_gradient_is_the_difference_of_centred_logits_over_c():
    """Hinton et al. 2015, eq. 4, times T²; over B, since the loss is a mean over the batch."""
    s, t, y = logits()
    difference = (s - s.mean(1, keepdim=True)) - (t - t.mean(1, keepdim=True))
    got = gradient(LOSSES["soft"], s, t, y, 1e4)
    assert torch.allclose(got, difference / s.shape[1] / len(s), rtol=1e-2, atol=1e-5)
    centred = (
        soft_target_loss(s, t, 1e4),
        logit_matching_loss(*(z - z.mean(1, keepdim=True) for z in (s, t))),
    )
    assert centred[0].item() == pytest.approx(centred[1].item() / s.shape[1], rel=1e-3)


def slope(loss, temperatures=(8, 16, 32, 64, 128)):
    """By which power of T the gradient's norm goes."""
    norms = [gradient(loss, *logits(), T).norm().item() for T in temperatures]
    return np.polyfit(np.log(temperatures), np.log(norms), 1)[0]


def test_with_t_squared_the_gradient_keeps_its_size():
    for name in ["soft", "decoupled", "standardised"]:
        assert slope(LOSSES[name]) == pytest.approx(0, abs=0.1)


def test_relation_matching_needs_no_t_squared():
    assert slope(LOSSES["relation"]) == pytest.approx(0, abs=0.1)


def test_without_t_squared_the_gradient_goes_like_one_over_t_squared():
    def as_d2_wrote_it(s, t, y, T):
        return F.kl_div(F.log_softmax(s / T, 1), F.softmax(t / T, 1), reduction="batchmean")

    assert slope(as_d2_wrote_it) == pytest.approx(-2, abs=0.1)
    s, t, y = logits()
    assert torch.allclose(soft_target_loss(s, t, 5.0), 25 * as_d2_wrote_it(s, t, y, 5.0))


def test_the_soft_target_loss_is_the_two_parts_of_dkd_added_up():
    """KD = TCKD + (1 − p_t) · NCKD, for each sample."""
    for temperature in [1.0, 2.0, 8.0]:
        s, t, y = logits()
        p_t = F.softmax(t / temperature, 1)[torch.arange(len(y)), y]
        parts = target_class_loss(s, t, y, temperature), nontarget_class_loss(s, t, y, temperature)
        whole = [soft_target_loss(s[i : i + 1], t[i : i + 1], temperature) for i in range(len(s))]
        assert torch.allclose(parts[0] + (1 - p_t) * parts[1], torch.stack(whole), rtol=1e-10)


def test_the_two_parts_of_dkd_sample_by_sample():
    s, t, y = logits()
    expected = np.array(
        [by_hand_parts(s[i].numpy(), t[i].numpy(), y[i].item(), 3.0) for i in range(len(s))]
    )
    assert np.allclose(target_class_loss(s, t, y, 3.0), 9 * expected[:, 0])
    assert np.allclose(nontarget_class_loss(s, t, y, 3.0), 9 * expected[:, 1])


def test_the_parts_of_dkd_hold_where_a_network_is_all_but_certain():
    """Where p of the label rounds to 1 in float32, log(1 − p) and what is said of the other classes
    are not lost.
    """
    unsure, certain = torch.tensor([[2.0, 1.0, 0.0, -1.0]]), torch.tensor([[60.0, 3.0, 0.0, 1.0]])
    for s, t in ((unsure, certain), (certain, unsure)):
        for part in (target_class_loss, nontarget_class_loss):
            single, double = (
                part(s.to(d), t.to(d), torch.tensor([0]), 1.0)
                for d in (torch.float32, torch.float64)
            )
            assert double > 0.1
            assert single.item() == pytest.approx(double.item(), rel=1e-5)
    p = F.softmax(unsure.double(), 1)[
        0, 0
    ].item()  # the rest is 1 − p times the gap of some 57 in the logits
    expected = p * np.log(p) + (1 - p) * (
        np.log(1 - p) + 60 - torch.logsumexp(certain.double()[0, 1:], 0).item()
    )
    assert target_class_loss(certain, unsure, torch.tensor([0]), 1.0).item() == pytest.approx(
        expected, rel=1e-5
    )


def test_finite_for_logits_of_ten_thousand():
    for temperature in [0.5, 1.0, 4.0, 100.0]:
        for classes in [2, 10]:
            for loss in LOSSES.values():
                big = torch.tensor([1e4, -1e4, 0.0, 1.0])
                pairs = [(a, b) for a in range(4) for b in range(4)]
                draw = torch.Generator().manual_seed(0)
                s = big[torch.randint(4, (len(pairs), classes), generator=draw)]
                t = big[torch.randint(4, (len(pairs), classes), generator=draw)]
                s[:, 0], t[:, 0] = big[[a for a, _ in pairs]], big[[b for _, b in pairs]]
                s[0], t[1] = 1e4, -1e4  # constant rows
                for student, teacher in ((s, t), (t, t), (-t, t)):
                    y = torch.arange(len(s)) % classes
                    assert torch.isfinite(loss(student, teacher, y, temperature))
                    assert torch.isfinite(gradient(loss, student, teacher, y, temperature)).all()


def test_finite_for_two_classes_and_for_a_batch_of_one():
    for loss in LOSSES.values():
        for s, t, y in (logits(classes=2), logits(batch=1), logits(batch=1, classes=2)):
            assert torch.isfinite(loss(s, t, y, 4.0)) and loss(s, t, y, 4.0) >= 0
            assert torch.isfinite(gradient(loss, s, t, y, 4.0)).all()


def test_with_two_classes_there_is_no_other_wrong_class():
    s, t, y = logits(classes=2)
    assert nontarget_class_loss(s, t, y, 4.0).tolist() == [0.0] * len(s)
    expected = [soft_target_loss(s[i : i + 1], t[i : i + 1], 4.0).item() for i in range(len(s))]
    assert target_class_loss(s, t, y, 4.0).tolist() == pytest.approx(expected)


def test_a_student_that_gives_all_classes_the_same_gets_a_bounded_gradient():
    """As at the start with a last layer of zeros: no correlation, no standard deviation, and no
    division by zero.
    """
    for name in ["relation", "standardised"]:
        _, t, y = logits(dtype=torch.float32)
        for value in (0.0, 3333.3):
            s = torch.full_like(t, value)
            assert gradient(LOSSES[name], s, t, y, 2.0).abs().max() < 1e4
        assert standardised_soft_target_loss(t, torch.full_like(t, 7.7), 2.0).item() < 5
        assert relation_matching_loss(torch.zeros_like(t), t).item() == pytest.approx(2 + 2)


def test_half_precision_logits_are_computed_with_in_float32():
    """What is lost is the rounding of the logits themselves: bfloat16 keeps 8 bits."""
    for loss in LOSSES.values():
        s, t, y = logits(batch=64, dtype=torch.bfloat16)
        got = loss(s, t, y, 4.0)
        assert got.dtype == torch.float32
        assert torch.equal(got, loss(s.float(), t.float(), y, 4.0))
        assert torch.equal(loss(s, t.float(), y, 4.0), got)
        exact = loss(*logits(batch=64), 4.0)
        assert got.item() == pytest.approx(exact.item(), rel=0.01)


def test_autocast_changes_nothing_in_a_loss():
    for loss in LOSSES.values():
        s, t, y = logits(batch=64, dtype=torch.float32)
        plain = loss(s, t, y, 4.0), gradient(loss, s, t, y, 4.0)
        with torch.autocast("cpu", dtype=torch.bfloat16):
            assert torch.equal(loss(s, t, y, 4.0), plain[0])
            assert torch.equal(gradient(loss, s, t, y, 4.0), plain[1])


def test_large_finite_logits_whose_sum_overflows_are_not_refused():
    for loss in LOSSES.values():
        s = torch.full((4, 4), 6e4, dtype=torch.float16)
        loss(s, s, torch.arange(4), 4.0)


def test_logits_that_are_not_finite_reach_the_loss():
    """`fit` stops there and names whose they are."""
    for loss in LOSSES.values():
        s, t, y = logits()
        for broken in (float("nan"), float("inf")):
            bad = s.clone()
            bad[3, 1] = broken
            assert not torch.isfinite(loss(bad, t, y, 4.0))
            assert not torch.isfinite(loss(s, bad, y, 4.0))


def test_logits_that_do_not_fit_are_refused():
    for student, teacher, says in [
        (
            torch.zeros(4, 3),
            torch.zeros(4, 5),
            r"student_logits \(4, 3\) and teacher_logits \(4, 5\).*label_map",
        ),
        (torch.zeros(4, 3), torch.zeros(2, 3), r"same shape \(B, C\)"),
        (torch.zeros(3), torch.zeros(3), r"\(B, C\)"),
        (torch.zeros(4, 1), torch.zeros(4, 1), "two classes or more"),
        (torch.zeros(2, 3, 4), torch.zeros(2, 3, 4), r"\(B, C\)"),
        (
            torch.zeros(4, 3, dtype=torch.int64),
            torch.zeros(4, 3),
            "student_logits are torch.int64.*floating-point",
        ),
        (
            torch.zeros(4, 3),
            torch.zeros(4, 3, dtype=torch.int64),
            "teacher_logits are torch.int64.*floating-point",
        ),
    ]:
        for loss in LOSSES.values():
            with pytest.raises(UsageError, match=says):
                loss(student, teacher, torch.zeros(len(student), dtype=torch.int64), 4.0)


def test_a_temperature_that_cannot_be_is_refused():
    for temperature in [0, -1.0, float("nan"), float("inf")]:
        for loss in [LOSSES[n] for n in LOSSES if n != "logit"]:
            with pytest.raises(UsageError, match=r"temperature=.*expected a finite number above 0"):
                loss(*logits(), temperature)


def test_labels_that_do_not_fit_are_refused():
    for labels, says in [
        (
            torch.zeros(3, dtype=torch.int64),
            r"shape \(3,\): expected whole numbers of shape \(12,\)",
        ),
        (torch.zeros(12, 1, dtype=torch.int64), r"shape \(12, 1\)"),
        (torch.zeros(12), "torch.float32"),
        (torch.full((12,), 5), "labels from 5 to 5: expected 0 to 4"),
        (torch.arange(12) % 5 - 1, "labels from -1 to 3: expected 0 to 4"),
    ]:
        s, t, _ = logits()
        for part in (target_class_loss, nontarget_class_loss):
            with pytest.raises(UsageError, match=says):
                part(s, t, labels, 4.0)
        with pytest.raises(UsageError, match=says):
            decoupled_loss(s, t, labels, 4.0, 1.0, 8.0)


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
@every_loss
def test_the_same_on_cuda(loss):
    s, t, y = logits()
    there = [x.cuda() for x in (s, t, y)]
    assert torch.allclose(loss(*there, 4.0).cpu(), loss(s, t, y, 4.0))
    there[0][0, 0] = float("nan")
    assert not torch.isfinite(loss(*there, 4.0))
