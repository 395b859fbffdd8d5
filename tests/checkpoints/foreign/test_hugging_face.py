"""EoMT in the layout of Hugging Face gives the outputs of transformers."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

import segmenter
from segmenter import UserError
from segmenter.data.published import SETS
from segmenter.model import Segmenter
from segmenter.model.decoders.eomt import EoMT
from tests.helpers.command_line import run
from tests.helpers.eomt import (
    GOLDEN_EOMT,
    mis_shaped,
    of_hugging_face,
    random_model,
    write_folder,
)


@pytest.fixture
def tensors() -> dict[str, Tensor]:
    return of_hugging_face(torch.load(GOLDEN_EOMT / "pytorch_model.bin", weights_only=True))


@torch.inference_mode()
def predict(model: Segmenter, images: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Class logits, mask logits and labels, of normalised images."""
    assert isinstance(model.decoder, EoMT)
    classes, masks = model.decoder.classified_masks(*model.encode(images))
    return classes, masks, model(images).argmax(dim=1)


def test_weights_of_tue_mps_in_this_layout_give_the_same_outputs(
    tmp_path: Path, tensors: dict[str, Tensor]
) -> None:
    golden = np.load(GOLDEN_EOMT / "golden.npz")
    model = segmenter.load(write_folder(tmp_path, tensors))
    images = model.normalize(torch.from_numpy(golden["image"]))
    classes, masks, labels = predict(model, images)
    assert np.abs(classes.numpy() - golden["class_logits"]).max() < 1e-4
    assert np.abs(masks.numpy() - golden["mask_logits"]).max() < 1e-4
    assert (labels.numpy() == golden["labels"]).all()
    assert model.spec.classes.names[:2] == ("thing 0", "thing 1")
    assert model.spec.protocol == segmenter.load(GOLDEN_EOMT / "pytorch_model.bin").spec.protocol


def test_the_normalisation_is_that_of_the_preprocessor(
    tmp_path: Path, tensors: dict[str, Tensor]
) -> None:
    folder = write_folder(tmp_path, tensors)
    settings = {"image_mean": [0.5] * 3, "image_std": [0.25] * 3, "rescale_factor": 1 / 255}
    (folder / "preprocessor_config.json").write_text(json.dumps(settings))
    spec = segmenter.load(folder).spec
    assert spec.normalization.mean == pytest.approx((127.5,) * 3)
    assert spec.normalization.std == pytest.approx((63.75,) * 3)


def test_classes_that_are_only_numbered_get_our_names(
    tmp_path: Path, tensors: dict[str, Tensor]
) -> None:
    numbered = {str(index): f"LABEL_{index}" for index in range(11)}
    model = segmenter.load(write_folder(tmp_path, tensors, id2label=numbered))
    assert model.spec.classes.names[0] == "class-0"


@pytest.mark.parametrize(
    ("changed", "problem"),
    [
        (
            {"num_hidden_layers": 12},
            "says num_hidden_layers 12, and the tensors have 4",
        ),
        ({"num_queries": 100}, "says num_queries 100, and the tensors have 12"),
        ({"num_blocks": 4}, "says num_blocks 4, and the tensors have 2"),
        ({"id2label": {"0": "one"}}, "says id2label 1, and the tensors have 11"),
        ({"model_type": "eomt_dinov3"}, "says DINOv3, and the tensors are those of DINOv2"),
        ({"num_attention_heads": 4}, "only heads of 64 channels are read"),
        ({"hidden_act": "relu"}, "hidden_act 'relu'"),
        (
            {"auto_map": {"AutoModel": "evil.Model"}},
            "auto_map., which is never run",
        ),
        ({"architectures": ["Mask2Former"]}, "is of 'Mask2Former'; supported: Eomt"),
        ({"hidden_size": "wide"}, "config.json: hidden_size"),
        ({"image_size": 0}, "config.json: image_size"),
        ({"image_size": 128}, "says image_size 128, and the tensors have 64"),
        ({"image_size": [64, 96]}, r"says image_size \(64, 96\), and the tensors have 64"),
    ],
)
def test_a_config_that_disagrees_is_refused(
    tmp_path: Path, tensors: dict[str, Tensor], changed: dict[str, Any], problem: str
) -> None:
    with pytest.raises(UserError, match=problem):
        segmenter.load(write_folder(tmp_path, tensors, **changed))


@pytest.mark.parametrize("theta", [10**400, -1, "wide", [1]])
def test_a_rotary_base_that_is_no_positive_number_is_refused(
    tmp_path: Path, tensors: dict[str, Tensor], theta: object
) -> None:
    with pytest.raises(UserError, match=r"rope_parameters\.rope_theta: .{,80}$"):
        segmenter.load(write_folder(tmp_path, tensors, rope_parameters={"rope_theta": theta}))


@pytest.mark.parametrize("shape", [(), (0,), (3,), (1,) * 5])
def test_a_tensor_of_any_other_shape_is_refused(
    tmp_path: Path, tensors: dict[str, Tensor], shape: tuple[int, ...]
) -> None:
    for changed in mis_shaped(tensors, shape):
        with pytest.raises(UserError):
            segmenter.load(write_folder(tmp_path, changed))


def test_a_model_that_masks_attention_at_inference_is_refused(
    tmp_path: Path, tensors: dict[str, Tensor]
) -> None:
    tensors["attn_mask_probs"] = torch.ones(2)  # as transformers leaves them
    with pytest.raises(UserError, match=r"still masks attention at inference.*lower it to 0"):
        segmenter.load(write_folder(tmp_path, tensors))


def test_shares_of_masked_queries_below_0_mask_none_as_in_transformers(
    tmp_path: Path, tensors: dict[str, Tensor]
) -> None:
    whole = segmenter.load(write_folder(tmp_path / "whole", tensors))
    tensors["attn_mask_probs"] = torch.full((2,), -1.0)  # a difference to ones that nothing added
    assert segmenter.load(write_folder(tmp_path / "less", tensors)).spec == whole.spec


def test_without_the_shares_of_masked_queries_the_config_counts_the_blocks(
    tmp_path: Path, tensors: dict[str, Tensor], capsys: pytest.CaptureFixture
) -> None:
    whole = segmenter.load(write_folder(tmp_path / "whole", tensors))
    del tensors["attn_mask_probs"]
    folder, out = write_folder(tmp_path / "less", tensors), tmp_path / "model.safetensors"
    assert run("convert", str(folder), str(out)) == 0
    assert "the file lacks attn_mask_probs" in capsys.readouterr().out
    assert segmenter.load(out).spec == whole.spec
    with pytest.raises(UserError, match="asks for 9 blocks"):
        segmenter.load(write_folder(folder, tensors, num_blocks=9))


def test_80_named_classes_are_read_unless_they_are_the_things_of_coco(
    tmp_path: Path, tensors: dict[str, Tensor]
) -> None:
    for kind, shape in (("weight", (81, 128)), ("bias", (81,))):
        tensors[f"class_predictor.{kind}"] = torch.zeros(shape)
    things = SETS["coco_stuff"].classes().names[:80]
    own = {str(index): f"crop {index}" for index in range(80)}
    model = segmenter.load(write_folder(tmp_path, tensors, id2label=own))
    assert model.spec.classes.names[79] == "crop 79"
    numbered = {str(index): f"LABEL_{index}" for index in range(80)}
    for labels in (numbered, {str(index): name for index, name in enumerate(things)}):
        folder = write_folder(tmp_path, tensors, id2label=labels)
        with pytest.raises(UserError, match=r"`segmenter convert \S+ \S+ --classes FILE`"):
            segmenter.load(folder)


@pytest.mark.parametrize("content", ["{", "[]", '"x"', "[" * 100_000])
def test_a_damaged_config_is_refused(
    tmp_path: Path, tensors: dict[str, Tensor], content: str
) -> None:
    folder = write_folder(tmp_path, tensors)
    (folder / "config.json").write_text(content)
    with pytest.raises(UserError, match="is damaged"):
        segmenter.load(folder)


def test_weights_without_config_are_refused(tmp_path: Path, tensors: dict[str, Tensor]) -> None:
    folder = write_folder(tmp_path, tensors)
    (folder / "config.json").unlink()
    with pytest.raises(UserError, match=r"no config.json beside it"):
        segmenter.load(folder / "model.safetensors")


def test_tensors_that_are_no_floats_are_refused_by_name(
    tmp_path: Path, tensors: dict[str, Tensor]
) -> None:
    name = "layers.0.mlp.fc1.weight"
    tensors[name] = tensors[name].mul(100).to(torch.int8)
    with pytest.raises(UserError, match=r"blocks\.0\.mlp\.expand\.weight is of torch\.int8"):
        segmenter.load(write_folder(tmp_path, tensors))


def test_what_is_assumed_is_logged_when_a_model_is_loaded(
    tmp_path: Path, tensors: dict[str, Tensor], caplog: pytest.LogCaptureFixture
) -> None:
    folder = write_folder(tmp_path, tensors)
    segmenter.load(folder)
    assert not caplog.messages
    numbered = {str(index): f"LABEL_{index}" for index in range(11)}
    segmenter.load(write_folder(tmp_path, tensors, id2label=numbered))
    (said,) = caplog.messages
    assert said.startswith(f"{folder / 'model.safetensors'}: nothing says what the 11 classes are")


def test_a_missing_projection_is_named(tmp_path: Path, tensors: dict[str, Tensor]) -> None:
    del tensors["layers.1.attention.k_proj.weight"]
    with pytest.raises(UserError, match=r"layers\.1\.attention\.\*_proj\.weight"):
        segmenter.load(write_folder(tmp_path, tensors))


def test_a_folder_without_weights_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"without model.safetensors, .* or pytorch_model.bin"):
        segmenter.load(tmp_path)
    (tmp_path / "pytorch_model.bin.index.json").write_text("{}")
    with pytest.raises(UserError, match=r"holds several pickles"):
        segmenter.load(tmp_path)


def test_a_folder_is_converted(
    tmp_path: Path, tensors: dict[str, Tensor], capsys: pytest.CaptureFixture
) -> None:
    folder, out = write_folder(tmp_path / "eomt", tensors), tmp_path / "model.safetensors"
    assert run("convert", str(folder), str(out)) == 0
    assert "EoMT (Hugging Face)" in capsys.readouterr().out
    assert segmenter.load(out).spec == segmenter.load(folder).spec


@torch.inference_mode()
def assert_equal_to_transformers(tmp_path: Path, theirs: Any, num_images: int = 2) -> Segmenter:
    theirs.save_pretrained(tmp_path)
    ours = segmenter.load(tmp_path)
    side = theirs.config.image_size
    images = F.interpolate(3 * torch.randn(num_images, 3, side // 32, side // 32), (side, side))
    expected = theirs(pixel_values=images)
    classes, masks, labels = predict(ours, images)
    assert (classes - expected.class_queries_logits).abs().max() < 1e-4
    assert (masks - expected.masks_queries_logits).abs().max() < 1e-4
    shares = expected.class_queries_logits.softmax(-1)[..., :-1]
    whole = F.interpolate(expected.masks_queries_logits, (side, side), mode="bilinear")
    scores = torch.einsum("bqc,bqhw->bchw", shares, whole.sigmoid())
    assert (labels == scores.argmax(dim=1)).float().mean() >= 0.9999
    assert len(labels.unique()) > 1
    return ours


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")  # of transformers
@pytest.mark.parametrize(
    ("kind", "changed"),
    [
        ("eomt", {}),
        ("eomt", {"use_swiglu_ffn": True, "num_register_tokens": 0}),
        ("eomt", {"patch_size": 8, "num_upscale_blocks": 1, "num_blocks": 3}),
        ("eomt_dinov3", {}),
        ("eomt_dinov3", {"rope_parameters": {"rope_type": "default", "rope_theta": 50.0}}),
        ("eomt_dinov3", {"layer_norm_eps": 1e-5, "intermediate_size": 320}),
    ],
)
def test_small_models_equal_transformers(
    tmp_path: Path, kind: str, changed: dict[str, Any]
) -> None:
    ours = assert_equal_to_transformers(tmp_path, random_model(kind, **changed))
    assert ours.spec.license.startswith("DINOv3 License") == (kind == "eomt_dinov3")


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")  # of transformers
@pytest.mark.parametrize("kind", ["eomt", "eomt_dinov3"])
@pytest.mark.parametrize(("width", "depth"), [(384, 12), (768, 12), (1024, 24)])
def test_models_of_full_width_equal_transformers(
    tmp_path: Path, kind: str, width: int, depth: int
) -> None:
    sizes = {
        "hidden_size": width,
        "num_hidden_layers": depth,
        "num_attention_heads": width // 64,
        "image_size": 256,
        "num_blocks": 3 if depth == 12 else 4,
        "num_queries": 100,
    }
    assert_equal_to_transformers(tmp_path, random_model(kind, **sizes), num_images=1)
