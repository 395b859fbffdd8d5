"""Metrics from confusion matrices equal naive counts of pixels."""

import json
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from segmenter.evaluation.metrics import ConfusionMatrix, Scores, scores

IGNORED = 255
HALF_RIGHT = (np.uint8([[0, 0, 1, IGNORED]]), np.uint8([[0, 1, 1, 0]]))
"""One of two `0` and the only `1` are right; the last pixel does not count."""


@st.composite
def label_pairs(draw: st.DrawFn) -> tuple[int, np.ndarray, np.ndarray]:
    """Number of classes, true labels with ignored pixels, predicted labels."""
    num_classes = draw(st.integers(1, 5))
    num_pixels = draw(st.integers(0, 30))
    label = st.integers(0, num_classes - 1)
    true = draw(st.lists(label | st.just(IGNORED), min_size=num_pixels, max_size=num_pixels))
    predicted = draw(st.lists(label, min_size=num_pixels, max_size=num_pixels))
    return num_classes, np.array(true, np.uint8), np.array(predicted, np.uint8)


def matrix_of(num_classes: int, true: np.ndarray, predicted: np.ndarray) -> ConfusionMatrix:
    matrix = ConfusionMatrix(num_classes, IGNORED)
    matrix.add(true, predicted)
    return matrix


def score(num_classes: int, true: np.ndarray, predicted: np.ndarray, **rule: str) -> Scores:
    names = [f"class {index}" for index in range(num_classes)]
    return scores(matrix_of(num_classes, true, predicted), names, **rule)


def test_a_background_counts_in_pixel_accuracy_but_in_no_mean() -> None:
    matrix = matrix_of(2, np.uint8([0, 0, 0, 0, 1, 1]), np.uint8([0, 0, 0, 1, 1, 0]))
    found = scores(matrix, ["background", "road"], background_index=0)
    assert found.miou == pytest.approx(1 / 3)
    assert found.mean_accuracy == found.mean_dice == pytest.approx(1 / 2)
    assert found.pixel_accuracy == pytest.approx(4 / 6)
    assert [each.iou for each in found.classes] == pytest.approx([3 / 5, 1 / 3])
    assert found.to_json()["background"] == "background"


def naive_scores(num_classes: int, true: np.ndarray, predicted: np.ndarray) -> dict:
    """The definitions, with sets of pixels."""
    counted = {pixel for pixel, label in enumerate(true) if label != IGNORED}
    ious, recalls, expected_agreement = [], [], 0.0
    for index in range(num_classes):
        of_truth = {pixel for pixel in counted if true[pixel] == index}
        of_prediction = {pixel for pixel in counted if predicted[pixel] == index}
        if of_truth | of_prediction:
            ious.append(len(of_truth & of_prediction) / len(of_truth | of_prediction))
        if of_truth:
            recalls.append(len(of_truth & of_prediction) / len(of_truth))
        if counted:
            expected_agreement += len(of_truth) * len(of_prediction) / len(counted) ** 2
    num_right = sum(true[pixel] == predicted[pixel] for pixel in counted)
    accuracy = num_right / len(counted) if counted else None
    no_kappa = accuracy is None or math.isclose(expected_agreement, 1)
    return {
        "miou": sum(ious) / len(ious) if ious else None,
        "mean_accuracy": sum(recalls) / len(recalls) if recalls else None,
        "pixel_accuracy": accuracy,
        "kappa": None if no_kappa else (accuracy - expected_agreement) / (1 - expected_agreement),
    }


@given(label_pairs())
def test_the_matrix_equals_counting_pixel_by_pixel(pair) -> None:
    num_classes, true, predicted = pair
    expected = np.zeros((num_classes, num_classes), int)
    for row, column in zip(true, predicted, strict=True):
        if row != IGNORED:
            expected[row, column] += 1
    np.testing.assert_array_equal(matrix_of(*pair).counts, expected)


@given(label_pairs())
def test_scores_equal_their_definitions_by_sets_of_pixels(pair) -> None:
    found = score(*pair).to_json()
    for name, expected in naive_scores(*pair).items():
        assert found[name] == pytest.approx(expected), name


@given(label_pairs())
def test_a_perfect_prediction_scores_one_in_everything_that_is_defined(pair) -> None:
    num_classes, true, _ = pair
    perfect = score(num_classes, true, np.where(true == IGNORED, 0, true).astype(np.uint8))
    assert {perfect.miou, perfect.mean_accuracy, perfect.pixel_accuracy, perfect.kappa} <= {1, None}


@given(label_pairs(), st.randoms(use_true_random=False))
def test_renaming_the_classes_does_not_change_the_means(pair, random) -> None:
    num_classes, true, predicted = pair
    table = np.arange(256, dtype=np.uint8)
    table[:num_classes] = random.sample(range(num_classes), num_classes)
    before, after = score(*pair), score(num_classes, table[true], table[predicted])
    assert after.miou == pytest.approx(before.miou)
    assert after.kappa == pytest.approx(before.kappa)


@given(label_pairs())
def test_scores_are_json_without_nan_and_within_their_range(pair) -> None:
    found = json.loads(json.dumps(score(*pair).to_json(), allow_nan=False))
    for each in (found, *found["classes"].values()):
        ratios = [value for name, value in each.items() if name != "kappa" and "pixels" not in name]
        assert all(0 <= value <= 1 for value in ratios if isinstance(value, int | float))


@settings(max_examples=30)
@given(label_pairs(), st.integers(0, 30))
def test_counting_in_parts_and_merging_equals_counting_at_once(pair, cut) -> None:
    num_classes, true, predicted = pair
    first = matrix_of(num_classes, true[:cut], predicted[:cut])
    second = matrix_of(num_classes, true[cut:], predicted[cut:])
    first.merge(second)
    np.testing.assert_array_equal(first.counts, matrix_of(*pair).counts)


def test_a_case_worked_by_hand() -> None:
    found = score(2, *HALF_RIGHT)
    zero, one = found.classes
    assert (zero.iou, zero.dice, zero.precision, zero.recall) == (1 / 2, 2 / 3, 1, 1 / 2)
    assert (one.iou, one.dice, one.precision, one.recall) == (1 / 2, 2 / 3, 1 / 2, 1)
    assert (zero.pixels, zero.pixels_predicted) == (2, 1)
    assert (zero.share, zero.share_predicted) == (2 / 3, 1 / 3)
    assert found.miou == 1 / 2
    assert found.mean_accuracy == 3 / 4
    assert found.pixel_accuracy == 2 / 3
    assert found.kappa == pytest.approx(0.4)


def test_what_is_predicted_where_the_truth_is_ignored_changes_nothing() -> None:
    true, predicted = HALF_RIGHT
    other = predicted.copy()
    other[true == IGNORED] = 1
    assert score(2, true, other) == score(2, true, predicted)


@pytest.mark.parametrize(("rule", "miou"), [("skip", 1 / 2), ("one", 2 / 3), ("zero", 1 / 3)])
def test_an_absent_class_is_named_and_counts_as_the_rule_says(rule, miou) -> None:
    found = score(3, *HALF_RIGHT, absent_rule=rule)
    assert found.absent == ("class 2",)
    assert found.miou == pytest.approx(miou)
    assert found.absent_iou == {"skip": None, "one": 1, "zero": 0}[rule]


def test_a_class_that_is_only_predicted_is_named_and_counts_zero() -> None:
    found = score(2, np.uint8([0, 0]), np.uint8([0, 1]))
    assert found.predicted_only == ("class 1",)
    assert found.classes[1].iou == 0
    assert found.classes[1].recall is None
    assert found.miou == 1 / 4
    assert found.mean_accuracy == 1 / 2


def test_without_a_counted_pixel_every_score_is_undefined() -> None:
    found = score(2, np.uint8([IGNORED]), np.uint8([1]))
    assert (found.miou, found.mean_accuracy, found.pixel_accuracy, found.kappa) == (None,) * 4
    assert found.absent == ("class 0", "class 1")


def test_counts_of_a_huge_data_set_do_not_overflow() -> None:
    matrix = ConfusionMatrix(2, IGNORED)
    matrix.counts[:] = np.int64(10) ** 11 * np.array([[3, 1], [1, 3]])
    assert scores(matrix, ["a", "b"]).kappa == pytest.approx(0.5)


def test_more_than_255_classes_are_counted_in_16_bit_labels() -> None:
    matrix = ConfusionMatrix(300, 65535)
    matrix.add(np.uint16([299, 255, 65535]), np.uint16([299, 298, 0]))
    assert matrix.counts.sum() == 2
    assert matrix.counts[299, 299] == matrix.counts[255, 298] == 1


@pytest.mark.parametrize(
    ("true", "predicted", "message"),
    [
        (np.uint8([[0, 1]]), np.uint8([0, 1]), "one shape"),
        (np.uint8([2]), np.uint8([0]), "true labels must be classes, 0 to 1, got 2"),
        (np.int64([-1]), np.int64([0]), "true labels must be classes, 0 to 1, got -1"),
        (np.uint8([0]), np.uint8([7]), "predicted labels must be classes, 0 to 1, got 7"),
        (np.uint8([0]), np.int8([-3]), "predicted labels must be classes, 0 to 1, got -3"),
        (np.uint8([0]), np.uint8([IGNORED]), "predicted labels must be classes, 0 to 1, got 255"),
    ],
)
def test_labels_that_cannot_be_counted_are_refused_and_leave_the_matrix_as_it_was(
    true, predicted, message
) -> None:
    matrix = matrix_of(2, *HALF_RIGHT)
    before = matrix.counts.copy()
    with pytest.raises(ValueError, match=message):
        matrix.add(true, predicted)
    np.testing.assert_array_equal(matrix.counts, before)


def test_a_class_cannot_be_the_ignored_one() -> None:
    with pytest.raises(ValueError, match="ignore_index must not be a class"):
        ConfusionMatrix(3, ignore_index=0)


def test_matrices_of_other_classes_are_not_merged() -> None:
    with pytest.raises(ValueError, match="cannot be merged"):
        ConfusionMatrix(3, IGNORED).merge(ConfusionMatrix(2, IGNORED))


def test_every_class_needs_a_name() -> None:
    with pytest.raises(ValueError, match="2 classes, got 1 names"):
        scores(ConfusionMatrix(2, IGNORED), ["only"])
