"""The judges of a band read off a figure and of flaws in procedures."""

from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import torch

from kdcourse.checking import expect
from kdcourse.checking.task import Answer, Wrong, task
from kdcourse.data.eurosat import BANDS
from kdcourse.data.scenes import render_tile

CLASS_PAIR = ("HerbaceousVegetation", "Residential")


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
    given = expect.only(answer.value())
    if not isinstance(given, str):
        raise Wrong(
            f"Give the name of one band as text, such as {names[5]!r}, not {given!r}.", "type"
        )
    name = given.upper().removeprefix("BAND").strip(" .'\"")
    name = f"B0{name[1]}" if len(name) == 2 and name[0] == "B" else name
    if name not in names:
        raise Wrong(f"{given!r} is no band. Known: {', '.join(names)}.", "not a band")
    at = names.index(name)
    if ratio[at] < 0.95 * ratio.max():
        how = (
            f"At {name} the two means lie {gap[at]:.0f} apart, and tiles of one class spread by "
            f"{spread[at]:.0f}: {ratio[at]:.2f} spreads. There is a band with {ratio.max():.2f}."
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
            "scenes": "The scenes were shuffled and cut 7 : 1 : 2; all tiles of a scene went "
            "where it went.",
            "tiles": "The tiles of all scenes were shuffled and cut 7 : 1 : 2, each class in its "
            "share.",
            "views": "Each tile was stored in its eight orientations; then the files were "
            "shuffled and cut 7 : 1 : 2.",
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
        unusual="Rivers are 4 % of the training tiles and 4 % of the test tiles; other classes "
        "are 12 %."
    ),
    "E": Procedure(chosen_on="test"),
    "F": Procedure(statistics="all"),
    "G": Procedure(shuffled="views"),
}


LOOK = {
    "sound": "Read it again, step by step: what of the test set could have reached the training, "
    "or the choice?",
    "leak": "What was shuffled, tiles or scenes? What has a test image's neighbour, or its copy, "
    "to do with it?",
    "statistics": "Whose mean and standard deviation are they?",
    "chosen on test": "Which images chose the epoch that is reported?",
    "augmented test": "Is a test image judged as it is, and would a second judgement give the "
    "same figure?",
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
