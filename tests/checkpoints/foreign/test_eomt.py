"""Models of tue-mps/eomt give the outputs of the code that wrote them."""

from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor

import segmenter
from segmenter import UserError
from segmenter.inference import Predictor
from segmenter.model import Segmenter
from segmenter.model.decoders.eomt import EoMT
from segmenter.options import Compute
from segmenter.runtimes.open_runtime import open_runtime
from tests.helpers.command_line import run
from tests.helpers.eomt import mis_shaped
from tests.helpers.paths import GOLDEN

FOLDER = GOLDEN / "eomt"
FILE = FOLDER / "pytorch_model.bin"


@pytest.fixture(scope="module")
def model() -> Segmenter:
    return segmenter.load(FILE)


@pytest.fixture(scope="module")
def golden() -> dict[str, np.ndarray]:
    return dict(np.load(FOLDER / "golden.npz"))


@pytest.fixture
def weights() -> dict[str, Tensor]:
    return torch.load(FILE, weights_only=True)


def write(folder: Path, content: object) -> Path:
    path = folder / "model.bin"
    torch.save(content, path)
    return path


def read_image(name: str) -> np.ndarray:
    image = cv2.imread(str(FOLDER / f"{name}.png"), cv2.IMREAD_COLOR_RGB)
    assert image is not None
    return image


WRAPPED = {
    "a compiled network": lambda name: name.replace("network.", "network._orig_mod."),
    "several GPUs": lambda name: f"module.{name}",
}


@pytest.mark.parametrize("suffix", ["bin", "safetensors"])
@pytest.mark.parametrize("wrap", WRAPPED.values(), ids=WRAPPED)
def test_what_a_training_adds_to_names_makes_no_difference(
    wrap: Callable[[str], str],
    suffix: str,
    tmp_path: Path,
    weights: dict[str, Tensor],
    model: Segmenter,
) -> None:
    wrapped = {wrap(name): each.contiguous() for name, each in weights.items()}
    path = write(tmp_path, wrapped)
    if suffix == "safetensors":
        path = tmp_path / "model.safetensors"
        save_file(wrapped, path)
    found = segmenter.load(path).state_dict()
    assert all(torch.equal(each, found[name]) for name, each in model.state_dict().items())


@torch.inference_mode()
def test_masks_classes_and_scores_equal_those_of_the_code_that_wrote_the_file(
    model: Segmenter, golden: dict[str, np.ndarray]
) -> None:
    assert isinstance(model.decoder, EoMT)
    images = model.normalize(torch.from_numpy(golden["image"]))
    classes, masks = model.decoder.classified_masks(*model.encode(images))
    scores = model(images).exp().numpy()
    assert np.abs(classes.numpy() - golden["class_logits"]).max() < 1e-4
    assert np.abs(masks.numpy() - golden["mask_logits"]).max() < 1e-4
    assert np.abs(scores - golden["pixel_scores"]).max() < 1e-5
    assert (scores.argmax(axis=1) == golden["labels"]).all()


@pytest.mark.parametrize("name", ["wide", "tall", "square"])
def test_label_maps_equal_those_of_its_windows(
    model: Segmenter, golden: dict[str, np.ndarray], name: str
) -> None:
    labels, probabilities = Predictor(model).labels_and_probabilities(read_image(name))
    assert (labels == golden[f"{name}/labels"]).mean() >= 0.9995
    np.testing.assert_allclose(probabilities.sum(axis=0), 1, atol=1e-5)


def test_averaged_logits_give_other_probabilities_than_averaged_scores(model: Segmenter) -> None:
    protocol = model.spec.protocol.model_copy(update={"window_average": "logits"})
    image = read_image("wide")
    scores, logits = (
        Predictor(model, protocol=each).probabilities(image) for each in (None, protocol)
    )
    assert np.abs(scores - logits).max() > 1e-2


def test_the_spec_holds_what_the_file_says(model: Segmenter) -> None:
    spec = model.spec
    assert (spec.encoder.layer_scale, spec.encoder.num_prefix_tokens) == (True, 5)
    assert not spec.encoder.prefix_positions
    assert spec.decoder.model_dump() == {
        "kind": "eomt",
        "queries": 12,
        "blocks": 2,
        "doublings": 2,
        "cells": 16,
        "masking": True,
    }
    assert (spec.protocol.window, spec.protocol.spacing) == (64, "even")
    assert spec.normalization.mean == pytest.approx((123.675, 116.28, 103.53), abs=1e-4)


def test_a_lightning_checkpoint_is_the_same_model(
    tmp_path: Path, model: Segmenter, weights: dict[str, Tensor]
) -> None:
    path = write(tmp_path, {"epoch": 30, "state_dict": weights, "optimizer_states": []})
    for name, tensor in segmenter.load(path).state_dict().items():
        assert torch.equal(tensor, model.state_dict()[name])


@pytest.mark.parametrize("runtime", ["torch", "openvino", "onnxruntime"])
def test_a_saved_model_labels_alike(tmp_path: Path, model: Segmenter, runtime: str) -> None:
    path = tmp_path / "model.safetensors"
    segmenter.save(model, path)
    image = read_image("wide")
    labels = Predictor(str(path), runtime=runtime, precision="float32")(image)
    assert (labels == Predictor(model)(image)).mean() >= 0.9999


def test_patch_logits_of_a_runtime_are_the_logarithms_of_scores(model: Segmenter) -> None:
    images = torch.from_numpy(read_image("square"))[None].permute(0, 3, 1, 2)[..., :70, :90]
    expected = model.patch_logits(model.normalize(images))
    for runtime in ("torch", "onnxruntime"):
        found = open_runtime(model, Compute(runtime=runtime)).patch_logits(images)
        torch.testing.assert_close(found.exp(), expected.exp(), atol=1e-5, rtol=1e-4)


def test_merged_tokens_give_labels_from_masks(model: Segmenter) -> None:
    image = read_image("square")
    labels = Predictor(model, merge_threshold=0.9999)(image)
    assert (labels == Predictor(model)(image)).mean() > 0.9


def test_a_model_saved_while_its_masks_were_annealed_is_refused(
    tmp_path: Path, weights: dict[str, Tensor]
) -> None:
    weights["network.attn_mask_probs"] = torch.tensor([0.0, 0.3])
    with pytest.raises(UserError, match="middle of its training"):
        segmenter.load(write(tmp_path, weights))


def test_a_model_of_instances_is_refused_unless_its_classes_are_named(
    tmp_path: Path, weights: dict[str, Tensor], capsys: pytest.CaptureFixture
) -> None:
    for kind, shape in (("weight", (81, 128)), ("bias", (81,))):
        weights[f"network.class_head.{kind}"] = torch.zeros(shape)
    path = write(tmp_path, weights)
    with pytest.raises(UserError, match="no semantic map"):
        segmenter.load(path)
    classes = tmp_path / "classes.yaml"
    names = "".join(
        f"- {{name: thing {i}, color: [{i}, 0, 0], values: [{i}]}}\n" for i in range(80)
    )
    classes.write_text(f"classes:\n{names}")
    out = tmp_path / "out.safetensors"
    assert run("convert", str(path), str(out), "--classes", str(classes)) == 0
    assert "classes   80" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("name", "problem"),
    [
        ("network.attn_mask_probs", "no 1-D network.attn_mask_probs"),
        ("network.encoder.backbone.cls_token", "no encoder with class token"),
        ("network.upscale.0.norm.weight", "decoder.refine.0.3.weight"),
    ],
)
def test_a_missing_tensor_is_named(
    tmp_path: Path, weights: dict[str, Tensor], name: str, problem: str
) -> None:
    del weights[name]
    with pytest.raises(UserError, match=problem):
        segmenter.load(write(tmp_path, weights))


@pytest.mark.parametrize("shape", [(), (0,), (3,), (1,) * 5])
def test_a_tensor_of_any_other_shape_is_refused(
    tmp_path: Path, weights: dict[str, Tensor], shape: tuple[int, ...]
) -> None:
    path = tmp_path / "model.safetensors"
    for changed in mis_shaped(weights, shape):
        save_file(changed, path)
        with pytest.raises(UserError):
            segmenter.load(path)


def test_scores_are_averaged_only_where_the_decoder_gives_them(model: Segmenter) -> None:
    with pytest.raises(
        UserError, match="window_average 'scores' is not for decoder 'joined-class-tokens'"
    ):
        Predictor("street", protocol=model.spec.protocol, runtime="torch")
