"""Cases 7 and 8, data: to find, to prove and to mend."""

from itertools import product

import torch
from torch.nn import functional as F

from kdcourse.checking import answer_parts, expect
from kdcourse.checking.task import Answer, AnswerPart, Wrong, task
from kdcourse.exercises.ex09_bug_clinic.finding import find_faults
from kdcourse.exercises.ex09_bug_clinic.proving import SEEDED, fresh_seed, prove_case
from kdcourse.exercises.ex09_bug_clinic.trainers import run_trainer


@task(
    "ex09",
    title="Find: two pipelines",
    minutes=2,
    difficulty="easy",
    points=1,
    hints=[
        "For each batch ask: is the answer in row i the teacher's to the image in row i, as the "
        "student sees it?",
        "Going through a loader that shuffles gives another order each time. Calling a random "
        "function gives another result each time.",
    ],
)
def found_data(answer: Answer, rng: torch.Generator) -> None:
    """Name the fault of cases 7 and 8."""
    find_faults(answer, "data")


@task(
    "ex09",
    title="Prove case 7",
    minutes=4,
    difficulty="medium",
    points=2,
    hints=[
        "What must hold for every batch (x, logits) of every epoch, whatever its order?",
        "teacher(x) must be logits, up to rounding: a teacher asked in other batches rounds "
        "otherwise, so allclose with an atol of 1e-4, not torch.equal.",
        "A teacher for the check: nn.Sequential(nn.Flatten(), nn.Linear(16, 3)) and a dozen random "
        "images (1, 4, 4).",
    ],
)
def prove_7(answer: Answer, rng: torch.Generator) -> None:
    """Write a check that fails if an image comes with the answer to another image."""
    prove_case(
        answer,
        rng,
        7,
        "Do the images differ from one another, and are there more than one? Are the answers "
        "compared?",
    )


@task(
    "ex09",
    title="Mend case 7",
    minutes=5,
    difficulty="medium",
    points=2,
    hints=[
        "Keep the answers by index, in the order of the images, and let the indices be shuffled.",
        "One way: answers = teacher(images); then a loader over TensorDataset(images, answers). "
        "Image and answer are shuffled together.",
    ],
)
def mend_7(answer: Answer, rng: torch.Generator) -> None:
    """Mend the pipeline of case 7: shuffled anew in every epoch, each image with its own answer."""
    count, size, epochs = 13, 4, 3
    images, seed = torch.randn(count, 1, 4, 4, generator=rng), fresh_seed(rng)
    args = (AnswerPart("pixel_network", (seed, 16)), images, size, epochs)
    outcome = run_trainer(answer, *args, fresh_seed(rng) % 1000)
    form = (
        "expected a list of pairs (images, logits), the batches of all epochs one after the other"
    )
    value = outcome.value
    if not isinstance(value, list | tuple) or not all(
        isinstance(pair, list | tuple) and len(pair) == 2 for pair in value
    ):
        raise Wrong(f"Not the form of case 7: {form}.", "form")
    shown = [expect.tensor(pair[0], "the images of a batch") for pair in value]
    logits = [expect.tensor(pair[1], "the logits of a batch") for pair in value]
    total = sum(map(len, shown))
    if total != epochs * count:
        raise Wrong(
            f"Expected {epochs} epochs of {count} images, {epochs * count} in all, got {total}: "
            f"{form}.",
            "count",
        )
    if any(len(x) > size for x in shown):
        raise Wrong(
            f"A batch has {max(map(len, shown))} images, expected {size} or fewer.", "batch size"
        )
    x = expect.shape(torch.cat(shown), (total, 1, 4, 4), "all images")
    came = expect.shape(torch.cat(logits), (total, 4), "all logits")
    index = (
        (x[:, None] - images.double()[None])
        .abs()
        .flatten(2)
        .sum(2)
        .argmin(1)
        .reshape(epochs, count)
    )
    _check_shuffled(count, epochs, shown, index)
    with torch.no_grad():
        right = answer_parts.pixel_network(seed, 16)(images).double()[index.flatten()]
    fits = torch.isclose(came, right, rtol=1e-3, atol=1e-3).all(1).reshape(epochs, count)
    if fits[0].all() and not fits.all():
        raise Wrong(
            "The first epoch is right; from the second on the answers belong to other images.",
            "later epochs",
        )
    if not fits.all():
        mixed = sorted(map(tuple, came.round(decimals=3).tolist())) == sorted(
            map(tuple, right.round(decimals=3).tolist())
        )
        why = (
            "they are answers to other images"
            if mixed
            else "nor are they answers to other images: logits are wanted"
        )
        raise Wrong(
            f"{int((~fits).sum())} of {total} rows have not their own image's logits; {why}.",
            "mismatch",
        )


def _check_shuffled(count, epochs, shown, index) -> None:
    """Raise Wrong unless each epoch shows every image once, in an order of its own."""
    if any(sorted(row.tolist()) != list(range(count)) for row in index):
        raise Wrong(
            "An epoch must show every image once; one is missing and another comes twice.",
            "incomplete",
        )
    if all(row.tolist() == list(range(count)) for row in index):
        raise Wrong(
            "The order fits now because nothing is shuffled any more. The answers must find their "
            "image in any order.",
            "unshuffled",
        )
    if torch.equal(index[0], index[1]) and torch.equal(index[0], index[2]):
        raise Wrong("Every epoch has the same order: it must be shuffled anew.", "same order")
    groups = [
        frozenset(batch.tolist())
        for batch in index.flatten().split([len(batch) for batch in shown])
    ]
    if (
        all(groups.count(group) == epochs for group in groups if len(group) > 1)
        and max(map(len, groups)) > 1
    ):
        raise Wrong(
            "The batches come in another order, but each holds the same images in every epoch: "
            "shuffle the images.",
            "batches shuffled",
        )


@task(
    "ex09",
    title="Prove case 8",
    minutes=4,
    difficulty="medium",
    points=2,
    hints=[
        "As in case 7: what must hold between the views and the logits that come back?",
        "For the check you need an augmentation that is random, a teacher that notices it, and "
        "images that do not look the same when shifted. `random_views()` and `pixel_network(seed, "
        "pixels)` are given.",
        "assert torch.allclose(teacher(views), logits, atol=1e-4)",
    ],
)
def prove_8(answer: Answer, rng: torch.Generator) -> None:
    """Write a check that fails if the teacher did not answer the student's views."""
    prove_case(
        answer,
        rng,
        8,
        "Is your augmentation random, are your images more than one grey, and does your teacher "
        "notice a shift?",
    )


@task(
    "ex09",
    title="Mend case 8",
    minutes=2,
    difficulty="easy",
    points=1,
    hints=[
        "Each call of augment draws anew. How often may it be called?",
        "Once. The teacher gets `views`.",
    ],
)
def mend_8(answer: Answer, rng: torch.Generator) -> None:
    """Mend case 8: the teacher answers to what the student sees."""
    images, seed = torch.randn(16, 2, 5, 5, generator=rng), fresh_seed(rng)
    args = AnswerPart("pixel_network", (seed, 50)), images, AnswerPart("random_views", (1,))
    value = run_trainer(answer, *args).value
    if not isinstance(value, list | tuple) or len(value) != 2:
        raise Wrong("Expected two things back, (views, logits).", "form")
    views = expect.shape(value[0], images.shape, "the views")
    logits = expect.shape(value[1], (16, 4), "the logits")
    padded = F.pad(images.double(), 4 * [1], mode="reflect")
    possible = [
        padded[:, :, top : top + 5, left : left + 5] for top, left in product(range(3), range(3))
    ]
    possible = torch.stack(
        [v for view in possible for v in (view, view.flip(3))]
    )  # (18, 16, 2, 5, 5)
    if torch.allclose(views, images.double(), atol=1e-4):
        raise Wrong(
            "The student sees the images as they are: the augmentation was thrown out with the "
            "fault.",
            "plain",
        )
    if not (possible - views).abs().flatten(2).amax(2).amin(0).lt(1e-3).all():
        raise Wrong(
            "The views are not what augment(images) gives: one augmentation is wanted, once.",
            "views",
        )
    with torch.no_grad():
        teacher = answer_parts.pixel_network(seed, 50)
        right, whole = teacher(views.float()).double(), teacher(images).double()
    because = {
        "whole images": (
            whole,
            "The teacher answered to the images as they are, not to the student's views.",
        ),
        "softmax": (right.softmax(1), "These are probabilities: logits are wanted, as in case 8."),
    }
    if not torch.allclose(logits, right, rtol=1e-3, atol=1e-3) and not any(
        torch.allclose(logits, instead, rtol=1e-3, atol=1e-3) for instead, _ in because.values()
    ):
        raise Wrong(
            "The logits are not the teacher's answers to these views: did augment run a second "
            "time?",
            "crops",
        )
    expect.close(logits, right, because, of="the logits")
    if torch.equal(expect.tensor(run_trainer(answer, *args).value[0]), views):
        raise Wrong(f"Two calls gave the same views: {SEEDED}", "not random")
