"""Polygons are filled to the pixel as pycocotools and as labelme fill them."""

import tracemalloc

import numpy as np
import pytest
from PIL import Image, ImageDraw

from segmenter.data.annotations import polygons
from segmenter.data.annotations.polygons import (
    Patch,
    fill_between_edges,
    fill_through_centres,
    united,
)
from segmenter.label_files.annotations.outlines import find_regions

pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")


def placed(patch: Patch, size: tuple[int, int]) -> np.ndarray:
    canvas = np.zeros(size, dtype=bool)
    height, width = patch.mask.shape
    canvas[patch.top : patch.top + height, patch.left : patch.left + width] = patch.mask
    return canvas


def random_ring(seed: int) -> tuple[np.ndarray, tuple[int, int]]:
    random = np.random.default_rng(seed)
    height, width = (int(side) for side in random.integers(1, 70, 2))
    reach = random.choice([0.0, 0.3, 3.0])
    low, high = -reach * width, (1 + reach) * width
    ring = random.uniform(low, high, (int(random.integers(3, 12)), 2)) * [1, height / width]
    if seed % 3 == 0:
        ring = np.round(ring)
    elif seed % 3 == 1:
        ring = np.round(ring, 1)
    return ring, (height, width)


@pytest.mark.parametrize("seed", range(200))
def test_a_polygon_between_edges_has_the_pixels_that_pycocotools_gives_it(seed: int) -> None:
    coco_mask = pytest.importorskip("pycocotools.mask", reason="needs pycocotools")
    ring, size = random_ring(seed)
    (theirs,) = coco_mask.frPyObjects([ring.ravel().tolist()], *size)
    np.testing.assert_array_equal(
        placed(fill_between_edges(ring, size), size), coco_mask.decode(theirs).astype(bool)
    )


@pytest.mark.parametrize("seed", range(100))
def test_a_polygon_through_centres_has_the_pixels_that_labelme_draws(seed: int) -> None:
    ring, (height, width) = random_ring(seed)
    canvas = Image.new("L", (width, height))
    ImageDraw.Draw(canvas).polygon([tuple(point) for point in ring], outline=1, fill=1)
    ours = placed(fill_through_centres(ring, (height, width)), (height, width))
    np.testing.assert_array_equal(ours, np.array(canvas) > 0)


@pytest.mark.parametrize("seed", range(30))
def test_outlines_with_holes_fill_to_the_mask_they_were_traced_from(seed: int) -> None:
    random = np.random.default_rng(seed)
    size = (int(random.integers(1, 40)), int(random.integers(1, 40)))
    mask = random.random(size) < random.random()
    rings = [region.as_one_ring().astype(float) for region in find_regions(mask)]
    filled = united([fill_between_edges(ring, size) for ring in rings], size)
    np.testing.assert_array_equal(placed(filled, size), mask)


@pytest.mark.parametrize("fill", [fill_between_edges, fill_through_centres])
def test_a_polygon_outside_of_the_image_has_no_pixel(fill) -> None:
    ring = np.array([[20.0, 20], [30, 20], [30, 30]])
    assert not placed(fill(ring, (10, 10)), (10, 10)).any()
    assert not placed(fill(-ring, (10, 10)), (10, 10)).any()


@pytest.mark.parametrize("seed", range(40))
def test_a_polygon_filled_by_groups_of_sides_has_the_same_pixels(
    seed: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    ring, size = random_ring(seed)
    at_once = placed(fill_between_edges(ring, size), size)
    monkeypatch.setattr(polygons, "_MAX_CROSSINGS", 7)
    np.testing.assert_array_equal(placed(fill_between_edges(ring, size), size), at_once)


def test_an_outline_that_goes_to_and_fro_takes_bounded_memory(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(polygons, "_MAX_CROSSINGS", 1 << 14)
    ring = np.stack([np.arange(2000) % 2 * 500.0, np.linspace(0, 400, 2000)], axis=1)
    tracemalloc.start()
    try:
        fill_between_edges(ring, (400, 500))
        (_, peak) = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < 20 << 20, "all crossings, a million, take 100 MB and more"
