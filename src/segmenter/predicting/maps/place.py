"""The place of a raster: from pixels to coordinates and areas."""

import itertools
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Float
from numpy import ndarray

from segmenter.data.maps.raster_files import crs_hint
from segmenter.errors import UserError
from segmenter.files.optional import import_optional

_AREA_TOLERANCE = 0.01
"""Relative error of the areas of a projection up to which they are taken as they are."""
_EDGES_A_SIDE = 64
"""Parts of the longer side of a raster; edges of polygons are divided into ones as long."""
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
        """Return square metres of polygons whose coordinates are columns and rows.

        Polygons that reach beyond the coordinates of the system are measured in its plane.
        """
        import shapely

        if self._keeps_areas:
            return shapely.area(polygons) * self._flat_pixel_area
        areas = self._equal_areas(polygons)
        is_known = np.isfinite(areas)
        if is_known.all() or not self.crs.is_projected:
            return areas
        if not is_known.any() and len(polygons) > 1:  # one point may have failed all
            return np.concatenate([self.areas(half) for half in np.array_split(polygons, 2)])
        areas[~is_known] = shapely.area(polygons[~is_known]) * self._flat_pixel_area
        return areas

    def pixel_area(self) -> float:
        """Return square metres of the pixel in the middle."""
        return self._flat_pixel_area if self._keeps_areas else self._true_pixel_area(self._middle)

    @property
    def _keeps_areas(self) -> bool:
        """True: the system is projected, and areas are true in the middle and at the corners."""
        if not self.crs.is_projected:
            return False
        middle = self._true_pixel_area(self._middle)
        if not 0 < middle < np.inf:
            return True
        height, width = self.size
        corners = itertools.product((0, width - 1), (0, height - 1))
        flat = self._flat_pixel_area
        true = [middle, *(self._true_pixel_area(np.array(corner)) for corner in corners)]
        return all(abs(flat - each) < _AREA_TOLERANCE * each for each in true)

    @property
    def _flat_pixel_area(self) -> float:
        return abs(self.transform.determinant) * self.crs.linear_units_factor[1] ** 2

    def _true_pixel_area(self, pixel: ndarray) -> float:
        """Return square metres of the pixel at a column and row; NaN where there is none."""
        import shapely

        square = shapely.transform(shapely.box(0, 0, 1, 1), lambda each: each + pixel)
        return float(self._equal_areas(np.array([square]))[0])

    def _equal_areas(self, polygons: ndarray) -> Float[ndarray, " polygons"]:
        """Return square metres in the equal-area projection; NaN or infinite without coordinates.

        Straight edges of the raster bend there, so long ones are divided.
        """
        import shapely

        dense = shapely.segmentize(polygons, max(1.0, max(self.size) / _EDGES_A_SIDE))
        try:
            to = self._equal_area
            with np.errstate(invalid="ignore"):
                return shapely.area(
                    shapely.transform(dense, lambda each: self.reprojected(each, to))
                )
        except Exception:  # of PROJ, without a common class: coordinates that the system has not
            if not self.crs.is_projected:
                raise
            return np.full(len(polygons), np.nan)

    @property
    def _middle(self) -> ndarray:
        """Column and row of the pixel in the middle."""
        return np.array([self.size[1] // 2, self.size[0] // 2])

    @property
    def _equal_area(self) -> str:
        """A projection around the raster that keeps areas, in metres."""
        ((longitude, latitude),) = self.reprojected(self._middle[None] + 0.5, LONGITUDE_LATITUDE)
        if abs(latitude) > _POLAR or self._holds_pole(90) or self._holds_pole(-90):
            return f"+proj=laea +lat_0={latitude} +lon_0={longitude} +datum=WGS84"
        return f"+proj=cea +lat_ts=30 +lon_0={longitude} +datum=WGS84"

    def _holds_pole(self, latitude: int) -> bool:
        """Return True if a pole lies inside the raster, where a cylinder would be cut open."""
        if not self.crs.is_projected:
            return False
        warp = import_optional("a vector file", "rasterio.warp", extra="geo")
        try:
            pole = np.stack(warp.transform(LONGITUDE_LATITUDE, self.crs, [0.0], [latitude]), axis=1)
        except Exception:  # of PROJ, without a common class: the system has no such pole
            return False
        if not np.isfinite(pole).all():
            return False
        ((column, row),) = self._replace(transform=~self.transform).coordinates(pole)
        return bool(0 < column < self.size[1] and 0 < row < self.size[0])


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
