"""The whole model: any size, and each rule for odd sizes."""

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from segmenter.model import Segmenter
from tests.helpers.models import DECODERS, make_spec


@pytest.mark.parametrize("decoder", DECODERS)
@pytest.mark.parametrize("fit", ["pad-crop", "pad-squeeze", "stretch"])
@pytest.mark.parametrize("size", [(1, 1), (15, 40), (32, 48), (33, 47)])
def test_logits_have_the_images_size(decoder: str, fit: str, size: tuple[int, int]) -> None:
    model = Segmenter(make_spec(decoder=decoder, size_policy=fit)).eval()
    assert model(torch.randn(2, 3, *size)).shape == (2, 3, *size)


def bilinear(logits: Tensor, size: tuple[int, int]) -> Tensor:
    return F.interpolate(logits, size, mode="bilinear", align_corners=False)


def test_pad_crop_pads_with_zeros_and_crops_the_logits() -> None:
    model = Segmenter(make_spec(size_policy="pad-crop")).eval()
    image = torch.randn(1, 3, 40, 20)
    padded = F.pad(image, (0, 12, 0, 8))
    torch.testing.assert_close(model(image), model(padded)[:, :, :40, :20])


def test_pad_squeeze_squeezes_the_padded_grid_into_the_image() -> None:
    model = Segmenter(make_spec(size_policy="pad-squeeze")).eval()
    image = torch.randn(1, 3, 40, 20)
    padded = model.patch_logits(F.pad(image, (0, 12, 0, 8)))
    torch.testing.assert_close(model(image), bilinear(padded, (40, 20)))


def test_stretch_does_not_see_the_remainder() -> None:
    model = Segmenter(make_spec(size_policy="stretch")).eval()
    image = torch.randn(1, 3, 40, 20)
    seen = model.patch_logits(image[:, :, :32, :16])
    torch.testing.assert_close(model(image), bilinear(seen, (40, 20)))


def test_drop_path_scales_of_one_change_nothing_and_of_zero_skip_the_blocks() -> None:
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


def test_a_model_is_float32_whatever_torch_makes_by_default() -> None:
    torch.set_default_dtype(torch.float64)
    try:
        model = Segmenter(make_spec())
    finally:
        torch.set_default_dtype(torch.float32)
    assert model.normalize(torch.zeros(1, 3, 16, 16, dtype=torch.uint8)).dtype == torch.float32
