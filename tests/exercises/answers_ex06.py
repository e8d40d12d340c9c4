"""Exercise 06: right answers written otherwise than the solution, and wrong ones with what they
must be told.
"""

import math

import numpy as np
import torch
from scipy import stats

from kdcourse.curriculum import Linear, adaptive, easy_to_hard
from kdcourse.evaluation import mean_interval, paired

# --- difficulty -----------------------------------------------------------------------------------


def score(
    confidence=lambda p_t, p_s: 1 - p_t.amax(1),
    entropy=lambda p_t, p_s: -torch.xlogy(p_t, p_t).sum(1) / math.log(p_t.shape[1]),
    kl=lambda p_t, p_s: (torch.xlogy(p_t, p_t) - torch.xlogy(p_t, p_s)).sum(1),
    cut=lambda kl: (kl / 5).clamp(max=1),
    weights=(0.3, 0.3, 0.4),
):
    def difficulty(p_t, p_s):
        parts = confidence(p_t, p_s), entropy(p_t, p_s), cut(kl(p_t, p_s))
        return sum(weight * part for weight, part in zip(weights, parts, strict=True))

    return difficulty


def difficulty_by_loops(p_t, p_s):
    scores = []
    for t, s in zip(p_t.tolist(), p_s.tolist(), strict=True):
        entropy = -sum(p * math.log(p) for p in t if p > 0)
        kl = sum(p * math.log(p / q) for p, q in zip(t, s, strict=True) if p > 0)
        scores.append(0.3 * (1 - max(t)) + 0.3 * entropy / math.log(len(t)) + 0.4 * min(kl / 5, 1))
    return scores


def difficulty_by_scipy(p_t, p_s):
    p_t, p_s = p_t.numpy(), p_s.numpy()
    entropy = stats.entropy(p_t, axis=1, base=p_t.shape[1])
    return 0.3 * (1 - p_t.max(axis=1) + entropy) + 0.4 * np.minimum(
        stats.entropy(p_t, p_s, axis=1) / 5, 1
    )


def difficulty_with_a_floor(p_t, p_s):
    log_t, log_s = (p_t + 1e-9).log(), (p_s + 1e-9).log()
    entropy = -(p_t * log_t).sum(1) / torch.tensor(float(p_t.size(1))).log()
    kl = torch.nn.functional.kl_div(log_s, p_t, reduction="none").sum(1)
    return (
        0.3 * (1 - p_t.max(1)[0]) + 0.3 * entropy + 0.4 * torch.minimum(kl / 5, torch.tensor(1.0))
    )


def logs_of_zero(p_t, p_s):
    return (p_t * (p_t.log() - p_s.log())).sum(1)


def swapped(p_t, p_s):
    return (torch.xlogy(p_s, p_s) - torch.xlogy(p_s, p_t.clamp(min=1e-12))).sum(1)


# --- drawn ----------------------------------------------------------------------------------------

EASY = np.array([5.0, 3, 2, 1, 1])


def buckets(
    power=lambda threshold: 1 + 2 * (1 - threshold),
    covered=lambda threshold: 0.5 + 0.5 * threshold,
    size=lambda count, covered, ratio: int(ratio * count),
    shares=lambda shares: shares,
    rounding=np.floor,
    cap=np.minimum,
):
    def drawn(count, threshold, ratio):
        share = shares(EASY ** power(threshold))
        within = round(covered(threshold) * count)
        wanted = rounding(size(count, within, ratio) * share / share.sum())
        return cap(wanted, within // 5)

    return drawn


def drawn_by_loops(count, threshold, ratio):
    shares = [s ** (3 - 2 * threshold) for s in (5, 3, 2, 1, 1)]
    bucket = int(round(count * (1 + threshold) / 2) / 5)
    return [min(bucket, math.floor(int(count * ratio) * share / sum(shares))) for share in shares]


def drawn_by_the_package(count, threshold, ratio):
    return torch.tensor([stretch.drawn for stretch in easy_to_hard.plan(count, threshold, ratio)])


def drawn_to_size(count, threshold, ratio):
    return [stretch.drawn for stretch in easy_to_hard.plan(count, threshold, ratio, keep_size=True)]


def seen(
    epochs=range(20),
    size=lambda epoch: sum(drawn_by_the_package(1000, epoch / 20, 0.6)).item(),
    of=20_000,
):
    return 100 * sum(size(epoch) for epoch in epochs) / of


# --- window ---------------------------------------------------------------------------------------


def moved(low=True, high=True, size=True, cut=False, middle=0.5):
    """The window, moved inward at the low and at the high end, or not."""

    def window(count, threshold, ratio):
        length = int(ratio * count)
        start = round((threshold - middle * ratio) * count)
        stop = start + length
        if low and start < 0:
            start, stop = 0, length
        if high and stop > count:
            start, stop = count - length, count
        return (max(start, 0), min(stop, count)) if cut else (start, stop)

    return window


def window_by_clip(count, threshold, ratio):
    half = ratio * count / 2
    middle = np.clip(threshold * count, half, count - half)
    start = math.floor(middle - half + 1e-9)
    return np.array([start, start + int(ratio * count)])


def window_by_the_package(count, threshold, ratio):
    [(start, stop, _)] = adaptive.plan(count, threshold, ratio, keep_size=True)
    return [start, stop]


def stretched(count, threshold, ratio):
    start = round(threshold * (1 - ratio) * count)
    return start, start + int(ratio * count)


def from_threshold(count, threshold, ratio):
    start = min(round(threshold * count), count - int(ratio * count))
    return start, start + int(ratio * count)


def shares_of_ranks(count, threshold, ratio):
    start, stop = window_by_the_package(count, threshold, ratio)
    return start / count, stop / count


# --- verdict --------------------------------------------------------------------------------------


def in_pairs(curriculum, control):
    seeds = sorted(curriculum["accuracy"])
    return [[arm["accuracy"][seed] for seed in seeds] for arm in (curriculum, control)]


def by_place(curriculum, control):
    return [list(arm["accuracy"].values()) for arm in (curriculum, control)]


def judged(
    samples=True,
    one_seed=True,
    values=in_pairs,
    interval=lambda a, b: (np.mean(np.subtract(a, b)), paired(a, b).half),
    words=("helps", "harms", "not shown"),
):
    def verdict(curriculum, control):
        if samples and curriculum["samples"] != control["samples"]:
            return "not comparable"
        a, b = values(curriculum, control)
        if len(a) == 1:
            return words[2] if one_seed else words[0 if a > b else 1]
        gain, half = interval(a, b)
        return words[2] if abs(gain) <= half else words[0 if gain > 0 else 1]

    return verdict


def verdict_by_p(curriculum, control):
    if curriculum["samples"] != control["samples"]:
        return "not comparable"
    a, b = np.array(in_pairs(curriculum, control))
    if len(a) < 2 or stats.ttest_rel(a, b).pvalue > 0.05:
        return "not shown"
    return "helps" if a.mean() > b.mean() else "Harms"


def verdict_by_nan(curriculum, control):
    if curriculum["samples"] - control["samples"]:
        return "not comparable"
    gain, half = mean_interval(
        [curriculum["accuracy"][s] - control["accuracy"][s] for s in control["accuracy"]]
    )
    return "helps" if gain - half > 0 else "harms" if gain + half < 0 else "not shown"


def torn(a, b):
    spread = math.hypot(mean_interval(a)[1], mean_interval(b)[1])
    return np.mean(a) - np.mean(b), spread


def overlap(a, b):
    return np.mean(a) - np.mean(b), mean_interval(a)[1] + mean_interval(b)[1]


# --- the tables -----------------------------------------------------------------------------------

RIGHT = {
    "difficulty": [score(), difficulty_by_loops, difficulty_by_scipy, difficulty_with_a_floor],
    "drawn": [buckets(), drawn_by_loops, drawn_by_the_package],
    "seen_share": [
        seen(),
        round(seen(), 1),
        torch.tensor([seen()]),
        np.float32(seen() + 0.1),
        f"{seen():.1f} %",
    ],
    "window": [moved(), window_by_clip, window_by_the_package],
    "fooled": [
        lambda honest: [5] + honest[1:],
        lambda honest: np.r_[np.full(len(honest) - 1, 0.5), honest[-1]],
        lambda honest: torch.tensor([20.0, *honest[1:]], dtype=torch.float64),
    ],
    "verdict": [judged(), verdict_by_p, verdict_by_nan],
}

WRONG = {
    "difficulty": [
        (score(kl=logs_of_zero), "zero", "xlogy"),
        (score(entropy=lambda t, s: -(t * t.log()).sum(1) / math.log(t.shape[1])), "zero", "NaN"),
        (score(confidence=lambda t, s: t.amax(1)), "confident", "easy"),
        (score(entropy=lambda t, s: -torch.xlogy(t, t).sum(1)), "not_normalised", "ln C"),
        (score(entropy=lambda t, s: -torch.xlogy(t, t).sum(1) / t.shape[1]), "by_classes", "ln C"),
        (
            score(
                entropy=lambda t, s: -torch.xlogy(t, t).sum(1) / math.log(2) / math.log(t.shape[1])
            ),
            "bits",
            "nats",
        ),
        (score(entropy=lambda t, s: torch.xlogy(t, t).sum(1) / math.log(t.shape[1])), "sign", "−Σ"),
        (score(kl=swapped), "swapped", "KL(p_s ‖ p_t)"),
        (score(cut=lambda kl: kl.clamp(max=1)), "not_scaled", "divided by 5"),
        (score(cut=lambda kl: kl / 5), "not_cut", "1"),
        (score(cut=lambda kl: kl.clamp(max=1) / 5), "cut_first", "divide first"),
        (score(kl=lambda t, s: -torch.xlogy(t, s).sum(1)), "cross_entropy", "own entropy"),
        (score(weights=(0.4, 0.3, 0.3)), "weights", "order"),
        (score(weights=(1, 1, 1)), "unweighted", "0.3"),
        (lambda p_t, p_s: score()(p_t, p_s).mean(), "shape", "shape"),
    ],
    "drawn": [
        (buckets(cap=lambda wanted, bucket: wanted), "not_capped", "no more than it has"),
        (drawn_to_size, "kept_size", "keep_size"),
        (buckets(covered=lambda threshold: 1), "all_samples", "easiest"),
        (
            buckets(size=lambda count, covered, ratio: int(ratio * covered)),
            "covered_ratio",
            "*all* samples",
        ),
        (buckets(power=lambda threshold: 1 + 2 * threshold), "power", "1 − θ"),
        (buckets(power=lambda threshold: 1), "no_power", "power"),
        (buckets(shares=lambda shares: shares[::-1]), "flipped", "easiest"),
        (buckets(shares=np.ones_like), "uniform", "proportion"),
        (buckets(rounding=np.round), "rounded", "rounded down"),
        (buckets(rounding=np.ceil), "rounded_up", "rounded down"),
        (buckets(rounding=lambda wanted: wanted), "not_rounded", "whole"),
        (lambda count, threshold, ratio: buckets()(count, threshold, ratio).sum(), "shape", "(5,)"),
    ],
    "seen_share": [
        (60, "promise", "promised"),
        (seen() / 100, "fraction", "%"),
        (seen() / 0.6, "of_promised", "plain KD"),
        (seen(epochs=[0], of=1000), "first", "Sum over all"),
        (seen(epochs=[19], of=1000), "last", "Sum over all"),
        (seen(epochs=[10], of=1000), "middle", "evenly"),
        (seen(of=1000), "whole_run", "20"),
        (
            seen(
                size=lambda epoch: (
                    drawn_by_the_package(1000, Linear()(epoch / 19), 0.6).sum().item()
                )
            ),
            "to_one",
            "0.95",
        ),
        (50, "value", "too large"),
        ("a third", "type", "a number"),
    ],
    "window": [
        (moved(low=False, high=False, cut=True), "cut", "promised"),
        (moved(low=False, high=False), "not_moved", "over the end"),
        (moved(high=False, cut=True), "hard_end", "hard end wrong"),
        (moved(low=False, cut=True), "easy_end", "easy end is wrong"),
        (moved(high=False), "hard_end", "over the end"),
        (moved(low=False), "easy_end", "over the end"),
        (stretched, "stretched", "middle at θN"),
        (from_threshold, "from_threshold", "*middle*"),
        (shares_of_ranks, "shares", "multiply by N"),
        (lambda *given: window_by_the_package(*given)[::-1], "order", "changed places"),
        (lambda *given: np.subtract(window_by_the_package(*given), (0, 1)), "inclusive", "*after*"),
        (lambda count, threshold, ratio: (0, int(ratio * count)), "place", "Expected about"),
    ],
    "fooled": [
        (lambda honest: [0.0, *honest[1:]], "zero", "not paid"),
        (lambda honest: honest, "not_paid", "10 more"),
        (lambda honest: [honest[0], honest[1] - 20, *honest[2:]], "ups_and_downs", "Only the ends"),
        (lambda honest: [*honest[:-2], 1.0, honest[-1]], "ups_and_downs", "fall"),
        (lambda honest: [honest[0] - 3, *honest[1:]], "not_paid", "Which two"),
        (lambda honest: [a - 20 for a in honest], "last", "must stay"),
        (lambda honest: [1.0, *honest[1:-1], 100.0], "above", "learning"),
        (lambda honest: [-50.0, *honest[1:]], "range", "0 to 100"),
        (lambda honest: [1.0, *honest], "shape", "shape"),
    ],
    "verdict": [
        (judged(samples=False), "samples", "number"),
        (judged(interval=lambda a, b: (np.mean(a) - np.mean(b), 0)), "mean", "includes zero"),
        (
            judged(interval=lambda a, b: (np.mean(np.subtract(a, b)), 0.7 * paired(a, b).half)),
            "mean",
            "by t",
        ),
        (judged(values=by_place), "pairing", "by the key"),
        (judged(interval=torn), "unpaired", "cancels out"),
        (judged(interval=overlap), "unpaired", "seed by seed"),
        (judged(one_seed=False), "one_seed", "no spread"),
        (judged(words=("harms", "helps", "not shown")), "direction", "direction"),
        (lambda curriculum, control: "not comparable", "refused", "compare them"),
        (judged(words=("helps", "harms", "no effect")), "type", "not shown"),
        (judged(words=(True, False, None)), "type", "one of"),
    ],
}
