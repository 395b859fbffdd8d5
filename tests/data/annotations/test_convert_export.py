"""Exports of annotation tools become data sets: all formats, overlaps, and what is asked."""

import json
import os
import zipfile
from pathlib import Path

import cv2
import numpy as np
import pytest
from PIL import Image, ImageOps

from segmenter.classes import Classes, read_classes
from segmenter.data.annotations import ANNOTATION_FORMATS
from segmenter.data.annotations.convert_export import Conversion, convert_annotations
from segmenter.data.folder import open_folder, read_sample
from segmenter.errors import UserError
from tests.helpers.annotation_exports import WRITERS, LabelledImage, read_back
from tests.helpers.models import make_classes

CLASSES = make_classes(4)


def make_images(classes: Classes = CLASSES) -> list[LabelledImage]:
    """Blobs with holes in holes, single pixels, and pixels that belong to no class."""
    random = np.random.default_rng(0)
    images = []
    for number, size in enumerate([(90, 130), (1, 1), (64, 48)]):
        noise = random.random((9, 13, len(classes))).astype(np.float32)
        labels = cv2.resize(noise, size[::-1], interpolation=cv2.INTER_CUBIC).argmax(axis=-1)
        labels[labels.shape[0] // 2, labels.shape[1] // 2] = 1
        if number == 2:
            labels[:5, :7] = classes.ignore_index
        images.append(LabelledImage(f"{number}.jpg", labels.astype(np.uint8)))
    return images


def write_coco(
    root: Path,
    annotations: list[dict],
    *,
    names: tuple[str, ...] = ("car", "wheel"),
    num_images: int = 1,
) -> Path:
    """Images of 20 x 30, and COCO's JSON beside them."""
    root.mkdir(parents=True, exist_ok=True)
    images = []
    for number in range(num_images):
        Image.new("RGB", (30, 20)).save(root / f"{number}.png")
        images.append({"id": number, "file_name": f"{number}.png", "height": 20, "width": 30})
    content = {
        "images": images,
        "categories": [{"id": 7 * index + 1, "name": name} for index, name in enumerate(names)],
        "annotations": [
            {"id": index, "image_id": 0, "category_id": 1, "iscrowd": 0, **each}
            for index, each in enumerate(annotations)
        ],
    }
    (root / "coco.json").write_text(json.dumps(content))
    return root


def box(left: float, top: float, right: float, bottom: float) -> list[list[float]]:
    return [[left, top, right, top, right, bottom, left, bottom]]


def convert(source: Path, name: str = "coco", **options) -> tuple[Conversion, np.ndarray]:
    """Convert, and the mask of the first image."""
    out = source.parent / "out"
    made = convert_annotations(name, source, out, **options)
    return made, np.array(Image.open(sorted((out / "masks").rglob("*.png"))[0]))


@pytest.mark.parametrize("written", WRITERS)
def test_what_is_written_is_read_back_equal(written: str, tmp_path: Path) -> None:
    name, write = WRITERS[written]
    images = make_images()
    source = write(tmp_path / "export", images, CLASSES)
    convert_annotations(name, source, tmp_path / "out", unlabelled="ignore")
    found = {
        Path(stem).name: labels for stem, labels in read_back(tmp_path / "out", CLASSES).items()
    }
    assert len(found) == len(images)
    for image_name, labels in images:
        equal = (found[Path(image_name).stem] == labels).mean()
        assert equal >= (0.98 if written == "labelme" else 1)
    data = open_folder(tmp_path / "out")
    assert [read_sample(item, data.classes).labels.shape for item in data.items(*data.splits)]


def test_every_format_is_written_and_read() -> None:
    assert {name for name, _ in WRITERS.values()} == set(ANNOTATION_FORMATS)


def test_names_and_colours_of_classes_are_carried_over(tmp_path: Path) -> None:
    source = WRITERS["CVAT XML, masks"][1](tmp_path / "export", make_images(), CLASSES)
    convert_annotations("cvat", source, tmp_path / "out", unlabelled="ignore")
    classes = read_classes(tmp_path / "out/classes.yaml")
    assert classes.names == CLASSES.names
    assert (classes.colors == CLASSES.colors).all()


def test_of_overlapping_shapes_the_smaller_is_on_top_and_they_are_counted(tmp_path: Path) -> None:
    wheel = {"segmentation": box(4, 4, 6, 6), "category_id": 8}
    source = write_coco(tmp_path / "x", [wheel, {"segmentation": box(0, 0, 10, 10)}])
    made, mask = convert(source, unlabelled="background")
    assert made.classes == ("background", "car", "wheel")
    assert (mask[4:6, 4:6] == 2).all()
    assert (mask == 2).sum() == 4
    assert (mask == 1).sum() == 96
    assert any("overlap at 4 pixels (0.67 %)" in remark for remark in made.remarks)


def test_labelme_shapes_lie_in_the_order_of_the_file(tmp_path: Path) -> None:
    root = tmp_path / "x"
    root.mkdir()
    Image.new("RGB", (30, 20)).save(root / "a.png")
    shapes = [
        {
            "label": label,
            "points": [[x, 2], [x + 5, 2], [x + 5, 9], [x, 9]],
            "shape_type": "polygon",
        }
        for label, x in (("small", 3), ("small", 4), ("large", 3))
    ]
    content = {"shapes": shapes, "imagePath": "a.png", "imageHeight": 20, "imageWidth": 30}
    (root / "a.json").write_text(json.dumps(content))
    made, mask = convert(root, "labelme", unlabelled="background")
    assert made.classes == ("background", "large", "small")
    assert mask[5, 5] == 1
    assert mask[5, 9] == 2


def test_a_crowd_is_its_class_under_what_overlaps_it(tmp_path: Path) -> None:
    runs = {"size": [20, 30], "counts": [0, 20 * 2, 20 * 28]}
    annotations = [
        {"segmentation": box(0, 0, 10, 10)},
        {"segmentation": runs, "iscrowd": 1, "category_id": 8},
    ]
    made, mask = convert(write_coco(tmp_path / "x", annotations), unlabelled="ignore")
    assert (mask[:10, :10] == 0).all()
    assert (mask[10:, :2] == 1).all()
    assert mask[15, 15] == 255
    assert any("1 crowds" in remark for remark in made.remarks)


def test_a_polygon_outside_of_its_image_is_cut_and_counted(tmp_path: Path) -> None:
    source = write_coco(
        tmp_path / "x", [{"segmentation": box(-5, -5, 3, 3)}, {"segmentation": box(40, 0, 50, 9)}]
    )
    made, mask = convert(source, unlabelled="ignore")
    assert (mask == 0).sum() == 9
    assert any(": 2 shapes reach out" in remark for remark in made.remarks)
    assert any(": 1 shapes cover no pixel" in remark for remark in made.remarks)


@pytest.mark.parametrize(
    ("choice", "value", "what"),
    [("background", 0, "become background"), ("ignore", 255, "are ignored")],
)
def test_images_without_annotation_are_asked_about_and_reported(
    tmp_path: Path, choice, value: int, what: str
) -> None:
    whole = [{"segmentation": box(0, 0, 30, 20)}]
    source = write_coco(tmp_path / "x", whole, num_images=3)
    with pytest.raises(UserError, match=r"2 of 3 images have no annotation.*--unlabelled ignore"):
        convert(source)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["x"]
    made, _ = convert(source, unlabelled=choice)
    assert (np.array(Image.open(tmp_path / "out/masks/2.png")) == value).all()
    assert any(
        each.startswith("2 of 3 images have no annotation, such as ") and each.endswith(what)
        for each in made.remarks
    )


def test_pixels_without_a_shape_are_asked_about(tmp_path: Path) -> None:
    source = write_coco(tmp_path / "x", [{"segmentation": box(0, 0, 30, 10)}])
    with pytest.raises(UserError, match=r"no shape covers 50 % of its pixels.*--unlabelled back"):
        convert(source)
    assert not (tmp_path / "out").exists()


def test_images_that_shapes_cover_wholly_are_not_asked_about(tmp_path: Path) -> None:
    annotations = [
        {"segmentation": box(0, 0, 30, 10)},
        {"segmentation": box(0, 10, 30, 20), "category_id": 8},
    ]
    made, mask = convert(write_coco(tmp_path / "x", annotations))
    assert made.classes == ("car", "wheel")
    assert set(np.unique(mask)) == {0, 1}


def test_one_class_and_background_are_the_background_of_that_class(tmp_path: Path) -> None:
    source = write_coco(tmp_path / "x", [{"segmentation": box(0, 0, 3, 3)}], names=("car",))
    convert(source, unlabelled="background")
    classes = read_classes(tmp_path / "out/classes.yaml")
    assert [each.name for each in classes.classes] == ["car"]
    assert classes.background == (0,)


def test_images_are_linked_and_stay_where_they_are(tmp_path: Path) -> None:
    source = write_coco(tmp_path / "x", [{"segmentation": box(0, 0, 3, 3)}])
    convert(source, unlabelled="ignore")
    assert (tmp_path / "out/images/0.png").samefile(source / "0.png")


def test_all_files_and_folders_are_on_the_disk_before_the_data_set_gets_its_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = write_coco(tmp_path / "x", [{"segmentation": box(0, 0, 3, 3)}])
    synced, out = set(), tmp_path / "out"

    def fsync(descriptor: int) -> None:
        if not out.exists():
            synced.add(os.fstat(descriptor).st_ino)

    monkeypatch.setattr(os, "fsync", fsync)
    convert(source, unlabelled="ignore")
    missing = [path for path in (out, *out.rglob("*")) if path.stat().st_ino not in synced]
    assert missing == []


def test_a_data_set_that_is_there_is_not_touched(tmp_path: Path) -> None:
    source = write_coco(tmp_path / "x", [{"segmentation": box(0, 0, 3, 3)}])
    (tmp_path / "out").mkdir()
    with pytest.raises(UserError, match="out exists, and a data set is never"):
        convert(source, unlabelled="ignore")
    assert list((tmp_path / "out").iterdir()) == []


def test_splits_come_from_files_and_folders(tmp_path: Path) -> None:
    for split in ("train", "valid"):
        source = write_coco(tmp_path / "x" / split, [{"segmentation": box(0, 0, 30, 20)}])
        (source / "coco.json").rename(source / "_annotations.coco.json")
    made = convert_annotations("coco", tmp_path / "x", tmp_path / "out")
    assert made.splits == {"train": 1, "val": 1}
    assert (tmp_path / "out/images/val/0.png").is_file()
    assert sorted(open_folder(tmp_path / "out").splits) == ["train", "val"]


def test_an_archive_is_read(tmp_path: Path) -> None:
    root = WRITERS["Pascal VOC, CVAT masks"][1](tmp_path / "x", make_images(), CLASSES)
    with zipfile.ZipFile(tmp_path / "x.zip", "w") as archive:
        for path in sorted(root.rglob("*.*")):
            archive.write(path, path.relative_to(root).as_posix())
    made = convert_annotations("voc", tmp_path / "x.zip", tmp_path / "out")
    assert made.splits == {"all": 3}
    assert sorted(path.name for path in tmp_path.iterdir()) == ["out", "x", "x.zip"]


def test_predictions_come_back_with_images_from_another_folder(tmp_path: Path) -> None:
    source = write_coco(tmp_path / "x", [{"segmentation": box(0, 0, 30, 20)}])
    (tmp_path / "predictions").mkdir()
    (source / "coco.json").rename(tmp_path / "predictions/coco.json")
    with pytest.raises(UserError, match=r"no image '0\.png' in .*predictions; .*--images FOLDER"):
        convert(tmp_path / "predictions/coco.json")
    convert_annotations("coco", tmp_path / "predictions/coco.json", tmp_path / "out", images=source)
    assert (tmp_path / "out/images/0.png").is_file()


def test_two_files_that_tell_of_one_image_are_refused(tmp_path: Path) -> None:
    source = write_coco(tmp_path / "x", [{"segmentation": box(0, 0, 30, 20)}])
    (source / "other.json").write_bytes((source / "coco.json").read_bytes())
    with pytest.raises(UserError, match=r"both annotate .*0\.png; give one of the files"):
        convert(source)


def test_outlines_through_centres_hold_the_pixels_on_them(tmp_path: Path) -> None:
    source = write_coco(tmp_path / "x", [{"segmentation": box(2, 3, 5, 9)}])
    _, mask = convert(source, unlabelled="ignore", outlines="centres")
    assert (mask[3:10, 2:6] == 0).all()
    assert (mask == 0).sum() == 7 * 4


@pytest.mark.parametrize(("right", "is_hinted"), [(29, True), (30, False), (28.5, False)])
def test_outlines_that_look_like_centres_are_reported(
    tmp_path: Path, right: float, is_hinted: bool
) -> None:
    source = write_coco(tmp_path / "x", [{"segmentation": box(2, 3, right, 9)}])
    made, _ = convert(source, unlabelled="ignore")
    assert any("--outlines centres" in remark for remark in made.remarks) == is_hinted


def test_messages_of_an_archive_name_the_archive(tmp_path: Path) -> None:
    source = write_coco(tmp_path / "x", [{"segmentation": box(0, 0, 40, 9)}])
    (source / "0.png").rename(source / "1.png")
    for out, name in (("faulty", "1.png"), ("whole", "0.png")):
        with zipfile.ZipFile(tmp_path / f"{out}.zip", "w") as archive:
            archive.write(source / "coco.json", "coco.json")
            archive.write(source / "1.png", name)
    with pytest.raises(UserError, match=r"faulty\.zip/coco\.json, image 0") as caught:
        convert_annotations("coco", tmp_path / "faulty.zip", tmp_path / "out")
    assert ".segmenter" not in str(caught.value)
    made = convert_annotations(
        "coco", tmp_path / "whole.zip", tmp_path / "out", unlabelled="ignore"
    )
    assert f"such as {tmp_path / 'whole.zip'}/0.png: 1 shapes reach out" in made.remarks[0]


def test_masks_of_many_classes_have_16_bits(tmp_path: Path) -> None:
    names = tuple(f"class {index}" for index in range(300))
    last = {"segmentation": box(0, 0, 3, 3), "category_id": 7 * 299 + 1}
    _, mask = convert(write_coco(tmp_path / "x", [last], names=names), unlabelled="ignore")
    assert mask.dtype == np.uint16
    assert (mask[:3, :3] == 299).all()
    data = open_folder(tmp_path / "out")
    (item,) = data.items("all")
    assert (read_sample(item, data.classes).labels == data.classes.ignore_index).sum() == 591


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("suffix", ["jpg", "png", "tif"])
def test_masks_fit_the_image_as_it_is_read_and_turned_images_are_reported(
    suffix: str, orientation: int, tmp_path: Path
) -> None:
    upright = np.zeros((20, 20, 3), np.uint8)
    upright[:8, :6] = 255
    exif = Image.Exif()
    exif[0x0112] = orientation
    stored = upright
    for _ in range(3 if orientation in {6, 8} else 1):  # the others undo themselves
        probe = Image.fromarray(stored)
        probe.getexif()[0x0112] = orientation
        stored = np.array(ImageOps.exif_transpose(probe))
    source = write_coco(tmp_path / "x", [{"segmentation": box(0, 0, 6, 8)}])
    Image.fromarray(stored).save(source / f"a.{suffix}", exif=exif, quality=100)
    content = json.loads((source / "coco.json").read_text())
    content["images"] = [{"id": 0, "file_name": f"a.{suffix}", "height": 20, "width": 20}]
    (source / "coco.json").write_text(json.dumps(content))
    made = convert_annotations("coco", source, tmp_path / "out", unlabelled="background")
    data = open_folder(tmp_path / "out")
    sample = read_sample(data.items("all")[0], data.classes)
    assert ((sample.image[..., 0] > 127) == (sample.labels == 1)).all()
    assert any("EXIF data turn 1 images upright" in each for each in made.remarks) == (
        orientation > 1
    )
