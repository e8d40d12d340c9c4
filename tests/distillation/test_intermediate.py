"""Intermediate losses against what holds on paper, and their objectives in training."""

import copy
import math
from functools import partial

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional as F

from kdcourse.common.errors import CheckpointError, TrainingError, UsageError
from kdcourse.data import Augmentation, Batches
from kdcourse.distillation import (
    AttentionBasedFusion,
    AttentionTransfer,
    Combined,
    ContrastiveKD,
    CrossEntropy,
    FitNets,
    FlowOfSolution,
    ProbabilisticTransfer,
    RelationalKD,
    ReviewKD,
    SimilarityPreserving,
    Teacher,
    attention_map,
    attention_transfer_loss,
    contrastive_loss,
    flow_loss,
    flow_matrix,
    forward_with_features,
    hint_loss,
    probabilistic_transfer_loss,
    relational_angle_loss,
    relational_distance_loss,
    review_loss,
    similarity_preserving_loss,
)
from kdcourse.models import thin_resnet
from kdcourse.training import adamw, fit
from kdcourse.training.checkpoint import digest

paper_attention = partial(attention_transfer_loss, mode="paper")
MAP_LOSSES = [
    hint_loss,
    attention_transfer_loss,
    paper_attention,
    similarity_preserving_loss,
    review_loss,
]
VECTOR_LOSSES = [relational_distance_loss, relational_angle_loss, probabilistic_transfer_loss]
LOSSES = [*MAP_LOSSES, *VECTOR_LOSSES, flow_loss]


def name(loss):
    return getattr(loss, "__name__", "attention_transfer_loss, paper")


def features(seed, loss=hint_loss, batch=6, dtype=torch.float64):
    """Maps, vectors or flow matrices, as the loss takes them."""
    shape = {flow_loss: (4, 5)}.get(loss, (4,) if loss in VECTOR_LOSSES else (4, 6, 6))
    return torch.randn(
        (batch, *shape), generator=torch.Generator().manual_seed(seed), dtype=torch.float64
    ).to(dtype)


# What each loss is on paper, in NumPy and in loops, independent of the package.


def unit(x):
    return x / np.linalg.norm(x)


def huber(x):
    return 0.5 * x**2 if abs(x) < 1 else abs(x) - 0.5


def numpy_hint(s, t):
    return ((s - t) ** 2).sum() / s.size


def numpy_attention(s, t, mode="code"):
    def q(f):
        return unit((f**2).sum(0).ravel())

    differences = [q(a) - q(b) for a, b in zip(s, t, strict=True)]
    if mode == "paper":
        return np.mean([math.sqrt((d**2).sum()) for d in differences])
    return np.mean([(d**2).sum() / len(d) for d in differences])


def numpy_flow(s, t):
    return np.mean([[(s[b] - t[b]) ** 2 for b in range(len(s))]])


def numpy_similarity(s, t):
    def gram(f):
        rows = [[float((a * b).sum()) for b in f] for a in f]
        return np.array([unit(np.array(row)) for row in rows])

    return ((gram(s) - gram(t)) ** 2).sum() / len(s) ** 2


def numpy_distance(s, t):
    def d(f):
        all_of_them = np.array([[np.linalg.norm(a - b) for b in f] for a in f])
        return all_of_them / (all_of_them.sum() / (len(f) * (len(f) - 1)))

    ds, dt = d(s), d(t)
    n = len(s)
    return sum(huber(ds[i, j] - dt[i, j]) for i in range(n) for j in range(n)) / n**2


def numpy_angle(s, t):
    def cosine(f, i, j, k):
        if i == j or k == j:
            return 0.0
        return float(unit(f[i] - f[j]) @ unit(f[k] - f[j]))

    n = len(s)
    total = [
        huber(cosine(s, i, j, k) - cosine(t, i, j, k)) for i in range(n) for j in range(n) for k in range(n)
    ]  # fmt: skip
    return sum(total) / n**3


def numpy_probability(s, t):
    def p(f):
        n = len(f)
        kernel = np.array([[0.5 * (unit(a) @ unit(b) + 1) for b in f] for a in f])
        return {
            (i, j): kernel[i, j] / sum(kernel[k, j] for k in range(n) if k != j)
            for i in range(n) for j in range(n) if i != j
        }  # fmt: skip

    ps, pt = p(s), p(t)
    return sum(pt[pair] * math.log(pt[pair] / ps[pair]) for pair in pt) / len(s) ** 2


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


@pytest.mark.parametrize(
    ("loss", "paper", "tolerance"),
    [
        (hint_loss, numpy_hint, 1e-12),
        (attention_transfer_loss, numpy_attention, 1e-12),
        (paper_attention, partial(numpy_attention, mode="paper"), 1e-12),
        (flow_loss, numpy_flow, 1e-12),
        (similarity_preserving_loss, numpy_similarity, 1e-12),
        (relational_distance_loss, numpy_distance, 1e-12),
        (relational_angle_loss, numpy_angle, 1e-12),
        (probabilistic_transfer_loss, numpy_probability, 1e-6),  # 1e-7 is added to the kernel
    ],
    ids=lambda value: name(value) if callable(value) else None,
)
def test_the_formula_of_the_paper_in_numpy(loss, paper, tolerance):
    student, teacher = features(1, loss), features(2, loss)
    assert loss(student, teacher).item() == pytest.approx(
        float(paper(student.numpy(), teacher.numpy())), rel=tolerance
    )


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


def test_the_flow_matrix_in_numpy():
    first, second = features(1), features(2)
    a, b = first.numpy(), second.numpy()
    expected = np.array([[[(x * y).sum() / 36 for y in b[n]] for x in a[n]] for n in range(len(a))])
    np.testing.assert_allclose(flow_matrix(first, second).numpy(), expected, rtol=1e-12)


def test_the_flow_matrix_max_pools_the_larger_map():
    large, small = features(1), features(2)[..., :3, :3]
    torch.testing.assert_close(
        flow_matrix(large, small), flow_matrix(F.max_pool2d(large, 2), small)
    )
    assert flow_matrix(large[:, :2], small).shape == (6, 2, 4)


def test_the_attention_map_by_hand():
    maps = torch.tensor([[[[1.0, -2.0]], [[3.0, 0.0]]]])  # (1, 2, 1, 2)
    assert attention_map(maps).tolist() == [[[10.0, 4.0]]]
    assert attention_map(maps, power=1).tolist() == [[[4.0, 2.0]]]


def test_code_and_paper_of_attention_transfer_differ_as_stated():
    student, teacher = features(1, batch=1), features(2, batch=1)
    paper, code = paper_attention(student, teacher), attention_transfer_loss(student, teacher)
    assert code.item() == pytest.approx(paper.item() ** 2 / 36, rel=1e-12)
    apart = torch.zeros(1, 1, 2, 2), torch.zeros(1, 1, 2, 2)
    apart[0][..., 0, 0], apart[1][..., 1, 1] = 1, 1  # the farthest that two attention maps can be
    assert paper_attention(*apart).item() == pytest.approx(math.sqrt(2))
    assert attention_transfer_loss(*apart).item() == pytest.approx(2 / 4)


def numpy_contrast(embeddings, bank, chosen, temperature, normaliser):
    total, ratio = 0.0, (chosen.shape[1] - 1) / len(bank)
    for v, rows in zip(embeddings, chosen, strict=True):
        h = [math.exp(v @ bank[row] / temperature) / normaliser for row in rows]
        h = [value / (value + ratio) for value in h]
        total -= math.log(h[0]) + sum(math.log(1 - value) for value in h[1:])
    return total / len(embeddings)


def contrast(seed=0, samples=9, others=4):
    generator = torch.Generator().manual_seed(seed)
    bank = F.normalize(torch.randn(samples, 5, generator=generator, dtype=torch.float64), dim=1)
    embeddings = F.normalize(torch.randn(3, 5, generator=generator, dtype=torch.float64), dim=1)
    rows = torch.tensor(
        [[0, *range(3, 3 + others)], [1, *range(4, 4 + others)], [2, *range(3, 3 + others)]]
    )
    return embeddings, bank, rows


def test_the_contrastive_loss_in_numpy():
    embeddings, bank, chosen = contrast()
    loss = contrastive_loss(embeddings, bank, chosen, 0.5, math.log(7.0))
    expected = numpy_contrast(embeddings.numpy(), bank.numpy(), chosen.numpy(), 0.5, 7.0)
    assert loss.item() == pytest.approx(expected, rel=1e-12)


def test_the_contrastive_loss_wants_the_own_sample_near_and_the_others_far():
    embeddings, bank, chosen = contrast()
    embeddings.requires_grad_()
    bank.requires_grad_()
    contrastive_loss(embeddings, bank, chosen, 0.5).backward()
    with torch.no_grad():
        down = -embeddings.grad
        assert (
            (down * bank[chosen[:, 0]])
            .sum(1)
            .gt((down[:, None] * bank[chosen[:, 1:]]).sum(2).mean(1))
            .all()
        )
    assert bank.grad is None


def test_the_contrastive_loss_does_not_know_the_order_of_the_others():
    embeddings, bank, chosen = contrast()
    turned = torch.cat([chosen[:, :1], chosen[:, 1:].flip(1)], dim=1)
    torch.testing.assert_close(
        contrastive_loss(embeddings, bank, turned), contrastive_loss(embeddings, bank, chosen)
    )
    torch.testing.assert_close(
        contrastive_loss(embeddings.flip(0), bank, chosen.flip(0)),
        contrastive_loss(embeddings, bank, chosen),
    )


# Properties


@pytest.mark.parametrize("loss", LOSSES, ids=name)
def test_zero_where_the_student_is_the_teacher_and_above_elsewhere(loss):
    student, teacher = features(1, loss), features(2, loss)
    same = student.clone().requires_grad_()
    value = loss(same, student)
    value.backward()
    assert value.item() == pytest.approx(0, abs=1e-14)
    assert same.grad.abs().max() < 1e-7  # a minimum; also finite where a norm is 0
    assert loss(student, teacher).item() > 1e-4
    assert loss(student, teacher).dim() == 0


@pytest.mark.parametrize("loss", LOSSES, ids=name)
def test_no_gradient_goes_to_the_teacher(loss):
    student, teacher = features(1, loss).requires_grad_(), features(2, loss).requires_grad_()
    loss(student, teacher).backward()
    assert teacher.grad is None
    assert student.grad.abs().sum() > 0


@pytest.mark.parametrize("loss", LOSSES, ids=name)
def test_a_step_down_the_gradient_lowers_the_loss(loss):
    student, teacher = features(1, loss).requires_grad_(), features(2, loss)
    before = loss(student, teacher)
    (gradient,) = torch.autograd.grad(before, student)
    step = 1e-3 * before.item() / gradient.pow(2).sum()
    after = loss(student - step * gradient, teacher)
    assert after.item() == pytest.approx(before.item() * (1 - 1e-3), rel=1e-4)  # to first order


@pytest.mark.parametrize("loss", LOSSES, ids=name)
def test_the_order_of_the_batch_does_not_matter(loss):
    student, teacher = features(1, loss), features(2, loss)
    order = torch.tensor([3, 0, 5, 1, 4, 2])
    torch.testing.assert_close(loss(student[order], teacher[order]), loss(student, teacher))
    assert loss(student[order], teacher).item() != pytest.approx(
        loss(student, teacher).item(), rel=1e-3
    )


@pytest.mark.parametrize("loss", LOSSES, ids=name)
def test_which_losses_depend_on_the_scale(loss):
    """Compared up to scale: attention, similarities, relations. Compared element by element: hints,
    flows, reviews.
    """
    student, teacher = features(1, loss), features(2, loss)
    scaled = loss(10 * student, 0.1 * teacher).item()
    if loss in (hint_loss, flow_loss, review_loss):
        assert scaled != pytest.approx(loss(student, teacher).item(), rel=0.5)
    else:
        assert scaled == pytest.approx(loss(student, teacher).item(), rel=1e-6)


@pytest.mark.parametrize("loss", [similarity_preserving_loss, *VECTOR_LOSSES], ids=name)
def test_a_rotation_of_the_features_changes_no_relation(loss):
    student, teacher = features(1, loss).flatten(1), features(2, loss).flatten(1)
    generator = torch.Generator().manual_seed(0)
    square = torch.randn(
        student.shape[1], student.shape[1], generator=generator, dtype=torch.float64
    )
    rotation = torch.linalg.qr(square).Q
    torch.testing.assert_close(loss(student @ rotation, teacher), loss(student, teacher))


@pytest.mark.parametrize("loss", [relational_distance_loss, relational_angle_loss], ids=name)
def test_a_shift_of_the_features_changes_no_distance_and_no_angle(loss):
    student, teacher = features(1, loss), features(2, loss)
    torch.testing.assert_close(loss(student + 3, teacher), loss(student, teacher))
    assert probabilistic_transfer_loss(student + 3, teacher) != pytest.approx(
        probabilistic_transfer_loss(student, teacher).item(), rel=1e-3
    )


@pytest.mark.parametrize(
    "loss", [similarity_preserving_loss, *VECTOR_LOSSES, attention_transfer_loss], ids=name
)
def test_other_numbers_of_channels_can_be_compared(loss):
    student, teacher = features(1, loss), features(2, loss)
    assert torch.isfinite(loss(student[:, :2], teacher))


@pytest.mark.parametrize(
    "loss", [hint_loss, attention_transfer_loss, paper_attention, review_loss], ids=name
)
def test_the_larger_map_is_pooled_to_the_smaller(loss):
    large, small = features(1), features(2)[..., :3, :3]
    pooled = F.avg_pool2d(large, 2)
    torch.testing.assert_close(loss(large, small), loss(pooled, small))
    torch.testing.assert_close(loss(small, large), loss(small, pooled))
    wide = large[..., :3, :]  # smaller in one direction, larger in the other
    assert torch.isfinite(loss(wide, large[..., :3]))


@pytest.mark.parametrize("loss", VECTOR_LOSSES, ids=name)
def test_maps_are_averaged_where_vectors_are_compared(loss):
    student, teacher = features(1), features(2)
    expected = loss(student.mean((2, 3)), teacher.mean((2, 3)))
    torch.testing.assert_close(loss(student, teacher), expected)
    torch.testing.assert_close(loss(student, teacher.mean((2, 3), keepdim=True)), expected)


@pytest.mark.parametrize("loss", LOSSES, ids=name)
@pytest.mark.parametrize("scale", [1e4, 1e-4])
def test_finite_for_large_and_small_features(loss, scale):
    student = (scale * features(1, loss, dtype=torch.float32)).requires_grad_()
    value = loss(student, scale * features(2, loss, dtype=torch.float32))
    value.backward()
    assert torch.isfinite(value) and torch.isfinite(student.grad).all()


@pytest.mark.parametrize("loss", LOSSES, ids=name)
@pytest.mark.parametrize("dead", ["student", "teacher", "both", "twins"])
def test_finite_for_dead_features_and_twins(loss, dead):
    """A layer that gives zeros, and two images with the very same features: gradients stay finite
    and moderate.
    """
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


@pytest.mark.parametrize("loss", LOSSES, ids=name)
def test_a_batch_of_one_is_finite(loss):
    """The last batch of an epoch may be that small: there are no pairs in it, and so no relation to
    learn.
    """
    student = features(1, loss, batch=1).requires_grad_()
    value = loss(student, features(2, loss, batch=1))
    value.backward()
    assert torch.isfinite(value) and torch.isfinite(student.grad).all()
    if loss in VECTOR_LOSSES:
        assert value.item() == 0


@pytest.mark.parametrize("loss", LOSSES, ids=name)
def test_nan_is_not_swallowed(loss):
    """It must reach `fit`, which stops and names the term."""
    student = features(1, loss)
    student[2].view(-1)[0] = float("nan")
    assert loss(student, features(2, loss)).isnan()


@pytest.mark.parametrize("loss", LOSSES, ids=name)
def test_bfloat16_features_within_two_per_cent(loss):
    """Eight bits of a feature are lost before the loss sees it; the loss itself is computed in
    float32.
    """
    student, teacher = features(1, loss), features(2, loss)
    half = loss(student.bfloat16(), teacher.bfloat16())
    assert half.dtype == torch.float32
    assert half.item() == pytest.approx(loss(student, teacher).item(), rel=0.02)


@pytest.mark.parametrize("loss", LOSSES, ids=name)
def test_channels_last_is_the_same(loss):
    student, teacher = features(1, loss), features(2, loss)
    if student.dim() == 4:
        turned = [f.to(memory_format=torch.channels_last) for f in (student, teacher)]
        torch.testing.assert_close(loss(*turned), loss(student, teacher))


# Errors


@pytest.mark.parametrize("loss", LOSSES, ids=name)
def test_batches_of_different_size_are_named(loss):
    with pytest.raises(UsageError, match=r"\(5, .*\(6, .*same batch"):
        loss(features(1, loss)[:5], features(2, loss))


@pytest.mark.parametrize("loss", [hint_loss, review_loss], ids=name)
def test_channels_that_differ_are_named(loss):
    with pytest.raises(UsageError, match="2 channels of the student's and 4"):
        loss(features(1)[:, :2], features(2))


def test_flow_matrices_of_different_shape_are_named():
    with pytest.raises(UsageError, match=r"\(6, 3, 5\) and \(6, 4, 5\)"):
        flow_loss(features(1, flow_loss)[:, :3], features(2, flow_loss))


@pytest.mark.parametrize(
    "loss", [hint_loss, attention_transfer_loss, review_loss, flow_matrix], ids=name
)
def test_a_vector_where_a_map_is_needed_is_named(loss):
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


def test_contrasts_that_cannot_be():
    embeddings, bank, chosen = contrast()
    for temperature in (0, -1, float("nan")):
        with pytest.raises(UsageError, match="temperature="):
            contrastive_loss(embeddings, bank, chosen, temperature)
    with pytest.raises(UsageError, match="K of 1 or more"):
        contrastive_loss(embeddings, bank, chosen[:, :1])
    with pytest.raises(UsageError, match=r"bank \(9, 4\)"):
        contrastive_loss(embeddings, bank[:, :4], chosen)


# Objectives


def teacher():
    torch.manual_seed(1)
    return Teacher(thin_resnet(8, 6, classes=3))


def student(seed=0):
    torch.manual_seed(seed)
    return thin_resnet(8, 4, classes=3, stem_stride=2)


LAYERS = ["layer1", "layer2", "layer3"]
PAIRS = [("layer1", "layer2"), ("layer2", "layer3")]
OBJECTIVES = {  # weights that a network of three layers bears; terms
    "hint": (
        partial(FitNets, student_layer="layer2", teacher_layer="layer2", hint_weight=1),
        ["hint"],
    ),
    "hint of vectors": (
        partial(FitNets, student_layer="avgpool", teacher_layer="avgpool", hint_weight=1),
        ["hint"],
    ),
    "attention": (
        partial(AttentionTransfer, student_layers=LAYERS, teacher_layers=LAYERS),
        ["attention"],
    ),
    "attention, paper": (
        partial(
            AttentionTransfer,
            student_layers=LAYERS,
            teacher_layers=LAYERS,
            attention_weight=1,
            mode="paper",
        ),
        ["attention"],
    ),
    "flow": (
        partial(FlowOfSolution, student_pairs=PAIRS, teacher_pairs=PAIRS, flow_weight=1),
        ["flow"],
    ),
    "similarity": (
        partial(SimilarityPreserving, student_layer="layer3", teacher_layer="layer3"),
        ["similarity"],
    ),
    "relational": (
        partial(RelationalKD, student_layer="avgpool", teacher_layer="layer3"),
        ["distance", "angle"],
    ),
    "probability": (
        partial(ProbabilisticTransfer, student_layer="layer3", teacher_layer="avgpool"),
        ["probability"],
    ),
    "contrast": (
        partial(
            ContrastiveKD, student_layer="avgpool", teacher_layer="fc", negatives=20, dimensions=8
        ),
        ["contrast"],
    ),
    "review": (partial(ReviewKD, student_layers=LAYERS, teacher_layers=LAYERS), ["review"]),
}
ADAPTED = ["hint", "hint of vectors", "flow", "contrast", "review"]
OPTIONS = dict(
    epochs=3, batch_size=16, augment=Augmentation("square", pad=1), seed=3, progress=False, device="cpu",
    optimizer=partial(adamw, lr=1e-2),
)  # fmt: skip


def build(kind, of=None, **weights):
    return OBJECTIVES[kind][0](of or teacher(), **weights)


def a_batch(data, size=8):
    return next(Batches(data.train, size, seed=0).epoch())


@pytest.mark.parametrize("kind", OBJECTIVES)
def test_each_objective_trains(make_data, kind):
    """Its own term falls, the teacher stays, and the student learns the labels on the way."""
    guide, objective_terms = teacher(), OBJECTIVES[kind][1]
    before = digest(guide.network)
    objective = build(kind, guide)
    history = fit(student(), make_data(), objective, **{**OPTIONS, "epochs": 6}).frame()
    assert {*objective_terms, "label", "loss"} <= set(history.columns)
    total = history[[*objective_terms, "label"]].sum(axis=1)
    assert np.allclose(total, history["loss"], rtol=1e-5)
    own = history[objective_terms].sum(axis=1)
    assert own.iloc[-1] < own.iloc[0]
    assert digest(guide.network) == before and not guide.network.training


@pytest.mark.parametrize("kind", OBJECTIVES)
def test_bfloat16_terms_are_near_those_of_float32(make_data, kind):
    """The networks' own error in bfloat16: the losses and adapters are computed in float32. Within
    5 %.
    """
    objective, batch, pupil = build(kind), a_batch(make_data()), student()
    objective.prepare(pupil, batch, 72)
    pupil.eval()
    objective.eval()
    terms = []
    for enabled in (False, True):
        torch.manual_seed(5)
        with torch.no_grad(), torch.autocast("cpu", dtype=torch.bfloat16, enabled=enabled):
            terms.append(objective(pupil, batch))
    for term, value in terms[0].items():
        assert terms[1][term].dtype == torch.float32
        assert terms[1][term].item() == pytest.approx(value.item(), rel=0.05)


@pytest.mark.parametrize("kind", OBJECTIVES)
def test_gradients_go_to_student_and_adapters_only(make_data, kind):
    objective, batch, pupil = build(kind, label_weight=0), a_batch(make_data()), student()
    objective.prepare(pupil, batch, 72)
    sum(objective(pupil, batch).values()).backward()
    assert pupil.conv1.weight.grad.abs().sum() > 0
    assert all(p.grad is None for p in objective.teacher.network.parameters())
    adapters = list(objective.parameters())
    assert bool(adapters) == (kind in ADAPTED)
    assert all(p.grad is not None for p in adapters)
    assert sum(p.grad.abs().sum() for p in adapters) > 0 or not adapters


@pytest.mark.parametrize("kind", ADAPTED)
def test_adapters_are_trained(make_data, kind):
    objective, data = build(kind), make_data()
    made = []
    prepare = objective.prepare

    def watched(*arguments):
        prepare(*arguments)
        made.extend(p.detach().clone() for p in objective.parameters())

    objective.prepare = watched
    fit(student(), data, objective, **{**OPTIONS, "epochs": 2})
    assert made and all(
        not torch.equal(a, b) for a, b in zip(made, objective.parameters(), strict=True)
    )


@pytest.mark.parametrize("kind", OBJECTIVES)
def test_a_weight_of_zero_leaves_the_term_out(make_data, kind):
    terms, batch, pupil = OBJECTIVES[kind][1], a_batch(make_data()), student()
    weights = {"hint of vectors": "hint"}.get(kind, terms[0])
    objective = build(kind, **{f"{weights}_weight": 0})
    objective.prepare(pupil, batch, 72)
    assert list(objective(pupil, batch)) == [*terms[1:], "label"]
    objective = build(kind, label_weight=0)
    objective.prepare(pupil, batch, 72)
    assert list(objective(pupil, batch)) == terms


@pytest.mark.parametrize("kind", OBJECTIVES)
def test_weights_weigh(make_data, kind):
    batch, pupil = a_batch(make_data()), student().eval()
    weights = {
        f"{term}_weight": weight
        for weight, term in enumerate([*OBJECTIVES[kind][1], "label"], start=2)
    }
    values = []
    for factor in (1, 3):
        torch.manual_seed(2)
        objective = build(kind, **{key: factor * weight for key, weight in weights.items()})
        objective.prepare(pupil, batch, 72)
        torch.manual_seed(3)
        values.append(objective(pupil, batch))
    for term, value in values[0].items():
        assert values[1][term].item() == pytest.approx(3 * value.item(), rel=1e-5)
    expected = weights["label_weight"] * F.cross_entropy(pupil(batch.images), batch.labels)
    assert values[0]["label"].item() == pytest.approx(expected.item(), rel=1e-5)


@pytest.mark.parametrize("kind", ["attention", "similarity", "relational", "probability"])
def test_a_student_that_is_the_teacher_has_nothing_to_learn(make_data, kind):
    guide = teacher()
    layer = {"relational": "layer3", "probability": "layer3"}.get(kind)
    objective = build(
        kind, guide, **(dict(student_layer=layer, teacher_layer=layer) if layer else {})
    )
    for term, value in objective(guide.network, a_batch(make_data())).items():
        assert term == "label" or value.item() == pytest.approx(0, abs=1e-4)


def test_a_flow_between_equal_channels_needs_no_adapter(make_data):
    guide, batch = teacher(), a_batch(make_data())
    objective = build("flow", guide, label_weight=0)
    twin = copy.deepcopy(guide.network)
    objective.prepare(twin, batch, 72)
    assert not list(objective.parameters())
    assert objective(twin, batch)["flow"].item() == 0


@pytest.mark.parametrize("kind", ADAPTED)
def test_without_prepare_it_is_said(make_data, kind):
    with pytest.raises(
        UsageError, match=r"no adapters yet: .*fit, or call prepare\(student, batch, samples\)"
    ):
        build(kind)(student(), a_batch(make_data()))


@pytest.mark.parametrize("kind", [kind for kind in OBJECTIVES if kind not in ADAPTED])
def test_without_adapters_there_is_nothing_to_prepare(make_data, kind):
    assert build(kind)(student(), a_batch(make_data()))


@pytest.mark.parametrize("kind", ADAPTED)
def test_a_second_prepare_keeps_what_was_trained(make_data, kind):
    data, objective = make_data(), build(kind)
    pupil, batch = student(), a_batch(data)
    fit(pupil, data, objective, **{**OPTIONS, "epochs": 2})
    before = digest(objective)
    objective.prepare(pupil, batch, len(data.train))
    assert digest(objective) == before
    torch.manual_seed(0)
    with pytest.raises(UsageError, match="adapters would be lost. Make a new objective"):
        objective.prepare(thin_resnet(8, 5, classes=3), batch, len(data.train))
    assert digest(objective) == before


def test_banks_of_other_data_are_not_lost(make_data):
    objective, batch = build("contrast"), a_batch(make_data())
    objective.prepare(student(), batch, 72)
    with pytest.raises(UsageError, match="'samples': 72.*'samples': 73"):
        objective.prepare(student(), batch, 73)


@pytest.mark.parametrize("kind", OBJECTIVES)
def test_the_dry_run_leaves_student_and_mode_alone(make_data, kind):
    pupil, objective = student(), build(kind)
    before = digest(pupil)
    pupil.train()
    objective.prepare(pupil, a_batch(make_data()), 72)
    assert digest(pupil) == before and pupil.training and objective.training
    assert all(p.grad is None for p in pupil.parameters())
    assert not any(module._forward_hooks for module in pupil.modules())


@pytest.mark.parametrize("kind", OBJECTIVES)
def test_a_stopped_run_goes_on_to_the_same_bits(make_data, tmp_path, kind):
    """With adapters, their optimiser state, batch norms and banks. Five batches an epoch: stopped
    in the second.
    """
    data, file = make_data(), tmp_path / "run.pt"
    whole, pupil = build(kind), student()
    expected = fit(pupil, data, whole, **OPTIONS).frame().drop(columns="seconds")

    stopped, forward, steps = build(kind), type(whole).forward, iter(range(1, 100))

    def until(*arguments):
        if next(steps) == 8:
            raise KeyboardInterrupt
        return forward(stopped, *arguments)

    stopped.forward = until
    with pytest.raises(KeyboardInterrupt):
        fit(student(), data, stopped, checkpoint=file, **OPTIONS)
    again, resumed = build(kind), student(seed=99)
    history = fit(resumed, data, again, checkpoint=file, **OPTIONS)
    assert history.frame().drop(columns="seconds").equals(expected)
    assert digest(resumed) == digest(pupil) and digest(again) == digest(whole)


def test_a_checkpoint_of_other_adapters_is_refused(make_data, tmp_path):
    file = tmp_path / "run.pt"
    fit(student(), make_data(), build("hint"), checkpoint=file, **OPTIONS)
    other = FitNets(teacher(), "layer3", "layer3", hint_weight=1)
    with pytest.raises(
        CheckpointError, match="belongs to another run: objective was FitNets.*layer2"
    ):
        fit(student(), make_data(), other, checkpoint=file, **OPTIONS)


@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
@pytest.mark.parametrize("kind", OBJECTIVES)
def test_a_last_batch_of_one(make_data, kind, precision):
    data = make_data(
        size=16
    )  # so that no map of the student is 1×1: its own batch norm would need two images
    history = fit(
        student(), data, build(kind), **{**OPTIONS, "batch_size": 71, "precision": precision}
    )  # 72 images
    assert np.isfinite(history.frame()["loss"]).all()


def test_combined_runs_each_network_once_a_batch(make_data):
    guide, pupil, runs = teacher(), student(), {"student": 0, "teacher": 0}
    parts = [
        CrossEntropy(),
        build("hint", guide, label_weight=0),
        build("relational", guide, label_weight=0),
    ]
    objective, batch = Combined(parts, [1, 2, 3]), a_batch(make_data())
    objective.prepare(pupil, batch, 72)
    alone = [part(pupil.eval(), batch) for part in parts]

    def count(who):
        def hook(*_):
            runs[who] += 1

        return hook

    pupil.register_forward_hook(count("student"))
    guide.network.register_forward_hook(count("teacher"))
    terms = objective(pupil, batch)
    assert runs == {"student": 1, "teacher": 1}
    assert list(terms) == ["label", "hint", "distance", "angle"]
    for weight, part in zip((1, 2, 3), alone, strict=True):
        for term, value in part.items():
            torch.testing.assert_close(terms[term], weight * value)


def test_combined_trains_the_adapters_of_its_parts(make_data):
    guide = teacher()
    parts = [build("hint", guide), build("contrast", guide, label_weight=0)]
    objective = Combined(parts, [1, 1])
    history = fit(student(), make_data(), objective, **{**OPTIONS, "epochs": 8}).frame()
    assert history["hint"].iloc[-1] < history["hint"].iloc[0]
    assert any("student_bank" in entry for entry in objective.state_dict())


def test_nan_from_the_teacher_stops_training_and_names_the_term(make_data):
    guide = teacher()
    objective, data = build("hint", guide), make_data()
    with torch.no_grad():
        guide.network.layer2[0].conv1.weight.fill_(float("nan"))
    with pytest.raises(TrainingError, match="epoch 1, batch 1: loss not finite .*hint = nan"):
        fit(student(), data, objective, **OPTIONS)


# The contrast's banks


def test_banks_hold_what_was_seen_last(make_data):
    objective, pupil, batch = build("contrast", momentum=0.25), student(), a_batch(make_data())
    objective.prepare(pupil, batch, 72)
    assert objective.student_bank.shape == objective.teacher_bank.shape == (72, 8)
    before = objective.student_bank.clone()
    torch.testing.assert_close(before.norm(dim=1), torch.ones(72))
    pupil.eval()
    pooled = pupil.avgpool(
        pupil.layer3(pupil.layer2(pupil.layer1(pupil.relu(pupil.bn1(pupil.conv1(batch.images))))))
    )
    new = F.normalize(objective.student_embedding(pooled.flatten(1)), dim=1)
    objective(pupil, batch)
    expected = before.clone()
    expected[batch.index] = F.normalize(0.25 * before[batch.index] + 0.75 * new, dim=1)
    torch.testing.assert_close(objective.student_bank, expected)
    assert not objective.student_bank.requires_grad
    objective.eval()
    kept = objective.student_bank.clone()
    objective(pupil, batch)
    assert torch.equal(objective.student_bank, kept)


def test_negatives_are_other_samples_evenly_drawn(make_data):
    objective, batch = build("contrast", negatives=5000), a_batch(make_data())
    objective.prepare(student(), batch, 72)
    objective.student_bank = objective.student_bank[
        :6
    ]  # six samples: few enough to count, and five others
    index = torch.tensor([0, 3, 5]).repeat(2000)
    chosen = objective._choose(index)
    assert chosen.shape == (6000, 6)  # no more than there are others
    assert torch.equal(chosen[:, 0], index)
    assert not (chosen[:, 1:] == index[:, None]).any()
    counts = torch.bincount(chosen[index == 3][:, 1:].flatten(), minlength=6)
    assert counts[3] == 0 and (counts[counts > 0] - 2000).abs().max() < 5 * math.sqrt(2000)


def test_the_normaliser_makes_the_scores_one_on_average(make_data):
    """Z = N · mean e^{v·w/τ}, so that h starts out near 1/N of the samples' mass, as the code has
    it.
    """
    objective, batch, pupil = build("contrast"), a_batch(make_data()), student()
    objective.prepare(pupil, batch, 72)
    pupil.eval()
    with torch.no_grad():
        v = F.normalize(objective.teacher_embedding(objective.teacher(batch)), dim=1)
    scores = torch.exp(v @ objective.student_bank.T / objective.temperature)
    assert objective.log_normalisers[1].item() == pytest.approx(
        math.log(72 * scores.mean()), abs=1e-4
    )


def test_each_network_is_held_against_the_others_bank(make_data):
    objective, pupil, batch = (
        build("contrast", contrast_weight=1, label_weight=0),
        student().eval(),
        a_batch(make_data()),
    )
    objective.prepare(pupil, batch, 72)
    objective.eval()
    torch.manual_seed(0)
    with torch.no_grad():
        loss = objective(pupil, batch)["contrast"]
        pooled = (
            forward_with_features(pupil, batch.images, ["avgpool"]).features["avgpool"].flatten(1)
        )
        v = F.normalize(objective.student_embedding(pooled), dim=1)
        w = F.normalize(objective.teacher_embedding(objective.teacher(batch)), dim=1)
        torch.manual_seed(0)
        chosen = objective._choose(batch.index)
        z = objective.log_normalisers
        expected = contrastive_loss(v, objective.teacher_bank, chosen, 0.07, z[0])
        expected += contrastive_loss(w, objective.student_bank, chosen, 0.07, z[1])
    torch.testing.assert_close(loss, expected)


def test_banks_need_two_samples(make_data):
    with pytest.raises(UsageError, match="two or more"):
        build("contrast").prepare(student(), a_batch(make_data()), 1)


# Fusion


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


# Construction


@pytest.mark.parametrize("kind", OBJECTIVES)
def test_a_plain_network_is_no_teacher(kind):
    with pytest.raises(UsageError, match=r"expected a Teacher.*Teacher\(network\)"):
        OBJECTIVES[kind][0](student())
    with pytest.raises(UsageError, match="hand in Teacher"):
        OBJECTIVES[kind][0](None)


@pytest.mark.parametrize("kind", OBJECTIVES)
@pytest.mark.parametrize("weight", [-1.0, float("nan"), float("inf")])
def test_weights_that_cannot_be_are_named(kind, weight):
    for term in (*OBJECTIVES[kind][1], "label"):
        with pytest.raises(UsageError, match=f"{term}_weight="):
            build(kind, **{f"{term}_weight": weight})


def test_all_weights_zero():
    with pytest.raises(UsageError, match="hint_weight and label_weight are 0"):
        build("hint", hint_weight=0, label_weight=0)


def test_an_unknown_layer_of_the_teacher_is_said_at_once():
    with pytest.raises(
        UsageError, match="unknown layer of ThinResNet 'layer9'. Did you mean .*layer"
    ):
        FitNets(teacher(), "layer1", "layer9")


def test_an_unknown_layer_of_the_student_is_said_before_training(make_data):
    class Watched(FitNets):
        def forward(self, *_):
            raise AssertionError("training began")

    with pytest.raises(
        UsageError, match="unknown layer of ThinResNet 'layr2'. Did you mean layer2"
    ):
        fit(student(), make_data(), Watched(teacher(), "layr2", "layer2"), **OPTIONS)


@pytest.mark.parametrize(
    ("wrong", "names"),
    [
        (
            partial(AttentionTransfer, student_layers=LAYERS, teacher_layers=["layer1"]),
            "a teacher's for each",
        ),
        (partial(AttentionTransfer, student_layers=[], teacher_layers=[]), "one or more"),
        (partial(FlowOfSolution, student_pairs=LAYERS, teacher_pairs=PAIRS), "pairs of layers"),
        (
            partial(FlowOfSolution, student_pairs=PAIRS, teacher_pairs=[("layer1",)]),
            "pairs of layers",
        ),
        (
            partial(ContrastiveKD, student_layer="fc", teacher_layer="fc", negatives=0),
            "negatives=0",
        ),
        (
            partial(ContrastiveKD, student_layer="fc", teacher_layer="fc", temperature=0),
            "temperature=0",
        ),
        (
            partial(ContrastiveKD, student_layer="fc", teacher_layer="fc", momentum=1.0),
            "momentum=1.0",
        ),
    ],
)
def test_arguments_that_cannot_be_are_named(wrong, names):
    with pytest.raises(UsageError, match=names):
        wrong(teacher())


@pytest.mark.parametrize("kind", ["hint", "attention", "flow", "review"])
def test_a_vector_for_a_map_is_said_before_training(make_data, kind):
    vectors = {
        "hint": dict(student_layer="fc", teacher_layer="fc"),
        "flow": dict(student_pairs=[("layer1", "fc")], teacher_pairs=[("layer1", "fc")]),
    }.get(kind, dict(student_layers=["layer1", "fc"], teacher_layers=["layer1", "fc"]))
    with pytest.raises(UsageError, match=r"\(2, 3\): expected maps"):
        fit(student(), make_data(), build(kind, **vectors), **OPTIONS)


def test_one_layer_may_be_named_without_a_list(make_data):
    objective = AttentionTransfer(teacher(), "layer1", "layer1")
    assert objective.student_layers == ("layer1",)


def test_the_printed_form_says_what_is_compared(make_data):
    objective, data = build("hint"), make_data()
    objective.prepare(student(), a_batch(data), 72)
    assert objective.extra_repr() == (
        "layer2(8, 2, 2) → layer2(12, 4, 4) pooled to 2×2, hint_weight=1, label_weight=1"
    )
    banks = build("contrast")
    banks.prepare(student(), a_batch(data), 72)
    assert "2 banks of (72, 8)" in repr(banks)


@pytest.mark.parametrize("kind", ADAPTED)
def test_the_teacher_is_in_no_checkpoint_of_an_objective(make_data, kind):
    objective = build(kind)
    objective.prepare(student(), a_batch(make_data()), 72)
    assert objective.state_dict() and not any(
        entry.startswith("teacher.") for entry in objective.state_dict()
    )
    assert isinstance(objective.teacher, Teacher) and isinstance(objective, nn.Module)


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
@pytest.mark.parametrize("kind", OBJECTIVES)
def test_the_same_code_on_cuda(make_data, kind):
    history = fit(student(), make_data(), build(kind), **{**OPTIONS, "device": "cuda"})
    assert history.device == "cuda" and len(history.records) == 3
