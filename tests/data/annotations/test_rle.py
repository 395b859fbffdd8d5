"""COCO's run lengths: pycocotools reads back the mask of every class."""

import numpy as np
import pytest

from segmenter.data.annotations.rle import masks_rle

coco_mask = pytest.importorskip("pycocotools.mask", reason="needs pycocotools")
pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")


@pytest.mark.parametrize("seed", range(20))
def test_pycocotools_reads_back_every_class(seed: int) -> None:
    random = np.random.default_rng(seed)
    shape = tuple(int(side) for side in random.integers(1, 60, 2))
    num_classes = int(random.integers(1, 6))
    labels = random.integers(0, num_classes, shape).astype(np.uint8)
    if seed % 2:  # long runs
        labels = np.sort(labels, axis=seed // 2 % 2)
    masks = masks_rle(labels)
    assert set(masks) == set(np.unique(labels).tolist())
    for index, rle in masks.items():
        np.testing.assert_array_equal(coco_mask.decode(rle), labels == index)


def test_the_text_is_the_one_that_pycocotools_writes() -> None:
    labels = (np.indices((300, 200)).sum(axis=0) // 37 % 3).astype(np.uint8)
    for index, rle in masks_rle(labels).items():
        theirs = coco_mask.encode(np.asfortranarray(labels == index))
        assert rle["counts"] == theirs["counts"].decode()
