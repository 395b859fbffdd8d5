"""Runs of pixels: how a stroke travels from the page to the file, and into a layer."""

from collections.abc import Sequence

import numpy as np
from jaxtyping import Bool, Int32, UInt8
from numpy import ndarray

from segmenter.errors import UserError

Runs = Int32[ndarray, "runs 3"]
"""Row, first column and the column after the last, of each run."""
Box = tuple[int, int, int, int]
"""Top, left, and the row and the column after the last."""


def read_runs(flat: Sequence[int], shape: tuple[int, int]) -> Runs:
    """Return the runs of a flat list `row, first, end, row, first, end, ...`.

    Args:
        flat: Whole numbers, three for each run.
        shape: Height and width of the image.

    Raises:
        UserError: If they are not runs of pixels of such an image.
    """
    height, width = shape
    if not flat or len(flat) % 3:
        raise UserError(
            f"a stroke holds {len(flat)} numbers; it takes three for each run: row, first column "
            "and the column after the last"
        )
    try:
        numbers = np.asarray(flat, dtype=np.int64).reshape(-1, 3)
    except OverflowError:
        raise UserError("a stroke holds numbers that no image is large enough for") from None
    row, first, end = numbers.T
    is_wrong = (row < 0) | (row >= height) | (first < 0) | (first >= end) | (end > width)
    if is_wrong.any():
        wrong = numbers[int(is_wrong.argmax())].tolist()
        raise UserError(
            f"the run {wrong} (row, first column, column after the last) leaves the image of "
            f"{height} x {width} pixels (height x width), or is empty"
        )
    return numbers.astype(np.int32)


def runs_of(mask: Bool[ndarray, "height width"]) -> Runs:
    """Return the runs of the pixels that are True, row by row."""
    height, width = mask.shape
    padded = np.zeros((height, width + 1), dtype=np.int8)
    padded[:, :width] = mask
    steps = np.diff(padded.ravel(), prepend=np.int8(0))
    first, end = np.flatnonzero(steps == 1), np.flatnonzero(steps == -1)
    row = first // (width + 1)
    return np.stack([row, first % (width + 1), end - row * (width + 1)], axis=1).astype(np.int32)


def paint_runs(layer: UInt8[ndarray, "height width"], runs: Runs, value: int) -> None:
    """Set the pixels of all runs to a value, in place."""
    for row, first, end in runs.tolist():
        layer[row, first:end] = value


def box_of(runs: Runs) -> Box:
    """Return the smallest box around all runs."""
    row, first, end = runs.T
    return int(row.min()), int(first.min()), int(row.max()) + 1, int(end.max())


def mask_of(runs: Runs, shape: tuple[int, int]) -> Bool[ndarray, "height width"]:
    """Return a mask that is True in the runs alone."""
    mask = np.zeros(shape, dtype=np.uint8)
    paint_runs(mask, runs, 1)
    return mask.astype(bool)
