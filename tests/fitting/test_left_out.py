"""Fits that leave images out do not know them, and choose the penalty."""

import numpy as np
import pytest

from segmenter.fitting.left_out import DEFAULT_STRENGTH, fit_folds, fold_numbers
from segmenter.fitting.needs import class_in_need
from segmenter.fitting.samples import Samples
from tests.helpers.models import make_classes


def image_samples(seed: int, classes: tuple[int, ...] = (0, 1, 2)) -> Samples:
    rng = np.random.default_rng(seed)
    labels = rng.choice(classes, 40)
    centres = np.random.default_rng(99).normal(size=(3, 8)) * 2
    features = (centres[labels] + rng.normal(size=(40, 8))).astype(np.float32)
    return Samples(features, labels, np.ones(40, dtype=np.float32))


def test_few_images_are_left_out_one_by_one_and_many_in_runs() -> None:
    assert fold_numbers(4, 10).tolist() == [0, 1, 2, 3]
    assert fold_numbers(12, 10).tolist() == [0, 0, 0, 1, 1, 2, 2, 2, 3, 3, 4, 4]


def test_a_fit_that_leaves_an_image_out_does_not_know_it() -> None:
    images = [image_samples(seed) for seed in range(3)]
    flipped = Samples(images[1].features, 2 - images[1].labels, images[1].weights)
    before = fit_folds(images, 3)
    after = fit_folds([images[0], flipped, images[2]], 3)
    first, second = (fits.left_out[1] for fits in (before, after))
    assert first is not None
    assert second is not None
    features = images[1].features
    if before.strength == after.strength:
        np.testing.assert_allclose(first.logits(features), second.logits(features), atol=0.15)
    assert np.abs(before.whole.logits(features) - after.whole.logits(features)).max() > 0.5


def test_where_one_class_is_left_there_is_no_fit() -> None:
    fits = fit_folds([image_samples(0, (0,)), image_samples(1, (0, 1)), image_samples(2, (0,))], 3)
    assert [each is None for each in fits.left_out] == [False, True, False]


def test_where_no_fit_leaves_an_image_out_the_penalty_is_the_default() -> None:
    fits = fit_folds([image_samples(0, (0,)), image_samples(1, (1,))], 3)
    assert fits.left_out == (None, None)
    assert fits.strength == DEFAULT_STRENGTH


def test_one_image_has_no_fit_without_it() -> None:
    assert fit_folds([image_samples(0)], 3).left_out == (None,)


@pytest.mark.parametrize(
    ("counts", "expected"),
    [([[5, 5, 0], [5, 5, 0]], "class-2"), ([[5, 5, 5], [5, 5, 0]], "class-2")],
)
def test_classes_that_few_images_show_need_labels(counts: list, expected: str) -> None:
    assert class_in_need(make_classes(3), np.array(counts), None) == expected


def test_of_classes_that_one_image_shows_the_smallest_needs_labels() -> None:
    assert class_in_need(make_classes(3), np.array([[900, 5, 90]]), None) == "class-1"
