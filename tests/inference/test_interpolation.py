"""Interpolation by weights of rows and columns equals torch's."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from numpy import ndarray
from torch.nn import functional as F

from segmenter.inference.interpolation import (
    AxisMap,
    resize_axis,
    tile_axis,
    tile_length,
    window_axis,
)
from segmenter.inference.windows import window_weights

CPU = torch.device("cpu")


def apply(axis: AxisMap, values: ndarray) -> ndarray:
    return (values[axis.indices] * axis.weights).sum(axis=1)


@given(st.integers(1, 60), st.integers(1, 60))
def test_resizing_is_torchs_bilinear(old, new) -> None:
    values = np.sin(np.arange(old) * 2.3)
    resized = F.interpolate(
        torch.from_numpy(values)[None, None, :, None], (new, 1), mode="bilinear"
    )
    np.testing.assert_allclose(
        apply(resize_axis(old, new), values), resized.flatten().numpy(), atol=1e-12
    )


def test_resizing_to_the_same_length_has_one_source_each() -> None:
    axis = resize_axis(7, 7)
    assert axis.indices.tolist() == [[i] for i in range(7)]


@given(st.integers(1, 40), st.integers(1, 40), st.integers(1, 40))
def test_one_map_then_another_is_both(first, second, third) -> None:
    values = np.cos(np.arange(first) * 1.7)
    one, two = resize_axis(first, second), resize_axis(second, third)
    np.testing.assert_allclose(
        apply(one.then(two), values), apply(two, apply(one, values)), atol=1e-12
    )


def test_windows_are_merged_by_their_weighted_mean() -> None:
    starts, weights = [0, 3, 5], window_weights(6, "linear")
    axis = window_axis(resize_axis(2, 6), 2, starts, weights)
    values = np.array([1.0, 2.0, 5.0, 3.0, -1.0, 4.0])
    total, counts = np.zeros(11), np.zeros(11)
    for index, start in enumerate(starts):
        window = apply(resize_axis(2, 6), values[2 * index : 2 * index + 2])
        total[start : start + 6] += window * weights
        counts[start : start + 6] += weights
    np.testing.assert_allclose(apply(axis, values), total / counts, atol=1e-12)


def test_blended_windows_that_disagree_have_no_step_between_them() -> None:
    upsampled = resize_axis(1, 64)
    steps = {
        blend: np.abs(
            np.diff(
                apply(
                    window_axis(upsampled, 1, [0, 32, 64], window_weights(64, blend)),
                    np.array([0.0, 1.0, 0.0]),
                )
            )
        ).max()
        for blend in ("none", "linear")
    }
    assert steps["none"] == 0.5
    assert steps["linear"] == pytest.approx(1 / 32)


@pytest.mark.parametrize("length", [8, 9, 16, 50])
@pytest.mark.parametrize("targets", [1, 8, 31, 96])
def test_tiles_hold_the_whole_axis_and_repeat_its_ends(targets, length) -> None:
    axis = resize_axis(6, targets)
    values = np.sin(np.arange(6) * 2.3)
    tiles = tile_axis(axis, length, CPU)
    found = torch.einsum(
        "tls,ts->tl", tiles.weights.double(), torch.from_numpy(values)[tiles.indices]
    ).flatten()
    pixels = np.arange(len(found)) - length // 2
    expected = apply(axis, values)[pixels.clip(0, targets - 1)]
    np.testing.assert_allclose(found, expected, atol=1e-6)


@pytest.mark.parametrize("patch", [14, 16])
def test_a_tile_lies_between_the_centres_of_patches(patch) -> None:
    axis = resize_axis(32, 32 * patch)
    assert tile_length([axis]) == patch
    tiles = tile_axis(axis, patch, CPU)
    assert tiles.indices.shape[1] == 2


@pytest.mark.parametrize(("pixels", "expected"), [(4, 8), (16, 16), (47, 24), (500, 31)])
def test_tiles_are_neither_tiny_nor_huge(pixels, expected) -> None:
    assert tile_length([resize_axis(10, 10 * pixels)]) == expected
