"""What annotation tools export is recognised, and told what to do."""

import json
import shlex
from pathlib import Path

import numpy as np
import pytest

from segmenter.data.folder import find_splits
from segmenter.errors import UserError
from tests.helpers.annotation_exports import WRITERS, LabelledImage
from tests.helpers.command_line import run
from tests.helpers.data_sets import write_pair
from tests.helpers.models import make_classes

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
        ("odd.json", "{}", "this is JSON, which is not a list"),
        ("data.yaml", YOLO_YAML, "this is a data.yaml or label file of YOLO"),
        ("a.txt", "0 0.1 0.2 0.3 0.4 0.5\n", "this is a data.yaml or label file of YOLO"),
        ("a.xml", "<annotations/>", "this is CVAT XML"),
        ("a.zip", "PK", "this is an archive; unpack it and give the folder"),
        ("a.png", "PNG", "this is an image; give the folder with images, masks"),
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


@pytest.mark.parametrize("written", [each for each in WRITERS if "zip" not in each])
def test_the_command_that_the_answer_names_makes_a_data_set(
    written: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    name, write = WRITERS[written]
    image = LabelledImage("a.png", np.zeros((16, 16), dtype=np.uint8))
    source = write(tmp_path / "my export", [image], make_classes(2))
    monkeypatch.chdir(tmp_path)
    if name == "voc":  # with its images it is read as it is
        (source / "JPEGImages").rename(tmp_path / "photos")
    with pytest.raises(UserError, match=f"segmenter prepare {name} ") as caught:
        find_splits(source.relative_to(tmp_path))
    command = str(caught.value).partition("with: segmenter ")[2].partition(", the folder")[0]
    assert run(*shlex.split(command.replace("FOLDER", "photos"))) == 0
    assert len(list(tmp_path.rglob("masks/**/a.png"))) == 1
