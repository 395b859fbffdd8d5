"""Scores of a model of one class at each threshold of its probability, counted in one pass.

At the threshold t, a pixel is predicted as the class where its probability is at or above t. The
counts at all thresholds come from one histogram of the probabilities of either truth.
"""

from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from jaxtyping import Bool, Float, Int64
from numpy import ndarray

from segmenter.evaluation.metrics import OverlapScores, overlap_scores
from segmenter.options import DEFAULT_THRESHOLD

THRESHOLDS = tuple(step / 100 for step in range(1, 100))


@dataclass(frozen=True, kw_only=True)
class ThresholdScores(OverlapScores):
    """Scores of the class at one threshold."""

    threshold: float


class ThresholdCurve:
    """Pixels of the class and of its background by the probability of the class, over images."""

    def __init__(self) -> None:
        shape = (2, len(THRESHOLDS) + 1)
        self.counts: Int64[ndarray, "truths bins"] = np.zeros(shape, dtype=np.int64)
        """Labelled pixels by truth (background, class) and by how many thresholds they reach."""

    def add(
        self, is_class: Bool[ndarray, " pixels"], probability: Float[ndarray, " pixels"]
    ) -> None:
        """Count pixels by their truth and the probability of the class, 0 to 1."""
        limits = np.array(THRESHOLDS, dtype=np.float32)  # compared as labels are
        num_reached = np.searchsorted(limits, probability.astype(np.float32), side="right")
        places = num_reached + is_class * self.counts.shape[1]
        self.counts += np.bincount(places, minlength=self.counts.size).reshape(self.counts.shape)

    def scores(self) -> list[ThresholdScores]:
        """Return the scores at each of `THRESHOLDS`."""
        num_true = int(self.counts[1].sum())
        wrong, right = self.counts[:, ::-1].cumsum(axis=1)[:, -2::-1].tolist()
        return [
            ThresholdScores(threshold=threshold, **overlap_scores(found, num_true, found + false))
            for threshold, false, found in zip(THRESHOLDS, wrong, right, strict=True)
        ]

    def best(self) -> ThresholdScores | None:
        """Return the threshold of the highest IoU, of equals the nearest to 0.5; None if none."""
        if not self.counts[1].any():
            return None
        known = [each for each in self.scores() if each.iou is not None]
        return max(
            known,
            key=lambda each: (each.iou, -abs(each.threshold - DEFAULT_THRESHOLD)),
            default=None,
        )

    def to_json(self) -> dict[str, Any]:
        """Return the best threshold, or None, and the scores at all, as plain values."""
        best = self.best()
        return {
            "best_iou_at": best and best.threshold,
            "scores": [{"threshold": each.threshold} | asdict(each) for each in self.scores()],
        }
