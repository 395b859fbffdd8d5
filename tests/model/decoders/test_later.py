"""Properties of the decoders that came after the paper."""

import itertools
import math
from pathlib import Path

import pytest
import torch
from torch import nn

from segmenter.model import Segmenter
from segmenter.model.attention_maps import attention_maps
from segmenter.model.decoders import AttentionToMaskSpec, MultiBlockLinearSpec
from segmenter.model.decoders.attention_to_mask import AttentionToMask
from segmenter.model.decoders.decoder import Decoder, evenly_spaced
from segmenter.model.decoders.joined_class_tokens import mask_shares
from segmenter.model.decoders.multi_block_linear import MultiBlockLinear, RunningStatsNorm
from segmenter.model.encoder import intermediate_features, run_blocks
from segmenter.model.spec import ModelSpec
from segmenter.recipe.loss import LossRecipe
from segmenter.training.losses import Loss
from segmenter.training.optimizer import make_optimizer
from segmenter.training.parallel import DistributedModel
from segmenter.training.step import train_step
from tests.helpers.models import DECODERS, make_spec
from tests.helpers.runs import batch_of, make_recipe

IMAGES = torch.linspace(-1, 1, 2 * 3 * 48 * 80).reshape(2, 3, 48, 80).sin()


def model_with(decoder: str, **encoder: object) -> Segmenter:
    """A model whose class tokens and attention are far from even."""
    model = Segmenter(make_spec(decoder=decoder, **encoder)).eval()
    for name, weight in model.named_parameters():
        if "qkv.weight" in name or "class_tokens" in name or "query.weight" in name:
            nn.init.normal_(weight, std=0.5)
    return model


def test_several_blocks_are_standardised_and_scored_by_one_linear_layer() -> None:
    decoder = MultiBlockLinear(MultiBlockLinearSpec(blocks=2), make_spec().encoder, 5).eval()
    tokens = torch.randn(2, 8, 128)
    logits = decoder(tokens, (2, 4))
    assert logits.shape == (2, 5, 2, 4)
    standard = tokens / math.sqrt(1 + 1e-5)
    for row, column in ((0, 0), (1, 3), (0, 2)):
        expected = standard[:, row * 4 + column] @ decoder.project.weight.T
        torch.testing.assert_close(logits[:, :, row, column], expected, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("num_read", [1, 2, 4])
def test_blocks_are_read_evenly_spaced_and_the_last_is_among_them(num_read: int) -> None:
    encoder = Segmenter(make_spec(depth=4)).encoder.eval()
    indices = evenly_spaced(num_read, 4)
    features, grid = intermediate_features(encoder, IMAGES, indices)
    assert features.shape == (2, 15, 64 * num_read)
    tokens, _, _ = encoder.embed(IMAGES)
    stops = range(4 // num_read, 5, 4 // num_read)
    for part, stop in zip(features.chunk(num_read, dim=-1), stops, strict=True):
        whole = run_blocks(encoder, tokens, range(stop))
        assert torch.equal(part, encoder.norm(whole)[:, 1:])
    assert torch.equal(features[..., -64:], encoder(IMAGES)[0])
    assert grid == (3, 5)


def test_running_statistics_become_those_of_the_batches_and_use_none_of_the_batch_at_hand() -> None:
    norm = RunningStatsNorm(4).train()
    batches = [torch.randn(3, 50, 4) * 5 + 7 for _ in range(10)]
    for tokens in batches:
        alone = norm(tokens[:1])
        norm.pop_batch_stats()
        assert torch.equal(norm(tokens)[:1], alone)
        norm.update(norm.pop_batch_stats())
    seen = torch.cat(batches).flatten(0, 1)
    torch.testing.assert_close(norm.mean, seen.mean(dim=0), atol=0.02, rtol=0)
    torch.testing.assert_close(norm.variance, seen.var(dim=0), atol=0.5, rtol=0)
    before = norm.mean.clone()
    norm.eval()(batches[0] + 100)
    assert not norm.pop_batch_stats().any()
    before = norm.mean.clone()
    norm.update(norm.pop_batch_stats())  # no batch came
    assert torch.equal(norm.mean, before)
    assert torch.equal(norm.mean, before)


@pytest.mark.parametrize("decoder", ["multi-linear", "atm", "joined-class-tokens", "eomt", "pmt"])
def test_parts_of_a_batch_move_the_model_as_the_whole_does(tmp_path: Path, decoder: str) -> None:
    labels = torch.randint(0, 3, (4, 32, 32))
    batch = batch_of(torch.randint(0, 256, (4, 3, 32, 32)).float(), labels)
    loss = Loss(LossRecipe(), ignore_index=255)
    found = []
    for accumulate in (1, 2):
        torch.manual_seed(0)
        model = Segmenter(make_spec(decoder=decoder)).train()
        recipe = make_recipe(tmp_path, accumulate=accumulate, optimizer={"name": "sgd", "lr": 0.1})
        optimizer = make_optimizer(model, recipe.optimizer)
        for _ in range(3):
            train_step(DistributedModel(model), optimizer, batch, recipe, loss)
        found.append(model.state_dict())
    for name, tensor in found[0].items():
        torch.testing.assert_close(found[1][name], tensor, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("decoder", ["atm", "joined-class-tokens"])
def test_swapping_two_class_tokens_swaps_their_logits(decoder: str) -> None:
    model = model_with(decoder)
    order = torch.tensor([1, 0, 2])
    with torch.no_grad():
        before = model.patch_logits(IMAGES)
        model.decoder.class_tokens.copy_(model.decoder.class_tokens[:, order])
        torch.testing.assert_close(model.patch_logits(IMAGES), before[:, order])
    assert not torch.allclose(before, before[:, order], atol=1e-2)


def test_attention_to_mask_adds_up_what_class_tokens_attend_to() -> None:
    decoder = AttentionToMask(AttentionToMaskSpec(dim=128, blocks=2), make_spec().encoder, 3).eval()
    nn.init.normal_(decoder.class_tokens)
    tokens = torch.randn(1, 6, 128)
    _, masks = decoder.run_blocks(tokens, 2)
    logits = decoder(tokens, (2, 3))[0].flatten(1)
    difference = logits - (masks[0] + masks[1])[0]
    torch.testing.assert_close(difference, difference[:, :1].expand(3, 6))
    first = decoder.attention_weights(tokens, 0)[0, :, 6:, :6]
    assert first.shape == (2, 3, 6)
    torch.testing.assert_close(first.sum(dim=-1), torch.ones(2, 3))
    one_head = torch.nn.functional.softmax(
        decoder.blocks[0].scores(decoder.class_tokens, tokens.chunk(2, dim=-1)[1]), dim=-1
    )
    torch.testing.assert_close(first, one_head[0])


@pytest.mark.parametrize("position", ["table", "rotary"])
def test_class_tokens_change_the_patches_only_in_the_blocks_they_join(position: str) -> None:
    grid = {"table_grid": None, "prefix_positions": False} if position == "rotary" else {}
    model = model_with("joined-class-tokens", depth=3, position=position, **grid)
    for index in range(4):
        one, _, _ = model.decoder.tokens_before(model.encoder, IMAGES, index)
        other, _, _ = Decoder.tokens_before(model.decoder, model.encoder, IMAGES, index)
        assert one.shape[1] == other.shape[1] + (3 if index >= 2 else 0)
        assert torch.equal(one[:, : other.shape[1]], other) == (index < 3)


def test_a_fully_masked_class_token_sees_only_the_patches_of_its_class() -> None:
    model = model_with("joined-class-tokens")
    decoder = model.decoder
    decoder.masking = torch.ones(1)
    with torch.no_grad():
        decoder.embed[-1].weight.mul_(3000)  # sure of its patches
        tokens, grid, rotation = decoder.tokens_before(model.encoder, IMAGES, 1)
        bias = decoder.attention_mask(model.encoder.features(tokens), grid, torch.tensor(1.0))
        assert bias.shape == (2, 3, 15)
        assert (bias <= 0).all()
        assert (bias == 0).any(dim=1).all(), "every patch is of some class"
        is_seen = bias > -8
        assert not is_seen.all()
        whole = nn.functional.pad(bias, (1, 3, 16, 0))[:, None]
        block = model.encoder.blocks[1]
        queries, keys, _ = block.attention._heads(block.norm1(tokens), rotation)
        weights = (queries @ keys.transpose(-2, -1) / 8 + whole).softmax(dim=-1)
    assert float(weights[:, 0, 16:, 1:16][~is_seen].max()) < 1e-2
    torch.testing.assert_close(weights[:, :, :16], attention_maps(model, IMAGES).weights[:, :, :16])


def test_masks_are_annealed_block_by_block_from_all_to_nothing() -> None:
    assert mask_shares(0.0, 3).tolist() == [1, 1, 1]
    assert mask_shares(0.2, 3).tolist() == [1, 1, 1]
    middle = mask_shares(0.5, 3)
    assert middle[0] == 0
    assert 0 < float(middle[1]) < 1
    assert middle[2] == 1
    assert mask_shares(0.8, 3) is None
    assert mask_shares(1.0, 3) is None
    rows = [mask_shares(step / 99, 4) for step in range(80)]
    assert all((after <= before).all() for before, after in itertools.pairwise(rows))


def test_no_masking_and_a_masking_of_zero_are_the_same() -> None:
    model = model_with("joined-class-tokens")
    with torch.no_grad():
        model.decoder.embed[-1].weight.mul_(3000)  # sure of its patches
        plain = model.patch_logits(IMAGES)
        model.decoder.masking = torch.zeros(1)
        torch.testing.assert_close(model.patch_logits(IMAGES), plain, atol=1e-5, rtol=1e-5)
        model.decoder.masking = torch.ones(1)
        assert not torch.allclose(model.patch_logits(IMAGES), plain, atol=1e-3)


@pytest.mark.parametrize("decoder", DECODERS)
def test_a_spec_goes_through_json_and_says_where_cells_lie(decoder: str) -> None:
    spec = make_spec(decoder=decoder, patch_size=14)
    assert ModelSpec.model_validate_json(spec.model_dump_json()) == spec
    model = Segmenter(spec).eval()
    logits = model.patch_logits(torch.randn(1, 3, 28, 42))
    cells = spec.decoder.logits_per_patch_side
    assert logits.shape[2:] == (2 * cells, 3 * cells)
    assert spec.upsampled_length(logits.shape[3], 40) == 42
    assert model.decoder.class_embeddings.shape[0] == 3


@pytest.mark.parametrize("decoder", DECODERS)
def test_every_decoder_goes_with_heads_of_128_channels(decoder: str) -> None:
    rotary = {"position": "rotary", "table_grid": None, "prefix_positions": False}
    spec = make_spec(decoder=decoder, embed_dim=128, head_dim=128, **rotary)
    assert Segmenter(spec).eval()(torch.randn(1, 3, 32, 48)).shape == (1, 3, 32, 48)
    with pytest.raises(ValueError, match="192 is not a multiple of head_dim 128"):
        make_spec(decoder=decoder, embed_dim=192, head_dim=128, **rotary)


def test_more_blocks_than_the_encoder_has_are_refused() -> None:
    spec = make_spec()
    with pytest.raises(ValueError, match="asks for 3 blocks of the encoder, but it has 2"):
        ModelSpec.model_validate(
            spec.model_dump() | {"decoder": MultiBlockLinearSpec(blocks=3).model_dump()}
        )
