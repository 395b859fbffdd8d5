"""An image as it is, as it should be labelled, as it was labelled, and where these differ."""

import cv2
import numpy as np
from jaxtyping import Bool, Shaped, UInt8
from numpy import ndarray

from segmenter.classes import Classes
from segmenter.data.sample import Sample
from segmenter.drawing import overlay, smaller_size
from segmenter.image_spec import shown_pixels

WRONG_COLOR = (214, 48, 49)
UNLABELLED_COLOR = (46, 50, 58)
ONLY_A_COLOR = (232, 148, 20)
ONLY_B_COLOR = (20, 140, 220)

_OPACITY = 0.6


def draw_pictures(
    sample: Sample, labels: Shaped[ndarray, "height width"], classes: Classes, max_side: int
) -> dict[str, UInt8[ndarray, "drawn_height drawn_width 3"]]:
    """Draw the image, truth and prediction over it, and the errors, by caption.

    Args:
        sample: Image and truth.
        labels: What was predicted, at the image's size.
        classes: Colours, and which label does not count.
        max_side: Larger pictures are made smaller, in pixels.
    """
    size = smaller_size(labels.shape, max_side)
    shown = shown_pixels(sample.image, classes.image)
    image = cv2.resize(shown, size, interpolation=cv2.INTER_AREA)
    true = cv2.resize(sample.labels, size, interpolation=cv2.INTER_NEAREST)
    predicted = cv2.resize(labels, size, interpolation=cv2.INTER_NEAREST)
    is_labelled = true != classes.ignore_index
    colors, background = classes.colors, classes.background_index
    return {
        "Image": np.asarray(image),
        "Truth": overlay(image, true, colors, _OPACITY, background),
        "Prediction": overlay(image, predicted, colors, _OPACITY, background),
        "Errors": _error_map(image, is_labelled & (true != predicted), ~is_labelled),
    }


def draw_comparison(
    sample: Sample,
    labels_a: Shaped[ndarray, "height width"],
    labels_b: Shaped[ndarray, "height width"],
    classes: Classes,
    max_side: int,
) -> dict[str, UInt8[ndarray, "drawn_height drawn_width 3"]]:
    """Draw the truth and two predictions over an image, and which is wrong, by caption.

    Args:
        sample: Image and truth.
        labels_a: What was predicted, at the image's size.
        labels_b: What another model predicted.
        classes: Colours, and which label does not count.
        max_side: Larger pictures are made smaller, in pixels.
    """
    size = smaller_size(labels_a.shape, max_side)
    shown = shown_pixels(sample.image, classes.image)
    image = cv2.resize(shown, size, interpolation=cv2.INTER_AREA)
    true, a, b = (
        cv2.resize(labels, size, interpolation=cv2.INTER_NEAREST)
        for labels in (sample.labels, labels_a, labels_b)
    )
    is_labelled = true != classes.ignore_index
    drawn = _error_map(image, is_labelled & (a != true) & (b != true), ~is_labelled)
    drawn[is_labelled & (a == true) & (b != true)] = ONLY_A_COLOR
    drawn[is_labelled & (a != true) & (b == true)] = ONLY_B_COLOR
    colors, background = classes.colors, classes.background_index
    captions = {"Truth": true, "A": a, "B": b}
    views = {
        caption: overlay(image, labels, colors, _OPACITY, background)
        for caption, labels in captions.items()
    }
    return {**views, "Who is right": drawn}


def _error_map(
    image: UInt8[ndarray, "height width 3"],
    is_wrong: Bool[ndarray, "height width"],
    is_unlabelled: Bool[ndarray, "height width"],
) -> UInt8[ndarray, "height width 3"]:
    """Paint mistakes over a pale grey copy of the image."""
    grey = cv2.cvtColor(image, cv2.COLOR_RGB2GRAY)
    drawn = np.repeat((grey // 2 + 112)[:, :, None], 3, axis=2)
    drawn[is_wrong] = WRONG_COLOR
    drawn[is_unlabelled] = UNLABELLED_COLOR
    return drawn
