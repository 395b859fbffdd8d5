"""What annotation tools export is recognised, and told what to do."""

import json
from pathlib import Path

import pytest

from segmenter.data.folder import find_splits
from segmenter.errors import UserError
from tests.helpers.data_sets import write_pair

COCO = json.dumps(
    {"images": [{"id": 0, "file_name": "a.png"}], "annotations": [], "categories": []}
)
LABELME = json.dumps({"version": "5.4.1", "shapes": [], "imagePath": "a.png"})
YOLO_YAML = "path: .\ntrain: images/train\nval: images/train\nnames:\n  0: sky\n"


EXPORTS: list[tuple[dict[str, str], str]] = [
    ({"annotations/instances.json": COCO, "train2017/a.png": ""}, "this is COCO JSON"),
    ({"_annotations.coco.json": COCO, "a.png": ""}, "this is COCO JSON"),
    ({"images/a.png": "", "annotations.json": COCO}, "this is COCO JSON"),
    ({"a.png": "", "a.json": LABELME}, "JSON of labelme"),
    ({"images/train/a.png": "", "labels/train/a.txt": "0 0.1 0.2 0.3 0.4\n"}, "of YOLO"),
    ({"images/train/a.png": "", "data.yaml": YOLO_YAML}, "data.yaml of YOLO"),
    ({"train/a.png": "", "train/a_mask.png": "", "train/_classes.csv": "0, sky"}, "of Roboflow"),
    ({"task-1-annotation-2-by-1-tag-sky-0.png": ""}, "of Label Studio"),
    ({"labelmap.txt": "sky:1,2,3::\n", "SegmentationClass/a.png": ""}, "CVAT .* without images"),
    ({"a.png": "", "annotations.xml": "<annotations><image/></annotations>"}, "CVAT XML"),
]


@pytest.mark.parametrize(("files", "message"), EXPORTS)
def test_an_export_is_recognised(files: dict[str, str], message: str, tmp_path: Path) -> None:
    for name, text in files.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        if text:
            (tmp_path / name).write_text(text)
        else:
            write_pair(tmp_path / name, None)
    with pytest.raises(UserError, match=f"(this is|these are) .*{message.split()[-1]}") as caught:
        find_splits(tmp_path)
    assert len(str(caught.value).splitlines()) == 1


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("instances.json", COCO, "this is COCO JSON"),
        ("a.json", LABELME, "this is JSON of labelme"),
        ("odd.json", "{}", "this is JSON, which is no list"),
        ("data.yaml", YOLO_YAML, r"this is the data\.yaml of YOLO"),
        ("a.txt", "0 0.1 0.2 0.3 0.4 0.5\n", "this is a label file of YOLO"),
        ("a.xml", "<annotations/>", "this is CVAT XML"),
    ],
)
def test_a_file_of_an_export_is_recognised(name, text, message, tmp_path: Path) -> None:
    (tmp_path / name).write_text(text)
    with pytest.raises(UserError, match=message):
        find_splits(tmp_path / name)


def test_masks_of_cvat_are_read_with_their_images(tmp_path: Path) -> None:
    write_pair(tmp_path / "JPEGImages/a.jpg", tmp_path / "SegmentationClass/a.png")
    (tmp_path / "ImageSets/Segmentation").mkdir(parents=True)
    (tmp_path / "ImageSets/Segmentation/default.txt").write_text("a\n")
    (tmp_path / "labelmap.txt").write_text("sky:1,2,3::\n")
    ((item,),) = find_splits(tmp_path).values()
    assert item.mask == tmp_path / "SegmentationClass/a.png"
    assert list(find_splits(tmp_path)) == ["all"]
