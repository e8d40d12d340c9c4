"""Comparisons against SciPy and worked examples from the literature.

The simulations of `test_comparison_coverage.py` take minutes; here a short one of each keeps watch.
"""

import math
from itertools import permutations, product

import numpy as np
import pandas as pd
import pytest
import torch
from scipy import stats

from kdcourse.common.errors import UsageError
from kdcourse.evaluation import (
    holm,
    in_words,
    main_effects,
    mcnemar,
    mean_interval,
    paired,
    paired_interval,
    rank_correlation,
    seeds_needed,
)

pytestmark = pytest.mark.filterwarnings("error")


def test_paired_as_scipy():
    a, b = [90.0, 85.0, 88.0, 91.5], [89.1, 84.0, 86.9, 91.7]
    result = paired(a, b)
    expected = stats.ttest_rel(a, b)
    assert (result.mean, result.half) == paired_interval(a, b)
    assert (result.p, result.n) == (pytest.approx(expected.pvalue), 4)
    assert (result.mean - result.half > 0) == (result.p < 0.05)
    low, high = result.bootstrap
    assert -0.2 < low < result.mean < high < 1.1
    assert paired(a, b) == result != paired(a, b, resamples=50, seed=1)
    narrow = paired(a, b, 0.5)
    assert narrow.half < result.half and low < narrow.bootstrap[0] < narrow.bootstrap[1] < high


def test_three_seeds_bootstrap_from_the_least_to_the_largest():
    # all three draws are the least with probability 1/27, which is more than 2.5 %
    assert paired([1.0, 2.0, 5.0], [0.0, 0.0, 0.0]).bootstrap == (1, 5)


def test_an_interval_in_words():
    for gain, half, words in [
        (1.5, 1.4, "a gain"),
        (-1.5, 1.4, "a loss"),
        (1.5, 1.6, "no gain and no loss"),
        (-1.5, 1.5, "no gain and no loss"),
        (1.5, float("nan"), "nothing shown"),  # one seed
        (1.5, 1e-15, "nothing shown"),  # equal differences
    ]:
        assert in_words(gain, half).startswith(words)


def test_where_nothing_can_be_said():
    one = paired([90.0], [88.5])
    assert one.mean == 1.5 and np.isnan([one.half, *one.bootstrap, one.p]).all()
    two = paired([90.0, 91.0], [88.0, 88.0])  # t(1) = 12.706
    assert two.half == pytest.approx(12.706 * 0.5, abs=1e-3) and two.p == pytest.approx(
        0.1257, abs=1e-4
    )
    assert np.isnan(two.bootstrap).all()
    equal = paired([84.3, 90.1, 71.2], [84.2, 90.0, 71.1])  # but for rounding
    assert (equal.mean, equal.half) == pytest.approx((0.1, 0), abs=1e-9)
    assert np.isnan([equal.p, *equal.bootstrap]).all()


def test_paired_of_nonsense():
    for a, b in [([1, 2], [1]), ([], []), ([1.0, math.nan], [1.0, 2.0])]:
        with pytest.raises(UsageError, match="same seeds|finite number"):
            paired(a, b)


def outcomes(both, only_a, only_b, neither):
    """Booleans of two networks with these counts."""
    kinds = np.repeat(
        [[True, True], [True, False], [False, True], [False, False]],
        [both, only_a, only_b, neither],
        axis=0,
    )
    return kinds[:, 0], kinds[:, 1]


def test_mcnemar_as_bonett_and_as_scipy():
    # R's statpsych, by D. G. Bonett: ci.prop.ps(.05, 12, 4, 26, 6) gives 0.2548067 to 0.6251933
    result = mcnemar(*outcomes(both=6, only_a=26, only_b=4, neither=12))
    assert result.interval == pytest.approx((25.48067, 62.51933), abs=1e-5)
    assert (result.only_a, result.only_b, result.n) == (26, 4, 48)
    assert result.difference == pytest.approx(100 * 22 / 48)
    assert result.p == pytest.approx(stats.binomtest(26, 30).pvalue)
    swapped = mcnemar(*outcomes(both=6, only_a=4, only_b=26, neither=12))
    assert swapped.interval == pytest.approx(
        (-62.51933, -25.48067), abs=1e-5
    ) and swapped.p == pytest.approx(result.p)


def test_mcnemar_by_hand():
    # 1 against 7: 2 · (1 + 8) / 2⁸
    assert mcnemar(*outcomes(1, 1, 7, 12)).p == pytest.approx(18 / 256)
    same = mcnemar(torch.tensor([True, False]), torch.tensor([True, False]))
    assert (same.difference, same.p) == (0, 1) and same.interval[0] < 0 < same.interval[1]
    assert mcnemar([True], [False]).interval[1] <= 100


def test_mcnemar_of_nonsense():
    for a, b in [
        ([True], [True, False]),
        ([1, 0], [1, 0]),
        ([], []),
        ([[True]], [[True]]),
        ([True], [0.5]),
    ]:
        with pytest.raises(UsageError, match="expected booleans"):
            mcnemar(a, b)


def test_short_simulations_hold_the_truth():
    """95 % of the intervals hold it, within three standard errors of 150 repeats."""
    rng, repeats = np.random.default_rng(0), 150
    differences = rng.normal(size=(repeats, 5))
    results = [paired(row, np.zeros(5), resamples=100) for row in differences]
    held = [np.mean([abs(result.mean) <= result.half for result in results])]
    counts = rng.multinomial(300, [0.70, 0.12, 0.08, 0.10], size=repeats)
    intervals = [mcnemar(*outcomes(*row)).interval for row in counts]
    held.append(np.mean([low <= 4 <= high for low, high in intervals]))
    assert held == pytest.approx([0.95] * 2, abs=3 * math.sqrt(0.95 * 0.05 / repeats))


def test_holm_by_hand():
    # 0.005 · 4, 0.01 · 3, 0.03 · 2, then 0.04 · 1, which may not fall under the 0.06 before it
    assert holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])
    assert holm([0.5, 0.6]) == pytest.approx([1, 1])
    assert holm([0.2]) == pytest.approx([0.2]) and len(holm([])) == 0


def test_holm_of_nonsense():
    for p, message in [
        ([0.1, math.nan], r"p_values\[1\] = nan"),
        ([1.2], r"p_values\[0\] = 1.2"),
        (0.1, "a sequence"),
    ]:
        with pytest.raises(UsageError, match=message):
            holm(p)


def test_seeds_needed_as_published():
    for gain, spread, power, n in [
        (
            10,
            10 * math.sqrt(2),
            0.85,
            20,
        ),  # Dalgaard, Introductory Statistics with R, section 8.3: n = 19.97
        (5, 5, 0.8, 10),  # UCLA, Power analysis for paired sample t-test with G*Power, example 1
        (-5, 5, 0.8, 10),
        (1, 0, 0.8, 2),
        (1000, 1, 0.8, 2),
    ]:
        assert seeds_needed(gain, spread, power) == n


def test_seeds_needed_of_nonsense():
    for arguments, message in [
        ((0, 1), "gain=0"),
        ((math.nan, 1), "gain=nan"),
        ((1, -1), "spread=-1"),
        ((1, 1, 80), "power=80"),
        ((1, 1, 0.8, 95), "confidence=95"),
        ((1e-4, 1), "not even 1,000,000 seeds"),
    ]:
        with pytest.raises(UsageError, match=message):
            seeds_needed(*arguments)


def test_rank_correlation_as_bonett():
    # R's statpsych, by D. G. Bonett: ci.spear(.05, y, x)
    y = [21, 4, 9, 12, 35, 18, 10, 22, 24, 1, 6, 8, 13, 16, 19]
    x = [67, 28, 30, 28, 52, 40, 25, 37, 44, 10, 14, 20, 28, 40, 51]
    result = rank_correlation(x, y, resamples=999)
    assert result.rho == pytest.approx(0.8699639, abs=1e-7)
    assert result.interval == pytest.approx((0.5840951, 0.9638297), abs=1e-7)
    assert (result.p, result.n) == (
        pytest.approx(2 / 1000),
        15,
    )  # no order of 999 comes near: the least p that there is


def test_rank_correlation_counts_every_order():
    for y in [[2, 1, 4, 3, 5], [1, 2, 2, 5, 4], [5, 4, 3, 1, 2]]:
        x = [1, 2, 3, 4, 5]
        result = rank_correlation(x, y)
        every = np.array([stats.spearmanr(x, order).statistic for order in permutations(y)])
        tail = min(np.mean(every >= result.rho - 1e-9), np.mean(every <= result.rho + 1e-9))
        assert result.rho == pytest.approx(stats.spearmanr(x, y).statistic)
        assert result.p == pytest.approx(2 * tail)


def test_rank_correlation_of_very_few():
    five, three = (
        rank_correlation([1, 2, 3, 4, 5], [1, 4, 9, 16, 25]),
        rank_correlation([1, 2, 3], [3, 1, 2]),
    )
    assert (
        five.rho == pytest.approx(1)
        and five.p == pytest.approx(2 / 120)
        and np.isnan(five.interval).all()
    )
    assert three.rho == pytest.approx(-0.5) and np.isnan(three.interval).all()


def test_rank_correlation_of_nonsense():
    for x, y in [([1, 2], [1]), ([1], [1]), ([1, 2, 3], [4, 4, 4]), ([1, 2, 3], [1, 2, math.nan])]:
        with pytest.raises(UsageError, match="finite pairs|cannot be ranked"):
            rank_correlation(x, y)


def factorial(seeds=3, **factors):
    """A row for each combination and seed, its accuracy 0."""
    rows = [
        dict(zip(factors, levels, strict=True), seed=s)
        for s in range(seeds)
        for levels in product(*factors.values())
    ]
    return pd.DataFrame(rows).assign(accuracy=0.0)


def test_main_effects_as_box_hunter_and_hunter():
    # the pilot plant of Statistics for Experimenters, chapter 5: temperature changes fastest
    plant = factorial(1, catalyst=["A", "B"], concentration=[20, 40], temperature=[160, 180])
    plant["yield"] = [60, 72, 54, 68, 52, 83, 45, 80]
    result = main_effects(plant, ["temperature", "concentration", "catalyst"], "yield").set_index(
        "effect"
    )
    assert result.points.to_dict() == {
        "temperature: 160 → 180": 23,
        "concentration: 20 → 40": -5,
        "catalyst: A → B": 1.5,
        "temperature × concentration": 1.5,
        "temperature × catalyst": 10,
        "concentration × catalyst": 0,
        "temperature × concentration × catalyst": 0.5,
    }
    assert result[["± 95 %", "p", "p (Holm)"]].isna().all(axis=None) and (result.seeds == 1).all()


def test_main_effects_find_what_was_put_in():
    table = factorial(4, distillation=[True, False], stem=["small", "large"])
    gain = {0: 2.0, 1: 3.0, 2: 2.5, 3: 2.9}  # of distillation, by seed
    together = {0: 0.4, 1: -0.3, 2: 0.2, 3: 0.1}  # what both give beyond the sum
    large = table.stem == "large"
    table["accuracy"] = 80 + 5 * table.seed  # what a seed does to all runs cancels out
    table["accuracy"] += table.distillation * table.seed.map(gain) + 1.5 * large
    table["accuracy"] += (table.distillation & large) * table.seed.map(together)
    result = main_effects(table, ["distillation", "stem"], confidence=0.9).set_index("effect")
    assert list(result) == ["points", "± 90 %", "p", "p (Holm)", "seeds"]
    assert list(result.index) == [
        "distillation: off → on",
        "stem: small → large",
        "distillation × stem",
    ]
    half = np.array(list(together.values())) / 2
    expected = [np.array(list(gain.values())) + half, 1.5 + half, half]
    for (_, row), effects in zip(result.iterrows(), expected, strict=True):
        assert (row.points, row["± 90 %"]) == pytest.approx(mean_interval(effects, 0.9))
        assert row.p == pytest.approx(stats.ttest_1samp(effects, 0).pvalue)
    assert result["p (Holm)"].to_numpy() == pytest.approx(holm(result.p))
    shuffled = main_effects(
        table.sample(frac=1, random_state=0), ["distillation", "stem"]
    ).set_index("effect")
    assert shuffled.points["distillation: off → on"] == pytest.approx(
        result.points["distillation: off → on"]
    )


def test_one_factor_is_a_paired_comparison():
    table = factorial(3, teacher=["none", "good"])
    table["accuracy"] = [80.0, 82.0, 81.0, 82.5, 79.0, 82.0]
    (row,) = main_effects(table, ["teacher"]).itertuples(index=False)
    expected = paired([82.0, 82.5, 82.0], [80.0, 81.0, 79.0])
    assert (row.points, row[2], row.p, row[4]) == pytest.approx(
        (expected.mean, expected.half, expected.p, expected.p)
    )


def test_main_effects_without_a_spread_have_no_p():
    table = factorial(3, a=[False, True], b=[0, 1])
    table["accuracy"] = table.a * 1.0 + table.b * table.seed
    result = main_effects(table, ["a", "b"])
    assert result.p.isna().tolist() == [True, False, True]
    assert result["p (Holm)"][1] == pytest.approx(
        min(1, 3 * result.p[1])
    )  # one of three all the same


def test_main_effects_of_an_incomplete_table():
    table = factorial(2, a=[False, True], b=["x", "y"])
    with pytest.raises(UsageError, match="1 of 8 .* seed=1, a=True, b=x, there 0 times"):
        main_effects(table.drop(index=6), ["a", "b"])
    with pytest.raises(UsageError, match="1 of 8 .* seed=0, a=False, b=y, there 2 times"):
        main_effects(pd.concat([table, table[1:2]]), ["a", "b"])
    with pytest.raises(UsageError, match="'a' has the levels .*: expected two"):
        main_effects(table[table.a], ["a", "b"])
    with pytest.raises(UsageError, match=r"lacks the columns \['fold', 'c'\]"):
        main_effects(table, ["a", "c"], block="fold")
    with pytest.raises(UsageError, match="no column twice"):
        main_effects(table, ["a", "a"])
    with pytest.raises(UsageError, match="expected factors"):
        main_effects(table, [])
    for broken in (
        table.assign(accuracy="high"),
        table.assign(accuracy=np.inf),
        table.assign(b=["x", None] * 4),
    ):
        with pytest.raises(UsageError, match="finite numbers only"):
            main_effects(broken, ["a", "b"])
