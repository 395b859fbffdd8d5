"""What `--save` can write, read back from the disk."""

import json
import re
import tracemalloc
from pathlib import Path
from xml.etree import ElementTree

import numpy as np
import pytest
from PIL import Image

from segmenter.errors import UserError
from segmenter.files.outputs import OutputFolder
from segmenter.inference import Predictor
from segmenter.inference.labels import Quantity
from segmenter.label_files.annotations.annotation_files import SET_FORMATS
from segmenter.label_files.image_outputs import (
    IMAGE_FORMATS,
    Encode,
    ImageFormat,
    ImageOutputs,
    PredictedImage,
    parse_save,
)
from segmenter.label_files.set_files import SetFiles
from segmenter.model import Segmenter
from segmenter.predicting.images import predict_files
from tests.helpers.command_line import run
from tests.helpers.models import make_classes, make_spec

DOCS = Path(__file__).parents[2] / "docs"
EVERYTHING = ",".join([*IMAGE_FORMATS, *SET_FORMATS])
pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")


@pytest.fixture
def predictor() -> Predictor:
    return Predictor(Segmenter(make_spec(depth=1)))


@pytest.fixture
def saved(tmp_path: Path, image: np.ndarray, predictor: Predictor) -> Path:
    """Everything there is to save of two images."""
    (tmp_path / "photos/deep").mkdir(parents=True)
    Image.fromarray(image).save(tmp_path / "photos/a.png")
    Image.fromarray(image[::-1, :40]).save(tmp_path / "photos/deep/b.png")
    images = [(tmp_path / "photos/a.png", "a"), (tmp_path / "photos/deep/b.png", "deep/b")]
    folder = OutputFolder(tmp_path / "out")
    outputs = ImageOutputs(predictor.classes, folder.root, parse_save(EVERYTHING))
    with SetFiles(outputs.set_formats, predictor.classes, folder) as set_files:
        for result in predict_files(predictor, images, folder, outputs):
            set_files.add(result.lines)
        set_files.write()
    return folder.root


def labels_of(folder: Path, name: str) -> np.ndarray:
    return np.array(Image.open(folder / f"{name}_label.png"))


def test_every_choice_gives_its_file(saved: Path) -> None:
    endings = ("_overlay.jpg", "_color.png", "_label.png", "_probabilities.npz", "_margins.png")
    expected = {f"{name}{each}" for name in ("a", "deep/b") for each in (*endings, ".json")}
    expected |= {"coco.json", "coco-polygons.json", "cvat.xml", "label-studio.json"}
    found = (path.relative_to(saved).as_posix() for path in saved.rglob("*") if path.is_file())
    assert {name for name in found if not name.startswith(".")} == expected


@pytest.mark.parametrize("name", ["coco.json", "coco-polygons.json"])
def test_coco_holds_the_label_maps_pixel_by_pixel(
    saved: Path, predictor: Predictor, name: str
) -> None:
    coco_module = pytest.importorskip("pycocotools.coco", reason="needs pycocotools")
    coco = coco_module.COCO(saved / name)
    assert [each["file_name"] for each in coco.imgs.values()] == ["a.png", "deep/b.png"]
    for number, image in enumerate(("a", "deep/b"), start=1):
        labels = labels_of(saved, image)
        read = np.full(labels.shape, predictor.classes.ignore_index, np.uint8)
        for each in coco.loadAnns(coco.getAnnIds(imgIds=number)):
            read[coco.annToMask(each).astype(bool)] = each["category_id"] - 1
        np.testing.assert_array_equal(read, labels)


def test_labelling_tools_find_the_images(saved: Path) -> None:
    for name, image in (("a", "a.png"), ("deep/b", "deep/b.png")):
        path = saved / f"{name}.json"
        found = path.parent / json.loads(path.read_text())["imagePath"]
        assert found.resolve() == (saved.parent / "photos" / image).resolve()
    images = ElementTree.parse(saved / "cvat.xml").findall("image")
    assert [each.get("name") for each in images] == ["a.png", "deep/b.png"]
    tasks = json.loads((saved / "label-studio.json").read_text())
    assert [each["data"]["image"] for each in tasks] == ["a.png", "deep/b.png"]


def test_probabilities_and_margins_are_the_predictors_to_a_255th(
    saved: Path, image: np.ndarray, predictor: Predictor
) -> None:
    read = np.load(saved / "a_probabilities.npz")
    assert tuple(read["classes"]) == predictor.classes.names
    probabilities = predictor.probabilities(image).transpose(1, 2, 0)
    np.testing.assert_array_equal(read["probabilities"], np.rint(255 * probabilities))
    labels, margins = predictor.labels_and_margins(image)
    np.testing.assert_array_equal(
        np.array(Image.open(saved / "a_margins.png")), np.rint(255 * margins)
    )
    np.testing.assert_array_equal(labels_of(saved, "a"), labels)


def test_rows_are_the_same_however_few_are_made_at_once(
    image: np.ndarray, monkeypatch: pytest.MonkeyPatch
) -> None:
    predictor = Predictor(Segmenter(make_spec(depth=1)), flip=True, scales=(1.0, 1.5))
    wanted: list[Quantity] = ["labels", "margins", "confidence", "probabilities"]
    whole = list(predictor.rows(image, *wanted))
    monkeypatch.setattr("segmenter.inference.predictor._NUMBERS_AT_ONCE", 1)
    few = list(predictor.rows(image, *wanted))
    assert len(whole) == 1 < len(few)
    assert [row for rows, _ in few for row in range(60)[rows]] == list(range(60))
    for each in wanted:
        of_few = np.concatenate([found[each] for _, found in few], axis=-2)
        np.testing.assert_allclose(of_few, whole[0][1][each], atol=1e-6)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("label,cooc", "'cooc' is not known, did you mean 'coco'.*choose from overlay, color"),
        (" , ", "names nothing"),
    ],
)
def test_a_choice_that_is_none_is_refused(text: str, message: str) -> None:
    with pytest.raises(UserError, match=message):
        parse_save(text)


def test_help_and_docs_name_each_format(capsys: pytest.CaptureFixture) -> None:
    assert run("predict", "--help") == 0
    said = " ".join(re.sub(r"[│╭╮╰╯─]", " ", capsys.readouterr().out).split())
    rows = re.findall(
        r"^\| `([a-z-]+)` \|", (DOCS / "reference/annotations.md").read_text(), re.MULTILINE
    )
    assert sorted(rows) == sorted([*IMAGE_FORMATS, *SET_FORMATS])
    for each in (*IMAGE_FORMATS, *SET_FORMATS):
        assert re.search(rf"\b{each}\b", said)


def test_a_row_of_the_table_is_all_that_a_new_format_takes(
    tmp_path: Path, image: np.ndarray, predictor: Predictor, monkeypatch: pytest.MonkeyPatch
) -> None:
    def encode_pgm(image: PredictedImage, _: ImageOutputs) -> Encode:
        height, width = image.labels.shape
        margins = image.found["margins"]
        return lambda: f"P5 {width} {height} 255 ".encode() + margins.tobytes()

    row = ImageFormat("_margins.pgm", encode_pgm, needs="margins")
    monkeypatch.setitem(IMAGE_FORMATS, "pgm", row)
    Image.fromarray(image).save(tmp_path / "a.png")
    folder = OutputFolder(tmp_path / "out")
    outputs = ImageOutputs(predictor.classes, folder.root, parse_save("pgm,margins"))
    (result,) = predict_files(predictor, [(tmp_path / "a.png", "a")], folder, outputs)
    assert [path.name for path in result.outputs] == ["a_margins.png", "a_margins.pgm"]
    png, pgm = (np.array(Image.open(path)) for path in result.outputs)
    np.testing.assert_array_equal(pgm, png)


def test_choices_keep_one_order_whatever_the_user_gave() -> None:
    assert parse_save("label, overlay,label") == ("overlay", "label")


def test_a_image_with_the_name_of_a_file_of_all_images_is_refused(
    tmp_path: Path, predictor: Predictor
) -> None:
    folder = OutputFolder(tmp_path / "out")
    outputs = ImageOutputs(predictor.classes, folder.root, parse_save("labelme,coco"))
    with pytest.raises(UserError, match=r"2 outputs would have the name 'coco\.json'"):
        predict_files(predictor, [(tmp_path / "coco.jpg", "coco")], folder, outputs)


def test_a_file_of_many_images_is_written_in_little_memory(tmp_path: Path) -> None:
    line = json.dumps({"data": {"image": "x" * 1000}})
    with SetFiles(["label-studio"], make_classes(2), OutputFolder(tmp_path)) as set_files:
        tracemalloc.start()
        for _ in range(20_000):
            set_files.add({"label-studio": line})
        (path,) = set_files.write()
        _, peak = tracemalloc.get_traced_memory()
        tracemalloc.stop()
    assert path.stat().st_size > 20e6
    assert peak < 1e6
    assert not list(tmp_path.glob("*.tmp*"))
