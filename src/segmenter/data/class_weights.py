"""How much more a rare class weighs, from its share of the pixels."""

from collections.abc import Callable

import numpy as np
from jaxtyping import Float64, Int64
from numpy import ndarray

_RULES: dict[str, Callable[[Float64[ndarray, " classes"]], Float64[ndarray, " classes"]]] = {
    "inverse": lambda shares: 1 / shares,
    "inverse-root": lambda shares: 1 / np.sqrt(shares),
    "log": lambda shares: 1 / np.log(1.02 + shares),
}
CLASS_WEIGHT_RULES = tuple(_RULES)
"""Names of the rules; `none` of the recipe is not one of them."""


def weights_by_rule(
    rule: str, pixel_counts: Int64[ndarray, " classes"]
) -> Float64[ndarray, " classes"]:
    """Weights that make rare classes count more, 1 on average over the pixels.

    Args:
        rule: `inverse`: 1 / share of the pixels. `inverse-root`: 1 / sqrt(share). `log`:
            1 / ln(1.02 + share), at most 50 before averaging (ENet, Paszke et al. 2016).
        pixel_counts: Of each class; a class without pixels counts as one.
    """
    counts = np.maximum(pixel_counts, 1).astype(np.float64)
    shares = counts / counts.sum()
    weights = _RULES[rule](shares)
    return weights / (weights * shares).sum()
