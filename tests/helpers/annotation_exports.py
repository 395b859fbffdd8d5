"""Label maps written as exports of annotation tools, and data sets read back by class names."""

import base64
import io
import json
import zlib
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
from PIL import Image

from segmenter.classes import Classes, read_classes
from segmenter.data.annotations.rle import masks_rle
from segmenter.data.decoding.decode import decode_mask
from segmenter.data.masks.values import map_values
from segmenter.label_files.annotations.annotation_files import SET_FORMATS, labelme_json
from segmenter.label_files.annotations.outlines import find_regions


class LabelledImage(NamedTuple):
    """An image without a picture."""

    name: str
    labels: np.ndarray


Writer = Callable[[Path, Sequence[LabelledImage], Classes], Path]
"""Writes an export into a folder, and returns what is given to `segmenter prepare`."""


def _write_images(folder: Path, images: Sequence[LabelledImage]) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for name, labels in images:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(np.zeros((*labels.shape, 3), dtype=np.uint8)).save(folder / name)


def _set_file(name: str) -> Writer:
    def write(root: Path, images: Sequence[LabelledImage], classes: Classes) -> Path:
        _write_images(root / "photos", images)
        form = SET_FORMATS[name]
        lines = [form.line(*image, classes) for image in images]
        (root / form.file_name).write_text("".join(form.parts(lambda: iter(lines), classes)))
        return root / form.file_name

    return write


def _labelme(root: Path, images: Sequence[LabelledImage], classes: Classes) -> Path:
    _write_images(root, images)
    for name, labels in images:
        content = labelme_json(Path(name).name, labels, classes)
        (root / name).with_suffix(".json").write_bytes(content)
    return root


def _yolo(root: Path, images: Sequence[LabelledImage], classes: Classes) -> Path:
    _write_images(root / "images", images)
    for name, labels in images:
        size = np.array(labels.shape[::-1])
        lines = [
            f"{index} " + " ".join(f"{each:.7f}" for each in (region.as_one_ring() / size).ravel())
            for index in classes.present(labels)
            for region in find_regions(labels == index)
        ]
        path = (root / "labels" / name).with_suffix(".txt")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("\n".join(lines) + "\n")
    names = "".join(f"  {index}: {name}\n" for index, name in enumerate(classes.names))
    (root / "data.yaml").write_text(f"path: .\ntrain: images\nval: images\nnames:\n{names}")
    return root


def _voc(root: Path, images: Sequence[LabelledImage], classes: Classes) -> Path:
    _write_images(root / "JPEGImages", images)
    (root / "ImageSets/Segmentation").mkdir(parents=True)
    names = [str(Path(name).with_suffix("")) for name, _ in images]
    (root / "ImageSets/Segmentation/default.txt").write_text("\n".join(names) + "\n")
    lines = [f"{each.name}:{','.join(map(str, each.color))}::\n" for each in classes.classes]
    (root / "labelmap.txt").write_text("# label:color_rgb:parts:actions\n" + "".join(lines))
    table = np.full((256, 3), (224, 224, 192), dtype=np.uint8)
    table[: len(classes)] = classes.colors
    for name, labels in images:
        path = (root / "SegmentationClass" / name).with_suffix(".png")
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(table[labels]).save(path)
    return root


def _roboflow(root: Path, images: Sequence[LabelledImage], classes: Classes) -> Path:
    _write_images(root / "train", images)
    lines = [f"{index + 1}, {name}\n" for index, name in enumerate(classes.names)]
    table = "Pixel Value, Class\n0, background\n" + "".join(lines)
    (root / "train/_classes.csv").write_text(table)
    for name, labels in images:
        values = np.where(labels == classes.ignore_index, 0, labels + 1).astype(np.uint8)
        Image.fromarray(values).save(root / "train" / f"{Path(name).stem}_mask.png")
    return root


def _supervisely(root: Path, images: Sequence[LabelledImage], classes: Classes) -> Path:
    _write_images(root / "train/img", images)
    (root / "train/ann").mkdir()
    meta = [
        {"title": each.name, "shape": "bitmap", "color": "#" + bytes(each.color).hex()}
        for each in classes.classes
    ]
    (root / "meta.json").write_text(json.dumps({"classes": meta, "tags": []}))
    for name, labels in images:
        height, width = labels.shape
        objects = [
            {
                "classTitle": classes.names[index],
                "geometryType": "bitmap",
                "bitmap": supervisely_bitmap(labels == index),
            }
            for index in classes.present(labels)
        ]
        content = {"size": {"height": height, "width": width}, "objects": objects}
        (root / "train/ann" / f"{name}.json").write_text(json.dumps(content))
    return root


def supervisely_bitmap(mask: np.ndarray) -> dict:
    """A mask as Supervisely's JSON holds it."""
    ys, xs = np.nonzero(mask)
    box = mask[ys.min() : ys.max() + 1, xs.min() : xs.max() + 1]
    buffer = io.BytesIO()
    Image.fromarray((box * 255).astype(np.uint8)).save(buffer, "PNG")
    data = base64.b64encode(zlib.compress(buffer.getvalue())).decode()
    return {"data": data, "origin": [int(xs.min()), int(ys.min())]}


def _datumaro(root: Path, images: Sequence[LabelledImage], classes: Classes) -> Path:
    return _write_datumaro(root, images, classes, is_polygon=False)


def _datumaro_polygons(root: Path, images: Sequence[LabelledImage], classes: Classes) -> Path:
    return _write_datumaro(root, images, classes, is_polygon=True)


def _write_datumaro(
    root: Path, images: Sequence[LabelledImage], classes: Classes, *, is_polygon: bool
) -> Path:
    _write_images(root / "images/train", images)
    items = []
    for name, labels in images:
        annotations = []
        for index in classes.present(labels):
            shared = {"label_id": index, "z_order": 0, "attributes": {}, "group": 0}
            if is_polygon:
                annotations += [
                    {"type": "polygon", "points": region.as_one_ring().ravel().tolist(), **shared}
                    for region in find_regions(labels == index)
                ]
            else:
                annotations.append({"type": "mask", "rle": masks_rle(labels)[index], **shared})
        image = {"path": name, "size": list(labels.shape)}
        items.append({"id": Path(name).stem, "annotations": annotations, "image": image})
    categories = {
        "label": {"labels": [{"name": name, "parent": ""} for name in classes.names]},
        "mask": {
            "colormap": [
                {"label_id": index, **dict(zip("rgb", map(int, color), strict=True))}
                for index, color in enumerate(classes.colors)
            ]
        },
    }
    (root / "annotations").mkdir()
    content = {"info": {}, "categories": categories, "items": items}
    (root / "annotations/train.json").write_text(json.dumps(content))
    return root


def _darwin(root: Path, images: Sequence[LabelledImage], classes: Classes) -> Path:
    _write_images(root / "images", images)
    for name, labels in images:
        height, width = labels.shape
        starts = np.flatnonzero(np.diff(labels.ravel(), prepend=-1, append=-1))
        values = np.where(labels == classes.ignore_index, 0, labels + 1).ravel()[starts[:-1]]
        runs = np.stack([values, np.diff(starts)], axis=1).ravel().tolist()
        present = classes.present(labels)
        layer = {
            "dense_rle": runs,
            "mask_annotation_ids_mapping": {f"id-{index}": index + 1 for index in present},
            "total_pixels": labels.size,
        }
        annotations = [
            {"id": f"id-{index}", "name": classes.names[index], "mask": {"sparse_rle": None}}
            for index in present
        ]
        annotations.append({"name": "__raster_layer__", "raster_layer": layer})
        slots = [{"type": "image", "slot_name": "0", "width": width, "height": height}]
        item = {"name": name, "path": "/", "slots": slots}
        content = {"version": "2.0", "item": item, "annotations": annotations}
        (root / f"{Path(name).stem}.json").write_text(json.dumps(content))
    return root


WRITERS: dict[str, tuple[str, Writer]] = {
    "COCO, run lengths": ("coco", _set_file("coco")),
    "COCO, polygons": ("coco", _set_file("coco-polygons")),
    "YOLO": ("yolo", _yolo),
    "labelme": ("labelme", _labelme),
    "CVAT XML, masks": ("cvat", _set_file("cvat")),
    "Pascal VOC, CVAT masks": ("voc", _voc),
    "Label Studio, brushes": ("label-studio", _set_file("label-studio")),
    "Supervisely, bitmaps": ("supervisely", _supervisely),
    "Roboflow, masks": ("roboflow", _roboflow),
    "Darwin, raster layer": ("darwin", _darwin),
    "Datumaro, masks": ("datumaro", _datumaro),
    "Datumaro, polygons": ("datumaro", _datumaro_polygons),
}
"""What is written, the format that reads it, and the writer."""


def read_back(out: Path, classes: Classes) -> dict[str, np.ndarray]:
    """The label maps of a data set, by names of images without suffix, in indices of `classes`.

    What `classes` does not have is ignored.
    """
    ours = read_classes(out / "classes.yaml")
    table = np.full(max(len(ours), ours.ignore_index) + 1, classes.ignore_index, dtype=np.int64)
    for index, name in enumerate(ours.names):
        if name in classes.names:
            table[index] = classes.names.index(name)
    return {
        path.relative_to(out / "masks").with_suffix("").as_posix(): table[
            map_values(decode_mask(path), ours, str(path))
        ]
        for path in sorted((out / "masks").rglob("*.png"))
    }
