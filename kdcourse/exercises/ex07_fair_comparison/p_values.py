"""The judges of Holm's correction, of the smallest p and of a permutation test."""

from itertools import permutations

import numpy as np
import torch
from scipy import stats

from kdcourse.checking import expect
from kdcourse.checking.task import Answer, Wrong, task
from kdcourse.evaluation import comparison


@task(
    "ex07",
    title="Holm's correction",
    minutes=10,
    difficulty="medium",
    points=2,
    hints=[
        "Sort the p values. The smallest is multiplied by m, the next by m − 1, and the largest by "
        "1.",
        "Then go up from the smallest: none may be smaller than the one before "
        "(np.maximum.accumulate). And no p is larger than 1.",
        "Put them back where they were: with order = p.argsort(), adjusted[order] = those in "
        "rising order.",
    ],
)
def holm(answer: Answer, rng: torch.Generator) -> None:
    """Adjust several p values for being several."""
    for count in (6, 5, 1):
        p = _p_values(rng, count)
        expected, mistakes = comparison.holm(p), _adjusted(p)
        if count == 1:
            mistakes = {}
        value = answer(p.copy())
        came = expect.close(
            value, expected, mistakes, rtol=1e-4, atol=1e-7, of="the adjusted p values"
        )
        assert len(came) == count
    many = _p_values(rng, 6).tolist()  # a list will do too
    expect.close(
        answer(many), comparison.holm(many), _adjusted(np.array(many)), of="the adjusted p values"
    )


def _p_values(rng: torch.Generator, count: int) -> np.ndarray:
    """p values in no order, of which some need to be raised to the one before, and some to be cut
    at 1.
    """
    p = (
        [0.002, 0.0021, 0.03, 0.031, 0.6, 0.7][:count]
        if count > 5
        else [0.011, 0.012, 0.013, 0.6, 0.9][:count]
    )
    p = np.array(p) * (1 + 0.02 * torch.rand(count, generator=rng).numpy().cumsum() / count)
    order = torch.randperm(count, generator=rng).numpy()
    while count > 1 and (np.diff(p[order]) > 0).all():
        order = torch.randperm(count, generator=rng).numpy()
    return p[order]


def _adjusted(p: np.ndarray) -> dict:
    m, order = len(p), p.argsort()
    rising = p[order]

    def back(adjusted):
        placed = np.empty(m)
        placed[order] = adjusted
        return placed

    factors = np.arange(m, 0, -1)
    stepped = rising * factors
    fdr = np.minimum.accumulate((rising * m / np.arange(1, m + 1))[::-1])[::-1].clip(max=1)
    return _adjusted_mistakes(back, p, m, rising, factors, stepped, fdr)


def _adjusted_mistakes(back, p, m, rising, factors, stepped, fdr) -> dict:
    """What other corrections and slips give, by name."""
    return {
        "bonferroni": (
            (p * m).clip(max=1),
            "All are multiplied by m, which is Bonferroni's correction. Holm's factor falls: m, m "
            "− 1, …, 1.",
        ),
        "bonferroni_uncut": (
            p * m,
            "All are multiplied by m, and not cut at 1. Holm's factor falls: m, m − 1, …, 1.",
        ),
        "not_rising": (
            back(stepped.clip(max=1)),
            "A larger p has become smaller than the one before it. None may: take the running "
            "maximum.",
        ),
        "over_one": (
            back(np.maximum.accumulate(stepped)),
            "A p value is never larger than 1: cut there.",
        ),
        "neither": (
            back(stepped),
            "Two things are missing: none may be smaller than the one before it, and none larger "
            "than 1.",
        ),
        "sorted": (
            np.maximum.accumulate(stepped).clip(max=1),
            "The values are right, but sorted. Give them back in the order in which they came.",
        ),
        "unsorted": (
            np.maximum.accumulate(p * factors).clip(max=1),
            "The factors m, m − 1, … were handed out in the order given: the *smallest* p gets m.",
        ),
        "unsorted_plain": (
            (p * factors).clip(max=1),
            "The factors m, m − 1, … were handed out in the order given: the *smallest* p gets m.",
        ),
        "ranks": (
            back(np.maximum.accumulate(rising * np.arange(1, m + 1)).clip(max=1)),
            "The factors run the wrong way: m for the smallest p, 1 for the largest.",
        ),
        "false_discovery": (
            back(fdr),
            "This is Benjamini and Hochberg's: it bounds the share of false finds. Holm's bounds "
            "the chance of any.",
        ),
        "backwards": (
            back(np.minimum.accumulate(stepped[::-1])[::-1].clip(max=1)),
            "This goes down from the largest, which is Hochberg's correction. Holm's goes up from "
            "the smallest.",
        ),
        "unchanged": (p, "Nothing was corrected."),
    }


@task(
    "ex07",
    title="What two accuracies can hide",
    minutes=14,
    difficulty="hard",
    points=3,
    hints=[
        "McNemar's test asks of the images that exactly one of the two gets right. How many are "
        "these at least? At most? Their difference is known.",
        "At least: the worse network is right on no image that the better one gets wrong. At most: "
        "the two are never wrong on the same image, as far as there are images enough.",
        "With d = |right_a − right_b| the least p is that of d to 0, the largest that of d + c to "
        "c, where c is the smaller of what the better gets wrong and the worse gets right. "
        "scipy.stats.binomtest(k, n).pvalue, and 1 if n is 0.",
    ],
)
def p_range(answer: Answer, rng: torch.Generator) -> None:
    """Find the least and the largest p of McNemar's test that two accuracies allow."""
    for images, most in ((1000, 0.95), (200, 0.8), (60, 0.35), (100, 0.9)):
        better = int(images * (most - 0.05 * torch.rand((), generator=rng).item()))
        worse = better - int(torch.randint(4, 8, (), generator=rng))
        if images == 100:
            worse = better
        a, b = (better, worse) if torch.rand((), generator=rng) < 0.5 else (worse, better)
        difference, both = better - worse, min(images - better, worse)
        expected = np.array([coin_p(difference, 0), coin_p(difference + both, both)])
        beyond = images - better  # forgetting that the worse is right so often only
        table = [[a, images - a], [b, images - b]]
        mistakes = {
            "order": (expected[::-1], "The least p comes first."),
            "one_sided": (
                [coin_p(difference, 0, "greater"), coin_p(difference + both, both, "greater")],
                "This is the one-sided test: either network might have been the better one.",
            ),
            "unpaired": (
                [stats.fisher_exact(table).pvalue] * 2,
                "This test takes the two for networks on different images. They saw the same ones.",
            ),
            "always_one": (
                [expected[0], 1.0],
                "The largest p is less than 1: the difference stays, however many images they "
                "disagree on.",
            ),
            "least_zero": (
                [0.0, expected[1]],
                "The least p is not 0: so few images to one side may be chance.",
            ),
            "not_both": (
                [expected[0], coin_p(difference + beyond, beyond)],
                "The worse network cannot be right, where the better is wrong, more often than it "
                "is right at all.",
            ),
            "worse_wrong": (
                [expected[0], coin_p(images - worse, images - better - difference)],
                "Count again: the better is alone in being right d times more often than the worse "
                "is.",
            ),
            "independent": (
                [expected[0], _independent(images, better, worse)],
                "This lets their errors fall together as chance has it. The largest p has them "
                "fall apart altogether.",
            ),
        }
        value = expect.shape(answer(images, a, b), (2,), of="(least p, largest p)")
        case = f"(least p, largest p) for {a} and {b} right of {images}"
        expect.close(value, expected, mistakes, rtol=1e-3, atol=1e-9, of=case)


def coin_p(heads: int, tails: int, alternative: str = "two-sided") -> float:
    return (
        stats.binomtest(heads, heads + tails, alternative=alternative).pvalue
        if heads + tails > 0
        else 1.0
    )


def _independent(images: int, better: int, worse: int) -> float:
    alone = round(worse * (images - better) / images)
    return coin_p(alone + better - worse, alone)


@task(
    "ex07",
    title="A permutation test",
    minutes=12,
    difficulty="hard",
    points=2,
    hints=[
        "Compute ρ once for the order that was seen, and once for every other order of y: "
        "itertools.permutations(y).",
        "Count those whose |ρ| is *as large or larger*, and divide by n!. The order that was seen "
        "is one of them.",
        "Equal ρ may differ in the last digit: compare with abs(other) >= abs(seen) - 1e-9. For "
        "speed take the ranks once, and permute these.",
    ],
    seconds=15,
)
def permutation_p(answer: Answer, rng: torch.Generator) -> None:
    """Find how often chance alone ranks two quantities as alike as they are."""
    draws = np.random.default_rng(int(torch.randint(2**31, (), generator=rng)))
    for perfect in (False, False, True):
        n = 5
        x = np.exp(
            2 * draws.permutation(n) + 0.1 * draws.normal(size=n)
        )  # far from a straight line
        y = 10 * np.argsort(np.argsort(x)) + draws.normal(size=n)
        while not perfect and not _tells(x, y):
            y = draws.exponential(size=n) * 10.0 ** draws.integers(-1, 2, size=n)
        y = -y if draws.random() < 0.5 else y
        expected, mistakes = _permuted(x, y)
        value = expect.scalar(answer(x.tolist(), y.tolist()), of="p")
        strict = mistakes["strict"][0]
        if (
            strict + 1e-6 < value < expected - 1.5 / 120
            and abs(value * 120 - round(value * 120)) < 1e-6
        ):
            raise Wrong(
                f"Expected {expected:.4f} for p, got {value:.4f}. Orders that are as far from 0 as "
                "yours were lost to rounding: 0.3 and 0.30000000000000004. Compare with abs(other) "
                ">= abs(seen) - 1e-9.",
                "rounding",
            )
        expect.close(value, expected, mistakes, rtol=1e-5, of="p")


def _rho(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """Pearson's correlation of x (n,) with each row of y (…, n)."""
    x, y = x - x.mean(), y - y.mean(axis=-1, keepdims=True)
    return (y @ x) / np.sqrt((x @ x) * (y**2).sum(axis=-1))


def _shares(x: np.ndarray, y: np.ndarray) -> tuple[float, float, float]:
    """Of all orders of y: as far from 0 as that seen, as large, and farther."""
    observed, others = _rho(x, y), _rho(x, np.array(list(permutations(y))))
    as_far = np.abs(others) >= abs(observed) - 1e-9
    as_large = others >= observed - 1e-9
    return as_far.mean(), as_large.mean(), (np.abs(others) > abs(observed) + 1e-9).mean()


def _permuted(x: np.ndarray, y: np.ndarray) -> tuple[float, dict]:
    ranks = stats.rankdata(x), stats.rankdata(y)
    as_far, as_large, farther = _shares(*ranks)
    return as_far, {
        "strict": (
            farther,
            "Only orders *farther* from 0 were counted: one that is as far counts too, and so does "
            "the one seen.",
        ),
        "one_sided": (
            as_large,
            "Only orders with a ρ as large were counted: one as far *below* 0 would have been as "
            "striking.",
        ),
        "one_sided_low": (1 - as_large, "Only one side was counted: take |ρ|."),
        "values": (
            _shares(x, y)[0],
            "The values were correlated, not their ranks: Spearman's ρ is the correlation of the "
            "ranks.",
        ),
        "formula": (
            float(stats.spearmanr(x, y).pvalue),
            "This is the p that scipy gives with ρ, a formula for many points. Count the orders.",
        ),
        "pearson_formula": (
            float(stats.pearsonr(x, y).pvalue),
            "This is the p of Pearson's correlation of the values. Count the orders of the ranks.",
        ),
        "not_seen": (
            as_far - 1 / 120,
            "The order that was seen is missing: it is one of the n!, and as far from 0 as itself.",
        ),
        "count": (as_far * 120, "This is how many orders there are: divide by n!."),
        "rho": (float(stats.spearmanr(x, y).statistic), "This is ρ itself. Asked is p."),
    }


def _tells(x: np.ndarray, y: np.ndarray) -> bool:
    """Whether these points tell right from wrong: values and ranks give another p, and not an
    extreme one.
    """
    as_far, mistakes = _permuted(x, y)
    return 0.05 < as_far < 0.6 and all(
        abs(mistakes[name][0] - as_far) > 0.01 for name in ("values", "strict")
    )
