"""Measure the calibration error, and fit the temperature that lowers it.

The confidence of a pixel is the probability of the class that it is labelled with. Pixels fall into
15 bins of equal width by confidence, over all images; the expected calibration error (ECE) is the
mean over pixels of |share of right pixels - mean confidence| of their bin (Naeini et al., AAAI
2015; Guo et al., ICML 2017).

A temperature T divides logits: above 1, a model becomes less sure; the most probable class stays
the most probable one. It is the one with the lowest mean negative log likelihood of the true
classes on images that it is not judged by (Guo et al.). Probabilities p become p ** (1 / T), made
to sum to 1: the same thing where logits were averaged, and defined where probabilities were.
"""

import math
from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float, Int64, Shaped
from numpy import ndarray

NUM_BINS = 15

_TEMPERATURES = np.geomspace(0.1, 10, 81)  # each 6 % above the one before
_NUM_SAMPLED = 4096  # pixels of an image; its neighbours tell little more
_LOWEST = float(np.finfo(np.float32).tiny)


@dataclass(frozen=True)
class Bin:
    """Pixels of about one confidence."""

    pixels: int
    confidence: float | None
    """Mean; None without pixels."""
    accuracy: float | None
    """Share of them that is right; None without pixels."""


class Reliability:
    """Counts of right pixels by confidence, summed over images."""

    def __init__(self) -> None:
        self.pixels: Int64[ndarray, " bins"] = np.zeros(NUM_BINS, dtype=np.int64)
        self.right: Int64[ndarray, " bins"] = np.zeros(NUM_BINS, dtype=np.int64)
        self.confidence: Float[ndarray, " bins"] = np.zeros(NUM_BINS)
        """Sum over pixels."""

    def add(
        self, confidence: Float[ndarray, " pixels"], is_right: Bool[ndarray, " pixels"]
    ) -> None:
        """Count pixels with a confidence of 0 to 1."""
        places = np.minimum((confidence * NUM_BINS).astype(np.int64), NUM_BINS - 1)
        self.pixels += np.bincount(places, minlength=NUM_BINS)
        self.right += np.bincount(places[is_right], minlength=NUM_BINS)
        self.confidence += np.bincount(places, weights=confidence, minlength=NUM_BINS)

    def bins(self) -> list[Bin]:
        """Return the bins from the lowest confidence to the highest."""
        return [
            Bin(n, total / n, right / n) if n else Bin(0, None, None)
            for n, right, total in zip(
                self.pixels.tolist(), self.right.tolist(), self.confidence.tolist(), strict=True
            )
        ]

    def error(self) -> float | None:
        """Return the expected calibration error; None without a pixel."""
        total = int(self.pixels.sum())
        return float(np.abs(self.right - self.confidence).sum() / total) if total else None


class TemperatureFit:
    """Finds the temperature, image by image; what it keeps are sums."""

    def __init__(self) -> None:
        self._losses = np.zeros(len(_TEMPERATURES))
        self._generator = np.random.default_rng(0)
        self.num_pixels = 0

    def add(
        self,
        probabilities: Float[ndarray, "classes height width"],
        labels_true: Shaped[ndarray, "height width"],
    ) -> None:
        """Take in some thousand of the labelled pixels of an image.

        Args:
            probabilities: At each pixel.
            labels_true: Its class; what is not a class does not count.
        """
        places = np.flatnonzero(labels_true.ravel() < len(probabilities))
        if len(places) > _NUM_SAMPLED:
            places = self._generator.choice(places, _NUM_SAMPLED, replace=False)
        sampled = probabilities.reshape(len(probabilities), -1)[:, places].T
        logs = np.log(np.maximum(sampled, _LOWEST), dtype=np.float64)
        of_truth = logs[np.arange(len(places)), labels_true.ravel()[places]]
        for index, temperature in enumerate(_TEMPERATURES):
            partition = np.log(np.exp(logs / temperature).sum(axis=1))
            self._losses[index] += (partition - of_truth / temperature).sum()
        self.num_pixels += len(places)

    def temperature(self) -> float | None:
        """Return the best one, from 0.1 to 10; None without a pixel.

        The loss is convex in 1 / T, so one step of the grid holds the lowest; a parabola through
        its lowest point and the two beside it finds it to well under one per cent.
        """
        if not self.num_pixels:
            return None
        lowest = int(self._losses.argmin())
        if not 0 < lowest < len(_TEMPERATURES) - 1:
            return float(_TEMPERATURES[lowest])
        before, at, after = self._losses[lowest - 1 : lowest + 2]
        curvature = before - 2 * at + after
        shift = (before - after) / (2 * curvature) if curvature > 0 else 0.0
        step = math.log(_TEMPERATURES[1] / _TEMPERATURES[0])
        return float(_TEMPERATURES[lowest] * math.exp(shift * step))


def tempered(
    probabilities: Float[ndarray, "classes height width"], temperature: float
) -> Float[ndarray, "classes height width"]:
    """Return probabilities at another temperature than 1."""
    powers = np.maximum(probabilities, _LOWEST) ** np.float32(1 / temperature)
    return powers / powers.sum(axis=0)
