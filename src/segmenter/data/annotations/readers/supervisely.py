"""Supervisely's projects: meta.json with classes, and DATASET/ann/IMAGE.json beside DATASET/img."""

from collections import Counter
from functools import partial
from pathlib import Path

from pydantic import BaseModel

from segmenter.data.annotations.annotation_set import AnnotationSet, ExportedImage
from segmenter.data.annotations.bitmaps import decode_base64, decode_bitmap, inflate
from segmenter.data.annotations.hex_colors import read_hex
from segmenter.data.annotations.polygons import Ring, Size
from segmenter.data.annotations.regions import (
    Bitmap,
    PaintedPolygon,
    Region,
    Shape,
    as_ring,
    painted_as_areas,
    rectangle,
    unsupported,
)
from segmenter.data.annotations.source import (
    Side,
    Source,
    files_like,
    naming,
    read_json,
    split_of,
)
from segmenter.errors import UserError
from segmenter.numbers import Finite

_Points = list[tuple[Finite, Finite]]


class _Class(BaseModel):
    title: str
    color: str = ""


class _Meta(BaseModel):
    classes: list[_Class]


class _Exterior(BaseModel):
    exterior: _Points = []
    interior: list[_Points] = []


class _Bitmap(BaseModel):
    data: str
    origin: tuple[int, int]


class _Object(BaseModel):
    classTitle: str  # noqa: N815 - Supervisely's names
    geometryType: str = "polygon"  # noqa: N815
    points: _Exterior | None = None
    bitmap: _Bitmap | None = None


class _Size(BaseModel):
    height: Side
    width: Side


class _Annotation(BaseModel):
    size: _Size
    objects: list[_Object]


def is_export(content: bytes) -> bool:
    """Return whether the ends of meta.json are those of a project."""
    return b'"classes"' in content and b'"title"' in content


def read(source: Source) -> AnnotationSet:
    """Read the datasets of a project; each is a split if its name says so."""
    metas = [path for path in source.files("meta.json") if path.name == "meta.json"]
    if len(metas) != 1:
        raise UserError(
            f"{source.given} holds {len(metas)} files meta.json; give the folder of one project"
        )
    (meta,) = metas
    export = AnnotationSet()
    for each in read_json(meta, _Meta).classes:
        if each.title in export.classes:
            raise UserError(f"{meta} has two classes {each.title!r}; rename one")
        export.classes[each.title] = read_hex(each.color)
    kinds: Counter[str] = Counter()
    # NAME.jpg.json in `ann` belongs to NAME.jpg in `img`.
    for path in files_like(meta.parent, "**/ann/*.json"):
        dataset = path.parent.parent
        content = read_json(path, _Annotation)
        kinds.update(each.geometryType for each in content.objects)
        for number, each in enumerate(content.objects):
            if each.classTitle not in export.classes:
                raise UserError(
                    f"{path}, object {number} has class {each.classTitle!r}, which {meta} does "
                    f"not list; it lists {', '.join(list(export.classes)[:20]) or 'none'}"
                )
        inside = dataset.relative_to(meta.parent).as_posix()
        split = None if inside == "." else split_of(dataset.name) or inside.replace("/", "_")
        export.images.append(
            ExportedImage(
                name=path.name.removesuffix(".json"),
                where=str(path),
                near=dataset / "img",
                is_labelled=bool(content.objects),
                read_shapes=partial(_shapes, path),
                split=split,
                size=(content.size.height, content.size.width),
            )
        )
    export.remarks += painted_as_areas(kinds, "rectangle")
    return export


def _shapes(path: Path, size: Size) -> list[Shape]:
    shapes = []
    for number, each in enumerate(read_json(path, _Annotation).objects):
        where = f"{path}, object {number}"
        with naming(where):
            region = _region(each, size)
        shapes.append(Shape(each.classTitle, region, where, order=number))
    return shapes


def _region(given: _Object, size: Size) -> Region:
    if given.geometryType == "bitmap" and given.bitmap is not None:
        left, top = given.bitmap.origin
        png = inflate(decode_base64(given.bitmap.data))
        return Bitmap(decode_bitmap(png, largest=size), left, top)
    outline = given.points or _Exterior()
    if given.geometryType == "polygon":
        return PaintedPolygon(_ring(outline.exterior), tuple(map(_ring, outline.interior)))
    if given.geometryType == "rectangle" and len(outline.exterior) == 2:
        return PaintedPolygon(as_ring(rectangle(*outline.exterior[0], *outline.exterior[1])))
    raise unsupported(given.geometryType, ("polygon", "bitmap", "rectangle"))


def _ring(points: _Points) -> Ring:
    return as_ring([each for point in points for each in point])
