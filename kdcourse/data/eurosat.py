"""EuroSAT: Sentinel-2 tiles as GeoTIFFs, read through rasterio.

Helber et al. 2019, EuroSAT: a novel dataset and deep learning benchmark for land use and land cover
classification, doi:10.1109/JSTARS.2019.2918242.
"""

import os
from dataclasses import dataclass

import numpy as np

from kdcourse.common.errors import DataError, brief
from kdcourse.data.tiff import check_tiff


@dataclass(frozen=True)
class Band:
    """A band of Sentinel-2's MultiSpectral Instrument."""

    name: str
    title: str
    wavelength_nm: float  # centre, Sentinel-2A
    resolution_m: int  # on the ground, before EuroSAT resampled all to 10 m


# In the order of the files: B8A comes last.
BANDS = (
    Band("B01", "coastal aerosol", 443, 60),
    Band("B02", "blue", 490, 10),
    Band("B03", "green", 560, 10),
    Band("B04", "red", 665, 10),
    Band("B05", "red edge 1", 705, 20),
    Band("B06", "red edge 2", 740, 20),
    Band("B07", "red edge 3", 783, 20),
    Band("B08", "near infrared", 842, 10),
    Band("B09", "water vapour", 945, 60),
    Band("B10", "cirrus", 1375, 60),
    Band("B11", "short-wave infrared 1", 1610, 20),
    Band("B12", "short-wave infrared 2", 2190, 20),
    Band("B8A", "narrow near infrared", 865, 20),
)
CLASSES = (
    "AnnualCrop",
    "Forest",
    "HerbaceousVegetation",
    "Highway",
    "Industrial",
    "Pasture",
    "PermanentCrop",
    "Residential",
    "River",
    "SeaLake",
)
TRUE_COLOUR = (3, 2, 1)  # zero-based positions of B04, B03, B02 (rasterio counts from 1: 4, 3, 2)
FALSE_COLOUR = (7, 3, 2)  # B08, B04, B03: vegetation shows red
TILE = (len(BANDS), 64, 64)
TIFF_HEADS = (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")  # of TIFF and BigTIFF, either byte order


def read_tile(path: str | os.PathLike) -> np.ndarray:
    """A EuroSAT tile: (13, 64, 64) uint16, reflectance in digital numbers (10,000 is a reflectance
    of 1).

    Raises DataError if the file is unreadable or not a EuroSAT tile.
    """
    return read_geotiff(path, TILE, np.uint16)


def is_tile(path: str | os.PathLike, size: tuple[int, int] | None = None) -> bool:
    """Whether a file can be read whole and has Sentinel-2's 13 bands in uint16, of this size (H, W)
    if it is given.
    """
    import rasterio
    from rasterio.errors import RasterioError

    try:
        with rasterio.open(path) as file:
            height, width = size or (file.height, file.width)
        read_geotiff(path, (len(BANDS), height, width), np.uint16)
    except (RasterioError, DataError):
        return False
    return True


def read_geotiff(
    path: str | os.PathLike, shape: tuple[int, int | None, int | None], dtype
) -> np.ndarray:
    """A GeoTIFF of a known shape (C, H, W) and type; H and W None takes any size.

    Raises DataError that says what is wrong with the file.
    """
    import rasterio
    from rasterio.errors import RasterioError

    expected = np.dtype(dtype)
    try:
        check_tiff(path)  # GDAL gives zeros, without a word, where strips are missing
        # EMPTY_DIR: do not list the folder's thousands of neighbours for each tile
        with (
            rasterio.Env(GDAL_DISABLE_READDIR_ON_OPEN="EMPTY_DIR"),
            rasterio.open(path, driver="GTiff") as file,
        ):
            if file.count != shape[0]:
                raise DataError(f"{path}: {file.count} bands, expected {shape[0]}")
            if shape[1:] != (None, None) and (file.height, file.width) != shape[1:]:
                raise DataError(
                    f"{path}: {file.height}×{file.width} pixels, expected {shape[1]}×{shape[2]}"
                )
            if set(file.dtypes) != {expected.name}:
                raise DataError(
                    f"{path}: type {'/'.join(sorted(set(file.dtypes)))}, expected {expected.name}"
                )
            return file.read()
    except FileNotFoundError as error:
        raise DataError(f"{path}: no such file, or a link that leads nowhere") from error
    except PermissionError as error:
        raise DataError(f"{path}: no permission to read it") from error
    except (RasterioError, OSError) as error:
        raise DataError(f"{path}: truncated or damaged ({brief(error)})") from error
