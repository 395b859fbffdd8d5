"""The encoder hands on exactly rows x columns patch tokens, and computes what timm computes."""

import re

import pytest
import timm
import torch

from segmenter.checkpoints.encoders.read_encoder import rename_timm_tensors
from segmenter.model.architectures import ARCHITECTURES, find_architecture
from segmenter.model.encoder import Encoder
from tests.helpers.models import make_spec
from tests.helpers.paths import REPOSITORY

NAMED = [
    "vit_tiny_patch16_384",
    "vit_small_patch16_384",
    "vit_base_patch16_384",
    "vit_base_patch8_224",
    "vit_small_patch32_384",
    "deit_base_distilled_patch16_384",
    "vit_small_patch14_dinov2",
    "vit_small_patch14_reg4_dinov2",
    "vit_small_patch16_dinov3",
    "vit_small_plus_patch16_dinov3",
    "deit3_small_patch16_224",
    "vit_base_patch16_siglip_256",
    "eva02_small_patch14_224",
    "eva02_base_patch14_448",
    "vit_giant_patch14_reg4_dinov2",
    "vit_tiny_patch16_dinov3_qkvb",
    "vit_7b_patch16_dinov3",
    "vit_small_patch16_lingbot",
    "vit_giant_patch16_lingbot",
    "vit_base_patch14_reg1_tipsv2",
    "vit_so400m_patch14_reg1_tipsv2",
    "vit_giant_patch14_reg1_tipsv2",
]


def is_large(name: str) -> bool:
    return any(size in name for size in ("large", "so400m", "huge", "giant", "7b"))


def small(name: str) -> Encoder:
    spec, _ = find_architecture(name)
    return Encoder(spec.model_copy(update={"embed_dim": spec.head_dim, "depth": 2})).eval()


@pytest.mark.parametrize("name", NAMED)
@pytest.mark.parametrize("grid", [(3, 3), (2, 5)])
def test_encoder_gives_one_token_per_patch(name: str, grid: tuple[int, int]) -> None:
    encoder = small(name)
    patch = encoder.spec.patch_size
    tokens, found = encoder(torch.randn(2, 3, grid[0] * patch, grid[1] * patch))
    assert found == grid
    assert tokens.shape == (2, grid[0] * grid[1], encoder.spec.embed_dim)


@pytest.mark.parametrize("name", NAMED)
def test_encoder_equals_timm_at_its_native_size(name: str) -> None:
    spec, _ = find_architecture(name)
    side = spec.table_grid[0] * spec.patch_size if spec.table_grid else 64
    sizes = {"embed_dim": 3 * spec.head_dim, "depth": 2}
    reference = timm.create_model(name, num_classes=0, num_heads=3, **sizes).eval()
    with torch.no_grad():
        for parameter in reference.parameters():
            parameter.normal_(std=0.1)
    encoder = Encoder(spec.model_copy(update=sizes)).eval()
    encoder.load_state_dict(rename_timm_tensors(reference.state_dict(), encoder, name))
    images = torch.randn(1, 3, side, side)
    with torch.inference_mode():
        ours, _ = encoder(images)
        theirs = reference.fc_norm(reference.forward_features(images))[:, spec.num_prefix_tokens :]
    torch.testing.assert_close(ours, theirs, atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize("name", sorted(ARCHITECTURES))
def test_every_architecture_is_trained_a_step_at_two_sizes(name: str) -> None:
    encoder = small(name).train()
    optimizer = torch.optim.AdamW(encoder.parameters(), lr=0.01, weight_decay=0)
    before = [parameter.clone() for parameter in encoder.parameters()]
    patch = encoder.spec.patch_size
    for rows, columns in ((2, 2), (1, 3)):
        tokens, _ = encoder(torch.randn(2, 3, rows * patch, columns * patch))
        assert tokens.shape == (2, rows * columns, encoder.spec.embed_dim)
        (tokens * torch.randn(encoder.spec.embed_dim)).mean().backward()
    optimizer.step()
    for (label, now), old in zip(encoder.named_parameters(), before, strict=True):
        assert not now.numel() or not torch.equal(now, old), label


@pytest.mark.parametrize("name", sorted(ARCHITECTURES))
def test_every_weights_of_timm_come_with_the_mean_and_std_they_were_trained_with(name: str) -> None:
    for tagged in timm.list_pretrained(f"{name}.*"):
        published = timm.models.get_pretrained_cfg(tagged)
        _, found = find_architecture(tagged)
        assert found.mean == pytest.approx([255 * each for each in published.mean]), tagged
        assert found.std == pytest.approx([255 * each for each in published.std]), tagged


def test_every_encoder_that_the_page_lists_is_built_and_none_is_left_out() -> None:
    page = (REPOSITORY / "docs/reference/encoders.md").read_text()
    listed = set(re.findall(r"^\| `(\w+)` \|", page, flags=re.MULTILINE))
    with_biases = {
        f"{name}_qkvb" for name in listed if name.endswith("_dinov3") and "7b" not in name
    }
    assert listed | with_biases == set(ARCHITECTURES)


@pytest.mark.parametrize(
    "name",
    [
        pytest.param(name, marks=[pytest.mark.slow] if is_large(name) else [])
        for name in sorted(ARCHITECTURES)
        if "large_plus" not in name  # Meta's alone
    ],
)
def test_every_architecture_of_timm_has_its_shapes(name: str) -> None:
    with torch.device("meta"):
        theirs = timm.create_model(name, num_classes=0)
        ours = Encoder(find_architecture(name)[0])
    renamed = rename_timm_tensors(theirs.state_dict(), ours, name)
    assert {n: t.shape for n, t in renamed.items()} == {
        n: t.shape for n, t in ours.state_dict().items()
    }


def test_rotary_positions_tell_patches_apart() -> None:
    encoder = Encoder(
        make_spec(position="rotary", table_grid=None, prefix_positions=False).encoder
    ).eval()
    with torch.no_grad():
        encoder.blocks[0].attention.qkv.weight.mul_(20)
    images = torch.randn(1, 3, 32, 32)
    swapped = images.flip(3)
    tokens, grid = encoder(images)
    tokens_swapped, _ = encoder(swapped)
    unswapped = tokens_swapped.unflatten(1, grid).flip(2).flatten(1, 2)
    assert not torch.allclose(tokens, unswapped, atol=1e-4)


def test_position_table_is_used_as_it_is_on_its_own_grid_and_resized_on_others() -> None:
    encoder = Encoder(make_spec(depth=1).encoder).eval()
    on_own, _ = encoder(torch.zeros(1, 3, 64, 64))
    on_wide, _ = encoder(torch.zeros(1, 3, 64, 128))
    assert on_own.shape[1] == 16
    assert on_wide.shape[1] == 32
    assert on_own[0].std(dim=0).max() > 0, "positions must tell equal patches apart"
