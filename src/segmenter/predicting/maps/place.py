"""The place of a raster: from pixels to coordinates and areas."""

from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Float
from numpy import ndarray

from segmenter.data.maps.raster_files import crs_hint
from segmenter.errors import UserError
from segmenter.files.optional import import_optional

_AREA_TOLERANCE = 0.01
"""Relative error of the areas of a projection up to which they are taken as they are."""
_POLAR = 75.0
"""Latitude from which on a cylindrical projection is too distorted for straight edges."""
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

        if self._keeps_areas:
            return shapely.area(polygons) * self._flat_pixel_area
        equal_area = self._equal_area
        return shapely.area(
            shapely.transform(polygons, lambda each: self.reprojected(each, equal_area))
        )

    def pixel_area(self) -> float:
        """Return square metres of the pixel in the middle."""
        return self._flat_pixel_area if self._keeps_areas else self._true_pixel_area

    @property
    def _keeps_areas(self) -> bool:
        """True: the system is projected, and its areas are true in the middle of the raster."""
        if not self.crs.is_projected:
            return False
        try:
            true = self._true_pixel_area
        except Exception:  # of PROJ, without a common class: coordinates that the system has not
            return True
        is_known = 0 < true < np.inf
        return not is_known or abs(self._flat_pixel_area / true - 1) < _AREA_TOLERANCE

    @property
    def _flat_pixel_area(self) -> float:
        return abs(self.transform.determinant) * self.crs.linear_units_factor[1] ** 2

    @property
    def _true_pixel_area(self) -> float:
        import shapely

        corners = np.array([[0.0, 0.0], [1.0, 0.0], [1.0, 1.0], [0.0, 1.0]]) + self._middle
        return float(shapely.area(shapely.Polygon(self.reprojected(corners, self._equal_area))))

    @property
    def _middle(self) -> ndarray:
        """Column and row of the pixel in the middle."""
        return np.array([self.size[1] // 2, self.size[0] // 2])

    @property
    def _equal_area(self) -> str:
        """A projection around the raster that keeps areas, in metres."""
        ((longitude, latitude),) = self.reprojected(self._middle[None] + 0.5, LONGITUDE_LATITUDE)
        if abs(latitude) > _POLAR:
            return f"+proj=laea +lat_0={latitude} +lon_0={longitude} +datum=WGS84"
        return f"+proj=cea +lat_ts=30 +lon_0={longitude} +datum=WGS84"


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
