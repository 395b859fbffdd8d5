"""Samples stand for the pixels of each class, and take the memory of their features."""

from dataclasses import replace

import numpy as np

from segmenter.fitting.samples import Samples, gather, join, thin


def samples_of(count: int) -> Samples:
    features = np.arange(4 * count, dtype=np.float32).reshape(count, 4)
    return Samples(features, np.zeros(count, np.int64), np.ones(count, np.float32))


def test_gathered_samples_are_those_given_and_lie_in_one_array() -> None:
    given = [samples_of(count) for count in (3, 0, 2)]
    kept = gather(iter(given), most=6)
    assert [len(each) for each in kept] == [3, 0, 2]
    np.testing.assert_array_equal(join(kept).features, join(given).features)
    assert len({id(each.features.base) for each in kept}) == 1
    assert kept[0].features.base is not None


def test_no_image_has_no_samples() -> None:
    assert gather(iter(()), most=6) == []


def test_of_many_images_that_hold_classes_in_turn_some_samples_of_each_class_stay() -> None:
    labels = np.tile([0, 1], 7000)
    labels[[5, 900, 9000]] = 2
    features = np.arange(len(labels), dtype=np.float32)[:, None]
    given = Samples(features, labels, np.ones(len(labels), np.float32))
    kept, places = thin(given, num_classes=4, most=3500)
    np.testing.assert_array_equal(kept.features[:, 0], places)
    np.testing.assert_array_equal(np.bincount(kept.labels), [1748, 1749, 3])
    weights = np.bincount(kept.labels, kept.weights)
    np.testing.assert_allclose(weights, np.bincount(labels), rtol=1e-6)


def test_few_samples_all_stay_as_they_are() -> None:
    given = replace(samples_of(4), labels=np.array([2, 0, 2, 1]))
    kept, places = thin(given, num_classes=3, most=4)
    assert places.tolist() == [0, 1, 2, 3]
    for before, after in zip(vars(given).values(), vars(kept).values(), strict=True):
        np.testing.assert_array_equal(before, after)
