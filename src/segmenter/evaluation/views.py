"""A photo as it is, as it should be labelled, as it was labelled, and where the two differ."""

import cv2
import numpy as np
from jaxtyping import Bool, Shaped, UInt8
from numpy import ndarray

from segmenter.classes import Classes
from segmenter.data.sample import Sample
from segmenter.drawing.overlay import overlay

WRONG_COLOR = (214, 48, 49)
UNLABELLED_COLOR = (46, 50, 58)

_OPACITY = 0.6


def draw_views(
    sample: Sample, labels: Shaped[ndarray, "height width"], classes: Classes, max_side: int
) -> dict[str, UInt8[ndarray, "drawn_height drawn_width 3"]]:
    """The photo, the truth and the prediction over it, and the errors, by caption.

    Args:
        sample: Photo and truth.
        labels: What was predicted, at the photo's size.
        classes: Colours, and which label does not count.
        max_side: Larger pictures are made smaller, in pixels.
    """
    height, width = labels.shape
    factor = min(1.0, max_side / max(height, width))
    size = (max(1, round(width * factor)), max(1, round(height * factor)))
    image = cv2.resize(sample.image, size, interpolation=cv2.INTER_AREA)
    true = cv2.resize(sample.labels, size, interpolation=cv2.INTER_NEAREST)
    predicted = cv2.resize(labels, size, interpolation=cv2.INTER_NEAREST)
    is_labelled = true != classes.ignore_index
    colors, background = classes.colors, classes.background_index
    return {
        "Photo": np.asarray(image),
        "Truth": overlay(image, true, colors, _OPACITY, background),
        "Prediction": overlay(image, predicted, colors, _OPACITY, background),
        "Errors": _error_map(image, is_labelled & (true != predicted), ~is_labelled),
    }


def _error_map(
    image: UInt8[ndarray, "height width 3"],
    is_wrong: Bool[ndarray, "height width"],
    is_unlabelled: Bool[ndarray, "height width"],
) -> UInt8[ndarray, "height width 3"]:
    """Paint mistakes over a pale grey copy of the photo."""
    grey = cv2.cvtColor(image, cv2.COLOR_RGB2GRAY)
    drawn = np.repeat((grey // 2 + 112)[:, :, None], 3, axis=2)
    drawn[is_wrong] = WRONG_COLOR
    drawn[is_unlabelled] = UNLABELLED_COLOR
    return drawn
