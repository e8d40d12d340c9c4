"""The judges of a bootstrap interval and of the seeds that a gain needs."""

import numpy as np
import torch
from scipy import stats

from kdcourse.checking import expect
from kdcourse.checking.task import Answer, Wrong, task
from kdcourse.evaluation import comparison

PILOT = (0.1, 1.3, 0.6, -0.2, 0.9)  # gains of five seeds, points (made up)


WORTH = 0.4  # points: the gain that is looked for


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
        message = (
            f"Expected about ({expected[0]:.2f}, {expected[1]:.2f}), got ({value[0]:.2f}, "
            f"{value[1]:.2f})."
        )
        away = {fault: np.abs(value - instead).max() for fault, (instead, _) in mistakes.items()}
        nearest = min(away, key=away.get)
        if away[nearest] <= max(
            tolerance, 0.06 * np.ptp(mistakes[nearest][0])
        ):  # a wide one has more luck in it
            raise Wrong(f"{mistakes[nearest][1]} {message}", nearest)
        raise Wrong(f"{message} The mean gain is {gains.mean():.2f}.", "value")


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
    return np.array([low, high]), _interval_mistakes(
        gains, rows, means, ends, apart, low, high, middle, error, t
    )


def _interval_mistakes(gains, rows, means, ends, apart, low, high, middle, error, t) -> dict:
    """Values of the likely mistakes by name, each with a sentence to the learner."""
    return {
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
            "pairs belong together.",
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
            "time. Four times in five takes more.",
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
