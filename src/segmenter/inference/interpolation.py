"""How patch logits make up a picture, along one axis.

Each step between patches and pixels is linear and separable: upsampling a window, the mean of
overlapping windows, mirroring, resizing to the image. So is their composition, and each row or
column of the picture is a weighted mean of a few rows or columns of patches. An `AxisMap` holds
these weights, computed in float64 once a picture; `Tiles` group them for the arithmetic on pixels.
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

    sources: Int64[ndarray, "targets taps"]
    shares: Float64[ndarray, "targets taps"]
    """Not negative; they add up to 1 for each target."""

    def then(self, after: "AxisMap") -> "AxisMap":
        """This map, and another on its result."""
        sources = self.sources[after.sources]
        shares = self.shares[after.sources] * after.shares[:, :, None]
        return _compact(sources.reshape(len(sources), -1), shares.reshape(len(shares), -1))

    def mirrored(self) -> "AxisMap":
        """This map with its targets in reverse order."""
        return AxisMap(self.sources[::-1], self.shares[::-1])


def resize_axis(old: int, new: int) -> AxisMap:
    """Bilinear resizing of `old` numbers to `new`: `align_corners=False`, no smoothing."""
    places = np.maximum((np.arange(new) + 0.5) * (old / new) - 0.5, 0)
    low = np.minimum(places.astype(np.int64), old - 1)
    high_share = places - low
    sources = np.stack([low, np.minimum(low + 1, old - 1)], axis=1)
    return _compact(sources, np.stack([1 - high_share, high_share], axis=1))


def window_axis(
    upsampled: AxisMap,
    num_patches: int,
    starts: Sequence[int],
    weights: Float64[ndarray, " window"],
) -> AxisMap:
    """Windows along an axis, merged by their weighted mean where they overlap.

    The weight of a window at a pixel must be that of the row times that of the column; then so is
    the sum of weights, and rows and columns can be merged one after the other.

    Args:
        upsampled: From the patches of a window to its pixels.
        num_patches: Patches of a window; sources count through all windows in turn.
        starts: First pixel of each window; together they cover the axis.
        weights: Of each pixel of a window.
    """
    window, firsts = len(weights), np.array(starts)
    pixels = np.arange(firsts[-1] + window)
    first = np.searchsorted(firsts + window, pixels, side="right")
    last = np.searchsorted(firsts, pixels, side="right") - 1
    covering = first[:, None] + np.arange((last - first).max() + 1)
    is_real = covering <= last[:, None]
    covering = np.minimum(covering, last[:, None])
    inside = pixels[:, None] - firsts[covering]
    weight = weights[inside] * is_real
    weight /= weight.sum(axis=1, keepdims=True)
    sources = covering[:, :, None] * num_patches + upsampled.sources[inside]
    shares = weight[:, :, None] * upsampled.shares[inside]
    return _compact(sources.reshape(len(pixels), -1), shares.reshape(len(pixels), -1))


def _compact(
    sources: Int64[ndarray, "targets taps"], shares: Float64[ndarray, "targets taps"]
) -> AxisMap:
    """Add up the shares of equal sources, and drop sources without a share."""
    num_targets, num_taps = sources.shape
    main = np.take_along_axis(sources, shares.argmax(axis=1)[:, None], axis=1)
    sources = np.where(shares > 0, sources, main)
    order = sources.argsort(axis=1, kind="stable")
    sources = np.take_along_axis(sources, order, axis=1)
    shares = np.take_along_axis(shares, order, axis=1)
    is_new = np.diff(sources, axis=1, prepend=-1) > 0
    slots = is_new.cumsum(axis=1) - 1
    places = slots + np.arange(num_targets)[:, None] * num_taps
    summed = np.bincount(places.ravel(), shares.ravel(), minlength=sources.size)
    kept = np.repeat(main, num_taps, axis=1)
    np.put_along_axis(kept, slots, sources, axis=1)
    width = int(slots.max()) + 1
    return AxisMap(kept[:, :width], summed.reshape(num_targets, num_taps)[:, :width])


class Tiles(NamedTuple):
    """The targets of an axis in tiles of one length, and the sources that each tile needs.

    The first tile begins before the axis, and the last ends behind it; what lies outside repeats
    the axis' ends.
    """

    sources: Int64[Tensor, "tiles span"]
    shares: Float32[Tensor, "tiles length span"]

    def __getitem__(self, tiles: slice) -> "Tiles":  # pyright: ignore[reportIncompatibleMethodOverride]
        """Some of the tiles."""
        return Tiles(self.sources[tiles], self.shares[tiles])


def tile_axis(axis: AxisMap, length: int, device: torch.device) -> Tiles:
    """Cut an axis into tiles of `length`; the first ends at target `length - length // 2`.

    So tiles of the size of a patch lie between the centres of patches, where bilinear
    interpolation has the same sources for all pixels.
    """
    num_targets, num_taps = axis.sources.shape
    num_tiles = -(-(num_targets + length // 2) // length)
    targets = np.arange(num_tiles * length) - length // 2
    targets = targets.clip(0, num_targets - 1)
    taps = axis.sources[targets].reshape(num_tiles, length * num_taps)
    ordered = np.sort(taps, axis=1)
    slots = (np.diff(ordered, axis=1, prepend=-1) > 0).cumsum(axis=1) - 1
    span = int(slots.max()) + 1
    sources = np.repeat(ordered[:, :1], span, axis=1)
    np.put_along_axis(sources, slots, ordered, axis=1)
    matches = taps[:, :, None] == sources[:, None, :]
    matches &= np.arange(span) <= slots[:, -1, None, None]  # not what only fills the row
    shares = axis.shares[targets].reshape(num_tiles, -1, 1) * matches
    shares = shares.reshape(num_tiles, length, num_taps, span).sum(axis=2)
    return Tiles(torch.from_numpy(sources).to(device), torch.from_numpy(shares).float().to(device))


def tile_length(axes: Sequence[AxisMap]) -> int:
    """A good length of tiles: that of a patch in the picture, if it is neither tiny nor huge."""
    patch = min(len(axis.sources) / (int(axis.sources.max()) + 1) for axis in axes)
    if patch > _MAX_TILE:
        return round(patch / np.ceil(patch / _MAX_TILE))
    return max(_MIN_TILE, round(patch))


_MIN_TILE, _MAX_TILE = 8, 32
