"""COCO's run-length code of masks: lengths of runs down the columns, 0 first, packed into text.

Both ways: the form of `cocoapi/common/maskApi.c` (`rleEncode`, `rleToString`, `rleFrString`).
"""

from typing import TypedDict

import numpy as np
from jaxtyping import Bool, Int64, UInt
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


def decode_region(counts: str, size: tuple[int, int]) -> Bool[ndarray, "height width"]:
    """Return the pixels that a packed region covers.

    Args:
        counts: Run lengths, outside first, down one column after the other.
        size: Height and width.
    """
    return fill_runs(unpack_runs(counts), size)


def fill_runs(
    runs: Int64[ndarray, " runs"], size: tuple[int, int], *, by_column: bool = True
) -> Bool[ndarray, "height width"]:
    """Return the pixels inside alternating runs, outside first, down the columns or along the rows.

    Raises:
        ValueError: If they do not add up to the height and width of `size`.
    """
    height, width = size
    if (runs < 0).any() or runs.sum() != height * width:
        raise ValueError(
            f"run lengths that add up to {int(runs.sum())} pixels, where {height} x {width} are "
            f"{height * width}"
        )
    pixels = np.repeat(np.arange(len(runs)) % 2 == 1, runs)
    return pixels.reshape(width, height).T if by_column else pixels.reshape(height, width)


def unpack_runs(counts: str) -> Int64[ndarray, " runs"]:
    """Run lengths out of COCO's text.

    A number is some characters of 5 bits each, the lowest first: 32 is set where more follow, and
    16 in the last one is the sign. From the fourth on, a run is stored as the difference to the
    run before the last.
    """
    if not counts.isascii():
        raise ValueError("run lengths are not text of COCO's kind")
    codes = np.frombuffer(counts.encode("ascii"), dtype=np.uint8).astype(np.int64) - 48
    if not len(codes) or (codes < 0).any() or (codes > 63).any() or codes[-1] & 32:
        raise ValueError("run lengths are not text of COCO's kind")
    ends = np.flatnonzero((codes & 32) == 0)
    starts = np.concatenate([[0], ends[:-1] + 1])
    lengths = ends - starts + 1
    if lengths.max() > 7:
        raise ValueError("a run length has more than 32 bits")
    shifts = 5 * (np.arange(len(codes)) - np.repeat(starts, lengths))
    numbers = np.add.reduceat((codes & 31) << shifts, starts)
    numbers -= np.where(codes[ends] & 16, np.int64(1) << 5 * lengths, 0)
    runs = numbers.copy()
    runs[1::2] = np.cumsum(numbers[1::2])
    runs[2::2] = np.cumsum(numbers[2::2])
    return runs


def run_lengths(values: Bool[ndarray, " pixels"]) -> list[int]:
    """Return lengths of alternating runs outside and inside, outside first."""
    ends = np.flatnonzero(np.diff(values)) + 1
    lengths = np.diff(ends, prepend=0, append=len(values)).tolist()
    return [0, *lengths] if values[0] else lengths
