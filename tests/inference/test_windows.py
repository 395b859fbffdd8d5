"""Windows cover an image; their weights blend."""

import itertools

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from segmenter.inference.windows import window_grid, window_starts, window_weights


@pytest.mark.parametrize(
    ("length", "window", "stride", "starts"),
    [
        (64, 64, 48, [0]),
        (10, 64, 48, [0]),
        (65, 64, 48, [0, 1]),
        (112, 64, 48, [0, 48]),
        (113, 64, 48, [0, 48, 49]),
        (128, 64, 64, [0, 64]),
    ],
)
def test_the_last_window_is_moved_back_inside(length, window, stride, starts) -> None:
    assert window_starts(length, window, stride) == starts


@pytest.mark.parametrize(
    ("length", "starts"),
    [(64, [0]), (65, [0, 1]), (100, [0, 36]), (128, [0, 64]), (150, [0, 43, 86])],
)
def test_even_windows_share_the_overlap(length: int, starts: list[int]) -> None:
    assert window_starts(length, 64, 64, "even") == starts


@given(st.data())
def test_windows_cover_every_pixel_in_steps_of_at_most_the_stride(data) -> None:
    length, window = data.draw(st.integers(1, 300)), data.draw(st.integers(1, 100))
    stride = data.draw(st.integers(1, window))
    spacing = data.draw(st.sampled_from(["stride", "even"]))
    starts = window_starts(length, window, stride, spacing)
    covered = np.zeros(length, dtype=int)
    for start in starts:
        assert 0 <= start <= max(length - window, 0)
        covered[start : start + window] += 1
    assert covered.min() >= 1
    assert all(0 < after - before <= stride for before, after in itertools.pairwise(starts))


@given(st.integers(1, 60), st.integers(1, 60), st.integers(1, 40))
def test_all_windows_lie_inside(height, width, window) -> None:
    grid = window_grid((height, width), window, max(1, window // 2))
    assert (grid.height, grid.width) == (min(window, height), min(window, width))
    assert grid.rows[0] == grid.columns[0] == 0
    assert grid.rows[-1] + grid.height == height
    assert grid.columns[-1] + grid.width == width


def test_a_blended_window_counts_most_in_its_middle() -> None:
    weights = window_weights(10, "linear")
    np.testing.assert_allclose(weights, weights[::-1])
    assert (np.diff(weights[:5]) > 0).all()
    assert weights[0] > 0
    assert (window_weights(10, "none") == 1).all()
