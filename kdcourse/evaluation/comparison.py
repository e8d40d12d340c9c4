"""Which of two is better, how sure one can be of it, and how many seeds it takes."""

from bisect import bisect_left
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations
from math import nan

import numpy as np
import pandas as pd

from kdcourse.common.errors import UsageError
from kdcourse.evaluation.metrics import checked_confidence, mean_interval, paired_interval

ROUNDING = 1e-9  # points: values that differ by less are equal
MOST_SEEDS = 1_000_000


@dataclass(frozen=True)
class Paired:
    """The difference a − b of two methods over seeds, in points."""

    mean: float
    half: float  # half the width of the t interval: mean ± half
    bootstrap: tuple[float, float]  # percentile bootstrap interval of the mean
    p: float  # paired t test, two-sided
    n: int  # seeds


def paired(
    a: Sequence[float],
    b: Sequence[float],
    confidence: float = 0.95,
    *,
    resamples: int = 10_000,
    seed: int = 0,
) -> Paired:
    """Compare two methods seed by seed: a[i] and b[i] are the accuracies (%) of seed i.

    The t interval is `paired_interval`'s and p its test; both assume differences that are roughly
    normal. The bootstrap draws the n differences again with replacement, `resamples` times, and
    takes the middle 95 % of the means (Efron & Tibshirani 1993, chapter 13). It assumes no
    distribution, but with few seeds it is too narrow: with 3 it runs from the least difference to
    the largest. How often an interval "of 95 %" held the true mean in 2,000 simulated comparisons
    (tests/evaluation/test_comparison.py; standard error 1 point or less):

        seeds, differences     3, normal   5, normal   10, normal   5, skewed (exponential)
        t interval                  95 %        94 %         94 %                      88 %
        bootstrap                   76 %        84 %         90 %                      77 %

    So trust the t interval at 10 seeds or fewer, and neither much where the differences are skewed.
    One seed has no interval and two have no bootstrap: nan. Differences that are all equal have
    half = 0, and nan for
    the rest: look whether the seeds really differ.

    Raises UsageError if a and b differ in length, are empty or not finite.
    """
    from scipy import stats

    mean, half = paired_interval(a, b, confidence)
    differences = np.asarray(np.subtract(a, b), dtype=float)
    low = high = nan
    if len(differences) > 2 and np.ptp(differences) > ROUNDING:
        low, high = stats.bootstrap(
            (differences,),
            np.mean,
            n_resamples=resamples,
            confidence_level=confidence,
            method="percentile",
            random_state=np.random.default_rng(seed),
        ).confidence_interval
    return Paired(mean, half, (float(low), float(high)), _t_test(differences), len(differences))


def in_words(gain: float, half: float) -> str:
    """What an interval gain ± half says: a gain, a loss, or neither.

    half: nan for one seed; 0 for equal differences, which know no more of their spread than one.
    """
    if not half > ROUNDING:
        return "nothing shown: no spread to make an interval of"
    if gain > half:
        return "a gain: the interval lies above zero"
    if gain < -half:
        return "a loss: the interval lies below zero"
    return "no gain and no loss shown: the interval includes zero"


def _t_test(values: np.ndarray) -> float:
    """Two-sided p value of the t test that the mean is 0. Without spread, as for a single value:
    nan.
    """
    from scipy import stats

    return float(stats.ttest_1samp(values, 0).pvalue) if np.ptp(values) > ROUNDING else nan


@dataclass(frozen=True)
class McNemar:
    """Two networks on the same test samples."""

    only_a: int  # samples that a alone gets right: b in McNemar's table
    only_b: int  # samples that b alone gets right: c in McNemar's table
    difference: float  # accuracy of a − accuracy of b, points
    interval: tuple[float, float]  # points
    p: float  # exact, two-sided
    n: int  # samples


def mcnemar(
    correct_a: Sequence[bool], correct_b: Sequence[bool], confidence: float = 0.95
) -> McNemar:
    """Compare two networks on one test set (McNemar 1947, in its exact form).

    correct_a, correct_b: (N,) booleans, whether each network is right, in the same order of
    samples. Where both are right or both wrong they do not differ. If neither were better, each of
    the other samples would fall to either side
    like a coin: p is the binomial test of only_a among only_a + only_b; without such samples it is
      1.

    The interval is the adjusted Wald interval of Bonett & Price (2012), recommended by Fagerland,
    Lydersen & Laake (2014): with p_a = (only_a + 1) / (N + 2) and p_b alike, p_a − p_b ± z √((p_a +
    p_b − (p_a − p_b)²) / (N + 2)). It lies a little towards 0 from the difference, and on the
    border it may disagree with p.

    It speaks of these two networks on other samples. Other seeds give other networks: for methods
    use `paired`.

    Raises UsageError unless both are booleans of the same length, 1 or more.
    """
    from scipy import stats

    a, b = np.asarray(correct_a), np.asarray(correct_b)
    if not (a.dtype == b.dtype == bool and a.ndim == 1 and a.shape == b.shape and a.size):
        raise UsageError(
            f"correct_a {a.dtype}{a.shape} and correct_b {b.dtype}{b.shape}: expected booleans "
            "(N,) over the same samples, for example logits.argmax(1) == labels"
        )
    n, only_a, only_b = len(a), int((a & ~b).sum()), int((b & ~a).sum())
    p_a, p_b = (only_a + 1) / (n + 2), (only_b + 1) / (n + 2)
    half = stats.norm.ppf(0.5 + checked_confidence(confidence) / 2) * np.sqrt(
        (p_a + p_b - (p_a - p_b) ** 2) / (n + 2)
    )
    interval = 100 * np.clip([p_a - p_b - half, p_a - p_b + half], -1, 1)
    p = stats.binomtest(only_a, only_a + only_b).pvalue if only_a + only_b else 1.0
    return McNemar(
        only_a, only_b, 100 * (only_a - only_b) / n, tuple(interval.tolist()), float(p), n
    )


def holm(p_values: Sequence[float]) -> np.ndarray:
    """p values adjusted for looking at several at once, in the order given (Holm 1979).

    The smallest of m is multiplied by m, the next by m − 1 and so on; none becomes smaller than the
    one before, nor larger than 1. Calling those at or under 0.05 real is then wrong anywhere in at
    most 5 % of such families.

    Raises UsageError that names the place if a value is not between 0 and 1 (NaN is not).
    """
    p = np.asarray(p_values, dtype=float)
    if p.ndim != 1:
        raise UsageError(f"p_values of shape {p.shape}: expected a sequence of numbers")
    bad = np.flatnonzero(~((p >= 0) & (p <= 1)))
    if len(bad):
        raise UsageError(
            f"p_values[{bad[0]}] = {p[bad[0]]}: expected a number from 0 to 1; leave out what has "
            "no p"
        )
    # statsmodels has this correction too, but nothing else here needs statsmodels
    order, adjusted = p.argsort(), np.empty_like(p)
    adjusted[order] = np.maximum.accumulate(p[order] * np.arange(len(p), 0, -1)).clip(max=1)
    return adjusted


def seeds_needed(gain: float, spread: float, power: float = 0.8, confidence: float = 0.95) -> int:
    """How many common seeds a paired t test needs to see a gain, in points, with this probability
    (the power).

    spread: standard deviation of the differences over seeds, in points. With n seeds t follows the
    noncentral t distribution with n − 1 degrees of freedom and noncentrality √n · |gain| / spread
    (as in G*Power, Faul et al. 2007); the power is its share beyond the two-sided test's critical
    value, on the side of the gain. The answer is the least n ≥ 2 that has it. A spread from a few
    pilot seeds is itself uncertain, and so is the answer.

    Raises UsageError for a gain of 0, a negative spread, a power or confidence outside 0 to 1, or
    if a million seeds do not suffice.
    """
    from scipy import stats

    if not (np.isfinite(gain) and gain):
        raise UsageError(
            f"gain={gain}: expected the smallest gain worth seeing, in points and not 0"
        )
    if not (np.isfinite(spread) and spread >= 0):
        raise UsageError(
            f"spread={spread}: expected the standard deviation of the differences, in points"
        )
    if not 0 < power < 1:
        raise UsageError(f"power={power}: expected a number between 0 and 1, for example 0.8")
    checked_confidence(confidence)
    if spread == 0:
        return 2

    def power_of(n: int) -> float:
        critical = stats.t.ppf(0.5 + confidence / 2, n - 1)
        return stats.nct.sf(critical, n - 1, np.sqrt(n) * abs(gain) / spread)

    numbers = range(2, MOST_SEEDS + 1)
    place = bisect_left(numbers, power, key=power_of)  # the power grows with n
    if place == len(numbers):
        raise UsageError(
            f"gain={gain} at spread={spread}: not even {MOST_SEEDS:,} seeds would show it"
        )
    return numbers[place]


@dataclass(frozen=True)
class RankCorrelation:
    """Whether two quantities rank a few things alike."""

    rho: float  # Spearman's, −1 to 1
    interval: tuple[float, float]
    p: float  # permutation test, two-sided
    n: int


def rank_correlation(
    x: Sequence[float],
    y: Sequence[float],
    confidence: float = 0.95,
    *,
    resamples: int = 50_000,
    seed: int = 0,
) -> RankCorrelation:
    """Spearman's rank correlation of x and y (n,), for few points, such as one a data set.

    Interval: tanh(artanh ρ ± z √((1 + ρ²/2) / (n − 3))) (Bonett & Wright 2000). With n ≤ 3 or |ρ| =
      1 the formula says nothing: nan. In simulations of normal x and y with n of 5 and 10 and ρ of
      0 and 0.81, the intervals that it gave held the true ρ in 95 % of cases or more
      (tests/evaluation/test_comparison.py).

    p: how often x in another order has a ρ as far from 0. Exact while there are no more than
    `resamples` orders, so by default to n = 8 (8! = 40,320); otherwise from that many random ones.
    Few points cannot give a small p: at best 2/n!, which is 0.083 for n = 4 and 0.017 for n = 5.

    Raises UsageError unless x and y are equally many finite numbers, at least 2, and neither is
    constant.
    """
    from scipy import stats

    x, y = np.asarray(x, dtype=float), np.asarray(y, dtype=float)
    if x.ndim != 1 or x.shape != y.shape or len(x) < 2 or not np.isfinite([x, y]).all():
        raise UsageError(f"x={x.tolist()}, y={y.tolist()}: expected two or more finite pairs")
    if np.ptp(x) == 0 or np.ptp(y) == 0:
        raise UsageError(f"x={x.tolist()}, y={y.tolist()}: equal values cannot be ranked")
    z = stats.norm.ppf(0.5 + checked_confidence(confidence) / 2)
    n, rho, ranks = len(x), float(stats.spearmanr(x, y).statistic), stats.rankdata(y)
    low = high = nan
    if n > 3 and abs(rho) < 1 - ROUNDING:
        half = z * np.sqrt((1 + rho**2 / 2) / (n - 3))
        low, high = np.tanh(np.arctanh(rho) - half), np.tanh(np.arctanh(rho) + half)
    test = stats.permutation_test(
        (stats.rankdata(x),),
        lambda shuffled, axis: (shuffled * ranks).sum(axis),  # grows with ρ
        permutation_type="pairings",
        vectorized=True,
        n_resamples=resamples,
        random_state=np.random.default_rng(seed),
    )
    return RankCorrelation(rho, (float(low), float(high)), float(test.pvalue), n)


def main_effects(
    table: pd.DataFrame,
    factors: Sequence[str],
    value: str = "accuracy",
    block: str = "seed",
    confidence: float = 0.95,
) -> pd.DataFrame:
    """What each of several changes gives, and what they give together, from all 2^k combinations in
    each block.

    table: one row per run, with the columns `factors` (two levels each), `value` (%) and `block`,
    each combination once a block. A factor's first level is the one that appears first in the
    table, or False; the second counts as +, the first as −. The sign of an interaction is the
    product of its factors' signs. An effect is the mean of the runs with + less the mean of those
    with − (Box, Hunter & Hunter 2005, chapter 5). So that of a factor is its gain, averaged over
    the others; that of a × b is half of how much more b gives with a than without.

    Returns one row per effect: factors first, then pairs, and so on. "points" is the mean over the
    blocks, each of which gives one figure; "± 95 %" half the width of its t interval; p that of its
    t test, nan for one block or equal figures; "p (Holm)" is adjusted over all rows.

    Raises UsageError for a column that is missing or has missing values, a factor without two
    levels, or combinations that are missing or there twice, and names them.
    """
    values, levels = _checked_design(table, factors, value, block)
    signs = {
        factor: np.where(table[factor] == second, 1, -1) for factor, (_, second) in levels.items()
    }
    rows = []
    for size in range(1, len(factors) + 1):
        for group in combinations(factors, size):
            sign = np.prod([signs[factor] for factor in group], axis=0)
            sums = (values * sign).groupby(table[block]).sum().to_numpy()
            effects = sums / 2 ** (len(factors) - 1)
            name = (
                " × ".join(group)
                if size > 1
                else "{}: {} → {}".format(*group, *map(_shown, levels[group[0]]))
            )
            rows.append([name, *mean_interval(effects, confidence), _t_test(effects), len(effects)])
    columns = ["effect", "points", f"± {100 * confidence:g} %", "p", "seeds"]
    result = pd.DataFrame(rows, columns=columns)
    # an effect without a p still counts as one that was looked at
    result.insert(4, "p (Holm)", np.where(result.p.isna(), nan, holm(result.p.fillna(1))))
    return result


def _checked_design(
    table: pd.DataFrame, factors: Sequence[str], value: str, block: str
) -> tuple[pd.Series, dict[str, list]]:
    """The column `value` as numbers, and each factor's two levels. Raises as `main_effects`."""
    design = [block, *factors]
    absent = [name for name in [*design, value] if name not in table]
    if absent:
        raise UsageError(f"the table lacks the columns {absent}; it has {list(table)}")
    if len(design) < 2 or len({*design, value}) <= len(design):
        raise UsageError(
            f"factors={factors}, value={value!r}, block={block!r}: expected factors, and no column "
            "twice"
        )
    values = pd.to_numeric(table[value], errors="coerce")
    if not np.isfinite(values).all() or table[design].isna().any(axis=None):
        raise UsageError(
            f"column {value!r} must hold finite numbers only, and {design} must have no missing "
            "values"
        )
    levels = {factor: _levels(table[factor]) for factor in factors}
    cells = pd.MultiIndex.from_product([table[block].unique(), *levels.values()], names=design)
    counts = table.groupby(design, observed=True).size().reindex(cells, fill_value=0)
    if (counts != 1).any():
        first = counts[counts != 1]
        named = ", ".join(
            f"{name}={level}" for name, level in zip(cells.names, first.index[0], strict=True)
        )
        raise UsageError(
            f"{len(first)} of {len(cells)} combinations are not there exactly once. The first: "
            f"{named}, there {first.iloc[0]} times. Run what is missing, and drop what is there "
            "twice"
        )
    return values, levels


def _levels(column: pd.Series) -> list:
    levels = column.unique().tolist()
    if len(levels) != 2:
        raise UsageError(f"factor {column.name!r} has the levels {levels}: expected two")
    return sorted(levels) if all(isinstance(level, bool) for level in levels) else levels


def _shown(level) -> str:
    return {True: "on", False: "off"}[level] if isinstance(level, bool) else str(level)
