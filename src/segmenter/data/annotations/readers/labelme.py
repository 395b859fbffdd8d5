"""labelme: a JSON file for each image; shapes lie over each other in the order of the file."""

from collections import Counter
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import cast

import numpy as np
from pydantic import BaseModel

from segmenter.data.annotations.annotation_set import AnnotationSet, ExportedImage
from segmenter.data.annotations.bitmaps import decode_base64, decode_bitmap
from segmenter.data.annotations.polygons import Size
from segmenter.data.annotations.regions import (
    Bitmap,
    DrawnEllipse,
    DrawnPolygon,
    Region,
    Shape,
    as_ring,
    painted_as_areas,
    rectangle,
    unsupported,
)
from segmenter.data.annotations.source import Source, naming, read_json, read_text, split_of_path
from segmenter.numbers import Finite

_IGNORED = "__ignore__"


class _Shape(BaseModel):
    label: str
    points: list[tuple[Finite, Finite]]
    shape_type: str | None = "polygon"
    mask: str | None = None


class _File(BaseModel):
    shapes: list[_Shape]
    imagePath: str  # noqa: N815 - labelme's name
    imageHeight: int | None = None  # noqa: N815
    imageWidth: int | None = None  # noqa: N815


def is_export(content: bytes) -> bool:
    """Return whether the ends of a JSON file are those of labelme."""
    return b'"shapes"' in content and b'"imagePath"' in content


def read(source: Source) -> AnnotationSet:
    """Read all labelme files; their classes are those of labels.txt, else sorted by name."""
    export = AnnotationSet(ignored=frozenset({_IGNORED}))
    labels: set[str] = set()
    kinds: Counter[str] = Counter()
    for path in source.accepted(".json", is_export, "JSON of labelme (shapes, imagePath)"):
        content = read_json(path, _File)
        labels |= {shape.label for shape in content.shapes}
        kinds.update(shape.shape_type or "polygon" for shape in content.shapes)
        size = content.imageHeight, content.imageWidth
        export.images.append(
            ExportedImage(
                name=content.imagePath,
                where=str(path),
                near=path.parent,
                is_labelled=bool(content.shapes),
                read_shapes=partial(_shapes, path),
                split=split_of_path(path.parent / "_", source.root),
                size=None if None in size else cast("Size", size),
            )
        )
    export.remarks += painted_as_areas(kinds, "rectangle", "oriented_rectangle")
    listed = source.root / "labels.txt"
    lines = read_text(listed).splitlines() if listed.is_file() else []
    names = [line.strip() for line in lines if line.strip()]
    names += sorted(labels - set(names))
    export.classes = dict.fromkeys(name for name in names if name != _IGNORED)
    return export


def _shapes(path: Path, size: Size) -> list[Shape]:
    shapes = []
    for number, each in enumerate(read_json(path, _File).shapes):
        where = f"{path}, shape {number}"
        with naming(where):
            kind = each.shape_type or "polygon"
            if kind not in _REGIONS:
                raise unsupported(kind, _REGIONS)
            region = _REGIONS[kind](each, size)
        shapes.append(Shape(each.label, region, where, order=number))
    return shapes


def _flat(shape: _Shape, count: int | None = None) -> list[float]:
    if count is not None and len(shape.points) != count:
        raise ValueError(f"a {shape.shape_type} of {len(shape.points)} points; it has {count}")
    return [each for point in shape.points for each in point]


def _polygon(shape: _Shape, _: Size) -> Region:
    return DrawnPolygon(as_ring(_flat(shape)))


def _rectangle(shape: _Shape, _: Size) -> Region:
    if len(shape.points) == 4:  # as X-AnyLabeling writes it
        return DrawnPolygon(as_ring(_flat(shape)))
    return DrawnPolygon(as_ring(rectangle(*_flat(shape, 2))))


def _oriented_rectangle(shape: _Shape, _: Size) -> Region:
    return DrawnPolygon(as_ring(_flat(shape, 4)))


def _circle(shape: _Shape, _: Size) -> Region:
    x, y, on_x, on_y = _flat(shape, 2)
    radius = float(np.hypot(on_x - x, on_y - y))
    return DrawnEllipse(as_ring(rectangle(x - radius, y - radius, x + radius, y + radius)))


def _mask(shape: _Shape, size: Size) -> Region:
    left, top, right, bottom = (int(each) for each in _flat(shape, 2))
    if shape.mask is None:
        raise ValueError("a mask without its pixels; export it again")
    box = (bottom - top + 1, right - left + 1)
    return Bitmap(decode_bitmap(decode_base64(shape.mask), box, largest=size), left, top)


_REGIONS: dict[str, Callable[[_Shape, Size], Region]] = {
    "polygon": _polygon,
    "rectangle": _rectangle,
    "oriented_rectangle": _oriented_rectangle,
    "circle": _circle,
    "mask": _mask,
}
