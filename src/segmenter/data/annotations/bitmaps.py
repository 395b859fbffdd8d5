"""Small pictures inside of JSON: the pixels of one region."""

import base64
import binascii
import zlib
from io import BytesIO

import numpy as np
from jaxtyping import Bool
from numpy import ndarray
from PIL.PngImagePlugin import PngImageFile

from segmenter.data.annotations.polygons import Size
from segmenter.data.decoding.pillow_warnings import load, quiet

_MAX_PNG_BYTES = 64 << 20


def decode_base64(text: str) -> bytes:
    """Return the bytes of base64.

    Raises:
        ValueError: If it is none.
    """
    try:
        return base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError):
        raise ValueError("pixels that are not base64; export it again") from None


def inflate(data: bytes) -> bytes:
    """Return what zlib packed, up to the size of any honest PNG.

    Raises:
        ValueError: If it is none, or larger.
    """
    unpacked = zlib.decompressobj()
    try:
        content = unpacked.decompress(data, _MAX_PNG_BYTES)
    except zlib.error:
        raise ValueError("pixels that zlib cannot unpack; export it again") from None
    if unpacked.unconsumed_tail:
        raise ValueError(f"pixels of more than {_MAX_PNG_BYTES} bytes; export it again")
    return content


def decode_bitmap(
    data: bytes, size: Size | None = None, largest: Size | None = None
) -> Bool[ndarray, "height width"]:
    """Decode a PNG into pixels that are in or out: by its alpha, or else whatever is not 0.

    Args:
        data: The PNG.
        size: Height and width that it must have.
        largest: Height and width that it may have at most.

    Raises:
        ValueError: If it is not a PNG, or of another size.
    """
    try:
        with quiet():
            image = PngImageFile(BytesIO(data))
    except Exception:
        raise ValueError("pixels that are not a PNG; export it again") from None
    found = image.size[1], image.size[0]
    if size is not None and found != size:
        raise ValueError(
            f"a mask of {found[0]} x {found[1]} pixels in a box of {size[0]} x {size[1]}"
        )
    if largest is not None and (found[0] > largest[0] or found[1] > largest[1]):
        raise ValueError(
            f"a mask of {found[0]} x {found[1]} pixels in an image of {largest[0]} x {largest[1]}"
        )
    try:
        load(image)
        pixels = image.getchannel("A") if "A" in image.getbands() else image
        values = np.array(pixels)
    except Exception:
        raise ValueError("pixels of a PNG that is cut or damaged; export it again") from None
    return (values.reshape(*found, -1) != 0).max(axis=-1)
