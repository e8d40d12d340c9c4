"""Simulations whose truth is known: how often the intervals hold it, as the docstrings say."""

import math

import numpy as np
import pytest
from scipy import stats

from kdcourse.evaluation import mcnemar, paired, rank_correlation, seeds_needed

pytestmark = [pytest.mark.filterwarnings("error"), pytest.mark.slow]


def outcomes(both, only_a, only_b, neither):
    """Booleans of two networks with these counts."""
    kinds = np.repeat(
        [[True, True], [True, False], [False, True], [False, False]],
        [both, only_a, only_b, neither],
        axis=0,
    )
    return kinds[:, 0], kinds[:, 1]


DRAW = dict(
    normal=lambda rng, shape: rng.normal(size=shape),
    skewed=lambda rng, shape: rng.exponential(size=shape) - 1,
)


@pytest.mark.parametrize(
    ("shape", "n", "t", "bootstrap"),  # the table in the docstring of `paired`
    [
        ("normal", 3, 95, 76),
        ("normal", 5, 94, 84),
        ("normal", 10, 94, 90),
        ("skewed", 5, 88, 77),
    ],
)
def test_coverage_over_few_seeds(shape, n, t, bootstrap):
    repeats = 2000
    differences = DRAW[shape](np.random.default_rng(0), (repeats, n))  # their true mean is 0
    results = [paired(row, np.zeros(n), resamples=1000) for row in differences]
    held_t = 100 * np.mean([abs(result.mean) <= result.half for result in results])
    held_bootstrap = 100 * np.mean(
        [result.bootstrap[0] <= 0 <= result.bootstrap[1] for result in results]
    )
    for held, documented in ((held_t, t), (held_bootstrap, bootstrap)):
        # the rounding, and three standard errors: another generator may draw other samples
        assert held == pytest.approx(
            documented, abs=0.5 + 3 * math.sqrt(documented * (100 - documented) / repeats)
        )


@pytest.mark.parametrize("chances", [[0.70, 0.12, 0.08, 0.10], [0.90, 0.03, 0.02, 0.05]])
def test_mcnemar_interval_covers(chances):
    repeats, truth = 1000, 100 * (chances[1] - chances[2])
    counts = np.random.default_rng(0).multinomial(300, chances, size=repeats)
    held = np.mean(
        [
            low <= truth <= high
            for low, high in (mcnemar(*outcomes(*row)).interval for row in counts)
        ]
    )
    assert held == pytest.approx(0.95, abs=3 * math.sqrt(0.95 * 0.05 / repeats))


@pytest.mark.parametrize(("gain", "confidence"), [(0.6, 0.95), (1.1, 0.9), (2.5, 0.99)])
def test_seeds_needed_by_simulation(gain, confidence):
    n, repeats = seeds_needed(gain, 1.0, 0.8, confidence), 20_000
    rng = np.random.default_rng(0)
    powers = [
        np.mean(
            stats.ttest_1samp(rng.normal(gain, 1, (repeats, k)), 0, axis=1).pvalue < 1 - confidence
        )
        for k in (n - 1, n)
    ]
    error = 3 * math.sqrt(0.8 * 0.2 / repeats)
    assert powers[0] < 0.8 + error and powers[1] > 0.8 - error


@pytest.mark.parametrize("n", [5, 10])
# Pearson's r of normals: Spearman's ρ is 6/π · arcsin(r/2), 0 and 0.81
@pytest.mark.parametrize("r", [0.0, 0.822])
def test_rank_correlation_interval_covers(n, r):
    repeats, truth = 800, 6 / math.pi * math.asin(r / 2)
    rng = np.random.default_rng(0)
    x = rng.normal(size=(repeats, n))
    y = r * x + math.sqrt(1 - r**2) * rng.normal(size=(repeats, n))
    intervals = np.array(
        [rank_correlation(*pair, resamples=9).interval for pair in zip(x, y, strict=True)]
    )
    intervals = intervals[~np.isnan(intervals[:, 0])]
    held = np.mean((intervals[:, 0] <= truth) & (truth <= intervals[:, 1]))
    assert held > 0.95 - 3 * math.sqrt(0.95 * 0.05 / len(intervals))
