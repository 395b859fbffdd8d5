"""What a protocol shows the model of a photo: at which sizes, resized how."""

from typing import NamedTuple

import cv2
import numpy as np
from jaxtyping import Shaped, UInt8
from numpy import ndarray
from torch import Tensor
from torch.nn import functional as F

from segmenter.model import Protocol
from segmenter.model.segmenter import ImageSize


def resized_size(size: tuple[int, ...], protocol: Protocol, scale: float = 1.0) -> ImageSize:
    """Height and width of a photo of `size` after the protocol's resize, times `scale`."""
    factor = scale
    if protocol.short_side is not None:
        short_side = max(1, int(protocol.short_side * scale))
        factor = min(short_side / min(size), protocol.max_ratio * short_side / max(size))
    height, width = (side * factor for side in size)
    if protocol.rounding == "half-even":
        return max(1, round(height)), max(1, round(width))
    return max(1, int(height + 0.5)), max(1, int(width + 0.5))


class ViewSize(NamedTuple):
    """The two steps in which a photo gets the size of a view."""

    photo: ImageSize
    """The photo is resized to this,"""
    view: ImageSize
    """and then, normalised, to this; mostly the same."""


def view_sizes(size: tuple[int, ...], protocol: Protocol) -> list[ViewSize]:
    """How a photo of `size` (height, width) is brought to each scale."""
    if protocol.scales_of == "photo":
        photos = [resized_size(size, protocol, scale) for scale in protocol.scales]
        return [ViewSize(each, _large_enough(each, protocol)) for each in photos]
    photo = height, width = resized_size(size, protocol)
    views = [
        (max(1, int(height * scale + 0.5)), max(1, int(width * scale + 0.5)))
        for scale in protocol.scales
    ]
    return [ViewSize(photo, _large_enough(each, protocol)) for each in views]


def mean_size(size: tuple[int, ...], protocol: Protocol) -> ImageSize:
    """At which size the views of a photo of `size` are averaged."""
    if protocol.scales_of == "resized":
        return resized_size(size, protocol)
    height, width = size
    return height, width


def _large_enough(size: ImageSize, protocol: Protocol) -> ImageSize:
    """Where the protocol enlarges small images: the short side at least that of the window."""
    height, width = size
    window = protocol.window
    if protocol.small_image == "as-is" or window is None or min(size) >= window:
        return size
    long_side = int(max(size) / min(size) * window)
    return (window, long_side) if height < width else (long_side, window)


def resize_photo(
    image: UInt8[ndarray, "height width channels"], size: ImageSize, dtype: str
) -> ndarray:
    """Resize bilinearly, without smoothing, as the models were trained; in `dtype` numbers."""
    image = image.astype(dtype, copy=False)
    if image.shape[:2] == size:
        return image
    height, width = size
    resized = cv2.resize(
        np.ascontiguousarray(image), (width, height), interpolation=cv2.INTER_LINEAR
    )
    return resized.reshape(height, width, -1)


def resize_pixels(
    pixels: Shaped[Tensor, "batch channels height width"], size: ImageSize
) -> Shaped[Tensor, "batch channels new_height new_width"]:
    """Resize a second time, without rounding, as the published code does with normalised images.

    To normalise after is the same: what is mixed here has weights that sum to 1.
    """
    if pixels.shape[2:] == size:
        return pixels
    return F.interpolate(pixels.float(), size, mode="bilinear", align_corners=False)
