"""Merged tokens go on as one, and each patch gets back the one that it is in."""

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from segmenter.model import Segmenter
from segmenter.model.decoders import JoinedClassTokensSpec
from segmenter.model.encoder import intermediate_features
from segmenter.model.token_merging import (
    Merging,
    MergingEncoder,
    join_most_alike,
    join_windows,
    merged_patch_logits,
)
from tests.helpers.models import DECODERS, ROTARY, make_spec

GRIDS = [(4, 4), (3, 5), (6, 2), (1, 4), (5, 1), (1, 1)]
ENCODERS = {
    "table": {},
    "registers": {"num_prefix_tokens": 5, "prefix_positions": False},
    "no prefix": {"num_prefix_tokens": 0},
    "rotary": ROTARY | {"layer_scale": True},
    "both": {"position": "both", "rotary_grid": (4, 4)},
}


def spotted(grid: tuple[int, int], dim: int = 8) -> Tensor:
    """Patch tokens of three kinds, with some noise, so that some are alike and some are not."""
    kinds = torch.randint(0, 3, (grid[0] * grid[1],))
    return torch.randn(3, dim)[kinds] + 0.3 * torch.randn(len(kinds), dim)


def cosine(one: Tensor, other: Tensor) -> float:
    return float(F.cosine_similarity(one, other, dim=0))


def naive_windows(tokens: Tensor, grid: tuple[int, int], threshold: float) -> list[int]:
    joined = list(range(len(tokens)))
    for top in range(0, grid[0] - 1, 2):
        for left in range(0, grid[1] - 1, 2):
            first = top * grid[1] + left
            window = [first, first + 1, first + grid[1], first + grid[1] + 1]
            pairs = [(a, b) for a in window for b in window if a < b]
            mean = sum(cosine(tokens[a], tokens[b]) for a, b in pairs) / len(pairs)
            for patch in window:
                if mean > threshold:
                    joined[patch] = first
    return joined


def naive_most_alike(tokens: Tensor, threshold: float) -> list[int]:
    joined = list(range(len(tokens)))
    for token in range(0, len(tokens), 2):
        others = range(1, len(tokens), 2)
        best = max(others, key=lambda other: cosine(tokens[token], tokens[other]), default=token)
        if best != token and cosine(tokens[token], tokens[best]) > threshold:
            joined[token] = best
    return joined


def naive_merge(tokens: Tensor, patches: list[list[int]], joined: list[int]):
    """The tokens that are left, each the mean of its patches, and which patches are in each."""
    left = [token for token in range(len(tokens)) if joined[token] == token]
    groups = [[token for token in range(len(tokens)) if joined[token] == kept] for kept in left]
    means = [
        sum(tokens[token] * len(patches[token]) for token in group)
        / sum(len(patches[token]) for token in group)
        for group in groups
    ]
    return torch.stack(means), [[p for token in group for p in patches[token]] for group in groups]


@pytest.mark.parametrize("grid", GRIDS)
@pytest.mark.parametrize("threshold", [0.3, 0.7])
def test_windows_and_pairs_are_those_of_a_naive_reference(
    grid: tuple[int, int], threshold: float
) -> None:
    for _ in range(5):
        tokens = spotted(grid)
        assert join_windows(tokens, grid, threshold).tolist() == naive_windows(
            tokens, grid, threshold
        )
        assert join_most_alike(tokens, threshold).tolist() == naive_most_alike(tokens, threshold)


@pytest.mark.parametrize("grid", GRIDS)
@pytest.mark.parametrize("num_prefix", [0, 1, 5])
def test_each_patch_gets_back_the_mean_of_those_it_was_merged_with(
    grid: tuple[int, int], num_prefix: int
) -> None:
    spec = make_spec(depth=12, num_prefix_tokens=num_prefix).encoder
    patches = spotted(grid)
    prefix = patches[:1].expand(num_prefix, -1)  # alike, and yet not to be merged
    merging = Merging(0.5, grid, spec, patches.device)
    tokens, expected = torch.cat([prefix, patches])[None], patches
    members = [[patch] for patch in range(len(patches))]
    for block in range(12):
        tokens = merging.before_block(block, tokens)
        if block == 2:
            expected, members = naive_merge(expected, members, naive_windows(patches, grid, 0.5))
        if block == 6:
            joined = naive_most_alike(expected, 0.5)
            expected, members = naive_merge(expected, members, joined)
        torch.testing.assert_close(tokens[0], torch.cat([prefix, expected]))
    of_patch = torch.empty_like(patches)
    for token, group in zip(expected, members, strict=True):
        of_patch[group] = token
    torch.testing.assert_close(merging.unmerge(tokens)[0], torch.cat([prefix, of_patch]))
    if min(grid) > 1:
        assert len(expected) < len(patches)


def test_a_merged_token_has_the_rotary_position_of_the_one_that_was_joined() -> None:
    spec = make_spec(depth=12, num_prefix_tokens=2, **ROTARY).encoder
    merging = Merging(0.9, (2, 4), spec, torch.device("cpu"))
    tokens = torch.eye(8)[None, [6, 7, 0, 0, 1, 2, 0, 0, 3, 4]]  # one window of 2 x 2 is alike
    rotation = (torch.arange(10)[:, None].float(), -torch.arange(10)[:, None].float())
    assert merging.before_block(2, tokens).shape == (1, 7, 8)
    rotation = merging.rotation_left(rotation)
    assert rotation[0].flatten().tolist() == [0, 1, 2, 4, 5, 8, 9]
    torch.testing.assert_close(rotation[1], -rotation[0])


def test_no_cosine_is_above_1_by_rounding() -> None:
    tokens = torch.randn(64, 384).repeat_interleave(4, dim=0)
    in_windows = tokens.unflatten(0, (64, 2, 2)).transpose(0, 1).flatten(0, 2)
    itself = list(range(256))
    assert join_windows(in_windows, (2, 128), 1.0).tolist() == itself
    assert join_most_alike(tokens, 1.0).tolist() == itself
    assert len(join_windows(in_windows, (2, 128), 0.999).unique()) == 64
    assert len(join_most_alike(tokens, 0.999).unique()) == 128


@pytest.mark.parametrize("encoder", ENCODERS)
@pytest.mark.parametrize("decoder", DECODERS)
def test_at_1_nothing_is_merged_not_even_equal_patches(decoder: str, encoder: str) -> None:
    model = Segmenter(make_spec(decoder=decoder, depth=6, **ENCODERS[encoder])).eval()
    images = torch.randn(1, 3, 48, 80)
    images[:, :, :, :40] = 0.5
    with torch.inference_mode():
        torch.testing.assert_close(
            merged_patch_logits(model, images, 1.0),
            model.patch_logits(images),
            rtol=0,
            atol=0,
        )


def merged_tokens(model: Segmenter, images: Tensor, threshold: float) -> tuple[Tensor, int]:
    """Patch logits, and how many tokens came into the last block."""
    lengths: list[int] = []
    hook = model.encoder.blocks[-1].register_forward_pre_hook(
        lambda _, given: lengths.append(given[0].shape[1])
    )
    with torch.inference_mode():
        logits = merged_patch_logits(model, images, threshold)
    hook.remove()
    return logits, lengths[0]


@pytest.mark.parametrize("encoder", ENCODERS)
@pytest.mark.parametrize("decoder", DECODERS)
@pytest.mark.parametrize("size", [(64, 64), (48, 80), (16, 16), (16, 100), (5, 3)])
def test_an_image_of_one_color_is_merged_and_keeps_its_labels(
    decoder: str, encoder: str, size: tuple[int, int]
) -> None:
    model = Segmenter(make_spec(decoder=decoder, depth=6, **ENCODERS[encoder])).eval()
    images = torch.full((1, 3, *size), 0.5)
    if model.encoder.position_table is not None:
        torch.nn.init.zeros_(model.encoder.position_table)  # else patches differ by their places
    if model.spec.decoder.gives_scores:
        classify = getattr(model.decoder, "head", model.decoder).classify
        torch.nn.init.normal_(classify.bias, std=5)  # else random queries nearly tie
    with torch.inference_mode():
        expected = model.patch_logits(images)
    logits, num_tokens = merged_tokens(model, images, 0.8)
    rows, columns = expected.shape[2:]
    cells = model.spec.decoder.logits_per_patch_side
    num_patches = rows * columns // cells**2
    if num_patches > 1:
        others = model.spec.encoder.num_prefix_tokens + {"joined-class-tokens": 3, "eomt": 5}.get(
            decoder, 0
        )
        assert num_tokens - others <= num_patches // 2 + 1
    assert logits.shape == expected.shape
    torch.testing.assert_close(logits.argmax(dim=1), expected.argmax(dim=1))


@pytest.mark.parametrize("first_query_block", [0, 2, 3, 6])
@pytest.mark.parametrize("encoder", ["table", "rotary"])
def test_class_tokens_that_join_the_patches_are_never_merged(
    encoder: str, first_query_block: int
) -> None:
    spec = make_spec(decoder="joined-class-tokens", depth=6, **ENCODERS[encoder])
    decoder = JoinedClassTokensSpec(blocks=6 - first_query_block or 1, cells=2)
    model = Segmenter(spec.model_copy(update={"decoder": decoder})).eval()
    tokens = model.decoder.class_tokens
    torch.nn.init.zeros_(tokens)  # alike, and yet not to be merged
    images = torch.full((1, 3, 64, 64), 0.5)
    with torch.inference_mode():
        plain, grid = model.decoder.encode(model.encoder, images)
        merged, _ = model.decoder.encode(MergingEncoder(model.encoder, 0.01), images)
    assert merged.shape == plain.shape
    patches = merged[0, :-3].unflatten(0, grid)
    assert torch.equal(patches[0, 0], patches[1, 1])
    assert merged[0, -3:].isfinite().all()
    _, num_tokens = merged_tokens(model, images, 0.01)
    assert num_tokens == spec.encoder.num_prefix_tokens + 3 + 2


def test_tokens_are_read_one_a_patch_and_before_a_block_merges_them() -> None:
    encoder = Segmenter(make_spec(depth=6)).eval().encoder
    images = torch.full((1, 3, 64, 64), 0.5)
    with torch.inference_mode():
        plain, grid = intermediate_features(encoder, images, (0, 1, 2, 5))
        read, _ = intermediate_features(MergingEncoder(encoder, 0.01), images, (0, 1, 2, 5))
    assert read.shape == plain.shape
    read, plain = read.chunk(4, dim=-1), plain.chunk(4, dim=-1)
    assert torch.equal(read[0], plain[0])  # block 1 of 6 is the first that merges
    patches = read[1][0].unflatten(0, grid)
    assert torch.equal(patches[0, 0], patches[1, 1])
    assert not torch.equal(read[2], plain[2])


@pytest.mark.parametrize(
    ("depth", "blocks"), [(12, [2, 6]), (24, [4, 12]), (5, [0, 2]), (2, [0, 1]), (1, [0])]
)
def test_where_tokens_are_merged_goes_by_the_depth(depth: int, blocks: list[int]) -> None:
    merging = Merging(0.1, (8, 8), make_spec(depth=depth).encoder, torch.device("cpu"))
    tokens, lengths = torch.ones(1, 65, 4), [65]
    for block in range(depth):
        tokens = merging.before_block(block, tokens)
        lengths.append(tokens.shape[1])
    assert [block for block in range(depth) if lengths[block + 1] < lengths[block]] == blocks
    assert lengths[-1] == 1 + 8  # 16 windows, of which every other one joins one of the rest


def test_many_tokens_are_compared_some_at_a_time_to_the_same_end(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    tokens = spotted((20, 20))
    whole = join_most_alike(tokens, 0.5)
    monkeypatch.setattr("segmenter.model.token_merging._TOKENS_AT_ONCE", 7)
    assert torch.equal(join_most_alike(tokens, 0.5), whole)


def test_in_bfloat16_cosines_are_still_told_apart() -> None:
    tokens = torch.tensor([[1.0, 0.0], [1.0, 0.06]])  # a cosine of 0.9982, in bfloat16 0.9961 or 1
    with torch.autocast("cpu", torch.bfloat16):
        assert join_most_alike(tokens, 0.9985).tolist() == [0, 1]
        assert join_most_alike(tokens, 0.998).tolist() == [1, 1]
