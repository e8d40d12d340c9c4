"""Checks of exercise 07: a fair comparison."""

from itertools import permutations

import numpy as np
import torch
from scipy import stats

from kdcourse.checking import expect
from kdcourse.checking.task import Answer, Wrong, task
from kdcourse.evaluation import comparison
from kdcourse.experiments import cifar10

PILOT = (0.1, 1.3, 0.6, -0.2, 0.9)  # gains of five seeds, points (made up)
WORTH = 0.4  # points: the gain that is looked for
CLASS_IMAGES = 1000  # CIFAR-10's test set has so many images of each class
D2_EPOCHS = {"student with KD": 10, "student without": 5}


@task(
    "ex07",
    title="A bootstrap interval by hand",
    minutes=10,
    difficulty="medium",
    points=2,
    hints=[
        "What is drawn again are the *differences*, seed by seed, with replacement, as many as "
        "there are seeds.",
        "rng.integers(n, size=(10_000, n)) are 10,000 draws of n places. Take the mean of each "
        "row.",
        "np.percentile(means, [2.5, 97.5]) are the ends of the middle 95 %.",
    ],
    seconds=10,
)
def bootstrap_interval(answer: Answer, rng: torch.Generator) -> None:
    """Find the 95 % percentile bootstrap interval of a paired gain."""
    draws = np.random.default_rng(int(torch.randint(2**31, (), generator=rng)))
    for seeds in (12, 15):
        places = (np.arange(seeds) + 0.5) / seeds
        gains = -np.log(1 - places) + 0.05 * draws.normal(
            size=seeds
        )  # skewed, as an interval ± would not be
        gains = 1.5 * draws.permutation(gains) - 1
        b = 70 + 6 * draws.normal(size=seeds)
        a = b + gains
        expected, mistakes = _bootstraps(a, b, draws)
        tolerance = (
            0.2 * gains.std(ddof=1) / np.sqrt(seeds)
        )  # six times what 10,000 resamples leave to chance
        value = expect.finite(
            expect.shape(answer(a, b), (2,), of="(low, high)"), of="(low, high)"
        ).numpy()
        if np.abs(value - expected).max() <= tolerance:
            continue
        said = f"Expected about ({expected[0]:.2f}, {expected[1]:.2f}), got ({value[0]:.2f}, {value[1]:.2f})."
        away = {fault: np.abs(value - instead).max() for fault, (instead, _) in mistakes.items()}
        nearest = min(away, key=away.get)
        if away[nearest] <= max(
            tolerance, 0.06 * np.ptp(mistakes[nearest][0])
        ):  # a wide one has more luck in it
            raise Wrong(f"{mistakes[nearest][1]} {said}", nearest)
        raise Wrong(f"{said} The mean gain is {gains.mean():.2f}.", "value")


def _bootstraps(
    a: np.ndarray, b: np.ndarray, draws: np.random.Generator
) -> tuple[np.ndarray, dict]:
    gains, n = a - b, len(a)
    rows = draws.integers(n, size=(20_000, n))
    means, ends = gains[rows].mean(axis=1), [2.5, 97.5]
    apart = a[rows].mean(axis=1) - b[draws.integers(n, size=rows.shape)].mean(axis=1)
    low, high = np.percentile(means, ends)
    middle, error = gains.mean(), gains.std(ddof=1) / np.sqrt(n)
    t = stats.t.ppf(0.975, n - 1) * error
    return np.array([low, high]), {
        "raw": (
            np.percentile(gains, ends),
            "These are percentiles of the differences: take those of resampled means.",
        ),
        "resampled_raw": (
            np.percentile(gains[rows].ravel(), ends),
            "These are percentiles of single resampled differences: take the mean of each resample "
            "first.",
        ),
        "ninety": (
            np.percentile(means, [5, 95]),
            "This is the middle 90 %: 95 % leaves 2.5 % on either side.",
        ),
        "no_replacement": (
            np.array([middle, middle]),
            "Each resample has the same mean: it holds every difference once. Draw *with* "
            "replacement.",
        ),
        "unpaired": (
            np.percentile(apart, ends),
            "The two arms were drawn apart from each other. Draw seeds, that is differences: their "
            "pairs belong "
            "together.",
        ),
        "t": (
            np.array([middle - t, middle + t]),
            "This is the t interval. The bootstrap's ends are percentiles.",
        ),
        "normal": (
            np.array([middle - 1.96 * error, middle + 1.96 * error]),
            "This is mean ± 1.96 s/√n, the same to both sides. These differences are skewed: take "
            "the percentiles.",
        ),
        "from_zero": (
            np.percentile(means - middle, ends),
            "The mean was taken away: the interval lies around zero.",
        ),
        "reversed": (
            np.array([-high, -low]),
            "The sign is the other way round: the gain is a − b.",
        ),
        "basic": (
            np.array([2 * middle - high, 2 * middle - low]),
            "This is the interval turned round its mean (the basic bootstrap): asked are the "
            "percentiles themselves.",
        ),
        "order": (np.array([high, low]), "Low and high have changed places."),
        "form": (
            np.array([middle, (high - low) / 2]),
            "This is the mean and half the width: asked are the two ends.",
        ),
    }


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
        "(np.maximum.accumulate). And no p is "
        "larger than 1.",
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
        "these at least? At "
        "most? Their difference is known.",
        "At least: the worse network is right on no image that the better one gets wrong. At most: "
        "the two are never "
        "wrong on the same image, as far as there are images enough.",
        "With d = |right_a − right_b| the least p is that of d to 0, the largest that of d + c to "
        "c, where c is the "
        "smaller of what the better gets wrong and the worse gets right. scipy.stats.binomtest(k, "
        "n).pvalue, and 1 "
        "if n is 0.",
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
        expected = np.array([_coin(difference, 0), _coin(difference + both, both)])
        beyond = images - better  # forgetting that the worse is right so often only
        table = [[a, images - a], [b, images - b]]
        mistakes = {
            "order": (expected[::-1], "The least p comes first."),
            "one_sided": (
                [_coin(difference, 0, "greater"), _coin(difference + both, both, "greater")],
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
                [expected[0], _coin(difference + beyond, beyond)],
                "The worse network cannot be right, where the better is wrong, more often than it "
                "is right at all.",
            ),
            "worse_wrong": (
                [expected[0], _coin(images - worse, images - better - difference)],
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
        said = f"(least p, largest p) for {a} and {b} right of {images}"
        expect.close(value, expected, mistakes, rtol=1e-3, atol=1e-9, of=said)


def _coin(heads: int, tails: int, alternative: str = "two-sided") -> float:
    return (
        stats.binomtest(heads, heads + tails, alternative=alternative).pvalue
        if heads + tails > 0
        else 1.0
    )


def _independent(images: int, better: int, worse: int) -> float:
    alone = round(worse * (images - better) / images)
    return _coin(alone + better - worse, alone)


@task(
    "ex07",
    title="How many seeds?",
    minutes=5,
    difficulty="easy",
    points=1,
    hints=[
        "The notebook's section 2 asks the same: `seeds_needed(gain, spread)`.",
        "The spread is the standard deviation of the *differences*, from the pilot: np.std(pilot, "
        "ddof=1).",
        "ddof=1, since the mean was taken from the same five seeds.",
    ],
)
def seeds_for_gain(answer: Answer, rng: torch.Generator) -> None:
    """Read off how many seeds show a gain four times in five, from five pilot seeds."""
    spread = np.std(PILOT, ddof=1)
    right = comparison.seeds_needed(WORTH, spread)
    error = spread / np.sqrt(len(PILOT))
    normal = int(np.ceil(((stats.norm.ppf(0.975) + stats.norm.ppf(0.8)) * spread / WORTH) ** 2))
    half = next(
        n for n in range(2, 1000) if stats.t.ppf(0.975, n - 1) * spread / np.sqrt(n) < WORTH
    )
    mistakes = {
        "divided_by_n": (
            comparison.seeds_needed(WORTH, np.std(PILOT)),
            "np.std divides by n. The spread of which five seeds are a sample divides by n − 1: "
            "ddof=1.",
        ),
        "standard_error": (
            comparison.seeds_needed(WORTH, error),
            "The standard error was taken for the spread: that of the differences themselves is "
            "asked.",
        ),
        "pilot_mean": (
            comparison.seeds_needed(float(np.mean(PILOT)), spread),
            f"The pilot's own mean was taken as the gain. Asked is a gain of {WORTH} points.",
        ),
        "two_arms": (
            comparison.seeds_needed(WORTH, spread * np.sqrt(2)),
            "The spread was enlarged for two arms: differences hold both already.",
        ),
        "normal": (normal, "This takes the normal distribution: with few seeds t is wider."),
        "interval": (
            half,
            f"With so many seeds the interval is ± {WORTH} wide, and includes zero every second "
            "time. Four times in "
            "five takes more.",
        ),
        "range": (
            comparison.seeds_needed(WORTH, float(np.ptp(PILOT))),
            "The range, largest less smallest, was taken for the spread: it is the standard "
            "deviation.",
        ),
        "power": (
            comparison.seeds_needed(WORTH, spread, power=0.95),
            "Four times in five is a power of 0.8; 0.95 is the confidence.",
        ),
    }
    value = expect.typed(answer.value(), "the number of seeds")
    expect.read_off(
        expect.whole(value, "the number of seeds"), right, 0, mistakes, of="the number of seeds"
    )


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
        "speed take the ranks "
        "once, and permute these.",
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
                "yours were lost to "
                "rounding: 0.3 and 0.30000000000000004. Compare with abs(other) >= abs(seen) - "
                "1e-9.",
                "rounding",
            )
        expect.close(value, expected, mistakes, rtol=1e-5, of="p")


def _rho(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """Pearson's correlation of x (n,) with each row of y (…, n)."""
    x, y = x - x.mean(), y - y.mean(axis=-1, keepdims=True)
    return (y @ x) / np.sqrt((x @ x) * (y**2).sum(axis=-1))


def _shares(x: np.ndarray, y: np.ndarray) -> tuple[float, float, float]:
    """Of all orders of y: as far from 0 as that seen, as large, and farther."""
    seen, others = _rho(x, y), _rho(x, np.array(list(permutations(y))))
    as_far = np.abs(others) >= abs(seen) - 1e-9
    as_large = others >= seen - 1e-9
    return as_far.mean(), as_large.mean(), (np.abs(others) > abs(seen) + 1e-9).mean()


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


def _d2_sentences() -> dict[str, tuple[bool, str, str]]:
    """Letter → whether it follows from what D2 publishes, the fault of those who err, where to
    look.
    """
    table = cifar10.PUBLISHED.drop(index="overall")
    kd, plain = (
        np.rint(10 * table[arm]).astype(int) for arm in D2_EPOCHS
    )  # of 1,000 images a class
    up, down = int((kd > plain).sum()), int((kd < plain).sum())
    least = {name: _range(kd[name], plain[name])[0] for name in table.index}
    most = {name: _range(kd[name], plain[name])[1] for name in table.index}
    total = [
        round(100 * CLASS_IMAGES * cifar10.PUBLISHED.loc["overall", arm] / 1000)
        for arm in D2_EPOCHS
    ]
    overall = _range(*total, 10 * CLASS_IMAGES)
    return {
        "a": (
            overall[1] < 0.05,
            "overall",
            f"{total[0]} against {total[1]} right of 10,000. Ask your `p_range`: if all of the "
            "difference falls to one "
            f"side, p is {overall[0]:.3f}; if not, up to {overall[1]:.2f}. The table does not say "
            "which.",
        ),
        "b": (
            most["dog"] < 0.05,
            "hidden pairing",
            f"Dogs: {kd['dog']} against {plain['dog']} right of 1,000. Which p that is depends on "
            "how many images only "
            "one of the two gets right: see the larger end of your `p_range`.",
        ),
        "c": (
            stats.binomtest(up, up + down).pvalue < 0.05,
            "sign test",
            f"Like a coin that falls {up} times to one side of {up + down}: work out its p.",
        ),
        "d": (
            least["horse"] > 0.05,
            "too few images",
            f"Horses: {kd['horse']} against {plain['horse']} right of 1,000. What is the *least* p "
            "of two images?",
        ),
        "e": (
            len(set(D2_EPOCHS.values())) > 1,
            "two changes",
            f"Look at the epochs: {' and '.join(map(str, D2_EPOCHS.values()))}. Two things changed "
            "at once.",
        ),
        "f": (
            max(abs(kd - plain)) <= abs(total[0] - total[1]) / 10,
            "mean hides",
            "A mean hides what its parts do: look at the classes that moved most, up and down.",
        ),
    }


def _range(right_a: int, right_b: int, images: int = CLASS_IMAGES) -> tuple[float, float]:
    better, worse = max(right_a, right_b), min(right_a, right_b)
    both = min(images - better, worse)
    return _coin(better - worse, 0), _coin(better - worse + both, both)


@task(
    "ex07",
    title="Two accuracies, one claim",
    minutes=8,
    difficulty="medium",
    points=2,
    hints=[
        "A class has 1,000 test images, so 0.1 % is one image. Your `p_range` takes numbers of "
        "images.",
        "If the *largest* p is below 0.05, the two networks differ, whatever the images. If the "
        "*least* is above, "
        "nothing can be shown. In between the table does not tell.",
        "Two of the six sentences hold.",
    ],
)
def claims(answer: Answer, rng: torch.Generator) -> None:
    """Judge which of six sentences follow from D2's table."""
    expect.statements(answer.value(), _d2_sentences())
