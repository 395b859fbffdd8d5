"""How wide regions are, from runs of pixels."""

import numpy as np
import pytest

from segmenter.data.masks.region_widths import NO_SIZES, SizeFacts, region_widths


def drawn(size: tuple[int, int], *boxes: tuple[int, int, int, int, int]) -> np.ndarray:
    """Class 0, with boxes of other classes: class, top, left, height, width."""
    labels = np.zeros(size, dtype=np.uint8)
    for index, top, left, height, width in boxes:
        labels[top : top + height, left : left + width] = index
    return labels


def test_a_pole_is_as_wide_as_it_is_thick_however_it_lies() -> None:
    labels = drawn((100, 120), (1, 5, 10, 80, 4), (2, 90, 20, 6, 90))
    assert region_widths(labels, 3).tolist()[1:] == [4, 6]


def test_a_net_whose_parts_touch_is_as_wide_as_its_threads() -> None:
    labels = drawn((200, 200))
    for place in range(0, 200, 20):
        labels[place : place + 3] = labels[:, place : place + 3] = 1
    assert region_widths(labels, 2)[1] == 3


def test_stray_pixels_do_not_make_a_class_thin() -> None:
    labels = drawn((100, 100), (1, 40, 40, 30, 30))
    labels[::9, ::9] = 1
    assert region_widths(labels, 2)[1] == 30


def test_a_class_that_is_absent_or_ignored_has_no_width() -> None:
    widths = region_widths(drawn((20, 20), (255, 0, 0, 5, 5)), 2)
    assert np.isnan(widths).tolist() == [False, True]


def test_large_masks_are_looked_at_in_some_of_their_rows_and_columns() -> None:
    rng = np.random.default_rng(0)
    boxes = [(1, *rng.integers(0, 1900, 2).tolist(), 40, 25) for _ in range(60)]
    assert region_widths(drawn((2000, 2000), *boxes), 2)[1] == pytest.approx(25, abs=2)


def test_the_thinnest_class_is_found_relative_to_the_images() -> None:
    sizes = np.array([[100, 200]] * 200)
    widths = np.full((200, 3), np.nan, np.float32)
    widths[:, 0], widths[:50, 1], widths[0, 2] = 60, 5, 1
    thinnest = SizeFacts(sizes, widths).thinnest()
    assert thinnest == (1, pytest.approx(0.05)), "class 2 is in one mask of 200"
    assert NO_SIZES.thinnest() is None
