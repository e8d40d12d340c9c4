"""Losses of features against their papers, written in NumPy and in loops."""

import itertools
import math
from functools import partial

import numpy as np
import pytest
import torch
from feature_cases import (
    features,
    paper_attention,
)
from torch.nn import functional as F

from kdcourse.distillation import (
    attention_map,
    attention_transfer_loss,
    flow_loss,
    flow_matrix,
    hint_loss,
    probabilistic_transfer_loss,
    relational_angle_loss,
    relational_distance_loss,
    similarity_preserving_loss,
)


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
    triples = itertools.product(range(n), repeat=3)
    total = [huber(cosine(s, i, j, k) - cosine(t, i, j, k)) for i, j, k in triples]
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


def test_the_formula_of_the_paper_in_numpy():
    for loss, paper, tolerance in [
        (hint_loss, numpy_hint, 1e-12),
        (attention_transfer_loss, numpy_attention, 1e-12),
        (paper_attention, partial(numpy_attention, mode="paper"), 1e-12),
        (flow_loss, numpy_flow, 1e-12),
        (similarity_preserving_loss, numpy_similarity, 1e-12),
        (relational_distance_loss, numpy_distance, 1e-12),
        (relational_angle_loss, numpy_angle, 1e-12),
        (probabilistic_transfer_loss, numpy_probability, 1e-6),  # 1e-7 is added to the kernel
    ]:
        student, teacher = features(1, loss), features(2, loss)
        assert loss(student, teacher).item() == pytest.approx(
            float(paper(student.numpy(), teacher.numpy())), rel=tolerance
        )


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
