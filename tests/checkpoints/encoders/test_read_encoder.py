"""Encoder weights made elsewhere start a run, and others are refused with what does not fit."""

from pathlib import Path

import numpy as np
import pytest
import timm
import torch
from safetensors.torch import save_file
from torch.nn import functional as F

from segmenter import UserError
from segmenter.checkpoints.encoders.patch_embedding import (
    inflate_patch_embedding,
    resize_patch_embedding,
)
from segmenter.checkpoints.encoders.read_encoder import load_encoder_weights
from segmenter.model.architectures import find_architecture
from segmenter.model.encoder import Encoder
from tests.checkpoints.writers import augreg_arrays
from tests.helpers.paths import SHARED
from tests.helpers.skips import NOT_HERE


def write_timm_file(path: Path, **changes: int) -> None:
    fields = {"embed_dim": 64, "depth": 3} | changes
    heads = fields["embed_dim"] // 64
    model = timm.create_model("vit_tiny_patch16_224", num_heads=heads, **fields)
    save_file(model.state_dict(), path)


def encoder(**changes: object) -> Encoder:
    spec, _ = find_architecture("vit_tiny_patch16_224")
    return Encoder(spec.model_copy(update={"embed_dim": 64, "depth": 3} | changes))


def test_more_blocks_than_wanted_are_left_out(tmp_path: Path) -> None:
    write_timm_file(tmp_path / "weights.safetensors")
    said = load_encoder_weights(encoder(depth=2), str(tmp_path / "weights.safetensors"))
    assert "fresh" not in said
    assert "14 of " in said
    assert said.endswith(" are left unused: blocks.2.*, head.*")


def test_another_grid_resizes_the_position_table(tmp_path: Path) -> None:
    write_timm_file(tmp_path / "weights.safetensors")
    resized = encoder(table_grid=(7, 7))
    load_encoder_weights(resized, str(tmp_path / "weights.safetensors"))
    assert resized.position_table.shape == (1, 64, 7, 7)


def test_what_does_not_fit_is_listed(tmp_path: Path) -> None:
    write_timm_file(tmp_path / "weights.safetensors", embed_dim=128)
    with pytest.raises(UserError, match=r"blocks\.0\.norm1\.weight is \(128,\).*`--partial`"):
        load_encoder_weights(encoder(), str(tmp_path / "weights.safetensors"))
    with pytest.raises(UserError, match=r"nothing in .* fits"):
        load_encoder_weights(encoder(), str(tmp_path / "weights.safetensors"), partial=True)


def test_partial_takes_what_fits_and_names_every_other_part(tmp_path: Path) -> None:
    path = str(tmp_path / "weights.safetensors")
    save_file(tiny_timm(depth=1).state_dict(), path)
    model = encoder(depth=2, num_prefix_tokens=2)
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    said = load_encoder_weights(model, path, partial=True)
    block = [name for name in before if name.startswith("blocks.1.")]
    fresh = ["prefix_tokens", "prefix_positions", "position_table", *block]
    assert said == (
        f"starting from {path}: {len(before) - len(fresh)} tensors kept; {len(fresh)} start fresh: "
        f"prefix_tokens, prefix_positions, position_table, blocks.1.*; 4 of {path} are left "
        "unused: prefix_tokens, pos_embed, head.*"
    )
    for name, tensor in model.state_dict().items():
        assert torch.equal(tensor, before[name]) == (name in fresh), name


@pytest.mark.parametrize(
    ("name", "shape"),
    [
        ("cls_token", (64,)),
        ("cls_token", (2, 1, 64)),
        ("pos_embed", (197,)),
        ("pos_embed", (1, 197, 0)),
        ("pos_embed", (0, 197, 64)),
        ("patch_embed.proj.weight", (64,)),
        ("patch_embed.proj.weight", (64, 0, 16, 16)),
        ("blocks.0.norm1.weight", ()),
    ],
)
@pytest.mark.parametrize("partial", [False, True])
def test_tensors_of_impossible_shapes_are_refused_or_left(
    tmp_path: Path, name: str, shape: tuple[int, ...], partial: bool
) -> None:
    path = tmp_path / "weights.safetensors"
    save_file(tiny_timm().state_dict() | {name: torch.zeros(shape)}, path)
    model = encoder(in_channels=4)
    if not partial or name == "cls_token":
        with pytest.raises(UserError, match=r"weights\.safetensors"):
            load_encoder_weights(model, str(path), partial=partial)
    else:
        assert "left unused" in load_encoder_weights(model, str(path), partial=True)


@pytest.mark.parametrize("name", ["a.safetensors", "a.pth"])
def test_broken_and_missing_files_are_named(tmp_path: Path, name: str) -> None:
    path = tmp_path / name
    with pytest.raises(UserError, match=name):
        load_encoder_weights(encoder(), str(path))
    path.write_bytes(b"not weights")
    with pytest.raises(UserError, match=name):
        load_encoder_weights(encoder(), str(path))


def test_inflated_channels_keep_the_response_to_grey() -> None:
    weight = torch.randn(8, 3, 4, 4)
    for channels in (1, 6, 9):
        inflated = inflate_patch_embedding(weight, channels)
        assert inflated.shape[1] == channels
        if channels % 3 == 0:
            torch.testing.assert_close(inflated.sum(dim=1), weight.sum(dim=1))


def embed(weight: torch.Tensor, patches: torch.Tensor) -> torch.Tensor:
    return torch.einsum("dchw,pchw->pd", weight, patches)


@pytest.mark.parametrize("old", [8, 14, 16, 32])
@pytest.mark.parametrize("new", [8, 14, 16, 32])
def test_a_resized_patch_embedding_answers_resized_patches_alike(old: int, new: int) -> None:
    weight = torch.randn(5, 3, old, old)
    coarse = torch.randn(50, 3, 4, 4)  # as images are: neighbouring pixels are alike
    patches = F.interpolate(coarse, (old, old), mode="bicubic", align_corners=False)
    resized = F.interpolate(
        patches, (new, new), mode="bicubic", antialias=True, align_corners=False
    )
    before, after = embed(weight, patches), embed(resize_patch_embedding(weight, new), resized)
    if new >= old:
        torch.testing.assert_close(after, before, atol=1e-3, rtol=1e-3)
    else:
        assert (after - before).square().mean() < 0.1 * before.square().mean()
        untouched = embed(F.interpolate(weight, (new, new), mode="area"), resized)
        assert (after - before).square().mean() < 0.2 * (untouched - before).square().mean()


def test_another_patch_size_resizes_the_patch_embedding_and_nothing_else(tmp_path: Path) -> None:
    write_timm_file(tmp_path / "weights.safetensors")
    same, half = encoder(), encoder(patch_size=8)
    for each in (same, half):
        load_encoder_weights(each, str(tmp_path / "weights.safetensors"))
    for name, tensor in half.state_dict().items():
        assert torch.equal(tensor, same.state_dict()[name]) == (name != "patch_embed.weight"), name
    assert half(torch.randn(1, 3, 24, 40))[1] == (3, 5)


def test_the_shared_dinov2_loads_and_its_features_depend_on_the_image() -> None:
    path = SHARED / "weights" / "vit_small_patch14_dinov2.safetensors"
    if not path.is_file():
        pytest.skip(f"{NOT_HERE}: the pretrained encoder {path}")
    spec, normalization = find_architecture("vit_small_patch14_dinov2")
    model = Encoder(spec).eval()
    load_encoder_weights(model, str(path))
    with torch.inference_mode():
        first, second = (model(torch.randn(1, 3, 56, 56))[0] for _ in range(2))
    assert first.isfinite().all()
    assert not torch.allclose(first, second, atol=0.1)
    assert normalization.mean[0] == pytest.approx(123.675)


def tiny_timm(depth: int = 3) -> torch.nn.Module:
    model = timm.create_model("vit_tiny_patch16_224", num_heads=1, embed_dim=64, depth=depth)
    for parameter in model.parameters():
        torch.nn.init.normal_(parameter, std=0.05)
    return model.eval()


def test_deits_own_files_are_read(tmp_path: Path) -> None:
    model = tiny_timm()
    torch.save({"model": model.state_dict()}, tmp_path / "deit.pth")
    loaded = encoder(prefix_positions=True)
    load_encoder_weights(loaded, str(tmp_path / "deit.pth"))
    assert torch.equal(loaded.blocks[2].mlp.reduce.weight, model.blocks[2].mlp.fc2.weight)


def test_googles_npz_gives_the_features_that_timm_gives(tmp_path: Path) -> None:
    path = tmp_path / "augreg.npz"
    np.savez(path, **augreg_arrays())
    model = timm.create_model("vit_tiny_patch16_224", num_heads=1, embed_dim=64, depth=3)
    model.load_pretrained(str(path))
    ours = encoder(layer_norm_eps=1e-6).eval()
    load_encoder_weights(ours, str(path))
    images = torch.randn(1, 3, 224, 224)
    with torch.inference_mode():
        expected = model.eval().forward_features(images)[:, 1:]
        torch.testing.assert_close(ours(images)[0], expected, rtol=1e-4, atol=1e-4)
