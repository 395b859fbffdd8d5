"""A fit minimises its loss, balances classes, and never predicts a class without labels."""

import numpy as np
import pytest
import torch

from segmenter.errors import UserError
from segmenter.fitting.classifier import balanced_weights, find_basis, fit_classifier

NUM_CLASSES = 4
ABSENT = 2


def blobs(count: int = 300, dim: int = 6) -> tuple[np.ndarray, np.ndarray]:
    """Samples of three overlapping classes out of four."""
    rng = np.random.default_rng(0)
    labels = rng.choice([0, 1, 3], count, p=[0.7, 0.2, 0.1])
    centres = rng.normal(size=(NUM_CLASSES, dim))
    features = centres[labels] * 1.5 + rng.normal(size=(count, dim)) + 3.0
    return features.astype(np.float32), labels


def test_the_fit_is_the_minimum_of_its_loss() -> None:
    features, labels = blobs()
    weights = np.random.default_rng(1).random(len(labels))
    found = fit_classifier(features, labels, NUM_CLASSES, weights, strength=0.05)
    weight = torch.from_numpy(found.weight).double().requires_grad_()
    bias = torch.from_numpy(found.bias).double().requires_grad_()
    logits = torch.from_numpy((features - found.mean) / found.deviation).double() @ weight.T + bias
    losses = torch.nn.functional.cross_entropy(logits, torch.from_numpy(labels), reduction="none")
    shares = torch.from_numpy(weights / weights.sum())
    (losses @ shares + 0.025 * weight.square().sum()).backward()
    for gradient in (weight.grad, bias.grad):
        assert gradient is not None
        assert gradient.abs().max() < 3e-3


def test_scores_are_those_of_standardised_features() -> None:
    features, labels = blobs()
    found = fit_classifier(features, labels, NUM_CLASSES)
    expected = (features - found.mean) / found.deviation @ found.weight.T + found.bias
    np.testing.assert_allclose(found.logits(features), expected, atol=1e-4)


def test_a_class_without_labels_is_never_predicted() -> None:
    features, labels = blobs()
    found = fit_classifier(features, labels, NUM_CLASSES)
    assert ABSENT not in found.logits(features * 10).argmax(axis=1)


def test_a_start_gives_the_same_fit() -> None:
    features, labels = blobs()
    first = fit_classifier(features[:200], labels[:200], NUM_CLASSES)
    again = fit_classifier(features[:200], labels[:200], NUM_CLASSES, start=first)
    np.testing.assert_allclose(again.logits(features), first.logits(features), atol=0.02)


def test_components_of_many_samples_know_classes_that_take_turns() -> None:
    classes = np.tile(np.array([-1, 1], np.float32), 10_000)
    noise = np.random.default_rng(0).normal(size=(len(classes), 2)).astype(np.float32)
    basis = find_basis(noise + [5, 0] * classes[:, None])
    np.testing.assert_allclose(basis.mean, [0, 0], atol=0.3)
    np.testing.assert_allclose(basis.deviation, [5.1, 1], atol=0.1)


def test_balance_gives_all_classes_one_weight() -> None:
    labels = np.array([0, 0, 0, 1])
    counts = np.array([1.0, 2.0, 5.0, 2.0], dtype=np.float32)
    balanced = balanced_weights(labels, 3, counts)
    assert balanced[:3].sum() == pytest.approx(balanced[3])
    assert (balanced_weights(labels, 3, counts, 0.0) == counts).all()


@pytest.mark.parametrize("count", [0, 5])
def test_labels_of_one_class_say_that_two_are_needed(count: int) -> None:
    features = np.zeros((count, 3), dtype=np.float32)
    with pytest.raises(UserError, match="two are needed"):
        fit_classifier(features, np.zeros(count, dtype=np.int64), 2)
