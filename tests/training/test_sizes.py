"""The rule that chooses crop, scale and windows of a run, on made-up statistics."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from segmenter.checkpoints import load
from segmenter.data.masks.region_widths import NO_SIZES, SizeFacts
from segmenter.recipe import Recipe, read_recipe
from segmenter.training.sizes import best_short_side, choose_sizes, sizes_so_far
from tests.helpers.command_line import run

NAMES = ("ground", "thing")


def facts(size: tuple[int, int], width: float) -> SizeFacts:
    """Ten images of one size, with things of one width."""
    return SizeFacts(np.array([size] * 10), np.array([[size[0], width]] * 10, dtype=np.float32))


def sizes(recipe: Recipe) -> tuple[int | None, ...]:
    """Short side, scale base, crop, window, stride."""
    protocol, augment = recipe.protocol, recipe.augment
    return (
        protocol.short_side,
        augment.scale_base,
        augment.crop_size,
        protocol.window,
        protocol.stride,
    )


def chosen(given: SizeFacts, **changes: dict[str, object]) -> tuple[int | None, ...]:
    settled, _ = choose_sizes(read_recipe("finetune", changes), given, NAMES, 14)
    assert not settled.auto
    return sizes(settled)


@pytest.mark.parametrize(
    ("own", "width", "expected"),
    [
        (600, 300.0, 448),  # large things: the least
        (600, 14.0, 602),  # things of a patch: their own size
        (1000, 20.0, 700),  # a patch of 14 pixels
        (3648, 20.0, 1064),  # things that are small in large images: the most that may be
        (360, 4.0, 714),  # ... and no more than twice the images' own size
        (180, 2.0, 560),  # ... but what was always allowed
        (40, 2.0, 448),
    ],
)
def test_the_thinnest_class_fills_a_patch_within_bounds(
    own: int, width: float, expected: int
) -> None:
    assert best_short_side(own, width / own, 14) == expected


@pytest.mark.parametrize(
    ("own", "expected"),
    [
        (512, (None, None, 504, 518, 462)),  # a window holds an image whole
        (5000, (None, None, 560, 560, 504)),
        (100, (None, None, 98, 112, 98)),
    ],
)
def test_maps_keep_their_size_and_have_windows(own: int, expected: tuple[int | None, ...]) -> None:
    assert chosen(replace(facts((own, own), 3.0), are_maps=True)) == expected


def test_the_choice_for_maps_is_explained() -> None:
    given = replace(facts((512, 512), 3.0), are_maps=True)
    reason = choose_sizes(read_recipe("finetune"), given, NAMES, 14).reason
    assert reason.startswith("sizes chosen from the data: images as they are, in windows of 518")
    assert "images with a georeference keep their size" in reason


def test_images_that_are_shown_small_are_shown_whole_and_crops_are_as_large() -> None:
    assert chosen(facts((600, 800), 300)) == (448, 448, 448, None, None)


def test_images_that_are_shown_large_are_cut_into_windows_of_the_crops_size() -> None:
    assert chosen(facts((3648, 5472), 20)) == (1064, 1064, 560, 560, 504)


def test_sizes_are_whole_patches() -> None:
    recipe = choose_sizes(read_recipe("finetune"), facts((3000, 4000), 50), NAMES, 16).recipe
    assert all(each is not None and each % 16 == 0 for each in sizes(recipe))


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"protocol": {"short_side": 840}}, (840, 840, 560, 560, 504)),
        ({"protocol": {"short_side": None}}, (None, None, 560, 560, 504)),
        ({"protocol": {"short_side": 56}}, (56, 56, 56, None, None)),
        ({"augment": {"crop_size": 308}}, (1064, 1064, 308, 560, 504)),
        ({"protocol": {"window": None, "stride": None}}, (1064, 1064, 560, None, None)),
        ({"protocol": {"window": 700}}, (1064, 1064, 560, 700, 630)),
        ({"protocol": {"stride": 280}}, (1064, 1064, 560, 560, 280)),
        ({"augment": {"scale_base": 300}}, (1064, 300, 560, 560, 504)),
    ],
)
def test_what_the_user_sets_stays_and_the_others_follow(
    changes: dict[str, dict[str, object]], expected: tuple[int | None, ...]
) -> None:
    assert chosen(facts((3648, 5472), 20), **changes) == expected


def test_the_reason_names_the_class_and_its_size() -> None:
    _, reason = choose_sizes(read_recipe("finetune"), facts((360, 480), 4), NAMES, 14)
    assert reason == (
        "sizes chosen from the data: short side 714 (the images have 360), in windows of 560, "
        "crops of 560; 'thing' is the thinnest class, typically 4 pixels wide, "
        "0.6 patches at this size"
    )


def test_a_recipe_without_auto_is_left_as_it_is() -> None:
    recipe = read_recipe("street")
    assert choose_sizes(recipe, facts((360, 480), 4), NAMES, 14) == (recipe, "")


def test_data_without_masks_that_can_be_used_get_sizes_too() -> None:
    assert chosen(NO_SIZES) == (448, 448, 448, None, None)


def test_a_run_stores_what_was_chosen_and_resumes_with_it(
    here: Path, capsys: pytest.CaptureFixture
) -> None:
    command = (
        "train --data data --from model.safetensors --out run --schedule.warmup_steps 0 "
        "--schedule.steps 1 --batch_size 2 --workers 0 --optimizer.frozen_blocks 0 "
        "--augment.crop_size 32"
    )
    assert run(*command.split()) == 0
    assert "sizes chosen from the data: short side 448" in capsys.readouterr().err
    stored = read_recipe("run/recipe.yaml")
    assert not stored.auto
    assert stored.protocol.short_side == stored.augment.scale_base == 448
    assert load("run/last.safetensors").spec.protocol.short_side == 448
    assert run(*command.split(), "--resume") == 0
    said = capsys.readouterr().err
    assert "sizes chosen" not in said
    assert "this run is finished" in said
    text = (here / "run/recipe.yaml").read_text()
    (here / "run/recipe.yaml").write_text(text.replace("short_side: 448", "short_side: 464"))
    recipe = sizes_so_far(read_recipe("finetune"), here / "run")
    assert (recipe.auto, recipe.protocol.short_side) == ({}, 464)
