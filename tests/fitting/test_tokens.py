"""Tokens give each pixel the features that the model sees there, and are kept by what made them."""

from pathlib import Path
from typing import Literal

import numpy as np
import pytest
import torch
from PIL import Image

from segmenter.errors import UserError
from segmenter.fitting.classifier import Classifier
from segmenter.fitting.fitted_model import with_classifier
from segmenter.fitting.propose import label_pixels, propose
from segmenter.fitting.tokens import TokenStore
from segmenter.inference import Predictor
from segmenter.model import EvaluationProtocol, Segmenter
from segmenter.model.decoders import MultiBlockLinearSpec
from tests.helpers.models import make_spec

PROTOCOLS = {
    "whole": EvaluationProtocol(short_side=80),
    "windows": EvaluationProtocol(short_side=80, window=48, stride=32),
}


def make_store(
    folder: Path,
    protocol: EvaluationProtocol = PROTOCOLS["whole"],
    seed: int = 0,
    shifts: Literal[1, 2] = 1,
) -> TokenStore:
    """A store of a tiny random model."""
    torch.manual_seed(seed)
    decoder = MultiBlockLinearSpec(blocks=2, shifts=shifts)
    spec = make_spec(3).model_copy(update={"protocol": protocol, "decoder": decoder})
    return TokenStore(Segmenter(spec), lambda: folder)


def some_image(seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (50, 70, 3), dtype=np.uint8)


def some_classifier(dim: int, seed: int = 0) -> Classifier:
    rng = np.random.default_rng(seed)
    draw = lambda *shape: rng.normal(size=shape).astype(np.float32)  # noqa: E731
    return Classifier(draw(dim), np.exp(draw(dim)), draw(3, dim), draw(3))


@pytest.mark.parametrize("shifts", [1, 2])
@pytest.mark.parametrize("protocol", PROTOCOLS.values(), ids=PROTOCOLS)
def test_a_fitted_model_labels_pixels_as_the_tokens_do(
    tmp_path: Path, protocol: EvaluationProtocol, shifts: Literal[1, 2]
) -> None:
    store = make_store(tmp_path, protocol, shifts=shifts)
    tokens = store.compute(some_image())
    classifier = some_classifier(tokens.dim)
    predictor = Predictor(with_classifier(store.model, classifier))
    expected = predictor.probabilities(some_image())
    labels, confidence = propose(tokens, classifier)
    assert (label_pixels(tokens, classifier) == labels).all()
    assert (labels == expected.argmax(axis=0)).mean() > 0.99  # tokens are float16
    np.testing.assert_allclose(confidence, expected.max(axis=0), atol=0.02)
    rows, columns = np.array([0, 20, 49]), np.array([69, 30, 0])
    logits = torch.from_numpy(classifier.logits(tokens.at(rows, columns)))
    np.testing.assert_allclose(logits.softmax(dim=1).T, expected[:, rows, columns], atol=0.02)


def test_a_proposal_has_the_size_that_is_asked_for(tmp_path: Path) -> None:
    tokens = make_store(tmp_path).compute(some_image())
    found = propose(tokens, some_classifier(tokens.dim), (25, 35))
    assert found.labels.shape == found.confidence.shape == (25, 35)


def test_tokens_are_kept_by_image_and_encoder(tmp_path: Path) -> None:
    kept, image = tmp_path / "kept", tmp_path / "image.png"
    Image.fromarray(some_image()).save(image)
    first = make_store(kept).read(image)
    assert (make_store(kept).read(image).grid == first.grid).all()
    assert len(list(kept.iterdir())) == 1
    make_store(kept, seed=1).read(image)
    make_store(kept, PROTOCOLS["windows"]).read(image)
    make_store(kept, shifts=2).read(image)
    Image.fromarray(some_image(1)).save(image)
    assert (make_store(kept).read(image).grid != first.grid).any()
    assert len(list(kept.iterdir())) == 5


def test_damaged_tokens_are_made_anew(tmp_path: Path) -> None:
    kept, image = tmp_path / "kept", tmp_path / "image.png"
    Image.fromarray(some_image()).save(image)
    first = make_store(kept).read(image)
    (entry,) = kept.iterdir()
    entry.write_bytes(entry.read_bytes()[:-8] + bytes(8))
    assert (make_store(kept).read(image).grid == first.grid).all()


def test_an_image_that_is_gone_is_named(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"gone\.png cannot be read"):
        make_store(tmp_path).read(tmp_path / "gone.png")


def test_cut_tokens_are_made_anew(tmp_path: Path) -> None:
    kept, image = tmp_path / "kept", tmp_path / "image.png"
    Image.fromarray(some_image()).save(image)
    first = make_store(kept).read(image)
    (entry,) = kept.iterdir()
    for size in (0, 10, 100):
        entry.write_bytes(entry.read_bytes()[:size])
        assert (make_store(kept).read(image).grid == first.grid).all()


def test_tokens_of_another_encoder_under_the_same_name_are_made_anew(tmp_path: Path) -> None:
    kept, image = tmp_path / "kept", tmp_path / "image.png"
    Image.fromarray(some_image()).save(image)
    first = make_store(kept).read(image)
    (entry,) = kept.iterdir()
    make_store(tmp_path / "other", seed=1).read(image)
    (other,) = (tmp_path / "other").iterdir()
    entry.write_bytes(other.read_bytes())
    assert (make_store(kept).read(image).grid == first.grid).all()


def test_an_image_that_changes_while_it_is_read_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    image = tmp_path / "image.png"
    Image.fromarray(some_image()).save(image)

    def replaced_meanwhile(path: Path, **_: object) -> np.ndarray:
        Image.fromarray(some_image(1)).save(path)
        return some_image()

    monkeypatch.setattr("segmenter.fitting.tokens.decode_image", replaced_meanwhile)
    with pytest.raises(UserError, match=r"image\.png was changed while it was read; try again"):
        make_store(tmp_path / "kept").read(image)
