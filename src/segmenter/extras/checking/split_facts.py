"""Describe a data set: classes, sizes and colours of each split, and settings that suit them."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float64, Int64
from numpy import ndarray

from segmenter.classes import Classes
from segmenter.data.class_weights import CLASS_WEIGHT_RULES, weights_by_rule
from segmenter.data.masks.inspection import gather_sizes
from segmenter.data.masks.problems import Problem
from segmenter.data.masks.region_widths import SizeFacts
from segmenter.extras.checking.item_inspection import Inspection, is_usable

_MAX_CROP = 512
"""The paper's largest crop but for Cityscapes (section 4.1)."""
_PATCH_SIZES = (16, 14)
_FITTING_SHARE = 0.9
"""So many of the images are at least as large as the suggested crop."""


@dataclass(frozen=True)
class SplitFacts:
    """Facts of one split."""

    name: str
    num_images: int
    num_usable: int
    """Images with a mask, neither of them with an error; class numbers are from these."""
    pixel_counts: Int64[ndarray, " classes"]
    mask_counts: Int64[ndarray, " classes"]
    """Masks that hold each class."""
    num_ignored: int
    """Pixels that are ignored."""
    sizes: tuple[tuple[tuple[int, int], int], ...]
    """(Height, width) and how many images have it, the commonest first."""
    mean: Float64[ndarray, " channels"] | None
    """Mean of red, green and blue over all pixels, 0 to 255, or of the channels; None if empty."""
    std: Float64[ndarray, " channels"] | None
    regions: SizeFacts
    """Sizes of the usable masks, and of the regions in them."""


@dataclass(frozen=True)
class Suggestions:
    """Fields of a recipe that suit the training split."""

    split: str
    class_weights: dict[str, Float64[ndarray, " classes"]]
    """Class weights by each rule of `loss.class_weights`."""
    crop_sizes: dict[int, int]
    """Largest crop that nine images of ten can fill, up to 512, by patch size."""


def summarise(name: str, inspections: Sequence[Inspection], num_classes: int) -> SplitFacts:
    """Return the numbers of one split.

    Args:
        name: Name of the split.
        inspections: Inspections of its items.
        num_classes: How many classes there are.
    """
    masks = [each.mask for each in inspections if each.mask is not None and is_usable(each)]
    counts = np.zeros(num_classes, dtype=np.int64)
    holding = np.zeros(num_classes, dtype=np.int64)
    for mask in masks:
        counts += mask.pixel_counts
        holding += mask.pixel_counts > 0
    images = [each.image for each in inspections if each.image is not None]
    sizes = Counter(image.size for image in images)
    mean = std = None
    if images:
        weights = np.array([image.size[0] * image.size[1] for image in images], dtype=np.float64)
        means = np.stack([image.mean for image in images])
        squares = np.stack([image.variance for image in images]) + np.square(means)
        mean = np.average(means, axis=0, weights=weights)
        square = np.average(squares, axis=0, weights=weights)
        std = np.sqrt(np.maximum(square - np.square(mean), 0))
    return SplitFacts(
        name,
        num_images=len(inspections),
        num_usable=len(masks),
        pixel_counts=counts,
        mask_counts=holding,
        num_ignored=sum(mask.num_pixels for mask in masks) - int(counts.sum()),
        sizes=tuple(sorted(sizes.items(), key=lambda pair: (-pair[1], pair[0]))),
        mean=mean,
        std=std,
        regions=gather_sizes(masks, num_classes),
    )


def missing_classes(
    pixel_counts: Int64[ndarray, " classes"],
    classes: Classes,
    where: str,
    kind: str = "class-missing",
) -> list[Problem]:
    """Return a problem for each class that no mask holds; none if no pixel is labelled at all."""
    if not pixel_counts.any():
        return []
    return [
        Problem(kind, f"{classes.names[index]!r} is in no mask of {where}")
        for index in np.flatnonzero(pixel_counts == 0)
    ]


def suggest(training: SplitFacts) -> Suggestions:
    """Return fields of a recipe that suit the data."""
    sides = [min(size) for size, count in training.sizes for _ in range(count)]
    crop_sizes = {}
    if sides:
        side = int(np.quantile(sides, 1 - _FITTING_SHARE, method="lower"))
        crop_sizes = {
            patch: max(min(side, _MAX_CROP) // patch * patch, patch) for patch in _PATCH_SIZES
        }
    weights = {}
    if training.pixel_counts.any():
        weights = {
            rule: weights_by_rule(rule, training.pixel_counts) for rule in CLASS_WEIGHT_RULES
        }
    return Suggestions(training.name, weights, crop_sizes)
