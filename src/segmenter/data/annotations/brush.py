"""Label Studio's code of a brush, both ways: runs of the bytes of an RGBA picture, as bits.

Its form is that of `rle-pack` (thi.ng/umbrella): how many bytes, their width less 1, four widths of
lengths less 1; then runs: a 1, which width, the length less 1, the byte.
"""

from collections.abc import Sequence

import numpy as np
from jaxtyping import Bool
from numpy import ndarray

from segmenter.data.annotations.polygons import Size
from segmenter.data.annotations.rle import run_lengths


def pack_brush(mask: Bool[ndarray, "height width"]) -> list[int]:
    """Pack a mask into the bytes of Label Studio's brush."""
    length_bits = 16
    lengths = run_lengths(mask.ravel())
    num_bytes = 4 * mask.size
    bits = [f"{num_bytes:032b}", f"{8 - 1:05b}", f"{length_bits - 1:04b}" * 4]
    for turn, length in enumerate(lengths):
        byte = "11111111" if turn % 2 else "00000000"
        left = 4 * length
        while left:
            run = min(left, 1 << length_bits)
            bits.append(f"100{run - 1:016b}{byte}")
            left -= run
    stream = np.frombuffer("".join(bits).encode(), dtype=np.uint8) - ord("0")
    return np.packbits(stream).tolist()


def unpack_brush(stream: Sequence[int], size: Size) -> Bool[ndarray, "height width"]:
    """Unpack Label Studio's brush; a pixel is inside if its alpha is not 0.

    Args:
        stream: Its bytes.
        size: Height and width of the image.

    Raises:
        ValueError: If it is damaged, or of an image of another size.
    """
    try:
        bits = _Bits(bytes(stream))
    except ValueError:
        raise ValueError("a brush is numbers from 0 to 255; export it again") from None
    num_bytes, height, width = bits.read(32), *size
    if num_bytes != 4 * height * width:
        raise ValueError(
            f"a brush of {num_bytes} bytes, where {height} x {width} pixels are "
            f"{4 * height * width}; export it again"
        )
    word = bits.read(5) + 1
    widths = [bits.read(4) + 1 for _ in range(4)]
    lengths, values, done = [], [], 0
    while done < num_bytes:
        is_run = bits.read(1)
        length = bits.read(widths[bits.read(2)]) + 1
        done += length
        if is_run:
            lengths.append(length)
            values.append(bits.read(word))
        else:
            lengths += [1] * length
            values += [bits.read(word) for _ in range(length)]
    if done > num_bytes:
        raise ValueError("a brush whose runs are longer than its image; export it again")
    is_inside = np.repeat(np.array(values) > 0, lengths)
    return is_inside.reshape(height, width, 4)[:, :, 3]


class _Bits:
    """Numbers in a stream of bits."""

    def __init__(self, data: bytes) -> None:
        self._data = data + bytes(8)
        self._end = 8 * len(data)
        self._position = 0

    def read(self, count: int) -> int:
        """Return the number in the next bits, 32 at most."""
        start, before = divmod(self._position, 8)
        self._position += count
        if self._position > self._end:
            raise ValueError("a brush that ends too early; export it again")
        chunk = int.from_bytes(self._data[start : start + 5], "big")
        return chunk >> (40 - before - count) & ((1 << count) - 1)
