"""Weights of classes are 1 on average over the pixels."""

import numpy as np
import pytest

from segmenter.data.class_weights import CLASS_WEIGHT_RULES, weights_by_rule
from segmenter.recipe.loss import ClassWeightRule


@pytest.mark.parametrize("rule", CLASS_WEIGHT_RULES)
@pytest.mark.parametrize("absent", [0, 145])
def test_the_mean_over_the_pixels_is_one_however_many_classes_are_absent(
    rule: ClassWeightRule, absent: int
) -> None:
    counts = np.array([5000, 3000, 1000, 200, 10] + [0] * absent)
    weights = weights_by_rule(rule, counts)
    assert (weights * counts).sum() / counts.sum() == pytest.approx(1)


@pytest.mark.parametrize("rule", CLASS_WEIGHT_RULES)
def test_without_pixels_all_classes_weigh_one(rule: ClassWeightRule) -> None:
    np.testing.assert_allclose(weights_by_rule(rule, np.zeros(3, dtype=np.int64)), 1)
