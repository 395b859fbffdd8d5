"""IoU by the size of objects, for labels without instances.

The Segmenter paper gives mIoU of small, medium and large objects on ADE20K and does not say how
they are separate; here:

- an object is a connected component of one class in the truth (pixels that touch at a side or a
  corner), its size the number of its pixels in the image as it is, and the limits are COCO's:
  small is below 32 x 32 pixels, medium below 96 x 96, large all above;
- a pixel of an object counts for its size, and is right where the prediction has its class;
- pixels that are wrongly predicted as a class count for the size of the objects that most of the
  right pixels of their component of the prediction lie in (the smaller size of two with as many),
  or, where none is right, for the component's own size: as COCO counts a detection by the object
  that it matches, and by its own area if it matches none;
- the IoU of a class at a size is right / (pixels of its objects + wrong ones), summed over images;
  the mIoU of a size is the mean over classes that have objects of it.

So right, true and wrong pixels of the three sizes add up to those of the IoU of all.
"""

from collections.abc import Iterator

import cv2
import numpy as np
from jaxtyping import Int32, Int64, Shaped
from numpy import ndarray

from segmenter.evaluation.metrics import mean_of_defined

SIZES = ("small", "medium", "large")
LIMITS = (32 * 32, 96 * 96)
"""Pixels from which an object is medium, and large."""


class SizeCounts:
    """Pixels of each class by the size of the object they lie in, summed over images.

    Args:
        num_classes: Classes to tell apart.
        ignore_index: Label of pixels that do not count.
    """

    def __init__(self, num_classes: int, ignore_index: int) -> None:
        self.num_classes = num_classes
        self.ignore_index = ignore_index
        shape = (len(SIZES), num_classes)
        self.right: Int64[ndarray, "sizes classes"] = np.zeros(shape, dtype=np.int64)
        self.true: Int64[ndarray, "sizes classes"] = np.zeros(shape, dtype=np.int64)
        self.wrong: Int64[ndarray, "sizes classes"] = np.zeros(shape, dtype=np.int64)
        """Pixels predicted as the class that are of another."""
        self.objects: Int64[ndarray, "sizes classes"] = np.zeros(shape, dtype=np.int64)
        """Number of objects in the ground truth."""

    def add(
        self,
        labels_true: Shaped[ndarray, "height width"],
        labels_predicted: Shaped[ndarray, "height width"],
    ) -> None:
        """Count one image."""
        if labels_true.size == 0:
            return
        is_right = labels_true == labels_predicted
        is_wrong = ~is_right & (labels_true != self.ignore_index)
        size_of_truth = np.zeros(labels_true.shape, dtype=np.int64)
        for index, components, sizes in self._components(labels_true):
            inside = components > 0
            size_of_truth[inside] = sizes[components[inside] - 1]
            self.true[:, index] += _count(size_of_truth[inside])
            self.right[:, index] += _count(size_of_truth[inside & is_right])
            self.objects[:, index] += _count(sizes)
        for index, components, sizes in self._components(labels_predicted):
            found = (components > 0) & is_right
            pairs = (components[found] - 1) * len(SIZES) + size_of_truth[found]
            matched = np.bincount(pairs, minlength=sizes.size * len(SIZES))
            matched = matched.reshape(sizes.size, len(SIZES))
            sizes = np.where(matched.any(axis=1), matched.argmax(axis=1), sizes)
            self.wrong[:, index] += _count(sizes[components[(components > 0) & is_wrong] - 1])

    def _components(
        self, labels: Shaped[ndarray, "height width"]
    ) -> Iterator[tuple[int, Int32[ndarray, "height width"], Int64[ndarray, " components"]]]:
        """Yield each class that occurs, its components from 1, and the size of each by area."""
        for index in np.unique(labels).tolist():
            if index < self.num_classes:
                mask = (labels == index).view(np.uint8)
                _, components, stats, _ = cv2.connectedComponentsWithStats(mask, connectivity=8)
                areas = stats[1:, cv2.CC_STAT_AREA]
                yield index, np.asarray(components), np.searchsorted(LIMITS, areas, side="right")

    def ious(self) -> list[list[float | None]]:
        """Return for each size the IoU of each class; None where the truth has no object of it."""
        found = []
        for right, true, wrong in zip(
            self.right.tolist(), self.true.tolist(), self.wrong.tolist(), strict=True
        ):
            rows = zip(right, true, wrong, strict=True)
            found.append([both / (one + other) if one else None for both, one, other in rows])
        return found

    def mious(self, background_index: int | None = None) -> list[float | None]:
        """Return for each size the mean over classes; a background is not a class."""
        return [
            mean_of_defined([iou for i, iou in enumerate(row) if i != background_index])
            for row in self.ious()
        ]


def _count(sizes: Int64[ndarray, "..."]) -> Int64[ndarray, " sizes"]:
    """Count how often each size occurs."""
    return np.bincount(sizes, minlength=len(SIZES))
