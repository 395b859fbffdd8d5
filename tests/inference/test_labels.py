"""Labels are those of the highest score at full size, which is never computed."""

from typing import NamedTuple

import numpy as np
import pytest
import torch
from numpy import ndarray

from segmenter.inference import labels as labels_module
from segmenter.inference import row_bands as bands_module
from segmenter.inference.labels import band_labels, band_margins, band_probabilities
from segmenter.inference.resizing import mean_size, read_rows, resize_image, view_sizes
from segmenter.inference.row_bands import image_bands
from segmenter.inference.windows import window_starts, window_weights
from segmenter.model import EvaluationProtocol
from tests.helpers.naive import (
    naive_resize,
    naive_softmax,
    orientations_of,
    oriented,
    turned_back,
)

PATCH = 16


class FakeModel:
    """Stands for a model: the logits of a patch are waves of the mean of its pixels."""

    def __init__(self, num_classes: int, roughness: float = 1.0, seed: int = 0) -> None:
        rng = np.random.default_rng(seed)
        self.speeds = rng.uniform(0, 2, (num_classes, 1, 1))
        self.biases = rng.standard_normal((num_classes, 1, 1))
        self.roughness = roughness

    def __call__(self, windows: ndarray) -> torch.Tensor:
        return torch.from_numpy(np.stack([self.logits(window) for window in windows]))

    def logits(self, window: ndarray) -> ndarray:
        down, right = (-side % PATCH for side in window.shape[:2])
        padded = np.pad(window[:, :, 0].astype(np.float64), ((0, down), (0, right)))
        rows, columns = (side // PATCH for side in padded.shape)
        means = padded.reshape(rows, PATCH, columns, PATCH).mean(axis=(1, 3))
        waves = np.sin(self.speeds * means) * self.roughness
        return (waves + self.biases).astype(np.float32)


def upsampled_length(num_patches: int, _: int) -> int:
    return num_patches * PATCH


def make_image(size: tuple[int, int], seed: int = 0) -> ndarray:
    return np.random.default_rng(seed).integers(0, 256, (*size, 1), dtype=np.uint8)


def labels_of(image: ndarray, protocol: EvaluationProtocol, model: FakeModel) -> ndarray:
    labels = np.full(image.shape[:2], 9999, dtype=np.uint16)
    for band in image_bands([image], protocol, model, upsampled_length):
        (parts,) = band.parts
        softmax = len(parts) > 1 and protocol.average == "probabilities"
        labels[band.rows] = band_labels(parts, np.uint16, softmax=softmax)[band.inside]
    return labels


def naive_scores(image: ndarray, protocol: EvaluationProtocol, model: FakeModel) -> ndarray:
    """All scores at full size in float64, one window at a time."""
    size = image.shape[:2]
    views = []
    for first, view in view_sizes(size, protocol):
        resized = resize_image(image, first, protocol.resize_dtype)
        pixels = read_rows(resized, view, slice(0, view[0]))
        for turns, is_mirrored in orientations_of(protocol):
            seen = oriented(pixels, turns, is_mirrored)
            size_seen = seen.shape[:2]
            window = protocol.window or max(view)
            height, width = min(window, size_seen[0]), min(window, size_seen[1])
            weight = np.outer(*(window_weights(side, protocol.blend) for side in (height, width)))
            total, weights = np.zeros((len(model.biases), *size_seen)), np.zeros(size_seen)
            for top in window_starts(size_seen[0], window, protocol.stride or window):
                for left in window_starts(size_seen[1], window, protocol.stride or window):
                    box = slice(top, top + height), slice(left, left + width)
                    logits = model.logits(seen[box]).astype(np.float64)
                    whole = (logits.shape[1] * PATCH, logits.shape[2] * PATCH)
                    total[:, *box] += naive_resize(logits, whole)[:, :height, :width] * weight
                    weights[box] += weight
            merged = turned_back(total / weights, turns, is_mirrored)
            views.append(naive_resize(naive_resize(merged, mean_size(size, protocol)), size))
    if len(views) > 1 and protocol.average == "probabilities":
        views = [naive_softmax(view) for view in views]
    return np.mean(views, axis=0)


class Case(NamedTuple):
    image: ndarray
    protocol: EvaluationProtocol
    model: FakeModel


def random_case(seed: int, *, longest: int, most_classes: int) -> Case:
    """What a protocol can say; few classes at many pixels, or many at few."""
    rng = np.random.default_rng(seed)
    num_classes = round(np.exp(rng.uniform(0, np.log(most_classes))))
    longest = min(longest, int((4e6 / num_classes) ** 0.5))
    height, width = (int(side) for side in rng.integers(1, longest, 2))
    window = int(rng.integers(8, 80))
    slides = rng.random() < 0.7
    protocol = EvaluationProtocol(
        short_side=int(rng.integers(16, longest)) if rng.random() < 0.5 else None,
        window=window if slides else None,
        stride=int(rng.integers(window // 2, window + 1)) if slides else None,
        blend=rng.choice(["none", "linear"]),
        average=rng.choice(["logits", "probabilities"]),
        flip=rng.random() < 0.4,
        rotations=int(rng.choice([1, 1, 2, 4])),
        scales=tuple(rng.choice([0.5, 0.75, 1.0, 1.25, 1.75], rng.integers(1, 4), replace=False)),
        scales_of=rng.choice(["photo", "resized"]),
        small_image=rng.choice(["as-is", "enlarge"]),
    )
    roughness = float(rng.choice([0.05, 0.5, 2.0]))
    return Case(
        make_image((height, width), seed), protocol, FakeModel(num_classes, roughness, seed)
    )


def check_against_reference(cases: list[Case]) -> None:
    num_equal = num_pixels = 0
    for number, (image, protocol, model) in enumerate(cases):
        labels = labels_of(image, protocol, model).astype(np.int64)
        scores = naive_scores(image, protocol, model)
        chosen = np.take_along_axis(scores, labels[None], axis=0)[0]
        worst = (scores.max(axis=0) - chosen).max()
        assert worst <= 1e-5, (number, worst, image.shape, protocol)
        num_equal += int((labels == scores.argmax(axis=0)).sum())
        num_pixels += labels.size
    assert num_equal >= 0.99999 * num_pixels


def test_labels_equal_a_reference_in_float64() -> None:
    check_against_reference([random_case(i, longest=100, most_classes=40) for i in range(40)])


@pytest.mark.slow
def test_labels_of_100_random_cases_of_up_to_1000_classes_equal_a_reference_in_float64() -> None:
    check_against_reference(
        [random_case(1000 + i, longest=200, most_classes=1000) for i in range(100)]
    )


@pytest.mark.parametrize("average", ["logits", "probabilities"])
def test_narrow_bands_and_small_groups_give_the_same_bits(
    average, monkeypatch: pytest.MonkeyPatch
) -> None:
    image, model = make_image((150, 130)), FakeModel(20)
    protocol = EvaluationProtocol(window=64, stride=40, symmetry="d4", average=average)
    whole = labels_of(image, protocol, model)
    monkeypatch.setattr(bands_module, "_BAND_NUMBERS", 1)
    monkeypatch.setattr(labels_module, "_GROUP_NUMBERS", 1)
    np.testing.assert_array_equal(labels_of(image, protocol, model), whole)


@pytest.mark.parametrize("average", ["logits", "probabilities"])
@pytest.mark.parametrize(
    "protocol", [EvaluationProtocol(), EvaluationProtocol(window=48, stride=37, flip=True)]
)
def test_the_first_of_equal_classes_wins(protocol, average) -> None:
    model = FakeModel(7)
    model.speeds, model.biases = (np.tile(each, (3, 1, 1)) for each in (model.speeds, model.biases))
    protocol = protocol.model_copy(update={"average": average})
    labels = labels_of(make_image((90, 110)), protocol, model)
    assert len(np.unique(labels)) > 1
    assert labels.max() < 7
    model.speeds[:], model.biases[:] = 0, 1
    assert (labels_of(make_image((90, 110)), protocol, model) == 0).all()


def test_broken_logits_still_give_labels() -> None:
    model = FakeModel(3)
    model.biases[1] = np.nan
    assert (labels_of(make_image((40, 50)), EvaluationProtocol(), model) < 3).all()


@pytest.mark.parametrize("average", ["logits", "probabilities"])
def test_margins_are_those_between_the_two_most_probable_classes(average) -> None:
    image, model = make_image((60, 70)), FakeModel(5, roughness=0.5)
    protocol = EvaluationProtocol(window=48, stride=32, flip=True, average=average)
    for band in image_bands([image], protocol, model, upsampled_length):
        (parts,) = band.parts
        softmax = average == "probabilities"
        probabilities = band_probabilities(parts, softmax=softmax)[:, *band.inside]
        labels = band_labels(parts, np.uint8, softmax=softmax)
        margins = band_margins(parts, softmax=softmax)
        ordered = np.sort(probabilities, axis=0)
        np.testing.assert_allclose(margins[band.inside], ordered[-1] - ordered[-2], atol=1e-6)
        np.testing.assert_array_equal(labels[band.inside], probabilities.argmax(axis=0))
    np.testing.assert_allclose(probabilities.sum(axis=0), 1, atol=1e-5)


def test_one_class_is_certain() -> None:
    model = FakeModel(1)
    (band,) = image_bands([make_image((20, 30))], EvaluationProtocol(), model, upsampled_length)
    assert (band_labels(band.parts[0], np.uint8, softmax=False) == 0).all()
    assert (band_margins(band.parts[0], softmax=False) == 1).all()


def test_only_windows_that_touch_a_band_are_alive(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bands_module, "_BAND_NUMBERS", 1)
    image, model = make_image((640, 64)), FakeModel(3)
    protocol = EvaluationProtocol(window=64, stride=64)
    most = max(
        part.logits.shape[0]
        for band in image_bands([image], protocol, model, upsampled_length)
        for part in band.parts[0]
    )
    assert most <= 2 * 64 // PATCH
