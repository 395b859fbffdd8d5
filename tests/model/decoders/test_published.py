"""Properties of the two published decoders."""

import pytest
import torch

from segmenter.model.decoders import LinearDecoderSpec, MaskTransformerSpec
from segmenter.model.decoders.linear import LinearDecoder
from segmenter.model.decoders.mask_transformer import MaskTransformer
from tests.helpers.models import make_spec

ENCODER = make_spec().encoder


def mask_transformer(num_classes: int = 5, class_norm: str = "layer") -> MaskTransformer:
    spec = MaskTransformerSpec.model_validate({"dim": 64, "class_norm": class_norm})
    return MaskTransformer(spec, ENCODER, num_classes).eval()


def test_linear_decoder_scores_each_patch_by_itself() -> None:
    decoder = LinearDecoder(LinearDecoderSpec(), ENCODER, 5)
    tokens = torch.randn(1, 6, 64)
    whole = decoder(tokens, (2, 3))
    alone = decoder(tokens[:, 4:5], (1, 1))
    torch.testing.assert_close(whole[:, :, 1, 1], alone[:, :, 0, 0])


@pytest.mark.parametrize("class_norm", ["layer", "scale"])
def test_swapping_two_class_tokens_swaps_their_logits(class_norm: str) -> None:
    decoder = mask_transformer(class_norm=class_norm)
    tokens = torch.randn(2, 6, 64)
    before = decoder(tokens, (2, 3))
    order = torch.tensor([1, 0, 2, 3, 4])
    with torch.no_grad():
        decoder.class_tokens.copy_(decoder.class_tokens[:, order])
    torch.testing.assert_close(decoder(tokens, (2, 3)), before[:, order], atol=1e-5, rtol=1e-5)


def test_mask_logits_of_a_patch_are_normalised_over_classes() -> None:
    logits = mask_transformer()(torch.randn(1, 6, 64), (2, 3))
    torch.testing.assert_close(logits.mean(dim=1), torch.zeros(1, 2, 3), atol=1e-5, rtol=0)


def test_a_layer_norm_over_one_class_is_a_constant_that_learns_nothing() -> None:
    tokens = torch.randn(1, 6, 64, requires_grad=True)
    logits = mask_transformer(1)(tokens, (2, 3))
    logits.square().sum().backward()
    assert logits.unique().numel() == 1
    assert tokens.grad is not None
    assert float(tokens.grad.abs().max()) == 0


def test_a_layer_norm_over_two_classes_is_nearly_their_sign() -> None:
    cosines = torch.tensor([[0.0, 0.1], [0.0, 1.0], [0.4, -0.4]])
    signs = torch.tensor([[-1.0, 1.0], [-1.0, 1.0], [1.0, -1.0]])
    torch.testing.assert_close(mask_transformer(2).norm_logits(cosines), signs, atol=0.003, rtol=0)


@pytest.mark.parametrize("num_classes", [1, 2, 5])
def test_scaled_logits_are_cosines_times_ten_at_the_start(num_classes: int) -> None:
    decoder = mask_transformer(num_classes, "scale")
    seen = []
    decoder.norm_logits.register_forward_pre_hook(lambda _, given: seen.append(given[0]))
    with torch.no_grad():
        logits = decoder(torch.randn(1, 6, 64), (2, 3)).flatten(2).transpose(1, 2)
    assert float(seen[0].abs().max()) <= 1 + 1e-5
    assert logits.unique().numel() == logits.numel()
    torch.testing.assert_close(logits, 10 * seen[0])


def test_scaled_logits_are_float32_under_bfloat16() -> None:
    with torch.autocast("cpu", torch.bfloat16):
        logits = mask_transformer(2, "scale")(torch.randn(1, 6, 64), (2, 3))
    assert logits.dtype == torch.float32


def test_decoders_start_as_published() -> None:
    published = mask_transformer(150)
    paper = MaskTransformer(
        MaskTransformerSpec(dim=64, projection_init="scaled-normal"), ENCODER, 150
    )
    assert 0.015 < published.project_patches.weight.std() < 0.022
    assert 0.10 < paper.project_patches.weight.std() < 0.15
    assert 0.015 < published.class_tokens.std() < 0.022
    assert published.project_in.bias.abs().max() == 0
    assert LinearDecoder(LinearDecoderSpec(), ENCODER, 150).project.bias.abs().max() == 0
