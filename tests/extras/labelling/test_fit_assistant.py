"""Proposals learn from strokes, and a click finds what is like it."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from segmenter.errors import UserError
from segmenter.extras.labelling.assistant import LabelledImage
from segmenter.extras.labelling.fit_assistant import FitAssistant
from segmenter.extras.labelling.layers import NOT_SURE, NOTHING
from segmenter.fitting.tokens import TokenStore
from segmenter.model import EvaluationProtocol, Segmenter
from tests.helpers.models import make_classes, make_spec

SHAPE = (64, 96)
TRUTH = np.zeros(SHAPE, np.uint8)
TRUTH[:, 48:] = 2
CLASSES = make_classes(3)


@pytest.fixture
def assistant(tmp_path: Path) -> FitAssistant:
    torch.manual_seed(0)
    spec = make_spec(3, decoder="multi-linear")
    spec = spec.model_copy(update={"protocol": EvaluationProtocol(short_side=64)})
    return FitAssistant(TokenStore(Segmenter(spec), lambda: tmp_path), "tiny")


@pytest.fixture
def path(tmp_path: Path) -> Path:
    colors = np.array([[220, 60, 40], [0, 0, 0], [30, 90, 220]])[TRUTH]
    noise = np.random.default_rng(0).integers(-25, 25, (*SHAPE, 3))
    Image.fromarray(np.clip(colors + noise, 0, 255).astype(np.uint8)).save(tmp_path / "a.png")
    return tmp_path / "a.png"


def labelled(path: Path, version: int, *values: int) -> LabelledImage:
    """A small stroke for each value, at the place of the class."""
    labels = np.full(SHAPE, NOTHING, np.uint8)
    for value in values:
        column = {0: 8, 2: 80}.get(value, 40)
        labels[20:40, column : column + 8] = value
    return LabelledImage("a", path, version, labels)


def test_a_stroke_of_each_class_labels_the_rest(assistant: FitAssistant, path: Path) -> None:
    assistant.learn(labelled(path, 3, 0, 2, NOT_SURE), CLASSES)
    assert assistant.knows("a") == 3
    proposal = assistant.propose(path, SHAPE, CLASSES)
    assert (proposal.full() == TRUTH).mean() > 0.9
    np.testing.assert_array_equal(proposal.shown, proposal.full())


def test_strokes_of_one_class_are_not_enough_and_erased_ones_are_forgotten(
    assistant: FitAssistant, path: Path
) -> None:
    with pytest.raises(UserError, match="no class has strokes; two classes are needed"):
        assistant.propose(path, SHAPE, CLASSES)
    assistant.learn(labelled(path, 1, 0, 2), CLASSES)
    assistant.propose(path, SHAPE, CLASSES)
    assistant.learn(labelled(path, 2, 2), CLASSES)
    with pytest.raises(UserError, match="only 'class-2' has strokes; two classes are needed"):
        assistant.propose(path, SHAPE, CLASSES)


def test_samples_of_many_images_are_bounded_and_have_each_class_of_each_image(
    assistant: FitAssistant, path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("segmenter.extras.labelling.fit_assistant._MAX_SAMPLES_KEPT", 100)
    monkeypatch.setattr("segmenter.extras.labelling.fit_assistant._MAX_FITTED", 40)
    for number in range(20):
        copy = path.with_stem(str(number))
        copy.write_bytes(path.read_bytes())
        image = labelled(copy, 1, 0, 2)
        assistant.learn(replace(image, name=str(number)), CLASSES)
    kept = assistant._samples.values()
    assert sum(len(each.labels) for each in kept) <= 100
    assert all(set(each.labels.tolist()) == {0, 2} for each in kept)
    assert all(each.features is None for each in kept)  # the basis is final
    assert (assistant.propose(path, SHAPE, CLASSES).full() == TRUTH).mean() > 0.9


def test_a_large_image_is_shown_smaller_and_accepted_in_full(
    assistant: FitAssistant, path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("segmenter.extras.labelling.assistant.MAX_SHOWN_SIDE", 48)
    assistant.learn(labelled(path, 1, 0, 2), CLASSES)
    proposal = assistant.propose(path, SHAPE, CLASSES)
    assert (proposal.shown.shape, proposal.full().shape) == ((32, 48), SHAPE)


def test_grow_takes_the_region_that_is_like_the_click(assistant: FitAssistant, path: Path) -> None:
    region = assistant.grow(path, SHAPE, (30, 12), 0.5)
    assert region[30, 12]
    assert (TRUTH[region] == 0).mean() > 0.9
    wider = assistant.grow(path, SHAPE, (30, 12), 1.0)
    assert region.sum() < wider.sum()
