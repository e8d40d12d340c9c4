import math
from itertools import product

import numpy as np
import pytest
import torch
from torch import nn

from kdcourse.common.errors import UsageError
from kdcourse.curriculum import (
    ForgettingEvents,
    d3_difficulty,
    sample_difficulty,
    split_difficulty,
    student_loss,
    teacher_margin,
)
from kdcourse.data import Batches
from kdcourse.distillation import CachedTeacher, Teacher


def logits(count=12, classes=5, seed=0, scale=2.0):
    """Teacher's and student's logits (N, C), and labels (N,)."""
    draw = torch.Generator().manual_seed(seed)
    t, s = scale * torch.randn(2, count, classes, generator=draw)
    return t, s, torch.arange(count) % classes


def network(seed=0, classes=3, noise=0.0):
    torch.manual_seed(seed)
    return nn.Sequential(
        nn.Conv2d(3, 6, 3, padding=1),
        nn.BatchNorm2d(6),
        nn.ReLU(),
        nn.Dropout(noise),
        nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),
        nn.Linear(6, classes),
    )


# sample_difficulty


def test_d3s_difficulty_by_hand():
    """p_t = (1/2, 1/4, 1/4), p_s = (1/3, 1/3, 1/3): logits are the logarithms.

    1 − max p_t = 0.5. H = ½ ln 2 + ½ ln 4 = 1.5 ln 2 = 1.0397, over ln 3 = 1.0986: 0.9464.
    KL = Σ p ln(3p) = ln 3 − H = 0.0589, over 5: 0.0118. Total: 0.15 + 0.2839 + 0.0047 = 0.4386.
    """
    got = sample_difficulty(torch.tensor([[0.5, 0.25, 0.25]]).log(), torch.ones(1, 3))
    assert got.confidence.item() == pytest.approx(0.5)
    assert got.entropy.item() == pytest.approx(0.9464, abs=1e-4)
    assert got.divergence.item() == pytest.approx(0.0118, abs=1e-4)
    assert got.total.item() == pytest.approx(0.4386, abs=1e-4)
    assert torch.equal(
        d3_difficulty(torch.tensor([[0.5, 0.25, 0.25]]).log(), torch.ones(1, 3)), got.total
    )


def test_d3s_difficulty_as_it_is_written_sample_by_sample():
    t, s, _ = logits()
    got = sample_difficulty(t, s, weights=(0.5, 0.2, 0.3), kl_scale=2.0)
    for i in range(len(t)):
        p, q = (np.exp(z[i].double().numpy()) / np.exp(z[i].double().numpy()).sum() for z in (t, s))
        parts = (
            1 - p.max(),
            -(p * np.log(p)).sum() / np.log(5),
            min((p * np.log(p / q)).sum() / 2, 1),
        )
        assert [float(part[i]) for part in got[:3]] == pytest.approx(parts, abs=1e-6)
        assert got.total[i].item() == pytest.approx(
            0.5 * parts[0] + 0.2 * parts[1] + 0.3 * parts[2], abs=1e-6
        )


def test_the_ends_of_the_scale():
    sure, unsure = torch.tensor([[30.0, 0, 0]]), torch.zeros(1, 3)
    easy = sample_difficulty(sure, sure)
    assert [part.item() for part in easy] == pytest.approx([0, 0, 0, 0], abs=1e-6)
    # an unsure teacher: 1 − 1/3, entropy 1; the student is sure of one class: KL is about 20, cut
    # at 5
    hard = sample_difficulty(unsure, sure)
    assert [part.item() for part in hard] == pytest.approx([2 / 3, 1, 1, 0.3 * 2 / 3 + 0.3 + 0.4])


def test_finite_and_between_0_and_1_for_any_finite_logits():
    dtypes = (torch.float16, torch.float32, torch.float64)
    for classes, scale, dtype in product((2, 7), (1e-3, 1.0, 1e4), dtypes):
        t, s, _ = logits(200, classes)
        t, s = ((scale * z / 2).clamp(-1e4, 1e4).to(dtype) for z in (t, s))
        for part in sample_difficulty(t, s):
            assert part.shape == (200,) and part.dtype in (torch.float32, torch.float64)
            assert part.isfinite().all() and (part >= 0).all() and (part <= 1 + 1e-6).all()


def test_opposite_and_extreme_logits():
    t, s = torch.tensor([[1e4, -1e4]]), torch.tensor([[-1e4, 1e4]])
    assert [part.item() for part in sample_difficulty(t, s)] == pytest.approx([0, 0, 1, 0.4])


def test_a_shift_of_the_logits_is_irrelevant_and_no_gradient_is_kept():
    t, s, _ = logits()
    s.requires_grad_()
    got = sample_difficulty(t + 7, s - 3).total
    assert torch.allclose(got, sample_difficulty(t, s).total, atol=1e-5)
    assert not got.requires_grad


def test_wrong_weights_and_scale_are_refused():
    t, s, _ = logits()
    for weights in [(0.5, 0.5), (0.3, 0.3, 0.3), (-0.3, 0.9, 0.4), (math.nan, 0.5, 0.5), (1, 1, 1)]:
        with pytest.raises(
            UsageError, match=r"weights=\(.*three numbers, 0 or more, that sum to 1"
        ):
            sample_difficulty(t, s, weights=weights)
    for scale in (0, -1, math.nan, math.inf):
        with pytest.raises(UsageError, match=f"kl_scale={scale}: expected a finite number above 0"):
            sample_difficulty(t, s, kl_scale=scale)


def test_wrong_logits_are_refused():
    for scorer in [d3_difficulty, student_loss, teacher_margin]:
        labels = torch.zeros(4, dtype=torch.int64)
        for shape in [(4, 1), (4,), (4, 3, 2)]:
            with pytest.raises(UsageError, match="with two classes or more"):
                scorer(torch.zeros(shape), torch.zeros(shape), labels)
        for wrong in (math.nan, math.inf):
            with pytest.raises(UsageError, match="NaN, infinite"):
                scorer(torch.full((4, 3), wrong), torch.full((4, 3), wrong), labels)
        with pytest.raises(UsageError, match="whole numbers"):
            scorer(
                torch.zeros(4, 3, dtype=torch.int64), torch.zeros(4, 3, dtype=torch.int64), labels
            )


def test_a_teacher_of_more_classes_is_told_of_the_label_map():
    with pytest.raises(UsageError, match=r"\(4, 5\) and \(4, 3\).*label_map"):
        d3_difficulty(torch.zeros(4, 5), torch.zeros(4, 3))


# the other scorers


def test_the_students_loss_by_hand():
    """p_s(label) = 1/4 and 1/2: −ln gives 1.3863 and 0.6931."""
    z = torch.tensor([[0.5, 0.25, 0.25], [0.5, 0.25, 0.25]]).log()
    assert student_loss(None, z, torch.tensor([1, 0])).tolist() == pytest.approx(
        [1.3863, 0.6931], abs=1e-4
    )
    for labels in (torch.tensor([0, 3]), torch.tensor([-1, 0])):
        with pytest.raises(UsageError, match="expected 0 to 2"):
            student_loss(None, z, labels)
    for labels in (torch.tensor([0]), torch.tensor([0.0, 1.0])):
        with pytest.raises(UsageError, match=r"expected whole numbers of shape \(2,\)"):
            student_loss(None, z, labels)


def test_the_teachers_margin_by_hand():
    """p = (0.6, 0.3, 0.1): 1 − (0.6 − 0.3) = 0.7. A tie of the first two: 1."""
    z = torch.tensor([[0.1, 0.6, 0.3], [0.45, 0.45, 0.1]]).log()
    assert teacher_margin(z).tolist() == pytest.approx([0.7, 1.0])


def test_forgetting_events_by_hand():
    """Four samples over five epochs, 1 = right: 1 0 1 0 1 is forgotten twice, 0 0 1 1 1 never, 1 1
    1 1 0 once.

    The last, 0 0 0 0 0, is never learned: as hard as the 5 times that it was seen.
    """
    history = torch.tensor(
        [[1, 0, 1, 0, 1], [0, 0, 1, 1, 1], [1, 1, 1, 1, 0], [0, 0, 0, 0, 0]]
    ).bool()
    events = ForgettingEvents(4)
    for epoch in range(5):
        for index in (torch.tensor([2, 0]), torch.tensor([3, 1])):  # in batches, in any order
            events.update(index, history[index, epoch])
    assert events(None, None, torch.zeros(4)).tolist() == [2, 0, 1, 5]


def test_a_sample_that_was_never_seen_is_hardest():
    events = ForgettingEvents(3)
    assert events(None, None, torch.zeros(3)).tolist() == [1, 1, 1]
    for right in (True, False, True):
        events.update(np.array([1]), np.array([right]))
    assert events(None, None, torch.zeros(3)).tolist() == [3, 1, 3]


def test_forgetting_events_refuse_what_cannot_be_right():
    events = ForgettingEvents(3)
    for index, correct in [([0, 1], [True]), ([0], [1]), ([[0]], [[True]])]:
        with pytest.raises(UsageError, match="expected one bool an index"):
            events.update(np.array(index), np.array(correct))
    for index in ([0, 0], [1, 3], [-1, 1]):
        with pytest.raises(UsageError, match="different places from 0 to 2"):
            events.update(np.array(index), np.array([True, True]))
    with pytest.raises(UsageError, match="4 labels: expected 3"):
        events(None, None, torch.zeros(4))
    with pytest.raises(UsageError, match="samples=0"):
        ForgettingEvents(0)


# split_difficulty


def test_the_splits_order_whatever_the_batch_size(make_data):
    split = make_data().train
    teacher, student = Teacher(network(1)), network(2, noise=0.5)
    got = split_difficulty(split, teacher, student)
    assert got.shape == (len(split),) and got.dtype == np.float32
    assert np.allclose(split_difficulty(split, teacher, student, batch_size=7), got, atol=1e-6)
    for i in (0, 5, 31):
        alone = next(Batches(split.subset([i]), 1).epoch())
        expected = d3_difficulty(teacher(alone), student.eval()(alone.images)).item()
        assert got[i] == pytest.approx(expected, abs=1e-5)


def test_other_scorers_stand_behind_the_same_call(make_data):
    split = make_data().train
    teacher, student = Teacher(network(1)), network(2)
    events = ForgettingEvents(len(split))
    events.update(np.arange(10), np.ones(10, bool))
    answers = {
        name: split_difficulty(split, teacher, student, name)
        for name in (student_loss, teacher_margin, events)
    }
    batch = next(Batches(split, len(split)).epoch())
    assert np.allclose(answers[teacher_margin], teacher_margin(teacher(batch)), atol=1e-6)
    assert np.allclose(
        answers[student_loss],
        student_loss(None, student.eval()(batch.images), batch.labels),
        atol=1e-5,
    )
    assert answers[events].tolist() == [0] * 10 + [1] * (len(split) - 10)


def test_the_student_stays_in_its_mode_and_learns_nothing(make_data):
    teacher, student = Teacher(network(1)), network(2)
    student.train()
    student[1].eval()
    before = {name: value.clone() for name, value in student.state_dict().items()}
    split_difficulty(make_data().train, teacher, student)
    assert student.training and student[0].training and not student[1].training
    assert all(torch.equal(value, before[name]) for name, value in student.state_dict().items())
    assert all(p.grad is None for p in student.parameters())
    loss = student(
        torch.zeros(2, 3, 8, 8)
    ).sum()  # still trainable: nothing was left in inference mode
    loss.backward()


def test_kept_answers_are_used(make_data):
    split = make_data(seed=3).train
    live, cached, student = Teacher(network(1)), CachedTeacher(network(1)), network(2)
    first = split_difficulty(split, cached, student)
    computed = cached.computed
    again = split_difficulty(split, cached, student, batch_size=11)
    assert cached.computed == computed and cached.served == 2 * len(split)
    assert np.allclose(first, again, atol=1e-6)
    assert np.allclose(first, split_difficulty(split, live, student), atol=1e-2)  # half precision


def test_split_difficulty_refuses_what_cannot_be_right(make_data):
    data = make_data()
    teacher, student = Teacher(network(1)), network(2)
    with pytest.raises(UsageError, match="expected a Teacher"):
        split_difficulty(data.train, network(1), student)
    with pytest.raises(UsageError, match="empty"):
        split_difficulty(data.train.subset([]), teacher, student)
    with pytest.raises(UsageError, match="label_map"):
        split_difficulty(data.train, Teacher(network(1, classes=5)), student)
    told = dict(
        normalisation=(data.mean, data.std), student_normalisation=(data.mean + 50, data.std)
    )
    with pytest.raises(UsageError, match="student_normalisation= says"):
        split_difficulty(data.train, Teacher(network(1), **told), student)
    for wrong in (lambda t, s, y: t, lambda t, s, y: s[:, 0] * math.nan):
        with pytest.raises(UsageError, match=r"scorer= answered with shape .*expected \(72,\)"):
            split_difficulty(data.train, teacher, student, wrong)
