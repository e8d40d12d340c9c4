"""Exercise 01, data sets: an index, train's own statistics, a split by place, a band read off,
flaws of procedures.
"""

from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import torch

from kdcourse.checking import expect
from kdcourse.checking.task import Answer, Wrong, task
from kdcourse.data.eurosat import BANDS
from kdcourse.data.scenes import render_tile

CLASS_PAIR = ("HerbaceousVegetation", "Residential")


def _whole(low: int, high: int, shape: tuple, rng: torch.Generator) -> np.ndarray:
    return torch.randint(low, high, shape, generator=rng).numpy()


# --- a moisture index -----------------------------------------------------------------------------


@task(
    "ex01",
    title="A moisture index",
    minutes=8,
    difficulty="easy",
    points=2,
    hints=(
        "At which index of the array is B8A? Notebook 01, section 2: it is not where its "
        "wavelength would put it.",
        "Make floats of both bands before you subtract: unsigned integers have no numbers below "
        "zero.",
        "Divide by np.where(total == 0, 1, total), so that nothing is divided by zero. At the very "
        "end set NaN where "
        "(tile == 0).all(axis=0).",
    ),
)
def moisture_index(answer: Answer, rng: torch.Generator) -> None:
    """(B8A − B11) / (B8A + B11) of a tile (13, H, W) uint16; 0 where both are 0, NaN where the
    whole pixel is 0.
    """
    height, width = 6, 7
    tile = _whole(200, 6000, (13, height, width), rng).astype(np.uint16)
    tile[9] = _whole(0, 2, (height, width), rng)  # B10 is next to nothing anywhere
    tile[12, 0, 0], tile[10, 0, 0] = (
        45_000,
        30_000,
    )  # a cloud: beyond int16, and their sum beyond uint16
    tile[12, 0, 1], tile[10, 0, 1] = 500, 3000
    tile[[10, 12], 0, 2] = 0  # deep shade: no light in these two bands, but a pixel with data
    tile[12, 0, 3] = 0
    tile[:, :, -1] = 0  # no data
    got = expect.shape(answer(tile), (height, width), of="the index").numpy()

    def index(near, short):
        total = near + short
        return (near - short) / np.where(total == 0, 1, total)

    band = tile.astype(float)
    expected = index(band[12], band[10])
    data = (tile != 0).any(axis=0)
    if (np.abs(got[data & np.isfinite(got)]) > 1.001).any():
        reaches = f"The index cannot leave −1 … 1, but yours reaches {np.abs(got[np.isfinite(got)]).max():.3g}."
        if abs(got[0, 1] - expected[0, 1]) < 1e-3:  # 500 − 3000 is right
            raise Wrong(
                f"{reaches} int16 ends at 32767: a cloud of 45000 wraps around to −20536. Make "
                "floats of the bands.",
                "int16",
            )
        if any(np.isclose(got[0, 1], (2**bits - 2500) / 3500, rtol=0.01) for bits in (16, 32, 64)):
            raise Wrong(
                f"{reaches} Unsigned integers wrap around: 500 − 3000 is 63036 in uint16. Make "
                "floats of the bands "
                "before you subtract.",
                "unsigned",
            )
        raise Wrong(
            f"{reaches} Divide the difference of the two bands by their sum.", "not an index"
        )
    for fault, (near, short), which in (
        ("band order", (8, 10), "index 8 is B09, water vapour. B8A is the last band of the file"),
        (
            "band order",
            (7, 10),
            "index 7 is B08, the broad near infrared. B8A is the last band of the file",
        ),
        (
            "band order",
            (12, 11),
            "index 11 is B12. Arrays count from 0, rasterio from 1: B11 is at index 10",
        ),
        (
            "band order",
            (8, 11),
            "these are B09 and B12. B8A is the last band of the file, B11 is at index 10",
        ),
        ("band order", (7, 11), "these are B08 and B12. B8A is at index 12, B11 at index 10"),
    ):
        if _agree(got, index(band[near], band[short]), data):
            raise Wrong(f"These are not the bands that were asked for: {which}.", fault)
    seen = np.isfinite(got)
    dark = data & (band[12] + band[10] == 0)
    if not seen[data & ~dark].all():
        raise Wrong(
            f"{(~seen[data & ~dark]).sum()} pixels with data came out as NaN or infinite. A pixel "
            "has no data only "
            "where *all* 13 bands are 0; B10 is 0 in many good pixels.",
            "too much left out",
        )
    if not seen[dark].all():
        raise Wrong(
            "In one pixel B8A and B11 are both 0 but other bands are not: it has data, and its "
            "index is to be 0. "
            f"Yours is {got[dark][0]}: 0 / 0. Divide by 1 where the sum is 0.",
            "zero sum",
        )
    if seen[~data].any():
        raise Wrong(
            "Where all 13 bands are 0 nothing was measured. Expected NaN there, got "
            f"{got[~data][0]:.3g}, which looks "
            "like a measurement: it would count in every mean.",
            "no data",
        )
    expect.close(
        got[data],
        expected[data],
        of="the index where there are data",
        rtol=2e-5,
        mistakes={
            "sign": (-expected[data], "The sign is turned: B8A − B11, not B11 − B8A."),
            "integers": (
                np.trunc(expected)[data],
                "There are only whole numbers: divide floats, not integers.",
            ),
            "floor": (
                np.floor(expected)[data],
                "There are only whole numbers: `/` divides, `//` cuts off.",
            ),
            "clipped": (
                expected.clip(0)[data],
                "Values below 0 are lost. Dry ground has a negative index: keep it.",
            ),
            "one added": (
                ((band[12] - band[10]) / (band[12] + band[10] + 1))[data],
                "1 was added to every sum. Divide by 1 only where the sum is 0.",
            ),
            "half": (
                2 * expected[data],
                "It is twice too large: divide by the sum, not by the mean, of the two.",
            ),
        },
    )


def _agree(a: np.ndarray, b: np.ndarray, where: np.ndarray) -> bool:
    """Whether two maps agree in at least nine tenths of these pixels: the others may suffer from
    another fault.
    """
    return np.isclose(a, b, rtol=1e-3, atol=1e-4)[where].mean() > 0.9


# --- normalise by train ---------------------------------------------------------------------------


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
    n, channels, side = 14, 4, 6
    level = _whole(500, 3000, (1, channels, 1, 1), rng)
    images = (
        level
        + _whole(0, 300, (n, channels, side, side), rng) * np.arange(1, channels + 1)[:, None, None]
    )
    images = images + _whole(0, 400, (n, 1, 1, 1), rng)  # some images are brighter than others
    order = torch.randperm(n, generator=rng).numpy()
    train, others = order[:9], order[9:]
    images[others] = images[others] * 2 + 700  # other places, other light
    images[:, 2] = 7  # a channel that says nothing
    images = images.astype(np.uint16)
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
    if not np.isfinite(got[:, 2]).all():
        raise Wrong(
            "Channel 2 has the same value everywhere: its standard deviation is 0, and you divide "
            "by it "
            f"(got {got[0, 2, 0, 0]}). Divide by 1 there, so that zeros are left.",
            "constant channel",
        )
    live = [c for c in range(channels) if c != 2]
    if not np.allclose(got[:, 2], 0, atol=1e-2):
        unshifted = np.allclose(got[:, 2], 7, rtol=1e-3)
        raise Wrong(
            "Channel 2 has the value 7 everywhere, so 0 is to be left of it. Got "
            f"{got[0, 2, 0, 0]:.4g}" + (": the mean was not subtracted." if unshifted else "."),
            "constant channel" if not unshifted else "mean",
        )
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


# --- split by place -------------------------------------------------------------------------------


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
        seed = int(_whole(0, 10_000, (1,), rng)[0])
        train, test = _rows(answer(labels, places, share, seed), len(labels))
        _check_split(labels, places, share, train, test)
        again = _rows(answer(labels, places, share, seed), len(labels))
        if set(test) != set(again[1]):
            raise Wrong(
                f"Two calls with seed {seed} gave different test sets. Every run and every method "
                "must see the same "
                "test images: draw from np.random.default_rng(seed).",
                "not repeatable",
            )
        others = [_rows(answer(labels, places, share, seed + i), len(labels))[1] for i in (1, 2, 3)]
        if all(set(test) == set(other) for other in others):
            raise Wrong(
                "Four seeds gave the same test set. The places that are tested are to be drawn "
                "with the seed, or "
                "the first places in the list are always those that are tested.",
                "seed ignored",
            )


def _places(rng: torch.Generator) -> tuple[np.ndarray, np.ndarray]:
    """Labels and places of images in any order: common classes of 12 places, rare ones of 4; 3–5
    images a place.
    """
    labels, places, number = [], [], 100
    for label, count in enumerate((12, 4, 4, 4, 12, 4, 4, 4, 4, 4)):
        for size in _whole(3, 6, (count,), rng):
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
                f"{n - 1}, "
                "neither labels nor places.",
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
            "nearly twins of what "
            "was learned. All images of a place belong on the same side.",
            "leak",
        )
    if len(set(train)) < len(train) or len(set(test)) < len(test):
        raise Wrong("Some rows appear twice in one part.", "twice")
    if len(train) + len(test) < n:
        raise Wrong(f"{n - len(train) - len(test)} of {n} images are in neither part.", "lost")
    got = {
        label: np.isin(np.flatnonzero(labels == label), test).mean() for label in np.unique(labels)
    }
    said = ", ".join(f"class {label} {100 * value:.0f} %" for label, value in got.items())
    for label, value in got.items():
        if value in (0, 1):
            raise Wrong(
                f"Class {label} is missing in {'test' if value == 0 else 'train'} (in test: "
                f"{said}). "
                "Draw the places of each class by itself.",
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
            f"The share of test differs between classes, in test: {said}; {100 * share:.0f} % of "
            "each were asked for, "
            "as near as whole places allow. Draw the places of each class by itself.",
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


# --- the band that tells two classes apart --------------------------------------------------------


@task(
    "ex01",
    title="The band that tells them apart",
    minutes=6,
    difficulty="medium",
    points=1,
    hints=(
        "Not the widest gap between the means: how wide is it beside the spread of the tiles of "
        "one class?",
        "For each band: |mean of one − mean of the other| / √((variance of one + variance of the "
        "other) / 2).",
    ),
)
def clearest_band(answer: Answer, rng: torch.Generator) -> None:
    """The name of the band whose means differ most in units of the spread within a class."""
    gap, spread = _gap_and_spread()
    names, ratio = [band.name for band in BANDS], gap / spread
    said = expect.only(answer.value())
    if not isinstance(said, str):
        raise Wrong(
            f"Give the name of one band as text, such as {names[5]!r}, not {said!r}.", "type"
        )
    name = said.upper().removeprefix("BAND").strip(" .'\"")
    name = f"B0{name[1]}" if len(name) == 2 and name[0] == "B" else name
    if name not in names:
        raise Wrong(f"{said!r} is no band. Known: {', '.join(names)}.", "not a band")
    at = names.index(name)
    if ratio[at] < 0.95 * ratio.max():
        how = (
            f"At {name} the two means lie {gap[at]:.0f} apart, and tiles of one class spread by "
            f"{spread[at]:.0f}: "
            f"{ratio[at]:.2f} spreads. There is a band with {ratio.max():.2f}."
        )
        if at == gap.argmax():
            raise Wrong(
                f"{how} The widest gap is of little use where the classes are as wide themselves.",
                "widest gap",
            )
        raise Wrong(how, "another band")


@lru_cache(maxsize=1)
def _gap_and_spread() -> tuple[np.ndarray, np.ndarray]:
    """Of each band (13,): distance of the two classes' means, and the root of their mean
    variance.
    """
    one, other = (
        np.stack([render_tile(name, n).mean((1, 2)) for n in range(1, 31)]) for name in CLASS_PAIR
    )
    return np.abs(one.mean(0) - other.mean(0)), np.sqrt((one.var(0) + other.var(0)) / 2)


# --- what is wrong with it? -----------------------------------------------------------------------


@dataclass(frozen=True)
class Procedure:
    """How somebody came to a test accuracy. Tiles were cut side by side from large scenes."""

    shuffled: str = "scenes"  # or "tiles", "views" of tiles
    statistics: str = "train"  # or "all"
    chosen_on: str = "validation"  # or "test"
    test_views: str = "as it is"  # or "flipped at random"
    unusual: str = ""  # what looks odd but is no flaw

    @property
    def flaw(self) -> str:
        if self.shuffled != "scenes":
            return "leak"
        if self.statistics != "train":
            return "statistics"
        if self.chosen_on != "validation":
            return "chosen on test"
        return "sound" if self.test_views == "as it is" else "augmented test"

    def __str__(self) -> str:
        cut = {
            "scenes": "The scenes were shuffled and cut 7 : 1 : 2; all tiles of a scene went where it went.",
            "tiles": "The tiles of all scenes were shuffled and cut 7 : 1 : 2, each class in its share.",
            "views": "Each tile was stored in its eight orientations; then the files were shuffled and cut 7 : 1 : 2.",
        }[self.shuffled]
        counted = {
            "train": "the training tiles",
            "all": "all tiles, which gives the steadier figures",
        }[self.statistics]
        text = f"{cut} Mean and standard deviation of each band come from {counted}. "
        text += f"Of 40 epochs, the one with the best {self.chosen_on} accuracy is kept. "
        text += f"Each test tile is judged once, {self.test_views}"
        text += ", as in training." if self.test_views != "as it is" else "."
        return f"{text} {self.unusual}".strip()


PROCEDURES = {
    "A": Procedure(unusual="Only training tiles are flipped and turned."),
    "B": Procedure(shuffled="tiles"),
    "C": Procedure(test_views="flipped at random"),
    "D": Procedure(
        unusual="Rivers are 4 % of the training tiles and 4 % of the test tiles; other classes are 12 %."
    ),
    "E": Procedure(chosen_on="test"),
    "F": Procedure(statistics="all"),
    "G": Procedure(shuffled="views"),
}
LOOK = {
    "sound": "Read it again, step by step: what of the test set could have reached the training, or the choice?",
    "leak": "What was shuffled, tiles or scenes? What has a test image's neighbour, or its copy, to do with it?",
    "statistics": "Whose mean and standard deviation are they?",
    "chosen on test": "Which images chose the epoch that is reported?",
    "augmented test": "Is a test image judged as it is, and would a second judgement give the same figure?",
}


@task(
    "ex01",
    title="Flaws of seven procedures",
    minutes=8,
    difficulty="medium",
    points=2,
    hints=(
        "Follow one test image: what is like it in train? Does anything about it reach training, "
        "or the choice?",
        "Two of the seven are sound.",
    ),
)
def flaws(answer: Answer, rng: torch.Generator) -> None:
    """The flaw of each of seven procedures, by letter."""
    expect.sorted_into(
        answer.value(), {letter: each.flaw for letter, each in PROCEDURES.items()}, LOOK
    )
