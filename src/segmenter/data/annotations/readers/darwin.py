"""Darwin 2.0, V7's JSON: a file for each image; shapes lie over each other in its order."""

from collections import Counter
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Int64
from numpy import ndarray
from pydantic import BaseModel

from segmenter.data.annotations.annotation_set import AnnotationSet, ExportedImage
from segmenter.data.annotations.polygons import Size
from segmenter.data.annotations.regions import (
    Polygon,
    Region,
    Shape,
    as_ring,
    cut_out,
    painted_as_areas,
    rectangle,
    unsupported,
)
from segmenter.data.annotations.source import Count, Side, Source, naming, read_json, split_of_path
from segmenter.errors import UserError
from segmenter.numbers import Finite

_OF_IMAGE = {"tag"}
"""Kinds of annotations that say something of the whole image."""


class _Point(BaseModel):
    x: Finite
    y: Finite


class _Polygon(BaseModel):
    paths: list[list[_Point]]


class _Box(BaseModel):
    x: Finite
    y: Finite
    w: Finite
    h: Finite


class _Raster(BaseModel):
    dense_rle: list[Count]
    mask_annotation_ids_mapping: dict[str, int]


class _Annotation(BaseModel):
    name: str
    id: str = ""
    polygon: _Polygon | None = None
    mask: dict[str, Any] | None = None
    raster_layer: _Raster | None = None
    bounding_box: _Box | None = None
    tag: dict[str, Any] | None = None


class _Slot(BaseModel):
    width: Side
    height: Side


class _Item(BaseModel):
    name: str
    path: str = "/"
    slots: list[_Slot]


class _File(BaseModel):
    item: _Item
    annotations: list[_Annotation]


def is_export(content: bytes) -> bool:
    """Return whether the ends of a JSON file are those of Darwin."""
    return b'"item"' in content and b'"slots"' in content and b'"annotations"' in content


def read(source: Source) -> AnnotationSet:
    """Read all files of a source; their classes are sorted by name."""
    export = AnnotationSet()
    labels: set[str] = set()
    kinds: Counter[str] = Counter()
    for path in source.accepted(".json", is_export, "JSON of Darwin (item, annotations)"):
        content = read_json(path, _File)
        if len(content.item.slots) != 1:
            raise UserError(f"{path} has {len(content.item.slots)} slots; one image a file is read")
        shapes = [each for each in content.annotations if _is_shape(each)]
        labels |= {each.name for each in shapes}
        kinds.update(_kind(each) for each in shapes)
        (slot,) = content.item.slots
        export.images.append(
            ExportedImage(
                name=f"{content.item.path.strip('/')}/{content.item.name}".lstrip("/"),
                where=str(path),
                near=path.parent,
                is_labelled=bool(shapes),
                read_shapes=partial(_shapes, path),
                split=split_of_path(path.parent / "_", source.root),
                size=(slot.height, slot.width),
            )
        )
    export.remarks += painted_as_areas(kinds, "box")
    export.classes = dict.fromkeys(sorted(labels))
    return export


def _is_shape(annotation: _Annotation) -> bool:
    """Return True for a region; the raster layer holds those of the masks."""
    return annotation.raster_layer is None and annotation.tag is None


def _kind(annotation: _Annotation) -> str:
    if annotation.polygon or annotation.mask is not None:
        return "outline"
    return "box" if annotation.bounding_box else "unknown"


def _shapes(path: Path, size: Size) -> list[Shape]:
    content = read_json(path, _File)
    with naming(str(path)):
        layer = _layer(content, size)
    shapes = []
    for number, each in enumerate(content.annotations):
        if _is_shape(each):
            where = f"{path}, annotation {number}"
            with naming(where):
                region = _region(each, layer)
            shapes.append(Shape(each.name, region, where, order=number))
    return shapes


def _layer(content: _File, size: Size) -> tuple[Int64[ndarray, "height width"], dict[str, int]]:
    """Return the numbers of the raster layer, and which mask has which."""
    rasters = [each.raster_layer for each in content.annotations if each.raster_layer]
    if not rasters:
        return np.zeros(size, dtype=np.int64), {}
    if len(rasters) > 1:
        raise ValueError(f"{len(rasters)} raster layers, where one image has one")
    values, counts = rasters[0].dense_rle[::2], rasters[0].dense_rle[1::2]
    if len(values) != len(counts) or sum(counts) != size[0] * size[1]:
        raise ValueError(
            f"a raster layer of {sum(counts)} pixels, where {size[0]} x {size[1]} are "
            f"{size[0] * size[1]}"
        )
    numbers = np.repeat(np.array(values, dtype=np.int64), counts).reshape(size)
    return numbers, rasters[0].mask_annotation_ids_mapping


def _region(
    annotation: _Annotation, layer: tuple[Int64[ndarray, "height width"], dict[str, int]]
) -> Region:
    numbers, ids = layer
    if annotation.mask is not None:
        if annotation.id not in ids:
            raise ValueError("a mask that the raster layer does not hold; export it again")
        return cut_out(numbers == ids[annotation.id])
    if annotation.polygon is not None:
        return _outline(annotation.polygon.paths)
    if annotation.bounding_box is not None:
        box = annotation.bounding_box
        return Polygon((as_ring(rectangle(box.x, box.y, box.x + box.w, box.y + box.h)),))
    raise unsupported("shape of another kind", ("polygon", "mask", "bounding_box"))


def _outline(paths: list[list[_Point]]) -> Region:
    """Return the region between paths; a further path without an area changes nothing."""
    kept = [path for path in paths if len(path) > 2] or paths[:1] or [[]]
    rings = [as_ring([each for point in path for each in (point.x, point.y)]) for path in kept]
    return Polygon(tuple(rings), is_even_odd=True)
