"""The boundary IoU equals that of a naive search of neighbours."""

import numpy as np
import pytest

from segmenter.evaluation.boundaries import BoundaryCounts, boundary_distance, near_boundary
from tests.evaluation.naive import IGNORED, boundary_region, random_labels


def counted(true: np.ndarray, predicted: np.ndarray, num_classes: int, ratio: float):
    counts = BoundaryCounts(num_classes, IGNORED, ratio)
    counts.add(true, predicted)
    return counts


@pytest.mark.parametrize("size", [(9, 14), (1, 1), (1, 40), (40, 1), (2, 3), (17, 17)])
@pytest.mark.parametrize("ratio", [0.001, 0.1, 0.5])
def test_counts_are_those_of_sets_of_pixels(size: tuple[int, int], ratio: float) -> None:
    rng = np.random.default_rng(0)
    for _ in range(5):
        true, predicted = random_labels(rng, size, 4)
        seen = np.where(true == IGNORED, IGNORED, predicted)
        distance = max(1, round(ratio * (size[0] ** 2 + size[1] ** 2) ** 0.5))
        found = counted(true, predicted, 4, ratio)
        for index in range(4):
            of_truth = boundary_region(true == index, distance)
            of_prediction = boundary_region(seen == index, distance)
            assert found.intersections[index] == len(of_truth & of_prediction)
            assert found.unions[index] == len(of_truth | of_prediction)


def test_a_square_that_is_one_pixel_too_wide_by_hand() -> None:
    true, predicted = np.zeros((2, 12, 12), np.uint8)
    true[3:8, 3:8] = 1
    predicted[3:8, 3:9] = 1
    found = counted(true, predicted, 2, 1 / 17)
    # Rings of a 5 x 5 square (16 pixels) and of a 5 x 6 one (18), which share three sides: 13.
    assert (found.intersections[1], found.unions[1]) == (13, 21)
    assert found.ious()[1] == 13 / 21


def test_a_distance_that_covers_the_image_gives_the_iou_itself() -> None:
    true, predicted = random_labels(np.random.default_rng(0), (20, 30), 3)
    found = counted(true, predicted, 3, 1.0)
    for index, iou in enumerate(found.ious()):
        mine = (true == index) & (true != IGNORED)
        other = (predicted == index) & (true != IGNORED)
        assert iou == pytest.approx((mine & other).sum() / (mine | other).sum())


def test_the_same_labels_have_a_boundary_iou_of_one_and_images_add_up() -> None:
    rng = np.random.default_rng(0)
    (first, wrong), (second, _) = (random_labels(rng, (12, 18), 3) for _ in range(2))
    assert set(counted(first, first, 3, 0.05).ious()) == {1.0}
    both = BoundaryCounts(3, IGNORED, 0.05)
    both.add(first, wrong)
    both.add(second, second)
    parts = counted(first, wrong, 3, 0.05), counted(second, second, 3, 0.05)
    assert (both.unions == parts[0].unions + parts[1].unions).all()


def test_what_is_predicted_where_the_truth_is_ignored_changes_nothing() -> None:
    true, predicted = random_labels(np.random.default_rng(1), (15, 15), 3)
    other = np.where(true == IGNORED, 2, predicted).astype(np.uint8)
    found = counted(true, predicted, 3, 0.1)
    assert found.ious() == counted(true, other, 3, 0.1).ious()


def test_a_background_and_what_occurs_nowhere_are_in_no_mean() -> None:
    true, predicted = np.array([[0, 0, 1, 1]]), np.array([[0, 1, 1, 1]])
    found = counted(true, predicted, 3, 0.02)
    assert found.ious() == [1 / 2, 2 / 3, None]
    assert found.mean() == pytest.approx(7 / 12)
    assert found.mean(background_index=0) == pytest.approx(2 / 3)
    assert BoundaryCounts(3, IGNORED).mean() is None


def test_the_default_distance_of_a_camvid_image_is_twelve_pixels() -> None:
    assert boundary_distance((360, 480), 0.02) == 12
    assert boundary_distance((4, 4), 0.02) == 1


def test_more_than_255_classes_are_told_apart() -> None:
    labels = np.array([[0, 0, 0, 256, 256, 256]], np.uint16).repeat(6, axis=0)
    assert near_boundary(labels, 1)[2].tolist() == [True, False, True, True, False, True]
