"""Files for labelling tools: read back, by the tools' own readers where they are installed."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple
from xml.etree import ElementTree

import cv2
import numpy as np
import pytest
from PIL import Image, ImageDraw

from segmenter.classes import Classes
from segmenter.data.annotations.convert_export import convert_annotations
from segmenter.label_files.annotations.annotation_files import SET_FORMATS, labelme_json
from tests.helpers.models import make_classes
from tests.helpers.skips import NOT_HERE

NOT_TOGETHER = f"{NOT_HERE}: the tools' own readers; datumaro needs OpenCV 4, the package 5"
CLASSES = make_classes(4)
pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")


class LabelledImage(NamedTuple):
    name: str
    labels: np.ndarray


@pytest.fixture
def images() -> list[LabelledImage]:
    """Blobs with holes in holes, single pixels, and pixels that belong to no class."""
    random = np.random.default_rng(0)
    images = []
    for number, size in enumerate([(90, 130), (1, 1), (64, 48)]):
        noise = random.random((9, 13, 4)).astype(np.float32)
        labels = cv2.resize(noise, size[::-1], interpolation=cv2.INTER_CUBIC).argmax(axis=-1)
        labels[labels.shape[0] // 2, labels.shape[1] // 2] = 1
        if number == 2:
            labels[:5, :7] = CLASSES.ignore_index
        images.append(LabelledImage(f"shots/{number} <&>.jpg", labels.astype(np.uint8)))
    return images


def whole_file(name: str, images: Sequence[LabelledImage], classes: Classes = CLASSES) -> bytes:
    """The file as `segmenter predict` puts it together, from one line an image."""
    file = SET_FORMATS[name]
    lines = [file.line(*image, classes) for image in images]
    assert not any("\n" in line for line in lines)
    return "".join(file.parts(lambda: iter(lines), classes)).encode()


def merged(masks: dict[int, np.ndarray], shape: tuple[int, int]) -> np.ndarray:
    labels = np.full(shape, CLASSES.ignore_index, dtype=np.uint8)
    for index, mask in masks.items():
        assert (labels[mask] == CLASSES.ignore_index).all()
        labels[mask] = index
    return labels


@pytest.mark.parametrize("name", ["coco", "coco-polygons"])
def test_coco_reads_back_every_pixel(
    images: list[LabelledImage], tmp_path: Path, name: str
) -> None:
    coco_module = pytest.importorskip("pycocotools.coco", reason="needs pycocotools")
    (tmp_path / "coco.json").write_bytes(whole_file(name, images))
    coco = coco_module.COCO(tmp_path / "coco.json")
    assert [each["name"] for each in coco.cats.values()] == list(CLASSES.names)
    for number, (file_name, labels) in enumerate(images, start=1):
        assert coco.imgs[number]["file_name"] == file_name
        found = coco.loadAnns(coco.getAnnIds(imgIds=number))
        masks = {each["category_id"] - 1: coco.annToMask(each).astype(bool) for each in found}
        np.testing.assert_array_equal(merged(masks, labels.shape), labels)
        assert [each["area"] for each in found] == [mask.sum() for mask in masks.values()]
        for each in found:
            np.testing.assert_array_equal(
                each["bbox"], cv2.boundingRect(masks[each["category_id"] - 1].astype(np.uint8))
            )


def test_labelme_shapes_drawn_in_order_give_the_labels(images: list[LabelledImage]) -> None:
    for image in images:
        content = json.loads(labelme_json(*image, CLASSES))
        height, width = image.labels.shape
        assert (content["imageHeight"], content["imageWidth"]) == (height, width)
        canvas = Image.new("L", (width, height), CLASSES.ignore_index)
        draw = ImageDraw.Draw(canvas)
        for shape in content["shapes"]:  # as labelme.utils.shape_to_mask does
            index = CLASSES.names.index(shape["label"])
            draw.polygon([tuple(point) for point in shape["points"]], outline=index, fill=index)
        assert (np.array(canvas) == image.labels).mean() >= 0.999


def test_cvat_masks_give_the_labels(images: list[LabelledImage]) -> None:
    root = ElementTree.fromstring(whole_file("cvat", images))
    assert [each.text for each in root.findall("meta/task/labels/label/name")] == [*CLASSES.names]
    for image, (name, labels) in zip(root.findall("image"), images, strict=True):
        assert image.get("name") == name
        masks = {}
        for mask in image.findall("mask"):
            left, top, width, height = (
                int(mask.get(key, "")) for key in ("left", "top", "width", "height")
            )
            lengths = [int(each) for each in mask.get("rle", "").split(",")]
            runs = np.repeat(np.arange(len(lengths)) % 2 == 1, lengths).reshape(height, width)
            canvas = np.zeros(labels.shape, dtype=bool)
            canvas[top : top + height, left : left + width] = runs
            masks[CLASSES.names.index(mask.get("label", ""))] = canvas
        np.testing.assert_array_equal(merged(masks, labels.shape), labels)


def decode_brush(stream: list[int]) -> np.ndarray:
    """rle-pack, read bit by bit as `label_studio_converter.brush.decode_rle` does."""
    bits = np.unpackbits(np.array(stream, dtype=np.uint8))
    place = 0

    def read(count: int) -> int:
        nonlocal place
        place += count
        return int("".join(map(str, bits[place - count : place])), 2)

    out = np.zeros(read(32), dtype=np.uint8)
    word = read(5) + 1
    sizes = [read(4) + 1 for _ in range(4)]
    start = 0
    while start < len(out):
        assert read(1) == 1
        end = start + 1 + read(sizes[read(2)])
        out[start:end] = read(word)
        start = end
    return out


def test_label_studio_brushes_give_the_labels(images: list[LabelledImage]) -> None:
    tasks = json.loads(whole_file("label-studio", images))
    for task, (name, labels) in zip(tasks, images, strict=True):
        assert task["data"]["image"] == name
        masks = {
            CLASSES.names.index(each["value"]["brushlabels"][0]): decode_brush(
                each["value"]["rle"]
            ).reshape(*labels.shape, 4)[:, :, 3]
            > 0
            for each in task["predictions"][0]["result"]
        }
        np.testing.assert_array_equal(merged(masks, labels.shape), labels)


@pytest.mark.slow
def test_the_tools_own_readers_give_the_labels(images: list[LabelledImage], tmp_path: Path) -> None:
    brush = pytest.importorskip("label_studio_converter.brush", reason=NOT_TOGETHER)
    shapes_to_label = pytest.importorskip("labelme.utils", reason=NOT_TOGETHER).shapes_to_label
    datumaro = pytest.importorskip("datumaro", reason=NOT_TOGETHER)
    images = [image._replace(name=f"{number}.png") for number, image in enumerate(images[::2])]
    (tmp_path / "images").mkdir()
    (tmp_path / "annotations.xml").write_bytes(whole_file("cvat", images))
    for name, labels in images:
        Image.fromarray(labels).save(tmp_path / "images" / name)
    read = {item.id: item.annotations for item in datumaro.Dataset.import_from(tmp_path, "cvat")}
    tasks = json.loads(whole_file("label-studio", images))
    for task, image in zip(tasks, images, strict=True):
        labels = image.labels
        masks = {each.label: each.image.astype(bool) for each in read[Path(image.name).stem]}
        np.testing.assert_array_equal(merged(masks, labels.shape), labels)
        masks = {
            CLASSES.names.index(each["value"]["brushlabels"][0]): brush.decode_rle(
                each["value"]["rle"]
            ).reshape(*labels.shape, 4)[:, :, 3]
            > 0
            for each in task["predictions"][0]["result"]
        }
        np.testing.assert_array_equal(merged(masks, labels.shape), labels)
        shapes = json.loads(labelme_json(*image, CLASSES))["shapes"]
        values = {name: index for index, name in enumerate(CLASSES.names)}
        drawn, _ = shapes_to_label((*labels.shape, 3), shapes, values)
        is_labelled = labels != CLASSES.ignore_index
        assert (drawn == labels)[is_labelled].mean() >= 0.999


def test_a_background_is_no_object() -> None:
    classes = make_classes(1).model_copy(update={"background": (7,)})
    image = LabelledImage("x.jpg", np.zeros((20, 30), np.uint8))
    image.labels[2:7, :4] = 1
    coco = json.loads(whole_file("coco", [image], classes))
    assert coco["categories"] == [{"id": 2, "name": "class-0"}]
    assert [each["area"] for each in coco["annotations"]] == [int(image.labels.sum())]
    assert {each["label"] for each in json.loads(labelme_json(*image, classes))["shapes"]} == {
        "class-0"
    }
    assert (
        len(ElementTree.fromstring(whole_file("cvat", [image], classes)).findall("image/mask")) == 1
    )
    (task,) = json.loads(whole_file("label-studio", [image], classes))
    assert len(task["predictions"][0]["result"]) == 1


def test_labelme_has_the_background_where_a_shape_would_cover_it(
    images: list[LabelledImage], tmp_path: Path
) -> None:
    classes = make_classes(1).model_copy(update={"background": (7,)})
    labels = (images[0].labels == 1).astype(np.uint8)
    labels[20:60, 20:60] = 1
    labels[30:50, 30:50] = 0
    labels[38:42, 38:42] = 1
    Image.new("RGB", labels.shape[::-1]).save(tmp_path / "x.png")
    (tmp_path / "x.json").write_bytes(labelme_json("x.png", labels, classes))
    out = tmp_path.parent / "out"
    convert_annotations("labelme", tmp_path, out, unlabelled="background")
    np.testing.assert_array_equal(np.array(Image.open(out / "masks/x.png")), labels)


def test_a_file_of_no_image_is_whole() -> None:
    assert json.loads(whole_file("coco", []))["annotations"] == []
    assert json.loads(whole_file("label-studio", [])) == []
    assert ElementTree.fromstring(whole_file("cvat", [])).findall("image") == []
