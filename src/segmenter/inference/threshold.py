"""The threshold of models of one class: the smallest probability of a pixel that gets it."""

from numbers import Real

import numpy as np
from jaxtyping import Bool, Float
from numpy import ndarray

from segmenter.classes import Classes
from segmenter.errors import UserError
from segmenter.options import DEFAULT_THRESHOLD, LabelRule


def shifting_threshold(threshold: object, classes: Classes, label_rule: LabelRule) -> float | None:
    """Return a threshold that changes labels; None for the default, which is the argmax.

    Raises:
        UserError: If it is not between 0 and 1, or the model or the label rule has none.
    """
    if threshold is None:
        return None
    if isinstance(threshold, bool) or not isinstance(threshold, Real):  # NumPy's numbers are too
        raise UserError(
            f"a threshold is a number above 0 and below 1, such as 0.3, got {threshold!r}"
        )
    threshold = float(threshold)
    if classes.background_index is None:
        raise UserError(
            f"a threshold of {threshold:g} is for a model of one class and its background; this "
            f"one has {len(classes)} classes ({', '.join(classes.names[:3])}"
            f"{', ...' if len(classes) > 3 else ''}), and labels a pixel with the most probable: "
            "omit the threshold"
        )
    if not 0 < threshold < 1:
        raise UserError(
            f"a threshold is a probability above 0 and below 1, such as 0.3, got {threshold:g}"
        )
    if label_rule != "argmax":
        raise UserError(
            f"a threshold and the label rule {label_rule!r} contradict: both choose the labels; "
            "omit one"
        )
    return None if threshold == DEFAULT_THRESHOLD else threshold


def is_at_least(probability: Float[ndarray, "..."], threshold: float) -> Bool[ndarray, "..."]:
    """Return where a probability is at or above a threshold, compared in float32."""
    return probability >= np.float32(threshold)
