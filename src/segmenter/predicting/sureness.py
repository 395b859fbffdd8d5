"""Confidence of a model in the labels of an image, by which the gallery sorts and warns."""

from typing import NamedTuple

import numpy as np
from jaxtyping import UInt, UInt8
from numpy import ndarray

SURE_MARGIN = 0.5
"""A label is sure if its probability is this far above that of the second class, 0 to 1."""
DOUBTFUL_BELOW = 0.9
"""An image is doubtful if a smaller share of its pixels is sure."""


class Sureness(NamedTuple):
    """Confidence in the labels of an image."""

    share: float
    """Share of the pixels whose label is sure, 0 to 1."""
    unsure_label: int
    """The class of most of the other pixels."""
    unsure_share: float
    """Its share of them, 0 to 1; 0 if all are sure."""

    @property
    def is_doubtful(self) -> bool:
        """Return whether many labels of the image are unsure."""
        return self.share < DOUBTFUL_BELOW


def measure_sureness(
    labels: UInt[ndarray, "height width"], margins: UInt8[ndarray, "height width"]
) -> Sureness:
    """Measure how sure the labels of an image are.

    Args:
        labels: Class indices.
        margins: Probability of the label minus that of the second class, 0 to 255.
    """
    unsure = labels[margins < SURE_MARGIN * 255]
    if not unsure.size:
        return Sureness(1.0, 0, 0.0)
    counts = np.bincount(unsure)
    label = int(counts.argmax())
    return Sureness(1 - unsure.size / labels.size, label, int(counts[label]) / unsure.size)
