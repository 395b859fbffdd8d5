"""Augmentation by a second image: a part of its crop takes the place of a part of the first.

Like the rows of `operations.py`, each has a share of the crops and random numbers of its own.
"""

import math

import numpy as np

from segmenter.data.sample import Sample

MIXING = ("mix", "paste")
"""Fields of `augment` with the share of crops that get each operation of two images."""


def mix_in(crop: Sample, other: Sample, most: float, rng: np.random.Generator) -> Sample:
    """Replace a random rectangle by that of another crop, labels too.

    CutMix (Yun et al., 2019), with labels for each pixel: the rectangle has the shape of the crop,
    and an area that is drawn evenly. Unlike there, it lies inside the crop.

    Args:
        crop: The crop to change.
        other: A crop of the same size.
        most: Largest area of the rectangle, as a share of the crop's, above 0 and at most 1.
        rng: The only source of randomness.
    """
    share = math.sqrt(most * (1 - rng.random()))
    rectangle = []
    for length in crop.labels.shape:
        side = max(round(length * share), 1)
        start = int(rng.integers(length - side + 1))
        rectangle.append(slice(start, start + side))
    place = tuple(rectangle)
    image, labels = crop.image.copy(), crop.labels.copy()
    image[place], labels[place] = other.image[place], other.labels[place]
    return Sample(image, labels)


def paste_class(crop: Sample, other: Sample, class_index: int) -> Sample:
    """Replace pixels by those of another crop where that has a class; regions keep their places.

    Simple copy-paste (Ghiasi et al., 2021), without blending, which does not help there.

    Args:
        crop: The crop to change.
        other: A crop of the same size.
        class_index: The class whose regions are pasted.
    """
    is_pasted = other.labels == class_index
    image, labels = crop.image.copy(), crop.labels.copy()
    image[is_pasted], labels[is_pasted] = other.image[is_pasted], class_index
    return Sample(image, labels)
