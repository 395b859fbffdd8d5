"""Attention maps are the weights that the model itself computes with."""

import inspect
from collections.abc import Iterator

import numpy as np
import pytest
import torch
from torch import Tensor, nn

import segmenter
from segmenter import UserError
from segmenter.model import Segmenter
from segmenter.model.attention_maps import attention_maps
from tests.helpers.models import make_spec
from tests.helpers.paths import GOLDEN

IMAGES = torch.linspace(-1, 1, 2 * 3 * 40 * 70).reshape(2, 3, 40, 70).sin()
SPECS = {
    "class token": make_spec(decoder="mask"),
    "distilled": make_spec(decoder="mask", num_prefix_tokens=2, size_policy="pad-squeeze"),
    "no prefix": make_spec(decoder="mask", num_prefix_tokens=0, size_policy="stretch"),
    "rotary": make_spec(
        decoder="mask",
        num_prefix_tokens=5,
        position="rotary",
        table_grid=None,
        prefix_positions=False,
        layer_scale=True,
        qkv_bias=False,
    ),
}


def lively(name: str) -> Segmenter:
    """A model whose attention is far from even."""
    model = Segmenter(SPECS[name]).eval()
    for weight in (w for n, w in model.named_parameters() if "qkv.weight" in n):
        nn.init.normal_(weight, std=0.5)
    return model


@pytest.mark.parametrize("name", ["rstrudel_linear", "rstrudel_mask", "rstrudel_mask_distilled"])
def test_attention_equals_that_of_the_papers_code(name: str) -> None:
    model = segmenter.load(GOLDEN / name / "checkpoint.pth")
    golden = np.load(GOLDEN / name / "golden.npz")
    images = torch.from_numpy(golden["input_0"])
    parts = ["encoder"] if name == "rstrudel_linear" else ["encoder", "decoder"]
    for part in parts:
        expected = torch.from_numpy(golden[f"attn_{part}_last"])
        maps = segmenter.attention_maps(model, images, part=part)
        assert maps.weights.shape == expected.shape
        assert (maps.weights - expected).abs().max() < 1e-5


def attentions(model: Segmenter) -> Iterator[tuple[str, int, nn.Module]]:
    for part in ("encoder", "decoder"):
        for layer, block in enumerate(getattr(model, part).blocks):
            yield part, layer, block.attention


@pytest.mark.parametrize("name", SPECS)
def test_the_weights_of_every_block_give_what_its_attention_gives(name: str) -> None:
    model = lively(name)
    seen: dict[nn.Module, tuple[tuple, Tensor]] = {}
    for _, _, attention in attentions(model):
        attention.register_forward_hook(lambda m, given, out: seen.update({m: (given, out)}))
    with torch.no_grad():
        model(IMAGES)
    from_the_model = dict(seen)
    for part, layer, attention in attentions(model):
        (tokens, *_), out = from_the_model[attention]
        weights = attention_maps(model, IMAGES, layer, part).weights
        assert weights.std(dim=-1).max() > 0.05, "even attention would prove nothing"
        value = attention.qkv(tokens).chunk(3, dim=-1)[2].unflatten(2, (-1, 64)).transpose(1, 2)
        expected = attention.project((weights @ value).transpose(1, 2).flatten(2))
        torch.testing.assert_close(out, expected, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("name", SPECS)
@pytest.mark.parametrize("part", ["encoder", "decoder"])
def test_every_token_has_its_place_and_takes_one_in_all(name: str, part: str) -> None:
    model = lively(name)
    maps = attention_maps(model, IMAGES, part=part)
    rows, columns = (2, 4) if model.spec.size_policy == "stretch" else (3, 5)
    assert maps.grid == (rows, columns)
    assert maps.num_prefix == (model.spec.encoder.num_prefix_tokens if part == "encoder" else 0)
    assert maps.num_classes == (0 if part == "encoder" else 3)
    num_tokens = maps.num_prefix + rows * columns + maps.num_classes
    assert maps.weights.shape == (2, 1, num_tokens, num_tokens)
    torch.testing.assert_close(maps.weights.sum(-1), torch.ones(2, 1, num_tokens))
    assert not maps.weights.requires_grad


def test_a_map_has_the_weights_of_its_token_at_the_places_of_the_patches() -> None:
    model = lively("distilled")
    encoder, decoder = (attention_maps(model, IMAGES, 0, part) for part in ("encoder", "decoder"))
    for row, column in ((0, 0), (1, 3), (2, 4)):
        for maps, token in ((encoder, 2), (decoder, 0)):
            patch = row * 5 + column
            expected = maps.weights[:, :, token + patch, token : token + 15].reshape(2, 1, 3, 5)
            assert torch.equal(maps.of_patch(row, column), expected)
        assert encoder.of_prefix(1)[1, 0, row, column] == encoder.weights[1, 0, 1, 2 + patch]
        assert decoder.of_class(2)[1, 0, row, column] == decoder.weights[1, 0, 17, patch]


def test_negative_layers_count_from_the_end() -> None:
    model = lively("class token")
    for part in ("encoder", "decoder"):
        first, last = (attention_maps(model, IMAGES, layer, part).weights for layer in (0, 1))
        assert torch.equal(attention_maps(model, IMAGES, -2, part).weights, first)
        assert torch.equal(attention_maps(model, IMAGES, part=part).weights, last)
        assert not torch.allclose(first, last)


def test_what_is_not_there_is_refused_by_name() -> None:
    model = lively("class token")
    for layer in (2, -3):
        with pytest.raises(UserError, match=rf"no layer {layer}: the decoder has 2 blocks, 0 to 1"):
            attention_maps(model, IMAGES, layer, "decoder")
    linear = Segmenter(make_spec(decoder="linear")).eval()
    with pytest.raises(UserError, match="decoder is linear"):
        attention_maps(linear, IMAGES, part="decoder")
    with pytest.raises(UserError, match="part is encoder or decoder, got 'head'"):
        inspect.unwrap(attention_maps)(model, IMAGES, part="head")  # as if types were not checked
    maps = attention_maps(model, IMAGES)
    for row, column in ((3, 0), (0, 5), (-1, 0)):
        with pytest.raises(UserError, match=rf"row {row}, column {column}: .* 3 rows and 5 col"):
            maps.of_patch(row, column)
    with pytest.raises(UserError, match="mask decoder alone"):
        maps.of_class(0)
    with pytest.raises(UserError, match="no prefix token 1: there are 1"):
        maps.of_prefix(1)


def test_queries_are_not_taken_for_class_tokens() -> None:
    maps = attention_maps(Segmenter(make_spec(decoder="eomt")), torch.zeros(1, 3, 32, 32))
    assert maps.num_classes == 0
    with pytest.raises(UserError, match="no class token 0"):
        maps.of_class(0)
