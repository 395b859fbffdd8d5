"""The threshold of one-class models: labels are where the probability is at or above it."""

import itertools
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from segmenter.errors import UserError
from segmenter.inference import Predictor
from segmenter.inference.threshold import shifting_threshold
from segmenter.model import Segmenter
from tests.helpers.models import make_spec, one_class_model

IMAGE = np.random.default_rng(0).integers(0, 256, (45, 60, 3), dtype=np.uint8)
CLEAR = 1e-6
"""Pixels whose probability is nearer to the threshold may fall to either side by rounding."""
HOW: dict[str, dict[str, Any]] = {
    "one view": {},
    "logits averaged": {"flip": True, "scales": (0.75, 1.25)},
    "probabilities averaged": {"protocol": "segmenter", "scales": (0.75, 1.25)},
}


@pytest.fixture(scope="module")
def model() -> Segmenter:
    return one_class_model()


@pytest.mark.parametrize("how", HOW.values(), ids=HOW)
@settings(max_examples=6)
@given(threshold=st.floats(0.001, 0.999))
def test_labels_are_where_the_probability_reaches_the_threshold(
    model: Segmenter, how: dict[str, Any], threshold: float
) -> None:
    predictor = Predictor(model, threshold=threshold, **how)
    probability = predictor.probabilities(IMAGE)[1]
    is_clear = abs(probability - threshold) > CLEAR
    expected = probability >= np.float32(threshold)
    np.testing.assert_array_equal(predictor(IMAGE)[is_clear], expected[is_clear])
    labels, given = predictor.labels_and_probabilities(IMAGE)
    np.testing.assert_array_equal(labels, given[1] >= np.float32(threshold))


@pytest.mark.parametrize("how", HOW.values(), ids=HOW)
def test_one_half_gives_the_labels_of_no_threshold_bit_for_bit(
    model: Segmenter, how: dict[str, Any]
) -> None:
    plain, half = Predictor(model, **how), Predictor(model, threshold=0.5, **how)
    np.testing.assert_array_equal(half(IMAGE), plain(IMAGE))
    for one, other in zip(
        half.labels_and_probabilities(IMAGE), plain.labels_and_probabilities(IMAGE), strict=True
    ):
        np.testing.assert_array_equal(one, other)


def test_margins_are_zero_at_the_threshold_and_one_at_certainty(model: Segmenter) -> None:
    predictor = Predictor(model, threshold=0.3)
    probability = predictor.probabilities(IMAGE)[1]
    expected = np.where(probability >= 0.3, (probability - 0.3) / 0.7, (0.3 - probability) / 0.3)
    np.testing.assert_allclose(predictor.labels_and_margins(IMAGE)[1], expected, atol=1e-5)


@pytest.mark.parametrize("how", [{}, {"flip": True}])
def test_confidence_is_the_probability_of_the_label(model: Segmenter, how: dict[str, Any]) -> None:
    predictor = Predictor(model, threshold=0.3, **how)
    labels, probabilities = predictor.labels_and_probabilities(IMAGE)
    expected = np.where(labels == 1, probabilities[1], probabilities[0])
    assert (expected < 0.5).any()  # labelled, and not the most probable
    np.testing.assert_allclose(predictor.confidence(IMAGE), expected, atol=1e-6)


def test_a_number_of_numpy_is_a_threshold(model: Segmenter) -> None:
    found = shifting_threshold(np.float32(0.3), model.spec.classes, "argmax")
    assert found == np.float32(0.3)
    assert type(found) is float


def test_a_higher_threshold_labels_a_part_of_the_pixels(model: Segmenter) -> None:
    maps = [Predictor(model, threshold=each)(IMAGE) for each in (0.05, 0.3, 0.5, 0.7, 0.95)]
    for lower, higher in itertools.pairwise(maps):
        assert (higher <= lower).all()
    assert maps[0].sum() > maps[-1].sum()


def test_rows_and_lists_have_the_labels_of_the_whole_image(model: Segmenter) -> None:
    predictor = Predictor(model, threshold=0.3)
    whole = predictor(IMAGE)
    np.testing.assert_array_equal(predictor([IMAGE, IMAGE])[1], whole)
    rows = np.concatenate([labels for _, labels in predictor.label_rows(IMAGE)])
    np.testing.assert_array_equal(rows, whole)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"threshold": 0.0}, "above 0 and below 1, such as 0.3, got 0"),
        ({"threshold": 1.0}, "above 0 and below 1"),
        ({"threshold": 30.0}, "above 0 and below 1, such as 0.3, got 30"),
        ({"threshold": float("nan")}, "above 0 and below 1"),
        ({"threshold": 0.3, "label_rule": "iou"}, "'iou' contradict: both choose the labels"),
    ],
)
def test_what_is_no_threshold_is_refused(
    model: Segmenter, arguments: dict[str, Any], message: str
) -> None:
    with pytest.raises(UserError, match=message):
        Predictor(model, **arguments)


def test_models_of_several_classes_have_no_threshold() -> None:
    with pytest.raises(UserError, match=r"has 3 classes \(class-0, class-1, class-2\), and labels"):
        Predictor(Segmenter(make_spec(3)), threshold=0.5)
