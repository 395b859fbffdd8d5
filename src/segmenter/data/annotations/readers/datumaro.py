"""Datumaro's JSON: annotations/SUBSET.json and images/SUBSET; z_order says what lies over what."""

from collections import Counter
from functools import partial
from pathlib import Path

from pydantic import BaseModel

from segmenter.classes import Byte, Color
from segmenter.data.annotations.annotation_set import AnnotationSet, ExportedImage
from segmenter.data.annotations.polygons import Size
from segmenter.data.annotations.readers.coco import Rle
from segmenter.data.annotations.regions import (
    Polygon,
    Region,
    Runs,
    Shape,
    as_ring,
    painted_as_areas,
    rectangle,
    unsupported,
)
from segmenter.data.annotations.source import Side, Source, naming, read_json, split_of
from segmenter.errors import UserError
from segmenter.numbers import Finite

_OF_IMAGE = {"label", "caption"}
"""Types of annotations that say something of the whole image."""


class _Annotation(BaseModel):
    type: str
    label_id: int | None = None
    points: list[Finite] | None = None
    bbox: tuple[Finite, Finite, Finite, Finite] | None = None
    rle: Rle | None = None
    z_order: int | None = 0


class _Image(BaseModel):
    path: str = ""
    size: tuple[Side, Side] | None = None


class _Item(BaseModel):
    id: str
    annotations: list[_Annotation] = []
    image: _Image = _Image()


class _Label(BaseModel):
    name: str


class _Labels(BaseModel):
    labels: list[_Label]


class _MaskColor(BaseModel):
    label_id: int
    r: Byte
    g: Byte
    b: Byte


class _Colors(BaseModel):
    colormap: list[_MaskColor] = []


class _Categories(BaseModel):
    label: _Labels
    mask: _Colors = _Colors()


class _File(BaseModel):
    categories: _Categories
    items: list[_Item]


def is_export(content: bytes) -> bool:
    """Return whether the ends of a JSON file are those of Datumaro."""
    return b'"items"' in content and b'"categories"' in content


def read(source: Source) -> AnnotationSet:
    """Read all files of a source; each is the subset that its name says."""
    export = AnnotationSet()
    kinds: Counter[str] = Counter()
    for path in source.accepted(".json", is_export, "JSON of Datumaro (categories, items)"):
        content = read_json(path, _File)
        names = [each.name for each in content.categories.label.labels]
        if len(set(names)) < len(names):
            raise UserError(f"{path} has two labels of one name; rename one")
        export.classes |= {
            name: color
            for name, color in _colored(names, content.categories.mask.colormap).items()
            if export.classes.get(name) is None
        }
        for item in content.items:
            regions = [each for each in item.annotations if each.type not in _OF_IMAGE]
            kinds.update(each.type for each in regions)
            where = f"{path}, item {item.id}"
            export.images.append(
                ExportedImage(
                    name=item.image.path or item.id,
                    where=where,
                    near=path.parent,
                    is_labelled=bool(regions),
                    read_shapes=partial(_shapes, regions, names, where),
                    split=_subset(path),
                    size=item.image.size,
                )
            )
    export.remarks += painted_as_areas(kinds, "bbox")
    return export


def _colored(names: list[str], colors: list[_MaskColor]) -> dict[str, Color | None]:
    found = {each.label_id: (each.r, each.g, each.b) for each in colors}
    return {name: found.get(index) for index, name in enumerate(names)}


def _subset(path: Path) -> str | None:
    return None if path.stem == "default" else split_of(path.stem) or path.stem


def _shapes(regions: list[_Annotation], names: list[str], where: str, _: Size) -> list[Shape]:
    shapes = []
    for number, each in enumerate(regions):
        place = f"{where}, annotation {number}"
        with naming(place):
            if each.label_id is None or not 0 <= each.label_id < len(names):
                raise ValueError(
                    f"label {each.label_id} is none of the {len(names)} that `categories` lists"
                )
            shapes.append(
                Shape(names[each.label_id], _region(each), place, order=each.z_order or 0)
            )
    return shapes


def _region(annotation: _Annotation) -> Region:
    if annotation.type == "mask" and annotation.rle is not None:
        return Runs(annotation.rle.counts, annotation.rle.size)
    if annotation.type == "polygon":
        return Polygon((as_ring(annotation.points or ()),))
    if annotation.type == "bbox" and annotation.bbox is not None:
        left, top, width, height = annotation.bbox
        return Polygon((as_ring(rectangle(left, top, left + width, top + height)),))
    raise unsupported(annotation.type, ("polygon", "mask", "bbox"))
