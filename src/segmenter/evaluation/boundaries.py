"""Boundary IoU: how well outlines agree (Cheng et al., CVPR 2021), for semantic labels.

The boundary region of a class is the part of its pixels that is nearer than a distance to the
outside of the class, or to the border of the image. Of these regions in truth and prediction,
intersections and unions are counted class by class over all images, as for the IoU itself.

The distance is a share of the image's diagonal, and is measured as in the authors' code: the larger
of the distances down and across, in whole pixels, at least one.
"""

import math

import cv2
import numpy as np
from jaxtyping import Bool, Int64, Shaped
from numpy import ndarray

from segmenter.evaluation.metrics import mean_of_defined

DEFAULT_RATIO = 0.02
"""Width of a boundary region as a share of the image's diagonal, as in the paper."""


class BoundaryCounts:
    """Pixels in the boundary regions of each class, summed over images.

    Args:
        num_classes: Classes to tell apart.
        ignore_index: Label of pixels that do not count.
        ratio: Width of a boundary region as a share of the image's diagonal, above 0.
    """

    def __init__(self, num_classes: int, ignore_index: int, ratio: float = DEFAULT_RATIO) -> None:
        self.ignore_index = ignore_index
        self.ratio = ratio
        self.intersections: Int64[ndarray, " classes"] = np.zeros(num_classes, dtype=np.int64)
        self.unions: Int64[ndarray, " classes"] = np.zeros(num_classes, dtype=np.int64)

    def add(
        self,
        labels_true: Shaped[ndarray, "height width"],
        labels_predicted: Shaped[ndarray, "height width"],
    ) -> None:
        """Count one image.

        What is not labelled ends the regions of both: the prediction is not looked at there.
        """
        if labels_true.size == 0:
            return
        is_labelled = labels_true != self.ignore_index
        seen = np.where(is_labelled, labels_predicted, labels_true)
        distance = boundary_distance(labels_true.shape, self.ratio)
        of_truth = is_labelled & near_boundary(labels_true, distance)
        of_prediction = is_labelled & near_boundary(seen, distance)
        both = self._count(seen[of_truth & of_prediction & (labels_true == seen)])
        self.intersections += both
        self.unions += self._count(labels_true[of_truth]) + self._count(seen[of_prediction]) - both

    def ious(self) -> list[float | None]:
        """Return the boundary IoU of each class; None where neither side has a pixel of it."""
        pairs = zip(self.intersections.tolist(), self.unions.tolist(), strict=True)
        return [both / either if either else None for both, either in pairs]

    def mean(self, background_index: int | None = None) -> float | None:
        """Return the mean over the classes that have one; a background is not a class."""
        ious = self.ious()
        return mean_of_defined([iou for i, iou in enumerate(ious) if i != background_index])

    def _count(self, labels: Shaped[ndarray, " pixels"]) -> Int64[ndarray, " classes"]:
        return np.bincount(labels, minlength=len(self.unions))


def boundary_distance(size: tuple[int, ...], ratio: float) -> int:
    """Return the width of the boundary regions of an image of this size, in pixels."""
    return max(1, round(ratio * math.hypot(*size)))


def near_boundary(
    labels: Shaped[ndarray, "height width"], distance: int
) -> Bool[ndarray, "height width"]:
    """Find the pixels that have another label, or the outside, within a distance.

    One pass for all classes: the labels within reach are all one where the largest is the smallest.
    """
    height, width = labels.shape
    numbers = labels.astype(np.uint16)
    window = np.ones((min(2 * distance + 1, 2 * height + 1), min(2 * distance + 1, 2 * width + 1)))
    window = window.astype(np.uint8)
    is_near = np.asarray(cv2.dilate(numbers, window)) != np.asarray(cv2.erode(numbers, window))
    is_near[:distance] = is_near[-distance:] = True
    is_near[:, :distance] = is_near[:, -distance:] = True
    return is_near
