"""Regions of one mask that a model contradicts with confidence.

The rule is that of confident learning (Northcutt, Jiang and Chuang, "Confident Learning: Estimating
Uncertainty in Dataset Labels", JAIR 2021): a pixel with label i is doubtful if another class j has
a probability of at least t_j, the mean probability that the model gives class j where j is the
label, and more than class i.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import NamedTuple

import cv2
import numpy as np
from jaxtyping import Float, Shaped
from numpy import ndarray

ProbabilityRows = Iterable[tuple[slice, Float[ndarray, "classes rows width"]]]
"""Probability of each class in rows of an image, from top to bottom."""
MOST_OF_AN_IMAGE = 5
"""Regions of one image at most, so that a mask of another image does not fill the list."""
_MIN_PIXELS = 16
_BAND = 0.01
"""Width beside class borders in which a doubt counts less, relative to the short side."""
_MIN_BAND = 3.0
"""... in pixels, at least: masks are uncertain there at any size."""
_ROUNDING = 1e-4


class Comparison(NamedTuple):
    """A mask against the probabilities of a model, pixel by pixel."""

    predicted: Shaped[ndarray, "height width"]
    """Most probable class."""
    suspected: Shaped[ndarray, "height width"]
    """Most probable class of those that reach their threshold; where `margin` is 0, any."""
    margin: Float[ndarray, "height width"]
    """Probability of the suspected class minus that of the label; 0 without doubt."""


Box = tuple[int, int, int, int]
"""Left, top, width and height, in pixels."""


@dataclass(frozen=True)
class DoubtfulRegion:
    """Connected pixels of one label that the model gives to one other class."""

    box: Box
    """Left, top, width and height, in pixels."""
    label: int
    predicted: int
    area: int
    """Pixels."""
    score: float
    """Sum of the margins of its pixels, those beside class borders discounted."""


def self_confidence(
    probabilities: ProbabilityRows,
    labels: Shaped[ndarray, "height width"],
    num_classes: int,
) -> tuple[Float[ndarray, " classes"], Float[ndarray, " classes"]]:
    """Return the sum of the probabilities of the labels by class, and the pixels of each class."""
    sums, counts = np.zeros(num_classes), np.zeros(num_classes)
    for rows, found in probabilities:
        given = labels[rows]
        is_labelled = given < num_classes
        kept = given[is_labelled].astype(np.intp)
        own = _of_labels(found, given, is_labelled)[is_labelled]
        sums += np.bincount(kept, own, minlength=num_classes)
        counts += np.bincount(kept, minlength=num_classes)
    return sums, counts


def compare_labels(
    probabilities: ProbabilityRows,
    labels: Shaped[ndarray, "height width"],
    thresholds: Float[ndarray, " classes"],
) -> Comparison:
    """Compare a mask with probabilities, some rows at a time.

    Args:
        probabilities: Probabilities of each class, some rows at a time.
        labels: Class indices; values from the number of classes on are not labelled.
        thresholds: Probability from which a class is taken for the label, 0 to 1.
    """
    predicted, suspected = np.zeros_like(labels), np.zeros_like(labels)
    margin = np.zeros(labels.shape, dtype=np.float32)
    # Where all probabilities of a class are equal, rounding must not lift the mean above them.
    least = (thresholds - _ROUNDING).astype(np.float32)[:, None, None]
    for rows, found in probabilities:
        given = labels[rows]
        is_labelled = given < len(thresholds)
        own = _of_labels(found, given, is_labelled)
        predicted[rows] = found.argmax(axis=0)
        reached = np.where(found >= least, found, 0)
        suspected[rows] = reached.argmax(axis=0)
        doubt = np.maximum(reached.max(axis=0) - own, 0)
        margin[rows] = np.where(is_labelled & (suspected[rows] != given), doubt, 0)
    return Comparison(predicted, suspected, margin)


def find_regions(
    labels: Shaped[ndarray, "height width"], compared: Comparison
) -> list[DoubtfulRegion]:
    """Return the doubtful regions of a mask, the most doubtful first, a few at most."""
    weighted = compared.margin * _border_weights(labels)
    pairs = labels.astype(np.int64) << 32 | compared.suspected.astype(np.int64)
    is_doubtful = weighted > 0
    pairs[~is_doubtful] = -1
    found = [
        region
        for pair, count in zip(*np.unique(pairs[is_doubtful], return_counts=True), strict=True)
        if count >= _MIN_PIXELS
        for region in _regions_of(pairs == pair, int(pair), weighted)
    ]
    return sorted(found, key=lambda region: (-region.score, region.box))[:MOST_OF_AN_IMAGE]


def _of_labels(
    probabilities: Float[ndarray, "classes rows width"],
    given: Shaped[ndarray, "rows width"],
    is_labelled: Shaped[ndarray, "rows width"],
) -> Float[ndarray, "rows width"]:
    """Return the probability of each pixel's label; where there is none, that of class 0."""
    places = np.where(is_labelled, given, 0).astype(np.intp)
    return np.take_along_axis(probabilities, places[None], axis=0)[0]


def _border_weights(labels: Shaped[ndarray, "height width"]) -> Float[ndarray, "height width"]:
    """Return 0 on class borders of the mask, rising to 1 within a few pixels."""
    is_border = np.zeros(labels.shape, dtype=bool)
    for differs, before, after in (
        (labels[1:] != labels[:-1], np.s_[:-1, :], np.s_[1:, :]),
        (labels[:, 1:] != labels[:, :-1], np.s_[:, :-1], np.s_[:, 1:]),
    ):
        is_border[before] |= differs
        is_border[after] |= differs
    if not is_border.any():
        return np.ones(labels.shape, dtype=np.float32)
    inside = (~is_border).astype(np.uint8)
    distance = np.asarray(cv2.distanceTransform(inside, cv2.DIST_L2, 3))
    return np.minimum(distance / max(_MIN_BAND, _BAND * min(labels.shape)), 1)


def _regions_of(
    mask: Shaped[ndarray, "height width"], pair: int, weighted: Float[ndarray, "height width"]
) -> Iterator[DoubtfulRegion]:
    """Yield the connected regions of a mask that are not tiny."""
    rows, columns = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
    top, left = int(rows[0]), int(columns[0])
    part = np.s_[top : int(rows[-1]) + 1, left : int(columns[-1]) + 1]
    number, parts, stats, _ = cv2.connectedComponentsWithStats(
        mask[part].astype(np.uint8), connectivity=8
    )
    scores = np.bincount(parts.ravel(), weighted[part].ravel(), minlength=number)
    for place in range(1, number):
        x, y, width, height, area = (int(value) for value in stats[place])
        if area >= _MIN_PIXELS:
            box = (left + x, top + y, width, height)
            yield DoubtfulRegion(box, pair >> 32, pair & 0xFFFFFFFF, area, float(scores[place]))
