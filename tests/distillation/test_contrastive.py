"""The contrastive loss and its banks."""

import math

import pytest
import torch
from feature_cases import (
    a_batch,
    build,
    student,
)
from torch.nn import functional as F

from kdcourse.common.errors import UsageError
from kdcourse.distillation import (
    contrastive_loss,
    forward_with_features,
)


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


def test_contrasts_that_cannot_be():
    embeddings, bank, chosen = contrast()
    for temperature in (0, -1, float("nan")):
        with pytest.raises(UsageError, match="temperature="):
            contrastive_loss(embeddings, bank, chosen, temperature)
    with pytest.raises(UsageError, match="K of 1 or more"):
        contrastive_loss(embeddings, bank, chosen[:, :1])
    with pytest.raises(UsageError, match=r"bank \(9, 4\)"):
        contrastive_loss(embeddings, bank[:, :4], chosen)


def test_banks_of_other_data_are_not_lost(make_data):
    objective, batch = build("contrast"), a_batch(make_data())
    objective.prepare(student(), batch, 72)
    with pytest.raises(UsageError, match="'samples': 72.*'samples': 73"):
        objective.prepare(student(), batch, 73)


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
