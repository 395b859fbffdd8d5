"""Shares of the pixels by class, in the first images and over all."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from jaxtyping import Float
from numpy import ndarray

from segmenter.classes import Classes

_MAX_ROWS = 40


@dataclass(frozen=True)
class SummaryTable:
    """Shares of the classes that occur, the largest over all images first."""

    names: tuple[str, ...]
    """Names of the classes, one for each column."""
    images: tuple[Path, ...]
    """One a row: the first images."""
    shares: Float[ndarray, "images columns"]
    overall: Float[ndarray, " columns"]
    """Mean over all images, each counting the same whatever its size."""
    num_images: int
    """Number of all images."""


class Summary:
    """Takes in the shares of any number of images; keeps those of the first, and the sum."""

    def __init__(self, classes: Classes) -> None:
        self.classes = classes
        self._num_images = 0
        self._first: list[tuple[Path, Float[ndarray, " classes"]]] = []
        self._sum = np.zeros(len(classes))

    def add(self, path: Path, shares: Float[ndarray, " classes"]) -> None:
        """Count one labelled image."""
        self._num_images += 1
        self._sum += shares
        if len(self._first) < _MAX_ROWS:
            self._first.append((path, shares))

    def table(self) -> SummaryTable:
        """Return what was taken in until now."""
        overall = self._sum / max(self._num_images, 1)
        order = [int(index) for index in np.argsort(-overall, kind="stable") if overall[index] > 0]
        rows = np.array([shares for _, shares in self._first]).reshape(-1, len(self.classes))
        return SummaryTable(
            names=tuple(self.classes.names[index] for index in order),
            images=tuple(path for path, _ in self._first),
            shares=rows[:, order],
            overall=overall[order],
            num_images=self._num_images,
        )
