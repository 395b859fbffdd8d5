"""Merging tokens is a choice of one predictor, and torch's alone."""

from pathlib import Path

import numpy as np
import pytest
import torch

from segmenter.checkpoints import save
from segmenter.errors import UserError
from segmenter.inference import Predictor
from segmenter.model import EvaluationProtocol, Segmenter
from segmenter.runtimes.open_runtime import open_runtime
from tests.helpers.models import make_spec

PROTOCOLS = {
    "whole": EvaluationProtocol(),
    "windows": EvaluationProtocol(window=48, stride=32),
    "flip": EvaluationProtocol(short_side=40, window=32, stride=24, flip=True, scales=(0.75, 1.5)),
}


@pytest.fixture
def model() -> Segmenter:
    """A random model that tells patches apart by their colours, and whose logits differ."""
    model = Segmenter(make_spec(depth=6, decoder="mask")).eval()
    with torch.no_grad():
        for block in model.encoder.blocks:
            for parameter in block.parameters():
                parameter.mul_(3)
    return model


@pytest.fixture
def images() -> list[np.ndarray]:
    """Of one size, each with a part of one colour that is larger than in the one before."""
    rng = np.random.default_rng(0)
    images = list(rng.integers(0, 256, (4, 96, 144, 3), dtype=np.uint8))
    for number, image in enumerate(images):
        image[:, : 40 * number] = 20 + 60 * number
    return images


def num_tokens(predictor: Predictor, images: list[np.ndarray]) -> list[int]:
    """How many come into the last block, call by call."""
    lengths: list[int] = []
    block = predictor.model.encoder.blocks[-1]
    hook = block.register_forward_pre_hook(lambda _, given: lengths.append(given[0].shape[1]))
    predictor(images)
    hook.remove()
    return lengths


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_images_of_a_batch_get_what_each_gets_alone(
    model: Segmenter, images: list[np.ndarray], protocol: str
) -> None:
    predictor = Predictor(model, protocol=PROTOCOLS[protocol], merge_threshold=0.8)
    assert len(set(num_tokens(predictor, images))) > 1, "images are to differ in their tokens"
    for together, image in zip(predictor(images), images, strict=True):
        np.testing.assert_array_equal(together, predictor(image))


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_at_1_probabilities_are_those_without_merging(
    model: Segmenter, images: list[np.ndarray], protocol: str
) -> None:
    plain, merging = (
        Predictor(model, protocol=PROTOCOLS[protocol], merge_threshold=threshold)
        for threshold in (None, 1.0)
    )
    np.testing.assert_allclose(
        merging.probabilities(images[2]), plain.probabilities(images[2]), rtol=0, atol=1e-6
    )


def test_a_model_that_is_used_elsewhere_does_not_merge_there(
    model: Segmenter, images: list[np.ndarray]
) -> None:
    plain = Predictor(model)
    before = plain.probabilities(images[3])
    merging = Predictor(model, merge_threshold=0.5)
    merged = merging.probabilities(images[3])
    np.testing.assert_array_equal(plain.probabilities(images[3]), before)
    np.testing.assert_array_equal(Predictor(model).probabilities(images[3]), before)
    assert np.abs(merged - before).max() > 1e-4
    assert num_tokens(merging, images[3:])[0] < num_tokens(plain, images[3:])[0] == 1 + 6 * 9


@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
@pytest.mark.parametrize("size", [(1, 1), (1, 400), (15, 15), (33, 80), (0, 5)])
def test_images_of_any_size_are_merged(
    model: Segmenter, size: tuple[int, int], precision: str
) -> None:
    predictor = Predictor(model, merge_threshold=0.2, precision=precision)
    assert predictor(np.zeros((*size, 3), dtype=np.uint8)).shape == size


@pytest.mark.slow
def test_a_file_that_merges_is_computed_by_torch_which_is_said(tmp_path: Path) -> None:
    model = Segmenter(make_spec(depth=1))
    save(model, tmp_path / "model.safetensors")
    runtime = Predictor(tmp_path / "model.safetensors", merge_threshold=0.8).runtime
    assert runtime.name == "torch"
    assert runtime.precision == open_runtime(tmp_path / "model.safetensors").precision
    assert runtime.describe().endswith("on cpu, tokens merged above a cosine of 0.8")
    assert "merged" not in open_runtime(model).describe()


@pytest.mark.parametrize("threshold", [0.0, -0.5, 1.01, 80.0, float("nan"), float("inf")])
def test_what_is_no_threshold_is_refused(model: Segmenter, threshold: float) -> None:
    with pytest.raises(UserError, match=r"^merge_threshold is .* and at most 1, such as 0.8; got "):
        Predictor(model, merge_threshold=threshold)


@pytest.mark.parametrize("runtime", ["openvino", "onnxruntime", "torch-compile"])
def test_other_runtimes_are_refused(model: Segmenter, runtime: str) -> None:
    with pytest.raises(UserError, match=f"merged in torch, not in {runtime}"):
        Predictor(model, runtime=runtime, merge_threshold=0.8)


def test_an_exported_file_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "model.onnx"
    path.write_bytes(b"its name is looked at first")
    with pytest.raises(UserError, match=r"not in .*model.onnx, which is exported"):
        Predictor(path, merge_threshold=0.8)
