"""Arithmetic on scores by its definition, in float64."""

import numpy as np


def naive_resize(scores: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """Resize (classes, rows, columns) bilinearly."""
    for axis, length in zip((1, 2), size, strict=True):
        old = scores.shape[axis]
        source = np.maximum((np.arange(length) + 0.5) * old / length - 0.5, 0)
        low = np.floor(source).astype(int)
        high = np.minimum(low + 1, old - 1)
        share = (source - low).reshape([-1 if i == axis else 1 for i in range(3)])
        scores = scores.take(low, axis) * (1 - share) + scores.take(high, axis) * share
    return scores


def naive_softmax(scores: np.ndarray) -> np.ndarray:
    """Turn scores into probabilities, which add up to 1 along the first axis."""
    powers = np.exp(scores - scores.max(axis=0))
    return powers / powers.sum(axis=0)
