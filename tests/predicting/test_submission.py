"""Submissions hold the benchmark's own ids, under the names that its server looks for."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from segmenter.class_lists import read_class_list
from segmenter.data.pairing.find_images import find_images
from segmenter.errors import UserError
from segmenter.files.outputs import OutputFolder
from segmenter.inference import Predictor
from segmenter.model import Segmenter
from segmenter.predicting.submission import write_submission
from tests.helpers.models import make_spec

LABEL_IDS = [7, 8, 11, 12, 13, 17, 19, 20, 21, 22, 23, 24, 25, 26, 27, 28, 31, 32, 33]


def make_predictor(data_set: str) -> Predictor:
    classes = read_class_list(data_set)
    # Whatever the mask values in the model's own class list are.
    renumbered = classes.model_copy(
        update={
            "classes": tuple(
                info.model_copy(update={"values": (index,)})
                for index, info in enumerate(classes.classes)
            )
        }
    )
    spec = make_spec(num_classes=len(classes), depth=1)
    return Predictor(Segmenter(spec.model_copy(update={"classes": renumbered})).eval())


@pytest.mark.parametrize(
    ("data_set", "image_name", "ids"),
    [
        ("ade20k", "ADE_test_00000001.jpg", list(range(1, 151))),
        ("cityscapes", "berlin/berlin_000000_000019_leftImg8bit.png", LABEL_IDS),
    ],
)
def test_each_pixel_is_the_id_of_its_label(
    data_set: str, image_name: str, ids: list[int], image: np.ndarray, tmp_path: Path
) -> None:
    path = tmp_path / "photos" / image_name
    path.parent.mkdir(parents=True)
    Image.fromarray(image).save(path)
    predictor = make_predictor(data_set)
    images = find_images([str(tmp_path / "photos")])
    (result,) = write_submission(predictor, images, OutputFolder(tmp_path / "out"), data_set)
    expected = tmp_path / "out" / f"{path.stem}.png"
    assert result.outputs == (expected,)
    opened = Image.open(expected)
    assert opened.mode == "L"  # servers read grey values
    written = np.array(opened)
    assert written.dtype == np.uint8
    assert (written == np.array(ids)[predictor(np.array(Image.open(path)))]).all()
    assert [each.name for each in expected.parent.glob("*.*") if each.name[0] != "."] == [
        expected.name
    ]


def test_a_model_of_other_classes_is_refused(tmp_path: Path) -> None:
    predictor, folder = make_predictor("cityscapes"), OutputFolder(tmp_path / "out")
    with pytest.raises(UserError, match="19 classes are not the 150 of ade20k, such as 'road' for"):
        write_submission(predictor, [], folder, "ade20k")


def test_images_that_are_not_of_cityscapes_are_refused(tmp_path: Path) -> None:
    predictor, folder = make_predictor("cityscapes"), OutputFolder(tmp_path / "out")
    with pytest.raises(UserError, match="cityscapes takes CITY_123456_123456"):
        write_submission(predictor, [(Path("a.jpg"), "a")], folder, "cityscapes")
    twice = [(Path(f"{side}.png"), f"{side}/ulm_000000_000019") for side in "ab"]
    with pytest.raises(UserError, match="2 outputs would have the name 'ulm_000000_000019"):
        write_submission(predictor, twice, folder, "cityscapes")
