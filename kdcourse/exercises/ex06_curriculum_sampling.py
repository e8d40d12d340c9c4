"""Checks of exercise 06: curriculum sampling."""

import math

import numpy as np
import torch
from torch.nn import functional as F

from kdcourse import plots
from kdcourse.checking import expect
from kdcourse.checking.task import Answer, Wrong, task
from kdcourse.curriculum import Linear, adaptive, easy_to_hard, epoch_size
from kdcourse.curriculum.sampling import EASY_FIRST
from kdcourse.evaluation import mean_interval, paired_interval

IMAGES, EPOCHS, RATIO = 1000, 20, 0.6  # of the curriculum whose samples are counted


@task(
    "ex06",
    title="Difficulty from two probabilities",
    minutes=8,
    difficulty="easy",
    points=2,
    hints=[
        "Three parts, each (N,): 1 − max p_t, H(p_t) / ln C, and KL(p_t ‖ p_s) / 5, which is cut "
        "at 1.",
        "Where p_t is 0 its term of the entropy and of KL is 0, but p_t.log() is −∞ there and 0 · "
        "−∞ is NaN.",
        "torch.xlogy(p, q) is p · ln q, and 0 where p is 0, whatever q.",
    ],
)
def difficulty(answer: Answer, rng: torch.Generator) -> None:
    """Compute D3's difficulty from two networks' probabilities, of which some are exactly 0."""
    for samples, classes, certain in ((6, 4, 0), (8, 10, 3), (1, 3, 1)):
        p_t = F.softmax(
            3
            * torch.rand(samples, 1, generator=rng)
            * torch.randn(samples, classes, generator=rng),
            1,
        )
        p_s = (
            F.softmax(8 * torch.randn(samples, classes, generator=rng), 1) * 0.999 + 0.001 / classes
        )
        if samples > 1:  # one sample whose divergence is cut, and one that the student has learned
            p_t[-1], p_s[-1] = 0.01 / (classes - 1), 2e-4
            p_t[-1, 0], p_s[-1, 1] = 0.99, 1 - 2e-4 * (classes - 1)
            p_s[-2] = p_t[-2]
        for kept, row in zip(
            (1, 2, 2), p_t[:certain], strict=False
        ):  # the other classes have exactly 0
            row[row < row.sort().values[-kept]] = 0
        p_t, p_s = p_t.double(), p_s.double()
        p_t, p_s = p_t / p_t.sum(1, keepdim=True), p_s / p_s.sum(1, keepdim=True)
        expected, mistakes = _difficulties(p_t, p_s)
        value = expect.shape(answer(p_t.float(), p_s.float()), (samples,), of="the difficulty")
        if value.isnan().any():
            raise Wrong(
                f"{int(value.isnan().sum())} of {samples} are NaN. Where p_t is 0, its logarithm "
                "is −∞, and 0 · −∞ is "
                "not a number. By its limit, p ln p is 0 there: see torch.xlogy, or leave the "
                "zeros out.",
                "zero",
            )
        expect.close(
            value,
            expected,
            mistakes,
            rtol=1e-3,
            atol=1e-4,
            of=f"the difficulty of {samples} sample(s)",
        )


def _difficulties(p_t: torch.Tensor, p_s: torch.Tensor) -> tuple[torch.Tensor, dict]:
    confidence, entropy = 1 - p_t.max(1).values, -torch.xlogy(p_t, p_t).sum(1)
    kl = (torch.xlogy(p_t, p_t) - torch.xlogy(p_t, p_s)).sum(1)
    swapped = (torch.xlogy(p_s, p_s) - torch.xlogy(p_s, p_t.clamp(min=1e-12))).sum(1)
    spread = entropy / math.log(p_t.shape[1])
    cut = (kl / 5).clamp(max=1)

    def total(confidence=confidence, entropy=spread, divergence=cut, weights=(0.3, 0.3, 0.4)):
        return weights[0] * confidence + weights[1] * entropy + weights[2] * divergence

    return total(), {
        "confident": (
            total(1 - confidence),
            "A confident teacher makes a sample *easy*: the part is 1 − max p_t.",
        ),
        "not_normalised": (
            total(entropy=entropy),
            "The entropy is not divided by ln C, its largest value.",
        ),
        "bits": (
            total(entropy=spread / math.log(2)),
            "The entropy is in bits and ln C in nats: take both with the same logarithm.",
        ),
        "by_classes": (
            total(entropy=entropy / p_t.shape[1]),
            "The entropy is divided by C: it should be by ln C.",
        ),
        "sign": (
            total(entropy=-spread),
            "The entropy has the wrong sign: it is −Σ p ln p, 0 or more.",
        ),
        "not_scaled": (
            total(divergence=kl.clamp(max=1)),
            "KL is not divided by 5 before it is cut at 1.",
        ),
        "not_cut": (
            total(divergence=kl / 5),
            "KL / 5 is not cut: it counts as 1 where it is more.",
        ),
        "cut_first": (
            total(divergence=kl.clamp(max=1) / 5),
            "KL is cut at 1 before it is divided by 5: divide first.",
        ),
        "swapped": (
            total(divergence=(swapped / 5).clamp(max=1)),
            "This is KL(p_s ‖ p_t): the teacher's probabilities weigh the logarithms, Σ p_t (ln "
            "p_t − ln p_s).",
        ),
        "cross_entropy": (
            total(divergence=(-torch.xlogy(p_t, p_s).sum(1) / 5).clamp(max=1)),
            "This takes the cross-entropy −Σ p_t ln p_s: KL is that less the teacher's own "
            "entropy.",
        ),
        "weights": (
            total(weights=(0.4, 0.3, 0.3)),
            "The weights are in another order: 0.3 confidence, 0.3 entropy, 0.4 divergence.",
        ),
        "equal_weights": (
            total(weights=(1 / 3,) * 3),
            "The parts are weighed alike: D3 takes 0.3, 0.3 and 0.4.",
        ),
        "unweighted": (
            total(weights=(1, 1, 1)),
            "The parts are added without their weights 0.3, 0.3 and 0.4.",
        ),
        "student": (
            total(1 - p_s.max(1).values, -torch.xlogy(p_s, p_s).sum(1) / math.log(p_t.shape[1])),
            "Confidence and entropy are the student's here: D3 takes the teacher's.",
        ),
    }


@task(
    "ex06",
    title="What easy_to_hard draws",
    minutes=12,
    difficulty="hard",
    points=3,
    hints=[
        "Four steps: how many samples are covered, how large is a bucket, how many are wanted of "
        "each, and how many "
        "of these does the bucket hold?",
        "share = np.array([5, 3, 2, 1, 1]) ** (1 + 2 * (1 - threshold)), then size * share / "
        "share.sum(), rounded "
        "down.",
        "No bucket gives more than it has: np.minimum(wanted, covered // 5).",
    ],
)
def drawn(answer: Answer, rng: torch.Generator) -> None:
    """Work out how many samples D3's easy_to_hard really draws from each of its five buckets."""
    for threshold in (_whole(rng, 6, 9) / 10, _whole(rng, 1, 4) / 10, 0.0):
        count, ratio = 100 * _whole(rng, 5, 20), (0.5, 0.7, 0.8)[_whole(rng, 0, 2)]
        while _unsuited(count, threshold, ratio):
            count += 100
        size = epoch_size(count, ratio)
        expected = [stretch.drawn for stretch in easy_to_hard.plan(count, threshold, ratio)]
        covered = round(count * (0.5 + 0.5 * threshold))

        def of(shares, covered=covered, size=size, cap=True, rounding=np.floor):
            wanted = rounding(size * shares / shares.sum())
            return np.minimum(wanted, covered // 5) if cap else wanted

        shares = EASY_FIRST ** (1 + 2 * (1 - threshold))
        kept = [
            stretch.drawn for stretch in easy_to_hard.plan(count, threshold, ratio, keep_size=True)
        ]
        mistakes = {
            "not_capped": (
                of(shares, cap=False),
                f"A bucket of {covered // 5} samples gives no more than it has, whatever its "
                "share.",
            ),
            "kept_size": (
                kept,
                "This keeps the promised size, as ours does with keep_size. D3's leaves the epoch "
                "smaller.",
            ),
            "all_samples": (
                of(shares, covered=count),
                "The buckets are made of all samples: D3's hold the easiest (0.5 + 0.5θ)N.",
            ),
            "covered_ratio": (
                of(shares, size=epoch_size(covered, ratio)),
                "The size wanted is r times *all* samples, not r times those that are covered.",
            ),
            "power": (
                of(EASY_FIRST ** (1 + 2 * threshold)),
                "The power is 1 + 2(1 − θ): it leans to the easy most strongly at θ = 0.",
            ),
            "no_power": (
                of(EASY_FIRST),
                "The proportions are not raised to the power 1 + 2(1 − θ).",
            ),
            "product": (
                of(EASY_FIRST * (1 + 2 * (1 - threshold))),
                "The proportions are multiplied by 1 + 2(1 − θ), which changes none: raise them to "
                "this power.",
            ),
            "flipped": (
                of(shares[::-1]),
                "The buckets are the wrong way round: 5 belongs to the easiest.",
            ),
            "uniform": (
                of(np.ones(5)),
                "All buckets are drawn alike: D3 draws them in proportion to their shares.",
            ),
            "rounded": (
                of(shares, rounding=np.round),
                "What a bucket is asked for is rounded down.",
            ),
            "rounded_up": (
                of(shares, rounding=np.ceil),
                "What a bucket is asked for is rounded down.",
            ),
            "not_rounded": (of(shares, rounding=np.array), "Samples are whole: round down."),
        }
        case = f"N = {count}, θ = {threshold:g}, r = {ratio:g}: "
        value = expect.shape(answer(count, threshold, ratio), (5,), of="the numbers drawn")
        expect.close(
            value,
            np.array(expected, dtype=float),
            mistakes,
            atol=1e-6,
            of=f"{case}the numbers drawn",
        )


def _whole(rng: torch.Generator, low: int, high: int) -> int:
    return int(torch.randint(low, high + 1, (), generator=rng))


def _unsuited(count: int, threshold: float, ratio: float) -> bool:
    """Whether rounding errors decide about a whole number, or rounding up and down come to the
    same.
    """
    shares = EASY_FIRST ** (1 + 2 * (1 - threshold))
    wanted = epoch_size(count, ratio) * shares / shares.sum()
    parts = (wanted % 1)[2:]  # of buckets that are not full
    return (
        bool(threshold and not parts.min() < 0.45 < 0.55 < parts.max())
        or bool((np.abs(wanted - wanted.round()) < 1e-6).any())
        or int(ratio * count) != round(ratio * count)
        or int((0.5 + 0.5 * threshold) * count) != round((0.5 + 0.5 * threshold) * count)
        or int((1 + threshold) / 2 * count) != round((1 + threshold) / 2 * count)
    )


def _sizes(ratio: float, thresholds, keep_size: bool = False) -> list[int]:
    """Of an epoch at each θ."""
    plans = [easy_to_hard.plan(IMAGES, threshold, ratio, keep_size) for threshold in thresholds]
    return [sum(stretch.drawn for stretch in plan) for plan in plans]


@task(
    "ex06",
    title="Sixty per cent?",
    minutes=6,
    difficulty="easy",
    points=1,
    hints=[
        "How many samples does one epoch hold? Your `drawn` says it, or the plan of "
        "`easy_to_hard`: sum what its "
        "stretches draw.",
        "θ is e / 20 in epoch e, which runs from 0 to 19. Sum over these twenty epochs.",
        "Plain distillation sees 20 · 1000 samples. Divide, and take it in %.",
    ],
)
def seen_share(answer: Answer, rng: torch.Generator) -> None:
    """Count which share of plain distillation's samples a curriculum of 60 % really sees."""
    thresholds = [Linear()(epoch / EPOCHS) for epoch in range(EPOCHS)]
    sizes = np.array(_sizes(RATIO, thresholds))
    share = 100 * sizes.mean() / IMAGES
    value = expect.scalar(expect.typed(answer.value(), "the share seen"), of="the share seen")
    mistakes = {
        "promise": (100 * RATIO, "60 % is what is promised. Count what the buckets can give."),
        "of_promised": (
            share / RATIO,
            "This is the share of the *promised* samples: divide by those of plain KD.",
        ),
        "first": (
            100 * sizes[0] / IMAGES,
            "This is the first epoch's share: later ones draw more. Sum over all.",
        ),
        "last": (
            100 * sizes[-1] / IMAGES,
            "This is the last epoch's share: earlier ones draw less. Sum over all.",
        ),
        "whole_run": (
            100 * sizes.sum() / IMAGES,
            "This divides by one epoch of plain KD, which has 20 of them too.",
        ),
        "middle": (
            100 * _sizes(RATIO, [0.5])[0] / IMAGES,
            "This is the share at the middle θ: the size does not grow evenly with θ, so sum over "
            "the epochs.",
        ),
    }
    within = 0.3  # % of the samples: less than what another rounding of the shares makes
    if abs(value - share / 100) <= within / 100:
        raise Wrong(f"{value:g} is the share as a fraction: give it in %.", "fraction")
    ends = 100 * np.mean(_sizes(RATIO, np.linspace(0, 1, EPOCHS))) / IMAGES
    mistakes["to_one"] = (ends, "θ is e / 20 here, so it ends at 0.95 and not at 1.")
    expect.read_off(value, share, within, mistakes, of="the share seen, in %")


@task(
    "ex06",
    title="Mend the window",
    minutes=8,
    difficulty="medium",
    points=2,
    hints=[
        "The window is rN ranks long. Where it hangs over an end, move it inward rather than cut "
        "it.",
        "Only its start needs care: no less than 0, and no more than N − rN. The stop is the start "
        "plus rN.",
        "start = min(max(round((threshold - ratio / 2) * count), 0), count - size)",
    ],
)
def window(answer: Answer, rng: torch.Generator) -> None:
    """Mend D3's adaptive window, so that every θ draws the promised number of ranks."""
    wrong, fractions = {}, []
    for threshold in (0.0, 1.0, 0.5, 0.05 * _whole(rng, 1, 5), 0.05 * _whole(rng, 14, 19)):
        count, ratio = 20 * _whole(rng, 5, 50), 0.05 * _whole(rng, 8, 17)
        threshold, ratio = round(threshold, 2), round(ratio, 2)
        while int(ratio * count) != round(ratio * count):  # rounding errors shall not decide
            count += 20
        size = epoch_size(count, ratio)
        [(start, stop, _)] = adaptive.plan(count, threshold, ratio, keep_size=True)
        value = expect.shape(answer(count, threshold, ratio), (2,), of="(start, stop)")
        value = expect.finite(value, of="(start, stop)").tolist()
        if (
            abs(value[1] - value[0] - size) > 1e-6
            or abs(value[0] - start) > 1
            or value[0] < 0
            or value[1] > count
        ):
            wrong[threshold] = value, start, stop, count, threshold, ratio
        if any(abs(end - round(end)) > 1e-6 for end in value):
            fractions.append(value)
    if len(wrong.keys() & {0.0, 1.0}) == 1:
        easy, hard = ("wrong", "right") if 0.0 in wrong else ("right", "wrong")
        its = _wrong_window(*wrong[0.0 if 0.0 in wrong else 1.0])
        if its.fault in ("cut", "not_moved"):
            said = f"The easy end is {easy} and the hard end {hard}. {its.message}"
            raise Wrong(said, "easy_end" if 0.0 in wrong else "hard_end", its.figure)
    if wrong:
        raise _wrong_window(*next(iter(wrong.values())))
    if fractions:
        raise Wrong(
            "Ranks are whole numbers: round start, got ({:g}, {:g}).".format(*fractions[0]),
            "fraction",
        )


def _wrong_window(
    value: list, start: int, stop: int, count: int, threshold: float, ratio: float
) -> Wrong:
    size, case = stop - start, f"N = {count}, θ = {threshold:g}, r = {ratio:g}"
    low, high = (threshold - ratio / 2) * count, (threshold + ratio / 2) * count
    even = threshold * (count - size)
    mistakes = {
        "order": ((stop, start), "Start and stop have changed places."),
        "shares": ((start / count, stop / count), "These are shares of the ranks: multiply by N."),
        "cut": (
            (max(low, 0), min(high, count)),
            f"The window is cut at the end: it holds {min(high, count) - max(low, 0):.0f} ranks of "
            f"{size} promised.",
        ),
        "not_moved": (
            (low, high),
            f"The window reaches over the end: ranks run from 0 to {count}.",
        ),
        "stretched": (
            (even, even + size),
            "The window slides evenly from one end to the other. D3's has its middle at θN, "
            "wherever that fits.",
        ),
        "from_threshold": (
            (min(threshold * count, count - size), min(threshold * count, count - size) + size),
            "The window starts at θN: θN is its *middle*.",
        ),
    }
    fault, sentence = ("place" if abs(value[1] - value[0] - size) < 1e-6 else "size"), ""
    if abs(value[0] - start) <= 1 and abs(abs(value[1] - value[0] - size) - 1) < 1e-6:
        fault, sentence = (
            "inclusive",
            "It is one rank off: stop is the rank *after* the last one drawn. ",
        )
    else:
        for name, (instead, why) in mistakes.items():
            near = 1e-3 if name == "shares" else 1
            if _within(near, value, instead) and not _within(1.5, instead, (start, stop)):
                fault, sentence = name, f"{why} "
                break
    drawn = np.arange(max(round(value[0]), 0), min(round(value[1]), count))
    figure = (
        plots.drawn_ranks(drawn, count, promised=size, title=f"yours: {case}")
        if len(drawn)
        else None
    )
    came = f"got ({value[0]:g}, {value[1]:g}), which is {value[1] - value[0]:g}"
    return Wrong(
        f"{case}: {sentence}Expected about ({start}, {stop}), {size} ranks; {came}.", fault, figure
    )


def _within(distance: float, pair, other) -> bool:
    return all(abs(a - b) <= distance for a, b in zip(pair, other, strict=True))


@task(
    "ex06",
    title="Fool the reward",
    minutes=8,
    difficulty="medium",
    points=2,
    hints=[
        "Add up the accuracy part over the epochs: 2(a₂ − a₁) + 2(a₃ − a₂) + … What is left of it?",
        "Only the first and the last accuracy count. The last must stay.",
        "So spoil the first epoch. But look at the condition a_{t−1} > 0: after an accuracy of "
        "exactly 0 nothing is "
        "paid.",
    ],
)
def fooled(answer: Answer, rng: torch.Generator) -> None:
    """Find accuracies that are nowhere better than a run's, and earn more of D3's reward."""
    for epochs in (5, 8):
        rises = 1 + 8 * torch.rand(epochs, generator=rng).double()
        honest = [round(a, 1) for a in (34 + rises.cumsum(0) * 45 / rises.sum()).tolist()]
        value = expect.shape(answer(list(honest)), (epochs,), of="the accuracies")
        value = expect.finite(value, of="the accuracies").tolist()
        if min(value) < 0 or max(value) > 100:
            raise Wrong(
                f"Accuracies are in %, from 0 to 100: got {min(value):g} to {max(value):g}.",
                "range",
            )
        higher = [
            epoch
            for epoch, (ours, its) in enumerate(zip(value, honest, strict=True), 1)
            if ours > its + 1e-6
        ]
        if higher:
            at = higher[0]
            raise Wrong(
                f"In epoch {at} your accuracy is {value[at - 1]:g}, above the run's "
                f"{honest[at - 1]:g}. That is no "
                "fooling, that is learning: stay at or below it.",
                "above",
            )
        if abs(value[-1] - honest[-1]) > 1e-3:
            raise Wrong(f"The last accuracy must stay {honest[-1]:g}: got {value[-1]:g}.", "last")
        earned, fair = (_reward(accuracies) for accuracies in (value, honest))
        if earned < fair + 10:
            raise _unpaid(value, earned, fair)


def _reward(accuracies: list[float]) -> float:
    """D3's, over a run whose training loss never rises."""
    steps = [
        2 * (now - before)
        for before, now in zip(accuracies, accuracies[1:], strict=False)
        if before > 0
    ]
    epochs = len(accuracies)
    early = sum(2 for epoch, a in enumerate(accuracies, 1) if a > 60 and epoch < 0.3 * epochs)
    return sum(steps) + early + sum(0.1 * max(a - 70, 0) for a in accuracies)


def _unpaid(value: list[float], earned: float, fair: float) -> Wrong:
    said = f"Yours earn {earned:.1f}, the run's {fair:.1f}: expected at least 10 more."
    if 0 in value[:-1]:
        why = (
            "After an accuracy of exactly 0 the step up is not paid: see the condition a_{t−1} > 0."
        )
        return Wrong(f"{why} {said}", "zero")
    if any(after < before for before, after in zip(value, value[1:], strict=False)):
        why = "To fall and rise again earns nothing: what the rise pays, the fall has cost. Only the ends count."
        return Wrong(f"{why} {said}", "ups_and_downs")
    return Wrong(f"{said} Which two accuracies remain when the steps are added up?", "not_paid")


VERDICTS = ("helps", "harms", "not shown", "not comparable")


@task(
    "ex06",
    title="Is it the order?",
    minutes=12,
    difficulty="medium",
    points=2,
    hints=[
        "First ask whether the two may be compared at all: did they see equally many samples? Only "
        "then look at "
        "accuracies.",
        "Pair by the seed, which is the key of the dictionary: the two need not be in the same "
        "order.",
        "paired_interval(a, b) gives the mean and half the interval. One seed has no interval: "
        "half is nan, and every "
        "comparison with nan is False.",
    ],
)
def verdict(answer: Answer, rng: torch.Generator) -> None:
    """Say what a curriculum's runs and its control's show about the order of the samples."""
    cases = [  # the last is also tried last: who does not pair at all fails before
        ("helps", dict(gain=2.0, spread=0.3)),
        ("harms", dict(gain=-2.0, spread=0.3)),
        ("not shown", dict(gain=1.0, spread=0.9)),  # ± 1.12 by t, less than 1 by 1.96 or by 90 %
        ("helps", dict(gain=1.5, spread=0.2, seeds=4, luck=6.0)),  # clear by pairs, drowned without
        ("not comparable", dict(gain=4.0, spread=0.3, more=1.4)),
        ("not comparable", dict(gain=-4.0, spread=0.3, more=0.6)),
        ("not shown", dict(gain=3.0, spread=0.0, seeds=1)),
        ("harms", dict(gain=-1.5, spread=0.2, seeds=4, luck=6.0, shuffled=True)),
    ]
    for place in [*torch.randperm(len(cases) - 1, generator=rng).tolist(), -1]:
        expected, how = cases[place]
        curriculum, control = _two_arms(rng, **how)
        came = expect.one_of(answer(curriculum, control), VERDICTS, of="the verdict")
        if came != expected:
            raise _misjudged(came, expected, curriculum, control)


def _two_arms(rng, gain, spread, seeds=5, luck=1.0, more=1.0, shuffled=False) -> tuple[dict, dict]:
    """Runs of a curriculum and its control: their paired gains have just this mean and standard
    deviation.
    """
    scores = torch.randn(seeds, generator=rng).double()
    scores = (scores - scores.mean()) / scores.std() if seeds > 1 else scores * 0
    common = torch.linspace(-1, 1, seeds).double()[
        torch.randperm(seeds, generator=rng)
    ]  # of a seed, to both arms
    base = 70 + luck * common
    names = torch.randperm(90, generator=rng)[:seeds].tolist()
    order = sorted(range(seeds), key=lambda i: base[i].item(), reverse=True)
    accuracy = (base + gain + spread * scores).tolist()
    curriculum = {names[i]: round(accuracy[i], 2) for i in (order if shuffled else range(seeds))}
    control = {
        names[i]: round(base[i].item(), 2) for i in (order[::-1] if shuffled else range(seeds))
    }
    samples = 100 * _whole(rng, 50, 200)
    return (
        {"samples": round(samples * more), "accuracy": curriculum},
        {"samples": samples, "accuracy": control},
    )


def _misjudged(came: str, expected: str, curriculum: dict, control: dict) -> Wrong:
    ours, theirs = curriculum["accuracy"], control["accuracy"]
    gain, half = paired_interval([ours[seed] for seed in ours], [theirs[seed] for seed in ours])
    said = f'Expected "{expected}", got "{came}".'
    if expected == "not comparable":
        counts = f"{curriculum['samples']} samples seen against {control['samples']}"
        return Wrong(
            f"{said} {counts}: a difference may come from their number and not from the order.",
            "samples",
        )
    if came == "not comparable":
        return Wrong(
            f"{said} Both saw {control['samples']} samples, and have the same seeds: compare them.",
            "refused",
        )
    if len(ours) == 1:
        return Wrong(
            f"{said} One seed has no spread, so no interval: it shows nothing, however large.",
            "one_seed",
        )
    interval = f"Paired by seed the gain is {gain:+.2f} ± {half:.2f} points"
    if {came, expected} == {"helps", "harms"}:
        return Wrong(
            f"{said} {interval}, curriculum less control: mind the direction.", "direction"
        )
    if expected == "not shown":
        why = "the 95 % interval, by t, includes zero. The mean alone shows nothing"
        return Wrong(f"{said} {interval}: {why}.", "mean")
    by_place = paired_interval(list(ours.values()), list(theirs.values()))
    if list(ours) != list(theirs) and abs(by_place[0]) <= by_place[1]:
        why = "The seeds of the two stand in different orders: pair by the key, not by the place."
        return Wrong(f"{said} {why} {interval}.", "pairing")
    apart = sum(mean_interval(list(arm.values()))[1] for arm in (ours, theirs))
    if abs(gain) <= apart:
        why = "Compare seed by seed: what a seed does to both arms alike cancels out"
        return Wrong(f"{said} {why}. {interval}.", "unpaired")
    return Wrong(f"{said} {interval}.", "missed")
