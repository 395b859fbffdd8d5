"""Label maps as files of labelling tools: COCO, labelme, CVAT and Label Studio.

COCO, CVAT and Label Studio keep all photos in one file, labelme one file for each photo. Run
lengths hold every pixel; so do COCO's polygons, which follow the edges of pixels.
"""

import json
from collections.abc import Callable, Sequence
from typing import Any, Literal, NamedTuple
from xml.etree import ElementTree

import cv2
import numpy as np
from jaxtyping import Bool, UInt
from numpy import ndarray

from segmenter.annotations.outlines import find_regions
from segmenter.annotations.rle import masks_rle
from segmenter.classes import Classes

SetFormat = Literal["coco", "coco-polygons", "cvat", "label-studio"]
"""Formats that keep all photos in one file."""


class LabelledPhoto(NamedTuple):
    """What a labelling tool is told of one photo."""

    name: str
    """Its file name, as the tool knows it."""
    labels: UInt[ndarray, "height width"]


def coco_json(photos: Sequence[LabelledPhoto], classes: Classes, *, polygons: bool) -> bytes:
    """COCO's JSON: one annotation for each class in each photo; category ids begin with 1.

    Args:
        photos: All photos of the file.
        classes: What the labels stand for.
        polygons: Outlines along the edges of pixels instead of run lengths; a hole is reached by a
            line that goes there and back.
    """
    annotations: list[dict[str, Any]] = []
    for number, (_, labels) in enumerate(photos, start=1):
        masks = masks_rle(labels)
        for index in classes.present(labels):
            mask = labels == index
            left, top, width, height = cv2.boundingRect(mask.astype(np.uint8))
            outlines = [region.as_one_ring().ravel().tolist() for region in find_regions(mask)]
            annotations.append(
                {
                    "id": len(annotations) + 1,
                    "image_id": number,
                    "category_id": index + 1,
                    "segmentation": outlines if polygons else masks[index],
                    "area": int(np.count_nonzero(mask)),
                    "bbox": [left, top, width, height],
                    "iscrowd": 0,
                }
            )
    content = {
        "info": {"description": "label maps by segmenter"},
        "images": [
            {
                "id": number,
                "file_name": name,
                "height": labels.shape[0],
                "width": labels.shape[1],
            }
            for number, (name, labels) in enumerate(photos, start=1)
        ],
        "categories": [
            {"id": index + 1, "name": name}
            for index, name in enumerate(classes.names)
            if index != classes.background_index
        ],
        "annotations": annotations,
    }
    return json.dumps(content).encode()


def labelme_json(photo: LabelledPhoto, classes: Classes) -> bytes:
    """One photo as labelme's JSON: polygons through the centres of the outermost pixels.

    labelme knows no holes and draws one shape over the other, so what contains others comes first.
    """
    height, width = photo.labels.shape
    shapes: list[tuple[int, dict[str, Any]]] = []
    for index in classes.present(photo.labels):
        for filled, (left, top) in _filled_regions(photo.labels == index):
            lines, _ = cv2.findContours(
                filled.astype(np.uint8), cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_SIMPLE
            )
            points = lines[0].reshape(-1, 2) + np.array([left, top])
            if len(points) < 3:  # labelme wants three
                points = np.concatenate([points, points, points])[:3]
            shape = {
                "label": classes.names[index],
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
        "imagePath": photo.name,
        "imageData": None,
        "imageHeight": height,
        "imageWidth": width,
    }
    return json.dumps(content).encode()


def cvat_xml(photos: Sequence[LabelledPhoto], classes: Classes) -> bytes:
    """CVAT for images 1.1: one mask for each class in each photo."""
    root = ElementTree.Element("annotations")
    ElementTree.SubElement(root, "version").text = "1.1"
    task = ElementTree.SubElement(ElementTree.SubElement(root, "meta"), "task")
    labels_element = ElementTree.SubElement(task, "labels")
    for info in classes.classes:
        element = ElementTree.SubElement(labels_element, "label")
        ElementTree.SubElement(element, "name").text = info.name
        ElementTree.SubElement(element, "color").text = "#{:02x}{:02x}{:02x}".format(*info.color)
        ElementTree.SubElement(element, "type").text = "mask"
    for number, (name, labels) in enumerate(photos):
        height, width = labels.shape
        image = ElementTree.SubElement(
            root,
            "image",
            {"id": str(number), "name": name, "width": str(width), "height": str(height)},
        )
        for index in classes.present(labels):
            mask = labels == index
            left, top, box_width, box_height = cv2.boundingRect(mask.astype(np.uint8))
            box = mask[top : top + box_height, left : left + box_width]
            place = {"left": left, "top": top, "width": box_width, "height": box_height}
            ElementTree.SubElement(
                image,
                "mask",
                {
                    "label": classes.names[index],
                    "source": "auto",
                    "occluded": "0",
                    "rle": ", ".join(map(str, _run_lengths(box.ravel()))),
                    "z_order": "0",
                    **{key: str(value) for key, value in place.items()},
                },
            )
    return ElementTree.tostring(root, encoding="utf-8", xml_declaration=True)


def label_studio_json(photos: Sequence[LabelledPhoto], classes: Classes) -> bytes:
    """Label Studio's tasks with predictions: a brush for each class.

    The project's labelling set-up has `<BrushLabels name="label" toName="image">`.
    """
    tasks = []
    for name, labels in photos:
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
                    "rle": _brush(labels == index),
                    "brushlabels": [classes.names[index]],
                },
            }
            for index in classes.present(labels)
        ]
        predictions = [{"model_version": "segmenter", "result": results}]
        tasks.append({"data": {"image": name}, "predictions": predictions})
    return json.dumps(tasks).encode()


def _coco_runs(photos: Sequence[LabelledPhoto], classes: Classes) -> bytes:
    return coco_json(photos, classes, polygons=False)


def _coco_outlines(photos: Sequence[LabelledPhoto], classes: Classes) -> bytes:
    return coco_json(photos, classes, polygons=True)


SET_WRITERS: dict[SetFormat, tuple[str, Callable[[Sequence[LabelledPhoto], Classes], bytes]]] = {
    "coco": ("coco.json", _coco_runs),
    "coco-polygons": ("coco-polygons.json", _coco_outlines),
    "cvat": ("cvat.xml", cvat_xml),
    "label-studio": ("label-studio.json", label_studio_json),
}
"""Name of the file, and what writes it, of each format that keeps all photos in one."""


def _filled_regions(
    mask: Bool[ndarray, "height width"],
) -> list[tuple[Bool[ndarray, "box_height box_width"], tuple[int, int]]]:
    """Each region with its holes filled, cut out, and where (left, top) it was cut."""
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


def _run_lengths(values: Bool[ndarray, " pixels"]) -> list[int]:
    """Lengths of runs by turns outside and inside, outside first."""
    ends = np.flatnonzero(np.diff(values)) + 1
    lengths = np.diff(ends, prepend=0, append=len(values)).tolist()
    return [0, *lengths] if values[0] else lengths


def _brush(mask: Bool[ndarray, "height width"]) -> list[int]:
    """Label Studio's brush: runs of the bytes of an RGBA picture, in a stream of bits.

    Its form is that of `rle-pack` (thi.ng/umbrella): how many bytes, their width less 1, four
    widths of lengths less 1; then runs: a 1, which width, the length less 1, the byte.
    """
    length_bits = 16
    lengths = _run_lengths(mask.ravel())
    num_bytes = 4 * mask.size
    bits = [f"{num_bytes:032b}", f"{8 - 1:05b}", f"{length_bits - 1:04b}" * 4]
    for turn, length in enumerate(lengths):
        byte = "11111111" if turn % 2 else "00000000"
        left = 4 * length
        while left:
            run = min(left, 1 << length_bits)
            bits.append(f"100{run - 1:016b}{byte}")
            left -= run
    stream = np.frombuffer("".join(bits).encode(), dtype=np.uint8) - ord("0")
    return np.packbits(stream).tolist()
