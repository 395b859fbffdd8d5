"""A recipe becomes the model it describes."""

from pathlib import Path

import pytest
import timm
import torch
from safetensors.torch import save_file

from segmenter import UserError
from segmenter.build import build_model
from segmenter.build_spec import build_spec
from segmenter.checkpoints import save
from segmenter.model import Segmenter
from segmenter.model.architectures import HALF, IMAGENET
from segmenter.recipe import Recipe
from tests.conftest import make_classes, make_recipe, make_spec

DEEP = {"encoder_depth": None, "weights": "timm:vit_tiny_patch16_224"}


def of_tiny(root: Path, model: dict[str, object], **changes: object) -> Recipe:
    encoder = {"encoder": "vit_tiny_patch16_224", "encoder_depth": 4, "weights": None}
    return make_recipe(root, model=encoder | model, **changes)


def test_each_decoder_is_built_with_what_is_asked_and_else_its_own_defaults(tmp_path: Path) -> None:
    found = {
        name: build_spec(of_tiny(tmp_path, {"decoder": name, **given}), make_classes(3)).decoder
        for name, given in {
            "linear": {},
            "multi-linear": {"decoder_cells": 2},
            "atm": {"decoder_blocks": 2, "decoder_dim": 64},
            "eomt": {},
        }.items()
    }
    assert all(decoder.kind == name for name, decoder in found.items())
    assert (found["multi-linear"].blocks, found["multi-linear"].cells) == (4, 2)
    assert (found["atm"].blocks, found["atm"].dim) == (2, 64)
    assert (found["eomt"].blocks, found["eomt"].cells) == (4, 4)


@pytest.mark.parametrize(
    ("model", "optimizer", "problem"),
    [
        ({"decoder": "linear", "decoder_cells": 2}, {}, "decoder_cells is for multi-linear and"),
        ({"decoder": "mask", "decoder_blocks": 2}, {}, "not for mask"),
        ({"decoder": "atm", "decoder_blocks": 5}, {}, "asks for 5 blocks .*but it has 4"),
        (
            {"decoder": "eomt", "encoder_depth": 2},
            {},
            "eomt.* 4 blocks.*has 2; set model.decoder_blocks",
        ),
        ({}, {"frozen_blocks": 5}, "frozen_blocks is 5.*only 4 blocks; `all`"),
        ({"encoder_blocks": [0, 1]}, {}, "weights gives no blocks to keep"),
        ({"encoder_blocks": [0, 12], **DEEP}, {}, "names block 12, but .* has blocks 0 to 11"),
        ({"encoder_blocks": [3, 1], **DEEP}, {}, "rising order, each once"),
        ({"encoder_blocks": [1, 1], **DEEP}, {}, "rising order, each once"),
        ({"encoder_blocks": [], **DEEP}, {}, "at least 1 item"),
        ({"encoder_blocks": [0], **DEEP, "encoder_depth": 1}, {}, "leave encoder_depth out"),
    ],
)
def test_what_cannot_be_built_is_refused(
    tmp_path: Path, model: dict[str, object], optimizer: dict[str, object], problem: str
) -> None:
    with pytest.raises((UserError, ValueError), match=problem):
        build_spec(of_tiny(tmp_path, model, optimizer=optimizer), make_classes(3))


def test_normalisation_follows_the_tag_of_the_weights(tmp_path: Path) -> None:
    def found(**model: object) -> object:
        return build_spec(make_recipe(tmp_path, model=model), make_classes(3)).normalization

    name = "vit_base_patch16_224"
    assert found(encoder=name, weights=None) == HALF
    assert found(encoder=f"{name}.mae", weights=None) == IMAGENET
    assert found(encoder=None, weights=f"timm:{name}.dino") == IMAGENET
    assert found(encoder=name, weights=f"timm:{name}.mae") == IMAGENET


@pytest.mark.parametrize("is_whole", [True, False], ids=["a model", "an encoder's file"])
def test_chosen_blocks_of_the_weights_become_the_encoder(tmp_path: Path, is_whole: bool) -> None:
    start = Segmenter(make_spec(depth=5))
    file, given = tmp_path / "start.safetensors", {}
    if is_whole:
        save(start, file)
    else:
        given = {"encoder": "vit_tiny_patch16_224", "encoder_depth": None}
        encoder = timm.create_model("vit_tiny_patch16_224")
        save_file({n: t.contiguous() for n, t in encoder.state_dict().items()}, file)
    model = {"weights": str(file), "encoder_blocks": [0, 2, 4], "drop_path": 0, **given}
    said: list[str] = []
    built = build_model(make_recipe(tmp_path, model=model), make_classes(3), said.append)
    assert "kept of its blocks: 0, 2, 4" in said[0]
    assert "start fresh" not in said[0] if is_whole else "unused: head" in said[0]
    wanted = start.encoder.blocks if is_whole else encoder.blocks
    name = "mlp.reduce.weight" if is_whole else "mlp.fc2.weight"
    assert len(built.encoder.blocks) == 3
    for block, number in zip(built.encoder.blocks, (0, 2, 4), strict=True):
        assert torch.equal(block.mlp.reduce.weight, wanted[number].get_parameter(name))


def test_a_model_grows_from_another_with_another_patch_size(tmp_path: Path) -> None:
    said: list[str] = []
    recipe = make_recipe(tmp_path, model={"patch_size": 16})  # start.safetensors has patches of 8
    model = build_model(recipe, make_classes(3), said.append)
    assert model.encoder.patch_embed.kernel_size == (16, 16)
    assert "its patches of 8 pixels are resized to 16" in said[0]
