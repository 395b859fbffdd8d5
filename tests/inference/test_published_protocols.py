"""Label maps and scores equal those of the published code, in each of its modes."""

import json
from typing import Any

import cv2
import numpy as np
import pytest
from numpy import ndarray

from segmenter.checkpoints import load
from segmenter.evaluation.metrics import ConfusionMatrix, scores
from segmenter.inference import Predictor
from segmenter.model import Segmenter
from segmenter.model.protocol import EvaluationProtocol, published_protocol
from tests.helpers.paths import GOLDEN

PADDLESEG = published_protocol("paddleseg", window=64, short_side=128)
SEGMENTER = published_protocol("segmenter", window=64, stride=48, short_side=128)
IMAGES = ("coffee", "chelsea")
PADDLESEG_MODES: dict[str, dict[str, Any]] = {
    "slide": {},
    "whole": {"window": None, "stride": None},
    "slide_flip": {"flip": True},
    "slide_flip_ms": {"flip": True, "scales": (0.75, 1.0, 1.25)},
}
SEGMENTER_MODES: dict[str, dict[str, Any]] = {
    "single_scale": {},
    "multi_scale_flip": {"flip": True, "scales": (0.5, 0.75, 1.0, 1.25, 1.5, 1.75)},
}


@pytest.fixture(scope="module")
def paddleseg_model() -> Segmenter:
    return load(GOLDEN / "paddleseg_mask" / "model.pdparams")


@pytest.fixture(scope="module")
def paper_model() -> Segmenter:
    return load(GOLDEN / "rstrudel_mask" / "checkpoint.pth")


def read_image(name: str) -> ndarray:
    return cv2.imread(str(GOLDEN / "paddleseg_eval" / f"{name}.png"), cv2.IMREAD_COLOR_RGB)


def changed(protocol: EvaluationProtocol, **changes: object) -> EvaluationProtocol:
    return EvaluationProtocol.model_validate({**protocol.model_dump(), **changes})


@pytest.mark.parametrize("mode", PADDLESEG_MODES)
def test_labels_and_scores_equal_those_of_paddleseg(mode: str, paddleseg_model: Segmenter) -> None:
    golden = np.load(GOLDEN / "paddleseg_eval" / "golden.npz")
    expected = json.loads((GOLDEN / "paddleseg_eval" / "meta.json").read_text())["scores"][mode]
    protocol = changed(PADDLESEG, **{"stride": 48, **PADDLESEG_MODES[mode]})
    predictor = Predictor(paddleseg_model, protocol=protocol)
    matrix = ConfusionMatrix(11, ignore_index=255)
    for name in IMAGES:
        labels = predictor(read_image(name))
        assert (labels == golden[f"{name}/{mode}"]).mean() >= 0.9995
        matrix.add(golden[f"{name}/ground_truth"], labels)
    found = scores(matrix, paddleseg_model.spec.classes.names, absent_rule=protocol.absent_classes)
    ours = [found.miou, found.pixel_accuracy, found.kappa, found.mean_dice]
    theirs = [expected[key] for key in ("miou", "acc", "kappa", "mean_dice")]
    assert ours == pytest.approx(theirs, abs=1e-4)
    assert [each.iou for each in found.classes] == pytest.approx(expected["class_iou"], abs=1e-4)


@pytest.mark.parametrize("mode", SEGMENTER_MODES)
@pytest.mark.parametrize("name", IMAGES)
def test_labels_equal_those_of_the_papers_code(
    name: str, mode: str, paper_model: Segmenter
) -> None:
    golden = np.load(GOLDEN / "rstrudel_eval" / "golden.npz")
    protocol = changed(SEGMENTER, **SEGMENTER_MODES[mode])
    labels = Predictor(paper_model, protocol=protocol)(read_image(name))
    assert (labels == golden[f"{name}/{mode}"]).mean() >= 0.9995


def test_probabilities_equal_those_of_the_papers_code(paper_model: Segmenter) -> None:
    golden = np.load(GOLDEN / "rstrudel_eval" / "golden.npz")
    predictor = Predictor(paper_model, protocol=SEGMENTER)
    probabilities = predictor.probabilities(read_image("coffee"))[:, 7::29, 11::31]
    sample = golden["coffee/single_scale_probabilities_sample"]
    np.testing.assert_allclose(probabilities, sample, atol=1e-4)


def test_a_protocol_by_name_takes_the_models_own_window(paper_model: Segmenter) -> None:
    own = paper_model.spec.protocol
    assert Predictor(paper_model, protocol="segmenter").protocol == own
    by_name = Predictor(paper_model, protocol="segmenter-miou").protocol
    assert own.window is not None
    assert (by_name.window, by_name.stride) == (own.window, own.window - 32)
    assert Predictor(paper_model, protocol="paddleseg").protocol.average == "logits"
