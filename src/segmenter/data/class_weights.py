"""Weights of classes, from their shares of the pixels: a rare class weighs more."""

from collections.abc import Callable

import numpy as np
from jaxtyping import Float64, Int64, Shaped
from numpy import ndarray

from segmenter.recipe.loss import ClassWeightRule

_PerClass = Float64[ndarray, " classes"]
_RULES: dict[ClassWeightRule, Callable[[_PerClass], _PerClass]] = {
    "inverse": lambda shares: 1 / shares,
    "inverse-root": lambda shares: 1 / np.sqrt(shares),
    "log": lambda shares: 1 / np.log(1.02 + shares),
}
CLASS_WEIGHT_RULES = tuple(_RULES)
"""Names of the rules; `none` of the recipe is not one of them."""


def weights_by_rule(
    rule: ClassWeightRule, pixel_counts: Int64[ndarray, " classes"]
) -> Float64[ndarray, " classes"]:
    """Weights that make rare classes count more, 1 on average over the pixels.

    Args:
        rule: As `LossRecipe.class_weights` explains it.
        pixel_counts: Pixels of each class; one without any weighs as if it had one.
    """
    counts = np.maximum(pixel_counts, 1).astype(np.float64)
    shares = counts / counts.sum()
    weights = _RULES[rule](shares)
    return one_on_average(weights, pixel_counts if pixel_counts.any() else counts)


def one_on_average(weights: _PerClass, pixel_counts: Shaped[ndarray, " classes"]) -> _PerClass:
    """Scale weights of classes so that they are 1 on average over the pixels.

    Args:
        weights: Weight of each class.
        pixel_counts: Pixels of each class; some class has any.
    """
    return weights * (pixel_counts.sum() / (weights * pixel_counts).sum())
