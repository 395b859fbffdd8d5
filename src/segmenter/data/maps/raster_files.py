"""GeoTIFFs, opened with rasterio (extra `geo`)."""

import contextlib
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from segmenter.errors import UserError
from segmenter.files.optional import import_optional

ASSIGN_CRS = "assign one, for example with `gdal_edit -a_srs EPSG:32633`"
"""Remedy for a raster without a coordinate reference system."""


def import_rasterio() -> Any:
    """Return the library for GeoTIFFs.

    Raises:
        UserError: If it is not installed.
    """
    return import_optional("a GeoTIFF", "rasterio", extra="geo")


def bounded_cache(megabytes: int) -> Any:
    """Return a context in which GDAL keeps few raster blocks; else it keeps a share of the memory.

    Args:
        megabytes: Most that the blocks take.
    """
    return import_rasterio().Env(GDAL_CACHEMAX=megabytes << 20)


def open_raster(path: Path) -> Any:
    """Open a GeoTIFF to read it; a file of another format could lead to other files.

    Raises:
        UserError: If it is damaged or another file.
    """
    with reading(path):
        return import_rasterio().open(path, driver="GTiff")


def crs_hint(raster: Any) -> str:
    """Return what to do with an open raster that has no coordinate reference system."""
    if raster.gcps[0]:
        return "it has ground control points: warp it with `gdalwarp` first"
    if raster.rpcs:
        return "it has rational polynomial coefficients: warp it with `gdalwarp -rpc` first"
    return ASSIGN_CRS


@contextlib.contextmanager
def reading(path: Path) -> Iterator[None]:
    """Turn what GDAL raises on a raster into one line."""
    errors = import_rasterio().errors
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", errors.NotGeoreferencedWarning)
            yield
    except errors.RasterioError as error:
        reason = (str(error).splitlines() or ["unknown"])[0]
        raise UserError(f"{path} is cut, damaged or not a GeoTIFF: {reason}") from None
