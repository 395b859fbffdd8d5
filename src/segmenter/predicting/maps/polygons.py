"""Regions of a label raster as polygons that share their borders, a strip of rows at a time."""

from collections.abc import Collection, Iterator
from itertools import chain
from typing import Any

import numpy as np
from jaxtyping import Bool, Int, Int32
from numpy import ndarray

from segmenter.files.optional import import_optional
from segmenter.predicting.maps.regions import ReadRows, Regions

_OUTSIDE = -1
_JUNCTION_EDGES = 3


def region_polygons(
    regions: Regions,
    read_labels: ReadRows,
    *,
    tolerance: float = 0,
    without: Collection[int] = (255,),
) -> Iterator[tuple[ndarray, Int[ndarray, " polygons"]]]:
    """Yield polygons and the number of the region of each, in batches.

    Coordinates are columns and rows of pixel corners. Where three regions or more meet, each of
    their polygons has a vertex, so that all polygons form a coverage.

    Args:
        regions: Regions of the raster.
        read_labels: Reads labels.
        tolerance: Simplify borders between two regions, by the Visvalingam-Whyatt algorithm: the
            square root of the area that the removal of a vertex may change, in pixels. Borders
            stay common to both regions. Vertices where a border meets the edge of a strip stay.
        without: Labels that give no polygons.
    """
    shapely = import_shapely()
    waiting: dict[int, list[Any]] = {}
    size = (regions.strips[-1][1], 0)
    for strip, image, padded in _with_neighbours(regions, read_labels):
        size = (size[0], image.shape[1])
        top = regions.strips[strip][0]
        pieces, numbers = _pieces(image, _junctions(padded, top, size), top)
        if tolerance > 0:
            pieces = shapely.coverage_simplify(pieces, tolerance, simplify_boundary=False)
        is_wanted = np.isin(regions.labels[numbers], list(without), invert=True)
        done: list[tuple[Any, int]] = []
        for piece, number in zip(pieces[is_wanted], numbers[is_wanted].tolist(), strict=True):
            if regions.last_strip[number] > strip:
                waiting.setdefault(number, []).append(piece)
            elif number in waiting:
                waiting[number].append(piece)
            else:
                done.append((piece, number))
        ended = [each for each in waiting if regions.last_strip[each] == strip]
        done += [(shapely.union_all(waiting.pop(each)), each) for each in ended]
        parts, indices = shapely.get_parts([each for each, _ in done], return_index=True)
        yield parts, np.array([each for _, each in done], np.int64)[indices]


def import_shapely() -> Any:
    """Return the library for polygons.

    Raises:
        UserError: If it is not installed.
    """
    return import_optional("a vector file", "shapely", extra="geo")


def _with_neighbours(
    regions: Regions, read_labels: ReadRows
) -> Iterator[tuple[int, Int32[ndarray, "rows width"], Int32[ndarray, "padded_rows padded_width"]]]:
    """Yield each strip, and the same with the pixels around it."""
    above, current, strip = None, None, -1
    for image in chain(regions.images(read_labels), (None,)):
        if current is not None:
            padded = np.pad(current, 1, constant_values=_OUTSIDE)
            if above is not None:
                padded[0, 1:-1] = above
            if image is not None:
                padded[-1, 1:-1] = image[0]
            yield strip, current, padded
            above = current[-1]
        current, strip = image, strip + 1


def _junctions(
    padded: Int32[ndarray, "padded_rows padded_width"], top: int, size: tuple[int, int]
) -> Bool[ndarray, "corner_rows corner_columns"]:
    """Return the corners of pixels where borders meet, and the corners of the raster."""
    vertical = padded[:, :-1] != padded[:, 1:]
    horizontal = padded[:-1] != padded[1:]
    edges = vertical[:-1].astype(np.uint8)
    for each in (vertical[1:], horizontal[:, :-1], horizontal[:, 1:]):
        edges += each
    is_junction = edges >= _JUNCTION_EDGES
    for row in {0, size[0]} & {top, top + len(is_junction) - 1}:
        is_junction[row - top, [0, -1]] = True
    return is_junction


def _pieces(
    image: Int32[ndarray, "rows width"],
    junctions: Bool[ndarray, "corner_rows corner_columns"],
    top: int,
) -> tuple[ndarray, Int[ndarray, " pieces"]]:
    """Return the polygon of each region in a strip, and its number."""
    features = import_optional("a vector file", "rasterio.features", extra="geo")
    shapely = import_shapely()
    rings: list[ndarray] = []
    of_polygon, numbers = [], []
    for shape, number in features.shapes(image, connectivity=4):
        for ring in shape["coordinates"]:
            rings.append(np.array(ring[:-1], np.int64))
            of_polygon.append(len(numbers))
        numbers.append(int(number))
    corners = np.concatenate(rings)
    sizes = np.array([len(each) for each in rings])
    points, of_ring = _with_junctions(corners, np.repeat(np.arange(len(rings)), sizes), junctions)
    points[:, 1] += top
    linear = shapely.linearrings(points.astype(np.float64), indices=of_ring)
    polygons = shapely.polygons(linear, indices=np.array(of_polygon))
    is_wrong = ~shapely.is_valid(polygons)
    polygons[is_wrong] = shapely.make_valid(polygons[is_wrong])
    return polygons, np.array(numbers)


def _with_junctions(
    corners: Int[ndarray, "corners 2"],
    of_ring: Int[ndarray, " corners"],
    junctions: Bool[ndarray, "corner_rows corner_columns"],
) -> tuple[Int[ndarray, "points 2"], Int[ndarray, " points"]]:
    """Add a vertex to rings of vertical and horizontal edges wherever they pass a junction."""
    starts = np.flatnonzero(np.diff(of_ring, prepend=-1))
    following = np.roll(corners, -1, axis=0)
    following[np.append(starts[1:], len(corners)) - 1] = corners[starts]
    steps = following - corners
    lengths = np.abs(steps).sum(axis=1)
    edge = np.repeat(np.arange(len(corners)), lengths)
    along = np.arange(len(edge)) - np.repeat(np.cumsum(lengths) - lengths, lengths)
    points = corners[edge] + along[:, None] * np.sign(steps)[edge]
    is_kept = (along == 0) | junctions[points[:, 1], points[:, 0]]
    return points[is_kept], of_ring[edge[is_kept]]
