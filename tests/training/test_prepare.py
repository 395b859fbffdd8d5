"""A recipe becomes the model it describes."""

from pathlib import Path

import numpy as np
import pytest
import torch

from segmenter import UserError
from segmenter.model.architectures import HALF, IMAGENET
from segmenter.recipe import Recipe
from segmenter.training.model_spec import build_spec
from segmenter.training.parallel import Execution
from segmenter.training.prepare import Survey, build_model, prepare, starting_model
from segmenter.training.processes import Processes
from tests.helpers.models import make_classes
from tests.helpers.runs import make_recipe, run_training

DEEP = {"encoder_depth": None, "weights": "timm:vit_tiny_patch16_224"}


def of_tiny(root: Path, model: dict[str, object], **changes: object) -> Recipe:
    encoder = {"encoder": "vit_tiny_patch16_224", "encoder_depth": 4, "weights": None}
    return make_recipe(root, model=encoder | model, **changes)


def test_each_decoder_is_built_with_what_is_asked_and_else_its_own_defaults(tmp_path: Path) -> None:
    found = {
        name: build_spec(
            of_tiny(tmp_path, {"decoder": {"kind": name, **given}}), make_classes(3)
        ).decoder
        for name, given in {
            "linear": {},
            "multi-linear": {},
            "atm": {"blocks": 2, "dim": 64},
            "joined-class-tokens": {},
        }.items()
    }
    assert all(decoder.kind == name for name, decoder in found.items())
    assert found["multi-linear"].blocks == 4
    assert (found["atm"].blocks, found["atm"].dim) == (2, 64)
    assert (found["joined-class-tokens"].blocks, found["joined-class-tokens"].cells) == (4, 4)


@pytest.mark.parametrize(
    ("model", "optimizer", "problem"),
    [
        ({"decoder": {"kind": "linear", "cells": 2}}, {}, r"decoder\.linear\.cells"),
        ({"decoder": {"blocks": 2}}, {}, r"decoder\.mask\.blocks"),
        ({"decoder": {"kind": "mask", "masking": False}}, {}, r"decoder\.mask\.masking"),
        ({"decoder": {"kind": "atm", "blocks": 5}}, {}, "asks for 5 blocks .*but it has 4"),
        (
            {"decoder": "joined-class-tokens", "encoder_depth": 2},
            {},
            r"joined-class-tokens.* 4 blocks.*has 2; set decoder\.blocks",
        ),
        ({}, {"frozen_blocks": 5}, "frozen_blocks is 5.*only 4 blocks; `all`"),
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


def test_a_model_grows_from_another_with_another_patch_size(tmp_path: Path) -> None:
    said: list[str] = []
    recipe = make_recipe(tmp_path, model={"patch_size": 16})  # start.safetensors has patches of 8
    model = build_model(recipe, make_classes(3), starting_model(recipe.model), said.append)
    assert model.encoder.patch_embed.kernel_size == (16, 16)
    assert "its patches of 8 pixels are resized to 16" in said[0]


def test_a_machine_that_holds_other_images_than_the_first_is_refused(data_set: Path) -> None:
    recipe = make_recipe(data_set)
    found = Survey(recipe, make_classes(3), (), (), np.zeros((0, 3), np.int64))
    second = Processes(rank=1)
    with pytest.raises(UserError, match="does not hold the same images on all machines"):
        prepare(
            recipe,
            data_set / "run",
            torch.device("cpu"),
            second,
            Execution(),
            lambda: found,
            print,
        )


def test_a_crop_below_a_patch_is_refused(tmp_path: Path) -> None:
    recipe = of_tiny(tmp_path, {}, augment={"crop_size": 15})
    with pytest.raises(UserError, match="crop_size is 15, smaller than a patch of 16 x 16 pixels"):
        build_model(recipe, make_classes(3), None, print)


@pytest.mark.parametrize(
    ("change", "note"),
    [
        (
            {"augment": {"rare_class_crops": 0.3, "rare_class_below": 0.001}},
            "augment.rare_class_crops: skipped, because no class has less than 0.1 % of the pixels",
        ),
        (
            {"optimizer": {"name": "adamw", "momentum": 0.5, "nesterov": True}},
            "optimizer.momentum, optimizer.nesterov: not used by adamw",
        ),
        ({"optimizer": {"name": "sgd", "betas": [0.9, 0.99]}}, "optimizer.betas: not used by sgd"),
    ],
)
def test_settings_without_an_effect_are_told(
    data_set: Path, change: dict, note: str, capsys: pytest.CaptureFixture
) -> None:
    recipe = make_recipe(data_set, schedule={"steps": 1}, data={"val": None}, **change)
    run_training(recipe, data_set / "run", "cpu")
    assert f"note: {note}\n" in capsys.readouterr().err
