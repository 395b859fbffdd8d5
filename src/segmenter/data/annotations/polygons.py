"""Polygons filled with pixels, by the two rules that annotation tools have.

Where coordinates are edges of pixels (COCO and what follows it), a pixel is inside if its centre
is: the arithmetic of `cocoapi/common/maskApi.c` (`rleFrPoly`), to the pixel. Where they are centres
of pixels (labelme, Supervisely), the pixels on the outline are inside too: Pillow draws them, as
labelme does, or OpenCV, as Supervisely does.
"""

from typing import NamedTuple

import cv2
import numpy as np
from jaxtyping import Bool, Float, Int64
from numpy import ndarray
from PIL import Image, ImageDraw

Ring = Float[ndarray, "_ 2"]
"""Corners (x, y) of a closed line, in pixels from the upper left corner of the image."""
Size = tuple[int, int]
"""Height and width."""

_UPSAMPLED = 5
"""`rleFrPoly` rounds corners to fifths of a pixel."""
_MAX_CROSSINGS = 1 << 20
"""Held at once: a small file may have an outline that goes to and fro a million times."""


class Patch(NamedTuple):
    """Pixels of a region, cut out of their image."""

    mask: Bool[ndarray, "box_height box_width"]
    left: int = 0
    top: int = 0
    is_cut: bool = False
    """True: a part of the region lies outside of the image."""


NOTHING = Patch(np.zeros((0, 0), dtype=bool))


def fill_between_edges(ring: Ring, size: Size) -> Patch:
    """Fill a polygon whose coordinates are edges of pixels, by the even-odd rule.

    Args:
        ring: Its corners; what lies outside of the image is cut off.
        size: Height and width of the image, in pixels.
    """
    sides = _sides(ring, size)
    if int(sides.counts.sum()) > _MAX_CROSSINGS:
        return _fill_by_groups(sides, size)
    columns, rows = _crossings(sides, size[0])
    if not len(columns):
        return NOTHING
    left, top = int(columns.min()), int(rows.min())
    width, height = int(columns.max()) + 1 - left, int(rows.max()) - top
    # Each crossing begins or ends a run down its column; one at the lower end begins the next.
    turns = np.sort((columns - left) * height + rows - top)
    runs = np.diff(turns, prepend=0, append=width * height)
    is_inside = np.arange(len(runs)) % 2 == 1
    return Patch(np.repeat(is_inside, runs).reshape(width, height).T, left, top)


def fill_through_centres(ring: Ring, size: Size, *, is_ellipse: bool = False) -> Patch:
    """Fill a polygon whose coordinates are centres of pixels, with the pixels on its outline.

    Args:
        ring: Its corners, of which fractions are dropped, as Pillow does.
        size: Height and width of the image, in pixels.
        is_ellipse: Fill the ellipse within the upright rectangle of these corners instead.
    """
    corners = np.trunc(ring).astype(np.int64)
    low, (box_width, box_height) = _box_of_pixels(corners, size)
    if min(box_width, box_height) <= 0:
        return NOTHING
    canvas = Image.new("L", (box_width, box_height))
    moved = (corners - low).tolist()
    if is_ellipse:
        ImageDraw.Draw(canvas).ellipse([*moved[0], *moved[2]], fill=1, outline=1)
    else:
        ImageDraw.Draw(canvas).polygon(list(map(tuple, moved)), fill=1, outline=1)
    return Patch(np.array(canvas) > 0, int(low[0]), int(low[1]))


def fill_as_opencv(ring: Ring, size: Size) -> Patch:
    """Fill a polygon whose coordinates are centres of pixels, as `cv2.fillPoly` does.

    Slanted sides may differ by a pixel from those of `fill_through_centres`.
    """
    corners = np.floor(ring).astype(np.int64)
    low, (box_width, box_height) = _box_of_pixels(corners, size)
    if min(box_width, box_height) <= 0:
        return NOTHING
    canvas = np.zeros((box_height, box_width), np.uint8)
    cv2.fillPoly(canvas, [(corners - low).astype(np.int32)], 1)
    return Patch(canvas > 0, int(low[0]), int(low[1]))


def _box_of_pixels(
    corners: Int64[ndarray, "corners 2"], size: Size
) -> tuple[Int64[ndarray, "2"], tuple[int, int]]:
    """Return the upper left pixel of the part that lies in the image, and its width and height."""
    height, width = size
    low = np.maximum(corners.min(axis=0), 0)
    high = np.minimum(corners.max(axis=0), [width - 1, height - 1])
    box_width, box_height = (high - low + 1).tolist()
    return low, (box_width, box_height)


def united(patches: list[Patch], size: Size, *, is_even_odd: bool = False) -> Patch:
    """Return the pixels that are in any of some patches; or in an odd number of them."""
    join = np.logical_xor if is_even_odd else np.logical_or
    patches = [patch for patch in patches if patch.mask.size]
    if len(patches) < 2:
        return patches[0] if patches else NOTHING
    left, top = (min(getattr(patch, side) for patch in patches) for side in ("left", "top"))
    canvas = np.zeros(size, dtype=bool)[top:, left:]
    for mask, at_left, at_top, _ in patches:
        rows, columns = mask.shape
        place = canvas[at_top - top :, at_left - left :][:rows, :columns]
        join(place, mask, out=place)
    return tight(Patch(canvas, left, top))


def tight(patch: Patch) -> Patch:
    """Return the same pixels in the smallest box, which holds no larger array."""
    rows = np.flatnonzero(patch.mask.any(axis=1))
    columns = np.flatnonzero(patch.mask.any(axis=0))
    if not len(rows):
        return NOTHING._replace(is_cut=patch.is_cut)
    top, left = int(rows[0]), int(columns[0])
    mask = patch.mask[top : rows[-1] + 1, left : columns[-1] + 1].copy()
    return Patch(mask, patch.left + left, patch.top + top, patch.is_cut)


class _Sides(NamedTuple):
    """Sides of a polygon in fifths of a pixel, and which middle lines of columns they cross."""

    starts: Int64[ndarray, "sides 2"]
    ends: Int64[ndarray, "sides 2"]
    is_flat: Bool[ndarray, " sides"]
    """True where a side is at least as wide as high."""
    first: Int64[ndarray, " sides"]
    """The first column that it crosses."""
    counts: Int64[ndarray, " sides"]
    """Number of columns that it crosses."""


def _fill_by_groups(sides: _Sides, size: Size) -> Patch:
    """Fill a polygon of any number of crossings: those of some sides at a time.

    A pixel is inside if the outline crosses its column an odd number of times above its centre.
    """
    height, width = size
    is_turn = np.zeros((width, height + 1), dtype=bool)
    group = (np.cumsum(sides.counts) - 1) // _MAX_CROSSINGS
    starts = np.flatnonzero(np.diff(group, prepend=-1)).tolist()
    for start, end in zip(starts, [*starts[1:], len(group)], strict=True):
        some = _Sides(*(each[start:end] for each in sides))
        columns, rows = _crossings(some, height)
        turns, times = np.unique(columns * (height + 1) + rows, return_counts=True)
        is_turn.ravel()[turns[times % 2 == 1]] ^= True
    mask = np.logical_xor.accumulate(is_turn[:, :height], axis=1).T
    return tight(Patch(mask))


def _sides(ring: Ring, size: Size) -> _Sides:
    """Return the sides of a polygon.

    `rleFrPoly` walks along each side in steps of a fifth of a pixel. Of these steps only those
    matter that go over the middle of a column: from 5 x + 2 to 5 x + 3, or back.
    """
    width = size[1]
    corners = np.trunc(_UPSAMPLED * ring + 0.5).astype(np.int64)
    starts, ends = corners, np.roll(corners, -1, axis=0)
    across, down = np.abs(ends - starts).T
    is_flat = across >= down
    is_flipped = np.where(is_flat, starts[:, 0] > ends[:, 0], starts[:, 1] > ends[:, 1])
    starts, ends = (
        np.where(is_flipped[:, None], ends, starts),
        np.where(is_flipped[:, None], starts, ends),
    )
    lowest, highest = np.minimum(starts[:, 0], ends[:, 0]), np.maximum(starts[:, 0], ends[:, 0])
    first = np.maximum(-((2 - lowest) // _UPSAMPLED), 0)
    last = np.minimum((highest - 3) // _UPSAMPLED, width - 1)
    return _Sides(starts, ends, is_flat, first, np.maximum(last - first + 1, 0))


def _crossings(
    sides: _Sides, height: int
) -> tuple[Int64[ndarray, " crossings"], Int64[ndarray, " crossings"]]:
    """Return columns, and the rows at which some sides cross their middle lines."""
    starts, ends, is_flat, first, counts = sides
    side = np.repeat(np.arange(len(counts)), counts)
    if not len(side):
        return side, side
    columns = first[side] + np.arange(len(side)) - np.repeat(np.cumsum(counts) - counts, counts)
    starts, steps = starts[side], (ends - starts)[side]
    rows = np.where(
        is_flat[side], _rows_of_flat(starts, steps, columns), _rows_of_steep(starts, steps, columns)
    )
    rows = np.ceil(np.clip((rows + 0.5) / _UPSAMPLED - 0.5, 0, height)).astype(np.int64)
    return columns, rows


def _rows_of_flat(
    starts: Int64[ndarray, "crossings 2"],
    steps: Int64[ndarray, "crossings 2"],
    columns: Int64[ndarray, " crossings"],
) -> Int64[ndarray, " crossings"]:
    """Rows, in fifths, where sides that are wider than high are walked along their x."""
    slopes = steps[:, 1] / np.maximum(steps[:, 0], 1)
    before = _UPSAMPLED * columns + 2 - starts[:, 0]
    rows = [np.trunc(starts[:, 1] + slopes * at + 0.5) for at in (before, before + 1)]
    return np.minimum(*rows).astype(np.int64)


def _rows_of_steep(
    starts: Int64[ndarray, "crossings 2"],
    steps: Int64[ndarray, "crossings 2"],
    columns: Int64[ndarray, " crossings"],
) -> Int64[ndarray, " crossings"]:
    """Rows, in fifths, where sides that are higher than wide are walked along their y."""
    slopes = steps[:, 0] / np.maximum(steps[:, 1], 1)
    is_rising = slopes > 0
    level = _UPSAMPLED * columns + 2.5
    safe = np.where(slopes == 0, 1, slopes)
    at = np.floor((level - starts[:, 0]) / safe).astype(np.int64) - 1
    for _ in range(4):  # to the first step beyond the middle, in the arithmetic of the C code
        reached = np.trunc(starts[:, 0] + slopes * at + 0.5)
        at += ~np.where(is_rising, reached > level, reached < level)
    return starts[:, 1] + at - 1
