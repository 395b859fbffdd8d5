"""Labels of maps: mask rasters and vector files, brought onto the pixels of an image."""

import contextlib
import itertools
import warnings
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

import numpy as np
from jaxtyping import Int32
from numpy import ndarray

from segmenter.classes import Classes
from segmenter.data.maps.raster_files import crs_hint, import_rasterio, open_raster, reading
from segmenter.data.maps.sources import VECTOR_SUFFIXES
from segmenter.errors import UserError
from segmenter.files.optional import import_optional
from segmenter.files.yaml import nearest
from segmenter.text import visible

UNLABELLED, IGNORED = -1, -2
"""Labels of pixels without a shape, and of pixels without a value."""
_CLASS_FIELD = "class"
_KINDS = {".gpkg": (b"SQLite format 3\0", b""), ".shp": (b"\0\0\x27\x0a", b"")}
"""Suffix -> first bytes, and bytes soon after them; of others, those of GeoJSON."""
_NUM_START_BYTES = 1 << 16
_MOST_VALUES = 1000
_LARGEST_VALUE = 65535

ReadLabels = Callable[[Any], Int32[ndarray, "height width"]]
"""Function that returns the labels of a window of an image."""


@runtime_checkable
class MapLabels(Protocol):
    """The labels in one file."""

    names: list[str]
    """Names of the classes that labels of 0 and above stand for."""

    def on(self, image: Any) -> AbstractContextManager[ReadLabels]:
        """Open them on the pixels of an open raster."""
        ...


def open_labels(path: Path, field: str | None, classes: Classes | None) -> MapLabels:
    """Return the labels in a vector file or mask raster.

    Args:
        path: The file.
        field: Field of a vector file that holds classes.
        classes: Classes whose names or values the file has; None: those in the file.

    Raises:
        UserError: If the file is damaged, or holds no classes, or others.
    """
    return VectorLabels(path, field, classes) if is_vector_file(path) else MaskLabels(path, classes)


def is_vector_file(path: Path) -> bool:
    """Return True for a file that is read as shapes, by its suffix."""
    return path.suffix.lower() in VECTOR_SUFFIXES


class VectorLabels:
    """Polygons of a vector file; smaller ones are painted over larger ones."""

    def __init__(self, path: Path, field: str | None, classes: Classes | None) -> None:
        self.path = path
        shapely = import_optional("a vector file", "shapely", extra="geo")
        info, geometry, values = _read_vectors(path, field)
        if info["crs"] is None:
            raise UserError(
                f"{path} has no coordinate reference system; assign one, such as with "
                "`ogr2ogr -a_srs EPSG:32633`"
            )
        self.crs = import_rasterio().crs.CRS.from_user_input(info["crs"])
        chosen = str(info["fields"][0])
        with np.errstate(invalid="ignore"):  # NaN, which makes no shape
            shapes = shapely.from_wkb(geometry, on_invalid="ignore")
        is_area = shapely.get_dimensions(shapes) == 2
        _check_shapes(path, geometry, is_area, shapely.area(shapes))
        texts = [_text(path, number, chosen, value) for number, value in enumerate(values, start=1)]
        self.names = list(classes.names) if classes else sorted_names(texts)
        indices = {name: index for index, name in enumerate(self.names)}
        for number, text in enumerate(texts, start=1):
            if text not in indices:
                raise UserError(
                    f"{path}, feature {number}: field {chosen!r} has {visible(text)!r}, which is "
                    f"not a class of the file of classes{nearest(text, self.names)}"
                )
        order = np.argsort(-shapely.area(shapes), kind="stable")
        order = order[is_area[order]]
        self._shapes = shapes[order]
        self._labels = np.array([indices[text] for text in texts])[order]

    @contextlib.contextmanager
    def on(self, image: Any) -> Iterator[ReadLabels]:
        """Open them on the pixels of an open raster.

        Raises:
            UserError: If the raster has no coordinate reference system, or they do not overlap.
        """
        shapely = import_optional("a vector file", "shapely", extra="geo")
        rasterize = import_optional("a GeoTIFF", "rasterio.features", extra="geo").rasterize
        affine = import_rasterio().Affine
        _check_crs(image)
        with _projecting(self.path, image.name):
            shapes = shapely.transform(
                self._shapes, lambda points: _to_pixels(points, self.crs, image)
            )
        frame = shapely.box(0, 0, image.width, image.height)
        tree = shapely.STRtree(shapes)
        if not len(tree.query(frame)):
            raise UserError(f"{self.path} and {image.name} do not overlap")

        def read(window: Any) -> Int32[ndarray, "height width"]:
            left, top, width, height = (int(each) for each in window.flatten())
            right, bottom = left + width, top + height
            size = (height, width)
            found = np.sort(tree.query(shapely.box(left, top, right, bottom)))
            parts = shapely.clip_by_rect(shapes[found], left - 1, top - 1, right + 1, bottom + 1)
            is_there = ~shapely.is_empty(parts)
            if not is_there.any():
                return np.full(size, UNLABELLED, np.int32)
            burnt = zip(parts[is_there], self._labels[found[is_there]].tolist(), strict=True)
            place = affine.translation(left, top)
            return rasterize(burnt, size, fill=UNLABELLED, transform=place, dtype="int32")

        yield read


class MaskLabels:
    """Values of a raster of one band; its pixels without a value are ignored."""

    def __init__(self, path: Path, classes: Classes | None) -> None:
        self.path = path
        with open_raster(path) as file, reading(path):
            if file.count != 1 or np.dtype(file.dtypes[0]).kind not in "ui":
                raise UserError(
                    f"{path} has {file.count} bands of {file.dtypes[0]}; a mask has one band of "
                    "whole numbers"
                )
            if classes is None:
                self.names, self._index_of = _found_classes(file, path)
            else:
                self.names = list(classes.names)
                self._index_of = {
                    value: index
                    for index, each in enumerate(classes.by_index)
                    for value in each.values
                    if isinstance(value, int)
                } | {value: IGNORED for value in classes.ignore if isinstance(value, int)}

    @contextlib.contextmanager
    def on(self, image: Any) -> Iterator[ReadLabels]:
        """Open them on the pixels of an open raster.

        Raises:
            UserError: If one has no coordinate reference system and their sizes differ, or they
                do not overlap.
        """
        vrt = import_optional("a GeoTIFF", "rasterio.vrt", extra="geo")
        with reading(self.path), contextlib.ExitStack() as stack:
            mask = stack.enter_context(open_raster(self.path))
            if image.crs is None and mask.crs is None and image.shape == mask.shape:
                file = mask
            else:
                _check_crs(image)
                _check_crs(mask)
                _check_overlap(image, mask)
                options = {} if mask.nodata is not None else {"add_alpha": True}
                file = stack.enter_context(
                    vrt.WarpedVRT(
                        mask,
                        crs=image.crs,
                        transform=image.transform,
                        width=image.width,
                        height=image.height,
                        **options,
                    )
                )

            def read(window: Any) -> Int32[ndarray, "height width"]:
                with reading(self.path):
                    values = file.read(1, window=window)
                    has_value = file.dataset_mask(window=window) != 0
                return self._labels(values, has_value)

            yield read

    def _labels(self, values: ndarray, has_value: ndarray) -> Int32[ndarray, "height width"]:
        labels = np.full(values.shape, IGNORED, np.int32)
        for value in np.unique(values[has_value]).tolist():
            if value not in self._index_of:
                raise UserError(
                    f"{self.path} has the value {value}, which is not in the file of classes; add "
                    "it to the values of a class, or to ignore"
                )
            labels[has_value & (values == value)] = self._index_of[value]
        return labels


def _read_vectors(path: Path, field: str | None) -> tuple[Any, ndarray, ndarray]:
    """Return what a vector file says of itself, its shapes, and the field with the classes."""
    pyogrio = import_optional("a vector file", "pyogrio", extra="geo")
    _check_kind(path)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of open rings and the like: shapes are checked
            layers = [str(name) for name, _ in pyogrio.list_layers(path)]
            if len(layers) != 1:
                found = ", ".join(map(visible, layers[:20])) or "none"
                raise UserError(
                    f"{path} has {len(layers)} layers ({found}); save one of them alone, such as "
                    "with `ogr2ogr labels.gpkg FILE LAYER`"
                )
            chosen = _class_field(path, field, pyogrio.read_info(path)["fields"])
            info, _, geometry, columns = pyogrio.raw.read(path, columns=[chosen], force_2d=True)
    except UserError:
        raise
    except (pyogrio.errors.DataSourceError, pyogrio.errors.DataLayerError, ValueError) as error:
        reason = (str(error).splitlines() or ["unknown"])[0]
        raise UserError(f"{path} is cut, damaged or not a vector file: {reason}") from None
    return info, geometry, columns[0]


def _check_kind(path: Path) -> None:
    """Refuse a file whose content is not what its suffix says: it could lead to other files."""
    suffix = path.suffix.lower()
    start, sign = _KINDS.get(suffix, (b"{", b'"Feature'))
    try:
        with path.open("rb") as file:
            content = file.read(_NUM_START_BYTES).removeprefix(b"\xef\xbb\xbf").lstrip()
    except OSError as error:
        raise UserError(f"{path} cannot be read: {error.strerror}") from None
    if not (content.startswith(start) and sign in content):
        kind = {".gpkg": "a GeoPackage", ".shp": "a Shapefile"}.get(suffix, "GeoJSON (UTF-8)")
        raise UserError(f"{path} is empty, cut, damaged or not {kind}; export it again")


def _class_field(path: Path, field: str | None, fields: Iterable[object]) -> str:
    """Return the field that holds classes: the one that is named, `class`, or the only one."""
    names = [str(each) for each in fields]
    chosen = field if field is not None else _CLASS_FIELD
    if field is None and _CLASS_FIELD not in names and len(names) == 1:
        chosen = names[0]
    if chosen not in names:
        found = ", ".join(map(visible, names)) or "none"
        hint = "" if field is None else nearest(field, names)
        raise UserError(
            f"{path} has no field {chosen!r}{hint}; name the one that holds the class with "
            f"--field; it has: {found}"
        )
    return chosen


def _check_shapes(path: Path, geometry: ndarray, is_area: ndarray, areas: ndarray) -> None:
    """Refuse lines, points, and polygons without an area; features without a shape are skipped."""
    if not is_area.any():
        raise UserError(f"{path} holds no polygon; lines and points have no area to label")
    has_area = is_area & np.isfinite(areas) & (areas > 0)
    for number, (shape, is_good) in enumerate(zip(geometry, has_area, strict=True), start=1):
        if shape is not None and not is_good:
            raise UserError(
                f"{path}, feature {number} is a line, a point, or a polygon that is damaged or "
                "without an area; finish it or remove it"
            )


def _text(path: Path, number: int, field: str, value: object) -> str:
    """Return the name of a class as a text."""
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    text = "" if value is None or value != value else str(value).strip()
    if not text:
        raise UserError(
            f"{path}, feature {number}: field {field!r} is empty; give it a class, or remove it"
        )
    return text


def sorted_names(texts: Iterable[str]) -> list[str]:
    """Return each name once: by the alphabet, or if all are whole numbers, by these."""
    names = sorted(set(texts))
    if all(name.lstrip("-").isdigit() for name in names):
        names.sort(key=int)
    return names


def _found_classes(file: Any, path: Path) -> tuple[list[str], Mapping[int, int]]:
    """Return the classes of the values in a mask, named by its tags `class_0`, or by values."""
    found: set[int] = set()
    for _, window in file.block_windows(1):
        values = file.read(1, window=window)
        found |= set(np.unique(values[file.dataset_mask(window=window) != 0]).tolist())
        if len(found) > _MOST_VALUES:
            raise UserError(f"{path} has more than {_MOST_VALUES} values; it is not a mask")
    if not found:
        raise UserError(f"{path} has no labelled pixel: all are without data")
    if min(found) < 0 or max(found) > _LARGEST_VALUE:
        raise UserError(f"{path} has values from {min(found)} to {max(found)}; 0 to 65535 are read")
    tags = file.tags()
    names = [tags.get(f"class_{value}", str(value)) for value in sorted(found)]
    return names, {value: index for index, value in enumerate(sorted(found))}


@contextlib.contextmanager
def _projecting(labels: object, image: object) -> Iterator[None]:
    """Turn what PROJ says of coordinates that it cannot project into one line."""
    try:
        yield
    except Exception as error:  # of rasterio, GDAL or PROJ, without a common class
        reason = (str(error).splitlines() or ["unknown"])[0]
        raise UserError(
            f"{labels} cannot be projected onto {image}: {reason}; its coordinates may not be of "
            "the coordinate reference system that it states"
        ) from None


def _check_crs(file: Any) -> None:
    if file.crs is None:
        raise UserError(f"{file.name} has no coordinate reference system; {crs_hint(file)}")


def _check_overlap(image: Any, mask: Any) -> None:
    warp = import_optional("a GeoTIFF", "rasterio.warp", extra="geo")
    with _projecting(mask.name, image.name):
        left, bottom, right, top = warp.transform_bounds(mask.crs, image.crs, *_bounds(mask))
    west, south, east, north = _bounds(image)
    if left >= east or right <= west or bottom >= north or top <= south:
        raise UserError(f"{mask.name} and {image.name} do not overlap")


def _bounds(file: Any) -> tuple[float, float, float, float]:
    """Return west, south, east and north of a raster, which may be rotated or mirrored."""
    a, b, c, d, e, f = tuple(file.transform)[:6]
    corners = list(itertools.product((0, file.width), (0, file.height)))
    x = [a * column + b * row + c for column, row in corners]
    y = [d * column + e * row + f for column, row in corners]
    return min(x), min(y), max(x), max(y)


def _to_pixels(points: ndarray, crs: Any, image: Any) -> ndarray:
    """Return (column, row) of points in a coordinate system."""
    warp = import_optional("a GeoTIFF", "rasterio.warp", extra="geo")
    x, y = points.T
    if crs != image.crs:
        x, y = (np.array(each) for each in warp.transform(crs, image.crs, x, y))
    a, b, c, d, e, f = tuple(~image.transform)[:6]
    return np.stack([a * x + b * y + c, d * x + e * y + f], axis=1)
