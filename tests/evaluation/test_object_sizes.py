"""Scores by the size of the object equal naive ones."""

import numpy as np
import pytest

from segmenter.evaluation.metrics import ConfusionMatrix
from segmenter.evaluation.object_sizes import LIMITS, SizeCounts
from tests.evaluation import naive
from tests.evaluation.naive import IGNORED, random_labels


@pytest.fixture
def small_limits(monkeypatch: pytest.MonkeyPatch) -> tuple[int, int]:
    """Objects of 4 pixels are medium, of 12 large, so that small pictures have all sizes."""
    monkeypatch.setattr("segmenter.evaluation.object_sizes.LIMITS", (4, 12))
    return 4, 12


def counted(true: np.ndarray, predicted: np.ndarray, num_classes: int) -> SizeCounts:
    counts = SizeCounts(num_classes, IGNORED)
    counts.add(true, predicted)
    return counts


@pytest.mark.parametrize("size", [(12, 15), (1, 30), (30, 1), (1, 1), (23, 8)])
def test_counts_are_those_of_flooding_pixel_by_pixel(size, small_limits) -> None:
    def size_of(component: set) -> int:
        return sum(len(component) >= limit for limit in small_limits)

    rng = np.random.default_rng(0)
    for _ in range(10):
        true, predicted = random_labels(rng, size, 3, block=2)
        found = counted(true, predicted, 3)
        right, in_truth, wrong, objects = np.zeros((4, 3, 3), int)
        for index in range(3):
            for component in naive.components(true == index):
                place = size_of(component), index
                objects[place] += 1
                in_truth[place] += len(component)
                right[place] += sum(predicted[pixel] == index for pixel in component)
            of_truth = naive.components(true == index)
            for component in naive.components(predicted == index):
                matched = [0, 0, 0]
                for other in of_truth:
                    matched[size_of(other)] += len(component & other)
                met = matched.index(max(matched)) if any(matched) else size_of(component)
                wrong[met, index] += sum(true[pixel] not in (index, IGNORED) for pixel in component)
        np.testing.assert_array_equal(found.right, right)
        np.testing.assert_array_equal(found.true, in_truth)
        np.testing.assert_array_equal(found.wrong, wrong)
        np.testing.assert_array_equal(found.objects, objects)


def test_the_sizes_add_up_to_the_confusion_matrix() -> None:
    true, predicted = random_labels(np.random.default_rng(0), (150, 200), 4, block=24)
    found, matrix = counted(true, predicted, 4), ConfusionMatrix(4, IGNORED)
    matrix.add(true, predicted)
    right = matrix.counts.diagonal()
    np.testing.assert_array_equal(found.right.sum(axis=0), right)
    np.testing.assert_array_equal(found.true.sum(axis=0), matrix.counts.sum(axis=1))
    np.testing.assert_array_equal(found.wrong.sum(axis=0), matrix.counts.sum(axis=0) - right)


def test_a_small_and_a_large_object_by_hand() -> None:
    true = np.zeros((100, 200), np.uint8)
    true[:, 100:] = 1  # 100 x 100, large
    true[10:30, 10:30] = 1  # 20 x 20, small
    predicted = true.copy()
    predicted[10:20, 10:30] = 0  # half of the small one is missed
    predicted[60:70, 20:30] = 1  # 100 pixels of nothing, a small component
    predicted[:, 95:100] = 1  # the large one is too wide by 500 pixels
    found = counted(true, predicted, 2)
    small, medium, large = (row[1] for row in found.ious())
    assert (small, medium, large) == (200 / (400 + 100), None, 10_000 / (10_000 + 500))
    assert found.objects[:, 1].tolist() == [1, 0, 1]
    assert found.mious()[0] == small
    assert found.mious(background_index=1)[0] is None


def test_a_blob_over_many_small_objects_is_wrong_at_their_size() -> None:
    true = np.zeros((120, 120), np.uint8)
    true[10:110:20, 10:110:20] = 1  # 25 objects of one pixel
    found = counted(true, np.ones_like(true), 2)
    assert found.ious()[0][1] == 25 / (120 * 120)
    assert found.wrong[:, 1].tolist() == [120 * 120 - 25, 0, 0]


def test_limits_are_those_of_coco_and_belong_to_the_larger_size() -> None:
    assert LIMITS == (1024, 9216)
    labels = np.ones((40, 40), np.uint8)
    labels[:32, :32] = 0
    assert counted(labels, labels, 2).objects[:, 0].tolist() == [0, 1, 0]
