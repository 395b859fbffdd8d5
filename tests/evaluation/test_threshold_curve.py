"""Scores at every threshold, from one pass over the probabilities."""

import numpy as np
import pytest

from segmenter.evaluation.threshold_curve import THRESHOLDS, ThresholdCurve

RNG = np.random.default_rng(0)
PROBABILITY = RNG.random(5000).astype(np.float32)
IS_CLASS = RNG.random(5000) < PROBABILITY**2


def curve_of(is_class: np.ndarray, probability: np.ndarray, parts: int = 1) -> ThresholdCurve:
    curve = ThresholdCurve()
    for one, other in zip(
        np.array_split(is_class, parts), np.array_split(probability, parts), strict=True
    ):
        curve.add(one, other)
    return curve


def test_scores_equal_those_of_a_mask_at_each_threshold() -> None:
    for each in curve_of(IS_CLASS, PROBABILITY).scores():
        is_found = np.float32(each.threshold) <= PROBABILITY
        right, found, true = (is_found & IS_CLASS).sum(), is_found.sum(), IS_CLASS.sum()
        assert each.precision == pytest.approx(right / found)
        assert each.recall == pytest.approx(right / true)
        assert each.iou == pytest.approx(right / (found + true - right))
        assert each.dice == pytest.approx(2 * right / (found + true))


def test_pixels_on_a_threshold_reach_it() -> None:
    on = np.array(THRESHOLDS, dtype=np.float32)
    recalls = [each.recall for each in curve_of(np.ones(len(on), dtype=bool), on).scores()]
    assert recalls == pytest.approx([(len(on) - index) / len(on) for index in range(len(on))])


def test_images_add_up() -> None:
    whole, parts = curve_of(IS_CLASS, PROBABILITY), curve_of(IS_CLASS, PROBABILITY, parts=7)
    np.testing.assert_array_equal(parts.counts, whole.counts)


def test_recall_falls_with_the_threshold() -> None:
    recalls = [each.recall for each in curve_of(IS_CLASS, PROBABILITY).scores()]
    assert recalls == sorted(recalls, key=lambda recall: -(recall or 0.0))


def test_the_best_threshold_separates_and_of_equals_is_nearest_to_one_half() -> None:
    best = curve_of(np.array([False, True]), np.array([0.115, 0.305], dtype=np.float32)).best()
    assert best is not None
    assert (best.threshold, best.iou) == (0.3, 1.0)


def test_without_a_pixel_of_the_class_there_is_no_best() -> None:
    curve = curve_of(np.zeros(3, dtype=bool), np.zeros(3, dtype=np.float32))
    assert curve.best() is None
    assert curve.to_json()["best_iou_at"] is None
