"""Outlines: filled again, they are the mask they were traced from."""

import cv2
import numpy as np
import pytest

from segmenter.label_files.annotations.outlines import find_regions


def fill(mask_shape: tuple[int, int], rings: list[np.ndarray]) -> np.ndarray:
    """Even-odd, by counting for each pixel the upright sides to its left."""
    height, width = mask_shape
    crossings = np.zeros((height, width + 1), dtype=int)
    for ring in rings:
        for (x0, y0), (x1, y1) in zip(ring, np.roll(ring, -1, axis=0), strict=True):
            assert x0 == x1 or y0 == y1
            if x0 == x1:
                crossings[min(y0, y1) : max(y0, y1), x0] += 1
    return (crossings.cumsum(axis=1)[:, :width] % 2).astype(bool)


@pytest.mark.parametrize("seed", range(30))
def test_filled_outlines_are_the_mask(seed: int) -> None:
    random = np.random.default_rng(seed)
    shape = (int(random.integers(1, 30)), int(random.integers(1, 30)))
    mask = random.random(shape) < random.random()
    regions = find_regions(mask)
    rings = [ring for region in regions for ring in (region.outer, *region.holes)]
    np.testing.assert_array_equal(fill(shape, rings), mask)


@pytest.mark.parametrize("seed", range(10))
def test_each_region_is_one_component_with_its_own_holes(seed: int) -> None:
    random = np.random.default_rng(seed)
    mask = cv2.resize(random.random((12, 12)).astype(np.float32), (48, 40)) > 0.5
    count, components = cv2.connectedComponents(mask.astype(np.uint8), connectivity=4)
    regions = find_regions(mask)
    filled = [fill(mask.shape, [region.outer, *region.holes]) for region in regions]
    expected = [components == index for index in range(1, count)]
    assert {each.tobytes() for each in filled} == {each.tobytes() for each in expected}


def test_an_empty_mask_has_no_region_and_a_full_one_has_four_corners() -> None:
    assert find_regions(np.zeros((5, 7), dtype=bool)) == []
    (region,) = find_regions(np.ones((5, 7), dtype=bool))
    assert sorted(map(tuple, region.outer)) == [(0, 0), (0, 5), (7, 0), (7, 5)]
    assert not region.holes


def test_a_ring_with_a_hole_becomes_one_line() -> None:
    mask = np.ones((5, 5), dtype=bool)
    mask[2, 2] = False
    (region,) = find_regions(mask)
    assert len(region.holes) == 1
    assert len(region.as_one_ring()) == 4 + 1 + 4 + 2
