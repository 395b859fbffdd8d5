"""Outlines of the regions of a mask, along the edges of its pixels."""

from typing import NamedTuple

import cv2
import numpy as np
from jaxtyping import Bool, Int
from numpy import ndarray

Ring = Int[ndarray, "corners 2"]
"""Corners (x, y) of a closed line, in pixels from the upper left corner of the image; each side is
level or upright."""


class Region(NamedTuple):
    """Pixels of a mask that touch each other by their sides."""

    outer: Ring
    holes: list[Ring]

    def as_one_ring(self) -> Ring:
        """Return one line that goes out to each hole and back, for formats without holes."""
        start = self.outer[:1]
        parts = [self.outer, start] if self.holes else [self.outer]
        for hole in self.holes:
            parts += [hole, hole[:1], start]
        return np.concatenate(parts)


def find_regions(mask: Bool[ndarray, "height width"]) -> list[Region]:
    """Trace the regions of a mask; filling them with the even-odd rule gives the mask again."""
    _, components = cv2.connectedComponents(mask.astype(np.uint8), connectivity=4)
    outers: dict[int, Ring] = {}
    holes: dict[int, list[Ring]] = {}
    for ring in _trace(mask):
        x, y = ring[0]  # the uppermost corner, of these the leftmost
        if mask[y, x]:
            outers[int(components[y, x])] = ring
        else:
            holes.setdefault(int(components[y - 1, x]), []).append(ring)
    return [Region(ring, holes.get(component, [])) for component, ring in outers.items()]


def _trace(mask: Bool[ndarray, "height width"]) -> list[Ring]:
    """Find every closed line between mask and surroundings, each from its uppermost left corner.

    A line turns where an odd number of the four pixels around a point are in the mask, and twice
    where two are in it across the diagonal. On each level the corners, from left to right, are
    ends of level sides alternately; and so they are on each upright.
    """
    padded = np.pad(mask, 1)
    upper_left, upper_right = padded[:-1, :-1], padded[:-1, 1:]
    lower_left, lower_right = padded[1:, :-1], padded[1:, 1:]
    is_single = upper_left ^ upper_right ^ lower_left ^ lower_right
    is_double = (upper_left == lower_right) & (upper_right == lower_left)
    is_double &= upper_left != upper_right
    ys, xs = np.nonzero(is_single | is_double)
    copies = 1 + is_double[ys, xs]
    ys, xs = np.repeat(ys, copies), np.repeat(xs, copies)
    if not len(xs):
        return []

    # Of the two corners at one point, the first has its level side to the left. It goes up where
    # the upper left pixel is in the mask, as its outline turns around that pixel.
    is_second = np.zeros(len(xs), dtype=bool)
    is_second[1:] = (xs[1:] == xs[:-1]) & (ys[1:] == ys[:-1])
    goes_up_second = is_second != upper_left[ys, xs]
    by_row = np.lexsort((is_second, xs, ys))
    by_column = np.lexsort((~goes_up_second, ys, xs))
    beside, above = np.empty(len(xs), dtype=np.intp), np.empty(len(xs), dtype=np.intp)
    beside[by_row[0::2]], beside[by_row[1::2]] = by_row[1::2], by_row[0::2]
    above[by_column[0::2]], above[by_column[1::2]] = by_column[1::2], by_column[0::2]

    corners = np.stack([xs, ys], axis=1)
    return [corners[ring] for ring in _follow(beside.tolist(), above.tolist())]


def _follow(beside: list[int], above: list[int]) -> list[list[int]]:
    """Walk from corner to corner, along level and upright sides alternately, until each is used."""
    is_used = [False] * len(beside)
    rings = []
    for start in range(len(beside)):
        if is_used[start]:
            continue
        ring, corner = [], start
        while not is_used[corner]:
            other = beside[corner]
            is_used[corner] = is_used[other] = True
            ring += [corner, other]
            corner = above[other]
        rings.append(ring)
    return rings
