"""Colour jitter of the published recipes: from uint8 to uint8, and of levels as float32."""

from typing import Literal

import cv2
import numpy as np
from jaxtyping import Float, Float32, UInt8
from numpy import ndarray

from segmenter.recipe import ColorJitter

_LEVELS = np.arange(256, dtype=np.float64)


def jitter_colors(
    image: UInt8[ndarray, "height width channels"], kind: ColorJitter, rng: np.random.Generator
) -> UInt8[ndarray, "height width channels"]:
    """Change brightness and contrast, and saturation and hue where the image is RGB.

    Args:
        image: 0 to 255.
        kind: PaddleSeg's jitter, the paper's (also MMSegmentation's), or none.
        rng: The only source of randomness.
    """
    if kind == "paddleseg":
        return _paddleseg(image, rng)
    if kind == "segmenter":
        return _segmenter(image, rng)
    return image


def jitter_levels(
    levels: Float32[ndarray, "height width channels"], kind: ColorJitter, rng: np.random.Generator
) -> Float32[ndarray, "height width channels"]:
    """Change brightness and contrast of an image of any channels; saturation and hue are of RGB.

    All channels change alike, by the ranges of `jitter_colors`; nothing is rounded or clipped.

    Args:
        levels: 0 at the low end of each channel's range, 255 at its high end.
        kind: Whose ranges: PaddleSeg's factors, the paper's shift and factor, or none.
        rng: The only source of randomness.
    """
    if kind == "paddleseg":
        for change in rng.permutation(["brightness", "contrast"]):
            if rng.random() < 0.5:
                middle = float(levels.mean()) if change == "contrast" else 0.0
                levels = (levels - middle) * np.float32(rng.uniform(0.6, 1.4)) + middle
    elif kind == "segmenter":
        brightness = rng.uniform(-32, 32) if rng.random() < 0.5 else 0.0
        contrast = rng.uniform(0.5, 1.5) if rng.random() < 0.5 else 1.0
        levels = (levels + np.float32(brightness)) * np.float32(contrast)
    return levels.astype(np.float32, copy=False)


# paddleseg/transforms/transforms.py RandomDistort with ranges of 0.4, release 2.9
def _paddleseg(
    image: UInt8[ndarray, "height width channels"], rng: np.random.Generator
) -> UInt8[ndarray, "height width channels"]:
    """Apply all in random order, each with probability 0.5; Pillow's ImageEnhance, in OpenCV."""
    for change in rng.permutation(["brightness", "contrast", "saturation", "hue"]):
        if rng.random() >= 0.5:
            continue
        factor = rng.uniform(0.6, 1.4)
        if change == "brightness":
            image = _look_up(image, _LEVELS * factor)
        elif change == "contrast":
            middle = int(_grey(image).mean() + 0.5)
            image = _look_up(image, middle + factor * (_LEVELS - middle))
        elif image.shape[2] != 3:
            continue
        elif change == "saturation":
            grey = cv2.cvtColor(_grey(image), cv2.COLOR_GRAY2RGB)
            image = _bytes(cv2.addWeighted(image, factor, grey, 1 - factor, 0))
        else:
            shift = int(rng.uniform(-18, 18))
            image = _change_hsv(image, hue=(_LEVELS + shift) % 256, turn=256, saturation=_LEVELS)
    return image


# mmseg/datasets/pipelines/transforms.py PhotoMetricDistortion, release 0.14.1
def _segmenter(
    image: UInt8[ndarray, "height width channels"], rng: np.random.Generator
) -> UInt8[ndarray, "height width channels"]:
    """Brightness, saturation and hue, with contrast before or after these two."""
    brightness = rng.uniform(-32, 32) if rng.random() < 0.5 else 0.0
    contrast = rng.uniform(0.5, 1.5) if rng.random() < 0.5 else 1.0
    saturation = rng.uniform(0.5, 1.5) if rng.random() < 0.5 else 1.0
    hue = int(rng.integers(-18, 19)) if rng.random() < 0.5 else 0
    contrast_last = rng.random() < 0.5

    levels = _whole_levels(_LEVELS + brightness)
    if not contrast_last:
        levels = _whole_levels(levels * contrast)
    image = _look_up(image, levels)
    if image.shape[2] == 3 and (saturation != 1 or hue != 0):
        image = _change_hsv(
            image, hue=(_LEVELS + hue) % 180, turn=180, saturation=_LEVELS * saturation
        )
    if contrast_last and contrast != 1:
        image = _look_up(image, _LEVELS * contrast)
    return image


def _look_up(
    image: UInt8[ndarray, "height width channels"], levels: Float[ndarray, " 256"]
) -> UInt8[ndarray, "height width channels"]:
    """Put the new level of each of the 256 into its place; fractions are cut off."""
    return cv2.LUT(image, _whole_levels(levels).astype(np.uint8)).reshape(image.shape)


def _whole_levels(levels: Float[ndarray, " 256"]) -> Float[ndarray, " 256"]:
    """Levels as uint8 would hold them."""
    return np.floor(np.clip(levels, 0, 255))


def _change_hsv(
    image: UInt8[ndarray, "height width 3"],
    hue: Float[ndarray, " 256"],
    turn: Literal[180, 256],
    saturation: Float[ndarray, " 256"],
) -> UInt8[ndarray, "height width 3"]:
    """Put hue and saturation through tables; a full turn of hue is 180 or 256 levels."""
    full = turn == 256
    hsv = cv2.cvtColor(image, cv2.COLOR_RGB2HSV_FULL if full else cv2.COLOR_RGB2HSV)
    table = np.stack([hue, saturation, _LEVELS], axis=-1)[None]
    hsv = cv2.LUT(hsv, np.clip(table, 0, 255).astype(np.uint8))
    return _bytes(cv2.cvtColor(hsv, cv2.COLOR_HSV2RGB_FULL if full else cv2.COLOR_HSV2RGB))


def _grey(image: UInt8[ndarray, "height width channels"]) -> UInt8[ndarray, "height width"]:
    if image.shape[2] == 3:
        return _bytes(cv2.cvtColor(image, cv2.COLOR_RGB2GRAY))
    return image.mean(axis=2).astype(np.uint8)


def _bytes(array: object) -> ndarray:
    """OpenCV's own array type, named as what it is."""
    return np.asarray(array, dtype=np.uint8)
