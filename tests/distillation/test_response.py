from dataclasses import replace
from functools import partial

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional as F

from kdcourse.common.errors import TrainingError, UsageError
from kdcourse.data import Batches
from kdcourse.data.batches import Batch
from kdcourse.distillation import (
    CrossEntropy,
    DecoupledKD,
    LogitMatching,
    PartlyLabelled,
    RelationMatchingKD,
    ResponseKD,
    StandardisedKD,
    Teacher,
    decoupled_loss,
    logit_matching_loss,
    nontarget_class_loss,
    relation_matching_loss,
    soft_target_loss,
    standardised_soft_target_loss,
    target_class_loss,
)
from kdcourse.distillation.hooks import ForwardOutput
from kdcourse.training import Recipe, adamw, constant, fit
from kdcourse.training.checkpoint import digest

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


# The papers' formulas once more, sample by sample, in NumPy and as they are written there.


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


@pytest.mark.parametrize("name", LOSSES)
@pytest.mark.parametrize("temperature", [1.0, 4.0, 0.7])
@pytest.mark.parametrize("classes", [3, 7])
def test_the_papers_formula(name, temperature, classes):
    s, t, y = logits(classes=classes)
    expected = BY_HAND[name](s.numpy(), t.numpy(), y.numpy(), temperature)
    assert LOSSES[name](s, t, y, temperature).item() == pytest.approx(expected, rel=1e-6)


@every_loss
def test_zero_where_student_and_teacher_agree_and_above_elsewhere(loss):
    s, t, y = logits()
    assert loss(t, t, y, 4.0).item() == pytest.approx(0, abs=1e-12)
    assert gradient(loss, t, t, y, 4.0).abs().max() < 1e-7
    assert all(loss(*logits(seed=seed), 4.0) > 0.01 for seed in range(5))


@every_loss
def test_gradient_reaches_the_student_alone(loss):
    s, t, y = logits()
    s.requires_grad_(), t.requires_grad_()
    loss(s, t, y, 2.0).backward()
    assert s.grad.abs().max() > 0
    assert t.grad is None


@every_loss
def test_the_gradient_is_that_of_the_loss(loss):
    s, t, y = logits(batch=4, classes=3)
    assert torch.autograd.gradcheck(lambda z: loss(z, t, y, 2.0), s.requires_grad_())


@every_loss
def test_the_order_of_the_batch_is_irrelevant(loss):
    s, t, y = logits()
    order = torch.randperm(len(s), generator=torch.Generator().manual_seed(1))
    assert torch.allclose(loss(s[order], t[order], y[order], 2.0), loss(s, t, y, 2.0), rtol=1e-12)


@every_loss
def test_the_order_of_the_classes_is_irrelevant(loss):
    s, t, y = logits()
    order = torch.tensor([3, 0, 4, 1, 2])
    assert torch.allclose(
        loss(s[:, order], t[:, order], order.argsort()[y], 2.0), loss(s, t, y, 2.0), rtol=1e-12
    )


@softened
def test_a_shift_of_a_samples_logits_is_irrelevant(loss):
    """A softmax takes no notice of it. Logit matching does: there only a shift of both together is
    irrelevant.
    """
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


@pytest.mark.parametrize("name", ["soft", "decoupled", "standardised"])
def test_with_t_squared_the_gradient_keeps_its_size(name):
    assert slope(LOSSES[name]) == pytest.approx(0, abs=0.1)


def test_relation_matching_needs_no_t_squared():
    assert slope(LOSSES["relation"]) == pytest.approx(0, abs=0.1)


def test_without_t_squared_the_gradient_goes_like_one_over_t_squared():
    def as_d2_wrote_it(s, t, y, T):
        return F.kl_div(F.log_softmax(s / T, 1), F.softmax(t / T, 1), reduction="batchmean")

    assert slope(as_d2_wrote_it) == pytest.approx(-2, abs=0.1)
    s, t, y = logits()
    assert torch.allclose(soft_target_loss(s, t, 5.0), 25 * as_d2_wrote_it(s, t, y, 5.0))


@pytest.mark.parametrize("temperature", [1.0, 2.0, 8.0])
def test_the_soft_target_loss_is_the_two_parts_of_dkd_added_up(temperature):
    """KD = TCKD + (1 − p_t) · NCKD, for each sample."""
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


@every_loss
@pytest.mark.parametrize("classes", [2, 10])
@pytest.mark.parametrize("temperature", [0.5, 1.0, 4.0, 100.0])
def test_finite_for_logits_of_ten_thousand(loss, classes, temperature):
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


@every_loss
def test_finite_for_two_classes_and_for_a_batch_of_one(loss):
    for s, t, y in (logits(classes=2), logits(batch=1), logits(batch=1, classes=2)):
        assert torch.isfinite(loss(s, t, y, 4.0)) and loss(s, t, y, 4.0) >= 0
        assert torch.isfinite(gradient(loss, s, t, y, 4.0)).all()


def test_with_two_classes_there_is_no_other_wrong_class():
    s, t, y = logits(classes=2)
    assert nontarget_class_loss(s, t, y, 4.0).tolist() == [0.0] * len(s)
    expected = [soft_target_loss(s[i : i + 1], t[i : i + 1], 4.0).item() for i in range(len(s))]
    assert target_class_loss(s, t, y, 4.0).tolist() == pytest.approx(expected)


@pytest.mark.parametrize("name", ["relation", "standardised"])
def test_a_student_that_gives_all_classes_the_same_gets_a_bounded_gradient(name):
    """As at the start with a last layer of zeros: no correlation, no standard deviation, and no
    division by zero.
    """
    _, t, y = logits(dtype=torch.float32)
    for value in (0.0, 3333.3):
        s = torch.full_like(t, value)
        assert gradient(LOSSES[name], s, t, y, 2.0).abs().max() < 1e4
    assert standardised_soft_target_loss(t, torch.full_like(t, 7.7), 2.0).item() < 5
    assert relation_matching_loss(torch.zeros_like(t), t).item() == pytest.approx(2 + 2)


@every_loss
def test_half_precision_logits_are_computed_with_in_float32(loss):
    """What is lost is the rounding of the logits themselves: bfloat16 keeps 8 bits."""
    s, t, y = logits(batch=64, dtype=torch.bfloat16)
    got = loss(s, t, y, 4.0)
    assert got.dtype == torch.float32
    assert torch.equal(got, loss(s.float(), t.float(), y, 4.0))
    assert torch.equal(loss(s, t.float(), y, 4.0), got)
    exact = loss(*logits(batch=64), 4.0)
    assert got.item() == pytest.approx(exact.item(), rel=0.01)


@every_loss
def test_autocast_changes_nothing_in_a_loss(loss):
    s, t, y = logits(batch=64, dtype=torch.float32)
    plain = loss(s, t, y, 4.0), gradient(loss, s, t, y, 4.0)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert torch.equal(loss(s, t, y, 4.0), plain[0])
        assert torch.equal(gradient(loss, s, t, y, 4.0), plain[1])


@every_loss
def test_large_finite_logits_whose_sum_overflows_are_not_refused(loss):
    s = torch.full((4, 4), 6e4, dtype=torch.float16)
    loss(s, s, torch.arange(4), 4.0)


@every_loss
def test_logits_that_are_not_finite_reach_the_loss(loss):
    """`fit` stops there and names whose they are."""
    s, t, y = logits()
    for broken in (float("nan"), float("inf")):
        bad = s.clone()
        bad[3, 1] = broken
        assert not torch.isfinite(loss(bad, t, y, 4.0))
        assert not torch.isfinite(loss(s, bad, y, 4.0))


@every_loss
@pytest.mark.parametrize(
    ("student", "teacher", "says"),
    [
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
    ],
)
def test_logits_that_do_not_fit_are_refused(loss, student, teacher, says):
    with pytest.raises(UsageError, match=says):
        loss(student, teacher, torch.zeros(len(student), dtype=torch.int64), 4.0)


@softened
@pytest.mark.parametrize("temperature", [0, -1.0, float("nan"), float("inf")])
def test_a_temperature_that_cannot_be_is_refused(loss, temperature):
    with pytest.raises(UsageError, match=r"temperature=.*expected a finite number above 0"):
        loss(*logits(), temperature)


@pytest.mark.parametrize(
    ("labels", "says"),
    [
        (
            torch.zeros(3, dtype=torch.int64),
            r"shape \(3,\): expected whole numbers of shape \(12,\)",
        ),
        (torch.zeros(12, 1, dtype=torch.int64), r"shape \(12, 1\)"),
        (torch.zeros(12), "torch.float32"),
        (torch.full((12,), 5), "labels from 5 to 5: expected 0 to 4"),
        (torch.arange(12) % 5 - 1, "labels from -1 to 3: expected 0 to 4"),
    ],
)
def test_labels_that_do_not_fit_are_refused(labels, says):
    s, t, _ = logits()
    for part in (target_class_loss, nontarget_class_loss):
        with pytest.raises(UsageError, match=says):
            part(s, t, labels, 4.0)
    with pytest.raises(UsageError, match=says):
        decoupled_loss(s, t, labels, 4.0, 1.0, 8.0)


# Objectives


def knowing(data, sharpness=1.0):
    """A teacher made by hand: the mean of an image tells its class, with logits that fall off with
    the distance.
    """
    level = torch.linspace(40, 200, len(data.classes))
    scaled = ((level[:, None] - torch.tensor(data.train.mean)) / torch.tensor(data.train.std)).mean(
        1
    )
    network = nn.Sequential(
        nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(len(data.channels), len(data.classes))
    )
    with torch.no_grad():
        network[2].weight[:] = sharpness * 2 * scaled[:, None] / len(data.channels)
        network[2].bias[:] = -sharpness * scaled**2
    return Teacher(network)


def small_net(channels=3, classes=3, width=8):
    return nn.Sequential(
        nn.Conv2d(channels, width, 3, padding=1),
        nn.BatchNorm2d(width),
        nn.ReLU(),
        nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),
        nn.Linear(width, classes),
    )


def fresh(seed=0):
    torch.manual_seed(seed)
    return small_net()


OBJECTIVES = {
    "ResponseKD": (ResponseKD, ("soft", "label")),
    "LogitMatching": (partial(LogitMatching, label_weight=0.5), ("logit", "label")),
    "DecoupledKD": (partial(DecoupledKD, nontarget_weight=2.0), ("target", "nontarget", "label")),
    "RelationMatchingKD": (RelationMatchingKD, ("inter", "intra", "label")),
    "StandardisedKD": (StandardisedKD, ("soft", "label")),
}
every_objective = pytest.mark.parametrize(("make", "names"), OBJECTIVES.values(), ids=OBJECTIVES)


@pytest.fixture
def seen():
    """Student's and teacher's answers to a batch, and the batch, without networks."""
    s, t, y = logits(dtype=torch.float32, classes=3)
    return (
        ForwardOutput(s),
        ForwardOutput(t),
        Batch(torch.zeros(len(y), 3, 8, 8), y, torch.arange(len(y)), epoch=0),
    )


@every_objective
def test_the_terms_are_named_and_weighted(make, names, seen, make_data):
    teacher = knowing(make_data())
    objective = make(teacher)
    terms = objective.terms(*seen)
    assert sorted(terms) == sorted(names)
    assert all(value.ndim == 0 and torch.isfinite(value) for value in terms.values())
    for name in names:
        double = {f"{name}_weight": 2 * getattr(objective, f"{name}_weight")}
        changed = make(teacher, **double).terms(*seen)
        for other in names:
            assert torch.allclose(changed[other], terms[other] * (2 if other == name else 1))
        alone = make(teacher, **{f"{other}_weight": float(other == name) for other in names}).terms(
            *seen
        )
        assert list(alone) == [name]


def test_the_terms_are_those_of_the_functions(seen, make_data):
    teacher, (student, taught, batch) = knowing(make_data()), seen
    given = student.logits, taught.logits

    def values(objective):
        return {name: value.item() for name, value in objective.terms(*seen).items()}

    label = F.cross_entropy(student.logits, batch.labels).item()
    assert values(ResponseKD(teacher)) == pytest.approx(
        {"soft": 0.9 * soft_target_loss(*given, 4).item(), "label": 0.1 * label}
    )
    assert values(LogitMatching(teacher)) == pytest.approx(
        {"logit": logit_matching_loss(*given).item()}
    )
    assert values(StandardisedKD(teacher, 3, 0.5, 0.25)) == pytest.approx(
        {"soft": 0.5 * standardised_soft_target_loss(*given, 3).item(), "label": 0.25 * label}
    )
    parts = values(DecoupledKD(teacher))
    assert parts.pop("label") == pytest.approx(label)
    assert sum(parts.values()) == pytest.approx(
        decoupled_loss(*given, batch.labels, 4.0, 1.0, 8.0).item()
    )
    parts = values(RelationMatchingKD(teacher, temperature=3, inter_weight=0.5, intra_weight=1.5))
    assert parts.pop("label") == pytest.approx(label)
    assert parts["inter"] == pytest.approx(relation_matching_loss(*given, 3, 0.5, 0).item())
    assert sum(parts.values()) == pytest.approx(relation_matching_loss(*given, 3, 0.5, 1.5).item())


def test_d2s_and_d3s_losses_as_their_code_computes_them(seen, make_data):
    teacher, (student, taught, batch) = knowing(make_data()), seen
    ce = nn.CrossEntropyLoss()(student.logits, batch.labels)

    def theirs(T):
        return nn.KLDivLoss(reduction="batchmean")(
            F.log_softmax(student.logits / T, 1), F.softmax(taught.logits / T, 1)
        )

    def total(**settings):
        return sum(ResponseKD(teacher, **settings).terms(*seen).values())

    published = total(temperature=5, soft_weight=0.75 / 25, label_weight=0.25)
    assert torch.allclose(published, 0.25 * ce + 0.75 * theirs(5))
    meant = total(temperature=5, soft_weight=0.75, label_weight=0.25)
    assert torch.allclose(meant, 0.25 * ce + 0.75 * 25 * theirs(5))
    assert torch.allclose(
        total(temperature=4, soft_weight=0.4, label_weight=0.6), 0.6 * ce + 0.4 * 16 * theirs(4)
    )
    assert torch.allclose(total(temperature=4, soft_weight=1, label_weight=0), 16 * theirs(4))


@every_objective
def test_the_temperature_may_change_while_training(make, names, seen, make_data):
    if make is not OBJECTIVES["LogitMatching"][0]:
        objective = make(knowing(make_data()))
        before = sum(objective.terms(*seen).values())
        objective.temperature = 7.0
        after = sum(objective.terms(*seen).values())
        assert not torch.allclose(before, after)
        assert torch.equal(
            after, sum(make(objective.teacher, temperature=7.0).terms(*seen).values())
        )


@every_objective
def test_the_settings_are_shown(make, names, make_data):
    objective = make(knowing(make_data()))
    for name in names:
        assert f"{name}_weight={getattr(objective, f'{name}_weight')}" in repr(objective)
    assert hasattr(objective, "temperature") == ("temperature=" in repr(objective))


@every_objective
def test_wrong_settings_are_refused(make, names, make_data):
    teacher = knowing(make_data())
    for name in names:
        for value in (-0.1, float("nan"), float("inf")):
            with pytest.raises(
                UsageError, match=f"{name}_weight={value}: expected a finite number, 0 or more"
            ):
                make(teacher, **{f"{name}_weight": value})
    with pytest.raises(UsageError, match="are 0: nothing would be learned"):
        make(teacher, **{f"{name}_weight": 0 for name in names})
    with pytest.raises(UsageError, match=r"teacher=None: .*CrossEntropy"):
        make(None)
    with pytest.raises(UsageError, match=r"teacher= is a Sequential: expected a Teacher"):
        make(small_net())
    if hasattr(make(teacher), "temperature"):
        with pytest.raises(UsageError, match="temperature=0: expected a finite number above 0"):
            make(teacher, temperature=0)


def test_label_smoothing(seen):
    student, _, batch = seen
    log_p = F.log_softmax(student.logits, 1)
    target = 0.8 * F.one_hot(batch.labels, 3) + 0.2 / 3
    got = CrossEntropy(label_smoothing=0.2).terms(student, None, batch)
    assert torch.allclose(got["label"], -(target * log_p).sum(1).mean())
    for wrong in (-0.1, 1.0, float("nan")):
        with pytest.raises(UsageError, match="label_smoothing="):
            CrossEntropy(label_smoothing=wrong)


def test_a_student_of_other_classes_than_the_teacher_is_told_of_the_label_map(make_data):
    data = make_data()
    batch = next(Batches(data.train, 8).epoch())
    with pytest.raises(
        UsageError, match=r"student_logits \(8, 2\) and teacher_logits \(8, 3\).*label_map"
    ):
        ResponseKD(knowing(data))(small_net(classes=2), batch)


OPTIONS = dict(
    epochs=15,
    batch_size=16,
    augment=None,
    optimizer=partial(adamw, lr=0.03),
    progress=False,
    device="cpu",
)


@every_objective
def test_a_student_learns_from_the_teacher_alone(make, names, make_data):
    """No label is seen, unless by the terms that need one to say which class is the target."""
    data = make_data()
    objective = make(knowing(data), label_weight=0)
    before, network = digest(objective.teacher.network), fresh()
    frame = fit(network, data, objective, **OPTIONS).frame()
    assert set(names) - {"label"} <= set(frame.columns) and "label" not in frame.columns
    assert frame["loss"].iloc[-1] < 0.7 * frame["loss"].iloc[0]
    assert frame["val_accuracy"].iloc[-1] > 65  # chance is 33
    assert digest(objective.teacher.network) == before
    assert all(p.grad is None for p in objective.teacher.network.parameters())
    assert not list(objective.parameters()) and not objective.state_dict()


@every_objective
def test_labels_and_teacher_together_are_learned_from(make, names, make_data):
    data = make_data()
    frame = fit(fresh(), data, make(knowing(data)), **OPTIONS).frame()
    assert set(names) <= set(frame.columns)
    assert frame["loss"].iloc[-1] < 0.7 * frame["loss"].iloc[0]
    assert frame["val_accuracy"].iloc[-1] > 65


@every_objective
def test_bfloat16_autocast_costs_little_precision(make, names, make_data):
    """Student and teacher under autocast, in channels_last, against float32: terms within 3 %."""
    data = make_data()
    student = fresh().to(memory_format=torch.channels_last)
    batch = next(Batches(data.train, 64, seed=0).epoch())
    exact = make(knowing(data))(student, batch)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        rough = make(knowing(data))(student, batch)
    for name in names:
        assert rough[name].dtype == torch.float32
        assert rough[name].item() == pytest.approx(exact[name].item(), rel=0.03)
        assert rough[name].item() != exact[name].item()  # else autocast was not on


def test_a_loss_that_overflows_stops_the_training_and_is_named(make_data):
    data = make_data()
    objective = LogitMatching(knowing(data, sharpness=1e30))
    with pytest.raises(TrainingError, match=r"epoch 1, batch 1: loss not finite \(logit = inf\)"):
        fit(fresh(), data, objective, **OPTIONS)


def test_the_key_of_a_recipe_follows_objective_temperature_weights_and_teacher(make_data):
    data = make_data()
    teacher, other = knowing(data), knowing(data, sharpness=5.0)
    objectives = [make for make, _ in OBJECTIVES.values()]
    variants = [partial(make, teacher) for make in objectives] + [
        partial(make, other) for make in objectives
    ]
    variants += [
        partial(ResponseKD, teacher, temperature=2.0),
        partial(ResponseKD, teacher, soft_weight=0.5),
    ]
    keys = [
        Recipe(small_net, objective, epochs=1, schedule=constant).key(data)
        for objective in variants
    ]
    assert len(set(keys)) == len(keys)
    again = Recipe(small_net, partial(ResponseKD, knowing(data)), epochs=1, schedule=constant).key(
        data
    )
    assert again == keys[0]  # the teacher counts by its weights, not by being the same object


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
@every_loss
def test_the_same_on_cuda(loss):
    s, t, y = logits()
    there = [x.cuda() for x in (s, t, y)]
    assert torch.allclose(loss(*there, 4.0).cpu(), loss(s, t, y, 4.0))
    there[0][0, 0] = float("nan")
    assert not torch.isfinite(loss(*there, 4.0))


# --- some images have no label --------------------------------------------------------------------


def test_labels_count_where_there_are_some(make_data):
    data = make_data()
    student, network = (nn.Sequential(nn.Flatten(), nn.Linear(3 * 8 * 8, 3)) for _ in range(2))
    teacher, batch = Teacher(network), next(Batches(data.train, 8).epoch())
    every = ResponseKD(teacher)(student, batch)
    assert PartlyLabelled(teacher, range(len(data.train)))(student, batch) == every
    some = PartlyLabelled(teacher, [5, 1, 70])(student, batch)
    at = torch.isin(batch.index, torch.tensor([1, 5]))
    expected = (
        0.1 / 8 * F.cross_entropy(student(batch.images)[at], batch.labels[at], reduction="sum")
    )
    torch.testing.assert_close(some["label"], expected)
    assert some["soft"] == every["soft"]
    wrong = replace(batch, labels=torch.where(at, batch.labels, 0))
    assert (
        PartlyLabelled(teacher, [1, 5])(student, wrong)["label"] == some["label"]
    )  # others are never looked at
    none = PartlyLabelled(teacher, [])(student, batch)
    assert none["label"] == 0 and sum(none.values()).requires_grad
    assert set(PartlyLabelled(teacher, [1], label_weight=0)(student, batch)) == {"soft"}
    with pytest.raises(UsageError, match="images 1 to 900"):
        PartlyLabelled(teacher, [1, 900]).prepare(student, batch, len(data.train))
