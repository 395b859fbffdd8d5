"""Properties of the two published decoders."""

import torch

from segmenter.model.decoder import LinearDecoder, MaskTransformer
from segmenter.model.spec import MaskTransformerSpec


def mask_transformer(num_classes: int = 5) -> MaskTransformer:
    return MaskTransformer(num_classes, 64, MaskTransformerSpec(dim=64)).eval()


def test_linear_decoder_scores_each_patch_by_itself() -> None:
    decoder = LinearDecoder(5, 64)
    tokens = torch.randn(1, 6, 64)
    whole = decoder(tokens, (2, 3))
    alone = decoder(tokens[:, 4:5], (1, 1))
    torch.testing.assert_close(whole[:, :, 1, 1], alone[:, :, 0, 0])


def test_swapping_two_class_tokens_swaps_their_logits() -> None:
    decoder = mask_transformer()
    tokens = torch.randn(2, 6, 64)
    before = decoder(tokens, (2, 3))
    order = torch.tensor([1, 0, 2, 3, 4])
    with torch.no_grad():
        decoder.class_tokens.copy_(decoder.class_tokens[:, order])
    torch.testing.assert_close(decoder(tokens, (2, 3)), before[:, order], atol=1e-5, rtol=1e-5)


def test_mask_logits_of_a_patch_are_normalised_over_classes() -> None:
    logits = mask_transformer()(torch.randn(1, 6, 64), (2, 3))
    torch.testing.assert_close(logits.mean(dim=1), torch.zeros(1, 2, 3), atol=1e-5, rtol=0)


def test_decoders_start_as_published() -> None:
    published = mask_transformer(150)
    paper = MaskTransformer(150, 64, MaskTransformerSpec(dim=64, projection_init="scaled-normal"))
    assert 0.015 < published.project_patches.weight.std() < 0.022
    assert 0.10 < paper.project_patches.weight.std() < 0.15
    assert 0.015 < published.class_tokens.std() < 0.022
    assert published.project_in.bias.abs().max() == 0
    assert LinearDecoder(150, 64).project.bias.abs().max() == 0
