"""Exercise 07: right answers written otherwise than the solution, and wrong ones with what they
must be told.
"""

import random
from fractions import Fraction
from itertools import permutations
from math import ceil, comb, factorial

import numpy as np
import torch
from scipy import stats

from kdcourse.evaluation import holm, paired, rank_correlation, seeds_needed
from kdcourse.exercises.ex07_fair_comparison import PILOT

# --- bootstrap_interval ---------------------------------------------------------------------------


def bootstrap(ends=(2.5, 97.5), replace=True, pairs=True):
    def bootstrap_interval(a, b):
        draws, shape = np.random.default_rng(3), (8000, len(a))
        rows = (
            draws.integers(len(a), size=shape) if replace else draws.random(shape).argsort(axis=1)
        )
        others = rows if pairs else draws.integers(len(a), size=shape)
        return tuple(np.percentile((a[rows] - b[others]).mean(axis=1), ends))

    return bootstrap_interval


def bootstrap_by_scipy(a, b):
    found = stats.bootstrap(
        (a, b), lambda x, y: np.mean(x - y), paired=True, vectorized=False, method="percentile"
    )
    return list(found.confidence_interval)


def bootstrap_by_torch(a, b):
    d = torch.from_numpy(a - b)
    means = d[torch.randint(len(d), (20_000, len(d)))].mean(1)
    return torch.quantile(means, torch.tensor([0.025, 0.975], dtype=means.dtype))


def bootstrap_by_sorting(a, b):
    differences = [x - y for x, y in zip(a, b, strict=True)]
    means = sorted(
        sum(random.choices(differences, k=len(differences))) / len(differences) for _ in range(6000)
    )
    return means[150], means[-151]


def around_the_mean(factor):
    def interval(a, b):
        d = a - b
        half = factor(len(d)) * d.std(ddof=1) / np.sqrt(len(d))
        return d.mean() - half, d.mean() + half

    return interval


def from_bootstrap(change):
    return lambda a, b: change(*bootstrap()(a, b), np.mean(a - b))


# --- holm -----------------------------------------------------------------------------------------


def corrected(factors=lambda m: np.arange(m, 0, -1), rising=True, cut=True, back=True, sort=True):
    def adjusted(p_values):
        p = np.array(p_values)
        order = p.argsort() if sort else np.arange(len(p))
        values = p[order] * factors(len(p))
        values = np.maximum.accumulate(values) if rising else values
        values = np.minimum(values, 1) if cut else values
        if not back:
            return values
        placed = np.zeros(len(p))
        placed[order] = values
        return placed

    return adjusted


def holm_by_counting(p_values):
    p = [float(value) for value in p_values]
    return [min(1.0, max(q * sum(r >= q for r in p) for q in p if q <= value)) for value in p]


def false_discovery(p_values):
    return stats.false_discovery_control(np.asarray(p_values))


def hochberg(p_values):
    p = np.asarray(p_values)
    down = p.argsort()[::-1]
    adjusted = np.empty(len(p))
    adjusted[down] = np.minimum.accumulate(p[down] * np.arange(1, len(p) + 1)).clip(max=1)
    return adjusted


# --- p_range --------------------------------------------------------------------------------------


def coin(heads, tails, sides=2):
    """Exact, by counting."""
    n = heads + tails
    if not n:
        return 1.0
    tail = sum(comb(n, k) for k in range(max(heads, tails), n + 1))
    return float(min(Fraction(1), Fraction(sides * tail, 2**n)))


def ranged(least=lambda d, c: coin(d, 0), largest=lambda d, c: coin(d + c, c), most=None):
    def p_range(images, right_a, right_b):
        d, worse = abs(right_a - right_b), min(right_a, right_b)
        wrong = images - max(right_a, right_b)
        return least(d, wrong), largest(
            d, min(wrong, worse) if most is None else most(wrong, worse, images)
        )

    return p_range


def range_by_trying(images, right_a, right_b):
    found = []
    for both in range(max(0, right_a + right_b - images), min(right_a, right_b) + 1):
        only_a, only_b = right_a - both, right_b - both
        found.append(stats.binomtest(only_a, only_a + only_b).pvalue if only_a + only_b else 1.0)
    return np.array([min(found), max(found)])


def unpaired(images, right_a, right_b):
    p = stats.fisher_exact([[right_a, images - right_a], [right_b, images - right_b]]).pvalue
    return p, p


def independent(wrong, worse, images):
    return round(wrong * worse / images)


# --- permutation_p --------------------------------------------------------------------------------


def counted(
    rank=stats.rankdata,
    counts=lambda other, observed: abs(other) >= abs(observed) - 1e-9,
    divide=True,
    drop=0,
):
    def permutation_p(x, y):
        a, b = rank(x), rank(y)
        observed = np.corrcoef(a, b)[0, 1]
        hits = (
            sum(counts(np.corrcoef(a, order)[0, 1], observed) for order in permutations(b)) - drop
        )
        return hits / factorial(len(y)) if divide else hits

    return permutation_p


def p_by_whole_numbers(x, y):
    """Sums of products of whole numbers: nothing to round."""
    n = len(x)
    a, b = [sorted(x).index(v) for v in x], [sorted(y).index(v) for v in y]
    middle = n * (n - 1) ** 2 / 4  # Σ a b of two orders that have nothing in common, on average
    observed = abs(sum(i * j for i, j in zip(a, b, strict=True)) - middle)
    orders = list(permutations(b))
    far = [
        abs(sum(i * j for i, j in zip(a, order, strict=True)) - middle) >= observed
        for order in orders
    ]
    return torch.tensor(far).double().mean()


def p_by_scipy(x, y):
    def rho(shuffled):
        return stats.spearmanr(shuffled, y).statistic

    return stats.permutation_test((x,), rho, permutation_type="pairings", n_resamples=1000).pvalue


# --- the tables -----------------------------------------------------------------------------------

SPREAD = np.std(PILOT, ddof=1)

RIGHT = {
    "bootstrap_interval": [
        bootstrap(),
        bootstrap_by_scipy,
        bootstrap_by_torch,
        bootstrap_by_sorting,
    ],
    "holm": [holm, corrected(), holm_by_counting],
    "p_range": [ranged(), range_by_trying],
    "seeds_for_gain": [
        float(seeds_needed(0.4, SPREAD)),
        torch.tensor(seeds_needed(0.4, SPREAD)),
        f"{seeds_needed(0.4, SPREAD)} seeds",
    ],
    "permutation_p": [
        counted(),
        p_by_whole_numbers,
        p_by_scipy,
        lambda x, y: rank_correlation(x, y).p,
    ],
    "claims": ["ED", ["d", "e"], "d, e", "d and e", {"d", "e"}],
}

WRONG = {
    "bootstrap_interval": [
        (bootstrap(ends=(5, 95)), "ninety", "2.5 %"),
        (bootstrap(replace=False), "no_replacement", "*with* replacement"),
        (bootstrap(pairs=False), "unpaired", "pairs belong"),
        (lambda a, b: np.percentile(a - b, [2.5, 97.5]), "raw", "resampled means"),
        (around_the_mean(lambda n: stats.t.ppf(0.975, n - 1)), "t", "t interval"),
        (around_the_mean(lambda n: 1.96), "normal", "skewed"),
        (
            lambda a, b: (lambda p: (p.mean - p.half, p.mean + p.half))(paired(a, b)),
            "t",
            "percentiles",
        ),
        (lambda a, b: bootstrap()(b, a), "reversed", "a − b"),
        (from_bootstrap(lambda low, high, mean: (high, low)), "order", "changed places"),
        (from_bootstrap(lambda low, high, mean: (mean, (high - low) / 2)), "form", "two ends"),
        (
            from_bootstrap(lambda low, high, mean: (2 * mean - high, 2 * mean - low)),
            "basic",
            "basic",
        ),
        (
            from_bootstrap(lambda low, high, mean: (low - mean, high - mean)),
            "from_zero",
            "around zero",
        ),
        (lambda a, b: bootstrap()(a, b)[1], "shape", "(2,)"),
    ],
    "holm": [
        (corrected(factors=lambda m: m), "bonferroni", "Bonferroni"),
        (corrected(factors=lambda m: m, cut=False), "bonferroni_uncut", "not cut"),
        (corrected(rising=False), "not_rising", "running maximum"),
        (corrected(cut=False), "over_one", "larger than 1"),
        (corrected(rising=False, cut=False), "neither", "Two things"),
        (corrected(back=False), "sorted", "order in which they came"),
        (corrected(sort=False), "unsorted", "*smallest*"),
        (corrected(sort=False, rising=False), "unsorted_plain", "*smallest*"),
        (corrected(factors=lambda m: np.arange(1, m + 1)), "ranks", "wrong way"),
        (hochberg, "backwards", "Hochberg"),
        (false_discovery, "false_discovery", "Benjamini"),
        (lambda p: np.asarray(p), "unchanged", "Nothing"),
        (lambda p: corrected()(p) <= 0.05, "value", "differ"),
    ],
    "p_range": [
        (lambda *given: ranged()(*given)[::-1], "order", "comes first"),
        (
            ranged(
                least=lambda d, c: coin(d, 0, sides=1), largest=lambda d, c: coin(d + c, c, sides=1)
            ),
            "one_sided",
            "either network",
        ),
        (unpaired, "unpaired", "same ones"),
        (ranged(largest=lambda d, c: 1.0), "always_one", "less than 1"),
        (ranged(least=lambda d, c: 0.0), "least_zero", "not 0"),
        (ranged(most=lambda wrong, worse, images: wrong), "not_both", "at all"),
        (ranged(most=independent), "independent", "fall apart"),
        (lambda images, a, b: ranged()(images, max(a, b), min(a, b))[0], "shape", "(2,)"),
        (lambda images, a, b: [stats.binomtest(a, a + b).pvalue] * 2, "value", "differ"),
    ],
    "seeds_for_gain": [
        (seeds_needed(0.4, np.std(PILOT)), "divided_by_n", "ddof=1"),
        (seeds_needed(0.4, SPREAD / 5**0.5), "standard_error", "differences themselves"),
        (seeds_needed(np.mean(PILOT), SPREAD), "pilot_mean", "0.4"),
        (seeds_needed(0.4, 2**0.5 * SPREAD), "two_arms", "both already"),
        (ceil(((1.96 + 0.8416) * SPREAD / 0.4) ** 2), "normal", "t is wider"),
        (seeds_needed(0.4, SPREAD, power=0.95), "power", "0.8"),
        (seeds_needed(0.4, SPREAD) + 1, "value", "too large"),
        (5, "value", "too small"),
        (19.4, "type", "whole"),
    ],
    "permutation_p": [
        (
            counted(counts=lambda other, observed: abs(other) > abs(observed) + 1e-9),
            "strict",
            "as far",
        ),
        (counted(rank=np.asarray), "values", "ranks"),
        (lambda x, y: stats.spearmanr(x, y).pvalue, "formula", "formula"),
        (lambda x, y: stats.pearsonr(x, y).pvalue, "pearson_formula", "Pearson"),
        (counted(drop=1), "not_seen", "missing"),
        (counted(divide=False), "count", "n!"),
        (lambda x, y: stats.spearmanr(x, y).statistic, "rho", "ρ itself"),
    ],
    "claims": [
        ("ade", "overall", "0.002"),
        ("bde", "hidden pairing", "899"),
        ("cde", "sign test", "6 times"),
        ("e", "too few images", "954"),
        ("d", "two changes", "epochs"),
        ("def", "mean hides", "parts"),
        ("dex", "type", "called x"),
    ],
}
