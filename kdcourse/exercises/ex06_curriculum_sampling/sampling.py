"""The judges of sampling: images drawn, images seen and a growing window."""

import numpy as np
import torch

from kdcourse import plots
from kdcourse.checking import expect
from kdcourse.checking.task import Answer, Wrong, task
from kdcourse.curriculum import Linear, adaptive, easy_to_hard, epoch_size
from kdcourse.curriculum.strategies import EASY_FIRST
from kdcourse.exercises.draws import whole_number

IMAGES, EPOCHS, RATIO = 1000, 20, 0.6  # of the curriculum whose samples are counted


@task(
    "ex06",
    title="What easy_to_hard draws",
    minutes=12,
    difficulty="hard",
    points=3,
    hints=[
        "Four steps: how many samples are covered, how large is a bucket, how many are wanted of "
        "each, and how many of these does the bucket hold?",
        "share = np.array([5, 3, 2, 1, 1]) ** (1 + 2 * (1 - threshold)), then size * share / "
        "share.sum(), rounded down.",
        "No bucket gives more than it has: np.minimum(wanted, covered // 5).",
    ],
)
def drawn(answer: Answer, rng: torch.Generator) -> None:
    """Work out how many samples D3's easy_to_hard really draws from each of its five buckets."""
    for threshold in (whole_number(rng, 6, 9) / 10, whole_number(rng, 1, 4) / 10, 0.0):
        count, ratio = 100 * whole_number(rng, 5, 20), (0.5, 0.7, 0.8)[whole_number(rng, 0, 2)]
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
        mistakes = _drawn_mistakes(of, threshold, count, ratio, covered, shares, kept)
        case = f"N = {count}, θ = {threshold:g}, r = {ratio:g}: "
        value = expect.shape(answer(count, threshold, ratio), (5,), of="the numbers drawn")
        expect.close(
            value,
            np.array(expected, dtype=float),
            mistakes,
            atol=1e-6,
            of=f"{case}the numbers drawn",
        )


def _drawn_mistakes(of, threshold, count, ratio, covered, shares, kept) -> dict:
    """Values of the likely mistakes by name, each with a sentence to the learner."""
    return {
        "not_capped": (
            of(shares, cap=False),
            f"A bucket of {covered // 5} samples gives no more than it has, whatever its share.",
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
        "`easy_to_hard`: sum what its stretches draw.",
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
    for threshold in (
        0.0,
        1.0,
        0.5,
        0.05 * whole_number(rng, 1, 5),
        0.05 * whole_number(rng, 14, 19),
    ):
        count, ratio = 20 * whole_number(rng, 5, 50), 0.05 * whole_number(rng, 8, 17)
        threshold, ratio = round(threshold, 2), round(ratio, 2)
        while int(ratio * count) != round(ratio * count):  # rounding errors must not decide
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
        first = _wrong_window(*wrong[0.0 if 0.0 in wrong else 1.0])
        if first.fault in ("cut", "not_moved"):
            message = f"The easy end is {easy} and the hard end {hard}. {first.message}"
            raise Wrong(message, "easy_end" if 0.0 in wrong else "hard_end", first.figure)
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
