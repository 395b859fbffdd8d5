"""Images are suggested where a model is unsure, and unlike those before them."""

import numpy as np
import pytest

from segmenter.extras.suggesting.order import choose_order, typical_distance


def some_features(count: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=(count, 6))


def test_a_copy_of_a_labelled_image_comes_last_however_unsure_it_is() -> None:
    features = some_features(5)
    uncertainty = np.array([0.1, 0.1, 0.9, 0.1, 0.1])
    choices = choose_order(uncertainty, features, features[2:3], 5)
    assert choices[-1].index == 2
    assert choices[-1].distance < 1e-6


def test_equal_images_are_not_suggested_one_after_the_other() -> None:
    features = np.repeat(some_features(3), 2, axis=0)
    uncertainty = np.array([0.9, 0.9, 0.5, 0.5, 0.4, 0.4])
    chosen = [each.index // 2 for each in choose_order(uncertainty, features, features[:0], 3)]
    assert sorted(chosen) == [0, 1, 2]


def test_without_differences_the_most_unsure_image_comes_first() -> None:
    uncertainty = np.array([0.2, 0.8, 0.5])
    choices = choose_order(uncertainty, some_features(3), some_features(0), 2)
    assert (choices[0].index, choices[0].distance, len(choices)) == (1, 1.0, 2)


def test_images_that_are_all_alike_are_at_no_distance() -> None:
    same = np.ones((4, 8), np.float32)
    distances = [each.distance for each in choose_order(np.ones(4), same, same[:1], 4)]
    assert distances == pytest.approx([0.0] * 4, abs=1e-6)
    assert typical_distance(same, same[:1]) == pytest.approx(0.0, abs=1e-6)
