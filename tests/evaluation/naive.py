"""Definitions of the statistics with loops over pixels, to hold the code to."""

import math
from collections.abc import Iterator

import numpy as np

IGNORED = 255


def random_labels(
    rng: np.random.Generator, size: tuple[int, int], num_classes: int, block: int = 3
) -> tuple[np.ndarray, np.ndarray]:
    """Truth and prediction in blocks, mostly alike; some pixels of the truth are ignored."""
    rows, columns = -(-size[0] // block), -(-size[1] // block)
    coarse = rng.integers(0, num_classes, (rows, columns)).repeat(block, 0).repeat(block, 1)
    true = coarse[: size[0], : size[1]].astype(np.uint8)
    predicted = np.where(rng.random(size) < 0.2, rng.integers(0, num_classes, size), true)
    shifted = np.roll(predicted, int(rng.integers(0, 2)), axis=1).astype(np.uint8)
    return np.where(rng.random(size) < 0.1, IGNORED, true).astype(np.uint8), shifted


def random_probabilities(
    rng: np.random.Generator, num_classes: int, size: tuple[int, int], sharpness: float = 2.0
) -> np.ndarray:
    scores = np.exp(sharpness * rng.normal(size=(num_classes, *size)))
    return (scores / scores.sum(axis=0)).astype(np.float32)


def pixels(size: tuple[int, ...]) -> Iterator[tuple[int, int]]:
    return ((row, column) for row in range(size[0]) for column in range(size[1]))


def boundary_region(mask: np.ndarray, distance: int) -> set[tuple[int, int]]:
    """Pixels of a mask with something that is not of it within a distance, down or across."""
    height, width = mask.shape
    found = set()
    for row, column in pixels(mask.shape):
        around = [
            (row + down, column + right)
            for down in range(-distance, distance + 1)
            for right in range(-distance, distance + 1)
        ]
        leaves = any(not (0 <= y < height and 0 <= x < width) or not mask[y, x] for y, x in around)
        if mask[row, column] and leaves:
            found.add((row, column))
    return found


def components(mask: np.ndarray) -> list[set[tuple[int, int]]]:
    """Pixels that hang together at sides or corners, by flooding."""
    left, found = {place for place in pixels(mask.shape) if mask[place]}, []
    while left:
        front, component = [left.pop()], set()
        while front:
            row, column = front.pop()
            component.add((row, column))
            for down in (-1, 0, 1):
                for right in (-1, 0, 1):
                    place = (row + down, column + right)
                    if place in left:
                        left.remove(place)
                        front.append(place)
        found.append(component)
    return found


def calibration_error(confidence: np.ndarray, is_right: np.ndarray, num_bins: int) -> float:
    total = 0.0
    for index in range(num_bins):
        low, high = index / num_bins, (index + 1) / num_bins
        inside = [
            (c, r)
            for c, r in zip(confidence.tolist(), is_right.tolist(), strict=True)
            if low <= c < high or (index == num_bins - 1 and c == 1)
        ]
        if inside:
            mean_confidence = sum(c for c, _ in inside) / len(inside)
            accuracy = sum(r for _, r in inside) / len(inside)
            total += len(inside) / len(confidence) * abs(accuracy - mean_confidence)
    return total


def risks(confidence: np.ndarray, is_right: np.ndarray) -> list[float]:
    """Share of wrong pixels among the 1, 2, ... surest."""
    order = sorted(range(len(confidence)), key=lambda place: -confidence[place])
    wrong, found = 0, []
    for count, place in enumerate(order, start=1):
        wrong += not is_right[place]
        found.append(wrong / count)
    return found


def mean_loss(probabilities: np.ndarray, labels: np.ndarray, temperature: float) -> float:
    """Mean negative log likelihood of the true classes, pixel by pixel."""
    total, count = 0.0, 0
    for row, column in pixels(labels.shape):
        if labels[row, column] != IGNORED:
            logits = [math.log(p) / temperature for p in probabilities[:, row, column].tolist()]
            total += math.log(sum(map(math.exp, logits))) - logits[labels[row, column]]
            count += 1
    return total / count
