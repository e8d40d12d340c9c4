"""Exercise 03: right answers written otherwise than the solution, and wrong ones with what they
must be told.
"""

import math
import statistics

import numpy as np
import pandas as pd
import torch
from scipy import stats
from torch.nn import functional as F

from kdcourse.evaluation import paired_interval, wilson_interval

# --- images_needed --------------------------------------------------------------------------------


def images_by_counting(accuracy, points):
    p, n, z = accuracy / 100, 1, 1.96
    while 100 * z * math.sqrt(p * (1 - p) / n + (z / 2 / n) ** 2) / (1 + z * z / n) > points:
        n += 1
    return n


def images_by_array(accuracy, points):
    n, z, p = np.arange(1, 200_000), stats.norm.ppf(0.975), accuracy / 100
    half = z * np.sqrt(p * (1 - p) / n + z**2 / (4 * n**2)) / (1 + z**2 / n)
    return n[np.argmax(100 * half <= points)]


def images_by_formula(accuracy, points):
    """The condition squared is quadratic in n: (w n + w z²)² = z² p (1 − p) n + z⁴ / 4."""
    p, w, z = accuracy / 100, points / 100, 1.959964
    a, b, c = w**2, 2 * w**2 * z**2 - z**2 * p * (1 - p), w**2 * z**4 - z**4 / 4
    return torch.tensor(math.ceil((-b + math.sqrt(b**2 - 4 * a * c)) / (2 * a)))


def images_by(z=1.96, p=None, width=1.0, more=0, wald=False):
    def images_needed(accuracy, points):
        share = accuracy / 100 if p is None else p
        n, limit = 1, width * points / 100
        while True:
            half = z * math.sqrt(share * (1 - share) / n + (0 if wald else z**2 / (4 * n**2)))
            if half / (1 if wald else 1 + z**2 / n) <= limit:
                return n + more
            n += 1

    return images_needed


def images_by_rounding(accuracy, points):
    p, w, z = accuracy / 100, points / 100, 1.959964
    a, b, c = w**2, 2 * w**2 * z**2 - z**2 * p * (1 - p), w**2 * z**4 - z**4 / 4
    return (-b + math.sqrt(b**2 - 4 * a * c)) / (2 * a)


# --- paired_gain ----------------------------------------------------------------------------------


def gain_by_package(method, baseline):
    seeds = sorted(method.keys() & baseline.keys())
    return paired_interval([method[seed] for seed in seeds], [baseline[seed] for seed in seeds])


def gain_by_pandas(method, baseline):
    difference = (pd.Series(method) - pd.Series(baseline)).dropna()
    t = stats.t.ppf(0.975, max(1, len(difference) - 1))
    return [difference.mean(), t * difference.std() / len(difference) ** 0.5]


def gain_by_statistics(method, baseline):
    differences = [
        accuracy - baseline[seed] for seed, accuracy in method.items() if seed in baseline
    ]
    if len(differences) < 2:
        return torch.tensor([differences[0], float("nan")])
    low, high = stats.t.interval(
        0.95, len(differences) - 1, statistics.mean(differences), stats.sem(differences)
    )
    return torch.tensor([(low + high) / 2, (high - low) / 2])


def gain_by(pairs=None, quantile=None, ddof=1, root=0.5, times=1.0):
    def paired_gain(method, baseline):
        a, b = (pairs or common)(method, baseline)
        difference, n = np.subtract(a, b), len(a)
        t = (quantile or (lambda n: stats.t.ppf(0.975, n - 1)))(n) if n > 1 else math.nan
        with np.errstate(all="ignore"):
            return difference.mean(), times * t * difference.std(ddof=min(ddof, n - 1)) / n**root

    return paired_gain


def common(method, baseline):
    seeds = [seed for seed in method if seed in baseline]
    return [method[seed] for seed in seeds], [baseline[seed] for seed in seeds]


def by_place(method, baseline):
    n = min(len(method), len(baseline))
    return list(method.values())[:n], list(baseline.values())[:n]


def gain_unpaired(method, baseline):
    a, b = map(np.array, common(method, baseline))
    half = stats.t.ppf(0.975, 2 * len(a) - 2) * np.sqrt((a.var(ddof=1) + b.var(ddof=1)) / len(a))
    return (a - b).mean(), half


def gain_of_all_runs(method, baseline):
    return np.mean(list(method.values())) - np.mean(list(baseline.values())), gain_by()(
        method, baseline
    )[1]


# --- calibration_error ----------------------------------------------------------------------------


def error_by_loops(logits, labels, bins):
    sums = [[0.0, 0.0] for _ in range(bins)]
    for row, label in zip(logits.double().tolist(), labels.tolist(), strict=True):
        exponentials = [math.exp(value - max(row)) for value in row]
        confidence = max(exponentials) / sum(exponentials)
        place = min(int(confidence * bins), bins - 1)
        sums[place][0] += confidence
        sums[place][1] += row.index(max(row)) == label
    return 100 * sum(abs(confidence - right) for confidence, right in sums) / len(labels)


def error_by_edges(logits, labels, bins):
    confidence, answers = F.softmax(logits, dim=1).max(dim=1)
    edges, total = torch.linspace(0, 1, bins + 1), torch.zeros(())
    for low, high in zip(edges[:-1], edges[1:], strict=True):
        inside = (confidence > low) & (confidence <= high)
        if inside.any():
            gap = (answers[inside] == labels[inside]).float().mean() - confidence[inside].mean()
            total = total + inside.float().mean() * gap.abs()
    return 100 * total


def error_by_histogram(logits, labels, bins):
    p = torch.softmax(logits, 1).numpy()
    place = np.clip(np.ceil(p.max(1) * bins).astype(int) - 1, 0, None)
    count = np.bincount(place, minlength=bins)
    gap = np.bincount(place, p.max(1), bins) - np.bincount(
        place, p.argmax(1) == labels.numpy(), bins
    )
    return 100 * np.abs(gap).sum() / count.sum()


def error_by(confidence=None, combine=None, fixed=None, clamp=True, gap=abs):
    def calibration_error(logits, labels, bins):
        bins = fixed or bins
        right = (logits.argmax(1) == labels).double()
        sure = (confidence or (lambda z, y: z.softmax(1).max(1).values))(logits, labels).double()
        place = (sure * bins).long().clamp(max=bins - 1 if clamp else bins**9)
        inside = [place == b for b in range(bins) if (place == b).any()]
        gaps = torch.tensor([gap(float(sure[i].mean() - right[i].mean())) for i in inside])
        shares = torch.tensor([float(i.double().mean()) for i in inside])
        return 100 * (combine or (lambda gaps, shares: (gaps * shares).sum()))(gaps, shares)

    return calibration_error


def error_with_empty_bins(logits, labels, bins):
    sure, right = logits.softmax(1).max(1).values, (logits.argmax(1) == labels).float()
    place = (sure * bins).long().clamp(max=bins - 1)
    parts = [place == b for b in range(bins)]
    return 100 * sum(
        part.float().mean() * (sure[part].mean() - right[part].mean()).abs() for part in parts
    )


# --- the tables -----------------------------------------------------------------------------------

STOP = {"epoch": 67, "lost": 12.0}
VERDICTS = {
    "A": "two causes",
    "B": "gain",
    "C": "two causes",
    "D": "neither",
    "E": "neither",
    "F": "chosen on test",
    "G": "loss",
}

RIGHT = {
    "images_needed": [images_by_counting, images_by_array, images_by_formula],
    "paired_gain": [gain_by_package, gain_by_pandas, gain_by_statistics],
    "calibration_error": [error_by_loops, error_by_edges, error_by_histogram, error_by()],
    "stopping": [
        STOP,
        {"lost": torch.tensor(12.5), "epoch": 70.0},
        {"epoch": np.int64(64), "lost": 11},
        {"epoch": "67", "lost": "12 points"},
    ],
    "verdicts": [
        VERDICTS,
        {letter: verdict.title() for letter, verdict in VERDICTS.items()},
        list(VERDICTS.values()),
    ],
}
WRONG = {
    "images_needed": [
        (images_by(wald=True), "wald", "Wilson"),
        (lambda accuracy, points: images_by(wald=True)(accuracy, points) - 1, "wald", "Wilson"),
        (images_by(width=0.5), "whole width", "half"),
        (images_by(width=2.0), "twice as wide", "half"),
        (images_by(z=1.645), "one sided", "1.96"),
        (images_by(p=0.5), "at half", "50 %"),
        (images_by(more=-1), "one too few", "round up"),
        (images_by(more=1), "one too many", "fewer"),
        (images_by_rounding, "fraction", "whole"),
        (lambda accuracy, points: images_by()(accuracy, 100 * points), "no %", "0.01"),
        (lambda accuracy, points: wilson_interval(round(accuracy), 100), "shape", "one number"),
        (
            lambda accuracy, points: round(accuracy * (100 - accuracy) / points**2),
            "value",
            "expected",
        ),
    ],
    "paired_gain": [
        (lambda a, b: gain_by()(b, a), "sign", "method − baseline"),
        (gain_unpaired, "not paired", "differences"),
        (gain_by(pairs=by_place), "by place", "seed"),
        (gain_of_all_runs, "not paired", "both have"),
        (gain_by(quantile=lambda n: 1.96), "normal", "t ="),
        (gain_by(quantile=lambda n: stats.t.ppf(0.975, n)), "degrees of freedom", "n − 1"),
        (gain_by(quantile=lambda n: stats.t.ppf(0.95, n - 1)), "one sided", "0.975"),
        (gain_by(ddof=0), "ddof", "n − 1"),
        (gain_by(root=0.0), "no root n", "√n"),
        (gain_by(root=1.0), "n for root n", "√n"),
        (gain_by(times=2.0), "whole width", "half"),
        (
            lambda a, b: np.array([-1, 1]) * gain_by()(a, b)[1] + gain_by()(a, b)[0],
            "both ends",
            "(mean, half)",
        ),
        (lambda a, b: np.nan_to_num(gain_by()(a, b)), "one seed", "nan"),
        (
            lambda a, b: [math.nan] * 2 if len(common(a, b)[0]) < 2 else gain_by()(a, b),
            "pairs",
            "1.25",
        ),
        (lambda a, b: gain_by()(a, b)[0], "shape", "(2,)"),
        (lambda a, b: [a[seed] - b[seed] for seed in a], "shape", "(2,)"),
    ],
    "calibration_error": [
        (lambda *args: error_by()(*args) / 100, "fraction", "%"),
        (error_by(confidence=lambda z, y: z.max(1).values), "no softmax", "Logits"),
        (error_by(combine=lambda gaps, shares: gaps.mean()), "unweighted", "share of samples"),
        (lambda z, y, bins: len(z) * error_by()(z, y, bins), "unweighted", "n_b / N"),
        (error_by(gap=lambda gap: gap), "signed", "absolute"),
        (error_by(combine=lambda gaps, shares: gaps.max()), "maximum", "MCE"),
        (
            error_by(confidence=lambda z, y: z.softmax(1).gather(1, y[:, None])[:, 0]),
            "label's probability",
            "largest",
        ),
        (
            error_by(combine=lambda gaps, shares: (gaps**2 * shares / 100).sum() ** 0.5 * 10),
            "squared",
            "absolute",
        ),
        (error_by(fixed=10), "ten bins", "15"),
        (error_by(clamp=False), "last bin", "exactly 1"),
        (error_with_empty_bins, "nan", "without samples"),
        (
            lambda z, y, bins: (
                100 * (z.softmax(1).max(1).values - (z.argmax(1) == y).float()).abs().mean()
            ),
            "per sample",
            "average within a bin",
        ),
        (
            lambda z, y, bins: 100 * (z.argmax(1) != y).float().mean(),
            "error",
            "share that is wrong",
        ),
    ],
    "stopping": [
        (STOP | {"epoch": 300}, "last epoch", "training loss"),
        (STOP | {"epoch": 33}, "best accuracy", "question is about the loss"),
        (STOP | {"epoch": 10}, "too early", "lower"),
        (STOP | {"epoch": 150}, "too late", "before"),
        (STOP | {"epoch": 0}, "no such epoch", "counted from 1"),
        (STOP | {"lost": -12.0}, "sign", "points"),
        (STOP | {"lost": 28.2}, "overfitting gap", "validation with validation"),
        (STOP | {"lost": 0.12}, "unit", "In points"),
        (STOP | {"lost": 72.0}, "accuracy", "left"),
        (67, "type", "keys"),
    ],
    "verdicts": [
        (VERDICTS | {"A": "gain"}, "gain for two causes", "all that differs"),
        (VERDICTS | {"B": "neither"}, "neither for gain", "Pair the runs"),
        (VERDICTS | {"C": "neither"}, "neither for two causes", "all that differs"),
        (VERDICTS | {"D": "gain"}, "gain for neither", "interval"),
        (VERDICTS | {"E": "gain"}, "gain for neither", "interval"),
        (VERDICTS | {"F": "gain"}, "gain for chosen on test", "chose"),
        (VERDICTS | {"G": "neither"}, "neither for loss", "sign"),
        (list(VERDICTS.values())[1:], "type", "keys"),
    ],
}
