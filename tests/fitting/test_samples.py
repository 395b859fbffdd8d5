"""Samples of many images take the memory of their features, and no more."""

import numpy as np

from segmenter.fitting.samples import Samples, gather, join


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
