"""Label maps written as exports of annotation tools, and data sets read back by class names."""

import base64
import io
import json
import zipfile
import zlib
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple
from xml.etree import ElementTree

import cv2
import numpy as np
from PIL import Image

from segmenter.classes import Classes, read_classes
from segmenter.data.annotations.rle import masks_rle, run_lengths
from segmenter.data.decoding.decode import decode_mask
from segmenter.data.masks.values import map_values
from segmenter.label_files.annotations.annotation_files import SET_FORMATS, labelme_json
from segmenter.label_files.annotations.outlines import Region, find_regions


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


def _regions(labels: np.ndarray, classes: Classes) -> list[tuple[int, Region]]:
    """The regions of each class that occurs, with its index."""
    return [
        (index, region)
        for index in classes.present(labels)
        for region in find_regions(labels == index)
    ]


def _coco_numbers(root: Path, images: Sequence[LabelledImage], classes: Classes) -> Path:
    """COCO whose run lengths are numbers, as those of crowds are."""
    path = _set_file("coco")(root, images, classes)
    content = json.loads(path.read_text())
    ids = {each["id"]: each["file_name"] for each in content["images"]}
    labels = dict(images)
    for each in content["annotations"]:
        mask = labels[ids[each["image_id"]]] == each["category_id"] - 1
        each["segmentation"]["counts"] = run_lengths(mask.T.ravel())
    path.write_text(json.dumps(content))
    return path


def _roboflow_coco(root: Path, images: Sequence[LabelledImage], classes: Classes) -> Path:
    """Roboflow's COCO: a file beside the images of each split, whose category 0 is a parent."""
    _write_images(root / "train", images)
    content = {
        "info": {"description": "Exported from roboflow.com"},
        "categories": [
            {"id": 0, "name": "things", "supercategory": "none"},
            *(
                {"id": index + 1, "name": name, "supercategory": "things"}
                for index, name in enumerate(classes.names)
            ),
        ],
        "images": [
            {"id": number, "file_name": name, "height": labels.shape[0], "width": labels.shape[1]}
            for number, (name, labels) in enumerate(images)
        ],
        "annotations": [
            {
                "image_id": number,
                "category_id": index + 1,
                "segmentation": [region.as_one_ring().ravel().tolist()],
                "iscrowd": 0,
            }
            for number, (_, labels) in enumerate(images)
            for index, region in _regions(labels, classes)
        ],
    }
    for number, each in enumerate(content["annotations"]):
        each["id"] = number
    (root / "train/_annotations.coco.json").write_text(json.dumps(content))
    return root


def _cvat_polygons(root: Path, images: Sequence[LabelledImage], classes: Classes) -> Path:
    path = _set_file("cvat")(root, images, classes)
    document = ElementTree.parse(path)
    labels = dict(images)
    for image in document.getroot().iter("image"):
        image[:] = [
            ElementTree.Element(
                "polygon",
                {
                    "label": classes.names[index],
                    "points": ";".join(f"{x:.2f},{y:.2f}" for x, y in region.as_one_ring()),
                    "z_order": "0",
                },
            )
            for index, region in _regions(labels[image.attrib["name"]], classes)
        ]
    document.write(path)
    return path


def _label_studio_polygons(root: Path, images: Sequence[LabelledImage], classes: Classes) -> Path:
    _write_images(root / "photos", images)
    tasks = []
    for name, labels in images:
        height, width = labels.shape
        per_cent = 100 / np.array([width, height])
        results = [
            {
                "type": "polygonlabels",
                "from_name": "label",
                "to_name": "image",
                "original_width": width,
                "original_height": height,
                "image_rotation": 0,
                "value": {
                    "points": (region.as_one_ring() * per_cent).tolist(),
                    "polygonlabels": [classes.names[index]],
                },
            }
            for index, region in _regions(labels, classes)
        ]
        tasks.append({"data": {"image": name}, "annotations": [{"result": results}]})
    (root / "project.json").write_text(json.dumps(tasks))
    return root / "project.json"


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
            for index, region in _regions(labels, classes)
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


def _cvat_mask_zip(root: Path, images: Sequence[LabelledImage], classes: Classes) -> Path:
    """CVAT's `Segmentation mask 1.1`, as it is downloaded."""
    folder = _voc(root / "folder", images, classes)
    path = root / "masks.zip"
    with zipfile.ZipFile(path, "w") as archive:
        for each in sorted(folder.rglob("*")):
            archive.write(each, each.relative_to(folder))
    return path


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
    def bitmaps(mask: np.ndarray) -> list[dict]:
        return [{"geometryType": "bitmap", "bitmap": supervisely_bitmap(mask)}]

    return _write_supervisely(root, images, classes, bitmaps)


def _supervisely_polygons(root: Path, images: Sequence[LabelledImage], classes: Classes) -> Path:
    return _write_supervisely(root, images, classes, _drawn_polygons)


def _write_supervisely(
    root: Path,
    images: Sequence[LabelledImage],
    classes: Classes,
    draw: Callable[[np.ndarray], list[dict]],
) -> Path:
    _write_images(root / "train/img", images)
    (root / "train/ann").mkdir()
    meta = [
        {"title": each.name, "shape": "any", "color": "#" + bytes(each.color).hex()}
        for each in classes.classes
    ]
    (root / "meta.json").write_text(json.dumps({"classes": meta, "tags": []}))
    for name, labels in images:
        height, width = labels.shape
        objects = [
            {"classTitle": classes.names[index], **each}
            for index in classes.present(labels)
            for each in draw(labels == index)
        ]
        content = {"size": {"height": height, "width": width}, "objects": objects}
        (root / "train/ann" / f"{name}.json").write_text(json.dumps(content))
    return root


def _drawn_polygons(mask: np.ndarray) -> list[dict]:
    """Outlines through the centres of the outermost pixels, of regions and of their holes."""
    polygons = []
    for component in _components(mask, connectivity=8):
        outer = _outline(component)
        filled = cv2.fillPoly(np.zeros(mask.shape, np.uint8), [outer], 1) > 0
        # Holes that touch at a corner would enclose what lies between them.
        holes = _components(filled & ~component, connectivity=4)
        points = {
            "exterior": outer.tolist(),
            "interior": [_outline(hole).tolist() for hole in holes],
        }
        polygons.append({"geometryType": "polygon", "points": points})
    return polygons


def _components(mask: np.ndarray, connectivity: int) -> list[np.ndarray]:
    count, numbers = cv2.connectedComponents(mask.astype(np.uint8), connectivity=connectivity)
    return [numbers == number for number in range(1, count)]


def _outline(mask: np.ndarray) -> np.ndarray:
    """The outline of one component, of three corners or more."""
    rings, _ = cv2.findContours(mask.astype(np.uint8), cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_SIMPLE)
    return np.resize(rings[0][:, 0], (max(len(rings[0]), 3), 2))


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


def _darwin_polygons(root: Path, images: Sequence[LabelledImage], classes: Classes) -> Path:
    def polygons(labels: np.ndarray) -> list[dict]:
        return [
            {"name": classes.names[index], "polygon": {"paths": _paths(region)}}
            for index, region in _regions(labels, classes)
        ]

    return _write_darwin(root, images, polygons)


def _paths(region: Region) -> list[list[dict]]:
    return [
        [{"x": float(x), "y": float(y)} for x, y in ring] for ring in (region.outer, *region.holes)
    ]


def _darwin(root: Path, images: Sequence[LabelledImage], classes: Classes) -> Path:
    def raster_layer(labels: np.ndarray) -> list[dict]:
        starts = np.flatnonzero(np.diff(labels.ravel(), prepend=-1, append=-1))
        values = np.where(labels == classes.ignore_index, 0, labels + 1).ravel()[starts[:-1]]
        runs = np.stack([values, np.diff(starts)], axis=1).ravel().tolist()
        present = classes.present(labels)
        layer = {
            "dense_rle": runs,
            "mask_annotation_ids_mapping": {f"id-{index}": index + 1 for index in present},
            "total_pixels": labels.size,
        }
        masks = [
            {"id": f"id-{index}", "name": classes.names[index], "mask": {"sparse_rle": None}}
            for index in present
        ]
        return [*masks, {"name": "__raster_layer__", "raster_layer": layer}]

    return _write_darwin(root, images, raster_layer)


def _write_darwin(
    root: Path, images: Sequence[LabelledImage], annotate: Callable[[np.ndarray], list[dict]]
) -> Path:
    _write_images(root / "images", images)
    for name, labels in images:
        height, width = labels.shape
        slots = [{"type": "image", "slot_name": "0", "width": width, "height": height}]
        item = {"name": name, "path": "/", "slots": slots}
        content = {"version": "2.0", "item": item, "annotations": annotate(labels)}
        (root / f"{Path(name).stem}.json").write_text(json.dumps(content))
    return root


WRITERS: dict[str, tuple[str, Writer]] = {
    "COCO, run lengths": ("coco", _set_file("coco")),
    "COCO, run lengths as numbers": ("coco", _coco_numbers),
    "COCO, polygons": ("coco", _set_file("coco-polygons")),
    "YOLO": ("yolo", _yolo),
    "labelme": ("labelme", _labelme),
    "CVAT XML, masks": ("cvat", _set_file("cvat")),
    "CVAT XML, polygons": ("cvat", _cvat_polygons),
    "CVAT, zip of masks": ("voc", _cvat_mask_zip),
    "Pascal VOC, CVAT masks": ("voc", _voc),
    "Label Studio, brushes": ("label-studio", _set_file("label-studio")),
    "Label Studio, polygons": ("label-studio", _label_studio_polygons),
    "Supervisely, bitmaps": ("supervisely", _supervisely),
    "Supervisely, polygons": ("supervisely", _supervisely_polygons),
    "Roboflow, masks": ("roboflow", _roboflow),
    "Roboflow, COCO": ("coco", _roboflow_coco),
    "Darwin, raster layer": ("darwin", _darwin),
    "Darwin, polygons": ("darwin", _darwin_polygons),
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
