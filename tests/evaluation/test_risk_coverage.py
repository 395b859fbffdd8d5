"""The risk-coverage curve equals a naive sort by confidence."""

import math

import numpy as np
import pytest

from segmenter.evaluation.risk_coverage import RiskCoverage
from tests.evaluation import naive


def counted(confidence: np.ndarray, is_right: np.ndarray) -> RiskCoverage:
    found = RiskCoverage()
    half = len(confidence) // 2
    found.add(confidence[:half], is_right[:half])
    found.add(confidence[half:], is_right[half:])
    return found


@pytest.mark.parametrize("shape", [(1, 1), (9, 1), (0.3, 2)])
def test_risk_and_area_are_those_of_sorting_all_pixels(shape: tuple[float, float]) -> None:
    rng = np.random.default_rng(0)
    confidence = rng.beta(*shape, 20_000)
    is_right = rng.random(20_000) < confidence
    found, risks = counted(confidence, is_right), naive.risks(confidence, is_right)
    assert found.area() == pytest.approx(sum(risks) / len(risks), abs=1e-3)
    for coverage in (0.1, 0.5, 0.9, 1.0):
        expected = risks[round(coverage * 20_000) - 1]
        assert found.risk(coverage) == pytest.approx(expected, abs=2e-3)


def test_four_pixels_by_hand() -> None:
    found = counted(np.array([0.6, 0.9, 0.7, 0.8]), np.array([True, True, False, True]))
    assert found.risk(0.5) == 0
    assert found.risk(0.75) == pytest.approx(1 / 3)
    assert found.risk(1.0) == pytest.approx(1 / 4)
    # After two right pixels the third is wrong: (x - 2) / x from 2 to 3; then 1 / x from 3 to 4.
    assert found.area() == pytest.approx((1 - 2 * math.log(3 / 2) + math.log(4 / 3)) / 4)


def test_mistakes_ranked_last_reach_the_lowest_area() -> None:
    confidence = np.linspace(0.3, 0.99, 5000)
    is_right = confidence > 0.5
    found = counted(confidence, is_right)
    assert found.area() == pytest.approx(found.lowest_area(), abs=1e-3)


def test_without_any_order_the_area_is_the_share_of_mistakes() -> None:
    is_right = np.arange(100) % 4 != 0
    found = counted(np.full(100, 0.8), is_right)
    assert found.area() == pytest.approx(0.25)
    assert [risk for _, risk in found.curve(5)] == pytest.approx([0.25] * 5)


@pytest.mark.parametrize(("is_right", "risk"), [(True, 0.0), (False, 1.0)])
def test_all_right_and_all_wrong(is_right: bool, risk: float) -> None:
    found = counted(np.array([1.0, 0.7, 1.0000001]), np.full(3, is_right))
    assert (found.risk(1.0), found.area(), found.lowest_area()) == (risk, risk, risk)


def test_no_pixel_has_no_risk() -> None:
    found = RiskCoverage()
    assert (found.risk(0.5), found.area(), found.lowest_area(), found.curve()) == (
        None,
        None,
        None,
        [],
    )
