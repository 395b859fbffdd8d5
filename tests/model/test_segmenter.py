"""The whole model: any size, each rule for odd sizes, and equality with the published one."""

import re

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from segmenter.checkpoints.encoder_weights import rename_timm_tensors
from segmenter.model import Segmenter
from segmenter.model.spec import MaskTransformerSpec
from tests.conftest import GOLDEN, make_spec

_DECODER_NAMES = (
    (r"^cls_emb$", "class_tokens"),
    (r"^proj_dec\.", "project_in."),
    (r"^decoder_norm\.", "norm."),
    (r"^mask_norm\.", "norm_logits."),
    (r"^head\.", "project."),
    (r"\.attn\.qkv\.", ".attention.qkv."),
    (r"\.attn\.proj\.", ".attention.project."),
    (r"\.mlp\.fc1\.", ".mlp.expand."),
    (r"\.mlp\.fc2\.", ".mlp.reduce."),
)


def published(name: str) -> Segmenter:
    """A model of ours with the tensors of one of the paper's own checkpoints."""
    spec = make_spec(11, embed_dim=128, layer_norm_eps=1e-5, table_resize="bilinear")
    if name == "rstrudel_mask":
        spec = spec.model_copy(update={"decoder": MaskTransformerSpec(dim=128)})
    model = Segmenter(spec).eval()
    path = GOLDEN / name / "checkpoint.pth"
    weights = torch.load(path, weights_only=True)["model"]
    encoder = {n.removeprefix("encoder."): t for n, t in weights.items() if n.startswith("encoder")}
    tensors = {
        f"encoder.{n}": t for n, t in rename_timm_tensors(encoder, model.encoder, name).items()
    }
    for full_name, tensor in weights.items():
        if not full_name.startswith("decoder."):
            continue
        short = full_name.removeprefix("decoder.")
        if short in ("proj_patch", "proj_classes"):  # used as `tokens @ matrix`
            short = {"proj_patch": "project_patches", "proj_classes": "project_classes"}[short]
            tensors[f"decoder.{short}.weight"] = tensor.T.contiguous()
            continue
        for pattern, replacement in _DECODER_NAMES:
            short = re.sub(pattern, replacement, short)
        tensors[f"decoder.{short}"] = tensor
    model.load_state_dict(tensors)
    return model


@pytest.mark.parametrize("name", ["rstrudel_mask", "rstrudel_linear"])
@pytest.mark.parametrize("number", [0, 1])
def test_logits_equal_the_published_models(name: str, number: int) -> None:
    golden = np.load(GOLDEN / name / "golden.npz")
    images, expected = (torch.from_numpy(golden[f"{key}_{number}"]) for key in ("input", "logits"))
    with torch.inference_mode():
        logits = published(name)(images)
    assert (logits - expected).abs().max() < 1e-4


@pytest.mark.parametrize("decoder", ["linear", "mask"])
@pytest.mark.parametrize("fit", ["pad-crop", "pad-squeeze", "stretch"])
@pytest.mark.parametrize("size", [(1, 1), (15, 40), (32, 48), (33, 47)])
def test_logits_have_the_images_size(decoder: str, fit: str, size: tuple[int, int]) -> None:
    model = Segmenter(make_spec(decoder=decoder, fit=fit)).eval()
    assert model(torch.randn(2, 3, *size)).shape == (2, 3, *size)


def bilinear(logits: Tensor, size: tuple[int, int]) -> Tensor:
    return F.interpolate(logits, size, mode="bilinear", align_corners=False)


def test_pad_crop_pads_with_zeros_and_crops_the_logits() -> None:
    model = Segmenter(make_spec(fit="pad-crop")).eval()
    image = torch.randn(1, 3, 40, 20)
    padded = F.pad(image, (0, 12, 0, 8))
    torch.testing.assert_close(model(image), model(padded)[:, :, :40, :20])


def test_pad_squeeze_squeezes_the_padded_grid_into_the_image() -> None:
    model = Segmenter(make_spec(fit="pad-squeeze")).eval()
    image = torch.randn(1, 3, 40, 20)
    padded = model.patch_logits(F.pad(image, (0, 12, 0, 8)))
    torch.testing.assert_close(model(image), bilinear(padded, (40, 20)))


def test_stretch_does_not_see_the_remainder() -> None:
    model = Segmenter(make_spec(fit="stretch")).eval()
    image = torch.randn(1, 3, 40, 20)
    seen = model.patch_logits(image[:, :, :32, :16])
    torch.testing.assert_close(model(image), bilinear(seen, (40, 20)))


def test_branch_scales_of_one_change_nothing_and_of_zero_skip_the_blocks() -> None:
    model = Segmenter(make_spec(decoder="mask", drop_path=0.1)).eval()
    images = torch.randn(2, 3, 32, 32)
    branches = len(model.drop_rates)
    torch.testing.assert_close(model(images, torch.ones(branches, 2)), model(images))
    dropped = model.encoder(images, torch.zeros(4, 2))[0]
    for block in model.encoder.blocks:
        torch.nn.init.zeros_(block.attention.project.weight)
        torch.nn.init.zeros_(block.mlp.reduce.weight)
    torch.testing.assert_close(dropped, model.encoder(images)[0])


def test_stochastic_depth_rises_linearly_over_the_blocks() -> None:
    model = Segmenter(make_spec(depth=3, drop_path=0.1))
    assert model.drop_rates == pytest.approx([0, 0, 0.05, 0.05, 0.1, 0.1])


def test_images_may_have_any_number_of_channels() -> None:
    model = Segmenter(make_spec(in_channels=5))
    assert model(model.normalize(torch.zeros(1, 5, 32, 32, dtype=torch.uint8))).shape[1] == 3


def test_normalize_brings_127_5_to_zero() -> None:
    model = Segmenter(make_spec())
    torch.testing.assert_close(
        model.normalize(torch.full((1, 3, 2, 2), 255)).max(), torch.tensor(1.0)
    )
