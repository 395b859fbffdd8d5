"""Find the class that needs labels most."""

import numpy as np
from jaxtyping import Int64
from numpy import ndarray

from segmenter.classes import Classes
from segmenter.evaluation.evaluate import Evaluation


def class_in_need(
    classes: Classes,
    pixel_counts: Int64[ndarray, "images classes"],
    estimate: Evaluation | None,
) -> str | None:
    """Return the name of the class that one more labelled image helps most.

    An error that falls with the number of images falls, for one more, by its size divided by that
    number: so it is the class with the largest 1 - IoU for each image that shows it. A class that
    no image shows comes first, then one that a single image shows, since nothing tells how well
    it is found.

    Args:
        classes: Classes of the data.
        pixel_counts: Labelled pixels of each class in each image.
        estimate: Scores on images that were left out.

    Returns:
        The name; None where every class is always right.
    """
    num_images = (pixel_counts > 0).sum(axis=0)
    errors = np.ones(len(classes))
    if estimate is not None:
        errors -= [each.iou or 0.0 for each in estimate.scores.classes]
    errors[num_images < 2] = 1.0
    gains = errors / np.maximum(num_images, 0.5)
    if classes.background_index is not None:
        gains[classes.background_index] = 0.0
    best = int(gains.argmax())
    return classes.names[best] if gains[best] > 0 else None
