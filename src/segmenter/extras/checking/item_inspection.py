"""What is learned from one image and its mask when both are read whole."""

from dataclasses import dataclass

import cv2
import numpy as np
from jaxtyping import Float64, UInt8
from numpy import ndarray

from segmenter.classes import Classes
from segmenter.data.decoding.decode import read_image
from segmenter.data.masks.inspection import MaskFacts, inspect_header, inspect_mask
from segmenter.data.masks.problems import Problem, errors_in
from segmenter.data.pairing.items import Item
from segmenter.errors import UserError
from segmenter.extras.checking.fingerprint import Fingerprint, digest_pixels, fingerprint


@dataclass(frozen=True)
class ImageFacts:
    """What one image is like."""

    size: tuple[int, int]
    """Height and width, upright."""
    mean: Float64[ndarray, "3"]
    """Of its red, green and blue, 0 to 255."""
    variance: Float64[ndarray, "3"]
    fingerprint: Fingerprint


@dataclass(frozen=True)
class Inspection:
    """One image and its mask, read."""

    image: ImageFacts | None
    """None if it cannot be read."""
    mask: MaskFacts | None
    """None if there is none."""
    problems: tuple[Problem, ...]
    digest: bytes | None = None
    """Of the pixels of the image; none if it cannot be read."""
    has_header: bool = True
    """Whether the file of the image says what it is."""
    bits: int | None = None
    """Bits a sample that were found; none where there are 8, or the file fixes them."""


def inspect(item: Item, classes: Classes, *, quickly: bool = False) -> Inspection:
    """Read an image and its mask, each once; what is wrong with them is not raised.

    Args:
        item: The image and its mask.
        classes: What the values of the mask mean.
        quickly: Omit what only a report needs; the problems are the same.
    """
    header, problems = inspect_header(item)
    facts = digest = size = bits = None
    if header is not None:
        try:
            decoded = read_image(item.image, image_bits=classes.image_bits)
            pixels, bits = decoded.pixels, decoded.bits
            size = pixels.shape[0], pixels.shape[1]
            facts = None if quickly else _image_facts(pixels)
            digest = digest_pixels(pixels) if facts is None else facts.fingerprint.digest
        except UserError as error:
            problems = (Problem("unreadable-photo", str(error), (item.image,)),)
    mask = None if item.mask is None else inspect_mask(item, classes, header, size)
    problems += mask.problems if mask else ()
    return Inspection(facts, mask, problems, digest, header is not None, bits)


def unread(item: Item) -> Inspection:
    """What is known of an image that ended the process which decoded it, or whose mask did."""
    message = f"{item.image} or its mask ended the process that read it, perhaps for want of memory"
    return Inspection(None, None, (Problem("unreadable-photo", message, (item.image,)),))


def is_usable(inspection: Inspection) -> bool:
    """Whether the item can be trained on."""
    return inspection.mask is not None and not errors_in(inspection.problems)


def _image_facts(image: UInt8[ndarray, "height width 3"]) -> ImageFacts:
    mean, deviation = cv2.meanStdDev(image)
    variance = np.square(deviation[:, 0])
    size = image.shape[0], image.shape[1]
    return ImageFacts(size, mean[:, 0], variance, fingerprint(image))
