"""The judges of the attention term's weight and of the angle loss."""

import math

import torch
from torch.nn import functional as F

from kdcourse import distillation
from kdcourse.checking import expect
from kdcourse.checking.task import Answer, Wrong, task


@task(
    "ex05",
    title="The paper's loss, the code's weight",
    minutes=12,
    difficulty="medium",
    points=2,
    hints=[
        "First q of both networks: the squares summed over the channels, flattened to (B, H·W), "
        "each row divided by its own length.",
        "With d = q_s − q_t, (B, H·W): the paper has the mean over the batch of the length of d, "
        "the code the mean of all squares of d.",
        "w · code = β/2 · paper. Solve it for w.",
    ],
)
def code_weight(answer: Answer, rng: torch.Generator) -> None:
    """Find the weight that makes the code's attention term as large as the paper's."""
    for batch, size in ((4, 3), (1, 4), (6, 2)):
        student = torch.randn(batch, 3, size, size, generator=rng) + torch.rand(
            batch, 3, 1, 1, generator=rng
        )
        student = (
            student * torch.logspace(-1, 1, batch)[:, None, None, None]
        )  # of images of unequal strength
        teacher = 2 * torch.randn(batch, 5, size, size, generator=rng)
        beta = 1 + 9 * torch.rand((), generator=rng).item()
        paper, code = (
            distillation.attention_transfer_loss(student, teacher, mode)
            for mode in ("paper", "code")
        )
        expected = beta / 2 * paper / code

        def of(normalise, power=2, student=student, teacher=teacher, beta=beta):
            q_s, q_t = (
                normalise(distillation.attention_map(f, power).flatten(1))
                for f in (student, teacher)
            )
            d = q_s - q_t
            return beta / 2 * d.norm(dim=1).mean() / d.pow(2).mean()

        d = (
            F.normalize(distillation.attention_map(student).flatten(1))
            - F.normalize(distillation.attention_map(teacher).flatten(1))
        )  # fmt: skip
        mistakes = _weight_mistakes(of, size, beta, paper, code, expected, d)
        if batch == 1:  # where these are no mistakes
            for name in ("whole", "mean_outside", "batch_normalised"):
                del mistakes[name]
        value = expect.scalar(answer(student, teacher, beta), of="the weight")
        expect.close(
            value, expected, mistakes, of=f"the weight for {batch} image(s) of {size}×{size}"
        )


def _weight_mistakes(of, size, beta, paper, code, expected, d) -> dict:
    """Values of the likely mistakes by name, each with a sentence to the learner."""
    return {
        "half": (
            2 * expected,
            "It is twice as large as it should be: the paper's formula has β/2.",
        ),
        "beta": (expected / beta, "β is missing: the paper's term is β/2 times the length."),
        "inverse": (
            1 / expected,
            "This is how many times the code's term fits the other way: w · code = paper.",
        ),
        "inverse_beta": (
            beta / 2 * code / paper,
            "Code and paper have changed places: w · code = β/2 · paper.",
        ),
        "pixels": (
            expected / size**2,
            "It is H·W times too small: the code's term is a *mean*, over images and pixels.",
        ),
        "squared": (
            beta / 2 * d.pow(2).sum(1).mean() / code,
            "The paper's term is the length of d, not its square: a root is missing.",
        ),
        "whole": (
            beta / 2 * d.norm() / code,
            "The length was taken over the whole batch at once. It is one length an image, then "
            "their mean.",
        ),
        "mean_outside": (
            beta / 2 * d.pow(2).sum(1).mean().sqrt() / code,
            "The mean over the images was taken before the root. Take each image's length first.",
        ),
        "not_normalised": (
            of(lambda q: q),
            "The attention maps were not divided by their lengths.",
        ),
        "batch_normalised": (
            of(lambda q: q / q.norm()),
            "The maps were divided by one length of the whole batch: each image has its own.",
        ),
        "sum_normalised": (
            of(lambda q: q / q.sum(1, keepdim=True)),
            "Each map was divided by its sum: the formula divides by its length ‖·‖₂.",
        ),
        "absolute": (
            of(F.normalize, 1),
            "The attention map sums |A|: it should sum the squares.",
        ),
    }


@task(
    "ex05",
    title="Angles between three images",
    minutes=15,
    difficulty="hard",
    points=3,
    hints=[
        "Start from differences: e[j, i] = f_i − f_j, of shape (B, B, C), is features[None] − "
        "features[:, None].",
        "Divide each by its length, then multiply: cosines[j, i, k] = e[j, i] · e[j, k] is e @ "
        "e.transpose(1, 2). The difference of an image from itself has length 0: F.normalize "
        "leaves it at 0.",
        "F.smooth_l1_loss is the Huber loss that turns linear at 1, with the mean over all B³ "
        "entries.",
    ],
)
def angle_loss(answer: Answer, rng: torch.Generator) -> None:
    """Write the angle part of relational distillation, which compares images by threes."""
    for batch, student_width, teacher_width in ((5, 2, 3), (8, 4, 6), (3, 7, 2), (1, 3, 4)):
        student = torch.randn(batch, student_width, generator=rng) + 3
        teacher = torch.randn(batch, teacher_width, generator=rng) * torch.rand(
            teacher_width, generator=rng
        )
        expected = distillation.relational_angle_loss(student, teacher)
        value = any_number(answer(student, teacher), of="the angle loss")
        if not math.isfinite(value):
            raise Wrong(
                f"The loss is {value:g}. The difference of an image from itself has length 0, "
                "and 0 / 0 is not a number: leave such a vector at 0. F.normalize does.",
                "zero_vector",
            )
        expect.close(
            value,
            expected,
            _angle_mistakes(student, teacher, expected),
            of="the angle loss",
            atol=1e-5,
        )


def _angle_mistakes(student: torch.Tensor, teacher: torch.Tensor, expected: torch.Tensor) -> dict:
    features, batch = (student, teacher), len(student)
    differences = [f[None] - f[:, None] for f in features]
    cosines = [e @ e.mT for e in map(unit_length, differences)]
    lengths = [e @ e.mT for e in differences]
    pairs = [unit_length(f) @ unit_length(f).T for f in features]
    gap = cosines[0] - cosines[1]
    i = torch.arange(batch)
    distinct = (i[:, None, None] != i[:, None]) & (i[:, None, None] != i) & (i[:, None] != i)
    return {
        "sum": (
            expected * batch**3,
            "It is the sum over all threes: take the mean over all B³ of them.",
        ),
        "squared": (
            gap.pow(2).mean(),
            "It is the mean square: the Huber loss is ½x² up to 1, and |x| − ½ beyond.",
        ),
        "half_square": (
            gap.pow(2).mean() / 2,
            "It is ½x² everywhere: the Huber loss turns linear at 1, |x| − ½. Cosines may differ "
            "by up to 2.",
        ),
        "absolute": (
            gap.abs().mean(),
            "It is the mean of |x|: the Huber loss is ½x² up to 1, and |x| − ½ beyond.",
        ),
        "lengths": (
            F.smooth_l1_loss(*lengths),
            "These are products of the differences, not cosines: divide each difference by its "
            "length first.",
        ),
        "not_relative": (
            F.smooth_l1_loss(*pairs),
            "This compares the features themselves, two at a time. The angle is at image j, "
            "between the ways from it to i and to k: take differences first.",
        ),
        "radians": (
            F.smooth_l1_loss(*(c.clamp(-1, 1).acos() for c in cosines)),
            "These are the angles themselves: the loss compares their cosines.",
        ),
        "distinct": (
            F.smooth_l1_loss(*(c[distinct] for c in cosines)),
            "This is the mean over three *different* images. The formula averages all B³, of "
            "which some are 0.",
        ),
        "neighbours": (
            _without_self(cosines),
            "The threes with i = j or k = j were left out of the mean. The formula averages all "
            "B³; these are 0.",
        ),
    }


def any_number(value, of: str) -> float:
    """One number, which may be NaN or infinite."""
    came = expect.tensor(value, of)
    return came.item() if came.numel() == 1 else expect.scalar(value, of)


def unit_length(vectors: torch.Tensor) -> torch.Tensor:
    return F.normalize(vectors, dim=-1)


def _without_self(cosines: list[torch.Tensor]) -> torch.Tensor:
    """The loss over the (j, i, k) in which neither i nor k is j."""
    other = ~torch.eye(len(cosines[0]), dtype=torch.bool)
    kept = other[:, :, None] & other[:, None]
    return F.smooth_l1_loss(*(c[kept] for c in cosines))
