"""Calibration error and temperature equal naive ones."""

import numpy as np
import pytest

from segmenter.evaluation.calibration import NUM_BINS, Reliability, TemperatureFit, tempered
from tests.evaluation import naive
from tests.evaluation.naive import IGNORED, random_probabilities


def test_the_error_is_that_of_a_loop_over_bins_and_pixels() -> None:
    rng = np.random.default_rng(0)
    for _ in range(20):
        confidence = rng.beta(3, 1, int(rng.integers(1, 200))).astype(np.float32)
        confidence[:1] = 1.0
        is_right = rng.random(confidence.size) < confidence**2
        found = Reliability()
        half = len(confidence) // 2
        found.add(confidence[:half], is_right[:half])
        found.add(confidence[half:], is_right[half:])
        expected = naive.calibration_error(confidence, is_right, NUM_BINS)
        assert found.error() == pytest.approx(expected, abs=1e-6)


def test_two_bins_by_hand() -> None:
    found = Reliability()
    found.add(np.array([0.5, 0.5, 1.0, 1.0]), np.array([True, True, True, False]))
    # Half of the pixels: right 1, sure 0.5; the other half: right 0.5, sure 1.
    assert found.error() == pytest.approx(0.5)
    used = [(each.pixels, each.confidence, each.accuracy) for each in found.bins() if each.pixels]
    assert used == [(2, 0.5, 1.0), (2, 1.0, 0.5)]


def test_no_pixel_has_no_error_and_no_temperature() -> None:
    assert Reliability().error() is None
    fit = TemperatureFit()
    fit.add(random_probabilities(np.random.default_rng(0), 3, (2, 2)), np.full((2, 2), IGNORED))
    assert fit.temperature() is None


@pytest.mark.parametrize("made_at", [0.4, 1.0, 1.7, 3.0])
def test_the_temperature_is_found_that_labels_were_drawn_at(made_at: float) -> None:
    rng = np.random.default_rng(0)
    probabilities = random_probabilities(rng, 4, (100, 100))
    true_ones = tempered(probabilities, made_at)
    drawn = (true_ones.cumsum(axis=0) < rng.random((1, 100, 100))).sum(axis=0).clip(0, 3)
    fit = TemperatureFit()
    for rows in (slice(0, 30), slice(30, 60), slice(60, 100)):
        fit.add(probabilities[:, rows], drawn[rows])
    assert fit.temperature() == pytest.approx(made_at, rel=0.06)


def test_no_temperature_beside_it_has_a_lower_loss_pixel_by_pixel() -> None:
    rng = np.random.default_rng(1)
    for _ in range(3):
        probabilities = random_probabilities(rng, 3, (12, 12))
        labels = np.where(rng.random((12, 12)) < 0.7, probabilities.argmax(axis=0), 1)
        labels[0] = IGNORED
        fit = TemperatureFit()
        fit.add(probabilities, labels)
        best = fit.temperature()
        loss = naive.mean_loss(probabilities, labels, best)
        for other in np.geomspace(0.1, 10, 400):
            assert loss <= naive.mean_loss(probabilities, labels, other) + 1e-5


def test_a_temperature_divides_logits_and_keeps_the_most_probable_class() -> None:
    logits = np.random.default_rng(0).normal(size=(5, 6, 7))

    def softmax(values: np.ndarray) -> np.ndarray:
        powers = np.exp(values)
        return (powers / powers.sum(axis=0)).astype(np.float32)

    cooled = tempered(softmax(logits), 2.5)
    np.testing.assert_allclose(cooled, softmax(logits / 2.5), atol=1e-6)
    np.testing.assert_array_equal(cooled.argmax(axis=0), logits.argmax(axis=0))


def test_a_probability_of_zero_stays_finite() -> None:
    certain = np.array([[[1.0]], [[0.0]]], np.float32)
    assert tempered(certain, 2.0).sum() == pytest.approx(1)
    fit = TemperatureFit()
    fit.add(certain, np.array([[1]]))
    assert fit.temperature() == pytest.approx(10)
