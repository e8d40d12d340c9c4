"""Cases 1 to 3, losses: to find, to prove and to mend."""

import torch
from torch.nn import functional as F

from kdcourse.checking import expect
from kdcourse.checking.task import Answer, Wrong, task
from kdcourse.distillation import soft_target_loss
from kdcourse.exercises.ex09_bug_clinic.finding import find_faults
from kdcourse.exercises.ex09_bug_clinic.proving import prove_case


@task(
    "ex09",
    title="Find: three losses",
    minutes=3,
    difficulty="easy",
    points=1,
    hints=[
        "Ask of each loss: what is summed, and over what is the mean? Is T² there, in every way "
        "through? Is a log taken of something that may be 0?",
        "Try them: two rows of logits with few classes, then with many; a large T and a small one; "
        "logits of 1,000.",
    ],
)
def found_losses(answer: Answer, rng: torch.Generator) -> None:
    """Name the fault of cases 1 to 3."""
    find_faults(answer, "losses")


@task(
    "ex09",
    title="Prove case 1",
    minutes=4,
    difficulty="easy",
    points=2,
    hints=[
        "What must come out? You have a right loss at hand: write it in one line of log_softmax, "
        "or import soft_target_loss from kdcourse.distillation.",
        "loss(z_s, z_t) and the right one on random logits; assert torch.allclose(came, expected, "
        "rtol=1e-3).",
    ],
)
def prove_1(answer: Answer, rng: torch.Generator) -> None:
    """Write a check that fails for case 1 and its relatives, and passes for right losses."""
    prove_case(
        answer,
        rng,
        1,
        "Do the logits have more than one class, and does the value decide, not its sign or shape?",
    )


@task(
    "ex09",
    title="Mend case 1",
    minutes=2,
    difficulty="easy",
    points=1,
    hints=[
        "The sum over classes belongs to the KL divergence; only the batch is averaged over.",
        'One word: reduction="batchmean".',
    ],
)
def mend_1(answer: Answer, rng: torch.Generator) -> None:
    """Mend the loss of case 1."""
    for rows, classes, temperature in ((8, 10, 4.0), (1, 5, 2.0), (6, 40, 1.0)):
        z_s, z_t = (3 * torch.randn(rows, classes, generator=rng) for _ in range(2))
        right = soft_target_loss(z_s, z_t, temperature)
        _soft(answer(z_s, z_t, temperature), right, z_s, z_t, temperature)
    z_s, z_t = (torch.randn(4, 7, generator=rng, dtype=torch.float64) for _ in range(2))
    _soft(answer(z_s, z_t), soft_target_loss(z_s, z_t, 4.0), z_s, z_t, 4.0)
    _gradient(answer, z_s, z_t)


def _gradient(answer: Answer, z_s: torch.Tensor, *args, **kwargs) -> torch.Tensor | None:
    """The gradient of a loss for the student's logits; None from a loss that takes no tensor with
    gradients (numpy).
    """
    outcome = answer.outcome(z_s.clone().requires_grad_(), *args, **kwargs)
    gradient = outcome.after.get(0, {}).get("gradient")
    if gradient is None and not outcome.error:
        raise Wrong(
            "The value is right, but no gradient reaches the student's logits any more, and "
            "without one nothing can be trained with this loss. Is there an item(), a detach() or "
            "a new torch.tensor(…) on the way?",
            "no gradient",
        )
    return gradient


def _soft(
    came, right: torch.Tensor, z_s: torch.Tensor, z_t: torch.Tensor, temperature: float
) -> None:
    rows, classes = z_s.shape
    p_s, p_t = ((z / temperature).softmax(1) for z in (z_s, z_t))
    crossed = -(temperature**2) * (p_t * p_s.log()).sum(1).mean()
    factor = temperature**2
    none = F.kl_div(p_s, p_t, reduction="batchmean") * factor
    expect.close(
        came,
        right,
        {
            "divided by C": (
                right / classes,
                f"{classes} times too small for {classes} classes: the mean is still taken over "
                "the classes too.",
            ),
            "sum": (
                right * rows,
                "The loss is summed over the batch: it grows with the batch size.",
            ),
            "no T²": (right / factor, f"T² was lost on the way: {factor:g} times too small."),
            "T": (right / temperature, "T stands where T² belongs."),
            "swapped": (
                soft_target_loss(z_t, z_s, temperature),
                "Student and teacher are swapped: F.kl_div takes the student's log-probabilities "
                "first.",
            ),
            "cross-entropy": (
                crossed,
                "This is the cross-entropy: the teacher's entropy is not taken off.",
            ),
            "softmax for log": (
                none,
                "F.kl_div takes log-probabilities first, and got probabilities.",
            ),
        },
        rtol=2e-3,
        of="the loss",
    )


@task(
    "ex09",
    title="Prove case 2",
    minutes=5,
    difficulty="medium",
    points=2,
    hints=[
        "The two branches must agree on the soft term. What must loss(z_s, z_t, labels) − "
        "loss(z_s, z_t) be?",
        "(1 − soft_weight) · cross-entropy: the soft term drops out of the difference. But at T = "
        "1, T² is 1.",
        "Or compare each branch with the formula, at a T other than 1.",
    ],
)
def prove_2(answer: Answer, rng: torch.Generator) -> None:
    """Write a check that fails if T² is missing in either branch."""
    prove_case(
        answer,
        rng,
        2,
        "Does it call the loss with labels and without, at a temperature other than 1?",
    )


@task(
    "ex09",
    title="Mend case 2",
    minutes=2,
    difficulty="easy",
    points=1,
    hints=[
        "What both branches need is best computed before they part.",
        "Multiply `soft` by temperature**2 in the line in which it is made, and take the factor "
        "out of the branch.",
    ],
)
def mend_2(answer: Answer, rng: torch.Generator) -> None:
    """Mend the loss of case 2."""
    for rows, classes, temperature, weight in (
        (8, 10, 4.0, 0.9),
        (1, 5, 2.0, 0.5),
        (6, 4, 1.0, 0.25),
    ):
        z_s, z_t = (3 * torch.randn(rows, classes, generator=rng) for _ in range(2))
        labels = torch.randint(classes, (rows,), generator=rng)
        t2, soft, hard = (
            temperature**2,
            soft_target_loss(z_s, z_t, temperature),
            F.cross_entropy(z_s, labels),
        )
        without = answer(z_s, z_t, temperature=temperature, soft_weight=weight)
        expect.close(
            without,
            weight * soft,
            {
                "no T²": (weight * soft / t2, "Without labels, T² was lost."),
                "T twice": (
                    weight * soft * t2,
                    "Without labels, T² is in it twice: the branch still has its own.",
                ),
                "no weight": (
                    soft,
                    "Without labels, soft_weight was lost: case 2 has it in both branches.",
                ),
                "T": (weight * soft / temperature, "T stands where T² belongs."),
            },
            rtol=2e-3,
            of="the loss without labels",
        )
        came = answer(z_s, z_t, labels=labels, temperature=temperature, soft_weight=weight)
        expect.close(
            came,
            weight * soft + (1 - weight) * hard,
            _mistakes_with_labels(temperature, weight, z_s, labels, t2, soft, hard),
            rtol=2e-3,
            of="the loss with labels",
        )
    for given in (None, labels):
        _gradient(answer, z_s, z_t, given)


def _mistakes_with_labels(temperature, weight, z_s, labels, t2, soft, hard) -> dict:
    """Values of the likely mistakes with labels, each with a sentence."""
    return {
        "no T²": (
            weight * soft / t2 + (1 - weight) * hard,
            "With labels, T² is still missing.",
        ),
        "T": (
            weight * soft / temperature + (1 - weight) * hard,
            "With labels, T stands where T² belongs.",
        ),
        "T twice": (
            weight * soft * t2 + (1 - weight) * hard,
            "With labels, T² is in it twice.",
        ),
        "T² on the labels": (
            t2 * (weight * soft / t2 + (1 - weight) * hard),
            "T² multiplies the label term too: it belongs to the soft term alone.",
        ),
        "T² on both": (
            t2 * (1 - weight) * hard + weight * soft,
            "T² multiplies the label term too.",
        ),
        "weights swapped": (
            (1 - weight) * soft + weight * hard,
            "The weights of the two terms are swapped.",
        ),
        "no label term": (weight * soft, "With labels, the label term is missing."),
        "label term unweighted": (
            weight * soft + hard,
            "The label term has lost its weight, 1 − soft_weight.",
        ),
        "T in the label term": (
            weight * soft + (1 - weight) * F.cross_entropy(z_s / temperature, labels),
            "The label term takes the logits as they are: the temperature belongs to the soft "
            "term.",
        ),
    }


@task(
    "ex09",
    title="Prove case 3",
    minutes=4,
    difficulty="medium",
    points=2,
    hints=[
        "softmax of (0, 200) at T = 1 is (0, 1) in float32: e^-200 has no place in it. The log of "
        "that 0 is −∞.",
        "Both may underflow, the student's probabilities and the teacher's. 0 · −∞ is NaN, 1 · −∞ "
        "is −∞: ask for isfinite, not for isnan.",
        "Try three pairs at T = 1: an extreme student with an ordinary teacher, the other way "
        "round, and both.",
    ],
)
def prove_3(answer: Answer, rng: torch.Generator) -> None:
    """Write a check that fails if the loss is NaN or infinite for logits that are far apart."""
    prove_case(
        answer,
        rng,
        3,
        "Are the logits far enough apart? float32 underflows below e^-103, and T divides them "
        "first.",
    )


@task(
    "ex09",
    title="Mend case 3",
    minutes=2,
    difficulty="easy",
    points=1,
    hints=[
        "Where a probability underflows, its logarithm is an ordinary number: do not go through "
        "the probability.",
        "F.log_softmax(z / temperature, dim=1) for both; the teacher's probabilities are .exp() of "
        "the teacher's.",
    ],
)
def mend_3(answer: Answer, rng: torch.Generator) -> None:
    """Mend the loss of case 3 for logits of any size, without an ε that changes its value."""
    z_s, z_t = (3 * torch.randn(8, 10, generator=rng) for _ in range(2))
    _soft(answer(z_s, z_t, 4.0), soft_target_loss(z_s, z_t, 4.0), z_s, z_t, 4.0)
    because = (
        "These logits are up to 1,300 apart. A log is still taken of a probability that was "
        "rounded to 0."
    )
    for rows, temperature in ((5, 1.0), (1, 2.0)):
        far = 800 + 500 * torch.rand(rows, 1, generator=rng)  # e^-800 is 0 in float64 too
        z_s = torch.cat([far, torch.zeros(rows, 2)], 1)
        z_t = torch.cat([torch.zeros(rows, 2), far / 2], 1)
        for student, teacher in (
            (z_s, z_t),
            (z_s, torch.zeros_like(z_s)),
            (torch.zeros_like(z_s), z_t),
        ):
            right = soft_target_loss(student.double(), teacher.double(), temperature)
            came = expect.scalar(
                expect.finite(answer(student, teacher, temperature), "the loss", because),
                "the loss",
            )
            if came < 0.9 * right:
                raise Wrong(
                    f"Finite, but not right: expected {right:.5g} for logits that are "
                    f"{far.max():.0f} apart, got {came:.5g}. An ε in the log, a clamp or "
                    "nan_to_num hides the NaN and caps the loss, and there the student learns "
                    "nothing any more.",
                    "epsilon",
                )
            expect.close(came, right, rtol=2e-3, of="the loss")
            gradient = _gradient(answer, student, teacher, temperature)
            if gradient is not None:
                p_s, p_t = ((z / temperature).softmax(1) for z in (student, teacher))
                expect.finite(
                    gradient,
                    "the gradient",
                    "The value is right, its gradient is not: a `where` or nan_to_num after the "
                    "log leaves the infinity in the backward pass.",
                )
                expect.close(gradient, temperature * (p_s - p_t) / rows, of="the gradient")
