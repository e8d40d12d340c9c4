"""The judges of layers that fit and of a hint loss."""

from collections.abc import Mapping
from functools import cache
from itertools import product

import numpy as np
import torch
from torch.nn import functional as F

from kdcourse.checking import expect, safe_call
from kdcourse.checking.task import Answer, Wrong, task
from kdcourse.distillation import forward_with_features
from kdcourse.models.resnet import d1_student, d1_teacher

STAGES = ("layer1", "layer2", "layer3", "layer4")


@cache
def _stage_shapes() -> dict[str, dict[str, tuple]]:
    """{"student" or "teacher": {stage: (C, H, W)}} of D1's two networks, for images of 32×32."""
    images = torch.zeros(1, 13, 32, 32)
    with torch.random.fork_rng(devices=[]), torch.no_grad():
        networks = {"student": d1_student().eval(), "teacher": d1_teacher().eval()}
        by_role = {
            role: forward_with_features(network, images, STAGES).features
            for role, network in networks.items()
        }
    return {
        role: {stage: tuple(f.shape[1:]) for stage, f in features.items()}
        for role, features in by_role.items()
    }


@task(
    "ex05",
    title="Which layers fit?",
    minutes=6,
    difficulty="easy",
    points=1,
    hints=[
        "Height and width are the last two numbers of a shape. The first is the number of "
        "channels.",
        "Go through the student's stages one by one, and look for the same height and width "
        "among the teacher's.",
        "A loop does it: for s in STAGES, for t in STAGES, compare shapes['student'][s][1:] with "
        "shapes['teacher'][t][1:].",
    ],
)
def same_size(answer: Answer, rng: torch.Generator) -> None:
    """Read off which stages of D1's student and teacher have maps of the same height and width."""
    form = 'expected a list of pairs, the student\'s stage first, such as [("layer1", "layer1")]'
    value = answer.value()
    if isinstance(value, Mapping):  # {"layer1": "layer1"}, or a set of pairs
        value = (
            list(value) if all(inner is True for inner in value.values()) else list(value.items())
        )
    if isinstance(value, np.ndarray):
        value = value.tolist()
    if not isinstance(value, list | tuple):
        raise Wrong(f"The answer is {safe_call.type_name(value)}: {form}.", "form")
    pairs = [
        tuple(str(name).lower() for name in pair) if isinstance(pair, list | tuple) else pair
        for pair in value
    ]
    if not all(
        isinstance(pair, tuple) and len(pair) == 2 and set(pair) <= set(STAGES) for pair in pairs
    ):
        raise Wrong(f"The answer is {value!r}: {form}. The stages are {', '.join(STAGES)}.", "form")
    student, teacher = _stage_shapes().values()
    right = {(s, t) for s, t in product(STAGES, STAGES) if student[s][1:] == teacher[t][1:]}
    chosen = set(pairs)
    if chosen == {pair[::-1] for pair in right}:
        raise Wrong(
            "These are the pairs, but the other way round: the student's stage comes first.",
            "swapped",
        )
    for s, t in sorted(chosen - right):
        name, fault = (
            ("The same name does not mean the same size", "names")
            if s == t
            else ("These differ", "size")
        )
        sizes = (
            f"the student's {s} has maps of {_by(student[s])}, the teacher's {t} of "
            f"{_by(teacher[t])}"
        )
        raise Wrong(f"{name}: {sizes}.", fault)
    if chosen != right:
        raise Wrong(
            f"All of these are right, but there are more: {len(right)} pairs in all.", "missing"
        )


def _by(shape: tuple) -> str:
    return f"{shape[1]}×{shape[2]}"


@task(
    "ex05",
    title="A hint with an adapter of plain tensors",
    minutes=8,
    difficulty="easy",
    points=2,
    hints=[
        "Two things keep the maps from being compared: their sizes and their channels. Settle "
        "the size first. Either of the two may be the larger.",
        "F.adaptive_avg_pool2d(maps, (h, w)) with the smaller height and width; it leaves maps "
        "of that size as they are. A 1×1 convolution mixes the channels of each position: "
        "torch.einsum('ts,bshw->bthw', weight, maps).",
        "The bias (Ct,) needs the shape (Ct, 1, 1) to be added to (B, Ct, h, w). Then the mean "
        "of the squares.",
    ],
)
def hint_loss(answer: Answer, rng: torch.Generator) -> None:
    """Write FitNets' loss with an adapter that is two tensors, for maps of any two sizes."""
    for student_size, teacher_size, batch in (
        ((4, 4), (4, 4), 3),
        ((8, 8), (4, 4), 2),
        ((3, 6), (6, 6), 4),
        ((4, 4), (8, 8), 1),
        ((9, 3), (3, 6), 2),
    ):
        student = torch.randn(batch, 3, *student_size, generator=rng).relu()
        teacher = 2 * torch.randn(batch, 5, *teacher_size, generator=rng).relu()
        weight, bias = torch.randn(5, 3, generator=rng), 1 + torch.randn(5, generator=rng)
        size = [min(pair) for pair in zip(student_size, teacher_size, strict=True)]
        larger = [max(pair) for pair in zip(student_size, teacher_size, strict=True)]

        def adapted(maps, bias=bias, weight=weight):
            return F.conv2d(maps, weight[:, :, None, None], bias)

        def resized(size, change, student=student, teacher=teacher):
            return adapted(change(student, size)), change(teacher, size)

        right = resized(size, F.adaptive_avg_pool2d)
        expected = F.mse_loss(*right)
        mistakes = _hint_mistakes(resized, adapted, student, size, larger, right, expected)
        for name, one in (("student's size", student_size), ("teacher's size", teacher_size)):
            mistakes[name] = (
                F.mse_loss(*resized(one, F.adaptive_avg_pool2d)),
                f"Both were brought to the {name}: take the smaller height and the smaller width "
                "of the two.",
            )
        if student_size == teacher_size:
            mistakes = {name: mistake for name, mistake in mistakes.items() if name not in RESIZING}
        value = expect.scalar(answer(student, teacher, weight, bias), of="the hint loss")
        expect.close(
            value,
            expected,
            mistakes,
            of=f"the hint loss of maps of {_by((0, *student_size))} and {_by((0, *teacher_size))}",
        )


def _hint_mistakes(resized, adapted, student, size, larger, right, expected) -> dict:
    """Values of the likely mistakes by name, each with a sentence to the learner."""
    return {
        "sum": (
            expected * right[0].numel(),
            "It is the sum of the squares: divide by how many there are.",
        ),
        "batch": (
            expected * right[0][0].numel(),
            "It is the mean over the batch alone: divide by C·h·w too.",
        ),
        "half": (expected / 2, "It is half of what it should be: the formula here has no ½."),
        "root": (
            expected.sqrt(),
            "It is the root of what it should be: the formula has the squares.",
        ),
        "absolute": (F.l1_loss(*right), "It is the mean of |s − t|: take the squares."),
        "bias": (
            F.mse_loss(adapted(F.adaptive_avg_pool2d(student, size), None), right[1]),
            "The bias is missing.",
        ),
        "upsampled": (
            F.mse_loss(*resized(larger, lambda maps, size: F.interpolate(maps, size))),
            "The smaller map was made larger. Average-pool the larger one: to invent pixels "
            "teaches nothing.",
        ),
        "max_pooled": (
            F.mse_loss(*resized(size, F.adaptive_max_pool2d)),
            "The larger map was max-pooled: average.",
        ),
        "skipped": (
            F.mse_loss(*resized(size, lambda maps, size: F.interpolate(maps, size))),
            "Pixels of the larger map were left out. Average-pool it, so that each of them counts.",
        ),
        "interpolated": (
            F.mse_loss(
                *resized(size, lambda maps, size: F.interpolate(maps, size, mode="bilinear"))
            ),
            "The larger map was interpolated, which may leave out some of its pixels: "
            "average-pool it.",
        ),
    }


RESIZING = (
    "upsampled",
    "max_pooled",
    "skipped",
    "interpolated",
    "student's size",
    "teacher's size",
)
