"""Label maps as files of labelling tools: COCO, labelme, CVAT and Label Studio.

COCO, CVAT and Label Studio keep all images in one file, labelme one file for each image. What a
common file says of an image is made when it is labelled, as one line of text, and the file is put
together from these lines, one after the other, so a million images need no more memory than
one. Run lengths hold every pixel; so do COCO's polygons, which follow the edges of pixels.
"""

import json
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any, NamedTuple
from xml.etree import ElementTree

import cv2
import numpy as np
from jaxtyping import Bool, UInt
from numpy import ndarray

from segmenter.classes import Classes
from segmenter.data.annotations.brush import pack_brush
from segmenter.data.annotations.rle import masks_rle, run_lengths
from segmenter.label_files.annotations.outlines import find_regions
from segmenter.pages import css_color
from segmenter.text import for_xml, visible

ReadLines = Callable[[], Iterator[str]]
"""Gives the lines of all images in their order; may be called again."""


class SetFormat(NamedTuple):
    """A file that tells of all images: a row of `SET_FORMATS`."""

    file_name: str
    line: Callable[[str, UInt[ndarray, "height width"], Classes], str]
    """Entry of one image: its file name as the tool knows it, and its labels."""
    parts: Callable[[ReadLines, Classes], Iterator[str]]
    """Its text, from the lines of all images."""


def coco_line(
    name: str, labels: UInt[ndarray, "height width"], classes: Classes, *, polygons: bool = False
) -> str:
    """Return one image in COCO's JSON, without the numbers that count images and annotations.

    There is one annotation for each class; category ids begin with 1.

    Args:
        name: Its file name, as the tool knows it.
        labels: Class indices.
        classes: What the labels stand for.
        polygons: Outlines along the edges of pixels instead of run lengths; a hole is reached by a
            line that goes there and back.
    """
    masks = {} if polygons else masks_rle(labels)
    annotations = []
    for index in classes.present(labels):
        mask = labels == index
        left, top, width, height = cv2.boundingRect(mask.astype(np.uint8))
        annotations.append(
            {
                "category_id": index + 1,
                "segmentation": _rings(mask) if polygons else masks[index],
                "area": int(np.count_nonzero(mask)),
                "bbox": [left, top, width, height],
                "iscrowd": 0,
            }
        )
    height, width = labels.shape
    image = {"file_name": name, "height": height, "width": width}
    return json.dumps({"image": image, "annotations": annotations})


def coco_parts(read_lines: ReadLines, classes: Classes) -> Iterator[str]:
    """Yield COCO's JSON; images and annotations are counted from 1."""
    categories = [
        {"id": index + 1, "name": visible(name)}
        for index, name in enumerate(classes.names)
        if index != classes.background_index
    ]
    yield '{"info": {"description": "label maps by segmenter"}, "images": ['
    for number, line in enumerate(read_lines(), start=1):
        yield _listed(number, {"id": number, **json.loads(line)["image"]})
    yield f'], "categories": {json.dumps(categories)}, "annotations": ['
    count = 0
    for number, line in enumerate(read_lines(), start=1):
        for annotation in json.loads(line)["annotations"]:
            count += 1
            yield _listed(count, {"id": count, "image_id": number, **annotation})
    yield "]}"


def labelme_json(name: str, labels: UInt[ndarray, "height width"], classes: Classes) -> bytes:
    """Return one image in labelme's JSON: polygons through the centres of the outermost pixels.

    labelme knows no holes and draws one shape over the other, so what contains others comes first.
    A background has shapes only where others would cover it.
    """
    height, width = labels.shape
    shapes: list[tuple[int, dict[str, Any]]] = []
    is_covered = np.zeros(labels.shape, dtype=bool)
    background = classes.background_index
    for index in [*classes.present(labels), *([] if background is None else [background])]:
        for filled, (left, top) in _filled_regions(labels == index):
            box = is_covered[top : top + filled.shape[0], left : left + filled.shape[1]]
            if index == background and not box[0, filled[0].argmax()]:
                continue
            box |= filled
            lines, _ = cv2.findContours(
                filled.astype(np.uint8), cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_SIMPLE
            )
            points = lines[0].reshape(-1, 2) + np.array([left, top])
            if len(points) < 3:  # labelme wants three
                points = np.concatenate([points, points, points])[:3]
            shape = {
                "label": visible(classes.names[index]),
                "points": points.astype(float).tolist(),
                "group_id": None,
                "description": "",
                "shape_type": "polygon",
                "flags": {},
                "mask": None,
            }
            shapes.append((int(np.count_nonzero(filled)), shape))
    shapes.sort(key=lambda each: -each[0])
    content = {
        "version": "5.5.0",
        "flags": {},
        "shapes": [shape for _, shape in shapes],
        "imagePath": name,
        "imageData": None,
        "imageHeight": height,
        "imageWidth": width,
    }
    return json.dumps(content).encode()


def cvat_line(name: str, labels: UInt[ndarray, "height width"], classes: Classes) -> str:
    """Return one image in CVAT's XML, without its number: one mask for each class."""
    height, width = labels.shape
    image = ElementTree.Element("image", {"name": name, "width": str(width), "height": str(height)})
    for index in classes.present(labels):
        mask = labels == index
        left, top, box_width, box_height = cv2.boundingRect(mask.astype(np.uint8))
        box = mask[top : top + box_height, left : left + box_width]
        place = {"left": left, "top": top, "width": box_width, "height": box_height}
        ElementTree.SubElement(
            image,
            "mask",
            {
                "label": visible(classes.names[index]),
                "source": "auto",
                "occluded": "0",
                "rle": ", ".join(map(str, run_lengths(box.ravel()))),
                "z_order": "0",
                **{key: str(value) for key, value in place.items()},
            },
        )
    return for_xml(ElementTree.tostring(image, encoding="unicode"))


def cvat_parts(read_lines: ReadLines, classes: Classes) -> Iterator[str]:
    """Yield CVAT for images 1.1; images are counted from 0."""
    labels = ElementTree.Element("labels")
    for info in classes.classes:
        element = ElementTree.SubElement(labels, "label")
        ElementTree.SubElement(element, "name").text = visible(info.name)
        ElementTree.SubElement(element, "color").text = css_color(info.color)
        ElementTree.SubElement(element, "type").text = "mask"
    yield "<?xml version='1.0' encoding='utf-8'?>\n<annotations><version>1.1</version>"
    yield f"<meta><task>{ElementTree.tostring(labels, encoding='unicode')}</task></meta>"
    for number, line in enumerate(read_lines()):
        yield line.replace("<image", f'\n<image id="{number}"', 1)
    yield "</annotations>"


def label_studio_line(name: str, labels: UInt[ndarray, "height width"], classes: Classes) -> str:
    """Return one image as Label Studio's task, with a prediction: a brush for each class.

    The project's labelling set-up has `<BrushLabels name="label" toName="image">`.
    """
    height, width = labels.shape
    results = [
        {
            "id": f"class-{index}",
            "type": "brushlabels",
            "from_name": "label",
            "to_name": "image",
            "original_width": width,
            "original_height": height,
            "image_rotation": 0,
            "value": {
                "format": "rle",
                "rle": pack_brush(labels == index),
                "brushlabels": [visible(classes.names[index])],
            },
        }
        for index in classes.present(labels)
    ]
    predictions = [{"model_version": "segmenter", "result": results}]
    return json.dumps({"data": {"image": name}, "predictions": predictions})


def label_studio_parts(read_lines: ReadLines, _: Classes) -> Iterator[str]:
    """Yield the list of all tasks."""
    yield "["
    for number, line in enumerate(read_lines()):
        yield f",\n{line}" if number else line
    yield "]"


SET_FORMATS: dict[str, SetFormat] = {
    "coco": SetFormat("coco.json", coco_line, coco_parts),
    "coco-polygons": SetFormat("coco-polygons.json", partial(coco_line, polygons=True), coco_parts),
    "cvat": SetFormat("cvat.xml", cvat_line, cvat_parts),
    "label-studio": SetFormat("label-studio.json", label_studio_line, label_studio_parts),
}


def _listed(number: int, item: dict[str, Any]) -> str:
    """Return an item of a JSON list whose items are counted from 1."""
    text = json.dumps(item)
    return text if number == 1 else f",\n{text}"


def _rings(mask: Bool[ndarray, "height width"]) -> list[list[int]]:
    return [region.as_one_ring().ravel().tolist() for region in find_regions(mask)]


def _filled_regions(
    mask: Bool[ndarray, "height width"],
) -> list[tuple[Bool[ndarray, "box_height box_width"], tuple[int, int]]]:
    """Cut out each region with its holes filled; return where (left, top) each was, too."""
    cut = []
    for outer, _ in find_regions(mask):
        left, top = outer.min(axis=0)
        right, bottom = outer.max(axis=0)
        turns = np.zeros((bottom - top, right - left + 1), dtype=np.int64)
        ends = np.roll(outer, -1, axis=0)
        for (x, y_start), (_, y_end) in zip(outer[1::2], ends[1::2], strict=True):
            turns[min(y_start, y_end) - top : max(y_start, y_end) - top, x - left] += 1
        filled = turns.cumsum(axis=1)[:, :-1] % 2 == 1
        cut.append((filled, (int(left), int(top))))
    return cut
