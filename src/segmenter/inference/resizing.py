"""Resize an image as its protocol asks."""

from collections.abc import Iterable
from functools import partial
from typing import NamedTuple, Protocol, runtime_checkable

import cv2
import numpy as np
from jaxtyping import Float32, Shaped
from numpy import ndarray
from PIL import Image

from segmenter.errors import UserError
from segmenter.image_spec import by_opencv
from segmenter.inference.interpolation import AxisMap, resize_axis
from segmenter.model import EvaluationProtocol
from segmenter.model.segmenter import ImageSize


@runtime_checkable
class ImageRows(Protocol):
    """An image that is in memory, or is read a few rows at a time."""

    @property
    def shape(self) -> tuple[int, ...]:
        """Height, width and channels."""
        ...

    def __getitem__(self, rows: slice, /) -> ndarray:
        """Return some rows, (rows, width, channels)."""
        ...


def checked_image(image: object, num_channels: int) -> ndarray:
    """Reject anything but an image, and repeat a grey one for the channels that the model takes.

    Raises:
        UserError: If it is not an array of uint8 with these channels.
    """
    if isinstance(image, ndarray) and image.dtype == np.uint8:
        if image.ndim == 2 and num_channels in {1, 3}:
            return np.broadcast_to(image[:, :, None], (*image.shape, num_channels))
        if image.ndim == 3 and image.shape[2] == num_channels:
            return image
        if image.ndim == 3 and image.shape[2] == 1 and num_channels == 3:
            return np.broadcast_to(image, (*image.shape[:2], num_channels))
    given = type(image).__name__
    if isinstance(image, ndarray):
        given = f"{image.dtype} of shape {image.shape}"
    raise UserError(
        "an image must be a path, a PIL image, a torch tensor, or a NumPy array of uint8 (0 to "
        f"255) and shape (height, width, {num_channels}), got {given}; "
        + _advice(image, num_channels)
    )


def _advice(image: object, num_channels: int) -> str:
    """Return advice on how to turn an input into an image."""
    if isinstance(image, str | bytes | bytearray) or hasattr(image, "read"):
        return "open it with PIL.Image.open, or give the path of a file"
    if not isinstance(image, ndarray):
        several = isinstance(image, Iterable)
        return "give several images as a list: list(images)" if several else "convert it first"
    if image.ndim == 4:
        return "give several images as a list: list(images)"
    if image.ndim == 3 and image.shape[0] == num_channels:
        return "put the channels last: image.transpose(1, 2, 0)"
    if image.ndim == 3 and image.shape[2] > num_channels:
        return f"omit channels: image[:, :, :{num_channels}]"
    if image.dtype.kind == "f":
        return "scale it to 0 to 255 and round it, then image.astype(numpy.uint8)"
    return "convert it first"


def resized_size(
    size: tuple[int, ...], protocol: EvaluationProtocol, scale: float = 1.0
) -> ImageSize:
    """Return height and width of an image of `size` after the protocol's resize, times `scale`."""
    factor = scale
    if protocol.short_side is not None:
        short_side = max(1, int(protocol.short_side * scale))
        factor = min(short_side / min(size), protocol.max_ratio * short_side / max(size))
    height, width = (side * factor for side in size)
    if protocol.rounding == "half-even":
        return max(1, round(height)), max(1, round(width))
    return max(1, int(height + 0.5)), max(1, int(width + 0.5))


class ViewSize(NamedTuple):
    """The two steps in which an image gets the size of a view."""

    image: ImageSize
    """Size to which the image is resized first."""
    view: ImageSize
    """Size to which it is resized then, without rounding; mostly the same."""


def view_sizes(size: tuple[int, ...], protocol: EvaluationProtocol) -> list[ViewSize]:
    """Return the sizes by which an image of `size` (height, width) is brought to each scale."""
    if protocol.scales_of == "photo":
        images = [resized_size(size, protocol, scale) for scale in protocol.scales]
        return [ViewSize(each, _large_enough(each, protocol)) for each in images]
    image = height, width = resized_size(size, protocol)
    views = [
        (max(1, int(height * scale + 0.5)), max(1, int(width * scale + 0.5)))
        for scale in protocol.scales
    ]
    return [ViewSize(image, _large_enough(each, protocol)) for each in views]


def mean_size(size: tuple[int, ...], protocol: EvaluationProtocol) -> ImageSize:
    """Return the size at which the views of an image of `size` are averaged."""
    if protocol.scales_of == "resized" and protocol.average == "logits":
        return resized_size(size, protocol)
    height, width = size
    return height, width


def _large_enough(size: ImageSize, protocol: EvaluationProtocol) -> ImageSize:
    """Enlarge a size to that of the window, where the protocol enlarges small images."""
    height, width = size
    window = protocol.window
    if protocol.small_image == "as-is" or window is None or min(size) >= window:
        return size
    long_side = int(max(size) / min(size) * window)
    return (window, long_side) if height < width else (long_side, window)


def resize_image(
    image: ImageRows, size: ImageSize, dtype: str, resize_filter: str = "bilinear"
) -> ImageRows:
    """Resize bilinearly, as the models were trained; in `dtype` numbers.

    An image that has the size already stays what it is. `resize_filter` is that of
    `EvaluationProtocol`: without smoothing, or with Pillow's.
    """
    if image.shape[:2] == size:
        return image
    height, width = size
    pixels = image[:]
    if dtype == "uint8":
        dtype = pixels.dtype.name  # whole numbers of the image's own type
    whole = np.ascontiguousarray(pixels.astype(dtype, copy=False))
    if resize_filter == "antialias":
        return _resize_smoothly(whole, size)
    resize = partial(cv2.resize, dsize=(width, height), interpolation=cv2.INTER_LINEAR)
    return by_opencv(resize, whole)


def _resize_smoothly(
    pixels: Shaped[ndarray, "height width channels"], size: ImageSize
) -> Shaped[ndarray, "new_height new_width channels"]:
    """Resize by Pillow's bilinear filter, one channel after the other, in the same type."""
    height, width = size
    exact = pixels.dtype if pixels.dtype == np.uint8 else np.dtype(np.float32)
    channels = [
        np.asarray(
            Image.fromarray(np.ascontiguousarray(channel, dtype=exact)).resize(
                (width, height), Image.Resampling.BILINEAR
            )
        )
        for channel in np.moveaxis(pixels, -1, 0)
    ]
    resized = np.stack(channels, axis=-1)
    if pixels.dtype.kind in "ui" and pixels.dtype != exact:
        resized = resized.round()
    return resized.astype(pixels.dtype, copy=False)


def read_rows(
    image: ImageRows, size: ImageSize, rows: slice
) -> Shaped[ndarray, "rows width channels"]:
    """Return some rows of an image resized to `size`, float32 unless it has that size already."""
    if image.shape[:2] == size:
        return image[rows]
    across, down = resize_axis(image.shape[1], size[1]), resize_axis(image.shape[0], size[0])
    needed = down.indices[rows]
    top = int(needed.min())
    source = image[top : int(needed.max()) + 1].astype(np.float32)
    narrow = _weighted(source, AxisMap(needed - top, down.weights[rows]))
    return _weighted(narrow.swapaxes(0, 1), across).swapaxes(0, 1)


def _weighted(
    pixels: Float32[ndarray, "sources others channels"], axis: AxisMap
) -> Float32[ndarray, "targets others channels"]:
    """Apply an axis map to the first axis."""
    weights = axis.weights.astype(np.float32)[:, :, None, None]
    total = pixels[axis.indices[:, 0]] * weights[:, 0]
    for tap in range(1, weights.shape[1]):
        total += pixels[axis.indices[:, tap]] * weights[:, tap]
    return total
