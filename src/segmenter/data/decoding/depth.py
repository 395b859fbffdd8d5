"""Images of more than 8 bits a sample: where white lies, and how samples become bytes.

Cameras and scanners put 10, 12 or 14 bits into files of 16. Such a file seldom says so, and taken
as 16 bits its image is all but black. So white lies at 2^bits - 1, where `bits` is, in this order:
what the format fixes (a TIFF of 12 bits a sample; the header of a PGM); what the user says; what
the file says (the chunk sBIT of a PNG); the fewest of 8, 10, 12, 14 and 16 that hold the largest
sample of the file.
"""

import struct
from typing import Any

import numpy as np
from jaxtyping import UInt8, UInt16
from numpy import ndarray
from PIL import ImageFile

from segmenter.data.decoding.jpeg2000 import Jpeg2000File, layout_of
from segmenter.data.decoding.jpeg2000_samples import read_jpeg2000_samples
from segmenter.data.decoding.opencv_samples import opencv_samples
from segmenter.errors import UserError

RANGES = (8, 10, 12, 14, 16)
"""Bits per sample, found from the largest sample of a file."""
_MAX_SHARE_ABOVE_WHITE = 0.01
"""A few samples above white are glare or dead pixels; more of them are another range."""
_FIRST_CHUNKS = 1 << 16
"""Bytes of a PNG in which sBIT is looked for: it stands before the pixels."""


def bits_for(largest: int) -> int:
    """Return the fewest bits of `RANGES` that hold a sample, which is at most 65535."""
    return next(bits for bits in RANGES if largest < 1 << bits)


def is_deep(image: ImageFile.ImageFile) -> bool:
    """Return True for more than 8 bits a sample; only the header has been read."""
    layout = layout_of(image)
    if layout is not None:
        return layout.is_deep
    is_pgm = image.format == "PPM" and image.mode == "I"
    return image.mode.startswith("I;16") or ";16" in raw_mode(image) or is_pgm


def exact_bits(image: ImageFile.ImageFile) -> int | None:
    """Return the bits the format gives each sample, if not 16; only the header has been read."""
    layout = layout_of(image)
    if layout is not None:
        return layout.bits if layout.bits < 16 else None
    if image.format == "PPM" and image.tile[0].codec_name != "raw":
        return 16  # Pillow brings what the header calls white to 65535
    return 12 if "I;12" in raw_mode(image) else None


def stated_bits(image: ImageFile.ImageFile, data: bytes) -> int | None:
    """Return the significant bits that a PNG declares for its samples (chunk sBIT), or None."""
    place = data[:_FIRST_CHUNKS].find(b"sBIT") if image.format == "PNG" else -1
    if place < 4 or place > len(data) - 8:
        return None
    (length,) = struct.unpack(">I", data[place - 4 : place])
    bits = max(data[place + 4 : place + 4 + min(length, 3)], default=16)
    return bits if 8 <= bits <= 16 else None


def deep_samples(image: ImageFile.ImageFile, data: bytes, name: str) -> UInt16[ndarray, "..."]:
    """Return the samples of an image of more than 8 bits, uint16, (H, W) or RGB (H, W, 3).

    Pillow keeps only the upper 8 bits of colour. Where these say that 16 bits are used, they are
    what is needed, and are given back times 256. Else OpenCV reads the file, and must agree.

    Args:
        image: Decoded, unless it is JPEG 2000.
        data: The bytes of its file.
        name: What errors call it.

    Raises:
        UserError: If the two do not agree.
    """
    if isinstance(image, Jpeg2000File):
        samples = read_jpeg2000_samples(image, data, name)
        if samples.dtype != np.uint16:
            raise UserError(
                f"{name} holds signed values of {image.layout.bits} bits, which does not say how "
                "bright white is; --data.bands all reads them as they are"
            )
        return samples[:, :, 0] if samples.shape[2] == 1 else samples[:, :, :3]
    if image.mode == "I":
        signed = np.array(image)
        if signed.min(initial=0) < 0:
            raise UserError(
                f"{name} holds int16 values from {signed.min()} to {signed.max()}; images have "
                "none below 0: save it with 8 or 16 bits a pixel, unsigned"
            )
        return signed.astype(np.uint16)
    if image.mode.startswith("I;16"):
        return np.array(image).astype(np.uint16)
    upper = np.array(image.convert("RGB"))
    if upper.max(initial=0) >= 1 << 6:  # more than 14 bits are used
        return upper.astype(np.uint16) << 8
    return deep_colors(upper, data, name)


def deep_colors(
    upper: UInt8[ndarray, "height width 3"], data: bytes, name: str
) -> UInt16[ndarray, "height width 3"]:
    """Return all 16 bits of an RGB file, of which Pillow keeps the upper 8.

    Raises:
        UserError: If OpenCV does not read the file, or not to the same upper 8.
    """
    samples = opencv_samples(data)
    if samples is not None and samples.dtype == np.uint16:
        if samples.ndim == 2:
            samples = np.repeat(samples[:, :, None], 3, axis=2)
        samples = samples[:, :, 2::-1]
        colors = np.ascontiguousarray(samples, dtype=np.uint16)
        if colors.shape == upper.shape and np.array_equal(colors >> 8, upper):
            return colors
    raise UserError(
        f"{name} holds colours of 16 bits in a form of which only the upper 8 bits are read; save "
        "it with 8 bits, or as PNG"
    )


def choose_bits(
    samples: UInt16[ndarray, "..."], stated: int | None, given: int | None, name: str
) -> int:
    """Return the bits that hold the samples of a file; white is 2^bits - 1.

    Args:
        samples: Samples of the whole image.
        stated: What the file says; it does not count if a sample is larger.
        given: What the user says.
        name: What errors call the image.

    Raises:
        UserError: If more than one sample in a hundred is above the white that was given.
    """
    if given is None:
        largest = int(samples.max(initial=0))
        return stated if stated and largest < 1 << stated else bits_for(largest)
    share = np.count_nonzero(samples >= 1 << given) / max(samples.size, 1) if given < 16 else 0
    if share > _MAX_SHARE_ABOVE_WHITE:
        raise UserError(
            f"{name}: {100 * share:.0f} % of its values are above {(1 << given) - 1}, white of "
            f"images of {given} bits, and the largest is {samples.max()}; image_bits of "
            "classes.yaml, or --image-bits, sets how many there are"
        )
    return given


def as_bytes(samples: UInt16[ndarray, "..."], bits: int) -> UInt8[ndarray, "height width 3"]:
    """Return the upper 8 of `bits` bits as RGB; what is above white is white."""
    pixels = np.minimum(samples >> (bits - 8), 255).astype(np.uint8)
    return np.repeat(pixels[:, :, None], 3, axis=2) if pixels.ndim == 2 else pixels


def color_values(
    samples: UInt16[ndarray, "height width 3"], name: str
) -> UInt8[ndarray, "height width 3"]:
    """Return the colours of a mask as uint8, where nothing is lost.

    Raises:
        UserError: If they need 16 bits.
    """
    if samples.max(initial=0) < 1 << 8:
        return samples.astype(np.uint8)
    if np.array_equal(samples & 255, samples >> 8):  # 8 bits stretched to 16
        return (samples >> 8).astype(np.uint8)
    raise UserError(
        f"{name} holds colours of 16 bits, up to {samples.max()}; the colours of a mask have 8: "
        "export it with 8 bits a channel, or as grey values"
    )


def raw_mode(image: ImageFile.ImageFile) -> str:
    """Return the raw mode of the pixels in the file, in Pillow's words, such as `RGB;16B`."""
    arguments: Any = image.tile[0].args if image.tile else None
    return arguments if isinstance(arguments, str) else str((arguments or [""])[0])


def is_white_zero(image: ImageFile.ImageFile) -> bool:
    """Return True if 0 is white in a TIFF; Pillow inverts only samples of 8 bits."""
    return image.format == "TIFF" and getattr(image, "tag_v2", {}).get(262) == 0
