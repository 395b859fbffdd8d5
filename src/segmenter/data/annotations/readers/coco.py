"""COCO JSON: outlines and run lengths of instances; also as Roboflow exports it."""

import re
from functools import partial
from pathlib import Path

from pydantic import BaseModel

from segmenter.classes import Color
from segmenter.data.annotations.annotation_set import AnnotationSet, ExportedImage
from segmenter.data.annotations.polygons import Size
from segmenter.data.annotations.regions import Polygon, Region, Runs, Shape, as_ring
from segmenter.data.annotations.source import Count, Side, Source, naming, read_json, split_of_path
from segmenter.errors import UserError
from segmenter.numbers import Finite


class Rle(BaseModel):
    """Run lengths down the columns."""

    size: tuple[Side, Side]
    counts: str | list[Count]


class _Annotation(BaseModel):
    image_id: int | str
    category_id: int
    segmentation: list[list[Finite]] | Rle | None = None
    iscrowd: int | None = 0
    id: int | str | None = None


class _Image(BaseModel):
    id: int | str
    file_name: str
    height: Side | None = None
    width: Side | None = None


class _Category(BaseModel):
    id: int
    name: str
    supercategory: str | None = None
    color: Color | None = None


class _Coco(BaseModel):
    images: list[_Image]
    annotations: list[_Annotation]
    categories: list[_Category]


def is_export(content: bytes) -> bool:
    """Return whether the ends of a JSON file are those of COCO."""
    # A key of labelme, of Datumaro, or of COCO's captions; a category may have such a name.
    if re.search(rb'"(imagePath|items|caption)"\s*:', content):
        return False
    is_set = b'"images"' in content and (b'"annotations"' in content or b'"categories"' in content)
    return is_set or (
        b'"file_name"' in content and (b'"segmentation"' in content or b'"category_id"' in content)
    )


def read(source: Source) -> AnnotationSet:
    """Read all COCO files of a source; each is a split if its name or folder says so."""
    export = AnnotationSet()
    num_crowds = 0
    for path in source.accepted(".json", is_export, "COCO JSON (images, annotations, categories)"):
        num_crowds += _add(export, path, split_of_path(path, source.root))
    if num_crowds:
        export.remarks.append(
            f"{num_crowds} crowds (iscrowd) are painted as their class, under what overlaps them"
        )
    return export


def _add(export: AnnotationSet, path: Path, split: str | None) -> int:
    """Add the images of one file, and return how many crowds it holds."""
    content = read_json(path, _Coco)
    names = _category_names(content, path)
    export.remarks += [
        f"category 0 of {path}, {each.name!r}, only stands above others, and is not a class"
        for each in content.categories
        if each.id not in names
    ]
    export.classes |= {
        each.name: each.color
        for each in content.categories
        if each.id in names and export.classes.get(each.name) is None
    }
    of_image: dict[int | str, list[tuple[int, _Annotation]]] = {
        each.id: [] for each in content.images
    }
    if len(of_image) < len(content.images):
        raise UserError(f"{path} gives two images one id; export it again")
    for index, annotation in enumerate(content.annotations):
        where = _where(path, annotation, index)
        if annotation.image_id not in of_image:
            raise UserError(f"{where} belongs to image {annotation.image_id!r}, which is not there")
        if annotation.category_id not in names:
            known = ", ".join(map(str, list(names)[:20]))
            raise UserError(
                f"{where} has category {annotation.category_id}, which `categories` does not list; "
                f"it lists {known or 'none'}"
            )
        if not annotation.segmentation:
            raise UserError(
                f"{where} has a box and no outline (segmentation), of which no mask can be made; "
                "outline it in the tool, or remove it"
            )
        of_image[annotation.image_id].append((index, annotation))
    for image in content.images:
        size = None if image.height is None or image.width is None else (image.height, image.width)
        read = partial(_shapes, of_image[image.id], names, path)
        where = f"{path}, image {image.id}"
        export.images.append(
            ExportedImage(
                image.file_name, where, path.parent, bool(of_image[image.id]), read, split, size
            )
        )
    return sum(bool(each.iscrowd) for each in content.annotations)


def _category_names(content: _Coco, path: Path) -> dict[int, str]:
    """Return names by id; without Roboflow's category 0 that only stands above the others."""
    used = {each.category_id for each in content.annotations}
    above = {each.supercategory for each in content.categories}
    names: dict[int, str] = {}
    for each in content.categories:
        is_top = each.id == 0 and each.supercategory in {None, "none"}
        if is_top and each.id not in used and each.name in above:
            continue
        if each.id in names or each.name in names.values():
            raise UserError(
                f"{path} has two categories with the id {each.id} or the name {each.name!r}; "
                "rename one"
            )
        names[each.id] = each.name
    return names


def _where(path: Path, annotation: _Annotation, index: int) -> str:
    return f"{path}, annotation {index if annotation.id is None else annotation.id}"


def _shapes(
    annotations: list[tuple[int, _Annotation]], names: dict[int, str], path: Path, _: Size
) -> list[Shape]:
    shapes = []
    for index, annotation in annotations:
        where = _where(path, annotation, index)
        with naming(where):
            region = region_of(annotation.segmentation)
        order = -1 if annotation.iscrowd else 0
        shapes.append(Shape(names[annotation.category_id], region, where, order))
    return shapes


def region_of(segmentation: list[list[float]] | Rle | None) -> Region:
    """Return the region of rings or run lengths.

    Raises:
        ValueError: If they are not a region.
    """
    if isinstance(segmentation, Rle):
        return Runs(segmentation.counts, segmentation.size)
    rings = segmentation or []
    # Beside a ring with an area, one of a point or a line changes nothing.
    rings = [ring for ring in rings if len(ring) not in {0, 2, 4}] or rings
    return Polygon(tuple(map(as_ring, rings)))
