"""Images that a predictor takes: an array, a file, a PIL image, or a torch tensor."""

from collections.abc import Sequence
from pathlib import Path
from typing import TypeGuard

import numpy as np
import torch
from jaxtyping import UInt8
from numpy import ndarray
from PIL import Image
from torch import Tensor

from segmenter.data.decoding.bands import as_sample_type
from segmenter.data.decoding.decode import decode_image
from segmenter.data.decoding.orientation import read_orientation, upright
from segmenter.data.decoding.pillow_warnings import load
from segmenter.errors import UserError
from segmenter.files.names import path_problem
from segmenter.image_spec import ImageSpec, sample_type
from segmenter.inference.resizing import checked_image

ImageInput = ndarray | str | Path | Image.Image | Tensor
"""An image: see `Predictor.__call__`."""

_MODES = {"1", "L", "LA", "La", "P", "PA", "RGB", "RGBA", "RGBa", "RGBX", "CMYK", "YCbCr", "HSV"}
"""Modes of Pillow with 8 bits a sample or fewer."""
_FLOATS = (torch.float16, torch.float32, torch.float64)


def is_list(images: object) -> TypeGuard[Sequence[ImageInput]]:
    """Return whether several images are given."""
    return isinstance(images, list | tuple)


def read_input(
    image: object,
    num_channels: int,
    image_bits: int | None = None,
    wanted: ImageSpec | None = None,
) -> ndarray:
    """Return the pixels of an image as the model takes them.

    Args:
        image: As for `Predictor.__call__`.
        num_channels: Channels that the model takes.
        image_bits: Bits a sample of files that have more than 8; if None, each file's own.
        wanted: What the model takes; None: RGB of 8 bits.

    Returns:
        uint8 (height, width, channels). An array that has this form is returned as it is.

    Raises:
        UserError: If it is not an image, or not one for this model.
    """
    if isinstance(image, str | Path):
        if problem := path_problem(image):
            raise UserError(f"the path of an image {problem}")
        image = decode_image(Path(image), image_bits=image_bits, image=wanted)
        if wanted is not None:
            return image
    elif wanted is not None:
        return _checked_channels(image, wanted)
    elif isinstance(image, Image.Image):
        image = _from_pil(image)
    elif isinstance(image, Tensor):
        image = _from_tensor(image)
    return checked_image(image, num_channels)


def file_of(image: object) -> Path:
    """Return the file of an image: its path, what Pillow opened, or else `image.png`."""
    if isinstance(image, Image.Image):
        image = getattr(image, "filename", None)
    return Path(image) if isinstance(image, str | Path) and Path(image).name else Path("image.png")


def _checked_channels(image: object, wanted: ImageSpec) -> ndarray:
    """Return an array or tensor as the model takes it, or refuse it.

    Args:
        image: An array (height, width, channels), or a tensor (channels, height, width). One
            channel may have two axes.
        wanted: Its channels, in the order of `bands`, and their type.

    Raises:
        UserError: If it has other channels, another type, or values that are not finite.
    """
    pixels = image
    if isinstance(pixels, Tensor):
        pixels = pixels.detach().cpu().numpy()
        pixels = np.moveaxis(pixels, 0, -1) if pixels.ndim == 3 else pixels
    if isinstance(pixels, ndarray) and pixels.ndim == 2 and wanted.channels == 1:
        pixels = pixels[:, :, None]
    if (
        isinstance(pixels, ndarray)
        and pixels.ndim == 3
        and pixels.shape[2] == wanted.channels
        and pixels.dtype.kind in "buif"
        and sample_type(pixels.dtype) == wanted.dtype
    ):
        return as_sample_type(pixels, wanted.bands, "the image")
    given = type(image).__name__
    if isinstance(image, ndarray | Tensor):
        given = f"{image.dtype} of shape {tuple(image.shape)}"
    raise UserError(
        f"this model takes {wanted}: a path, or an array of {wanted.dtype} and shape "
        f"(height, width, {wanted.channels}); got {given}"
    )


def _from_pil(image: Image.Image) -> UInt8[ndarray, "height width 3"]:
    """Return RGB, turned upright as EXIF data say, without alpha: as a file is read."""
    if image.mode not in _MODES:
        raise UserError(
            f"a PIL image of mode {image.mode} does not say how bright white is; give the path of "
            "its file, or convert it to RGB"
        )
    try:
        load(image)
        orientation = read_orientation(image)
        without_alpha = image.copy()
        without_alpha.info.pop("transparency", None)  # else Pillow warns that it is dropped
        return upright(np.array(without_alpha.convert("RGB")), orientation)
    except (OSError, SyntaxError, ValueError, EOFError, AttributeError, AssertionError) as error:
        problem = str(error) or "its file is closed; use it before it is closed, or give the path"
        raise UserError(f"the PIL image cannot be read: {problem}") from None


def _from_tensor(image: Tensor) -> ndarray:
    """Return (height, width, channels), or (height, width) of one channel, from 0 to 255."""
    allowed = "a tensor must be (channels, height, width), uint8 from 0 to 255 or float from 0 to 1"
    if image.is_meta or image.layout != torch.strided or image.is_nested:
        form = "meta" if image.is_meta else "nested" if image.is_nested else "sparse"
        raise UserError(f"{allowed}, got a {form} tensor; give one that holds every number")
    given = f"{str(image.dtype).removeprefix('torch.')} of shape {tuple(image.shape)}"
    pixels = image.detach().cpu()
    if pixels.ndim == 4:
        raise UserError(f"{allowed}, got {given}; give a batch as a list: list(images)")
    if pixels.ndim != 3 or pixels.dtype not in (torch.uint8, *_FLOATS):
        raise UserError(f"{allowed}, got {given}; convert it first")
    if pixels.shape[0] > 4 and pixels.shape[2] <= 4:
        raise UserError(f"{allowed}, got {given}; swap its axes: image.permute(2, 0, 1)")
    if pixels.dtype in _FLOATS:
        if pixels.numel() and not (pixels.min() >= 0 and pixels.max() <= 1):  # nor NaN
            low, high = pixels.min().item(), pixels.max().item()
            raise UserError(
                f"{allowed}, got floats from {low:.3g} to {high:.3g}; give pixels as they are, "
                "not normalised"
            )
        pixels = (pixels.double() * 255).round().to(torch.uint8)
    array = pixels.permute(1, 2, 0).numpy()
    return array[:, :, 0] if array.shape[2] == 1 else array
