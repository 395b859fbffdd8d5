"""Connected regions of a label raster of any size, found a strip of rows at a time."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import NamedTuple

import cv2
import numpy as np
from jaxtyping import Float, Int, Int32, UInt, UInt8
from numpy import ndarray

_STRIP_PIXELS = 1 << 23
"""Pixels of a strip: labels, regions and buffers take about 30 bytes for each."""

ReadRows = Callable[[int, int], UInt[ndarray, "rows width"]]
"""Function that returns the rows from the first up to the second number."""


@dataclass(frozen=True)
class Regions:
    """The regions of a raster: 4-connected pixels of one class, small ones joined to neighbours.

    A piece is the part of a region that lies in one strip; pieces are numbered from the top.
    """

    strips: tuple[tuple[int, int], ...]
    """First row of each strip, and the row after its last."""
    first_piece: Int[ndarray, " strips"]
    of_piece: Int32[ndarray, " pieces"]
    """The region of each piece, from 0."""
    labels: Int[ndarray, " regions"]
    """Class of each region."""
    pixels: Int[ndarray, " regions"]
    confidence: Float[ndarray, " regions"]
    """Mean over the pixels of each region; NaN if it was not measured."""
    last_strip: Int[ndarray, " regions"]
    """The lowest strip that each region reaches."""

    def images(self, read_labels: ReadRows) -> Iterator[Int32[ndarray, "rows width"]]:
        """Yield the region of each pixel, strip by strip."""
        for (top, bottom), first in zip(self.strips, self.first_piece, strict=True):
            pieces, labels = _find_pieces(read_labels(top, bottom))
            yield self.of_piece[first : first + len(labels)][pieces]


def find_regions(
    size: tuple[int, int],
    read_labels: ReadRows,
    read_confidence: ReadRows | None = None,
    *,
    min_pixels: float = 0,
    ignore_index: int = 255,
) -> Regions:
    """Find the regions of a label raster.

    Args:
        size: Height and width of the raster.
        read_labels: Reads labels.
        read_confidence: Reads their confidence.
        min_pixels: Regions of fewer pixels are joined to their largest neighbour. Those without a
            neighbour of a class become regions of `ignore_index`.
        ignore_index: Label of pixels without data, which no region is joined to.
    """
    strips = _strips(size)
    gathered = _Gathered(width=size[1], has_neighbours=min_pixels > 0)
    for top, bottom in strips:
        confidence = None if read_confidence is None else read_confidence(top, bottom)
        gathered.add(top, read_labels(top, bottom), confidence)
    pieces = gathered.pieces()
    roots = _join(np.arange(len(pieces.labels)), np.concatenate(gathered.merges))
    of_label = pieces.labels
    if min_pixels > 0:
        roots, of_label = _absorb(pieces, roots, min_pixels, ignore_index)
    kept, of_piece = np.unique(roots, return_inverse=True)
    total = np.bincount(of_piece, pieces.pixels).astype(np.int64)
    last = np.zeros(len(kept), np.int64)
    np.maximum.at(last, of_piece, gathered.strip_of_pieces())
    return Regions(
        strips,
        np.array(gathered.firsts),
        of_piece.astype(np.int32),
        of_label[kept],
        total,
        _means(gathered.sums, of_piece, total),
        last,
    )


class _Gathered:
    """The pieces of all strips, and which of them touch.

    Args:
        width: Width of the raster.
        has_neighbours: Whether to find neighbours and first pixels, which `_absorb` needs.
    """

    def __init__(self, width: int, *, has_neighbours: bool) -> None:
        self.firsts: list[int] = []
        """Number of the first piece of each strip."""
        self.merges: list[Int[ndarray, "pairs 2"]] = [np.empty((0, 2), np.int64)]
        """Pieces of one region, on the two sides of a seam between strips."""
        self.sums: list[Float[ndarray, " pieces"]] = []
        """Sum of the confidence over each piece, where it is measured."""
        self._borders: list[Int[ndarray, "pairs 2"]] = [np.empty((0, 2), np.int64)]
        self._labels: list[Int[ndarray, " pieces"]] = []
        self._pixels: list[Int[ndarray, " pieces"]] = []
        self._places: list[Int[ndarray, " pieces"]] = [np.empty(0, np.int64)]
        self._num_pieces = 0
        self._above: tuple[ndarray, ndarray] | None = None
        """Pieces and labels of the lowest row so far."""
        self._width, self._has_neighbours = width, has_neighbours

    def add(
        self,
        top: int,
        labels: UInt[ndarray, "rows width"],
        confidence: UInt[ndarray, "rows width"] | None,
    ) -> None:
        """Add the strip that begins in row `top`, below all others."""
        pieces, of_strip = _find_pieces(labels)
        flat, count, first = pieces.ravel(), len(of_strip), self._num_pieces
        self.firsts.append(first)
        self._labels.append(of_strip)
        self._pixels.append(np.bincount(flat, minlength=count))
        if confidence is not None:
            self.sums.append(np.bincount(flat, confidence.ravel(), minlength=count))
        if self._has_neighbours:
            self._borders.append(_neighbours(pieces, count) + first)
            self._places.append(_first_pixels(flat, count) + top * self._width)
        if self._above is not None:
            seam = np.stack([self._above[0], pieces[0].astype(np.int64) + first], axis=1)
            is_same = self._above[1] == labels[0]
            self.merges.append(np.unique(seam[is_same], axis=0))
            self._borders.append(np.unique(seam[~is_same], axis=0))
        self._above = pieces[-1].astype(np.int64) + first, labels[-1]
        self._num_pieces += count

    def pieces(self) -> "_Pieces":
        """Return the pieces of all strips; `places` are empty without `has_neighbours`."""
        parts = (self._labels, self._pixels, self._places, self._borders)
        return _Pieces(*map(np.concatenate, parts))

    def strip_of_pieces(self) -> Int[ndarray, " pieces"]:
        """Return the strip that each piece lies in."""
        return np.repeat(np.arange(len(self._labels)), [len(each) for each in self._labels])


def _means(
    sums: list[Float[ndarray, " pieces"]],
    of_piece: Int[ndarray, " pieces"],
    pixels: Int[ndarray, " regions"],
) -> Float[ndarray, " regions"]:
    """Return the mean over each region; NaN if there are no sums."""
    if not sums:
        return np.full(len(pixels), np.nan)
    return np.bincount(of_piece, np.concatenate(sums)) / pixels


def _strips(size: tuple[int, int]) -> tuple[tuple[int, int], ...]:
    height, width = size
    step = max(1, _STRIP_PIXELS // width)
    return tuple((top, min(top + step, height)) for top in range(0, height, step))


def _find_pieces(
    labels: UInt[ndarray, "rows width"],
) -> tuple[Int32[ndarray, "rows width"], Int[ndarray, " pieces"]]:
    """Return the number of the piece of each pixel, from 0, and the label of each piece."""
    pieces = np.zeros(labels.shape, np.int32)
    of_piece: list[ndarray] = []
    num_pieces = 0
    for label in np.flatnonzero(np.bincount(labels.ravel())):
        is_label: UInt8[ndarray, "rows width"] = (labels == label).view(np.uint8)
        count, found = cv2.connectedComponents(is_label, connectivity=4, ltype=cv2.CV_32S)
        np.add(found, num_pieces - 1, out=pieces, where=is_label.view(bool))
        of_piece.append(np.full(count - 1, label, np.int64))
        num_pieces += count - 1
    return pieces, np.concatenate(of_piece)


def _neighbours(pieces: Int32[ndarray, "rows width"], num_pieces: int) -> Int[ndarray, "pairs 2"]:
    """Return each pair of pieces that share an edge, once."""
    codes = []
    for first, second in ((pieces[:, :-1], pieces[:, 1:]), (pieces[:-1], pieces[1:])):
        is_edge = first != second
        low = np.minimum(first[is_edge], second[is_edge]).astype(np.int64)
        codes.append(np.unique(low * num_pieces + np.maximum(first[is_edge], second[is_edge])))
    return np.stack(np.divmod(np.unique(np.concatenate(codes)), num_pieces), axis=1)


def _join(
    roots: Int[ndarray, " pieces"], pairs: Int[ndarray, "pairs 2"]
) -> Int[ndarray, " pieces"]:
    """Return the lowest piece that each piece is connected to by `roots` and `pairs`."""
    roots = _followed(roots.copy())
    while True:
        first, second = roots[pairs[:, 0]], roots[pairs[:, 1]]
        low, high = np.minimum(first, second), np.maximum(first, second)
        if (low == high).all():
            return roots
        np.minimum.at(roots, high, low)
        roots = _followed(roots)


def _followed(targets: Int[ndarray, " pieces"]) -> Int[ndarray, " pieces"]:
    """Follow targets to their ends."""
    while True:
        following = targets[targets]
        if (following == targets).all():
            return targets
        targets = following


class _Pieces(NamedTuple):
    """Data of all pieces that `_absorb` needs."""

    labels: Int[ndarray, " pieces"]
    pixels: Int[ndarray, " pieces"]
    places: Int[ndarray, " pieces"]
    """Place of the first pixel of each, so that results do not depend on the height of strips."""
    borders: Int[ndarray, "pairs 2"]


def _absorb(
    pieces: _Pieces, roots: Int[ndarray, " pieces"], min_pixels: float, ignore_index: int
) -> tuple[Int[ndarray, " pieces"], Int[ndarray, " pieces"]]:
    """Join small regions to their largest neighbours, until none is left that has one.

    Returns:
        The root of each piece, and the label of each root.
    """
    labels, numbers = pieces.labels.copy(), np.arange(len(roots))
    while True:
        total = np.bincount(roots, pieces.pixels, minlength=len(roots)).astype(np.int64)
        places = pieces.places.copy()
        np.minimum.at(places, roots, pieces.places)
        is_small = (total < min_pixels) & (labels != ignore_index)
        pairs = roots[pieces.borders]
        source, target = np.concatenate([pairs, pairs[:, ::-1]]).T
        is_larger = (total[target] > total[source]) | (
            (total[target] == total[source]) & (places[target] > places[source])
        )
        is_usable = is_small[source] & (labels[target] != ignore_index) & is_larger
        source, target = source[is_usable], target[is_usable]
        if not len(source):
            labels[(total < min_pixels) & (total > 0)] = ignore_index
            return roots, labels
        order = np.lexsort((places[target], total[target]))
        joined = numbers.copy()
        joined[source[order]] = target[order]  # the last, and so the largest, wins
        ends = _followed(joined)[roots]
        of_end = labels[ends]
        is_same = of_end[pieces.borders[:, 0]] == of_end[pieces.borders[:, 1]]
        ties = np.stack([numbers, ends], axis=1)
        roots = _join(numbers, np.concatenate([ties, pieces.borders[is_same]]))
        labels = np.where(numbers == roots, of_end, labels)


def _first_pixels(pieces: Int32[ndarray, " pixels"], num_pieces: int) -> Int[ndarray, " pieces"]:
    """Return the position of the first pixel of each piece."""
    first = np.empty(num_pieces, np.int64)
    first[pieces[::-1]] = np.arange(len(pieces) - 1, -1, -1)
    return first
