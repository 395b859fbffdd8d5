"""Where the classes of a mask lie, which tells whether images have an up."""

import math
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float64, Shaped
from numpy import ndarray

_MAX_LINES = 64
"""Rows, and columns, of a mask that are looked at; evenly spaced."""


@dataclass(frozen=True)
class Layout:
    """Places of the classes of one mask, in shares of its sides."""

    places: Float64[ndarray, "classes 4"]
    """Means over the pixels of a class of four numbers: how far down and to the right of the centre
    it lies, and the squares of both. They are 0, 0, 1/12 and 1/12 for a class that is everywhere,
    and NaN where the mask does not hold the class."""
    anisotropy: float
    """Natural logarithm of the number of borders on the way down per border on the way right."""


def class_layout(labels: Shaped[ndarray, "height width"], num_classes: int) -> Layout:
    """Measure where the classes of a mask lie.

    Args:
        labels: Class indices; others, such as the ignored value, belong to no class.
        num_classes: Number of classes.
    """
    lines = [
        np.arange(min(side, _MAX_LINES)) * side // min(side, _MAX_LINES) for side in labels.shape
    ]
    seen = labels[lines[0]][:, lines[1]]
    down, right = np.meshgrid(
        *((np.arange(len(each)) + 0.5) / len(each) - 0.5 for each in lines), indexing="ij"
    )
    counted = np.where(seen < num_classes, seen, num_classes).ravel()
    numbers = (down, right, down**2, right**2)
    sums = [np.bincount(counted, each.ravel(), num_classes + 1)[:num_classes] for each in numbers]
    counts = np.bincount(counted, minlength=num_classes + 1)[:num_classes]
    places = np.full((num_classes, 4), np.nan)
    np.divide(np.stack(sums, axis=1), counts[:, None], out=places, where=counts[:, None] > 0)
    on_the_way_down, on_the_way_right = (
        np.count_nonzero(np.diff(seen.astype(np.int32), axis=axis)) for axis in (0, 1)
    )
    return Layout(places, math.log((1 + on_the_way_down) / (1 + on_the_way_right)))
