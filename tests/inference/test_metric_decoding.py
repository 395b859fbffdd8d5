"""Labels that are expected to score best, against all labelings there are."""

import itertools
from functools import lru_cache

import numpy as np
import pytest

from segmenter.errors import UserError
from segmenter.inference import Predictor
from segmenter.inference.metric_decoding import decode_probabilities
from segmenter.model import Segmenter
from tests.helpers.models import make_spec

LABELINGS = np.array(list(itertools.product([0, 1], repeat=9)))
"""All 512 of a 3 x 3 image with two classes."""


def two_class_image(rng: np.random.Generator) -> np.ndarray:
    """Probabilities of a 3 x 3 image in which both classes are the most probable somewhere."""
    while True:
        second = 1 / (1 + np.exp(-rng.normal() - 2 * rng.normal(size=9)))
        if (second > 0.5).any() and (second < 0.5).any():
            return np.stack([1 - second, second]).reshape(2, 3, 3)


def objective(labels: np.ndarray, probabilities: np.ndarray, decode: str, classes=(0, 1)) -> float:
    """The ratios of expectations, with a loop over classes and pixels."""
    total = 0.0
    for index in classes:
        likely = probabilities[index].ravel().tolist()
        chosen = [label == index for label in labels.ravel().tolist()]
        right = sum(p for p, is_in in zip(likely, chosen, strict=True) if is_in)
        if decode == "iou":
            total += right / (sum(chosen) + sum(likely) - right)
        else:
            total += 2 * right / (sum(chosen) + sum(likely))
    return total


def expected_scores(probabilities: np.ndarray, decode: str) -> np.ndarray:
    """The expected mean IoU or Dice of each labeling, over all truths that there can be."""
    second = probabilities[1].ravel()
    return all_scores(decode) @ np.where(LABELINGS, second, 1 - second).prod(axis=1)


@lru_cache
def all_scores(decode: str) -> np.ndarray:
    """The mean IoU or Dice of each labeling against each truth.

    A class that is in neither is not counted.
    """
    found = []
    for index in (0, 1):
        inside = np.equal(LABELINGS, index).astype(float)
        both = inside @ inside.T
        size = inside.sum(axis=1)
        sizes = size[:, None] + size[None]
        whole = sizes - both if decode == "iou" else sizes / 2
        found.append(np.divide(both, whole, out=np.full_like(both, np.nan), where=whole > 0))
    return np.nanmean(found, axis=0)


def place_of(labels: np.ndarray) -> int:
    return int("".join(str(label) for label in labels.ravel().tolist()), 2)


@pytest.mark.parametrize("decode", ["iou", "dice"])
def test_one_class_against_a_background_gets_the_best_of_all_labelings(decode: str) -> None:
    rng = np.random.default_rng(0)
    for _ in range(100):
        image = two_class_image(rng)
        found = objective(decode_probabilities(image, decode, 0), image, decode, (1,))
        best = max(objective(labels, image, decode, (1,)) for labels in LABELINGS)
        assert found == pytest.approx(best, abs=1e-5)


@pytest.mark.parametrize("decode", ["iou", "dice"])
def test_two_classes_get_the_best_of_all_labelings_or_nearly_so(decode: str) -> None:
    rng, shortfalls = np.random.default_rng(0), []
    for _ in range(100):
        image = two_class_image(rng)
        found = objective(decode_probabilities(image, decode), image, decode)
        assert found >= objective(image.argmax(axis=0), image, decode) - 1e-9
        shortfalls.append(max(objective(one, image, decode) for one in LABELINGS) - found)
    assert np.mean(np.array(shortfalls) < 1e-5) > 0.85
    assert np.mean(shortfalls) < 0.005


@pytest.mark.parametrize("decode", ["iou", "dice"])
def test_the_expected_score_over_all_truths_is_nearer_to_the_best(decode: str) -> None:
    rng, lost, lost_by_argmax = np.random.default_rng(1), [], []
    for _ in range(200):
        image = two_class_image(rng)
        expected = expected_scores(image, decode)
        lost.append(expected.max() - expected[place_of(decode_probabilities(image, decode))])
        lost_by_argmax.append(expected.max() - expected[place_of(image.argmax(axis=0))])
    assert np.mean(lost) < 0.6 * np.mean(lost_by_argmax)


@pytest.mark.parametrize("decode", ["iou", "dice"])
def test_of_three_classes_the_sum_is_never_below_that_of_the_most_probable(decode: str) -> None:
    rng = np.random.default_rng(0)
    rises = []
    for _ in range(100):
        image = rng.dirichlet([0.5, 0.3, 0.7], (6, 7)).transpose(2, 0, 1)
        labels = decode_probabilities(image, decode)
        argmax = image.argmax(axis=0)
        rises.append(
            objective(labels, image, decode, range(3)) - objective(argmax, image, decode, range(3))
        )
    assert min(rises) >= -1e-9
    assert np.mean(rises) > 0.003


def test_a_class_in_doubt_gets_more_pixels_by_hand() -> None:
    """Four pixels; the class is at 0.9, 0.4, 0.4 and 0: labelling three beats labelling one.

    One pixel: 0.9 / (1 + 1.7 - 0.9) = 0.5. Three: 1.7 / 3 = 0.57.
    """
    road = np.array([[0.9, 0.4, 0.4, 0.0]])
    image = np.stack([1 - road, road])
    assert decode_probabilities(image, "argmax", 0).tolist() == [[1, 0, 0, 0]]
    assert decode_probabilities(image, "iou", 0).tolist() == [[1, 1, 1, 0]]
    assert decode_probabilities(image, "dice", 0).tolist() == [[1, 1, 1, 0]]


@pytest.mark.parametrize("decode", ["iou", "dice"])
def test_a_pixel_in_doubt_goes_to_the_rare_class_where_it_counts_by_hand(decode: str) -> None:
    """96 pixels are surely road, 3 surely pole, and one is pole at 0.48.

    As pole, poles have 3.48 / 4 = 0.870 instead of 3 / 3.48 = 0.862, the road 0.9946, not 0.9950.
    """
    pole = np.array([[*[0.0] * 96, *[1.0] * 3, 0.48]])
    image = np.stack([1 - pole, pole])
    assert decode_probabilities(image, "argmax")[0, -1] == 0
    assert decode_probabilities(image, decode)[0].tolist() == [0] * 96 + [1] * 4


def test_a_class_that_is_the_most_probable_nowhere_is_not_predicted() -> None:
    image = np.array([0.5, 0.3, 0.2])[:, None, None].repeat(4, axis=1).repeat(4, axis=2)
    assert (decode_probabilities(image, "iou") == 0).all()


def test_certain_labels_stay_and_an_empty_image_is_empty() -> None:
    labels = np.random.default_rng(0).integers(0, 3, (5, 6))
    certain = np.eye(3, dtype=np.float32)[labels].transpose(2, 0, 1)
    np.testing.assert_array_equal(decode_probabilities(certain, "dice"), labels)
    assert decode_probabilities(np.zeros((3, 0, 4)), "iou").shape == (0, 4)


def test_a_predictor_gives_the_labels_of_its_own_probabilities(image: np.ndarray) -> None:
    model = Segmenter(make_spec()).eval()
    predictor = Predictor(model, label_rule="iou")
    labels, probabilities = predictor.labels_and_probabilities(image)
    expected = decode_probabilities(Predictor(model).probabilities(image), "iou")
    np.testing.assert_array_equal(labels, expected)
    assert labels.dtype == np.uint8
    np.testing.assert_array_equal(predictor([image, image[:9]])[0], expected)
    plain, _ = Predictor(model).labels_and_probabilities(image)
    np.testing.assert_array_equal(plain, Predictor(model)(image))
    np.testing.assert_allclose(probabilities.sum(axis=0), 1, atol=1e-5)


def test_rows_and_unknown_choices_are_refused(image: np.ndarray) -> None:
    model = Segmenter(make_spec()).eval()
    with pytest.raises(UserError, match="one of argmax, iou, dice, got 'jaccard'"):
        Predictor(model, label_rule="jaccard")
    with pytest.raises(UserError, match="needs the whole image"):
        next(Predictor(model, label_rule="iou").label_rows(image))
