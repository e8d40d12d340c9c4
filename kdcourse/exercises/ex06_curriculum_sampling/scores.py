"""The judge of a difficulty score."""

import math

import torch
from torch.nn import functional as F

from kdcourse.checking import expect
from kdcourse.checking.task import Answer, Wrong, task


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
                "is −∞, and 0 · −∞ is not a number. By its limit, p ln p is 0 there: see "
                "torch.xlogy, or leave the zeros out.",
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

    mistakes = _difficulty_mistakes(
        total, p_t, p_s, confidence, entropy, kl, swapped, spread
    ) | _weight_mistakes(total, p_t, p_s)
    return total(), mistakes


def _difficulty_mistakes(total, p_t, p_s, confidence, entropy, kl, swapped, spread) -> dict:
    """Values of the likely mistakes by name, each with a sentence to the learner."""
    return {
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
    }


def _weight_mistakes(total, p_t, p_s) -> dict:
    """What other weights, and the student in the teacher's place, give."""
    return {
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
