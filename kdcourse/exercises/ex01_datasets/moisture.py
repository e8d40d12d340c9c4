"""The judge of the moisture index."""

import numpy as np
import torch

from kdcourse.checking import expect
from kdcourse.checking.task import Answer, Wrong, task
from kdcourse.exercises.draws import whole_numbers


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
        "end set NaN where (tile == 0).all(axis=0).",
    ),
)
def moisture_index(answer: Answer, rng: torch.Generator) -> None:
    """(B8A − B11) / (B8A + B11) of a tile (13, H, W) uint16; 0 where both are 0, NaN where the
    whole pixel is 0.
    """
    height, width, tile = _tile(rng)
    got = expect.shape(answer(tile), (height, width), of="the index").numpy()

    def index(near, short):
        total = near + short
        return (near - short) / np.where(total == 0, 1, total)

    band = tile.astype(float)
    expected = index(band[12], band[10])
    data = (tile != 0).any(axis=0)
    _check_range(got, expected, data)
    _check_bands(index, got, band, data)
    finite = np.isfinite(got)
    dark = data & (band[12] + band[10] == 0)
    if not finite[data & ~dark].all():
        raise Wrong(
            f"{(~finite[data & ~dark]).sum()} pixels with data came out as NaN or infinite. A "
            "pixel has no data only where *all* 13 bands are 0; B10 is 0 in many good pixels.",
            "too much left out",
        )
    if not finite[dark].all():
        raise Wrong(
            "In one pixel B8A and B11 are both 0 but other bands are not: it has data, and its "
            f"index is to be 0. Yours is {got[dark][0]}: 0 / 0. Divide by 1 where the sum is 0.",
            "zero sum",
        )
    if finite[~data].any():
        raise Wrong(
            "Where all 13 bands are 0 nothing was measured. Expected NaN there, got "
            f"{got[~data][0]:.3g}, which looks like a measurement: it would count in every mean.",
            "no data",
        )
    expect.close(
        got[data],
        expected[data],
        of="the index where there are data",
        rtol=2e-5,
        mistakes=_mistakes(band, expected, data),
    )


def _tile(rng):
    """A tile (13, height, width) uint16 with every case that an index meets."""
    height, width = 6, 7
    tile = whole_numbers(rng, 200, 5999, (13, height, width)).astype(np.uint16)
    tile[9] = whole_numbers(rng, 0, 1, (height, width))  # B10 is next to nothing anywhere
    tile[12, 0, 0], tile[10, 0, 0] = (
        45_000,
        30_000,
    )  # a cloud: beyond int16, and their sum beyond uint16
    tile[12, 0, 1], tile[10, 0, 1] = 500, 3000
    tile[[10, 12], 0, 2] = 0  # deep shade: no light in these two bands, but a pixel with data
    tile[12, 0, 3] = 0
    tile[:, :, -1] = 0  # no data
    return height, width, tile


def _check_range(got, expected, data) -> None:
    """Raise Wrong if the index leaves −1 … 1."""
    if (np.abs(got[data & np.isfinite(got)]) > 1.001).any():
        reaches = (
            "The index cannot leave −1 … 1, but yours reaches "
            f"{np.abs(got[np.isfinite(got)]).max():.3g}."
        )
        if abs(got[0, 1] - expected[0, 1]) < 1e-3:  # 500 − 3000 is right
            raise Wrong(
                f"{reaches} int16 ends at 32767: a cloud of 45000 wraps around to −20536. Make "
                "floats of the bands.",
                "int16",
            )
        if any(np.isclose(got[0, 1], (2**bits - 2500) / 3500, rtol=0.01) for bits in (16, 32, 64)):
            raise Wrong(
                f"{reaches} Unsigned integers wrap around: 500 − 3000 is 63036 in uint16. Make "
                "floats of the bands before you subtract.",
                "unsigned",
            )
        raise Wrong(
            f"{reaches} Divide the difference of the two bands by their sum.", "not an index"
        )


def _check_bands(index, got, band, data) -> None:
    """Raise Wrong if the index is that of other bands."""
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


def _mistakes(band, expected, data) -> dict:
    """Values of the likely mistakes where there are data, each with a sentence."""
    return {
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
    }


def _agree(a: np.ndarray, b: np.ndarray, where: np.ndarray) -> bool:
    """Whether two maps agree in at least nine tenths of these pixels: the others may suffer from
    another fault.
    """
    return np.isclose(a, b, rtol=1e-3, atol=1e-4)[where].mean() > 0.9
