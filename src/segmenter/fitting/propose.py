"""Labels and confidence of all pixels of an image, from its tokens and a classifier."""

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
import torch
from jaxtyping import Float32, UInt
from numpy import ndarray

from segmenter.fitting.classifier import Classifier
from segmenter.fitting.tokens import ImageTokens
from segmenter.inference.interpolation import AxisMap, resize_axis, tile_axis, tile_length
from segmenter.inference.labels import (
    ViewLogits,
    band_confidence,
    band_labels,
    band_probabilities,
)
from segmenter.inference.row_bands import Band, split_band
from segmenter.model.segmenter import ImageSize

_CPU = torch.device("cpu")
_MAX_NUMBERS = 1 << 22
"""Probabilities that are held at once, at least one row of tiles."""


class Proposal(NamedTuple):
    """A classifier's answer for an image."""

    labels: UInt[ndarray, "height width"]
    """Class indices, uint8, or uint16 for more than 255 classes."""
    confidence: Float32[ndarray, "height width"]
    """Probability of the label, 0 to 1."""


def propose(tokens: ImageTokens, classifier: Classifier, size: ImageSize | None = None) -> Proposal:
    """Return labels and confidence of an image.

    Args:
        tokens: Tokens of the image.
        classifier: Fitted to tokens of the same encoder, shown at the same size.
        size: Height and width of the result; if None, those of the image. The cost grows with it.

    Example:
        labels, confidence = propose(store.read(path), classifier)
    """
    part, inside = _picture(tokens, classifier, size)
    labels = band_labels([part], _dtype(classifier), softmax=False)
    return Proposal(labels[inside], band_confidence([part], softmax=False)[inside])


def label_pixels(
    tokens: ImageTokens, classifier: Classifier, size: ImageSize | None = None
) -> UInt[ndarray, "height width"]:
    """Return the labels of an image, as `Predictor` does with the fitted model.

    Args:
        tokens: As for `propose`, without its confidence in half the time.
        classifier: As for `propose`.
        size: As for `propose`.
    """
    part, inside = _picture(tokens, classifier, size)
    return band_labels([part], _dtype(classifier), softmax=False)[inside]


def probability_rows(
    tokens: ImageTokens, classifier: Classifier
) -> Iterator[tuple[slice, Float32[ndarray, "classes rows width"]]]:
    """Yield the probability of each class, some rows of the image at a time, from top to bottom."""
    part, inside = _picture(tokens, classifier, None)
    whole = Band(slice(0, tokens.size[0]), inside, [[part]])
    for band in split_band(whole, _MAX_NUMBERS):
        rows, columns = band.inside
        yield band.rows, band_probabilities(band.parts[0], softmax=False)[:, rows, columns]


def _dtype(classifier: Classifier) -> type[np.unsignedinteger]:
    return np.uint8 if len(classifier.bias) <= 255 else np.uint16


def _picture(
    tokens: ImageTokens, classifier: Classifier, size: ImageSize | None
) -> tuple[ViewLogits, tuple[slice, slice]]:
    """Return the logits of an image in tiles, and where in these the image lies."""
    sides = [
        _resized(axis, side) for axis, side in zip(tokens.axes, size or tokens.size, strict=True)
    ]
    lengths = [tile_length([side]) for side in sides]
    rows, columns = (
        tile_axis(side, length, _CPU) for side, length in zip(sides, lengths, strict=True)
    )
    logits = torch.from_numpy(classifier.logits(tokens.grid))
    inside = [
        slice(length // 2, length // 2 + len(side.indices))
        for side, length in zip(sides, lengths, strict=True)
    ]
    return ViewLogits(logits, rows, columns), (inside[0], inside[1])


def _resized(axis: AxisMap, side: int) -> AxisMap:
    """Return an axis of an image for a picture of another size."""
    return axis if len(axis.indices) == side else axis.then(resize_axis(len(axis.indices), side))
