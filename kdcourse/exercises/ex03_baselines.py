"""Exercise 03, baselines: how many test images, a paired interval, calibration, a stopping point,
five comparisons.
"""

import math
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import torch
from scipy import stats
from sklearn.datasets import load_digits
from torch import nn
from torch.nn import functional as F
from torchmetrics.functional.classification import multiclass_calibration_error

from kdcourse.checking import expect
from kdcourse.checking.task import Answer, Wrong, task
from kdcourse.evaluation import paired_interval
from kdcourse.training import History


def _uniform(low: float, high: float, rng: torch.Generator) -> float:
    return low + (high - low) * float(torch.rand((), generator=rng, dtype=torch.float64))


# --- how many test images? ------------------------------------------------------------------------

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
    cases = [(90.0, 1.0), (50.0, 5.0), (99.0, _uniform(2.5, 4, rng))]
    cases += [(_uniform(55, 95, rng), _uniform(1.5, 6, rng)) for _ in range(3)]
    for accuracy, points in cases:
        p, width = accuracy / 100, points / 100
        right = {_images(p, width, z) for z in (1.96, Z)}
        got = expect.scalar(answer(accuracy, points), of="n")
        if got in right:
            continue
        n = max(right)
        what = f"accuracy {accuracy:.4g} %, ± {points:.4g} points: expected {n} images, got {got:g}"
        if got != round(got):
            raise Wrong(
                f"{what}. Images are whole: the smallest whole number that is enough.", "fraction"
            )
        wald = Z**2 * p * (1 - p) / width**2
        ninety = stats.norm.ppf(0.95)
        mistakes = {
            "one too few": ({n - 1}, "With so few the interval is a little too wide: round up."),
            "one too many": ({n + 1}, "One image fewer is enough as well."),
            "wald": (
                set(range(math.floor(wald), math.ceil(wald) + 2)),
                "That is the number for p ± z √(p(1 − p)/n). "
                "Wilson's interval has more to it: z²/4n² under the root, and 1 + z²/n below.",
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
            raise Wrong(f"{what}. {mistakes['wald'][1]}", "wald")
        for fault, (values, why) in mistakes.items():
            if got in values:
                raise Wrong(f"{what}. {why}", fault)
        raise Wrong(f"{what}. Are accuracy and points in %, as they are given?", "value")


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
            f"got {got[1]:.4g}. "
            "0 would claim certainty.",
            "one seed",
        )


def _by_seed(n: int, rng: torch.Generator) -> tuple[dict, dict]:
    """Accuracies by seed of a method and its baseline: a seed lifts or lowers both."""
    seeds = (torch.randperm(40, generator=rng)[:n]).tolist()
    common, own, other = torch.randn(3, n, generator=rng, dtype=torch.float64)
    baseline = 80 + 3 * common + 0.4 * own
    gain = _uniform(0.5, 2, rng) * (1 if _uniform(0, 1, rng) < 0.5 else -1)
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
    means = {
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
    expect.close(got[0], mean, means, of="the mean difference", rtol=1e-4, atol=1e-6)
    halves = {
        "not paired": (
            stats.t.ppf(0.975, 2 * n - 2) * unpaired,
            "That is the interval of two groups that have nothing to "
            "do with each other. Take the spread of the *differences*.",
        ),
        "not paired, n − 1": (
            t * unpaired,
            "That is the interval of two groups that have nothing to do with each other. Take "
            "the spread of the *differences*.",
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
    expect.close(
        got[1], half, halves, of=f"half the interval's width ({n} pairs)", rtol=3e-4, atol=1e-6
    )


def _sorted_mean(method: dict, baseline: dict) -> float:
    pairs = zip(sorted(method.values()), sorted(baseline.values()), strict=False)
    return float(np.mean([a - b for a, b in pairs]))


# --- calibration ----------------------------------------------------------------------------------


@task(
    "ex03",
    title="How sure it may be",
    minutes=15,
    difficulty="hard",
    points=3,
    hints=(
        "For each sample two numbers: its confidence, the largest probability; and whether it is "
        "right.",
        "Bin: min(int(confidence · bins), bins − 1). A confidence of exactly 1 belongs to the last "
        "bin.",
        "ECE = Σ over bins that are not empty of (samples in it / all) · |mean confidence − share "
        "right|, in %.",
    ),
)
def calibration_error(answer: Answer, rng: torch.Generator) -> None:
    """Expected calibration error in % of logits (N, C), over equal bins of confidence (Guo et al.
    2017, eq. 3).
    """
    for n, classes, scale, bins in (
        (300, 4, 2.0, 15),
        (200, 10, 4.0, 10),
        (40, 3, 1.0, 15),
        (50, 3, 60.0, 15),
        (1, 3, 1.0, 15),
    ):
        logits = scale * torch.randn(n, classes, generator=rng)
        labels = torch.where(
            torch.rand(n, generator=rng) < 0.5,
            logits.argmax(1),
            torch.randint(0, classes, (n,), generator=rng),
        )
        expected, raw = _ece(logits, labels, bins), logits.softmax(1)
        got = expect.scalar(
            expect.finite(
                answer(logits, labels, bins),
                of="the calibration error",
                because="A bin without samples has no mean: leave it out.",
            )
        )
        if got > 100.01:
            said = f"An error of {got:.4g} % cannot be: confidence and accuracy lie between 0 and 100 %."
            summed = _ece(logits, labels, bins, weighted=False, empty=True) * bins
            if any(
                math.isclose(got, value, rel_tol=1e-3)
                for value in (expected * n, summed, expected * n / bins)
            ):
                raise Wrong(
                    f"{said} Each bin counts by the share of samples in it, n_b / N.", "unweighted"
                )
            raise Wrong(
                f"{said} Logits are not probabilities: is there a softmax? And does each bin count "
                "by n_b / N?",
                "no softmax",
            )
        own_bin = (
            100 * multiclass_calibration_error(raw, labels, num_classes=classes, n_bins=bins).item()
        )
        if math.isclose(
            got, own_bin, rel_tol=1e-4
        ):  # torchmetrics: a confidence of exactly 1 has a bin of its own
            continue
        truth = raw.gather(1, labels[:, None])[:, 0]
        accuracy = (logits.argmax(1) == labels).double().mean()
        mistakes = {
            "fraction": (expected / 100, "It is asked for in %."),
            "no softmax": (
                _ece(logits, labels, bins, confidence=logits.max(1).values),
                "Logits are not probabilities: softmax first.",
            ),
            "unweighted": (
                _ece(logits, labels, bins, weighted=False),
                "Each bin counts by the share of samples in it; you took the plain mean over bins.",
            ),
            "unweighted, empty bins too": (
                _ece(logits, labels, bins, weighted=False, empty=True),
                "Each bin counts by the share of samples in it; you took the plain mean over bins.",
            ),
            "signed": (
                abs(_ece(logits, labels, bins, absolute=False)),
                "The gaps of the bins cancel each other: take the absolute value bin by bin.",
            ),
            "signed, negative": (
                _ece(logits, labels, bins, absolute=False),
                "The gaps of the bins cancel each other: take the absolute value bin by bin.",
            ),
            "per sample": (
                100 * (raw.max(1).values - (logits.argmax(1) == labels).double()).abs().mean(),
                "|confidence − "
                "right| of each sample is large even for a calibrated network: average within a "
                "bin first.",
            ),
            "label's probability": (
                _ece(logits, labels, bins, confidence=truth),
                "Confidence is the *largest* probability, not that of the true class.",
            ),
            "log": (
                _ece(logits, labels, bins, confidence=raw.max(1).values.log()),
                "Those are log-probabilities.",
            ),
            "ten bins": (_ece(logits, labels, 10), f"{bins} bins were asked for, not 10."),
            "fifteen bins": (_ece(logits, labels, 15), f"{bins} bins were asked for, not 15."),
            "last bin": (
                _ece(logits, labels, bins, last=False),
                "A confidence of exactly 1 falls out of your bins. It belongs to the last one.",
            ),
            "maximum": (
                _ece(logits, labels, bins, worst=True),
                "That is the largest gap of a bin (MCE). ECE is their weighted mean.",
            ),
            "squared": (
                100
                * multiclass_calibration_error(
                    raw, labels, num_classes=classes, n_bins=bins, norm="l2"
                ).item(),
                "The gaps were squared before they were averaged. Take their absolute value.",
            ),
            "equal counts": (
                _equal_counts(raw.max(1).values, logits.argmax(1) == labels, bins),
                "Your bins hold equally many samples. They are to be equally wide, from 0 to 1.",
            ),
            "accuracy": (100 * accuracy, "That is the accuracy."),
            "error": (
                100 * (1 - accuracy),
                "That is the share that is wrong, not the calibration error.",
            ),
        }
        mistakes = {name: case for name, case in mistakes.items() if math.isfinite(case[0])}
        expect.close(
            got,
            expected,
            mistakes,
            of=f"the error in % ({n} samples, {bins} bins)",
            rtol=2e-4,
            atol=1e-5,
        )


def _ece(
    logits,
    labels,
    bins,
    confidence=None,
    weighted=True,
    absolute=True,
    last=True,
    empty=False,
    worst=False,
) -> float:
    """Of logits (N, C), in %. The switches make the mistakes that the judge knows."""
    right = (logits.argmax(1) == labels).double()
    confidence = (logits.softmax(1).max(1).values if confidence is None else confidence).double()
    place = (confidence * bins).floor().long()
    if last:
        place = place.clamp(0, bins - 1)
    gaps, weights = [], []
    for b in range(bins):
        inside = place == b
        if inside.any():
            gap = confidence[inside].mean() - right[inside].mean()
            gaps.append(float(gap.abs() if absolute else gap))
            weights.append(float(inside.double().mean()))
    if worst:
        return 100 * max(gaps, default=0.0)
    if weighted:
        return 100 * sum(gap * weight for gap, weight in zip(gaps, weights, strict=True))
    return 100 * sum(gaps) / (bins if empty else max(1, len(gaps)))


def _equal_counts(confidence, right, bins) -> float:
    order, total = confidence.argsort(), 0.0
    for part in torch.tensor_split(order, bins):
        if len(part):
            total += len(part) * float(
                (confidence[part].double().mean() - right[part].double().mean()).abs()
            )
    return 100 * total / len(order)


# --- when to stop ---------------------------------------------------------------------------------


@task(
    "ex03",
    title="When to stop",
    minutes=6,
    difficulty="easy",
    points=1,
    hints=(
        "The right panel: where is the solid line, the validation loss, lowest?",
        "history.frame() is a table with a row an epoch: val_loss.idxmin() finds the row, "
        "val_accuracy what it had.",
    ),
)
def stopping(answer: Answer, rng: torch.Generator) -> None:
    """{"epoch": of the lowest validation loss, "lost": points of validation accuracy from there to
    the last epoch}.
    """
    said = answer.value()
    if not isinstance(said, dict) or set(said) != {"epoch", "lost"}:
        raise Wrong(f"Expected a dict with the keys 'epoch' and 'lost', got {said!r}.", "type")
    table = noisy_run().frame().set_index("epoch")
    epoch = expect.whole(expect.typed(said["epoch"], '"epoch"'), of='"epoch"')
    if epoch not in table.index:
        raise Wrong(
            f"There is no epoch {epoch}: they are counted from 1 to {len(table)}.", "no such epoch"
        )
    best = int(table.val_loss.idxmin())
    if table.val_loss[epoch] > 1.02 * table.val_loss[best]:
        at = f"At epoch {epoch} the validation loss is {table.val_loss[epoch]:.2f} nats; it has been lower"
        if epoch == len(table):
            raise Wrong(
                f"{at}. The training loss falls to the end, whatever the network learns: do not "
                "stop by it.",
                "last epoch",
            )
        if table.val_accuracy[epoch] >= table.val_accuracy.max() - 0.5:
            raise Wrong(
                f"{at}. You may have looked at the accuracy; the question is about the loss.",
                "best accuracy",
            )
        raise Wrong(
            f"{at} {'before' if epoch > best else 'after that' if epoch < best else ''}.".replace(
                " .", "."
            ),
            "too late" if epoch > best else "too early",
        )
    at_best, at_end = table.loc[best], table.iloc[-1]
    if abs(expect.scalar(expect.typed(said["lost"], '"lost"'), of='"lost"')) <= 1:
        raise Wrong(
            f"In points of accuracy, please: {said['lost']} looks like a fraction, or a difference "
            "of losses.",
            "unit",
        )
    expect.read_off(
        said["lost"],
        at_best.val_accuracy - at_end.val_accuracy,
        within=1.5,
        of='"lost", in points',
        mistakes={
            "sign": (
                at_end.val_accuracy - at_best.val_accuracy,
                "It is a loss: count the points that are lost.",
            ),
            "overfitting gap": (
                at_end.train_accuracy - at_end.val_accuracy,
                "That is the gap between train and validation "
                "at the end. Compare validation with validation: at your epoch, and at the last.",
            ),
            "accuracy": (
                at_end.val_accuracy,
                "That is the accuracy that is left. How much was lost?",
            ),
        },
    )


@lru_cache(maxsize=1)
def noisy_run() -> History:
    """A small network trained too long: 200 of scikit-learn's digits, of which a fifth bear a label
    drawn at random.

    300 full-batch steps, each counted as an epoch; validation: 500 other digits, with their own
    labels.
    """
    images, labels = load_digits(return_X_y=True)
    images, labels = torch.tensor(images) / 16, torch.tensor(labels).long()
    drawn = torch.Generator().manual_seed(0)
    order = torch.randperm(len(labels), generator=drawn)
    train, val = order[:200], order[-500:]
    given = labels[train].clone()
    given[:40] = torch.randint(0, 10, (40,), generator=drawn)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        network = nn.Sequential(
            nn.Linear(64, 128), nn.ReLU(), nn.Linear(128, 10)
        ).double()  # float64: as good as exact
    optimizer = torch.optim.Adam(network.parameters(), lr=3e-3)
    history = History()
    for epoch in range(1, 301):
        optimizer.zero_grad()
        F.cross_entropy(network(images[train]), given).backward()
        optimizer.step()
        with torch.no_grad():
            seen, unseen = network(images[train]), network(images[val])
        history.records.append(
            dict(
                epoch=epoch,
                loss=F.cross_entropy(seen, given).item(),
                train_accuracy=100 * (seen.argmax(1) == given).double().mean().item(),
                val_accuracy=100 * (unseen.argmax(1) == labels[val]).double().mean().item(),
                val_loss=F.cross_entropy(unseen, labels[val]).item(),
            )
        )
    return history


# --- what has been shown? -------------------------------------------------------------------------


@dataclass(frozen=True)
class Comparison:
    """A distilled student beside a student without a teacher; accuracies of runs in %, in the order
    of their seeds.
    """

    source: str
    distilled: tuple[float, ...]
    plain: tuple[float, ...]
    epochs: (
        tuple[int, int] | None
    )  # of the distilled and of the plain student; None: both trained alike
    augmented: tuple[bool, bool] = (True, True)
    reported: str = ""  # which epoch, if it was told

    @property
    def verdict(self) -> str:
        if (
            self.epochs
            and self.epochs[0] != self.epochs[1]
            or self.augmented[0] != self.augmented[1]
        ):
            return "two causes"
        if self.reported.endswith("test"):
            return "chosen on test"
        if len(self.plain) == 1:
            return "neither"
        mean, half = paired_interval(self.distilled, self.plain)
        return "neither" if abs(mean) <= half else "gain" if mean > 0 else "loss"

    def __str__(self) -> str:
        def student(i, accuracies):
            runs = ", ".join(f"{accuracy:.2f}" for accuracy in accuracies)
            if not self.epochs:
                return f"{runs} %"
            return f"{runs} % ({self.epochs[i]} epochs, {'' if self.augmented[i] else 'not '}augmented)"

        seeds = "one run each" if len(self.plain) == 1 else f"seeds 0 to {len(self.plain) - 1}"
        return (
            f"{self.source}; {seeds}{self.reported and ', ' + self.reported}.\n"
            f"   distilled {student(0, self.distilled)}\n"
            f"   plain     {student(1, self.plain)}"
        )


MADE_UP = "Made up"
COMPARISONS = {
    "A": Comparison("D1, published", (96.65,), (89.57,), (10, 10), (True, False)),
    "B": Comparison(
        MADE_UP,
        (78.4, 84.1, 80.9, 75.2, 82.6),
        (77.0, 82.9, 79.5, 74.3, 81.2),
        (60, 60),
        reported="last epoch",
    ),
    "C": Comparison("D2, published", (94.2,), (94.1,), (10, 5)),
    "D": Comparison(
        MADE_UP, (83.9, 80.2, 84.6), (80.1, 81.0, 81.6), (60, 60), reported="last epoch"
    ),
    "E": Comparison(
        "D4, published, response-based on MNIST, both trained alike", (98.0,), (97.9,), None
    ),
    "F": Comparison(
        MADE_UP,
        (71.8, 72.4, 71.1, 72.9),
        (70.2, 70.9, 69.9, 71.2),
        (40, 40),
        reported="best epoch on test",
    ),
    "G": Comparison(
        MADE_UP,
        (88.1, 86.9, 87.4, 88.0, 87.2),
        (88.9, 87.8, 88.0, 88.9, 88.1),
        (80, 80),
        reported="best epoch on validation",
    ),
}
WHY = {
    "two causes": "Is the teacher all that differs between the two students?",
    "chosen on test": "Which images chose the epoch that is reported?",
    "neither": "What does the paired interval say, if there can be one?",
    "gain": "Seeds lift and lower both students alike. Pair the runs, then look at the differences and their interval.",
    "loss": "Pair the runs, then look at the sign of the differences and at their interval.",
}


@task(
    "ex03",
    title="What has been shown",
    minutes=10,
    difficulty="medium",
    points=2,
    hints=(
        "First the design: does anything differ besides the teacher? Which images chose what is "
        "reported?",
        "Only then the numbers: paired_gain of task 2. Zero inside the interval: neither a gain "
        "nor a loss is shown.",
        "A single run each has no interval over seeds.",
    ),
)
def verdicts(answer: Answer, rng: torch.Generator) -> None:
    """What each of seven comparisons of a distilled with a plain student shows, by letter."""
    expect.sorted_into(
        answer.value(), {letter: each.verdict for letter, each in COMPARISONS.items()}, WHY
    )
