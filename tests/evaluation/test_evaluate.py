"""A predictor is scored on items: one confusion matrix, classes by name."""

import json
from dataclasses import replace

import numpy as np
import pytest

from segmenter.data.folder import open_folder
from segmenter.errors import UserError
from segmenter.evaluation.evaluate import check_classes, evaluate
from segmenter.evaluation.metrics import ConfusionMatrix, scores
from segmenter.inference import Predictor
from segmenter.model import Segmenter
from tests.helpers.models import make_classes, make_spec
from tests.helpers.predictions import ReadsImage, with_names

CLASSES = make_classes(3)


def random_pairs(count: int) -> list[tuple[np.ndarray, np.ndarray]]:
    """Labels of images of different sizes, some pixels ignored."""
    rng = np.random.default_rng(0)
    sizes = [(4 + index, 7) for index in range(count)]
    true = [rng.choice([0, 1, 2, 255], size) for size in sizes]
    return [(labels, rng.integers(0, 3, labels.shape)) for labels in true]


def test_the_scores_are_those_of_all_pixels_together(write_items) -> None:
    pairs = random_pairs(4)
    matrix = ConfusionMatrix(3, 255)
    for true, predicted in pairs:
        matrix.add(true, predicted)
    found = evaluate(ReadsImage(CLASSES), write_items(pairs), CLASSES)
    np.testing.assert_array_equal(found.matrix.counts, matrix.counts)
    assert found.scores == scores(matrix, CLASSES.names)


def test_each_image_is_read_and_predicted_once_and_scored_in_order(write_items) -> None:
    items = write_items(random_pairs(5))
    predictor, seen = ReadsImage(CLASSES), []
    found = evaluate(predictor, items, CLASSES, on_image=seen.append)
    assert predictor.num_seen == 5
    assert [image.name for image in found.images] == [item.name for item in items]
    assert tuple(seen) == found.images


def test_a_images_own_miou_is_over_the_classes_in_its_truth(write_items) -> None:
    true, predicted = np.array([[0, 0, 1, 1]]), np.array([[0, 2, 1, 1]])
    (image,) = evaluate(ReadsImage(CLASSES), write_items([(true, predicted)]), CLASSES).images
    assert image.miou == (1 / 2 + 1) / 2
    assert image.pixel_accuracy == 3 / 4


def test_a_image_without_a_labelled_pixel_has_no_score_and_changes_none(write_items) -> None:
    labelled, unlabelled = random_pairs(1)[0], (np.full((2, 2), 255), np.zeros((2, 2)))
    both = evaluate(ReadsImage(CLASSES), write_items([labelled, unlabelled]), CLASSES)
    alone = evaluate(ReadsImage(CLASSES), write_items([labelled]), CLASSES)
    assert (both.images[1].miou, both.images[1].pixel_accuracy) == (None, None)
    assert both.scores == alone.scores


def test_the_json_holds_context_scores_images_and_counts(write_items) -> None:
    found = evaluate(ReadsImage(CLASSES), write_items(random_pairs(2)), CLASSES)
    text = json.dumps(found.to_json({"model": "street", "split": "test"}), allow_nan=False)
    content = json.loads(text)
    assert list(content)[:3] == ["model", "split", "miou"]
    assert content["num_images"] == len(content["images"]) == 2
    assert content["confusion"] == found.matrix.counts.tolist()


def test_no_images_is_a_mistake() -> None:
    with pytest.raises(UserError, match="no images"):
        evaluate(ReadsImage(CLASSES), [], CLASSES)


def test_a_image_without_a_mask_is_named(write_items) -> None:
    items = write_items(random_pairs(2))
    items[1] = replace(items[1], mask=None)
    with pytest.raises(UserError, match=r"photo-1\.png has no mask"):
        evaluate(ReadsImage(CLASSES), items, CLASSES)


@pytest.mark.parametrize(
    ("of_data", "message"),
    [
        (("class-0", "class-1"), "2 classes, the model 3.*only in the model: class-2"),
        (("class-0", "class-1", "x"), "only in the data: x; only in the model: class-2; .*--class"),
        (
            ("class-1", "class-0", "class-2"),
            "another order: class-1, class-0, class-2, not class-0",
        ),
    ],
)
def test_classes_that_are_not_the_models_are_named_before_any_image(
    write_items, of_data, message
) -> None:
    predictor = ReadsImage(CLASSES)
    with pytest.raises(UserError, match=message):
        evaluate(predictor, write_items(random_pairs(1)), with_names(*of_data))
    assert predictor.num_seen == 0


def test_a_refusal_of_many_classes_is_short() -> None:
    with pytest.raises(UserError, match=r"150 classes, the model 2.* and 140 more") as caught:
        check_classes([f"class-{index}" for index in range(150)], ["road", "car"])
    assert len(str(caught.value)) < 400


def test_a_real_model_is_scored_on_real_images(camvid) -> None:
    folder = open_folder(camvid)
    spec = make_spec(len(folder.classes)).model_copy(update={"classes": folder.classes})
    items = folder.items("test")[:2]
    found = evaluate(Predictor(Segmenter(spec)), items, folder.classes)
    assert 0 <= found.scores.miou < 0.5
    assert found.matrix.counts.sum() <= 2 * 360 * 480
