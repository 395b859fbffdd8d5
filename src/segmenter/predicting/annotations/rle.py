"""COCO's run-length code of masks: lengths of runs down the columns, 0 first, packed into text.

The form of `cocoapi/common/maskApi.c` (`rleEncode`, `rleToString`).
"""

from typing import TypedDict

import numpy as np
from jaxtyping import Int64, UInt
from numpy import ndarray


class Rle(TypedDict):
    """A mask as COCO's JSON holds it."""

    size: list[int]
    """Height and width."""
    counts: str
    """The lengths of the runs, packed."""


def masks_rle(labels: UInt[ndarray, "height width"]) -> dict[int, Rle]:
    """Return the mask of each number that occurs in a label map."""
    height, width = labels.shape
    by_column = labels.T.ravel()
    starts = np.flatnonzero(np.diff(by_column, prepend=by_column[:1] ^ 1))
    lengths = np.diff(starts, append=by_column.size)
    owners = by_column[starts]
    masks = {}
    for index in np.unique(owners):
        is_run = owners == index
        counts = _counts(starts[is_run], lengths[is_run], by_column.size)
        masks[int(index)] = Rle(size=[height, width], counts=_pack(counts))
    return masks


def _counts(
    starts: Int64[ndarray, " runs"], lengths: Int64[ndarray, " runs"], total: int
) -> Int64[ndarray, " counts"]:
    """Return alternating lengths of what is outside and inside a mask, outside first."""
    ends = starts + lengths
    gaps = np.diff(starts, prepend=0)
    gaps[1:] -= lengths[:-1]
    counts = np.stack([gaps, lengths], axis=1).ravel()
    rest = total - ends[-1]
    return np.append(counts, rest) if rest else counts


def _pack(counts: Int64[ndarray, " counts"]) -> str:
    """Pack lengths into text: differences to the length before last, five bits a letter."""
    rest = counts.copy()
    rest[3:] -= counts[1:-2]
    letters, is_used = [], []
    going_on = np.ones(len(rest), dtype=bool)
    while going_on.any():
        bits = rest & 31
        rest >>= 5
        more = np.where(bits & 16, rest != -1, rest != 0)
        letters.append(bits + 32 * more + 48)
        is_used.append(going_on)
        going_on = going_on & more
    packed = np.stack(letters, axis=1)[np.stack(is_used, axis=1)]
    return packed.astype(np.uint8).tobytes().decode("ascii")
