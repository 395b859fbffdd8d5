"""Arithmetic on scores by its definition, in float64."""

import numpy as np

from segmenter.model import EvaluationProtocol


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


def orientations_of(protocol: EvaluationProtocol) -> list[tuple[int, bool]]:
    """Quarter turns, and whether the image is mirrored first, of each view of a protocol."""
    turns = {1: (0,), 2: (0, 2), 4: (0, 1, 2, 3)}[protocol.rotations]
    return [
        (turn, is_mirrored) for turn in turns for is_mirrored in (False, True)[: 1 + protocol.flip]
    ]


def oriented(image: np.ndarray, turns: int, is_mirrored: bool) -> np.ndarray:
    """An image (height, width, channels), mirrored left to right and then turned."""
    return np.rot90(image[:, ::-1] if is_mirrored else image, turns).copy()


def turned_back(numbers: np.ndarray, turns: int, is_mirrored: bool) -> np.ndarray:
    """Numbers (classes, height, width) of an oriented image, in the places of the image."""
    back = np.rot90(numbers, -turns, axes=(1, 2))
    return back[:, :, ::-1] if is_mirrored else back
