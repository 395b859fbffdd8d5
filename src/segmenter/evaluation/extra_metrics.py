"""Compute the additional metrics of `segmenter evaluate --statistics`, image by image.

Nothing of an image is kept but counts, so memory does not grow with their number.
"""

from typing import Any

import numpy as np
from jaxtyping import Float, Shaped
from numpy import ndarray

from segmenter.classes import Classes
from segmenter.evaluation.boundaries import DEFAULT_RATIO, BoundaryCounts
from segmenter.evaluation.calibration import NUM_BINS, Reliability, tempered
from segmenter.evaluation.object_sizes import LIMITS, SIZES, SizeCounts
from segmenter.evaluation.risk_coverage import COVERAGES, RiskCoverage
from segmenter.evaluation.threshold_curve import ThresholdCurve


class Statistics:
    """Boundary IoU, IoU by object size, calibration, risk against coverage, and thresholds.

    Args:
        classes: Classes of the data.
        boundary_ratio: Width of boundary regions, as a share of an image's diagonal.
        temperature: Fitted on other images: calibration is also reported with it, if given.
        fitted_on: What it was fitted on.
        has_probabilities: Whether images come with them; without, calibration, risk and thresholds
            are left out.
    """

    def __init__(
        self,
        classes: Classes,
        *,
        boundary_ratio: float = DEFAULT_RATIO,
        temperature: float | None = None,
        fitted_on: str | None = None,
        has_probabilities: bool = True,
    ) -> None:
        self.classes = classes
        self.boundaries = BoundaryCounts(len(classes), classes.ignore_index, boundary_ratio)
        self.sizes = SizeCounts(len(classes), classes.ignore_index)
        self.reliability = Reliability()
        self.risk_coverage = RiskCoverage()
        self.has_probabilities = has_probabilities
        has_threshold = has_probabilities and classes.background_index is not None
        self.threshold_curve = ThresholdCurve() if has_threshold else None
        """Scores at each threshold, for a model of one class."""
        self.temperature = temperature
        self.fitted_on = fitted_on
        self.tempered_reliability = None if temperature is None else Reliability()

    def add(
        self,
        labels_true: Shaped[ndarray, "height width"],
        labels: Shaped[ndarray, "height width"],
        probabilities: Float[ndarray, "classes height width"] | None = None,
    ) -> None:
        """Count one image: its truth, the labels it got, and the probabilities behind them."""
        self.boundaries.add(labels_true, labels)
        self.sizes.add(labels_true, labels)
        if probabilities is not None:
            self._add_probabilities(labels_true, labels, probabilities)

    def _add_probabilities(
        self,
        labels_true: Shaped[ndarray, "height width"],
        labels: Shaped[ndarray, "height width"],
        probabilities: Float[ndarray, "classes height width"],
    ) -> None:
        is_labelled = labels_true != self.classes.ignore_index
        is_right = (labels_true == labels)[is_labelled]
        confidence = _confidence(probabilities, labels)[is_labelled]
        self.reliability.add(confidence, is_right)
        self.risk_coverage.add(confidence, is_right)
        if self.threshold_curve is not None:
            is_class = (labels_true == 1)[is_labelled]
            self.threshold_curve.add(is_class, probabilities[1][is_labelled])
        if self.temperature is not None and self.tempered_reliability is not None:
            confidence = _confidence(tempered(probabilities, self.temperature), labels)
            self.tempered_reliability.add(confidence[is_labelled], is_right)

    def to_json(self) -> dict[str, Any]:
        """Return all of it as plain values, with the settings it was made with; classes by name."""
        found = {"boundary": self._boundary_json(), "object_size": self._size_json()}
        if self.has_probabilities:
            found["calibration"] = self._calibration_json()
            found["risk_coverage"] = self._risk_json()
        return found | self._threshold_json()

    def _by_name(self, values: list[Any]) -> dict[str, Any]:
        return dict(zip(self.classes.names, values, strict=True))

    def _boundary_json(self) -> dict[str, Any]:
        return {
            "ratio": self.boundaries.ratio,
            "mean_iou": self.boundaries.mean(self.classes.background_index),
            "iou": self._by_name(self.boundaries.ious()),
        }

    def _size_json(self) -> dict[str, Any]:
        mious = self.sizes.mious(self.classes.background_index)
        ious, objects = self.sizes.ious(), self.sizes.objects.tolist()
        limits = zip((0, *LIMITS), (*LIMITS, None), strict=True)
        return {
            name: {
                "pixels_from": low,
                "pixels_below": high,
                "miou": miou,
                "iou": self._by_name(of_classes),
                "objects": self._by_name(counts),
            }
            for name, (low, high), miou, of_classes, counts in zip(
                SIZES, limits, mious, ious, objects, strict=True
            )
        }

    def _calibration_json(self) -> dict[str, Any]:
        found: dict[str, Any] = {
            "num_bins": NUM_BINS,
            "ece": self.reliability.error(),
            "bins": _bins_json(self.reliability),
        }
        if self.tempered_reliability is not None:
            found |= {
                "temperature": self.temperature,
                "fitted_on": self.fitted_on,
                "ece_tempered": self.tempered_reliability.error(),
                "bins_tempered": _bins_json(self.tempered_reliability),
            }
        return found

    def _threshold_json(self) -> dict[str, Any]:
        curve = self.threshold_curve
        return {} if curve is None else {"threshold_curve": curve.to_json()}

    def _risk_json(self) -> dict[str, Any]:
        area, lowest = self.risk_coverage.area(), self.risk_coverage.lowest_area()
        return {
            "aurc": area,
            "lowest_aurc": lowest,
            "excess_aurc": None if area is None or lowest is None else area - lowest,
            "risk": {f"{each:g}": self.risk_coverage.risk(each) for each in COVERAGES},
        }


def _confidence(
    probabilities: Float[ndarray, "classes height width"], labels: Shaped[ndarray, "height width"]
) -> Float[ndarray, "height width"]:
    """Return the probability of the class that each pixel is labelled with."""
    return np.take_along_axis(probabilities, labels[None].astype(np.int64), axis=0)[0]


def _bins_json(reliability: Reliability) -> list[dict[str, Any]]:
    return [
        {"pixels": each.pixels, "confidence": each.confidence, "accuracy": each.accuracy}
        for each in reliability.bins()
    ]
