"""Compute risk against coverage: the error among the pixels that a model is most sure of.

Pixels of all images are ranked by confidence, the probability of the class that they are labelled
with. Coverage c keeps the share c that is surest; the risk at c is the share of wrong pixels among
these, and AURC the area under the risk over coverage (Geifman and El-Yaniv, NeurIPS 2017; Geifman,
Uziel and El-Yaniv, ICLR 2019). The lowest area that as many mistakes allow, with all right pixels
before all wrong ones, is r + (1 - r) ln(1 - r) for a risk r of all pixels; what is above it is the
excess (E-AURC).
"""

import math

import numpy as np
from jaxtyping import Bool, Float, Int64
from numpy import ndarray

COVERAGES = (0.5, 0.8, 0.9, 0.95, 0.99, 1.0)
"""Coverages for which the risk is reported."""

_NUM_BINS = 4096
_MAX_BITS = 24.0  # float32 knows no probability between 1 - 2**-24 and 1


class RiskCoverage:
    """Right and wrong pixels by confidence, summed over images.

    Confidences are binned by log2(1 - confidence), in 4096 steps, since most are near 1. Pixels
    of one step count as ties: the share of wrong ones is the same in any part of them.
    """

    def __init__(self) -> None:
        self.pixels: Int64[ndarray, " bins"] = np.zeros(_NUM_BINS, dtype=np.int64)
        """The surest first."""
        self.wrong: Int64[ndarray, " bins"] = np.zeros(_NUM_BINS, dtype=np.int64)

    def add(
        self, confidence: Float[ndarray, " pixels"], is_right: Bool[ndarray, " pixels"]
    ) -> None:
        """Count pixels with a confidence of 0 to 1."""
        bits = -np.log2(np.clip(1 - confidence, 2**-_MAX_BITS, 1))
        places = ((1 - bits / _MAX_BITS) * (_NUM_BINS - 1)).astype(np.int64)
        self.pixels += np.bincount(places, minlength=_NUM_BINS)
        self.wrong += np.bincount(places[~is_right], minlength=_NUM_BINS)

    def risk(self, coverage: float) -> float | None:
        """Return the share of wrong pixels among the surest; None without a pixel."""
        kept = coverage * int(self.pixels.sum())
        if not kept:
            return None
        pixels, wrong = (np.concatenate([[0], each.cumsum()]) for each in (self.pixels, self.wrong))
        return float(np.interp(kept, pixels, wrong) / kept)

    def area(self) -> float | None:
        """Return the AURC, the integral of `risk` over coverage 0 to 1; None without a pixel."""
        total = int(self.pixels.sum())
        if not total:
            return None
        is_used = self.pixels > 0
        pixels, wrong = self.pixels[is_used], self.wrong[is_used]
        after, rate = pixels.cumsum(), wrong / pixels
        before = after - pixels
        # Within a step the risk is (excess + rate x) / x after x pixels; before the first, nothing.
        excess = wrong.cumsum() - wrong - rate * before
        logs = np.log(after / np.maximum(before, 1))
        return float((rate * pixels + np.where(before > 0, excess * logs, 0)).sum() / total)

    def lowest_area(self) -> float | None:
        """Return the lowest AURC that as many mistakes allow; None without a pixel."""
        risk = self.risk(1.0)
        if risk is None:
            return None
        return 1.0 if risk == 1 else risk + (1 - risk) * math.log1p(-risk)

    def curve(self, num_points: int = 100) -> list[tuple[float, float]]:
        """Return pairs of coverage and risk, evenly spread over coverage; None without a pixel."""
        points = [(index + 1) / num_points for index in range(num_points)]
        risks = [(coverage, self.risk(coverage)) for coverage in points]
        return [(coverage, risk) for coverage, risk in risks if risk is not None]
