"""Two models are compared on the same images, with paired intervals."""

import json
import re
from pathlib import Path

import numpy as np
import pytest

from segmenter.evaluation.comparison import Comparison
from segmenter.evaluation.evaluate import evaluate
from segmenter.evaluation.reports.comparison_page import Label, write_comparison
from segmenter.files.outputs import OutputFolder
from tests.helpers.predictions import ReadsImage, with_names

CLASSES = with_names("road", "car", "<b>sky")
CONTEXT = {
    "a": "street",
    "b": "<i>other",
    "data": "FOLDER",
    "split": "test",
    "how_a": {"decode": "argmax", "merge_tokens": None},
    "how_b": {"decode": "iou", "merge_tokens": 0.8},
}


class ReadsOther(ReadsImage):
    """Another model: it takes labels for one less, but for the first row."""

    def __call__(self, image: np.ndarray) -> np.ndarray:
        labels = super().__call__(image)
        return np.concatenate([labels[:1], (labels[1:] + 2) % 3])


def labels_of(predictor: ReadsImage) -> Label:
    return lambda _, sample: predictor(sample.image)


@pytest.fixture
def compared(write_items):
    """A function that compares two predictors on images."""

    def compare(a: ReadsImage, b: ReadsImage, num_images: int = 6) -> Comparison:
        rng = np.random.default_rng(0)
        pairs = []
        for index in range(num_images):
            true = rng.integers(0, 3, (4 + index, 8))
            pairs.append((true, np.where(rng.random(true.shape) < 0.2 * index / 6, 0, true)))
        items = write_items(pairs)
        return Comparison(*(evaluate(each, items, CLASSES) for each in (a, b)))

    return compare


def test_a_model_that_is_better_on_every_image_is_said_to_be(compared) -> None:
    found = compared(ReadsOther(CLASSES), ReadsImage(CLASSES))
    assert found.wins == {"wins": 6, "ties": 0, "losses": 0}
    assert found.verdict.startswith("B is better")
    assert found.intervals.means["miou"].low > 0
    turned = compared(ReadsImage(CLASSES), ReadsOther(CLASSES))
    assert turned.verdict.startswith("A is better")
    assert turned.wins == {"wins": 0, "ties": 0, "losses": 6}
    for mine, other in zip(found.images, turned.images, strict=True):
        assert (mine.name, mine.difference) == (other.name, -other.difference)


def test_a_model_against_itself_is_not_told_apart(compared) -> None:
    found = compared(ReadsImage(CLASSES), ReadsImage(CLASSES))
    assert found.wins == {"wins": 0, "ties": 6, "losses": 0}
    assert found.verdict.startswith("not told apart")
    assert compared(ReadsImage(CLASSES), ReadsOther(CLASSES), 1).verdict.startswith("too few")


def test_images_are_in_the_order_of_their_differences(compared) -> None:
    found = compared(ReadsImage(CLASSES), ReadsOther(CLASSES))
    sizes = [abs(image.difference) for image in found.images]
    assert sizes == sorted(sizes, reverse=True)
    for image in found.images:
        assert image.name == found.a.images[image.index].name
        assert (
            image.difference == found.b.images[image.index].miou - found.a.images[image.index].miou
        )


def test_a_image_without_labels_is_no_part_of_it(write_items) -> None:
    items = write_items([(np.full((3, 3), 255), np.zeros((3, 3))), (np.eye(3), np.eye(3))])
    found = Comparison(*(evaluate(ReadsImage(CLASSES), items, CLASSES) for _ in range(2)))
    assert [image.index for image in found.images] == [1]


def test_the_json_holds_differences_classes_and_images(compared) -> None:
    found = compared(ReadsImage(CLASSES), ReadsOther(CLASSES))
    said = json.loads(json.dumps(found.to_json(CONTEXT), allow_nan=False))
    assert list(said)[:2] == ["a", "b"]
    miou = said["miou"]
    assert miou["difference"] == miou["b"] - miou["a"]
    assert set(said["classes"]) == set(said["intervals"]["iou"]) == set(CLASSES.names)
    assert said["photos"]["losses"] == said["num_images"] == len(said["images"]) == 6


def test_the_page_shows_both_and_where_they_differ_and_escapes_names(
    tmp_path: Path, write_items
) -> None:
    true = np.zeros((6, 10))
    true[:3] = 1
    items = write_items([(true, true), (true, true * 0), (true.T, true.T)])
    predictors = ReadsImage(CLASSES), ReadsOther(CLASSES)
    found = Comparison(*(evaluate(each, items, CLASSES) for each in predictors))
    labels = labels_of(predictors[0]), labels_of(predictors[1])
    path = write_comparison(found, labels, items, CLASSES, OutputFolder(tmp_path / "out"), CONTEXT)
    page = path.read_text("utf-8")
    assert set(re.findall(r"<h3>(photo-\d)</h3>", page)) == {"photo-0", "photo-1", "photo-2"}
    assert page.count("data:image/jpeg;base64") == 12
    assert "&lt;i&gt;other" in page
    assert "<i>other" not in page
    assert "&lt;b&gt;sky" in page
    assert "<b>sky" not in page
    assert "A is better" in page


def test_a_page_of_two_equal_models_shows_no_image(tmp_path: Path, compared) -> None:
    found = compared(ReadsImage(CLASSES), ReadsImage(CLASSES), 1)
    labels = labels_of(ReadsImage(CLASSES)), labels_of(ReadsImage(CLASSES))
    path = write_comparison(found, labels, [], CLASSES, OutputFolder(tmp_path / "out"), CONTEXT)
    assert "Nowhere: each image has the same mIoU" in path.read_text("utf-8")


def test_the_page_says_the_difference_in_words(tmp_path: Path, write_items) -> None:
    true = np.zeros((6, 10))
    true[:3] = 1
    items = write_items([(true, true), (true, true * 0), (true.T, true.T)])
    predictors = ReadsImage(CLASSES), ReadsOther(CLASSES)
    found = Comparison(*(evaluate(each, items, CLASSES) for each in predictors))
    folder = OutputFolder(tmp_path / "out")
    labels = labels_of(predictors[0]), labels_of(predictors[1])
    page = write_comparison(found, labels, items, CLASSES, folder, CONTEXT).read_text("utf-8")
    assert re.search(
        r"The mIoU of B is \d+\.\d\d points below that of A; the interval of B - A", page
    )
