"""Exercise 09: right and wrong answers on cases 7 and 8, data."""

import numpy as np
import torch
from clinic_common import found
from torch import nn

from kdcourse.checking.answer_parts import (
    pixel_network,
    random_views,
)
from kdcourse.exercises import bug_cases


def pixels(count=13):
    return torch.randn(count, 1, 4, 4)


def answers_by_list(make):
    teacher, images = pixel_network(7, 16), pixels(20)
    pairs = make(teacher, images, 6, 3, 1)
    x, logits = torch.cat([pair[0] for pair in pairs]), torch.cat([pair[1] for pair in pairs])
    with torch.no_grad():
        difference = (teacher(x) - logits).abs().max().item()
    assert difference < 1e-3, difference


def answers_by_colour(make):
    """Each image of one grey, and a teacher that tells it."""
    teacher = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten())
    greys = torch.arange(12.0)[:, None, None, None].expand(12, 1, 4, 4)
    for x, logits in make(teacher, greys, batch_size=4, epochs=2):
        np.testing.assert_allclose(logits[:, 0].numpy(), x[:, 0, 0, 0].numpy(), atol=1e-4)


def answers(
    teacher=lambda: pixel_network(0, 16), images=pixels, batch=4, which=slice(None), same=None
):
    same = same or (lambda a, b: torch.allclose(a, b, atol=1e-4))

    def check(make):
        network = teacher()
        for x, logits in make(network, images(), batch_size=batch, epochs=2)[which]:
            assert same(network(x), logits)

    return check


def says_answers(make):
    teacher = pixel_network(0, 16)
    return all(
        torch.allclose(teacher(x), z, atol=1e-4) for x, z in make(teacher, pixels(), batch_size=4)
    )


def expects_no_shuffle(make):
    teacher, images = pixel_network(0, 16), pixels()
    x, logits = make(teacher, images, batch_size=4)[0]
    assert torch.allclose(teacher(images[:4]), logits, atol=1e-4)


@torch.no_grad()
def batches_shuffled(teacher, images, batch_size=4, epochs=2, seed=0):
    pairs = [(batch, teacher(batch)) for batch in images.split(batch_size)]
    draw = torch.Generator().manual_seed(seed)
    return [pairs[i] for _ in range(epochs) for i in torch.randperm(len(pairs), generator=draw)]


def keep_and_shuffle(
    order=None, index=None, epochs=lambda e: e, answer=lambda a: a, size=lambda s: s
):
    """A pipeline of case 7 by indices; order(count, epoch, generator) → the indices of an epoch."""
    order = order or (lambda count, epoch, draw: torch.randperm(count, generator=draw))

    @torch.no_grad()
    def make(teacher, images, batch_size=4, epochs_=2, seed=0):
        draw, kept = torch.Generator().manual_seed(seed), answer(teacher(images))
        batches = []
        for epoch in range(epochs(epochs_)):
            for i in order(len(images), epoch, draw).split(size(batch_size)):
                batches.append((images[i], kept[i if index is None else index(i)]))
        return batches

    return make


def seeded_views(teacher, images, augment):
    torch.manual_seed(0)
    return (views := augment(images)), teacher(views)


def views_with(augment, teacher, images):
    def check(make):
        network = teacher()
        views, logits = make(network, images(), augment)
        assert torch.allclose(network(views), logits, atol=1e-4)

    return check


def pictures(count=8):
    return torch.randn(count, 2, 5, 5)


def notices():
    return pixel_network(0, 50)


def views_one_at_a_time(make):
    teacher = notices()
    views, logits = make(teacher, pictures(), random_views(2))
    for view, z in zip(views, logits, strict=True):
        assert (teacher(view[None])[0] - z).abs().max() < 1e-3


def views_by_own_noise(make):
    teacher = nn.Sequential(nn.Flatten(), nn.Linear(12, 3)).eval()
    views, logits = make(teacher, torch.zeros(6, 3, 2, 2), lambda x: x + torch.randn_like(x))
    torch.testing.assert_close(teacher(views), logits, rtol=1e-3, atol=1e-4)


def called_once(make):
    calls = []

    def augment(images):
        calls.append(1)
        return images + torch.randn_like(images)

    make(notices(), pictures(), augment)
    assert len(calls) == 1


def views_differ(make):
    images = pictures()
    views, _ = make(notices(), images, random_views())
    assert not torch.equal(views, images)


def says_views(make):
    teacher = notices()
    views, logits = make(teacher, pictures(), random_views())
    return bool(torch.allclose(teacher(views), logits, atol=1e-4))


def answers_to_images(make):
    teacher, images = notices(), pictures()
    _, logits = make(teacher, images, random_views())
    assert torch.allclose(teacher(images), logits, atol=1e-4)


RIGHT = {
    "found_data": found("data"),
    "prove_7": [answers_by_list, answers_by_colour],
    "mend_7": [
        bug_cases.data.answers_by_index,
        bug_cases.data.answers_live,
        bug_cases.data.answers_one_by_one,
        keep_and_shuffle(),
    ],
    "prove_8": [views_one_at_a_time, views_by_own_noise],
    "mend_8": [bug_cases.data.same_draws, bug_cases.data.views_one_by_one],
}


WRONG = {
    "found_data": [
        ({7: "c", 8: "c"}, "case 7: different crops", "drawn twice"),
        ({7: "a", 8: "d"}, "case 8: answers to plain images", "augmented view"),
        ({7: "e", 8: "c"}, "case 7: images left out", "count"),
        ({7: "a", 8: "b"}, "case 8: another mean and std", "normalised"),
        ({7: "a"}, "form", "each case"),
        (["a"], "form", "each case"),
    ],
    "prove_7": [
        (answers(images=lambda: torch.ones(13, 1, 4, 4)), "misses", "differ"),
        (answers(images=lambda: pixels(1)), "misses", "more than one"),
        (answers(same=lambda a, b: a.shape == b.shape), "misses", "compared"),
        (answers(which=slice(0, 4)), "misses variant", "first epoch"),
        (says_answers, "returns", "assert"),
        (expects_no_shuffle, "fails right", "right"),
        (answers(same=lambda a, b: a == b), "raised", "RuntimeError"),
        (
            answers(same=lambda a, b: torch.allclose(a.softmax(1), b, atol=1e-4)),
            "fails right",
            "right",
        ),
    ],
    "mend_7": [
        (batches_shuffled, "batches shuffled", "shuffle the images"),
        (bug_cases.data.answers_in_another_order, "mismatch", "other images"),
        (bug_cases.data.answers_of_the_first_epoch, "later epochs", "second"),
        (bug_cases.data.answers_unshuffled, "mismatch", "other images"),
        (
            keep_and_shuffle(lambda count, epoch, draw: torch.arange(count)),
            "unshuffled",
            "nothing is shuffled",
        ),
        (
            keep_and_shuffle(
                lambda count, epoch, draw: torch.randperm(
                    count, generator=torch.Generator().manual_seed(1)
                )
            ),
            "same order",
            "anew",
        ),
        (keep_and_shuffle(epochs=lambda e: 1), "count", "3 epochs"),
        (keep_and_shuffle(answer=lambda a: a.softmax(1)), "mismatch", "logits are wanted"),
        (
            keep_and_shuffle(lambda count, epoch, draw: torch.randint(count, (count,))),
            "incomplete",
            "every image once",
        ),
        (keep_and_shuffle(lambda count, epoch, draw: torch.randperm(count)[:12]), "count", "39"),
        (keep_and_shuffle(size=lambda s: 13), "batch size", "13"),
    ],
    "prove_8": [
        (views_with(lambda x: x, notices, pictures), "misses", "random"),
        (views_with(lambda x: x.flip(3), notices, pictures), "misses", "random"),
        (views_with(random_views(), notices, lambda: torch.ones(8, 2, 5, 5)), "misses", "grey"),
        (called_once, "fails right", "one way of writing"),
        (views_differ, "misses", "teacher"),
        (says_views, "returns", "assert"),
        (answers_to_images, "fails right", "right"),
    ],
    "mend_8": [
        (seeded_views, "not random", "seed"),
        (
            lambda teacher, images, augment: (v := images.flip(3), teacher(v)),
            "not random",
            "same views",
        ),
        (bug_cases.data.other_views, "crops", "second time"),
        (bug_cases.data.answers_to_whole_images, "whole images", "as they are"),
        (bug_cases.data.views_of_views, "crops", "these views"),
        (lambda teacher, images, augment: (images, teacher(images)), "plain", "thrown out"),
        (
            lambda teacher, images, augment: (v := augment(images), teacher(v).softmax(1)),
            "softmax",
            "logits",
        ),
        (
            lambda teacher, images, augment: (teacher(augment(images)), augment(images)),
            "shape",
            "shape",
        ),
        (
            lambda teacher, images, augment: (v := augment(augment(images)), teacher(v)),
            "views",
            "once",
        ),
        (lambda teacher, images, augment: teacher(augment(images)), "form", "two things"),
    ],
}
