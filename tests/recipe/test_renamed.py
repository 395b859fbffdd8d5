"""Recipes of 0.1.0 load as what they were; old names of fields are answered with the new ones."""

import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from segmenter import UserError
from segmenter.model.decoders import (
    AttentionToMaskSpec,
    DecoderSpec,
    EoMTSpec,
    JoinedClassTokensSpec,
    LinearDecoderSpec,
    MaskTransformerSpec,
    MultiBlockLinearSpec,
)
from segmenter.recipe import read_recipe
from segmenter.training.checkpoint import read_newest, write_checkpoint
from tests.helpers.runs import make_recipe, run_training

FLAT = {
    "decoder_blocks": None,
    "decoder_cells": None,
    "decoder_masking": None,
    "decoder_dim": None,
    "decoder_depth": 2,
    "decoder_qkv_bias": True,
    "decoder_drop_path": 0.0,
    "decoder_dropout": 0.0,
    "decoder_class_norm": None,
    "projection_init": "truncated-normal",
}
"""What 0.1.0 wrote into each recipe beside `decoder`, where nothing else was asked for."""
FORMER_SETTINGS = {"kind": "eomt", "blocks": 1, "cells": 2, "masking": False}
"""Of class tokens that join the encoder's last blocks, while they were called EoMT."""
OLD = {"in_channels": 3, "partial": False, **FLAT}


def write(folder: Path, **model: object) -> str:
    """Write a recipe whose section `model` says these fields."""
    content = {
        "name": "old",
        "model": {"encoder": "vit_tiny_patch16_224", **model},
        "data": {"root": "nowhere"},
        "augment": {"crop_size": 64},
        "optimizer": {"name": "sgd", "lr": 0.001},
        "schedule": {"steps": 10},
        "batch_size": 2,
    }
    path = folder / "old.yaml"
    path.write_text(yaml.safe_dump(content))
    return str(path)


@pytest.mark.parametrize(
    ("old", "today"),
    [
        ({}, MaskTransformerSpec()),
        ({"decoder": "linear", "decoder_dropout": 0.1}, LinearDecoderSpec()),
        (
            {
                "decoder": "mask",
                "decoder_dim": 128,
                "decoder_depth": 1,
                "decoder_qkv_bias": False,
                "decoder_drop_path": 0.1,
                "decoder_dropout": 0.2,
                "decoder_class_norm": "layer",
                "projection_init": "scaled-normal",
            },
            MaskTransformerSpec(
                dim=128,
                depth=1,
                qkv_bias=False,
                drop_path=0.1,
                dropout=0.2,
                class_norm="layer",
                projection_init="scaled-normal",
            ),
        ),
        ({"decoder": "multi-linear", "decoder_blocks": 2}, MultiBlockLinearSpec(blocks=2)),
        ({"decoder": "atm", "decoder_dim": 64}, AttentionToMaskSpec(dim=64)),
        (
            {"decoder": "eomt", "decoder_cells": 2, "decoder_masking": False},
            JoinedClassTokensSpec(cells=2, masking=False),
        ),
    ],
)
@pytest.mark.parametrize("rest", [{}, OLD], ids=["as written by hand", "as kept by a run"])
def test_a_recipe_of_0_1_0_has_the_decoder_it_had(
    tmp_path: Path, rest: dict[str, object], old: dict[str, object], today: DecoderSpec
) -> None:
    assert read_recipe(write(tmp_path, **{**rest, **old})).model.decoder == today


@pytest.mark.parametrize(
    ("settings", "meant"),
    [
        ({"kind": "eomt"}, EoMTSpec()),
        (FORMER_SETTINGS, EoMTSpec(blocks=1, cells=2, masking=False)),
        ({"kind": "eomt-queries", "queries": 7}, EoMTSpec(queries=7)),
        ({"kind": "joined-class-tokens", "cells": 2}, JoinedClassTokensSpec(cells=2)),
    ],
)
def test_eomt_in_a_recipe_by_hand_is_the_published_one(
    tmp_path: Path, settings: dict[str, object], meant: DecoderSpec
) -> None:
    assert read_recipe(write(tmp_path, decoder=settings)).model.decoder == meant


@pytest.mark.parametrize("kind", ["eomt", "eomt-queries"])
def test_a_recipe_that_a_run_wrote_before_has_the_decoder_it_had(tmp_path: Path, kind: str) -> None:
    today = {"eomt": JoinedClassTokensSpec(cells=2), "eomt-queries": EoMTSpec(cells=2)}[kind]
    recipe = read_recipe(write(tmp_path, decoder=today.model_dump())).model_dump(mode="json")
    path = tmp_path / "recipe.yaml"
    path.write_text(yaml.safe_dump(recipe))
    assert read_recipe(str(path)).model.decoder == today
    recipe["model"]["decoder"]["kind"] = kind
    path.write_text(yaml.safe_dump(recipe))
    assert read_recipe(str(path)).model.decoder == today
    recipe["model"]["decoder"] = "eomt"  # by hand
    path.write_text(yaml.safe_dump(recipe))
    assert read_recipe(str(path)).model.decoder == EoMTSpec()


def test_a_former_name_of_a_packaged_recipe_is_answered_with_the_new_one() -> None:
    with pytest.raises(UserError, match="no recipe 'street-eomt', it is now 'street-class-tokens'"):
        read_recipe("street-eomt")


def test_a_former_name_of_a_decoder_is_answered_with_the_new_one(tmp_path: Path) -> None:
    for given in ("eomt-queries", {"kind": "eomt-queries"}):
        with pytest.raises(UserError, match=r"model\.decoder eomt-queries is now eomt$"):
            read_recipe(write(tmp_path), {"model": {"decoder": given}})


def test_a_setting_that_0_1_0_refused_for_a_decoder_still_is(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"unknown key 'model\.decoder\.blocks'"):
        read_recipe(write(tmp_path, decoder="mask", decoder_blocks=2))


def test_a_flag_changes_a_setting_in_a_recipe_of_0_1_0(tmp_path: Path) -> None:
    path = write(tmp_path, decoder="mask", decoder_depth=1, decoder_dim=64)
    decoder = read_recipe(path, {"model": {"decoder": {"dim": 128}}}).model.decoder
    assert decoder == MaskTransformerSpec(dim=128, depth=1)


def test_another_decoder_starts_from_its_own_defaults(tmp_path: Path) -> None:
    path = write(tmp_path, decoder={"kind": "eomt", "blocks": 2})
    assert read_recipe(path, {"model": {"decoder": "atm"}}).model.decoder == AttentionToMaskSpec()
    kept = read_recipe(path, {"model": {"decoder": "eomt"}}).model.decoder
    assert kept == EoMTSpec(blocks=2)


@pytest.mark.parametrize(
    ("old", "today"),
    [
        *((name, name.replace("decoder_", "decoder.")) for name in FLAT if "decoder_" in name),
        ("projection_init", "decoder.projection_init"),
        ("partial", "allow_partial_weights"),
    ],
)
def test_a_flag_with_an_old_name_is_answered_with_the_new_one(
    tmp_path: Path, old: str, today: str
) -> None:
    path = write(tmp_path)
    with pytest.raises(UserError, match=rf"model\.{old} is now model\.{today}$"):
        read_recipe(path, {"model": {old.replace("_", "-"): 1}})
    mixed = write(tmp_path, decoder={"kind": "mask"}, **{old: 1})
    with pytest.raises(UserError, match=rf"old\.yaml: model\.{old} is now model\.{today}$"):
        read_recipe(mixed)


@pytest.mark.parametrize("decoder", ["mask", {"kind": "mask"}])
def test_fit_is_read_as_the_size_policy_that_it_is_now(tmp_path: Path, decoder: object) -> None:
    path = write(tmp_path, decoder=decoder, fit="stretch")
    assert read_recipe(path).model.size_policy == "stretch"
    with pytest.raises(UserError, match=r"model\.fit is now model\.size_policy$"):
        read_recipe(path, {"model": {"fit": "stretch"}})
    both = write(tmp_path, decoder=decoder, fit="stretch", size_policy="stretch")
    with pytest.raises(UserError, match=r"model\.fit is now model\.size_policy$"):
        read_recipe(both)


def test_channels_other_than_rgb_are_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"model\.in_channels is gone: data\.bands says"):
        read_recipe(write(tmp_path, in_channels=4))
    with pytest.raises(UserError, match=r"model\.in_channels is gone"):
        read_recipe(write(tmp_path), {"model": {"in_channels": 3}})


def test_a_run_of_0_1_0_is_resumed_as_the_run_it_was(data_set: Path) -> None:
    def resume(**decoder: object) -> None:
        model = {"decoder": {"kind": "mask", "dim": 64, **decoder}}
        recipe = make_recipe(data_set, model=model, data={"val": None}, schedule={"steps": 2})
        is_there = (data_set / "run").exists()
        run_training(recipe, data_set / "run", "cpu", resume=is_there)

    resume()
    found, _ = read_newest(data_set / "run" / "checkpoints")
    model = found.facts["run"]["recipe"]["model"]
    del model["allow_partial_weights"]
    model |= OLD | {"decoder": "mask", "decoder_dim": 64}
    write_checkpoint(data_set / "run" / "checkpoints", found)
    resume()
    with pytest.raises(UserError, match=r"recipe\.model\.decoder\.dropout: 0\.0 -> 0\.2;"):
        resume(dropout=0.2)


def test_a_run_that_began_under_a_former_name_is_resumed_as_no_other_model(data_set: Path) -> None:
    def resume(**decoder: object) -> None:
        model = {"encoder_depth": 2, "decoder": decoder}
        recipe = make_recipe(data_set, model=model, data={"val": None}, schedule={"steps": 2})
        is_there = (data_set / "run").exists()
        run_training(recipe, data_set / "run", "cpu", resume=is_there, allow_config_change=is_there)

    joined = FORMER_SETTINGS | {"kind": "joined-class-tokens"}
    resume(**joined)
    found, _ = read_newest(data_set / "run" / "checkpoints")
    found.facts["run"]["recipe"]["model"]["decoder"] = FORMER_SETTINGS
    write_checkpoint(data_set / "run" / "checkpoints", found)
    resume(**joined)
    answers = (
        r"decoder\.kind: joined-class-tokens -> eomt; .*to resume it, set model\.decoder to "
        r"joined-class-tokens, which it called eomt, or start a new run with another --out"
    )
    with pytest.raises(UserError, match=answers):
        resume(**FORMER_SETTINGS)


def test_recipes_are_read_without_torch() -> None:
    code = """if True:
        import sys
        from segmenter.recipe import read_recipe
        read_recipe("street")
        print("torch" in sys.modules)"""
    assert subprocess.check_output([sys.executable, "-c", code], text=True) == "False\n"
