"""Inspect one image and its mask, both read whole."""

from dataclasses import dataclass

import cv2
import numpy as np
from jaxtyping import Float64, Shaped, UInt8
from numpy import ndarray

from segmenter.classes import Classes
from segmenter.data.decoding.decode import read_image
from segmenter.data.decoding.set_bands import Quantiles, type_problem, value_quantiles
from segmenter.data.masks.inspection import MaskFacts, inspect_header, inspect_mask
from segmenter.data.masks.problems import Problem, errors_in
from segmenter.data.pairing.items import Item
from segmenter.errors import UserError
from segmenter.extras.checking.fingerprint import Fingerprint, digest_pixels, fingerprint
from segmenter.image_spec import ImageSpec

_MAX_LINES = 64
"""Rows, and columns, of an image whose colours are looked at, or up to twice as many."""
_BRIGHT = 180
_GREY_SPREAD = 30
"""Largest difference of red, green and blue in paper, which is not quite grey under a lamp."""


@dataclass(frozen=True)
class ImageFacts:
    """Facts of one image."""

    size: tuple[int, int]
    """Height and width, upright."""
    mean: Float64[ndarray, " channels"]
    """Mean of red, green and blue, 0 to 255, or of the channels."""
    variance: Float64[ndarray, " channels"]
    fingerprint: Fingerprint
    colorfulness: float
    """Mean difference of the largest and smallest of red, green and blue, 0 to 255; 0: grey."""
    paper_share: float
    """Share of pixels that are bright and grey, as paper is."""


@dataclass(frozen=True)
class Inspection:
    """One image and its mask, read."""

    image: ImageFacts | None
    """None if it cannot be read."""
    mask: MaskFacts | None
    """None if there is none."""
    problems: tuple[Problem, ...]
    digest: bytes | None = None
    """Digest of the pixels of the image; None if it cannot be read."""
    has_header: bool = True
    """True: the file of the image declares its kind."""
    bits: int | None = None
    """Bits per sample that were found; None if they are 8, or the file fixes them."""
    quantiles: Quantiles | None = None
    """Quantiles of the values of an image that is not RGB of 8 bits."""


def inspect(item: Item, classes: Classes, *, quickly: bool = False) -> Inspection:
    """Read an image and its mask, each once; what is wrong with them is not raised.

    Args:
        item: The image and its mask.
        classes: What the values of the mask mean.
        quickly: Omit what only a report needs; the problems are the same.
    """
    header, problems = inspect_header(item)
    facts = digest = size = bits = quantiles = None
    if classes.image is not None:
        problems = tuple(each for each in problems if each.kind != "dropped-band")
    other = header and type_problem(item.image, header, classes.image)
    if other is not None:
        problems += (other,)
    elif header is not None:
        try:
            decoded = read_image(item.image, image_bits=classes.image_bits, image=classes.image)
            pixels, bits = decoded.pixels, decoded.bits
            size = pixels.shape[0], pixels.shape[1]
            picture = pixels
            if classes.image is not None:
                quantiles = value_quantiles(pixels)
                picture = _picture(pixels, classes.image, quantiles)
            facts = None if quickly else _image_facts(pixels, picture)
            digest = digest_pixels(pixels) if facts is None else facts.fingerprint.digest
        except UserError as error:
            problems = (Problem("unreadable-photo", str(error), (item.image,)),)
    mask = None if item.mask is None else inspect_mask(item, classes, header, size)
    problems += mask.problems if mask else ()
    return Inspection(facts, mask, problems, digest, header is not None, bits, quantiles)


def unread(item: Item) -> Inspection:
    """Describe an image that ended the process which decoded it, or whose mask did."""
    message = f"{item.image} or its mask ended the process that read it, perhaps for want of memory"
    return Inspection(None, None, (Problem("unreadable-photo", message, (item.image,)),))


def is_usable(inspection: Inspection) -> bool:
    """Return True if the item can be trained on."""
    return inspection.mask is not None and not errors_in(inspection.problems)


def _picture(
    pixels: Shaped[ndarray, "height width channels"], image: ImageSpec, quantiles: Quantiles
) -> UInt8[ndarray, "height width 3"]:
    """Return three channels over the range of this one image: that of the set is not known yet."""
    if image.dtype != "uint8" and len(quantiles):
        image = image.with_range(quantiles[1], quantiles[-2])
    return image.show(pixels)


def _image_facts(
    pixels: Shaped[ndarray, "height width channels"], picture: UInt8[ndarray, "height width 3"]
) -> ImageFacts:
    moments = [cv2.meanStdDev(channel) for channel in cv2.split(pixels)]
    mean = np.array([each.item() for each, _ in moments])
    variance = np.square([each.item() for _, each in moments])
    size = pixels.shape[0], pixels.shape[1]
    found = fingerprint(picture, pixels)
    down, right = (max(side // _MAX_LINES, 1) for side in size)
    seen = picture[::down, ::right].astype(np.int16)
    spread = seen.max(axis=2) - seen.min(axis=2)
    is_paper = (spread <= _GREY_SPREAD) & (seen.min(axis=2) >= _BRIGHT)
    return ImageFacts(size, mean, variance, found, float(spread.mean()), float(is_paper.mean()))
