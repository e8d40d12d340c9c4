"""Exercise 01: right answers written otherwise than the solution, and wrong ones with what they
must be told.
"""

import numpy as np
import torch

# --- moisture_index -------------------------------------------------------------------------------


def index_by_loops(tile):
    _, height, width = tile.shape
    rows = []
    for y in range(height):
        row = []
        for x in range(width):
            near, short = int(tile[12, y, x]), int(tile[10, y, x])
            empty = all(int(value) == 0 for value in tile[:, y, x])
            row.append(
                float("nan")
                if empty
                else 0.0
                if near + short == 0
                else (near - short) / (near + short)
            )
        rows.append(row)
    return rows


def index_by_torch(tile):
    tile = torch.from_numpy(tile.astype("int64")).float()
    near, short = tile[-1], tile[-3]
    index = torch.nan_to_num((near - short) / (near + short))
    index[(tile == 0).all(0)] = torch.nan
    return index.requires_grad_()


def index_by_errstate(tile):
    near, short = np.float64(tile[12]), np.float64(tile[10])
    with np.errstate(invalid="ignore"):
        index = 1 - 2 * short / (near + short)
    return np.where(tile.any(0), np.nan_to_num(index), np.nan).astype(np.float32)


def index_of(near, short, tile, empty=None):
    near, short = np.asarray(near, dtype=float), np.asarray(short, dtype=float)
    total = near + short
    index = (near - short) / np.where(total == 0, 1, total)
    index[(tile == 0).all(0) if empty is None else empty] = np.nan
    return index


def index_unsigned(tile):
    index = (tile[12] - tile[10]) / np.maximum(tile[12] + tile[10], 1)
    index[(tile == 0).all(0)] = np.nan
    return index


def index_signed_16(tile):
    near, short = tile[12].astype(np.int16), tile[10].astype(np.int16)
    index = (near - short) / np.where(near + short == 0, 1, near + short)
    index[(tile == 0).all(0)] = np.nan
    return index


def index_converted_late(tile):
    index = (tile[12] - tile[10]).astype(float) / np.maximum((tile[12] + tile[10]).astype(float), 1)
    return np.where(tile.any(0), index, np.nan)


def index_nan_for_zero_sum(tile):
    near, short = tile[12].astype(float), tile[10].astype(float)
    with np.errstate(invalid="ignore"):
        return (near - short) / (near + short)


def index_one_added(tile):
    near, short = tile[12].astype(float), tile[10].astype(float)
    return np.where(tile.any(0), (near - short) / (near + short + 1), np.nan)


def index_floored(tile):
    near, short = tile[12].astype(int), tile[10].astype(int)
    index = ((near - short) // np.maximum(near + short, 1)).astype(float)
    return np.where(tile.any(0), index, np.nan)


# --- normalise_by_train ---------------------------------------------------------------------------


def normalised_by_loop(images, train):
    result = np.zeros(images.shape, dtype=np.float32)
    for c in range(images.shape[1]):
        pixels = np.concatenate([images[i, c].ravel().astype(np.float32) for i in train])
        spread = pixels.std()
        result[:, c] = (images[:, c] - pixels.mean()) / (spread if spread > 0 else 1)
    return result


def normalised_by_torch(images, train):
    x = torch.from_numpy(images.astype(np.float64))
    std, mean = torch.std_mean(
        x[torch.from_numpy(train)], dim=(0, 2, 3), keepdim=True
    )  # n − 1 below the line
    return (x - mean) / std.clamp(min=1e-12)


def normalised_by_sums(images, train):
    x = np.moveaxis(images.astype(float), 1, -1)  # (N, H, W, C)
    pixels = x[train].reshape(-1, x.shape[-1])
    mean = pixels.sum(0) / len(pixels)
    std = np.sqrt((pixels**2).sum(0) / len(pixels) - mean**2 + 1e-12)
    return np.moveaxis((x - mean) / std, -1, 1)


def normalised(images, train, rows=None, axis=(0, 2, 3), power=1.0, centre=1, floor=1.0):
    x = images.astype(float)
    pixels = x[train if rows is None else rows]
    mean, std = pixels.mean(axis, keepdims=True), pixels.std(axis, keepdims=True)
    return (x - centre * mean) / np.where(std == 0, floor, std) ** power


def normalised_without_floor(images, train):
    with np.errstate(all="ignore"):
        return normalised(images, train, floor=0.0)


def normalised_per_image(images, train):
    x = images.astype(float)
    std = x.std((2, 3), keepdims=True)
    return (x - x.mean((2, 3), keepdims=True)) / np.where(std == 0, 1, std)


def normalised_together(images, train):
    x = images.astype(float)
    live = x - 7 * (x == 7)
    return np.where(x == 7, 0, (live - x[train].mean()) / x[train].std())


def normalised_each_part(images, train):
    others = np.setdiff1d(np.arange(len(images)), train)
    result = np.empty(images.shape)
    for part in (train, others):
        result[part] = normalised(images[part], np.arange(len(part)))
    return result


def normalised_in_place(images, train):
    images -= images[train].mean((0, 2, 3), keepdims=True).astype(images.dtype)
    return images / np.maximum(images[train].std((0, 2, 3), keepdims=True), 1)


# --- split_by_place -------------------------------------------------------------------------------


def split_by_sets(labels, places, test_share, seed):
    rng, test_places = torch.Generator().manual_seed(seed), set()
    for label in sorted(set(labels.tolist())):
        own = sorted({int(place) for place, of in zip(places, labels, strict=True) if of == label})
        order = torch.randperm(len(own), generator=rng).tolist()
        test_places |= {own[i] for i in order[: max(1, int(test_share * len(own) + 0.5))]}
    train = [row for row, place in enumerate(places) if int(place) not in test_places]
    return train, [row for row in range(len(places)) if row not in set(train)]


def split_by_images(labels, places, test_share, seed):
    """Takes places until a class has its share of *images*."""
    rng, test = np.random.default_rng(seed), []
    for label in np.unique(labels):
        of_class, taken = np.flatnonzero(labels == label), []
        for place in rng.permutation(np.unique(places[of_class])):
            if len(taken) + 2 > test_share * len(of_class):
                break
            taken += np.flatnonzero(places == place).tolist()
        test += taken
    return torch.tensor(np.setdiff1d(np.arange(len(labels)), test)), torch.tensor(test)


def split_rows(labels, test_share, seed):
    order = np.random.default_rng(seed).permutation(len(labels))
    cut = round(test_share * len(labels))
    return np.sort(order[cut:]), np.sort(order[:cut])


def split_rows_stratified(labels, places, test_share, seed):
    rng, test = np.random.default_rng(seed), []
    for label in np.unique(labels):
        own = rng.permutation(np.flatnonzero(labels == label))
        test += own[: round(test_share * len(own))].tolist()
    return np.setdiff1d(np.arange(len(labels)), test), np.array(test)


def split_places(labels, places, test_share, seed, stratify=True, order=None):
    rng, chosen = np.random.default_rng(seed), []
    order = order or rng.permutation
    groups = (
        [np.unique(places[labels == label]) for label in np.unique(labels)]
        if stratify
        else [np.unique(places)]
    )
    for own in groups:
        chosen += order(own)[: max(1, round(test_share * len(own)))].tolist()
    test = np.isin(places, chosen)
    return np.flatnonzero(~test), np.flatnonzero(test)


def split_as_masks(labels, places, test_share, seed):
    train, test = split_places(labels, places, test_share, seed)
    rows = np.arange(len(labels))
    return np.isin(rows, train), np.isin(rows, test)


def split_into_places(labels, places, test_share, seed):
    train, test = split_places(labels, places, test_share, seed)
    return np.unique(places[train]) + len(labels), np.unique(places[test]) + len(labels)


def split_loses_rows(labels, places, test_share, seed):
    train, test = split_places(labels, places, test_share, seed)
    return train[:-5], test


# --- the tables -----------------------------------------------------------------------------------

FLAWS = {
    "A": "sound",
    "B": "leak",
    "C": "augmented test",
    "D": "sound",
    "E": "chosen on test",
    "F": "statistics",
    "G": "leak",
}

by_lower_letters = [
    (f"({letter.lower()})", flaw.replace(" ", "_")) for letter, flaw in FLAWS.items()
]

RIGHT = {
    "moisture_index": [index_by_loops, index_by_torch, index_by_errstate],
    "normalise_by_train": [normalised_by_loop, normalised_by_torch, normalised_by_sums],
    "split_by_place": [split_by_sets, split_by_images, split_places],
    "clearest_band": ["B01", "b1", " B01 ", ["B01"], {"B01"}, np.array("B01"), "band B1"],
    "flaws": [
        FLAWS,
        {letter: flaw.upper() for letter, flaw in FLAWS.items()},
        dict(reversed(FLAWS.items())),
        by_lower_letters,
    ],
}
WRONG = {
    "moisture_index": [
        (index_unsigned, "unsigned", "wrap"),
        (lambda tile: tile[0], "not an index", "Divide the difference"),
        (index_signed_16, "int16", "32767"),
        (index_converted_late, "unsigned", "before you subtract"),
        (lambda tile: index_of(tile[8], tile[10], tile), "band order", "B09"),
        (lambda tile: index_of(tile[7], tile[10], tile), "band order", "B08"),
        (lambda tile: index_of(tile[12], tile[11], tile), "band order", "index 10"),
        (lambda tile: index_of(tile[10], tile[12], tile), "sign", "turned"),
        (
            lambda tile: index_of(tile[12], tile[10], tile, np.zeros(tile.shape[1:], bool)),
            "no data",
            "NaN",
        ),
        (
            lambda tile: index_of(tile[12], tile[10], tile, (tile == 0).any(0)),
            "too much left out",
            "all",
        ),
        (index_nan_for_zero_sum, "zero sum", "0 / 0"),
        (index_one_added, "one added", "only where"),
        (index_floored, "floor", "whole numbers"),
        (lambda tile: index_of(tile[12], tile[10], tile)[None], "shape", "(6, 7)"),
    ],
    "normalise_by_train": [
        (lambda images, train: normalised(images, slice(None)), "all images", "took part"),
        (
            lambda images, train: normalised(images, slice(len(train))),
            "first images",
            "row numbers",
        ),
        (normalised_per_image, "per image", "Each image"),
        (normalised_together, "all channels", "Each channel"),
        (lambda images, train: normalised(images, train, axis=0), "per pixel", "rows and columns"),
        (lambda images, train: normalised(images, train, power=2.0), "variance", "root"),
        (lambda images, train: normalised(images, train, power=0.0), "only centred", "divide"),
        (lambda images, train: normalised(images, train, centre=0), "mean", "not subtracted"),
        (normalised_without_floor, "constant channel", "Divide by 1"),
        (normalised_each_part, "own statistics", "train's numbers"),
        (lambda images, train: normalised(images, train)[train], "shape", "(14, 4, 6, 6)"),
        (normalised_in_place, "changed input", "in place"),
    ],
    "split_by_place": [
        (lambda labels, places, share, seed: split_rows(labels, share, seed), "leak", "twins"),
        (split_rows_stratified, "leak", "twins"),
        (lambda *args: split_places(*args, stratify=False), "not stratified", "each class"),
        (lambda *args: split_places(*args)[::-1], "swapped", "swapped"),
        (
            lambda labels, places, share, seed: split_places(labels, places, 0.5, seed),
            "share",
            "25 %",
        ),
        (
            lambda labels, places, share, seed: split_places(labels, places, 0.25, seed),
            "share",
            "50 %",
        ),
        (lambda *args: split_places(*args, order=lambda own: own), "seed ignored", "with the seed"),
        (
            lambda *args: split_places(*args, order=np.random.default_rng().permutation),
            "not repeatable",
            "default_rng",
        ),
        (split_as_masks, "mask", "flatnonzero"),
        (split_into_places, "not rows", "row numbers"),
        (split_loses_rows, "lost", "neither"),
        (lambda *args: split_places(*args)[1], "type", "pair"),
    ],
    "clearest_band": [
        ("B11", "widest gap", "spreads"),
        ("B02", "another band", "spreads"),
        ("B8A", "another band", "spreads"),
        ("B13", "not a band", "Known"),
        (0, "type", "name"),
        (443, "type", "name"),
        (["B01", "B11"], "type", "one band"),
    ],
    "flaws": [
        (FLAWS | {"B": "sound"}, "sound for leak", "scenes"),
        ({"B": "leak", "C": "leak"}, "type", "got B, C as keys"),
        (FLAWS | {"C": "sound"}, "sound for augmented test", "as it is"),
        (FLAWS | {"D": "leak"}, "leak for sound", "Read it again"),
        (FLAWS | {"E": "sound"}, "sound for chosen on test", "chose"),
        (FLAWS | {"F": "sound"}, "sound for statistics", "Whose"),
        (FLAWS | {"G": "augmented test"}, "augmented test for leak", "copy"),
        ({"A": "sound"}, "type", "keys"),
        (FLAWS | {"A": "fine"}, "type", "one of"),
    ],
}
