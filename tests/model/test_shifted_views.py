"""Shifted views: their tokens, interleaved, are a grid finer than the patches."""

import pytest
import torch
from torch.nn import functional as F

from segmenter.errors import UserError
from segmenter.inference import Predictor
from segmenter.model import Segmenter
from segmenter.model.attention_maps import all_attention_maps
from segmenter.model.decoders import MultiBlockLinearSpec
from segmenter.model.shifted_views import view_offsets
from tests.helpers.models import make_spec


def make_model(shifts: int) -> Segmenter:
    torch.manual_seed(0)
    spec = make_spec(3, patch_size=8)
    settings = MultiBlockLinearSpec(blocks=2, shifts=shifts)
    return Segmenter(spec.model_copy(update={"decoder": settings})).eval()


@pytest.mark.parametrize("patch_size", [8, 14, 16])
@pytest.mark.parametrize("shifts", [1, 2, 4])
def test_the_centres_of_patches_are_evenly_spaced(patch_size: int, shifts: int) -> None:
    exact = [(place + 0.5) * patch_size / shifts - patch_size / 2 for place in range(shifts)]
    errors = [a - b for a, b in zip(exact, view_offsets(patch_size, shifts), strict=True)]
    assert all(0 <= error < 1 for error in errors)


@torch.no_grad()
def test_the_fine_grid_holds_the_tokens_of_each_shifted_image() -> None:
    images = torch.randn(2, 3, 24, 40)
    fine, grid = make_model(2).encode(images)
    assert grid == (6, 10)
    padded = F.pad(images, (2, 2, 2, 2), mode="replicate")
    for down in (0, 1):
        for across in (0, 1):
            view = padded[:, :, 4 * down :, 4 * across :][:, :, :24, :40]
            expected, _ = make_model(1).encode(view)
            found = fine.unflatten(1, grid)[:, down::2, across::2].flatten(1, 2)
            torch.testing.assert_close(found, expected)


@torch.no_grad()
def test_logits_have_the_size_of_any_image() -> None:
    images = torch.randn(1, 3, 21, 43)
    assert make_model(4)(images).shape == (1, 3, 21, 43)
    assert make_model(4).patch_logits(images).shape == (1, 3, 12, 24)


def test_the_gradient_reaches_the_encoder_with_stochastic_depth() -> None:
    model = make_model(2).train()
    scales = torch.ones(len(model.drop_rates), 2)
    model(torch.randn(2, 3, 16, 16), scales).sum().backward()
    assert model.encoder.patch_embed.weight.grad is not None


def test_attention_is_that_of_one_view() -> None:
    images = torch.randn(1, 3, 24, 40)
    found = [maps for _, _, maps in all_attention_maps(make_model(2), images)]
    assert all(maps.grid == (3, 5) and len(maps.weights) == 1 for maps in found)


def test_one_view_is_not_written_to_the_model_file() -> None:
    assert "shifts" not in make_model(1).spec.model_dump()["decoder"]
    assert make_model(2).spec.model_dump()["decoder"]["shifts"] == 2


def test_merging_tokens_of_shifted_views_is_refused() -> None:
    with pytest.raises(UserError, match="cannot be merged"):
        Predictor(make_model(2), merge_threshold=0.8)
