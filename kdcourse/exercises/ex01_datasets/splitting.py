"""The judge of a split by place."""

import numpy as np
import torch

from kdcourse.checking.task import Answer, Wrong, task
from kdcourse.exercises.draws import whole_numbers


@task(
    "ex01",
    title="A split that does not leak",
    minutes=15,
    difficulty="hard",
    points=3,
    hints=(
        "What do the images of a place have in common? Shuffle and cut *places*, then collect "
        "their images.",
        "Each class by itself: its places are np.unique(places[labels == label]).",
        "Of a class with n places take max(1, round(test_share * n)) for test, drawn by "
        "np.random.default_rng(seed).permutation.",
        "np.isin(places, test_places) says which images are in test; np.flatnonzero makes row "
        "numbers of it.",
    ),
)
def split_by_place(answer: Answer, rng: torch.Generator) -> None:
    """(train, test) row numbers: no place in both, the same share of each class in test, a function
    of the seed.
    """
    for share in (0.25, 0.5, 0.25, 0.25):
        labels, places = _places(rng)
        seed = int(whole_numbers(rng, 0, 9999, (1,))[0])
        train, test = _rows(answer(labels, places, share, seed), len(labels))
        _check_split(labels, places, share, train, test)
        again = _rows(answer(labels, places, share, seed), len(labels))
        if set(test) != set(again[1]):
            raise Wrong(
                f"Two calls with seed {seed} gave different test sets. Every run and every method "
                "must see the same test images: draw from np.random.default_rng(seed).",
                "not repeatable",
            )
        others = [_rows(answer(labels, places, share, seed + i), len(labels))[1] for i in (1, 2, 3)]
        if all(set(test) == set(other) for other in others):
            raise Wrong(
                "Four seeds gave the same test set. The places that are tested are to be drawn "
                "with the seed, or the first places in the list are always those that are tested.",
                "seed ignored",
            )


def _places(rng: torch.Generator) -> tuple[np.ndarray, np.ndarray]:
    """Labels and places of images in any order: common classes of 12 places, rare ones of 4; 3–5
    images a place.
    """
    labels, places, number = [], [], 100
    for label, count in enumerate((12, 4, 4, 4, 12, 4, 4, 4, 4, 4)):
        for size in whole_numbers(rng, 3, 5, (count,)):
            labels += [label] * int(size)
            places += [number] * int(size)
            number += 7
    order = torch.randperm(len(labels), generator=rng).numpy()
    names = torch.randperm(number, generator=rng).numpy()  # places bear any numbers
    return np.array(labels)[order], names[np.array(places)[order]]


def _rows(parts: object, n: int) -> tuple[list[int], list[int]]:
    if not isinstance(parts, list | tuple) or len(parts) != 2:
        raise Wrong(
            f"Expected a pair (train, test) of row numbers, got {type(parts).__name__}.", "type"
        )
    train, test = (np.asarray(part) for part in parts)
    for name, part in (("train", train), ("test", test)):
        if part.dtype == bool:
            raise Wrong(
                f"{name} is a mask of True and False; row numbers were asked for: "
                "np.flatnonzero(mask).",
                "mask",
            )
        if part.ndim != 1 or part.size and not np.issubdtype(part.dtype, np.number):
            raise Wrong(
                f"{name}: expected a list of row numbers, got an array of shape {part.shape}.",
                "type",
            )
        if not part.size:
            raise Wrong(f"{name} is empty.", "empty part")
        if (part != np.round(part)).any() or part.min() < 0 or part.max() >= n:
            raise Wrong(
                f"{name} holds {part.min():g} to {part.max():g}: expected row numbers from 0 to "
                f"{n - 1}, neither labels nor places.",
                "not rows",
            )
    return train.astype(int).tolist(), test.astype(int).tolist()


def _check_split(
    labels: np.ndarray, places: np.ndarray, share: float, train: list[int], test: list[int]
) -> None:
    n = len(labels)
    shared = np.isin(places[test], places[train])
    if shared.any():
        raise Wrong(
            f"{shared.sum()} of {len(test)} test images come from places that train has seen: "
            "nearly twins of what was learned. All images of a place belong on the same side.",
            "leak",
        )
    if len(set(train)) < len(train) or len(set(test)) < len(test):
        raise Wrong("Some rows appear twice in one part.", "twice")
    if len(train) + len(test) < n:
        raise Wrong(f"{n - len(train) - len(test)} of {n} images are in neither part.", "lost")
    got = {
        label: np.isin(np.flatnonzero(labels == label), test).mean() for label in np.unique(labels)
    }
    shares = ", ".join(f"class {label} {100 * value:.0f} %" for label, value in got.items())
    for label, value in got.items():
        if value in (0, 1):
            raise Wrong(
                f"Class {label} is missing in {'test' if value == 0 else 'train'} (in test: "
                f"{shares}). Draw the places of each class by itself.",
                "not stratified",
            )
    whole = len(test) / n
    if share < 0.4 and abs(1 - share - whole) < 0.13:
        raise Wrong(
            f"{100 * whole:.0f} % are in test, {100 * share:.0f} % were asked for: are the parts "
            "swapped?",
            "swapped",
        )
    near = {label: _near(labels == label, places, share, test) for label in got}
    allowed = (
        0.2 if all(near.values()) else 0.13
    )  # who draws places until a class has enough is over in each
    if not any(near.values()) or abs(whole - share) > allowed:
        raise Wrong(
            f"{100 * whole:.0f} % of the images are in test, {100 * share:.0f} % were asked for.",
            "share",
        )
    if not all(near.values()):
        raise Wrong(
            f"The share of test differs between classes, in test: {shares}; {100 * share:.0f} % of "
            "each were asked for, as near as whole places allow. Draw the places of each class by "
            "itself.",
            "not stratified",
        )


def _near(of_class: np.ndarray, places: np.ndarray, share: float, test: list[int]) -> bool:
    """Whether test has its share of a class's places, or of its images, within one place."""
    images, sizes = (
        np.isin(np.flatnonzero(of_class), test),
        np.unique(places[of_class], return_counts=True)[1],
    )
    drawn = len(np.intersect1d(places[of_class], places[test]))
    return bool(
        abs(drawn - share * len(sizes)) <= 1 - (len(sizes) <= 4) * 0.5
        or abs(images.sum() - share * len(images)) <= sizes.max()
    )
