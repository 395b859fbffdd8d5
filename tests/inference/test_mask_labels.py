"""Labels of models that classify masks are those of all scores, which are never held."""

import numpy as np
import pytest
import torch
from numpy import ndarray
from torch import Tensor

from segmenter.inference import row_bands as bands_module
from segmenter.inference.labels import band_labels
from segmenter.inference.row_bands import ScorePatches, image_bands
from segmenter.inference.window_scores import SummedScores
from segmenter.model import EvaluationProtocol
from segmenter.model.mask_scores import MaskScores, unpack

PATCH, MASKS, QUERIES = 16, 4, 9


class FakeMasks:
    """Stands for a model: the masks of a patch are waves of the mean of its pixels."""

    def __init__(self, num_classes: int, seed: int = 0) -> None:
        rng = np.random.default_rng(seed)
        self.speeds = torch.from_numpy(rng.uniform(-0.2, 0.2, (1, QUERIES, 1, 1))).float()
        logits = 4 * rng.standard_normal((1, QUERIES, num_classes + 1))
        self.shares = torch.from_numpy(logits).float().softmax(dim=-1)[..., :-1]

    def __call__(self, windows: ndarray) -> MaskScores:
        rows, columns = (-(-side // PATCH) for side in windows.shape[1:3])
        pixels = torch.from_numpy(np.ascontiguousarray(windows)).float().mean(dim=-1)[:, None]
        means = torch.nn.functional.adaptive_avg_pool2d(pixels, (rows * MASKS, columns * MASKS))
        masks = 6 * (self.speeds * (means - 100)).sin()
        shares = self.shares.expand(len(windows), -1, -1)
        return MaskScores(masks, shares, (rows * PATCH, columns * PATCH))

    def plain(self, windows: ndarray) -> Tensor:
        return self(windows).log_scores()


def random_protocol(rng: np.random.Generator) -> EvaluationProtocol:
    window = int(rng.integers(PATCH, 80))
    slides = rng.random() < 0.7
    return EvaluationProtocol(
        short_side=int(rng.integers(32, 90)) if rng.random() < 0.5 else None,
        window=window if slides else None,
        stride=int(rng.integers(window // 2, window + 1)) if slides else None,
        spacing=rng.choice(["stride", "even"]),
        average=rng.choice(["logits", "probabilities"]),
        window_average=rng.choice(["scores", "scores", "logits"]),
        flip=rng.random() < 0.4,
        rotations=int(rng.choice([1, 1, 2, 4])),
        scales=tuple(rng.choice([0.75, 1.0, 1.5], rng.integers(1, 3), replace=False)),
    )


def labels_of(images: list[ndarray], protocol: EvaluationProtocol, score: ScorePatches) -> ndarray:
    labels = np.full((len(images), *images[0].shape[:2]), 9999, dtype=np.uint16)
    for band in image_bands(images, protocol, score, lambda num_logits, _: num_logits):
        for index, parts in enumerate(band.parts):
            softmax = len(parts) > 1 and protocol.average == "probabilities"
            found = band_labels(parts, np.uint16, softmax=softmax)
            labels[index, band.rows] = found[band.inside]
    return labels


def random_images(rng: np.random.Generator, count: int) -> list[ndarray]:
    height, width = (int(side) for side in rng.integers(20, 150, 2))
    return [rng.integers(0, 256, (height, width, 3), dtype=np.uint8) for _ in range(count)]


@pytest.mark.parametrize("seed", range(25))
def test_labels_equal_those_of_all_scores(seed: int) -> None:
    rng = np.random.default_rng(seed)
    model, protocol = FakeMasks(int(rng.integers(2, 40)), seed), random_protocol(rng)
    images = random_images(rng, int(rng.integers(1, 3)))
    summed, plain = (labels_of(images, protocol, each) for each in (model, model.plain))
    assert (summed == plain).mean() >= 0.9995  # the rest is ties, but for rounding


def test_narrow_bands_give_the_same_labels(monkeypatch: pytest.MonkeyPatch) -> None:
    model, rng = FakeMasks(20), np.random.default_rng(1)
    protocol = EvaluationProtocol(window=64, stride=40, symmetry="d4", window_average="scores")
    images = random_images(rng, 1)
    whole = labels_of(images, protocol, model)
    monkeypatch.setattr(bands_module, "_BAND_NUMBERS", 1)
    assert (labels_of(images, protocol, model) == whole).mean() >= 0.9999


def test_few_scores_are_held_at_a_time(monkeypatch: pytest.MonkeyPatch) -> None:
    image = np.zeros((400, 300, 3), np.uint8)
    held = []
    rows = SummedScores.rows

    def counted(scores: SummedScores, start: int, stop: int) -> Tensor:
        held.append(rows(scores, start, stop).numel())
        return rows(scores, start, stop)

    monkeypatch.setattr(SummedScores, "rows", counted)
    monkeypatch.setattr(bands_module, "_BAND_NUMBERS", 1 << 18)
    protocol = EvaluationProtocol(window_average="scores")
    labels_of([image], protocol, FakeMasks(50))
    assert len(held) > 10
    assert max(held) < 2 << 18 < 400 * 300 * 50


def test_packed_masks_are_unpacked() -> None:
    given = FakeMasks(7)(np.random.default_rng(0).integers(0, 256, (2, 40, 50, 3), dtype=np.uint8))
    found = unpack(given.packed(), (12, 16), (48, 64))
    assert torch.equal(found.masks, given.masks)
    assert torch.equal(found.shares, given.shares)
    assert found.size == given.size
