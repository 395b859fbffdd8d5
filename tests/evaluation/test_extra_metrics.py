"""All statistics of one pass over the images, in constant memory."""

import json

import numpy as np
import pytest

from segmenter.errors import UserError
from segmenter.evaluation.evaluate import evaluate, fit_temperature
from segmenter.evaluation.extra_metrics import Statistics
from segmenter.evaluation.metrics import ConfusionMatrix, scores
from segmenter.inference import Predictor
from segmenter.model import Segmenter
from tests.evaluation.naive import IGNORED, random_labels, random_probabilities
from tests.helpers.models import make_classes, make_spec

CLASSES = make_classes(3)


@pytest.fixture
def predictor() -> Predictor:
    return Predictor(Segmenter(make_spec(3)).eval())


@pytest.fixture
def items(write_items):
    """Five images of noise with labels in blocks."""
    rng = np.random.default_rng(0)
    return write_items([random_labels(rng, (20 + index, 30), 3) for index in range(5)])


def counted(num_images: int, **settings: object) -> Statistics:
    rng, found = np.random.default_rng(0), Statistics(CLASSES, **settings)
    for _ in range(num_images):
        true, _ = random_labels(rng, (24, 30), 3)
        probabilities = random_probabilities(rng, 3, (24, 30))
        found.add(true, probabilities.argmax(axis=0), probabilities)
    return found


def test_scores_are_the_same_with_and_without(predictor: Predictor, items) -> None:
    plain = evaluate(predictor, items, CLASSES)
    found = evaluate(predictor, items, CLASSES, statistics=Statistics(CLASSES))
    np.testing.assert_array_equal(found.matrix.counts, plain.matrix.counts)
    assert plain.statistics is None
    assert "statistics" not in plain.to_json({})


def test_confidence_is_the_probability_of_the_label_given_also_where_another_is_higher() -> None:
    probabilities = np.array([[[0.6]], [[0.3]], [[0.1]]], np.float32)
    found = Statistics(CLASSES)
    found.add(np.array([[1]]), np.array([[1]]), probabilities)
    assert found.reliability.error() == pytest.approx(0.7)


def test_what_is_not_labelled_has_no_part() -> None:
    found = Statistics(CLASSES, temperature=2.0, fitted_on="val")
    probabilities = random_probabilities(np.random.default_rng(0), 3, (4, 4))
    found.add(np.full((4, 4), IGNORED), probabilities.argmax(axis=0), probabilities)
    said = json.loads(json.dumps(found.to_json(), allow_nan=False))
    assert said["calibration"]["ece"] is said["calibration"]["ece_tempered"] is None
    assert said["risk_coverage"]["aurc"] is said["boundary"]["mean_iou"] is None


def test_the_json_says_what_it_was_made_with() -> None:
    said = counted(2, boundary_ratio=0.05, temperature=1.5, fitted_on="val").to_json()
    assert said["boundary"]["ratio"] == 0.05
    assert (said["object_size"]["medium"]["pixels_from"], 9216) == (
        1024,
        said["object_size"]["medium"]["pixels_below"],
    )
    calibration = said["calibration"]
    assert (calibration["temperature"], calibration["fitted_on"]) == (1.5, "val")
    assert calibration["num_bins"] == len(calibration["bins"]) == 15
    assert "temperature" not in counted(1).to_json()["calibration"]


def test_the_surest_pixels_of_all_are_as_wrong_as_the_pixel_accuracy_says() -> None:
    rng, matrix, found = np.random.default_rng(0), ConfusionMatrix(3, IGNORED), Statistics(CLASSES)
    for _ in range(3):
        true, _ = random_labels(rng, (9, 9), 3)
        probabilities = random_probabilities(rng, 3, (9, 9))
        found.add(true, probabilities.argmax(axis=0), probabilities)
        matrix.add(true, probabilities.argmax(axis=0))
    accuracy = scores(matrix, CLASSES.names).pixel_accuracy
    assert found.risk_coverage.risk(1.0) == pytest.approx(1 - accuracy)


def test_memory_does_not_grow_with_the_number_of_images() -> None:
    def size(statistics: Statistics) -> int:
        parts = (
            statistics.boundaries,
            statistics.sizes,
            statistics.reliability,
            statistics.risk_coverage,
        )
        arrays = [each for part in parts for each in vars(part).values()]
        assert not any(isinstance(each, list | dict | set) for each in arrays)
        return sum(each.nbytes for each in arrays if isinstance(each, np.ndarray))

    assert size(counted(1)) == size(counted(9))


def test_a_temperature_is_fitted_on_images_and_refused_on_none(predictor, items) -> None:
    seen = []
    temperature = fit_temperature(predictor, items, CLASSES, on_image=lambda: seen.append(1))
    assert 0.1 <= temperature <= 10
    assert len(seen) == 5
    with pytest.raises(UserError, match="no images"):
        fit_temperature(predictor, [], CLASSES)


def test_a_temperature_cannot_be_fitted_where_nothing_is_labelled(predictor, write_items) -> None:
    items = write_items([(np.full((5, 5), IGNORED), np.zeros((5, 5)))])
    with pytest.raises(UserError, match="no pixel of the split is labelled"):
        fit_temperature(predictor, items, CLASSES)
