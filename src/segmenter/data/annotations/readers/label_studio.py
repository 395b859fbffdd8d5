"""Label Studio's JSON: a list of tasks; regions lie over each other in the order of the file."""

from collections import Counter
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

from pydantic import BaseModel, RootModel

from segmenter.data.annotations.annotation_set import AnnotationSet, ExportedImage
from segmenter.data.annotations.brush import unpack_brush
from segmenter.data.annotations.polygons import Size
from segmenter.data.annotations.regions import (
    Polygon,
    Region,
    Shape,
    as_ring,
    cut_out,
    ellipse,
    painted_as_areas,
    rectangle,
    turned,
    unsupported,
)
from segmenter.data.annotations.source import (
    Side,
    Source,
    naming,
    plain_parts,
    read_json,
    split_of_path,
    validated,
)
from segmenter.data.decoding.image_formats import IMAGE_SUFFIXES
from segmenter.errors import UserError
from segmenter.numbers import Finite

_FULL = 100.0
"""Coordinates are per cent of width and height."""


class _Value(BaseModel):
    points: list[tuple[Finite, Finite]] | None = None
    format: str | None = None
    rle: list[int] | None = None
    x: Finite = 0
    y: Finite = 0
    width: Finite = 0
    height: Finite = 0
    radiusX: Finite = 0  # noqa: N815 - Label Studio's names
    radiusY: Finite = 0  # noqa: N815
    rotation: Finite = 0
    polygonlabels: list[str] | None = None
    brushlabels: list[str] | None = None
    rectanglelabels: list[str] | None = None
    ellipselabels: list[str] | None = None
    keypointlabels: list[str] | None = None


class _Result(BaseModel):
    type: str = ""
    value: _Value
    original_width: Side | None = None
    original_height: Side | None = None
    image_rotation: Finite | None = 0
    to_name: str | None = None


class _Answer(BaseModel):
    result: list[dict[str, Any]]
    was_cancelled: bool = False
    ground_truth: bool = False


class _Task(BaseModel):
    data: dict[str, Any]
    annotations: list[_Answer] | None = None
    predictions: list[_Answer] | None = None
    id: int | str | None = None


class _Tasks(RootModel[list[_Task]]):
    """All tasks of a file."""


def is_export(content: bytes) -> bool:
    """Return whether the ends of a JSON file are those of Label Studio."""
    names_shapes = b'"from_name"' in content or b'"to_name"' in content
    return names_shapes and (b'"annotations"' in content or b'"predictions"' in content)


def read(source: Source) -> AnnotationSet:
    """Read all tasks; predictions count only where no task has annotations."""
    export = AnnotationSet()
    files = source.accepted(".json", is_export, "JSON of Label Studio (not JSON-MIN)")
    tasks = [
        (path, number, task)
        for path in files
        for number, task in enumerate(read_json(path, _Tasks).root)
    ]
    is_annotated = any(task.annotations for _, _, task in tasks)
    if not is_annotated and any(task.predictions for _, _, task in tasks):
        export.remarks.append("no task has annotations: its predictions are taken")
    labels: set[str] = set()
    kinds: Counter[str] = Counter()
    num_several = 0
    for path, number, task in tasks:
        where = f"{path}, task {number if task.id is None else task.id}"
        answers = (task.annotations if is_annotated else task.predictions) or []
        answers = [each for each in answers if not each.was_cancelled]
        num_several += len(answers) > 1
        # The one that is marked as true, or else the last.
        chosen = sorted(answers, key=lambda each: each.ground_truth)[-1:]
        results = [
            _region(result, f"{where}, region {index}")
            for answer in chosen
            for index, result in enumerate(answer.result)
            if _is_region(result)
        ]
        labels |= {label for result, place in results for label in [_label(result, place)]}
        kinds.update(result.type for result, _ in results)
        export.images.append(
            ExportedImage(
                name=_image_name(task, where),
                where=where,
                near=path.parent,
                is_labelled=bool(results),
                read_shapes=partial(_shapes, results),
                split=split_of_path(path, source.root),
                size=_size(results),
            )
        )
    if num_several:
        export.remarks.append(
            f"{num_several} tasks have several annotations: the one that is marked as ground truth "
            "is taken, else the last"
        )
    export.remarks += painted_as_areas(kinds, "rectanglelabels")
    export.classes = dict.fromkeys(sorted(labels))
    return export


def _is_region(result: dict[str, Any]) -> bool:
    """Return True if a result belongs to a part of the image, and not to all of it."""
    return str(result.get("type", "")).endswith("labels")


def _region(result: dict[str, Any], where: str) -> tuple[_Result, str]:
    region = validated(_Result, result, where)
    if region.image_rotation:
        raise UserError(
            f"{where} was drawn on an image turned by {region.image_rotation:g} degrees; turn it "
            "back in the tool"
        )
    return region, where


def _label(result: _Result, where: str) -> str:
    given = getattr(result.value, result.type, None) or []
    if len(given) != 1:
        raise UserError(
            f"{where} has {len(given)} labels, and a region has one class; give it one in the tool"
        )
    return given[0]


def _size(results: list[tuple[_Result, str]]) -> Size | None:
    for result, _ in results:
        if result.original_height is not None and result.original_width is not None:
            return result.original_height, result.original_width
    return None


def _image_name(task: _Task, where: str) -> str:
    """Return the path or address of the image: the value under `image`, or one that ends so."""
    texts = [task.data.get("image"), *task.data.values()]
    for text in texts:
        if isinstance(text, str) and plain_parts(text):
            if text is task.data.get("image"):
                return text
            if Path(plain_parts(text)[-1]).suffix.lower() in IMAGE_SUFFIXES:
                return text
    raise UserError(f"{where} names no image in its `data`; export it again as JSON")


def _shapes(results: list[tuple[_Result, str]], size: Size) -> list[Shape]:
    shapes = []
    for number, (result, where) in enumerate(results):
        with naming(where):
            if result.type not in _REGIONS:
                raise unsupported(result.type, _REGIONS)
            region = _REGIONS[result.type](result.value, size)
        shapes.append(Shape(_label(result, where), region, where, order=number))
    return shapes


def _scale(size: Size) -> tuple[float, float]:
    return size[1] / _FULL, size[0] / _FULL


def _polygon(value: _Value, size: Size) -> Region:
    numbers = [each for point in value.points or () for each in point]
    return Polygon((as_ring(numbers, _scale(size)),))


def _brush(value: _Value, size: Size) -> Region:
    if value.rle is None:
        raise ValueError("a brush without its rle; export it as JSON")
    return cut_out(unpack_brush(value.rle, size))


def _rectangle(value: _Value, size: Size) -> Region:
    corners = rectangle(value.x, value.y, value.x + value.width, value.y + value.height)
    return _turned(corners, value, size)


def _ellipse(value: _Value, size: Size) -> Region:
    return _turned(ellipse(value.x, value.y, value.radiusX, value.radiusY), value, size)


def _turned(numbers: list[float], value: _Value, size: Size) -> Region:
    """Turn around the point that the region hangs on, in pixels."""
    across, down = _scale(size)
    ring = as_ring(numbers, (across, down)).ravel().tolist()
    return Polygon((as_ring(turned(ring, value.rotation, value.x * across, value.y * down)),))


_REGIONS: dict[str, Callable[[_Value, Size], Region]] = {
    "polygonlabels": _polygon,
    "brushlabels": _brush,
    "rectanglelabels": _rectangle,
    "ellipselabels": _ellipse,
}
