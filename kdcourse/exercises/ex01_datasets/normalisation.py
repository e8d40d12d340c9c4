"""The judge of normalisation with the training images' statistics."""

import numpy as np
import torch

from kdcourse.checking import expect
from kdcourse.checking.task import Answer, Wrong, task
from kdcourse.exercises.draws import whole_numbers


@task(
    "ex01",
    title="Normalise by train alone",
    minutes=8,
    difficulty="easy",
    points=2,
    hints=(
        "Two numbers a channel: mean and standard deviation over images, rows and columns, of "
        "images[train].",
        "For (N, C, H, W), reduce over axis=(0, 2, 3); reshape the two results to (1, C, 1, 1) "
        "before you use them.",
        "A channel that never changes has a standard deviation of 0: use 1 there.",
    ),
)
def normalise_by_train(answer: Answer, rng: torch.Generator) -> None:
    """All images (N, C, H, W), each channel with the mean and standard deviation of the training
    images alone.
    """
    n, channels, images, train, others = _images(rng)
    got = expect.shape(answer(images, train), images.shape, of="the images").numpy()

    x = images.astype(float)
    dead = np.zeros((1, channels, 1, 1), bool)
    dead[:, 2] = True

    def scaled(mean, std):
        return np.where(dead, 0, (x - mean) / np.where(std < 1e-6, 1, std))

    def by(rows, axis=(0, 2, 3), ddof=0):
        return scaled(
            x[rows].mean(axis, keepdims=True), x[rows].std(axis, keepdims=True, ddof=ddof)
        )

    every = np.arange(n)
    mean, std = x[train].mean((0, 2, 3), keepdims=True), x[train].std((0, 2, 3), keepdims=True)
    _check_constant_channel(got)
    live = [c for c in range(channels) if c != 2]
    if not np.allclose(got[:, 2], 0, atol=1e-2):
        unshifted = np.allclose(got[:, 2], 7, rtol=1e-3)
        raise Wrong(
            "Channel 2 has the value 7 everywhere, so 0 is to be left of it. Got "
            f"{got[0, 2, 0, 0]:.4g}" + (": the mean was not subtracted." if unshifted else "."),
            "constant channel" if not unshifted else "mean",
        )
    mistakes = _mistakes(by, scaled, train, others, x, dead, mean, std, every)
    sample = by(train, ddof=1)  # n − 1 below the line: as good
    if np.allclose(got, sample, rtol=1e-4, atol=1e-4):
        return
    expect.close(
        got[:, live],
        by(train)[:, live],
        of="the normalised images",
        mistakes={name: (value[:, live], why) for name, (value, why) in mistakes.items()},
        rtol=1e-3,
        atol=1e-4,
    )


def _images(rng):
    """Images (N, C, H, W) uint16, of which training images differ from the others."""
    n, channels, side = 14, 4, 6
    level = whole_numbers(rng, 500, 2999, (1, channels, 1, 1))
    images = (
        level
        + whole_numbers(rng, 0, 299, (n, channels, side, side))
        * np.arange(1, channels + 1)[:, None, None]
    )
    images = images + whole_numbers(
        rng, 0, 399, (n, 1, 1, 1)
    )  # some images are brighter than others
    order = torch.randperm(n, generator=rng).numpy()
    train, others = order[:9], order[9:]
    images[others] = images[others] * 2 + 700  # other places, other light
    images[:, 2] = 7  # a channel that says nothing
    images = images.astype(np.uint16)
    return n, channels, images, train, others


def _check_constant_channel(got) -> None:
    """Raise Wrong unless the channel without variation has become zeros."""
    if not np.isfinite(got[:, 2]).all():
        raise Wrong(
            "Channel 2 has the same value everywhere: its standard deviation is 0, and you divide "
            f"by it (got {got[0, 2, 0, 0]}). Divide by 1 there, so that zeros are left.",
            "constant channel",
        )


def _mistakes(by, scaled, train, others, x, dead, mean, std, every):
    """Values of the likely mistakes by name, each with a sentence to the learner."""
    own = by(train)
    own[others] = (x[others] - x[others].mean((0, 2, 3), keepdims=True)) / np.where(
        dead, 1, x[others].std((0, 2, 3), keepdims=True)
    )
    of_means = x[train].mean((2, 3)).std(0)[None, :, None, None]
    mistakes = {
        "all images": (
            by(every),
            "Mean and std come from all images: those that are to test took part. Use "
            "images[train].",
        ),
        "not train": (by(others), "Mean and std come from the images that are *not* in train."),
        "first images": (
            by(every[: len(train)]),
            "`train` holds row numbers, and not the first ones: images[train].",
        ),
        "own statistics": (
            own,
            "The others were normalised by their own mean and std. A network that was trained with "
            "train's numbers must see train's numbers everywhere.",
        ),
        "per image": (
            (x - x.mean((2, 3), keepdims=True)) / np.where(dead, 1, x.std((2, 3), keepdims=True)),
            "Each image has its own mean and std here. That removes how bright it is; reduce over "
            "images too.",
        ),
        "all channels": (
            np.where(dead, 0, (x - x[train].mean()) / x[train].std()),
            "There is one mean and std for all channels together. Each channel has its own scale.",
        ),
        "per pixel": (
            by(train, axis=0),
            "Each pixel has its own mean and std. Reduce over rows and columns too: axis=(0, 2, "
            "3).",
        ),
        "variance": (
            scaled(mean, std**2),
            "You divide by the variance. The standard deviation is its root.",
        ),
        "only centred": (
            scaled(mean, np.ones_like(std)),
            "The mean is subtracted; divide by the standard deviation as well.",
        ),
        "only scaled": (scaled(np.zeros_like(mean), std), "The mean is not subtracted."),
        "std of means": (
            scaled(mean, of_means),
            "The std is that of the images' means. It is to be that of all pixels.",
        ),
    }
    return mistakes
