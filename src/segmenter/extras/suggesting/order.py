"""The order in which labelling images is worth most: unsure ones, each unlike those before it.

The greedy k-centre order of Sener and Savarese, "Active Learning for Convolutional Neural Networks:
A Core-Set Approach" (ICLR 2018), with each distance weighted by the uncertainty of the image.
"""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float
from numpy import ndarray

_ALIKE = 1e-3
"""Length of features, around their mean, below which images are alike."""


@dataclass(frozen=True)
class Choice:
    """An image that is worth labelling."""

    index: int
    """Its place among the images that are not labelled."""
    distance: float
    """Distance from the nearest image that is labelled or chosen before, 0 to 2; 1 without one."""


def choose_order(
    uncertainty: Float[ndarray, " images"],
    features: Float[ndarray, "images dim"],
    labelled: Float[ndarray, "labelled dim"],
    most: int,
) -> list[Choice]:
    """Choose images one after the other: each has the largest uncertainty times distance.

    Args:
        uncertainty: Uncertainty of each image without labels, 0 to 1.
        features: Features of these images.
        labelled: Features of the images with labels; there may be none.
        most: Images to choose.

    Returns:
        The choices, the best first.
    """
    features, distances = _compared(features, labelled)
    left = np.ones(len(features), dtype=bool)
    choices = []
    for _ in range(min(most, len(features))):
        scores = np.where(left, uncertainty * np.maximum(distances, 0.0), -1.0)
        chosen = int(scores.argmax())
        choices.append(Choice(chosen, float(max(distances[chosen], 0.0))))
        left[chosen] = False
        distances = np.minimum(distances, 1 - features @ features[chosen])
    return choices


def typical_distance(
    features: Float[ndarray, "images dim"], labelled: Float[ndarray, "labelled dim"]
) -> float:
    """Return the median distance of images from the nearest labelled one; 1 if there is none."""
    return float(np.median(_compared(features, labelled)[1]))


def _compared(
    features: Float[ndarray, "images dim"], labelled: Float[ndarray, "labelled dim"]
) -> tuple[Float[ndarray, "images dim"], Float[ndarray, " images"]]:
    """Return normalised features, and each image's distance from the nearest labelled one."""
    together = _normalised(np.concatenate([features, labelled]))
    features, labelled = together[: len(features)], together[len(features) :]
    if not len(labelled):
        return features, np.ones(len(features))
    return features, (1 - features @ labelled.T).min(axis=1)


def _normalised(features: Float[ndarray, "images dim"]) -> Float[ndarray, "images dim"]:
    """Features around a mean of 0, each channel of one scale, each image of length 1."""
    centred = (features - features.mean(axis=0)) / (features.std(axis=0) + 1e-6)
    lengths = np.linalg.norm(centred, axis=1, keepdims=True)
    centred = np.where(lengths < _ALIKE, 1.0, centred)  # all images are alike: one direction
    return centred / np.linalg.norm(centred, axis=1, keepdims=True)
