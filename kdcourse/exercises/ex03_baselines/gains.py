"""The judges of the number of test images and of a paired gain."""

import math

import numpy as np
import torch
from scipy import stats

from kdcourse.checking import expect
from kdcourse.checking.task import Answer, Wrong, task
from kdcourse.evaluation import paired_interval
from kdcourse.exercises.draws import uniform

Z = 1.959964


@task(
    "ex03",
    title="How many test images it takes",
    minutes=8,
    difficulty="medium",
    points=2,
    hints=(
        "Half of Wilson's interval is z √(p(1 − p)/n + z²/4n²) / (1 + z²/n). It shrinks as n "
        "grows.",
        "Count n up until it fits: `while half(n) > points: n += 1`. A few thousand steps take no "
        "time.",
    ),
)
def images_needed(answer: Answer, rng: torch.Generator) -> None:
    """The smallest n for which Wilson's 95 % interval at this accuracy (%) reaches no more than ±
    so many points.
    """
    cases = [(90.0, 1.0), (50.0, 5.0), (99.0, uniform(rng, 2.5, 4))]
    cases += [(uniform(rng, 55, 95), uniform(rng, 1.5, 6)) for _ in range(3)]
    for accuracy, points in cases:
        p, width = accuracy / 100, points / 100
        right = {_images(p, width, z) for z in (1.96, Z)}
        got = expect.scalar(answer(accuracy, points), of="n")
        if got in right:
            continue
        n = max(right)
        case = f"accuracy {accuracy:.4g} %, ± {points:.4g} points: expected {n} images, got {got:g}"
        if got != round(got):
            raise Wrong(
                f"{case}. Images are whole: the smallest whole number that is enough.", "fraction"
            )
        wald = Z**2 * p * (1 - p) / width**2
        ninety = stats.norm.ppf(0.95)
        mistakes = {
            "one too few": ({n - 1}, "With so few the interval is a little too wide: round up."),
            "one too many": ({n + 1}, "One image fewer is enough as well."),
            "wald": (
                set(range(math.floor(wald), math.ceil(wald) + 2)),
                "That is the number for p ± z √(p(1 − p)/n). Wilson's interval has more to it: "
                "z²/4n² under the root, and 1 + z²/n below.",
            ),
            "whole width": (
                {_images(p, width / 2, z) for z in (1.96, Z)},
                "You asked that the *whole* interval is so wide; each half may be.",
            ),
            "twice as wide": (
                {_images(p, 2 * width, z) for z in (1.96, Z)},
                "Each half is to be so wide, not the whole interval: that would be half of it.",
            ),
            "one sided": (
                {_images(p, width, z) for z in (ninety, 1.64, 1.645)},
                "z = 1.645 leaves 5 % on each side; for 95 % in all it is 1.96.",
            ),
            "two": ({_images(p, width, 2.0)}, "z = 2 is rounded; for 95 % it is 1.96."),
            "no root": (
                {_images(p, width, z**2) for z in (1.96, Z)},
                "z was squared once too often.",
            ),
            "no %": (
                {_images(p, points, z) for z in (1.96, Z)},
                "Points are in %: ± 1 point is 0.01.",
            ),
            "at half": (
                {_images(0.5, width, z) for z in (1.96, Z)},
                "That is the number for an accuracy of 50 %, the worst case.",
            ),
        }
        if got in mistakes["wald"][0] and abs(got - n) > 1:
            raise Wrong(f"{case}. {mistakes['wald'][1]}", "wald")
        for fault, (values, why) in mistakes.items():
            if got in values:
                raise Wrong(f"{case}. {why}", fault)
        raise Wrong(f"{case}. Are accuracy and points in %, as they are given?", "value")


def _images(p: float, width: float, z: float) -> int:
    def half(n):
        return z * math.sqrt(p * (1 - p) / n + z**2 / (4 * n**2)) / (1 + z**2 / n)

    low, high = 0, 1
    while half(high) > width:
        low, high = high, 2 * high
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (middle, high) if half(middle) > width else (low, middle)
    return high


# --- a paired difference --------------------------------------------------------------------------


@task(
    "ex03",
    title="A gain with its interval",
    minutes=12,
    difficulty="medium",
    points=3,
    hints=(
        "A pair is two runs of one seed. Take the seeds that are in both: sorted(set(method) & "
        "set(baseline)).",
        "Of the n differences: the mean, and s with n − 1 below the line (np.std(…, ddof=1)).",
        "half = t · s / √n, with t = scipy.stats.t.ppf(0.975, n − 1). With a single difference it "
        "is math.nan.",
    ),
)
def paired_gain(answer: Answer, rng: torch.Generator) -> None:
    """(mean, half) of method − baseline over the seeds that both have, from dicts of accuracies by
    seed.
    """
    method, baseline = _by_seed(5, rng)
    _one_gain(
        answer, dict(sorted(method.items())), dict(sorted(baseline.items()))
    )  # complete and in order
    keys = [list(method)[i] for i in torch.randperm(len(method), generator=rng).tolist()]
    method = {seed: method[seed] for seed in keys}  # another order: pairs are told by their seed
    _one_gain(answer, method, baseline)
    method, baseline = _by_seed(8, rng)
    lost = list(method)[:3]
    _one_gain(
        answer,
        {seed: a for seed, a in method.items() if seed != lost[0]},
        {seed: b for seed, b in reversed(baseline.items()) if seed not in lost[1:]},
    )
    got = expect.shape(answer({3: 81.5, 5: 80.0}, {3: 80.25, 7: 79.0}), (2,), of="(mean, half)")
    if not abs(got[0].item() - 1.25) <= 1e-3:  # nan too
        raise Wrong(
            f"Only seed 3 is in both: the mean is 81.5 − 80.25 = 1.25, got {got[0]:.4g}.", "pairs"
        )
    if not got[1].isnan():
        raise Wrong(
            "One pair has no spread, so nobody knows how wide the interval is: half is nan there, "
            f"got {got[1]:.4g}. 0 would claim certainty.",
            "one seed",
        )


def _by_seed(n: int, rng: torch.Generator) -> tuple[dict, dict]:
    """Accuracies by seed of a method and its baseline: a seed lifts or lowers both."""
    seeds = (torch.randperm(40, generator=rng)[:n]).tolist()
    common, own, other = torch.randn(3, n, generator=rng, dtype=torch.float64)
    baseline = 80 + 3 * common + 0.4 * own
    gain = uniform(rng, 0.5, 2) * (1 if uniform(rng, 0, 1) < 0.5 else -1)
    return dict(zip(seeds, (baseline + gain + 0.4 * other).tolist(), strict=True)), dict(
        zip(seeds, baseline.tolist(), strict=True)
    )


def _one_gain(answer: Answer, method: dict, baseline: dict) -> None:
    common = [seed for seed in method if seed in baseline]
    a, b = (np.array([runs[seed] for seed in common]) for runs in (method, baseline))
    n, mean_half = len(common), paired_interval(a, b)
    mean, half = mean_half
    t, every = (
        stats.t.ppf(0.975, n - 1),
        (np.array(list(method.values())), np.array(list(baseline.values()))),
    )
    unpaired = np.sqrt(a.var(ddof=1) / n + b.var(ddof=1) / n)
    by_place = paired_interval(*(values[: min(map(len, every))] for values in every))
    s = (a - b).std(ddof=1)
    got = expect.shape(answer(method, baseline), (2,), of="(mean, half)")
    means = _mean_mistakes(method, baseline, mean, half, every, by_place)
    expect.close(got[0], mean, means, of="the mean difference", rtol=1e-4, atol=1e-6)
    halves = _half_mistakes(a, b, n, half, t, unpaired, by_place, s)
    expect.close(
        got[1], half, halves, of=f"half the interval's width ({n} pairs)", rtol=3e-4, atol=1e-6
    )


def _half_mistakes(a, b, n, half, t, unpaired, by_place, s) -> dict:
    """Values of the likely mistakes for half the interval's width, each with a sentence."""
    return {
        "not paired": (
            stats.t.ppf(0.975, 2 * n - 2) * unpaired,
            "That is the interval of two groups that have nothing to do with each other. Take the "
            "spread of the *differences*.",
        ),
        "not paired, n − 1": (
            t * unpaired,
            "That is the interval of two groups that have nothing to do with each other. Take the "
            "spread of the *differences*.",
        ),
        "by place": (
            by_place[1],
            "Runs were paired by their place in the dicts. Pair them by their seed.",
        ),
        "normal": (
            1.959964 * s / np.sqrt(n),
            f"1.96 is for many seeds. With {n} pairs it is t = {t:.3f}: scipy.stats.t.ppf(0.975, n "
            "− 1).",
        ),
        "degrees of freedom": (
            stats.t.ppf(0.975, n) * s / np.sqrt(n),
            "T has n − 1 degrees of freedom: one is used up by the mean.",
        ),
        "ddof": (t * (a - b).std() / np.sqrt(n), "S has n − 1 below the line: np.std(…, ddof=1)."),
        "no root n": (
            t * s,
            "√n is missing: that is the spread of single differences, not of their mean.",
        ),
        "n for root n": (t * s / n, "Divide by √n, not by n."),
        "one sided": (
            stats.t.ppf(0.95, n - 1) * s / np.sqrt(n),
            "0.95 leaves 5 % on *one* side: for 95 % in the middle, t.ppf(0.975, …).",
        ),
        "whole width": (2 * half, "Half the width is asked for, mean ± half."),
        "only s": (s, "That is the spread of the differences; t · s / √n is asked for."),
        "standard error": (
            s / np.sqrt(n),
            "That is the standard error; the interval is t times that.",
        ),
        "normal and ddof": (
            1.959964 * (a - b).std() / np.sqrt(n),
            "Take t in place of 1.96, and n − 1 under s.",
        ),
    }


def _mean_mistakes(method, baseline, mean, half, every, by_place) -> dict:
    """Values of the likely mistakes for the mean difference, each with a sentence."""
    return {
        "sign": (-mean, "The sign is turned: method − baseline, so that a gain is positive."),
        "not paired": (
            every[0].mean() - every[1].mean(),
            "That is the difference of the means of *all* runs. Only seeds that both have make "
            "pairs.",
        ),
        "both ends": (
            mean - half,
            "Those are the ends of the interval; (mean, half) was asked for.",
        ),
        "by place": (
            by_place[0],
            "Runs were paired by their place in the dicts. Pair them by their seed.",
        ),
        "by place, sorted": (
            _sorted_mean(method, baseline),
            "Runs were paired by their rank. Pair them by their seed.",
        ),
    }


def _sorted_mean(method: dict, baseline: dict) -> float:
    pairs = zip(sorted(method.values()), sorted(baseline.values()), strict=False)
    return float(np.mean([a - b for a, b in pairs]))
