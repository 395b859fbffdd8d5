"""One description of all images of a data set that are not read as RGB of 8 bits."""

import contextlib
import math
from collections.abc import Iterator, Sequence
from itertools import chain
from pathlib import Path
from typing import Literal

import numpy as np
from jaxtyping import Float32, Shaped
from numpy import ndarray

from segmenter.data.decoding.decode import Header, decode_image, read_header
from segmenter.data.masks.problems import Problem
from segmenter.errors import UserError
from segmenter.image_spec import HIGH_PERCENTILE, LOW_PERCENTILE, ImageSpec, choose_bands

_SAMPLED_PIXELS = 1 << 14
"""Pixels of an image, evenly spread, from which its quantiles are found."""
_SAMPLED_IMAGES = 32
"""Images, evenly spread, from which a range is found where not all are read."""
_NUM_QUANTILES = 100
"""Quantiles of an image: at 0.5, 1.5, ... 99.5 per cent."""

Bands = tuple[int, ...] | Literal["all"] | None
Quantiles = Float32[ndarray, "quantiles channels"]


def find_image_spec(
    images: Sequence[Path], bands: Bands, given: ImageSpec | None = None
) -> ImageSpec | None:
    """Return how the images of a data set are read; the range of their values is open.

    The header of the first decides, unless that is a map of 16 bits.

    Args:
        images: Their files; those that cannot be read are skipped.
        bands: As the recipe's `data.bands`.
        given: What `classes.yaml` says, if it does; `bands` replaces it.

    Returns:
        None if they are read as RGB of 8 bits.

    Raises:
        UserError: If they have no such bands.
    """
    if given is not None and bands is None:
        return given
    headers = _readable_headers(images)
    first = next(headers, None)
    if first is None:
        return None
    if bands is None and first.is_rgb and not _are_deep_maps(first, headers):
        return None
    return choose_bands(bands, first.image_type)


def _readable_headers(images: Sequence[Path]) -> Iterator[Header]:
    """Yield the header of each image that has one; whoever reads the others says what is wrong."""
    for path in images:
        with contextlib.suppress(UserError):
            yield read_header(path)


def _are_deep_maps(first: Header, others: Iterator[Header]) -> bool:
    """Return True for maps of 16 bits alone: predict takes them as they are, and never as 8."""
    return all(
        each.is_map and each.is_deep and each.image_type == first.image_type
        for each in chain((first,), others)
    )


def type_problem(path: Path, header: Header, image: ImageSpec | None) -> Problem | None:
    """Return the problem with an image whose bands or type are not those of the data set."""
    if image is None:
        if header.is_rgb:
            return None
        wanted = "images of 8 bits in grey or RGB"
    elif header.image_type == image.file_type:
        return None
    else:
        wanted = f"images with {image.file_type}"
    message = f"{path} has {header.image_type}, but the data set begins with {wanted}"
    return Problem("other-bands", message, (path,))


def value_quantiles(pixels: Shaped[ndarray, "height width channels"]) -> Quantiles:
    """Return evenly spaced quantiles of each channel, from pixels spread over the image."""
    flat = pixels.reshape(-1, pixels.shape[2])
    if not len(flat):
        return np.empty((0, pixels.shape[2]), np.float32)
    step = max(len(flat) // _SAMPLED_PIXELS, 1)
    while math.gcd(step, pixels.shape[1]) > 1:  # else a few columns would stand for all
        step += 1
    shares = (np.arange(_NUM_QUANTILES) + 0.5) / _NUM_QUANTILES
    return np.quantile(flat[::step].astype(np.float32), shares, axis=0).astype(np.float32)


def with_measured_range(image: ImageSpec, quantiles: Sequence[Quantiles]) -> ImageSpec:
    """Return the images with the robust range of their values: the 1st to the 99th percentile.

    Each image counts alike. Bytes keep their range of 0 to 255.
    """
    if image.dtype == "uint8" or not quantiles:
        return image
    low, high = np.percentile(np.concatenate(quantiles), (LOW_PERCENTILE, HIGH_PERCENTILE), axis=0)
    return image.with_range(low, high)


def measured_image_spec(
    images: Sequence[Path], bands: Bands, given: ImageSpec | None = None
) -> ImageSpec | None:
    """Return how images are read, with the range of a sample of them; as `find_image_spec`.

    Raises:
        UserError: If they have no such bands.
    """
    image = find_image_spec(images, bands, given)
    if image is None or image == given:
        return image
    quantiles = []
    for path in images[:: -(-len(images) // _SAMPLED_IMAGES)]:
        with contextlib.suppress(UserError):  # whoever shows it says what is wrong with it
            quantiles.append(value_quantiles(decode_image(path, image=image)))
    return with_measured_range(image, quantiles)


def range_lines(image: ImageSpec) -> list[str]:
    """Return lines on what the images hold, for the terminal."""
    lines = [f"images: {image}"]
    if image.dtype != "uint8":
        spans = ", ".join(
            f"{band}: {low:.5g} to {high:.5g}"
            for band, low, high in zip(image.bands, image.low, image.high, strict=True)
        )
        lines.append(f"1st to 99th percentile of each band: {spans}")
    return lines


def constant_bands(image: ImageSpec, quantiles: Sequence[Quantiles]) -> list[Problem]:
    """Return a problem for each band that has one value in nearly all pixels."""
    if not quantiles:
        return []
    low, high = np.percentile(np.concatenate(quantiles), (LOW_PERCENTILE, HIGH_PERCENTILE), axis=0)
    return [
        Problem("constant-band", f"band {band} is {value:g} in nearly all pixels")
        for band, value, most in zip(image.bands, low, high, strict=True)
        if value == most
    ]
