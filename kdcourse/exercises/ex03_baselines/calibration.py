"""The judge of the calibration error."""

import math

import torch
from torchmetrics.functional.classification import multiclass_calibration_error

from kdcourse.checking import expect
from kdcourse.checking.task import Answer, Wrong, task


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
        _check_range(n, bins, logits, labels, expected, got)
        own_bin = (
            100 * multiclass_calibration_error(raw, labels, num_classes=classes, n_bins=bins).item()
        )
        if math.isclose(
            got, own_bin, rel_tol=1e-4
        ):  # torchmetrics: a confidence of exactly 1 has a bin of its own
            continue
        mistakes = _mistakes(classes, bins, logits, labels, expected, raw)
        expect.close(
            got,
            expected,
            mistakes,
            of=f"the error in % ({n} samples, {bins} bins)",
            rtol=2e-4,
            atol=1e-5,
        )


def _mistakes(classes, bins, logits, labels, expected, raw) -> dict:
    """Values of the likely mistakes by name, each with a sentence to the learner."""
    mistakes = _averaging_mistakes(bins, logits, labels, expected, raw)
    mistakes |= _binning_mistakes(classes, bins, logits, labels, raw)
    return {name: case for name, case in mistakes.items() if math.isfinite(case[0])}


def _averaging_mistakes(bins, logits, labels, expected, raw) -> dict:
    """What slips in the unit, the weights and the gaps give."""
    return {
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
            "|confidence − right| of each sample is large even for a calibrated network: average "
            "within a bin first.",
        ),
    }


def _binning_mistakes(classes, bins, logits, labels, raw) -> dict:
    """What another confidence, other bins and other figures give."""
    truth = raw.gather(1, labels[:, None])[:, 0]
    accuracy = (logits.argmax(1) == labels).double().mean()
    return {
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


def _check_range(n, bins, logits, labels, expected, got) -> None:
    """Raise Wrong if the error is over 100 %."""
    if got > 100.01:
        message = (
            f"An error of {got:.4g} % cannot be: confidence and accuracy lie between 0 and 100 %."
        )
        summed = _ece(logits, labels, bins, weighted=False, empty=True) * bins
        if any(
            math.isclose(got, value, rel_tol=1e-3)
            for value in (expected * n, summed, expected * n / bins)
        ):
            raise Wrong(
                f"{message} Each bin counts by the share of samples in it, n_b / N.", "unweighted"
            )
        raise Wrong(
            f"{message} Logits are not probabilities: is there a softmax? And does each bin count "
            "by n_b / N?",
            "no softmax",
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
