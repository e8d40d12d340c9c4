"""What the synthetic scenes are made of: materials, their spectra, and the atmosphere.

Units: reflectance in %, pixels of 10 m. Bands are in EuroSAT's file order.
"""

import numpy as np

from kdcourse.data import eurosat

SIZE = 64  # pixels a side
PIXEL = 10.0  # metres
TILE_BYTES = 13 * SIZE * SIZE * 2  # of pixels in a file
DEFAULT_DIFFICULTY = 0.75
VERSION = 1  # of the generator: tiles of another version are not the same tiles

# In EuroSAT's file order (B8A is last); how many 10 m pixels one of a band's own pixels is wide.
BANDS = tuple(band.name for band in eurosat.BANDS)
WIDTHS = np.array([band.resolution_m // 10 for band in eurosat.BANDS])

# Surface reflectance in %: one plausible spectrum a material, written by hand from what is
# generally known of them. Leaves absorb red, reflect the near infrared and hold water (B11, B12);
# soils rise steadily; water is dark beyond red.
#                 B01   B02   B03   B04   B05   B06   B07   B08   B09  B10   B11   B12   B8A
MATERIALS = {
    "broadleaf":  (2.0,  2.2,  4.5,  2.6,  7.0, 24.0, 31.0, 32.0, 33.0, 20, 15.0,  6.5, 34.0),
    "conifer":    (1.6,  1.8,  3.2,  2.2,  5.0, 15.0, 19.0, 20.0, 21.0, 15,  9.0,  3.8, 21.0),
    "grass":      (3.0,  3.5,  7.0,  4.5, 10.5, 29.0, 37.0, 38.0, 39.0, 20, 21.0, 10.0, 41.0),
    "cereal":     (2.8,  3.2,  6.5,  3.6,  9.0, 30.0, 40.0, 41.0, 43.0, 20, 18.0,  8.0, 44.0),
    "maize":      (3.0,  3.4,  7.5,  4.2, 11.0, 30.0, 36.0, 37.0, 38.0, 20, 19.0,  8.5, 40.0),
    "rapeseed":   (3.5,  4.0, 12.0, 11.0, 16.0, 30.0, 35.0, 36.0, 37.0, 20, 20.0, 10.0, 38.0),
    "straw":      (7.0,  9.0, 13.0, 18.0, 20.0, 23.0, 25.0, 27.0, 29.0, 20, 34.0, 24.0, 29.0),
    "dry_grass":  (5.0,  6.5,  9.5, 12.0, 15.0, 19.0, 21.0, 23.0, 25.0, 20, 31.0, 21.0, 25.0),
    "shrub":      (2.6,  3.0,  5.0,  4.8,  8.0, 15.0, 18.0, 19.0, 20.0, 15, 17.0,  9.5, 20.5),
    "heath":      (3.0,  3.5,  5.0,  6.0,  8.5, 13.0, 15.0, 16.0, 17.0, 15, 19.0, 12.0, 17.5),
    "vine":       (3.0,  3.4,  6.2,  4.8,  9.5, 22.0, 28.0, 29.0, 30.0, 20, 20.0, 10.5, 31.0),
    "olive":      (3.8,  4.3,  6.5,  6.2,  9.5, 17.0, 20.0, 21.0, 22.0, 20, 19.0, 11.5, 23.0),
    "loam":       (6.0,  7.5, 10.5, 14.0, 16.0, 18.0, 20.0, 21.5, 23.0, 20, 29.0, 24.0, 24.0),
    "clay":       (5.0,  6.0,  9.0, 16.0, 19.0, 22.0, 24.0, 25.5, 27.0, 20, 33.0, 28.0, 28.0),
    "chalk":     (14.0, 17.0, 22.0, 26.0, 28.0, 30.0, 31.0, 32.0, 33.0, 25, 38.0, 33.0, 34.0),
    "peat":       (4.0,  4.8,  6.2,  8.0,  9.5, 11.0, 12.0, 13.0, 14.0, 10, 18.0, 15.0, 14.5),
    "sand":      (15.0, 18.0, 24.0, 30.0, 33.0, 35.0, 36.0, 37.0, 38.0, 30, 44.0, 40.0, 39.0),
    "gravel":     (9.0, 11.0, 14.0, 17.0, 18.0, 19.0, 20.0, 21.0, 21.5, 15, 25.0, 22.0, 22.0),
    "asphalt":    (8.0,  8.8,  9.8, 10.5, 11.0, 11.5, 12.0, 12.3, 12.8, 10, 15.0, 13.5, 13.0),
    "concrete":  (15.0, 18.0, 21.0, 23.5, 24.5, 25.5, 26.0, 26.5, 27.0, 20, 30.0, 27.5, 27.5),
    "red_tile":   (6.0,  7.0,  9.5, 16.5, 19.0, 21.0, 22.0, 23.0, 24.0, 20, 29.0, 26.0, 25.0),
    "slate":      (6.5,  7.0,  7.8,  8.2,  8.6,  9.0,  9.4,  9.6, 10.0, 10, 12.0, 11.0, 10.2),
    "bitumen":    (5.0,  5.6,  6.2,  6.6,  7.0,  7.2,  7.5,  7.7,  8.0, 10,  9.5,  9.0,  8.2),
    "metal":     (26.0, 31.0, 34.0, 36.0, 37.0, 37.5, 38.0, 38.0, 38.5, 30, 40.0, 36.0, 39.0),
    "membrane":  (42.0, 50.0, 53.0, 55.0, 55.0, 55.0, 55.0, 54.0, 54.0, 40, 48.0, 40.0, 55.0),
    "blue_sheet":(14.0, 18.0, 17.0, 14.0, 14.0, 16.0, 19.0, 22.0, 23.0, 20, 25.0, 21.0, 23.0),
    "clear_water":(2.5,  2.0,  1.6,  0.8,  0.5,  0.4,  0.3,  0.3,  0.2, 0.1, 0.1,  0.1,  0.2),
    "turbid":     (5.0,  6.5,  9.0,  8.0,  7.0,  3.5,  3.0,  2.4,  1.8, 0.5, 0.4,  0.2,  2.0),
    "algae":      (2.5,  3.0,  5.0,  2.8,  3.6,  2.6,  2.2,  1.8,  1.4, 0.4, 0.3,  0.2,  1.5),
}  # fmt: skip
MATERIALS = {name: np.array(values, np.float32) for name, values in MATERIALS.items()}

# How spectra vary, as log-changes that move the bands together (rows: brightness, less chlorophyll,
# more leaf or soil water, redder slope). A material's covariance is the outer product of these with
# itself.
MODES = np.array(
    [
        (0.16, 0.16, 0.16, 0.16, 0.16, 0.16, 0.16, 0.16, 0.16, 0.16, 0.16, 0.16, 0.16),
        (0.05, 0.08, 0.10, 0.22, 0.12, -0.05, -0.09, -0.09, -0.09, 0.0, 0.04, 0.10, -0.09),
        (0.00, 0.00, -0.02, -0.04, -0.02, 0.03, 0.04, 0.04, 0.04, 0.0, -0.12, -0.20, 0.04),
        (-0.12, -0.10, -0.05, 0.02, 0.03, 0.03, 0.03, 0.02, 0.01, 0.0, 0.05, 0.06, 0.01),
    ],
    np.float32,
)

# The atmosphere: light that it scatters into the view (%, mostly blue), and what it lets through.
# Water vapour takes most of B09 and nearly all of B10, the band made to see only cirrus clouds.
PATH = np.array((9.3, 6.2, 3.5, 1.7, 1.8, 1.3, 1.1, 0.9, 0.5, 0.08, 0.3, 0.15, 0.7), np.float32)
HAZE = np.array((1.6, 2.0, 1.8, 1.6, 1.5, 1.3, 1.2, 1.1, 0.6, 0.02, 0.5, 0.3, 1.0), np.float32)
TRANSMITTANCE = np.array(
    (0.85, 0.88, 0.90, 0.93, 0.93, 0.93, 0.94, 0.91, 1.0, 0.002, 0.95, 0.93, 0.96), np.float32
)
VAPOUR = (0.12, 0.42)  # what water vapour lets through of B09
B09 = BANDS.index("B09")

# May grow anywhere.
LEAVES = ("cereal", "maize", "grass", "vine", "olive", "straw", "dry_grass", "shrub")
SOILS = ("loam", "clay", "chalk", "peat", "gravel")
ROOFS = ("red_tile", "red_tile", "slate", "concrete", "bitumen", "gravel")
HALLS = ("metal", "membrane", "concrete", "bitumen", "bitumen", "slate", "blue_sheet", "asphalt")

SPACING = (5.0, 9.0)  # pixels from row to row, and from tree to tree in an orchard

Y, X = np.mgrid[:SIZE, :SIZE].astype(np.float32) - (SIZE - 1) / 2
