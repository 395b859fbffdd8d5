"""A decoder that dies of one file; apart, since tests import more than its memory allows."""

import os
import signal

from jaxtyping import UInt8
from numpy import ndarray

from segmenter.data.decoding.decode import Limits, decode_image
from segmenter.extras.serving.decode_process import Reading

KILLER = b"\x89PNG of the kind that kills"


def die_of_killer(
    data: bytes, limits: Limits, reading: Reading
) -> UInt8[ndarray, "height width 3"]:
    """Decode, unless the bytes are those that kill the process."""
    if data == KILLER:
        os.kill(os.getpid(), signal.SIGKILL)
    return decode_image(data, limits=limits, image_bits=reading.bits)


def spin_on_large(
    data: bytes, limits: Limits, reading: Reading
) -> UInt8[ndarray, "height width 3"]:
    """Decode, unless the image has more rows than 100: then compute for ever."""
    pixels = decode_image(data, limits=limits, image_bits=reading.bits)
    while len(pixels) > 100:
        pass
    return pixels
