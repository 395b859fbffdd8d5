"""The terms of the loss, each against its definition written out slowly."""

import math

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from segmenter import UserError
from segmenter.recipe.loss import LossRecipe
from segmenter.training.losses import Loss, class_weights, dice_loss, lovasz_softmax

IGNORE = 255


def case(seed: int = 0) -> tuple[Tensor, Tensor]:
    """Logits of 4 classes, of which class 3 is absent, and labels with some ignored."""
    torch.manual_seed(seed)
    labels = torch.randint(0, 3, (2, 5, 6))
    labels[0, 0] = IGNORE
    return torch.randn(2, 4, 5, 6, dtype=torch.float64), labels


def value_of(logits: Tensor, labels: Tensor, weights: Tensor | None = None, **recipe) -> Tensor:
    """The loss of a whole batch under a recipe."""
    loss = Loss(LossRecipe.model_validate(recipe), IGNORE, weights)
    return loss(logits, labels, loss.num_pixels(labels), 1.0)


def labelled_pixels(logits: Tensor, labels: Tensor) -> list[tuple[list[float], int]]:
    """Probabilities of the classes, and the right one, of each labelled pixel."""
    pixels = zip(logits.softmax(1).movedim(1, -1).flatten(0, 2), labels.flatten(), strict=True)
    return [(found.tolist(), int(label)) for found, label in pixels if int(label) != IGNORE]


def naive_focal(logits: Tensor, labels: Tensor, gamma: float, weights: list[float]) -> float:
    pixels = labelled_pixels(logits, labels)
    losses = [-weights[y] * (1 - p[y]) ** gamma * math.log(p[y]) for p, y in pixels]
    return sum(losses) / len(pixels)


def naive_ohem(logits: Tensor, labels: Tensor, num_kept: int) -> float:
    losses = sorted(-math.log(p[y]) for p, y in labelled_pixels(logits, labels))
    return sum(losses[len(losses) - num_kept :]) / len(losses)


def naive_dice(logits: Tensor, labels: Tensor) -> float:
    pixels = labelled_pixels(logits, labels)
    losses = []
    for index in {y for _, y in pixels}:
        overlap = sum(p[index] for p, y in pixels if y == index)
        predicted = sum(p[index] for p, _ in pixels)
        true = sum(y == index for _, y in pixels)
        losses.append(1 - 2 * overlap / (predicted + true))
    return sum(losses) / len(losses)


def naive_lovasz(logits: Tensor, labels: Tensor) -> float:
    """Algorithm 1 of the paper, pixel by pixel."""
    valid = labels != IGNORE
    losses = []
    for index in range(logits.shape[1]):
        wanted = (labels[valid] == index).double()
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
    assert float(lovasz_softmax(logits, labels, IGNORE)) == pytest.approx(expected, rel=1e-9)


@pytest.mark.parametrize("gamma", [0.5, 1.0, 2.0])
@pytest.mark.parametrize("weights", [None, [0.5, 3.0, 1.0, 1.0]])
def test_focal_turns_down_the_cross_entropy_of_what_is_right_already(
    gamma: float, weights: list[float] | None
) -> None:
    logits, labels = case()
    given = None if weights is None else torch.tensor(weights)
    expected = naive_focal(logits, labels, gamma, weights or [1.0] * 4)
    found = value_of(logits, labels, given, focal=gamma)
    assert float(found) == pytest.approx(expected, rel=1e-9)


@pytest.mark.parametrize(
    ("ohem", "num_kept"),
    [
        ({"keep": 0.25, "min_kept": 1}, 14),  # of 54
        ({"keep": 0.25, "min_kept": 20}, 20),
        ({"keep": 0.25}, 54),
        ({"keep": 1.0}, 54),
        ({"threshold": 1e-9, "min_kept": 3}, 3),
    ],
)
def test_ohem_counts_the_pixels_with_the_largest_cross_entropy(ohem: dict, num_kept: int) -> None:
    logits, labels = case()
    expected = naive_ohem(logits, labels, num_kept)
    assert float(value_of(logits, labels, ohem=ohem)) == pytest.approx(expected, rel=1e-9)


@pytest.mark.parametrize("threshold", [0.1, 0.3, 0.7])
def test_ohem_counts_the_pixels_whose_class_is_less_probable_than_the_threshold(
    threshold: float,
) -> None:
    logits, labels = case()
    num_kept = sum(p[y] < threshold for p, y in labelled_pixels(logits, labels))
    assert 0 < num_kept < 54
    found = value_of(logits, labels, ohem={"threshold": threshold, "min_kept": 1})
    assert float(found) == pytest.approx(naive_ohem(logits, labels, num_kept), rel=1e-9)


def test_pixels_that_ohem_leaves_out_have_no_gradient() -> None:
    logits, labels = case()
    logits.requires_grad_()
    value_of(logits, labels, ohem={"keep": 0.25, "min_kept": 1}).backward()
    assert logits.grad is not None
    assert int(logits.grad.abs().sum(dim=1).count_nonzero()) == 14


@pytest.mark.parametrize("seed", [0, 1])
def test_dice_is_that_of_the_classes_present_over_the_whole_batch(seed: int) -> None:
    logits, labels = case(seed)
    expected = naive_dice(logits, labels)
    assert float(dice_loss(logits, labels, IGNORE)) == pytest.approx(expected, rel=1e-9)


def test_dice_of_a_perfect_prediction_is_zero() -> None:
    _, labels = case()
    logits = 100.0 * F.one_hot(labels.where(labels != IGNORE, 0), 4).movedim(-1, 1)
    assert float(dice_loss(logits, labels, IGNORE)) == pytest.approx(0, abs=1e-6)


TERMS = {
    "cross entropy": {},
    "focal": {"focal": 0.5},
    "ohem": {"ohem": {"keep": 0.1, "min_kept": 1}},
    "ohem threshold": {"ohem": {"threshold": 0.7, "min_kept": 1}},
    "dice": {"cross_entropy": 0, "dice": 1},
    "lovasz": {"cross_entropy": 0, "lovasz": 1},
    "all": {"focal": 2, "ohem": {"keep": 0.5}, "dice": 1, "lovasz": 1},
}
HARD_CASES = {
    "all ignored": (torch.randn(1, 3, 4, 4), torch.full((1, 4, 4), IGNORE)),
    "one pixel": (torch.randn(1, 3, 1, 1), torch.ones(1, 1, 1, dtype=torch.long)),
    "certain and right": (torch.tensor([200.0, 0, 0])[None, :, None, None], torch.zeros(1, 1, 1)),
    "certain and wrong": (torch.tensor([0, 200.0, 0])[None, :, None, None], torch.zeros(1, 1, 1)),
    "one class": (torch.randn(1, 1, 4, 4), torch.zeros(1, 4, 4)),
}


@pytest.mark.parametrize("hard", list(HARD_CASES))
@pytest.mark.parametrize("term", list(TERMS))
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=["float32", "bfloat16"])
def test_every_term_has_finite_gradients(term: str, hard: str, dtype: torch.dtype) -> None:
    logits, labels = HARD_CASES[hard]
    logits = logits.to(dtype, copy=True).requires_grad_()
    loss = value_of(logits, labels.long(), torch.ones(logits.shape[1]), **TERMS[term])
    loss.backward()
    assert logits.grad is not None
    assert bool(torch.isfinite(loss) & torch.isfinite(logits.grad).all())
    assert float(loss.detach()) >= 0
    if hard == "all ignored":
        assert float(loss.detach()) == 0


@pytest.mark.parametrize("term", list(TERMS))
def test_bfloat16_logits_lose_nothing_but_their_own_digits(term: str) -> None:
    logits, labels = case()
    rounded = logits.bfloat16()
    found, expected = (
        value_of(given, labels, **TERMS[term]) for given in (rounded, rounded.double())
    )
    assert found.dtype == torch.float32
    assert float(found) == pytest.approx(float(expected), rel=1e-5)


def test_terms_are_summed_with_their_weights() -> None:
    logits, labels = case()
    expected = 0.5 * F.cross_entropy(logits, labels, ignore_index=IGNORE)
    expected += 2 * dice_loss(logits, labels, IGNORE) + 3 * lovasz_softmax(logits, labels, IGNORE)
    found = value_of(logits, labels, cross_entropy=0.5, dice=2, lovasz=3)
    torch.testing.assert_close(found, expected)


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
    weights = class_weights(rule, ("a", "b"), np.array([75, 25]))
    assert weights is not None
    average = 0.75 * expected[0] + 0.25 * expected[1]
    torch.testing.assert_close(weights, torch.tensor(expected).float() / average)


def test_class_weights_can_be_given_by_name_or_in_order() -> None:
    names, counts = ("road", "car", "sky"), np.array([1, 1, 1])
    by_name, in_order = (class_weights(w, names, counts) for w in ({"car": 4.0}, [1.0, 2.0, 0.5]))
    assert by_name is not None
    assert in_order is not None
    assert (by_name.tolist(), in_order.tolist()) == ([1, 4, 1], [1, 2, 0.5])


@pytest.mark.parametrize(
    ("given", "message"),
    [({"raod": 2.0}, "no class 'raod', did you mean 'road'"), ([1.0], "1 numbers for 2 classes")],
)
def test_class_weights_for_other_classes_are_refused(given, message: str) -> None:
    with pytest.raises(UserError, match=message):
        class_weights(given, ("road", "car"), np.array([1, 1]))


def test_no_rule_gives_no_weights_and_an_absent_class_a_finite_one() -> None:
    assert class_weights("none", ("a", "b"), np.array([1, 2])) is None
    weights = class_weights("inverse", ("a", "b"), np.array([10, 0]))
    assert weights is not None
    assert bool(torch.isfinite(weights).all())


@pytest.mark.parametrize("average", ["labelled", "all"])
def test_the_parts_of_a_batch_add_up_to_its_weighted_cross_entropy(average: str) -> None:
    logits, labels = case()
    weights = torch.tensor([0.5, 1.0, 2.0, 1.0], dtype=torch.float64)
    loss = Loss(LossRecipe.model_validate({"average": average}), IGNORE, weights)
    num_pixels = loss.num_pixels(labels)
    assert num_pixels == (60 if average == "all" else 54)
    parts = [loss(logits[i : i + 1], labels[i : i + 1], num_pixels, 0.5) for i in (0, 1)]
    expected = F.cross_entropy(logits, labels, weight=weights, ignore_index=IGNORE, reduction="sum")
    torch.testing.assert_close(parts[0] + parts[1], expected / num_pixels)
