"""CVAT for images 1.1: XML of all images; a shape of a higher z_order lies over others."""

from collections import Counter
from collections.abc import Callable
from functools import partial
from pathlib import Path
from xml.etree.ElementTree import Element

from segmenter.classes import Color
from segmenter.data.annotations.annotation_set import AnnotationSet, ExportedImage
from segmenter.data.annotations.hex_colors import read_hex
from segmenter.data.annotations.polygons import Size
from segmenter.data.annotations.regions import (
    MAX_COORDINATE,
    Polygon,
    Region,
    Runs,
    Shape,
    as_ring,
    ellipse,
    painted_as_areas,
    rectangle,
    turned,
    unsupported,
)
from segmenter.data.annotations.source import Source, naming, read_xml, split_of, split_of_path
from segmenter.errors import UserError

_SKIPPED = {"tag"}
"""Says something of the whole image."""


def is_export(content: bytes) -> bool:
    """Return whether the ends of an XML file are those of CVAT."""
    return b"<annotations" in content


def read(source: Source) -> AnnotationSet:
    """Read all XML files of a source."""
    export = AnnotationSet()
    kinds: Counter[str] = Counter()
    for path in source.accepted(".xml", is_export, "XML of CVAT (<annotations>)"):
        root = read_xml(path)
        if root.tag != "annotations":
            raise UserError(f"{path} begins with <{root.tag}>; XML of CVAT has <annotations>")
        if root.find("track") is not None:
            raise UserError(f"{path} holds tracks; export it as 'CVAT for images 1.1'")
        export.classes |= _classes(root, path)
        for image in root.iter("image"):
            export.images.append(_image(image, path, source.root))
            kinds.update(element.tag for element in image)
    export.remarks += painted_as_areas(kinds, "box", "ellipse")
    return export


def _classes(root: Element, path: Path) -> dict[str, Color | None]:
    """Return names and colours of the task, or, where it lists none, names by the alphabet."""
    classes: dict[str, Color | None] = {}
    for label in root.findall("meta//labels/label"):
        name = label.findtext("name")
        if not name or name in classes:
            raise UserError(f"{path}: <labels> holds a label without a name, or twice: {name!r}")
        classes[name] = read_hex(label.findtext("color") or "")
    used = {element.get("label", "") for image in root.iter("image") for element in image}
    return classes or dict.fromkeys(sorted(used - {""}))


def _image(image: Element, path: Path, root: Path) -> ExportedImage:
    name = image.get("name")
    where = f"{path}, image {image.get('id', name)}"
    if not name:
        raise UserError(f"{where} has no name; export it again")
    with naming(where):
        size = int(_number(image, "height")), int(_number(image, "width"))
    subset = image.get("subset")
    return ExportedImage(
        name=name,
        where=where,
        near=path.parent,
        is_labelled=any(element.tag not in _SKIPPED for element in image),
        read_shapes=partial(_shapes, image, where),
        split=split_of(subset) or subset if subset else split_of_path(path.parent / "_", root),
        size=size,
    )


def _shapes(image: Element, where: str, _: Size) -> list[Shape]:
    shapes = []
    for number, element in enumerate(image):
        if element.tag in _SKIPPED:
            continue
        place = f"{where}, shape {number} ({element.tag})"
        with naming(place):
            label = element.get("label")
            if label is None:
                raise ValueError("it has no label; export it again")
            if element.tag not in _REGIONS:
                raise unsupported(element.tag, _REGIONS)
            region = _REGIONS[element.tag](element)
            order = int(_number(element, "z_order", 0.0))
        shapes.append(Shape(label, region, place, order))
    return shapes


def _number(element: Element, name: str, default: float | None = None) -> float:
    text = element.get(name)
    if text is None and default is not None:
        return default
    try:
        number = float(text or "")
    except ValueError:
        raise ValueError(f"{name} is not a number, got {text!r}") from None
    if not abs(number) <= MAX_COORDINATE:
        raise ValueError(f"{name} is at most {MAX_COORDINATE}, got {text}")
    return number


def _mask(element: Element) -> Region:
    left, top, width, height = (
        int(_number(element, name)) for name in ("left", "top", "width", "height")
    )
    try:
        lengths = [int(each) for each in element.get("rle", "").split(",")]
    except ValueError:
        raise ValueError("rle holds something else than whole numbers; export it again") from None
    return Runs(lengths, (height, width), left, top, by_column=False, is_whole=False)


def _polygon(element: Element) -> Region:
    numbers: list[float] = []
    for point in element.get("points", "").split(";"):
        try:
            x, y = map(float, point.split(","))
        except ValueError:
            raise ValueError(f"a point is x,y, got {point[:40]!r}") from None
        numbers += [x, y]
    return Polygon((as_ring(numbers),))


def _box(element: Element) -> Region:
    left, top, right, bottom = (_number(element, name) for name in ("xtl", "ytl", "xbr", "ybr"))
    corners = rectangle(left, top, right, bottom)
    middle = (left + right) / 2, (top + bottom) / 2
    return Polygon((as_ring(turned(corners, _number(element, "rotation", 0.0), *middle)),))


def _ellipse(element: Element) -> Region:
    x, y, radius_x, radius_y = (_number(element, name) for name in ("cx", "cy", "rx", "ry"))
    corners = ellipse(x, y, radius_x, radius_y)
    return Polygon((as_ring(turned(corners, _number(element, "rotation", 0.0), x, y)),))


_REGIONS: dict[str, Callable[[Element], Region]] = {
    "mask": _mask,
    "polygon": _polygon,
    "box": _box,
    "ellipse": _ellipse,
}
