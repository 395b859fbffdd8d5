"""The place of a raster: from pixels to coordinates and areas."""

from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Float
from numpy import ndarray

from segmenter.data.maps.raster_files import crs_hint
from segmenter.errors import UserError
from segmenter.files.optional import import_optional

_EQUAL_AREA = "EPSG:6933"
"""EASE-Grid 2.0: a cylindrical projection of the world that keeps areas, in metres."""
LONGITUDE_LATITUDE = "OGC:CRS84"

Points = Float[ndarray, "points 2"]


class Place(NamedTuple):
    """Coordinate reference system and transform of a raster."""

    crs: Any
    transform: Any
    size: tuple[int, int]
    """Height and width in pixels."""

    def coordinates(self, pixels: Points) -> Points:
        """Return the coordinates in the system of the raster of (column, row)."""
        a, b, c, d, e, f = tuple(self.transform)[:6]
        x, y = pixels[:, 0], pixels[:, 1]
        return np.stack([a * x + b * y + c, d * x + e * y + f], axis=1)

    def reprojected(self, pixels: Points, to: str) -> Points:
        """Return the coordinates in another system of (column, row)."""
        warp = import_optional("a vector file", "rasterio.warp", extra="geo")
        x, y = self.coordinates(pixels).T
        return np.stack(warp.transform(self.crs, to, x, y), axis=1)

    def areas(self, polygons: ndarray) -> Float[ndarray, " polygons"]:
        """Return square metres of polygons whose coordinates are columns and rows."""
        import shapely

        if self._is_planar:
            return shapely.area(polygons) * self.pixel_area()
        return shapely.area(
            shapely.transform(polygons, lambda each: self.reprojected(each, _EQUAL_AREA))
        )

    def pixel_area(self) -> float:
        """Return square metres of a pixel; in degrees, of the one in the middle."""
        if self._is_planar:
            return abs(self.transform.determinant) * self.crs.linear_units_factor[1] ** 2
        import shapely

        row, column = (side // 2 for side in self.size)
        return float(self.areas(np.array([shapely.box(column, row, column + 1, row + 1)]))[0])

    @property
    def _is_planar(self) -> bool:
        return self.crs.is_projected


def place_of(file: Any, name: str) -> Place:
    """Return the place of an open raster, for vector files.

    Raises:
        UserError: If it has no coordinate reference system, or no transform.
    """
    if file.crs is None or not (file.crs.is_projected or file.crs.is_geographic):
        raise UserError(
            f"{name} has no coordinate reference system, which polygons need; {crs_hint(file)}"
        )
    return Place(file.crs, file.transform, (file.height, file.width))
