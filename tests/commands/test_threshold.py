"""`--threshold` reaches the service and exported files, as it reaches the model."""

import json
from pathlib import Path

import numpy as np
import pytest

from segmenter.checkpoints import load, save
from segmenter.errors import UserError
from segmenter.extras.serving.app import open_service
from segmenter.extras.serving.service_settings import ServiceSettings
from segmenter.inference import Predictor
from segmenter.options import Compute, ServedLabels
from tests.helpers.command_line import run
from tests.helpers.data_sets import write_pair
from tests.helpers.models import one_class_model

TORCH = Compute(device="cpu", runtime="torch", precision="float32")


@pytest.fixture
def model(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """The file of a model of one class, in the working directory."""
    monkeypatch.chdir(tmp_path)
    save(one_class_model(), "one.safetensors")
    return "one.safetensors"


def test_a_service_labels_with_its_threshold(model: str, image: np.ndarray) -> None:
    service = open_service(model, ServiceSettings(), TORCH, labels=ServedLabels(threshold=0.3))
    loaded = load(model)
    expected = Predictor(loaded, threshold=0.3)(image)
    np.testing.assert_array_equal(service.predictor(image), expected)
    assert (expected != Predictor(loaded)(image)).any()


def test_two_thresholds_of_a_model_are_compared(model: str, tmp_path: Path) -> None:
    write_pair(tmp_path / "data/images/a.png", tmp_path / "data/masks/a.png", size=(64, 64))
    compare = ("compare", model, model, "data", "--json", "c.json", "--threshold", "0.6", "0.3")
    assert run(*compare) == 0
    said = json.loads(Path("c.json").read_text())
    assert [said[side]["threshold"] for side in ("how_a", "how_b")] == [0.6, 0.3]
    assert said["pixel_accuracy"]["difference"] < 0


def test_a_service_of_several_classes_refuses_a_threshold() -> None:
    with pytest.raises(UserError, match="is for a model of one class"):
        open_service("street-tiny", ServiceSettings(), TORCH, labels=ServedLabels(threshold=0.3))


@pytest.mark.slow
def test_an_exported_graph_of_logits_takes_a_threshold(model: str, image: np.ndarray) -> None:
    pytest.importorskip("onnxruntime", reason="needs onnxruntime, of the extra export")
    assert run("export", model, "one.onnx") == 0
    exported = Predictor("one.onnx", runtime="onnxruntime", threshold=0.3)
    expected = Predictor(model, runtime="torch", precision="float32", threshold=0.3)(image)
    assert np.mean(exported(image) == expected) > 0.999
