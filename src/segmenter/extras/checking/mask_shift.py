"""Masks that fit their images better when moved by some pixels."""

from typing import NamedTuple

import cv2
import numpy as np
from jaxtyping import Shaped
from numpy import ndarray

from segmenter.drawing import smaller_size

_MAX_SIDE = 256
"""Longer side of the copies that are compared, in pixels."""
_REACH = 8
"""Largest shift that is tried in each direction, in pixels of the copies."""


class Shift(NamedTuple):
    """The offset of a mask against its image."""

    right: int
    """Pixels of the image; negative: to the left."""
    down: int
    gain: float
    """Agreement with the mask moved back, minus that with the mask as it is, 0 to 1."""


NO_SHIFT = Shift(0, 0, 0.0)


def find_shift(
    labels: Shaped[ndarray, "height width"],
    predicted: Shaped[ndarray, "height width"],
    num_classes: int,
) -> Shift:
    """Return the shift of a mask that explains a prediction best.

    Args:
        labels: Class indices; values from `num_classes` on are not labelled.
        predicted: Class indices, of one size with the labels.
        num_classes: Number of classes.
    """
    size = smaller_size(labels.shape, _MAX_SIDE)
    if min(size) < 4 * _REACH:
        return NO_SHIFT
    given = np.asarray(cv2.resize(labels, size, interpolation=cv2.INTER_NEAREST))
    found = np.asarray(cv2.resize(predicted, size, interpolation=cv2.INTER_NEAREST))
    inner = given[_REACH:-_REACH, _REACH:-_REACH]
    total = int((inner < num_classes).sum())
    if total == 0:
        return NO_SHIFT
    height, width = inner.shape

    def agreement(shift: tuple[int, int]) -> float:
        top, left = _REACH - shift[0], _REACH - shift[1]
        return int((inner == found[top : top + height, left : left + width]).sum()) / total

    steps = range(-_REACH, _REACH + 1)
    tried = [(down, right) for down in steps for right in steps]
    # Of shifts that fit equally, the smallest.
    down, right = max(tried, key=lambda shift: (agreement(shift), -abs(shift[0]) - abs(shift[1])))
    scale = max(labels.shape) / max(size)
    gain = agreement((down, right)) - agreement((0, 0))
    return Shift(round(right * scale), round(down * scale), gain)
