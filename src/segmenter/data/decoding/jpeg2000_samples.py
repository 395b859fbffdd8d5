"""Samples of JPEG 2000 files, without a change of scale.

Pillow decodes 8 bits a sample, and one band of more bits; OpenCV decodes three or four bands of
more bits.
"""

import numpy as np
from jaxtyping import Shaped
from numpy import ndarray

from segmenter.data.decoding.jpeg2000 import REMEDY, Jpeg2000File, check_jpeg2000
from segmenter.data.decoding.opencv_samples import opencv_samples
from segmenter.data.decoding.pillow_warnings import load
from segmenter.errors import UserError


def read_jpeg2000_samples(
    image: Jpeg2000File, data: bytes, name: str
) -> Shaped[ndarray, "height width bands"]:
    """Decode samples of any bits to the numbers in the file: uint8, uint16, or int16 if signed.

    Raises:
        UserError: If they cannot be decoded.
    """
    layout = image.layout
    check_jpeg2000(layout, name)
    if layout.is_deep and (layout.bands > 1 or image.mode != "I;16"):
        # Pillow keeps the upper 8 bits.
        start, end = layout.span  # in its boxes, OpenCV would apply the colour space
        found = opencv_samples(data[start:end])
        if found is None or layout.is_signed:
            raise UserError(f"{name} is JPEG 2000 in a form that is not read; {REMEDY}")
        samples = np.atleast_3d(np.asarray(found))
        order = {3: [2, 1, 0], 4: [2, 1, 0, 3]}.get(samples.shape[2])
        return samples if order is None else np.ascontiguousarray(samples[:, :, order])
    load(image)
    samples = np.atleast_3d(np.array(image))
    shift = (16 if layout.is_deep else 8) - layout.bits
    samples = samples >> shift  # Pillow spreads samples over 8 or 16 bits
    if layout.is_signed:
        return (samples.astype(np.int32) - (1 << (layout.bits - 1))).astype(np.int16)
    return samples
