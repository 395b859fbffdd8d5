"""Damaged and hostile exports: one line with file and entry, and nothing is left."""

import base64
import json
import zipfile
import zlib
from pathlib import Path

import pytest
from PIL import Image

from segmenter.data.annotations.convert_export import convert_annotations
from segmenter.errors import UserError

COCO = {
    "images": [{"id": 0, "file_name": "a.png", "height": 20, "width": 30}],
    "categories": [{"id": 1, "name": "car"}],
    "annotations": [
        {"id": 5, "image_id": 0, "category_id": 1, "segmentation": [[0, 0, 9, 0, 9, 9]]}
    ],
}
LABELME = {
    "shapes": [{"label": "car", "points": [[0, 0], [9, 0], [9, 9]], "shape_type": "polygon"}],
    "imagePath": "a.png",
    "imageHeight": 20,
    "imageWidth": 30,
}
TASK = {
    "id": 3,
    "data": {"image": "/data/upload/1/0123abcd-a.png"},
    "annotations": [
        {
            "result": [
                {
                    "type": "brushlabels",
                    "from_name": "label",
                    "to_name": "image",
                    "value": {"format": "rle", "rle": [0, 0, 0, 4], "brushlabels": ["car"]},
                }
            ]
        }
    ],
}
DATUMARO = {
    "categories": {"label": {"labels": [{"name": "car"}]}},
    "items": [
        {
            "id": "a",
            "annotations": [{"type": "polygon", "label_id": 0, "points": [0, 0, 9, 0, 9, 9]}],
            "image": {"path": "a.png", "size": [20, 30]},
        }
    ],
}
SUPERVISELY = {
    "size": {"height": 20, "width": 30},
    "objects": [{"classTitle": "car", "points": {"exterior": [[0, 0], [9, 0], [9, 9]]}}],
}
META = '{"classes": [{"title": "car"}]}'
DARWIN = {
    "item": {"name": "a.png", "path": "/", "slots": [{"width": 30, "height": 20}]},
    "annotations": [
        {"name": "car", "id": "q", "polygon": {"paths": [[{"x": 0, "y": 0}, {"x": 9, "y": 9}]]}}
    ],
}
MASK = {"name": "car", "id": "q", "mask": {}}
LAYER = {"name": "", "raster_layer": {"dense_rle": [0, 5], "mask_annotation_ids_mapping": {}}}
SHAPE = '<polygon label="car" points="0,0;9,0;9,9"/>'
XML = '<annotations><image id="4" name="a.png" width="30" height="20">{}</image></annotations>'
BOMB = '<!DOCTYPE x [<!ENTITY a "b">]>' + XML


def annotation(**changes) -> str:
    return json.dumps(COCO | {"annotations": [COCO["annotations"][0] | changes]})


def shape(**changes) -> str:
    return json.dumps(LABELME | {"shapes": [LABELME["shapes"][0] | changes]})


def item(**changes) -> str:
    """Datumaro's JSON, with another annotation."""
    first = DATUMARO["items"][0]
    annotations = [first["annotations"][0] | changes]
    return json.dumps(DATUMARO | {"items": [first | {"annotations": annotations}]})


def supervised(**changes) -> dict[str, str]:
    """A project of Supervisely, with another object."""
    annotation = SUPERVISELY | {"objects": [SUPERVISELY["objects"][0] | changes]}
    return {"meta.json": META, "ds/ann/a.png.json": json.dumps(annotation)}


def darwin(**changes) -> str:
    return json.dumps(DARWIN | {"annotations": [DARWIN["annotations"][0] | changes]})


def zlib_of(size: int) -> str:
    return base64.b64encode(zlib.compress(bytes(size), level=1)).decode()


YAML = "names: [car]\ntrain: .\n"
FAULTS: list[tuple[str, dict[str, str], str]] = [
    ("coco", {"x.json": annotation(category_id=9)}, "annotation 5 has category 9, .* it lists 1"),
    ("coco", {"x.json": annotation(image_id=8)}, "annotation 5 belongs to image 8"),
    ("coco", {"x.json": annotation(segmentation=[[0, 0, 9, 9]])}, "annotation 5: .*of 2 corners"),
    ("coco", {"x.json": annotation(segmentation=[[0, 0, 9]])}, "annotation 5: .*of 3 numbers"),
    ("coco", {"x.json": annotation(segmentation=[])}, "annotation 5 has a box and no outline"),
    (
        "coco",
        {"x.json": annotation(segmentation={"size": [5, 5], "counts": [25]})},
        "annotation 5: run lengths of 5 x 5 pixels .* in an image of 20 x 30",
    ),
    (
        "coco",
        {"x.json": annotation(segmentation={"size": [20, 30], "counts": [7, 9]})},
        "annotation 5: run lengths that add up to 16 pixels, where 20 x 30",
    ),
    (
        "coco",
        {"x.json": annotation(segmentation={"size": [20, 30], "counts": "0P~"})},
        "annotation 5: run lengths",
    ),
    ("coco", {"x.json": annotation(segmentation=[[0, 0, 9, 0, 1e30, 9]])}, "a coordinate of 1e"),
    ("coco", {"x.json": json.dumps(COCO)[:-40]}, r"x\.json: it is cut, damaged or not JSON"),
    (
        "coco",
        {"x.json": '{"images": ' + "[" * 100_000 + '"annotations"'},
        r"x\.json: it is cut, damaged or not JSON",
    ),
    (
        "coco",
        {"x.json": json.dumps(COCO).replace("a.png", "b.png")},
        "image 0: no image 'b.png' in",
    ),
    (
        "coco",
        {"x.json": json.dumps(COCO).replace("a.png", "../../a.svg")},
        "image 0: no image",
    ),
    (
        "coco",
        {"x.json": json.dumps(COCO).replace('"height": 20', '"height": 21')},
        r"image 0 is of 21 x 30 pixels \(height x width\), and .*a\.png has 20 x 30",
    ),
    ("coco", {"x.txt": "no"}, "holds no COCO JSON"),
    ("labelme", {"a.json": shape(points=[[0, 0], [9, 9]])}, "shape 0: a polygon of 2 corners"),
    (
        "labelme",
        {"a.json": shape(shape_type="linestrip")},
        "shape 0: a linestrip is not supported; polygon",
    ),
    (
        "labelme",
        {"a.json": shape(shape_type="mask", mask="?", points=[[0, 0], [3, 3]])},
        "not base64",
    ),
    ("labelme", {"a.json": shape(points=[["x", 0]])}, r"a\.json: shapes\.0\.points.*must be a num"),
    ("cvat", {"x.xml": BOMB.format(SHAPE)}, r"declares a document type .*refused"),
    ("cvat", {"x.xml": XML.format('<polygon label="car" points="0,0;9,9"/>')}, "of 2 corners"),
    (
        "cvat",
        {"x.xml": XML.format('<polyline label="car" points="0,0;9,9"/>')},
        "a polyline is not supported",
    ),
    (
        "cvat",
        {
            "x.xml": XML.format(
                '<mask label="car" rle="3, 4" left="0" top="0" width="9" height="9"/>'
            )
        },
        r"image 4, shape 0 \(mask\): run lengths that add up to 7 pixels, where 9 x 9 are 81",
    ),
    (
        "cvat",
        {
            "x.xml": XML.format(
                '<mask label="car" rle="3" left="0" top="0" width="1000000" height="1000000"/>'
            )
        },
        "a mask of 1000000 x 1000000 pixels in an image of 20 x 30",
    ),
    ("cvat", {"x.xml": "<annotations><image"}, "is not XML"),
    ("label-studio", {"x.json": json.dumps([TASK])}, "task 3, region 0: a brush of 4 bytes"),
    ("yolo", {"a.txt": "0 0.1 0.1 0.2 0.2\n", "data.yaml": YAML}, r"a\.txt, line 1: a box"),
    ("yolo", {"a.txt": "4 0 0 1 0 1 1\n", "data.yaml": YAML}, "line 1: class 4 has no name"),
    ("yolo", {"a.txt": "0 0 0 1 0 1\n", "data.yaml": YAML}, "line 1: a polygon of 5 numbers"),
    ("yolo", {"a.txt": "0 0 0 25 0 25 20\n", "data.yaml": YAML}, "line 1: 25 is not a share"),
    (
        "yolo",
        {"a.txt": "0 0 0 1 0 1 1\n", "b.txt": "0 0 0 1 0 1 1\n", "data.yaml": YAML},
        r"1 label files have no image, such as .*b\.txt; .*--images FOLDER",
    ),
    ("yolo", {"a.txt": "0 0 0 1 0 1 1\n"}, r"has no data\.yaml"),
    ("voc", {"x.txt": "no"}, r"has no labelmap\.txt"),
    ("supervisely", {"x.txt": "no"}, r"holds 0 files meta\.json"),
    (
        "roboflow",
        {"_classes.csv": "0, car\n", "a.jpg": "?"},
        r"a\.\w+ and .*a\.\w+ have one name but for the suffix",
    ),
    ("roboflow", {"x.txt": "no"}, r"holds no _classes\.csv"),
    (
        "coco",
        {"x.json": annotation(segmentation={"size": [20, 30], "counts": "0\u00e9"})},
        "annotation 5: run lengths are not text of COCO's kind",
    ),
    ("coco", {"x.json": '{"images": [{"id"'}, r"x\.json is cut, damaged or not JSON"),
    (
        "coco",
        {"x.json": '{"kind": "other"}'},
        r"holds no COCO JSON .*x\.json, for one, is something",
    ),
    ("labelme", {"a.json": shape(), "b.json": ""}, r"b\.json is cut, damaged or not JSON"),
    (
        "labelme",
        {"a.json": shape(), "b.json": '{"a": [1, 2]'},
        r"b\.json is cut, damaged or not JSON .*export it again, or remove it",
    ),
    ("labelme", {"a.json": shape(), "b.json": "[1, 2"}, r"b\.json is cut, damaged or not JSON"),
    ("datumaro", {"x.json": item(label_id=9)}, "item a, annotation 0: label 9 is none of the 1"),
    ("datumaro", {"x.json": item(points=[0, 0, 9, 9])}, "item a, annotation 0: .*of 2 corners"),
    (
        "datumaro",
        {"x.json": item(type="mask", rle={"size": [4, 4], "counts": [16]})},
        "item a, annotation 0: run lengths of 4 x 4 pixels .* in an image of 20 x 30",
    ),
    ("datumaro", {"x.json": item(type="polyline")}, "a polyline is not supported"),
    (
        "datumaro",
        {"x.json": item().replace("[20, 30]", "[20, 31]")},
        r"item a is of 20 x 31 pixels \(height x width\), and .*a\.png has 20 x 30",
    ),
    (
        "datumaro",
        {"x.json": item().replace("a.png", "../../etc/passwd")},
        "item a: no image '../../etc/passwd' in",
    ),
    (
        "datumaro",
        {"x.json": '{"categories": {}, "items": []}'},
        r"x\.json: 'categories\.label' is mis",
    ),
    ("supervisely", supervised(classTitle="who"), r"object 0 has class 'who', .* it lists car"),
    (
        "supervisely",
        supervised(points={"exterior": [[0, 0], [9, 9]]}),
        r"a\.png\.json, object 0: a polygon of 2 corners",
    ),
    (
        "supervisely",
        supervised(
            geometryType="bitmap", bitmap={"data": zlib_of((64 << 20) + 1), "origin": [0, 0]}
        ),
        "object 0: pixels of more than 67108864 bytes",
    ),
    (
        "supervisely",
        supervised(geometryType="bitmap", bitmap={"data": zlib_of(9), "origin": [0, 0]}),
        "object 0: pixels that are not a PNG",
    ),
    (
        "supervisely",
        supervised() | {"ds/ann/a.png.json": json.dumps(SUPERVISELY)[:-9]},
        r"a\.png\.json: it is cut, damaged or not JSON",
    ),
    ("darwin", {"x.json": darwin()}, r"x\.json, annotation 0: a polygon of 2 corners"),
    ("darwin", {"x.json": darwin(polygon=None, mask={})}, "that the raster layer does not hold"),
    (
        "darwin",
        {"x.json": json.dumps(DARWIN | {"annotations": [MASK, LAYER]})},
        r"x\.json: a raster layer of 5 pixels, where 20 x 30 are 600",
    ),
    ("darwin", {"x.json": darwin().replace("a.png", "b.png")}, r"x\.json: no image 'b\.png' in"),
    ("voc", {"labelmap.txt": "car:9,9,9::\n"}, "has no folder SegmentationClass"),
    ("voc", {"labelmap.txt": "car:9,9\n"}, r"labelmap\.txt, line 1: a line is name:red,green,blue"),
    ("roboflow", {"_classes.csv": "0 car\n"}, r"_classes\.csv lists no class"),
    ("roboflow", {"_classes.csv": "0, car\n", "b_mask.png": ""}, "is a mask, and its image is not"),
    (
        "label-studio",
        {"x.json": '{"a": {"to_name": 1, "annotations": 2}}'},
        r"x\.json: must be a list",
    ),
]


@pytest.mark.parametrize(("name", "files", "message"), FAULTS)
def test_a_fault_is_answered_with_file_and_entry(
    name: str, files: dict[str, str], message: str, tmp_path: Path
) -> None:
    root = tmp_path / "x"
    root.mkdir()
    Image.new("RGB", (30, 20)).save(root / "a.png")
    for file, text in files.items():
        path = root / file
        path.parent.mkdir(parents=True, exist_ok=True)
        if file.endswith(".png"):
            Image.new("RGB", (30, 20)).save(path)
        else:
            path.write_text(text)
    with pytest.raises(UserError, match=message) as caught:
        convert_annotations(name, root, tmp_path / "out", unlabelled="ignore")
    assert len(str(caught.value).splitlines()) == 1
    assert str(root) in str(caught.value)
    assert [path.name for path in tmp_path.iterdir()] == ["x"], "nothing is half converted"


def test_a_mask_of_voc_with_a_colour_of_no_class_is_refused(tmp_path: Path) -> None:
    for folder in ("JPEGImages", "SegmentationClass"):
        (tmp_path / "x" / folder).mkdir(parents=True)
        Image.new("RGB", (30, 20), (1, 2, 3)).save(tmp_path / "x" / folder / "a.png")
    (tmp_path / "x/labelmap.txt").write_text("car:9,9,9::\n")
    with pytest.raises(UserError, match=r"a\.png holds \[1, 2, 3\] at 1e\+02 % of its pixels"):
        convert_annotations("voc", tmp_path / "x", tmp_path / "out")


def test_an_archive_that_claims_too_much_is_not_unpacked(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "x.zip", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("x.json", bytes(300 << 20))
    with pytest.raises(UserError, match="would unpack to 314572800 bytes"):
        convert_annotations("coco", tmp_path / "x.zip", tmp_path / "out")
    assert [path.name for path in tmp_path.iterdir()] == ["x.zip"]


def test_a_list_of_voc_does_not_lead_out_of_its_folder(tmp_path: Path) -> None:
    root = tmp_path / "x"
    for folder in ("JPEGImages", "SegmentationClass", "ImageSets/Segmentation"):
        (root / folder).mkdir(parents=True)
    Image.new("RGB", (30, 20)).save(root / "JPEGImages/a.png")
    Image.new("RGB", (30, 20)).save(tmp_path / "a.png")
    (root / "labelmap.txt").write_text("car:0,0,0::\n")
    (root / "ImageSets/Segmentation/default.txt").write_text("../../a\n")
    with pytest.raises(UserError, match="1 of 1 images have no annotation"):
        convert_annotations("voc", root, tmp_path / "out")


@pytest.mark.parametrize("name", ["x.zip", "x.tar.gz", "x.7z"])
def test_a_damaged_archive_is_named_as_such(name: str, tmp_path: Path) -> None:
    (tmp_path / name).write_bytes(b"PK\x03\x04 cut")
    with pytest.raises(UserError, match="is not a zip or tar archive, or it is cut or damaged"):
        convert_annotations("coco", tmp_path / name, tmp_path / "out")


@pytest.mark.parametrize("inside", ["source", "images"])
def test_a_data_set_is_not_made_inside_of_what_is_read(inside: str, tmp_path: Path) -> None:
    for folder in ("source", "images"):
        (tmp_path / folder).mkdir()
    (tmp_path / "source/x.json").write_text(json.dumps(COCO))
    with pytest.raises(UserError, match=f"out lies inside .*{inside}, which is read"):
        convert_annotations(
            "coco", tmp_path / "source", tmp_path / inside / "out", images=tmp_path / "images"
        )
    assert not list(tmp_path.glob("**/out"))


def test_an_archive_without_files_is_named(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "x.zip", "w"):
        pass
    with pytest.raises(UserError, match=r"x\.zip holds no COCO JSON"):
        convert_annotations("coco", tmp_path / "x.zip", tmp_path / "out")


@pytest.mark.parametrize("name", ["voc", "roboflow"])
def test_a_mask_of_another_size_than_its_image_is_refused(name: str, tmp_path: Path) -> None:
    root = tmp_path / "x"
    image, mask, table = {
        "voc": ("JPEGImages/a.png", "SegmentationClass/a.png", "labelmap.txt"),
        "roboflow": ("train/a.png", "train/a_mask.png", "train/_classes.csv"),
    }[name]
    for file, size in ((image, (30, 20)), (mask, (29, 20))):
        (root / file).parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", size).save(root / file)
    (root / table).write_text("car:0,0,0::\n" if name == "voc" else "0, car\n")
    with pytest.raises(UserError, match=r"is a mask of 20 x 29 pixels .* an image of 20 x 30"):
        convert_annotations(name, root, tmp_path / "out", unlabelled="ignore")
    assert not (tmp_path / "out").exists()


def test_a_label_that_a_task_of_cvat_does_not_list_is_refused(tmp_path: Path) -> None:
    labels = "<meta><task><labels><label><name>car</name></label></labels></task></meta>"
    text = XML.format(SHAPE.replace("car", "who")).replace(
        "<annotations>", f"<annotations>{labels}"
    )
    (tmp_path / "x.xml").write_text(text)
    Image.new("RGB", (30, 20)).save(tmp_path / "a.png")
    with pytest.raises(
        UserError, match=r"shape 0 \(polygon\) has the label 'who', .* there are car"
    ):
        convert_annotations("cvat", tmp_path / "x.xml", tmp_path / "out", unlabelled="ignore")
