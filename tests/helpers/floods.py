"""Connected regions by a naive flood fill."""

import numpy as np


def flooded(labels: np.ndarray) -> list[tuple[int, list[tuple[int, int]]]]:
    """Return the label and the pixels of each 4-connected region of one label."""
    height, width = labels.shape
    seen: set[tuple[int, int]] = set()
    found = []
    for start in np.ndindex(height, width):
        if start in seen:
            continue
        pixels, waiting = [], [start]
        seen.add(start)
        while waiting:
            row, column = waiting.pop()
            pixels.append((row, column))
            for near in (
                (row - 1, column),
                (row + 1, column),
                (row, column - 1),
                (row, column + 1),
            ):
                inside = 0 <= near[0] < height and 0 <= near[1] < width
                if inside and near not in seen and labels[near] == labels[start]:
                    seen.add(near)
                    waiting.append(near)
        found.append((int(labels[start]), pixels))
    return found
