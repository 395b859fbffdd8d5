"""Write polygons to GeoPackage and GeoJSON, a batch at a time."""

import contextlib
import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Float, Int
from numpy import ndarray

from segmenter.errors import UserError
from segmenter.files.optional import import_optional
from segmenter.predicting.maps.place import LONGITUDE_LATITUDE, Place

_DECIMALS = 8
"""Decimals of a coordinate in degrees: a millimetre."""
_FIELDS = ["class", "class_id", "area_m2", "confidence"]


class Features(NamedTuple):
    """Some polygons and what is known of them."""

    polygons: ndarray
    """Their coordinates are columns and rows of the raster."""
    class_ids: Int[ndarray, " polygons"]
    class_names: list[str]
    areas: Float[ndarray, " polygons"]
    """Area of each polygon, in square metres."""
    confidences: Float[ndarray, " polygons"]
    """Mean over the pixels, 0 to 1."""


WriteFeatures = Callable[[Features], None]


@contextlib.contextmanager
def geopackage(path: Path, layer: str, place: Place) -> Iterator[WriteFeatures]:
    """Open a new GeoPackage in the coordinate system of the raster; yield what appends to it."""
    pyogrio = import_optional("a GeoPackage", "pyogrio", extra="geo")
    shapely = import_optional("a GeoPackage", "shapely", extra="geo")
    crs = place.crs.to_wkt()

    def write(features: Features) -> None:
        names = np.array(features.class_names, object)
        columns = [names, features.class_ids.astype(np.int32), *features[3:]]
        try:
            pyogrio.raw.write(
                path,
                shapely.to_wkb(shapely.transform(features.polygons, place.coordinates)),
                field_data=columns,
                fields=_FIELDS,
                layer=layer,
                driver="GPKG",
                geometry_type="Polygon",
                crs=crs,
                append=path.exists(),
            )
        except (pyogrio.errors.DataSourceError, pyogrio.errors.DataLayerError) as error:
            raise UserError(f"{path.name} cannot be written: {error}") from None

    write(Features(np.array([], object), np.empty(0, int), [], np.empty(0), np.empty(0)))
    yield write


@contextlib.contextmanager
def geojson(path: Path, layer: str, place: Place) -> Iterator[WriteFeatures]:
    """Open a new GeoJSON file (RFC 7946: WGS 84 in degrees); yield what appends to it."""
    shapely = import_optional("a GeoJSON", "shapely", extra="geo")

    def degrees(points: Any) -> Float[ndarray, "points 2"]:
        return np.round(place.reprojected(points, LONGITUDE_LATITUDE), _DECIMALS)

    with path.open("w", encoding="utf-8") as file:
        separator = "\n"
        name = json.dumps(layer)
        file.write(f'{{"type": "FeatureCollection", "name": {name}, "features": [')

        def write(features: Features) -> None:
            nonlocal separator
            drawn = shapely.transform(features.polygons, degrees)
            turned = shapely.orient_polygons(drawn, exterior_cw=False)
            for shape, *known in zip(shapely.to_geojson(turned), *_columns(features), strict=True):
                properties = json.dumps(dict(zip(_FIELDS, known, strict=True)))
                head = f'{{"type": "Feature", "properties": {properties}, '
                file.write(f'{separator}{head}"geometry": {shape}}}')
                separator = ",\n"

        yield write
        file.write("\n]}\n")


def _columns(features: Features) -> tuple[list, ...]:
    return (
        features.class_names,
        features.class_ids.tolist(),
        np.round(features.areas, 6).tolist(),
        np.round(features.confidences, 4).tolist(),
    )


VECTOR_FILES = {"gpkg": geopackage, "geojson": geojson}
"""By the name that `--save` takes."""
