"""`--short-side`, `--window`, `--stride` and `--scales`, wherever images are shown to a model."""

from pathlib import Path

import cv2
import numpy as np
import pytest
from PIL import Image

from segmenter.checkpoints import save
from segmenter.extras.serving.app import open_service
from segmenter.extras.serving.service_settings import ServiceSettings
from segmenter.inference import Predictor
from segmenter.model import EvaluationProtocol, Segmenter
from segmenter.options import Compute, Sizes
from tests.helpers.command_line import run
from tests.helpers.models import decided, make_spec

GIVEN = Sizes(short_side=48, window=32, stride=16, scales=(1.0, 2.0))
WORDS = ["--short-side", "48", "--window", "32", "--stride", "16", "--scales", "1", "2"]
TORCH = {"runtime": "torch", "precision": "float32"}


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A working directory with a model of a protocol of its own, and one image."""
    monkeypatch.chdir(tmp_path)
    model = decided(Segmenter(make_spec(depth=1))).eval()
    model.spec = model.spec.model_copy(
        update={"protocol": EvaluationProtocol(short_side=32, flip=True)}
    )
    save(model, "model.safetensors")
    Image.fromarray(image()).save("photo.png")
    return tmp_path


def image() -> np.ndarray:
    coarse = np.random.default_rng(0).integers(0, 256, (9, 12, 3), dtype=np.uint8)
    return np.asarray(cv2.resize(coarse, (120, 90)))


def labels(*words: str) -> np.ndarray:
    command = ("predict", "photo.png", "--model", "model.safetensors", "--runtime", "torch")
    assert run(*command, "--save", "label", "--overwrite", *words) == 0
    return np.asarray(Image.open("predictions/photo_label.png"))


@pytest.mark.usefixtures("here")
def test_predict_shows_images_at_the_sizes_that_it_is_given() -> None:
    expected = Predictor("model.safetensors", **vars(GIVEN), **TORCH)(image())
    assert np.array_equal(labels(*WORDS), expected)
    assert not np.array_equal(labels(), expected)


@pytest.mark.usefixtures("here")
def test_serve_shows_images_at_the_sizes_that_it_is_given() -> None:
    service = open_service("model.safetensors", ServiceSettings(), Compute(**TORCH), sizes=GIVEN)
    protocol = service.predictor.protocol
    assert protocol == Predictor("model.safetensors", **vars(GIVEN), **TORCH).protocol
    assert protocol.flip, "all else is the model's own"


@pytest.mark.slow
@pytest.mark.usefixtures("here")
def test_an_exported_file_is_shown_images_at_the_sizes_that_are_given() -> None:
    pytest.importorskip("onnxruntime", reason="needs onnxruntime, of the extra export")
    assert run("export", "model.safetensors", "model.onnx") == 0
    exported = Predictor("model.onnx", runtime="onnxruntime", **vars(GIVEN))
    expected = Predictor("model.safetensors", **vars(GIVEN), **TORCH)(image())
    assert np.mean(exported(image()) == expected) > 0.999
