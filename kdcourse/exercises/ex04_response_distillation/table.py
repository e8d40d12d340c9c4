"""The judge of a table of the teacher's answers."""

import torch

from kdcourse.checking import expect
from kdcourse.checking.task import Answer, task
from kdcourse.exercises.draws import random_logits, whole_number


@task(
    "ex04",
    title="A table of the teacher's answers",
    minutes=12,
    difficulty="medium",
    points=3,
    hints=[
        "Begin with a table (views, images, C) in which every row says: not answered yet.",
        "An epoch's view is epoch % views. A batch's rows belong to the images that index names, "
        "in that order.",
        "table = torch.full((views, images, C), float('nan')), then for each batch table[epoch % "
        "views, index] = logits.",
    ],
)
def kept_answers(answer: Answer, rng: torch.Generator) -> None:
    """The teacher's logits by view and image, (V, N, C), from batches in the order in which they
    were asked for.
    """
    views, images, classes = (
        whole_number(rng, 2, 4),
        whole_number(rng, 9, 13),
        whole_number(rng, 3, 5),
    )
    size, epochs = (
        4,
        views + whole_number(rng, 1, views - 1),
    )  # some views come twice, all at least once
    table = random_logits(rng, views, images, classes)
    unanswered = int(torch.randint(images, (), generator=rng))  # an image that no epoch has drawn
    asked = []
    for epoch in range(epochs):
        order = torch.randperm(images, generator=rng)
        order = order[order != unanswered]
        asked += [(epoch, index, table[epoch % views, index]) for index in order.split(size)]

    known = table.clone()
    known[:, unanswered] = float("nan")
    drawn = [torch.cat([index for epoch, index, _ in asked if epoch == e]) for e in range(views)]
    in_order = torch.full_like(table, float("nan"))
    for view, order in enumerate(drawn):
        in_order[view, : len(order)] = table[view, order]
    by_division, last_first = (
        torch.full_like(table, float("nan")),
        torch.full_like(table, float("nan")),
    )
    for epoch, index, logits in asked:
        by_division[min(epoch // views, views - 1), index] = logits
        last_first[-1 if epoch >= views else epoch, index] = logits
    first_only = torch.full_like(table, float("nan"))
    first_only[0] = known[(epochs - 1) % views]
    mistakes = _mistakes(known, in_order, by_division, last_first, first_only)
    expect.close(answer(asked, images, views), known, mistakes, of="the table")


def _mistakes(known, in_order, by_division, last_first, first_only) -> dict:
    """Values of the likely mistakes by name, each with a sentence to the learner."""
    return {
        "unanswered as zeros": (
            known.nan_to_num(0),
            "An image that was never asked for has zeros, which look like an answer: leave NaN "
            "there.",
        ),
        "order of asking": (
            in_order,
            "The rows stand in the order in which they were asked for. `index` says to which "
            "image each belongs.",
        ),
        "order of asking, zeros": (
            in_order.nan_to_num(0),
            "The rows stand in the order in which they were asked for. `index` says to which "
            "image each belongs.",
        ),
        "view by division": (
            by_division,
            "The view is the remainder epoch % views, not the quotient.",
        ),
        "one view": (first_only, "All epochs went to view 0: epoch e shows view e % views."),
        "late epochs in the last view": (
            last_first,
            "Epochs beyond the first `views` begin again: epoch % views.",
        ),
        "mean over views": (
            known.mean(0).expand_as(known),
            "The views are averaged. Each crop has an answer of its own.",
        ),
        "mean over views, one table": (
            known.mean(0),
            "The views are averaged. Each crop has an answer of its own.",
        ),
        "transposed": (known.transpose(0, 1), "The first axis is the view, the second the image."),
    }
