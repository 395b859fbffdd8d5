"""Interpolate patch logits to pixels, along one axis.

Each step between patches and pixels is linear and separable: upsampling a window, the mean of
overlapping windows, mirroring, resizing to the image. So is their composition, and each row or
column of the picture is a weighted mean of a few rows or columns of patches. An `AxisMap` holds
these weights, computed in float64 once a picture; `TileWeights` group them for the arithmetic on
pixels.
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import torch
from jaxtyping import Float32, Float64, Int64
from numpy import ndarray
from torch import Tensor


class AxisMap(NamedTuple):
    """A weighted mean of a few sources for each target along an axis."""

    indices: Int64[ndarray, "targets taps"]
    weights: Float64[ndarray, "targets taps"]
    """Not negative; they add up to 1 for each target."""

    def then(self, after: "AxisMap") -> "AxisMap":
        """Return this map followed by another."""
        indices = self.indices[after.indices]
        weights = self.weights[after.indices] * after.weights[:, :, None]
        return _compact(indices.reshape(len(indices), -1), weights.reshape(len(weights), -1))

    def mirrored(self, num_sources: int | None = None) -> "AxisMap":
        """Return this map with its targets in reverse order, and with its sources if counted."""
        if num_sources is None:
            return AxisMap(self.indices[::-1], self.weights[::-1])
        return AxisMap(num_sources - 1 - self.indices[::-1, ::-1], self.weights[::-1, ::-1])


def resize_axis(old: int, new: int) -> AxisMap:
    """Return bilinear resizing of `old` numbers to `new`: `align_corners=False`, no smoothing."""
    places = np.maximum((np.arange(new) + 0.5) * (old / new) - 0.5, 0)
    low = np.minimum(places.astype(np.int64), old - 1)
    high_weight = places - low
    indices = np.stack([low, np.minimum(low + 1, old - 1)], axis=1)
    return _compact(indices, np.stack([1 - high_weight, high_weight], axis=1))


def window_axis(
    upsampled: AxisMap,
    num_patches: int,
    starts: Sequence[int],
    blend: Float64[ndarray, " window"],
) -> AxisMap:
    """Merge windows along an axis by their weighted mean where they overlap.

    The weight of a window at a pixel must be that of the row times that of the column; then so is
    the sum of weights, and rows and columns can be merged one after the other.

    Args:
        upsampled: From the patches of a window to its pixels.
        num_patches: Patches of a window; indices count through all windows in turn.
        starts: First pixel of each window; together they cover the axis.
        blend: Weight of each pixel along a window.
    """
    window, firsts = len(blend), np.array(starts)
    pixels = np.arange(firsts[-1] + window)
    first = np.searchsorted(firsts + window, pixels, side="right")
    last = np.searchsorted(firsts, pixels, side="right") - 1
    covering = first[:, None] + np.arange((last - first).max() + 1)
    is_real = covering <= last[:, None]
    covering = np.minimum(covering, last[:, None])
    inside = pixels[:, None] - firsts[covering]
    weight = blend[inside] * is_real
    weight /= weight.sum(axis=1, keepdims=True)
    indices = covering[:, :, None] * num_patches + upsampled.indices[inside]
    weights = weight[:, :, None] * upsampled.weights[inside]
    return _compact(indices.reshape(len(pixels), -1), weights.reshape(len(pixels), -1))


def _compact(
    indices: Int64[ndarray, "targets taps"], weights: Float64[ndarray, "targets taps"]
) -> AxisMap:
    """Add up the weights of equal indices, and drop indices without a weight."""
    num_targets, num_taps = indices.shape
    main = np.take_along_axis(indices, weights.argmax(axis=1)[:, None], axis=1)
    indices = np.where(weights > 0, indices, main)
    order = indices.argsort(axis=1, kind="stable")
    indices = np.take_along_axis(indices, order, axis=1)
    weights = np.take_along_axis(weights, order, axis=1)
    is_new = np.diff(indices, axis=1, prepend=-1) > 0
    slots = is_new.cumsum(axis=1) - 1
    places = slots + np.arange(num_targets)[:, None] * num_taps
    summed = np.bincount(places.ravel(), weights.ravel(), minlength=indices.size)
    kept = np.repeat(main, num_taps, axis=1)
    np.put_along_axis(kept, slots, indices, axis=1)
    width = int(slots.max()) + 1
    return AxisMap(kept[:, :width], summed.reshape(num_targets, num_taps)[:, :width])


class TileWeights(NamedTuple):
    """The targets of an axis in tiles of one length, and the sources that each tile needs.

    The first tile begins before the axis, and the last ends behind it; what lies outside repeats
    the axis' ends.
    """

    indices: Int64[Tensor, "tiles span"]
    weights: Float32[Tensor, "tiles length span"]

    def __getitem__(self, tiles: slice) -> "TileWeights":  # pyright: ignore[reportIncompatibleMethodOverride]
        """Return some of the tiles."""
        return TileWeights(self.indices[tiles], self.weights[tiles])


def tile_axis(axis: AxisMap, length: int, device: torch.device) -> TileWeights:
    """Cut an axis into tiles of `length`; the first ends at target `length - length // 2`.

    So tiles of the size of a patch lie between the centres of patches, where bilinear
    interpolation has the same sources for all pixels.
    """
    num_targets, num_taps = axis.indices.shape
    num_tiles = -(-(num_targets + length // 2) // length)
    targets = np.arange(num_tiles * length) - length // 2
    targets = targets.clip(0, num_targets - 1)
    taps = axis.indices[targets].reshape(num_tiles, length * num_taps)
    ordered = np.sort(taps, axis=1)
    slots = (np.diff(ordered, axis=1, prepend=-1) > 0).cumsum(axis=1) - 1
    span = int(slots.max()) + 1
    indices = np.repeat(ordered[:, :1], span, axis=1)
    np.put_along_axis(indices, slots, ordered, axis=1)
    matches = taps[:, :, None] == indices[:, None, :]
    matches &= np.arange(span) <= slots[:, -1, None, None]  # not what only fills the row
    weights = axis.weights[targets].reshape(num_tiles, -1, 1) * matches
    weights = weights.reshape(num_tiles, length, num_taps, span).sum(axis=2)
    return TileWeights(
        torch.from_numpy(indices).to(device), torch.from_numpy(weights).float().to(device)
    )


def tile_length(axes: Sequence[AxisMap]) -> int:
    """Return the length of a patch in the picture, or a better one if it is tiny or huge."""
    patch = min(len(axis.indices) / (int(axis.indices.max()) + 1) for axis in axes)
    if patch > _MAX_TILE:
        return round(patch / np.ceil(patch / _MAX_TILE))
    return max(_MIN_TILE, round(patch))


_MIN_TILE, _MAX_TILE = 8, 32
