"""Windows of maps and the areas that they lie in, so that splits do not share an area."""

import hashlib
import math
from collections import Counter
from collections.abc import Iterable, Iterator
from typing import Any, NamedTuple

import numpy as np

from segmenter.files.optional import import_optional

Block = tuple[int, int, int]
"""Map (0 if maps have a place), column and row of an area."""
_EDGE = 1e-6
"""Share of a block that rounding may move an edge by."""
_LEAST_SHARE = 4
"""Windows at the edge of a map are used from a quarter of their side on."""


class MapWindow(NamedTuple):
    """A window of a map, in pixels, and the areas that it touches."""

    left: int
    top: int
    width: int
    height: int
    blocks: frozenset[Block]
    """The first of them, in order, is the one it counts for."""


class BlockGrid:
    """A grid of areas along the rows and columns of the first map, which continues over all others.

    Args:
        first: The first map, open.
        side: Side of an area, in pixels of the first map.
    """

    def __init__(self, first: Any, side: int) -> None:
        self.crs, self.side = first.crs, side
        self._to_pixels = _matrix(~first.transform)
        """From coordinates to columns and rows of the first map."""

    def windows(self, image: Any, number: int, side: int) -> Iterator[MapWindow]:
        """Yield the windows of a map, without gaps, in rows; those at its edges are smaller.

        Args:
            image: The map, open.
            number: Its number; maps without a place have areas of their own.
            side: Side of a window, in pixels.
        """
        left, top = self._start(image, side)
        for row in range(top, image.height, side):
            for column in range(left, image.width, side):
                first, upper = max(column, 0), max(row, 0)
                width = min(column + side, image.width) - first
                height = min(row + side, image.height) - upper
                if min(width, height) * _LEAST_SHARE >= side:
                    blocks = self._blocks(image, number, (first, upper, width, height))
                    yield MapWindow(first, upper, width, height, blocks)

    def _start(self, image: Any, side: int) -> tuple[int, int]:
        """Return the first column and row of windows, from which they fit into areas."""
        if self.crs is None or image.crs != self.crs:
            return 0, 0
        (a, b, c), (d, e, f), _ = self._to_pixels @ _matrix(image.transform)
        if abs(b) > _EDGE or abs(d) > _EDGE:
            return 0, 0
        column, row = round(-c / a) % side, round(-f / e) % side
        return column - side if column else 0, row - side if row else 0

    def _blocks(self, image: Any, number: int, window: tuple[int, int, int, int]) -> frozenset:
        left, top, width, height = window
        columns = np.array([left, left + width, left, left + width])
        rows = np.array([top, top, top + height, top + height])
        if self.crs is None:
            number += 1
        else:
            columns, rows, number = *self._pixels_of_first(image, columns, rows), 0
        ranges = []
        for values in (columns, -rows):
            low = math.floor(values.min() / self.side + _EDGE)
            high = math.ceil(values.max() / self.side - _EDGE)
            ranges.append(range(low, max(high, low + 1)))
        return frozenset((number, column, row) for column in ranges[0] for row in ranges[1])

    def _pixels_of_first(self, image: Any, columns: Any, rows: Any) -> tuple[Any, Any]:
        """Return the columns and rows of the first map at those of another."""
        ones = np.ones_like(columns)
        x, y, _ = _matrix(image.transform) @ np.stack([columns, rows, ones])
        if image.crs != self.crs:
            warp = import_optional("a GeoTIFF", "rasterio.warp", extra="geo")
            x, y = (np.array(each) for each in warp.transform(image.crs, self.crs, x, y))
        columns, rows, _ = self._to_pixels @ np.stack([x, y, ones])
        return columns, rows


def _matrix(transform: Any) -> Any:
    """Return the 3 x 3 matrix of an affine transform."""
    return np.array(tuple(transform)[:9]).reshape(3, 3)


def block_of(window: MapWindow) -> Block:
    """Return the area that a window counts for."""
    return min(window.blocks)


def choose_val_blocks(windows: Iterable[MapWindow], share: float) -> set[Block]:
    """Choose areas, by a hash of their place, that hold about a share of all windows.

    Of two areas or more, each split gets at least one. An area that would hold far more than what
    is missing is left out: of few areas, one may hold nearly all windows.
    """
    counts = Counter(map(block_of, windows))
    wanted, chosen, held = share * sum(counts.values()), set(), 0
    blocks = sorted(counts, key=_hash)
    for block in blocks:
        if held + counts[block] / 2 <= wanted and len(chosen) < len(blocks) - 1:
            chosen.add(block)
            held += counts[block]
    if not chosen and len(blocks) > 1:
        chosen.add(min(blocks, key=counts.__getitem__))
    return chosen


def split_of(window: MapWindow, val_blocks: set[Block]) -> str | None:
    """Return the split of a window; None if it touches areas of both."""
    num_val = len(window.blocks & val_blocks)
    if num_val == len(window.blocks):
        return "val"
    return None if num_val else "train"


def _hash(block: Block) -> bytes:
    return hashlib.sha256(repr(block).encode()).digest()
