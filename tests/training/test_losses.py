"""The terms of the loss, each against its definition written out slowly."""

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from segmenter.recipe import LossRecipe
from segmenter.training.losses import Loss, class_weights, lovasz_softmax

IGNORE = 255


def case(seed: int = 0) -> tuple[Tensor, Tensor]:
    """Logits of 4 classes, of which class 3 is absent, and labels with some ignored."""
    torch.manual_seed(seed)
    labels = torch.randint(0, 3, (2, 5, 6))
    labels[0, 0] = IGNORE
    return torch.randn(2, 4, 5, 6), labels


def naive_lovasz(logits: Tensor, labels: Tensor) -> float:
    """Algorithm 1 of the paper, pixel by pixel."""
    valid = labels != IGNORE
    losses = []
    for index in range(logits.shape[1]):
        wanted = (labels[valid] == index).float()
        if not wanted.any():
            continue
        errors = (wanted - logits.softmax(1)[:, index][valid]).abs()
        order = errors.argsort(descending=True)
        loss, before = 0.0, 0.0
        for count in range(1, len(order) + 1):
            wrong = torch.zeros_like(wanted)
            wrong[order[:count]] = 1
            intersection = float((wanted * (1 - wrong)).sum())
            union = float(wanted.sum() + ((1 - wanted) * wrong).sum())
            jaccard = 1 - intersection / union
            loss += float(errors[order[count - 1]]) * (jaccard - before)
            before = jaccard
        losses.append(loss)
    return sum(losses) / len(losses)


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_lovasz_is_the_papers_algorithm_over_the_classes_present(seed: int) -> None:
    logits, labels = case(seed)
    expected = naive_lovasz(logits, labels)
    assert float(lovasz_softmax(logits, labels, IGNORE)) == pytest.approx(expected, rel=1e-5)


def test_lovasz_of_certain_predictions_is_one_minus_their_iou() -> None:
    labels = torch.tensor([[[0, 0, 1, 1]]])
    logits = 100 * F.one_hot(torch.tensor([[[0, 1, 1, 1]]]), 2).movedim(-1, 1).float()
    expected = 1 - (1 / 2 + 2 / 3) / 2
    assert float(lovasz_softmax(logits, labels, IGNORE)) == pytest.approx(expected)


def test_lovasz_without_labelled_pixels_is_zero_with_finite_gradients() -> None:
    logits = torch.randn(1, 3, 4, 4, requires_grad=True)
    loss = lovasz_softmax(logits, torch.full((1, 4, 4), IGNORE), IGNORE)
    loss.backward()
    assert float(loss.detach()) == 0
    assert logits.grad is not None
    assert bool(torch.isfinite(logits.grad).all())


def test_lovasz_of_evenly_spaced_pixels_stays_close_to_that_of_all() -> None:
    torch.manual_seed(0)
    labels = torch.randint(0, 3, (2, 100, 100))
    logits = torch.randn(2, 3, 100, 100) + 2 * F.one_hot(labels, 3).movedim(-1, 1)
    whole = lovasz_softmax(logits, labels, IGNORE)
    sampled = lovasz_softmax(logits, labels, IGNORE, max_pixels=4000)
    assert float(sampled) == pytest.approx(float(whole), abs=0.02)


@pytest.mark.parametrize(
    ("rule", "expected"),
    [
        ("inverse", [1 / 0.75, 1 / 0.25]),
        ("inverse-root", [0.75**-0.5, 0.25**-0.5]),
        ("log", [1 / np.log(1.77), 1 / np.log(1.27)]),
    ],
)
def test_class_weights_follow_their_rule_and_are_one_on_average(
    rule: str, expected: list[float]
) -> None:
    weights = class_weights(rule, np.array([75, 25]))
    assert weights is not None
    average = 0.75 * expected[0] + 0.25 * expected[1]
    torch.testing.assert_close(weights, torch.tensor(expected).float() / average)


def test_no_rule_gives_no_weights_and_an_absent_class_a_finite_one() -> None:
    assert class_weights("none", np.array([1, 2])) is None
    weights = class_weights("inverse", np.array([10, 0]))
    assert weights is not None
    assert bool(torch.isfinite(weights).all())


@pytest.mark.parametrize("average", ["labelled", "all"])
def test_the_parts_of_a_batch_add_up_to_its_weighted_cross_entropy(average: str) -> None:
    logits, labels = case()
    weights = torch.tensor([0.5, 1.0, 2.0, 1.0])
    loss = Loss(LossRecipe.model_validate({"average": average}), IGNORE, weights)
    num_pixels = loss.num_pixels(labels)
    assert num_pixels == (60 if average == "all" else 54)
    parts = [loss(logits[i : i + 1], labels[i : i + 1], num_pixels, 0.5) for i in (0, 1)]
    expected = F.cross_entropy(logits, labels, weight=weights, ignore_index=IGNORE, reduction="sum")
    torch.testing.assert_close(parts[0] + parts[1], expected / num_pixels)


def test_lovasz_is_added_with_its_weight() -> None:
    logits, labels = case()
    plain, both = Loss(LossRecipe(), IGNORE), Loss(LossRecipe(lovasz=0.5), IGNORE)
    difference = both(logits, labels, 54, 1.0) - plain(logits, labels, 54, 1.0)
    torch.testing.assert_close(difference, 0.5 * lovasz_softmax(logits, labels, IGNORE))
