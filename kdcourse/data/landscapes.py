"""The landscapes of EuroSAT's ten classes, painted on the ground of a synthetic tile."""

import numpy as np

from kdcourse.data.canvas import Ground, grain, rows, texture_contrast
from kdcourse.data.patterns import curve, fractal, inside, rotated, smooth, strips, voronoi
from kdcourse.data.spectra import HALLS, ROOFS, SOILS

# --- parts of landscapes --------------------------------------------------------------------------


def any_parcels(ground: Ground):
    """Parcels as either a planned or a grown landscape has them."""
    rng = ground.rng
    if ground.chance(0.5):
        return strips(rng, rng.uniform(7, 22), rng.uniform(25, 80))
    return voronoi(rng, rng.integers(4, 22), rng.uniform(0.4, 1))


def crops(ground: Ground) -> None:
    """Annual crops: parcels at different stages of growth, sown in fine drills, with tramlines."""
    rng = ground.rng
    label, border = any_parcels(ground)
    growth = rng.uniform(0.1, 0.9, label.max() + 1).astype(np.float32)[label]
    tramlines = rows(ground, label, lattice=0.0)
    share = (
        growth
        + texture_contrast(ground) * tramlines
        + rng.uniform(0.02, 0.12) * fractal(rng, 6, 14)
    )
    soils = (ground.soil, ground.soil, rng.choice(SOILS))
    ground.parcels(label, ("cereal", "maize", "grass", "rapeseed", "straw", "vine"), soils, share)
    grain(ground, 0.05)
    if ground.chance(0.6):
        ground.cover(
            0.7 * inside(border - rng.uniform(0.2, 0.7)),
            rng.choice(("dry_grass", "gravel", "grass")),
        )


def orchards(ground: Ground) -> None:
    """Permanent crops: vineyards in rows, orchards and olive groves in a lattice, on worked soil or
    grass.
    """
    rng = ground.rng
    label, border = any_parcels(ground)
    growth = rng.uniform(0.1, 0.8, label.max() + 1).astype(np.float32)[label]
    planting = rows(ground, label, lattice=0.9)
    share = (
        growth
        + 1.3 * texture_contrast(ground) * planting
        + rng.uniform(0.02, 0.12) * fractal(rng, 6, 14)
    )
    leaves = ("vine", "olive", "cereal", "maize", "grass", "straw")
    ground.parcels(label, leaves, (ground.soil, ground.soil, rng.choice(SOILS), "dry_grass"), share)
    grain(ground, 0.05)
    if ground.chance(0.6):
        ground.cover(
            0.7 * inside(border - rng.uniform(0.2, 0.7)),
            rng.choice(("dry_grass", "gravel", "grass")),
        )


def meadows(ground: Ground) -> None:
    """Pasture: even grass, grazed differently in each paddock, with hedges and single trees."""
    rng = ground.rng
    label, border = voronoi(rng, rng.integers(2, 14), rng.uniform(0.6, 1))
    share = 0.95 - 0.35 * ground.season * rng.random(label.max() + 1).astype(np.float32)[label]
    share = share + 0.06 * fractal(rng, 5, 12)
    ground.parcels(label, ("grass", "grass", "cereal"), ("dry_grass", ground.soil), share)
    grain(ground, 0.03)
    if ground.chance(0.75):
        gaps = inside(smooth(rng, 8) - rng.uniform(-0.5, 1.5))
        ground.cover(
            inside(border - rng.uniform(0.4, 1.0)) * gaps, rng.choice(("broadleaf", "shrub"))
        )
    trees(ground, rng.uniform(1.6, 3.0), "broadleaf")


def wild(ground: Ground) -> None:
    """Herbaceous vegetation: patches of dry and green grass, shrub, heath and bare ground without
    parcels.
    """
    rng = ground.rng
    ground.cover(1, ground.growing(("dry_grass", "grass", "heath"), 1)[0])
    for name in rng.choice(
        ("shrub", "heath", "grass", "dry_grass", ground.soil, "gravel"), 3, replace=False
    ):
        patches = inside((fractal(rng, rng.integers(3, 8), 14, 26) - rng.uniform(0, 0.8)) * 2)
        ground.cover(rng.uniform(0.4, 0.9) * (1 - patches), str(name))
    trees(ground, rng.uniform(1.2, 2.6), "shrub")
    grain(ground, 0.06)


def trees(ground: Ground, rarity: float, name: str) -> None:
    """Single trees: the peaks of a fine random field."""
    field = smooth(ground.rng, 28)
    ground.cover(np.clip((field - rarity) * 2, 0, 1), name)


def woods(ground: Ground) -> None:
    """Forest: crowns with sunlit and shaded sides, stands of broadleaf and conifer."""
    rng = ground.rng
    ground.cover(1, "broadleaf")
    stands = inside((fractal(rng, 3, 9) - rng.normal(0, 1)) * 2)
    ground.cover(stands, "conifer")
    ground.shade(rng.uniform(0.04, 0.15) * smooth(rng, rng.integers(16, 32)))
    grain(ground, 0.08)


def buildings(ground: Ground, cell: float, roofs, filled: float, gardens) -> None:
    """Houses or halls: a turned, slightly bent grid of streets and plots, one roof a plot."""
    rng = ground.rng
    along, across = rotated(rng.uniform(0, np.pi))
    along, across = (
        along + rng.uniform(0, 2) * smooth(rng, 3),
        across + rng.uniform(0, 2) * smooth(rng, 3),
    )
    cell_u, cell_v = cell * rng.uniform(0.8, 1.5, 2)
    u, v = along / cell_u + 500, across / cell_v + 500
    iu, iv = u.astype(int), v.astype(int)
    plot = (iu * 31 + iv * 17) % 251
    from_u, from_v = (u - iu - 0.5) * cell_u, (v - iv - 0.5) * cell_v

    ground.cover(1, gardens[0])
    green = inside((fractal(rng, 8, 20) - rng.normal(0, 0.4)) * 2)
    ground.cover(green, gardens[1])
    size = rng.uniform(0.25, 0.47, (2, 251)).astype(np.float32)
    border = np.maximum(
        np.abs(from_u) - size[0, plot] * cell_u, np.abs(from_v) - size[1, plot] * cell_v
    )
    built = (rng.random(251) < filled)[plot]
    spectra = ground.spectra(rng.choice(roofs, 251)).T
    ground.cover(inside(border) * built, spectra[:, plot])
    every = rng.integers(2, 5)
    street = np.minimum(
        np.where(iu % every == 0, u - iu, 9) * cell_u, np.where(iv % 2 == 0, v - iv, 9) * cell_v
    )
    ground.cover(inside(street - rng.uniform(0.6, 1.2)), "asphalt")


def houses(ground: Ground) -> None:
    gardens = ground.rng.choice(("grass", "broadleaf", "dry_grass", "asphalt"), 2, replace=False)
    kinds = ground.rng.choice(ROOFS + HALLS if ground.chance(ground.difficulty) else ROOFS, 3)
    buildings(
        ground, ground.rng.uniform(3.0, 5.0), kinds, ground.rng.uniform(0.6, 0.95), tuple(gardens)
    )
    trees(ground, 1.6, "broadleaf")


def halls(ground: Ground) -> None:
    yards = ground.rng.choice(
        ("asphalt", "concrete", "gravel", "grass", "dry_grass", "broadleaf"), 2, replace=False
    )
    kinds = ground.rng.choice(ROOFS + HALLS if ground.chance(ground.difficulty) else HALLS, 4)
    buildings(
        ground, ground.rng.uniform(7.0, 18.0), kinds, ground.rng.uniform(0.5, 0.9), tuple(yards)
    )


def road(ground: Ground, width: float, surface: str) -> None:
    """A road of this width in pixels with its verges, nearly straight or winding."""
    distance = np.abs(curve(ground.rng, bend=ground.rng.uniform(0, 6)))
    ground.cover(
        0.8 * inside(distance - width * 1.6), "dry_grass" if ground.season > 0.5 else "grass"
    )
    ground.cover(inside(distance - width / 2), surface)


COUNTRY = (crops, meadows, wild, woods, orchards)


def background(ground: Ground, *choices) -> None:
    choices[ground.rng.integers(len(choices))](ground)


def beside(ground: Ground, other, share: float) -> None:
    """Let another landscape take about this share of the tile, beyond a curved border."""
    kept = ground.reflectance.copy()
    other(ground)
    edge = inside(curve(ground.rng, 5, offset=32 - 64 * share) + 0.8 * smooth(ground.rng, 10))
    ground.reflectance += edge * (kept - ground.reflectance)


def mixed(ground: Ground, *others) -> None:
    """Sometimes, the more often the harder the data set, another landscape takes a part of the
    tile.
    """
    if ground.chance(0.2 + 0.6 * ground.difficulty):
        beside(
            ground,
            others[ground.rng.integers(len(others))],
            ground.rng.uniform(0.1, 0.2 + 0.3 * ground.difficulty),
        )


def lane(ground: Ground) -> None:
    """Sometimes a narrow lane or track: not what makes a highway."""
    if ground.chance(0.3 * ground.difficulty):
        road(
            ground,
            ground.rng.uniform(0.4, 0.9),
            ground.rng.choice(("gravel", "asphalt", ground.soil)),
        )


# --- the ten classes ------------------------------------------------------------------------------


def annual_crop(ground: Ground) -> None:
    crops(ground)
    mixed(ground, meadows, woods, wild, orchards)
    lane(ground)


def forest(ground: Ground) -> None:
    woods(ground)
    mixed(ground, wild, meadows)
    lane(ground)


def herbaceous_vegetation(ground: Ground) -> None:
    wild(ground)
    mixed(ground, woods, meadows, crops)
    lane(ground)


def highway(ground: Ground) -> None:
    background(ground, *COUNTRY, houses, halls)
    mixed(ground, *COUNTRY, houses)
    road(
        ground,
        ground.rng.uniform(2.5, 5.0),
        ground.rng.choice(("asphalt", "asphalt", "concrete", "slate")),
    )
    if ground.chance(0.4):
        road(ground, ground.rng.uniform(0.8, 2), "asphalt")


def industrial(ground: Ground) -> None:
    halls(ground)
    mixed(ground, crops, meadows, houses, woods)


def pasture(ground: Ground) -> None:
    meadows(ground)
    mixed(ground, woods, crops, wild)
    lane(ground)


def permanent_crop(ground: Ground) -> None:
    orchards(ground)
    mixed(ground, wild, woods, crops)
    lane(ground)


def residential(ground: Ground) -> None:
    houses(ground)
    mixed(ground, woods, crops, meadows, halls)


def river(ground: Ground) -> None:
    background(ground, *COUNTRY, houses)
    mixed(ground, *COUNTRY)
    rng = ground.rng
    water, width = rng.choice(("clear_water", "turbid", "algae")), rng.uniform(1.5, 12)
    distance = np.abs(curve(rng, 10)) + 0.15 * width * smooth(rng, 6)
    bank = rng.choice(("broadleaf", "sand", "grass", "gravel"))
    ground.cover(inside(distance - width / 2 - rng.uniform(0.5, 3)), bank)
    ground.cover(inside(distance - width / 2), water)


def sea_lake(ground: Ground) -> None:
    rng = ground.rng
    background(ground, *COUNTRY, houses)
    shore = curve(rng, 8, offset=rng.uniform(-45, 4)) + smooth(rng, 8)
    ground.cover(inside(-shore - rng.uniform(0, 3)), rng.choice(("sand", "gravel", "grass")))
    ground.cover(inside(-shore), rng.choice(("clear_water", "turbid", "algae")))


LANDSCAPES = {
    "AnnualCrop": annual_crop,
    "Forest": forest,
    "HerbaceousVegetation": herbaceous_vegetation,
    "Highway": highway,
    "Industrial": industrial,
    "Pasture": pasture,
    "PermanentCrop": permanent_crop,
    "Residential": residential,
    "River": river,
    "SeaLake": sea_lake,
}
