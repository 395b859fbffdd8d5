"""Layouts, splits and shapes of each format, as the tools write them."""

import json
import re
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from segmenter.classes import read_classes
from segmenter.data.annotations import ANNOTATION_FORMATS
from segmenter.data.annotations.convert_export import Conversion, convert_annotations
from segmenter.data.annotations.regions import Bitmap
from segmenter.data.annotations.source import Source
from segmenter.errors import UserError
from tests.helpers.annotation_exports import WRITERS, LabelledImage
from tests.helpers.models import make_classes

BOX = "0 0.1 0.2 0.3 0.2 0.3 0.6 0.1 0.6\n"


def write(root: Path, files: dict[str, str]) -> Path:
    """Text files, and images of 20 x 30 where no text is given."""
    for name, text in files.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        if text:
            path.write_text(text)
        else:
            Image.new("RGB", (30, 20)).save(path)
    return root


def convert(name: str, source: Path, **options) -> tuple[Conversion, dict[str, np.ndarray]]:
    """Convert, and the masks by their paths."""
    out = source.parent / "out"
    made = convert_annotations(name, source, out, **{"unlabelled": "background", **options})
    return made, {
        path.relative_to(out / "masks").as_posix(): np.array(Image.open(path))
        for path in sorted((out / "masks").rglob("*.png"))
    }


@pytest.mark.parametrize(
    ("image", "label", "yaml"),
    [
        ("images/{}/a.png", "labels/{}/a.txt", "path: .\ntrain: images/train\nval: images/val\n"),
        ("{}/images/a.png", "{}/labels/a.txt", "train: ../train/images\nval: ../val/images\n"),
        ("images/{}/a.png", "images/{}/a.txt", "train: images/train\nval: images/val\n"),
        ("set/images/{}/a.png", "set/labels/{}/a.txt", "path: /x\ntrain: images/train\nval: x\n"),
    ],
)
def test_yolo_has_labels_in_a_folder_of_their_own_or_beside(
    image: str, label: str, yaml: str, tmp_path: Path
) -> None:
    files = {"data.yaml": f"{yaml}names:\n  0: car\n  1: dog\n"}
    for split in ("train", "val"):
        files |= {image.format(split): "", label.format(split): BOX}
    made, masks = convert("yolo", write(tmp_path / "x", files))
    assert made.splits == {"train": 1, "val": 1}
    assert made.classes == ("background", "car", "dog")
    (first, _) = masks.values()
    assert (first[4:12, 3:9] == 1).all()
    assert (first == 1).sum() == 8 * 6


@pytest.mark.parametrize(
    "line", ["images/a.png", "./images/a.png", "/elsewhere/images/a.png", "images\\a.png"]
)
def test_the_lists_that_data_yaml_names_are_its_splits(line: str, tmp_path: Path) -> None:
    files = {"data.yaml": "train: train.txt\nval: ./val.txt\nnames: [car]\n"}
    files |= {"train.txt": f"{line}\n", "val.txt": "images/b.png\n"}
    for name in "ab":
        files |= {f"images/{name}.png": "", f"labels/{name}.txt": BOX}
    source = write(tmp_path / "x", files)
    assert list(convert("yolo", source)[1]) == ["train/a.png", "val/b.png"]
    (source / "val.txt").write_text("images/a.png\n")
    with pytest.raises(UserError, match=r"val\.txt, line 1: .*a\.png is in train, too"):
        convert_annotations("yolo", source, tmp_path / "other", unlabelled="ignore")


@pytest.mark.parametrize("listed", [None, "images/test/c.png\n"])
def test_lists_and_listed_images_of_yolo_that_are_absent_are_passed_over(
    listed: str | None, tmp_path: Path
) -> None:
    yaml = "train: images/train\nval: images/val\ntest: test-dev.txt\nnames: [car]\n"
    files = {"data.yaml": yaml} | ({"test-dev.txt": listed} if listed else {})
    for each in ("train/a", "val/b"):
        files |= {f"images/{each}.png": "", f"labels/{each}.txt": BOX}
    made, masks = convert("yolo", write(tmp_path / "x", files))
    assert list(masks) == ["train/a.png", "val/b.png"]
    assert [
        each for each in made.remarks if "missing and skipped" in each and "test-dev.txt" in each
    ]


def test_a_folder_that_yolo_names_for_two_splits_is_of_the_first(tmp_path: Path) -> None:
    files = {"data.yaml": "train: images/x\nval: images/x\nnames: [car]\n"}
    files |= {"images/x/a.png": "", "labels/x/a.txt": BOX}
    assert convert("yolo", write(tmp_path / "x", files))[0].splits == {"train": 1}


def test_yolo_keeps_the_folders_of_images_that_lie_elsewhere(tmp_path: Path) -> None:
    files = {"data.yaml": "names: [car, dog]\ntrain: images/train\n"}
    files |= {"labels/train/a.txt": BOX, "labels/val/a.txt": f"1{BOX[1:]}"}
    source = write(tmp_path / "x", files)
    photos = write(tmp_path / "photos", {"train/a.png": "", "val/a.png": ""})
    _, masks = convert("yolo", source, images=photos)
    assert {name: int(mask.max()) for name, mask in masks.items()} == {
        "train/a.png": 1,
        "val/a.png": 2,
    }


def test_a_label_file_of_yolo_that_two_images_have_is_refused(tmp_path: Path) -> None:
    files = {"data.yaml": "names: [car]\ntrain: .\n", "labels/a.txt": BOX}
    source = write(tmp_path / "x", files)
    photos = write(tmp_path / "photos", {"one/a.png": "", "two/a.png": ""})
    with pytest.raises(UserError, match=r"a\.txt may belong to .*one/a\.png or .*two/a\.png"):
        convert("yolo", source, images=photos)


@pytest.mark.parametrize("given", [".", "annotations/instances_val2017.json"])
def test_coco_as_it_is_published(given: str, tmp_path: Path) -> None:
    content = {
        "images": [{"id": 9, "file_name": "000000000139.jpg", "height": 20, "width": 30}],
        "categories": [{"id": 1, "name": "person"}],
        "annotations": [
            {"id": 1, "image_id": 9, "category_id": 1, "segmentation": [[0, 0, 9, 0, 9, 9, 0, 9]]}
        ],
    }
    files = {
        "annotations/instances_val2017.json": json.dumps(content),
        "val2017/000000000139.jpg": "",
        "train2017/000000000139.jpg": "",
    }
    made, masks = convert("coco", write(tmp_path / "x", files) / given)
    assert made.splits == {"val": 1}
    assert [*masks] == ["val/000000000139.png"]
    assert read_classes(made.out / "classes.yaml").background == (0,)


def test_the_category_of_roboflow_that_stands_above_others_is_no_class(tmp_path: Path) -> None:
    content = {
        "images": [{"id": 0, "file_name": "a.png", "height": 20, "width": 30}],
        "categories": [
            {"id": 0, "name": "things", "supercategory": "none"},
            {"id": 1, "name": "car", "supercategory": "things"},
            {"id": 2, "name": "dog", "supercategory": "things"},
        ],
        "annotations": [
            {"id": 1, "image_id": 0, "category_id": 2, "segmentation": [[0, 0, 9, 0, 9, 9]]}
        ],
    }
    files = {"train/_annotations.coco.json": json.dumps(content), "train/a.png": ""}
    made, _ = convert("coco", write(tmp_path / "x", files))
    assert made.classes == ("background", "car", "dog")
    assert any("'things', only stands above others" in remark for remark in made.remarks)


def test_a_class_that_others_name_as_theirs_and_no_image_shows_is_carried_over(
    tmp_path: Path,
) -> None:
    content = {
        "images": [{"id": 0, "file_name": "a.png", "height": 20, "width": 30}],
        "categories": [
            {"id": 1, "name": "vehicle"},
            {"id": 2, "name": "car", "supercategory": "vehicle"},
        ],
        "annotations": [
            {"id": 1, "image_id": 0, "category_id": 2, "segmentation": [[0, 0, 9, 0, 9, 9]]}
        ],
    }
    made, _ = convert("coco", write(tmp_path / "x", {"c.json": json.dumps(content), "a.png": ""}))
    assert made.classes == ("background", "vehicle", "car")


def test_messages_count_annotations_of_coco_without_ids_in_the_file(tmp_path: Path) -> None:
    triangle = {"category_id": 1, "segmentation": [[0, 0, 9, 0, 9, 9]]}
    content = {
        "images": [{"id": number, "file_name": f"{number}.png"} for number in range(2)],
        "categories": [{"id": 1, "name": "car"}],
        "annotations": [triangle | {"image_id": number} for number in range(2)],
    }
    source = write(tmp_path / "x", {"c.json": json.dumps(content)})
    _, second = ANNOTATION_FORMATS["coco"].read(Source(source)).images
    (shape,) = second.read_shapes((20, 30))
    assert shape.where == f"{source / 'c.json'}, annotation 1"


def test_images_of_one_name_in_two_folders_of_roboflow_are_both_read(tmp_path: Path) -> None:
    files = {"_classes.csv": "Pixel Value, Class\n0, background\n1, car\n"}
    source = write(tmp_path / "x", files | {"a/1.jpg": "", "b/1.jpg": ""})
    for folder, value in (("a", 0), ("b", 1)):
        Image.new("L", (30, 20), value).save(source / folder / "1_mask.png")
    _, masks = convert("roboflow", source)
    assert [*masks] == ["all/a/1.png", "all/b/1.png"]
    assert [int(mask.max()) for mask in masks.values()] == [0, 1]


def test_a_listed_image_of_voc_without_a_mask_is_unlabelled(tmp_path: Path) -> None:
    files = {
        "labelmap.txt": "car:9,9,9::\n",
        "ImageSets/Segmentation/default.txt": "a\nb\n",
        **dict.fromkeys(["JPEGImages/a.png", "JPEGImages/b.png", "SegmentationClass/x/y.png"], ""),
    }
    source = write(tmp_path / "x", files)
    Image.new("RGB", (30, 20), (9, 9, 9)).save(source / "SegmentationClass/a.png")
    _, masks = convert("voc", source, unlabelled="ignore")
    assert [np.unique(mask).tolist() for mask in masks.values()] == [[0], [255]]


def test_cvat_draws_by_z_order_and_keeps_subsets(tmp_path: Path) -> None:
    shapes = (
        '<polygon label="dog" points="0,0;9,0;9,9;0,9" z_order="1"/>'
        '<box label="car" xtl="2" ytl="2" xbr="4" ybr="4" z_order="0"/>'
        '<ellipse label="car" cx="20" cy="10" rx="5" ry="3" z_order="0"/><tag label="dog"/>'
    )
    xml = (
        "<annotations><meta><project><labels><label><name>car</name><color>#0a0b0c</color></label>"
        "<label><name>dog</name><color>#010203</color></label></labels></project></meta>"
        f'<image id="0" name="a.png" subset="Train" width="30" height="20">{shapes}</image>'
        "</annotations>"
    )
    files = {"annotations.xml": xml, "images/Train/a.png": ""}
    made, masks = convert("cvat", write(tmp_path / "x", files))
    assert [*masks] == ["train/a.png"]
    mask = masks["train/a.png"]
    assert (mask[:9, :9] == 2).all()
    assert (mask == 1).sum() == pytest.approx(np.pi * 15, abs=3)
    classes = read_classes(made.out / "classes.yaml")
    assert [each.color for each in classes.classes] == [(0, 0, 0), (10, 11, 12), (1, 2, 3)]
    assert any("1 of the kind box and 1 of the kind ellipse" in remark for remark in made.remarks)


def test_label_studio_has_per_cent_and_addresses(tmp_path: Path) -> None:
    def region(kind: str, label: str, **value: object) -> dict:
        sizes = {"original_width": 30, "original_height": 20, "image_rotation": 0}
        return {
            "type": kind,
            "from_name": "l",
            "to_name": "i",
            "value": value | {kind: [label]},
        } | (sizes)

    results = [
        region("polygonlabels", "car", points=[[0, 0], [50, 0], [50, 50], [0, 50]]),
        region("rectanglelabels", "dog", x=10, y=10, width=20, height=20, rotation=0),
        {"type": "choices", "from_name": "c", "to_name": "i", "value": {"choices": ["good"]}},
    ]
    first, second = {"result": []}, {"result": results}
    tasks = [
        {
            "id": 1,
            "data": {"img": "/data/local-files/?d=photos%2Fa.png"},
            "annotations": [first, second],
            "predictions": [],
        },
        {"id": 2, "data": {"img": "s3://bucket/photos/b.png"}, "annotations": [second]},
    ]
    files = {"project.json": json.dumps(tasks), "photos/a.png": "", "photos/b.png": ""}
    made, masks = convert("label-studio", write(tmp_path / "x", files))
    assert made.classes == ("background", "car", "dog")
    assert [*masks] == ["all/photos/a.png", "all/photos/b.png"]
    for mask in masks.values():
        assert (mask == 2).sum() == 6 * 4
        assert (mask == 1).sum() == 15 * 10 - 6 * 4
    assert any(remark.startswith("1 tasks have several annotations") for remark in made.remarks)
    assert "2 of the kind rectanglelabels are painted as areas" in made.remarks


def test_supervisely_has_datasets_and_holes(tmp_path: Path) -> None:
    shape = {
        "classTitle": "car",
        "geometryType": "polygon",
        "points": {
            "exterior": [[2, 2], [12, 2], [12, 12], [2, 12]],
            "interior": [[[5, 5], [7, 5], [7, 7], [5, 7]]],
        },
    }
    content = {"size": {"height": 20, "width": 30}, "objects": [shape]}
    files = {
        "meta.json": json.dumps({"classes": [{"title": "car", "color": "#FF0000"}]}),
        **{f"{name}/ann/a.png.json": json.dumps(content) for name in ("train", "ds 2")},
        **{f"{name}/img/a.png": "" for name in ("train", "ds 2")},
    }
    made, masks = convert("supervisely", write(tmp_path / "x", files))
    assert made.splits == {"train": 1, "ds 2": 1}
    for mask in masks.values():
        assert (mask == 1).sum() == 11 * 11 - 3 * 3
        assert (mask[5:8, 5:8] == 0).all()


def test_datumaro_draws_by_z_order(tmp_path: Path) -> None:
    annotations = [
        {"type": "polygon", "label_id": 1, "points": [0, 0, 9, 0, 9, 9, 0, 9], "z_order": 1},
        {"type": "bbox", "label_id": 0, "bbox": [0, 0, 4, 4], "z_order": 0},
        {"type": "label", "label_id": 0},
    ]
    content = {
        "categories": {"label": {"labels": [{"name": "car"}, {"name": "dog"}]}},
        "items": [{"id": "s/a", "annotations": annotations, "image": {"size": [20, 30]}}],
    }
    files = {"annotations/default.json": json.dumps(content), "images/default/s/a.png": ""}
    _, masks = convert("datumaro", write(tmp_path / "x", files))
    (mask,) = masks.values()
    assert (mask[:9, :9] == 2).all()
    assert not (mask == 1).any()


def test_labelme_ignores_what_is_labelled_so(tmp_path: Path) -> None:
    def shape(label: str, size: int) -> dict:
        points = [[0, 0], [size, 0], [size, size], [0, size]]
        return {"label": label, "points": points, "shape_type": "polygon"}

    box = {"label": "dog", "points": [[12, 12], [13, 13]], "shape_type": "rectangle"}
    shapes = [shape("dog", 9), shape("__ignore__", 4), box]
    content = {"shapes": shapes, "imagePath": "..\\photos\\a.png", "imageData": None}
    files = {"a.json": json.dumps(content), "labels.txt": "__ignore__\n_background_\ncar\ndog\n"}
    source = write(tmp_path / "x", files)
    write(tmp_path / "photos", {"a.png": ""})
    made, masks = convert("labelme", source, images=tmp_path / "photos")
    assert made.classes == ("_background_", "car", "dog")
    (mask,) = masks.values()
    assert (mask[:5, :5] == 255).all()
    assert (mask == 2).sum() == 100 - 25 + 4
    assert "1 of the kind rectangle are painted as areas" in made.remarks
    assert mask[15, 15] == 0


def test_an_image_of_one_dataset_never_gets_the_shapes_of_another(tmp_path: Path) -> None:
    annotation = {"size": {"height": 20, "width": 30}, "objects": []}
    files = {f"{each}/ann/a.png.json": json.dumps(annotation) for each in ("one", "two")}
    files |= {"meta.json": '{"classes": [{"title": "car"}]}', "two/img/a.png": ""}
    with pytest.raises(UserError, match=r"both annotate .*two/img/a\.png"):
        convert("supervisely", write(tmp_path / "x", files))


def test_hidden_files_of_macos_are_skipped(tmp_path: Path) -> None:
    shape = {"classTitle": "car", "points": {"exterior": [[0, 0], [9, 0], [9, 9]]}}
    annotation = json.dumps({"size": {"height": 20, "width": 30}, "objects": [shape]})
    exports = {
        "supervisely": {
            "meta.json": '{"classes": [{"title": "car"}]}',
            "a/ann/a.png.json": annotation,
            "a/img/a.png": "",
        },
        "yolo": {"data.yaml": "names: [car]\n", "images/a.png": "", "labels/a.txt": BOX},
        "voc": {
            "labelmap.txt": "car:0,0,0::\nx:1,1,1::\n",
            "JPEGImages/a.png": "",
            "SegmentationClass/a.png": "",
        },
    }
    for name, files in exports.items():
        source = write(tmp_path / name / "x", files)
        for path in [each for each in source.rglob("*") if each.is_file()]:
            path.with_name(f"._{path.name}").write_bytes(b"\0\5\x16\7\xff")
        _, masks = convert(name, source)
        assert [*masks] == ["a/a.png" if name == "supervisely" else "a.png"]


def test_rings_without_an_area_beside_others_change_nothing_in_coco(tmp_path: Path) -> None:
    rings = [[5, 5], [1, 1, 9, 1], [0, 0, 9, 0, 9, 9, 0, 9]]
    content = {
        "images": [{"id": 0, "file_name": "a.png", "height": 20, "width": 30}],
        "categories": [{"id": 1, "name": "car"}],
        "annotations": [{"id": 1, "image_id": 0, "category_id": 1, "segmentation": rings}],
    }
    _, masks = convert("coco", write(tmp_path / "x", {"c.json": json.dumps(content), "a.png": ""}))
    assert masks["a.png"].sum() == 81


def test_lists_of_voc_may_have_suffixes_and_images_without_a_mask_are_reported(
    tmp_path: Path,
) -> None:
    files = {"labelmap.txt": "road:0,0,0::\ncar:1,1,1::\n", "SegmentationClass/a.png": ""}
    files |= {"JPEGImages/a.png": "", "JPEGImages/b.png": ""}
    files["ImageSets/Segmentation/train.txt"] = "a.png\nb\n"
    source = write(tmp_path / "x", files)
    made, masks = convert("voc", source, unlabelled="ignore")
    assert {name: int(mask.max()) for name, mask in masks.items()} == {
        "train/a.png": 0,
        "train/b.png": 255,
    }
    assert any(
        re.match(r"1 of 2 images have no annotation, .*b\.png", each) for each in made.remarks
    )


def test_the_captions_of_coco_are_skipped(tmp_path: Path) -> None:
    image = {"id": 0, "file_name": "a.png", "height": 20, "width": 30}
    shape = {"id": 1, "image_id": 0, "category_id": 1, "segmentation": [[0, 0, 9, 0, 9, 9]]}
    content = {"images": [image], "categories": [{"id": 1, "name": "car"}], "annotations": [shape]}
    captions = {"images": [image], "annotations": [{"id": 1, "image_id": 0, "caption": "a car"}]}
    files = {"captions.json": json.dumps(captions), "instances.json": json.dumps(content)}
    made, _ = convert("coco", write(tmp_path / "x", files | {"a.png": ""}))
    assert made.classes == ("background", "car")


def test_a_category_of_coco_may_be_named_as_a_key_of_other_formats(tmp_path: Path) -> None:
    image = {"id": 0, "file_name": "a.png", "height": 20, "width": 30}
    shape = {"id": 1, "image_id": 0, "category_id": 1, "segmentation": [[0, 0, 9, 0, 9, 9]]}
    names = ["caption", "items", "imagePath"]
    categories = [{"id": number, "name": name} for number, name in enumerate(names, start=1)]
    content = {"images": [image], "categories": categories, "annotations": [shape]}
    source = write(tmp_path / "x", {"c.json": json.dumps(content), "a.png": ""})
    assert convert("coco", source)[0].classes == ("background", *names)


def test_a_folder_that_leads_back_to_itself_is_read_once(tmp_path: Path) -> None:
    shape = {"label": "car", "points": [[2, 3], [8, 9]], "shape_type": "rectangle"}
    files = {"a.json": json.dumps({"shapes": [shape], "imagePath": "a.png"}), "a.png": ""}
    source = write(tmp_path / "x", files)
    (source / "latest").symlink_to(".")
    assert [*convert("labelme", source)[1]] == ["a.png"]


def test_a_size_of_zero_in_coco_is_none(tmp_path: Path) -> None:
    content = {
        "images": [{"id": 0, "file_name": "a.png", "height": 0, "width": 0}],
        "categories": [{"id": 1, "name": "car"}],
        "annotations": [
            {"id": 1, "image_id": 0, "category_id": 1, "segmentation": [[0, 0, 9, 0, 9, 9, 0, 9]]}
        ],
    }
    _, masks = convert("coco", write(tmp_path / "x", {"c.json": json.dumps(content), "a.png": ""}))
    assert masks["a.png"].sum() == 81


def test_rectangles_of_labelme_have_two_corners_or_four(tmp_path: Path) -> None:
    for corners in ([[2, 3], [8, 9]], [[2, 3], [8, 3], [8, 9], [2, 9]]):
        box = {"label": "car", "points": corners, "shape_type": "rectangle"}
        files = {"a.json": json.dumps({"shapes": [box], "imagePath": "a.png"}), "a.png": ""}
        _, masks = convert("labelme", write(tmp_path / str(len(corners)) / "x", files))
        assert np.argwhere(masks["a.png"]).min(axis=0).tolist() == [3, 2]
        assert masks["a.png"].sum() == 49


def ring(low: int, high: int) -> list[dict]:
    corners = [(low, low), (high, low), (high, high), (low, high)]
    return [{"x": x, "y": y} for x, y in corners]


def test_darwin_draws_no_line_between_the_paths_of_a_polygon(tmp_path: Path) -> None:
    content = {
        "version": "2.0",
        "item": {"name": "a.png", "path": "/", "slots": [{"width": 30, "height": 20}]},
        "annotations": [{"name": "car", "polygon": {"paths": [ring(2, 5), ring(12, 15)]}}],
    }
    source = write(tmp_path / "x", {"a.json": json.dumps(content), "a.png": ""})
    _, masks = convert("darwin", source, outlines="centres")
    (mask,) = masks.values()
    assert (mask[2:6, 2:6] == 1).all()
    assert (mask[12:16, 12:16] == 1).all()
    assert (mask == 1).sum() == 2 * 16


def test_darwin_has_polygons_with_holes(tmp_path: Path) -> None:
    annotations = [
        {"name": "car", "polygon": {"paths": [ring(2, 12), ring(5, 8)]}, "bounding_box": None},
        {"name": "good", "tag": {}},
    ]
    slots = [{"type": "image", "slot_name": "0", "width": 30, "height": 20}]
    item = {"name": "a.png", "path": "/night", "slots": slots}
    content = {"version": "2.0", "item": item, "annotations": annotations}
    files = {"releases/a.json": json.dumps(content), "images/night/a.png": ""}
    made, masks = convert("darwin", write(tmp_path / "x", files))
    assert made.classes == ("background", "car")
    (mask,) = masks.values()
    assert (mask == 1).sum() == 100 - 9
    assert (mask[5:8, 5:8] == 0).all()


@pytest.mark.parametrize(
    "written", ["Label Studio, brushes", "Darwin, raster layer", "Pascal VOC, CVAT masks"]
)
def test_a_mask_takes_the_memory_of_its_box_until_it_is_painted(
    written: str, tmp_path: Path
) -> None:
    labels = np.zeros((40, 50), dtype=np.uint8)
    labels[9:11, 5:8] = 1
    name, writer = WRITERS[written]
    source = writer(tmp_path / "x", [LabelledImage("a.jpg", labels)], make_classes(2))
    (image,) = ANNOTATION_FORMATS[name].read(Source(source)).images
    (small,) = (each for each in image.read_shapes((40, 50)) if each.label.endswith("1"))
    assert isinstance(small.region, Bitmap)
    assert small.region.pixels.shape == (2, 3)
    assert small.region.pixels.base is None
