"""The model that a fit starts from: an encoder, sizes that suit the data, and an empty decoder."""

from collections.abc import Sequence
from typing import NamedTuple

from segmenter.classes import Classes
from segmenter.data.masks.region_widths import SizeFacts
from segmenter.model import Segmenter
from segmenter.options import DEFAULT_RECIPE
from segmenter.recipe import Recipe, make_recipe, read_recipe
from segmenter.training.inherited_license import (
    inherited_licenses,
    inherited_terms,
    with_inherited_license,
)
from segmenter.training.model_spec import build_spec
from segmenter.training.prepare import build_model, starting_license, starting_model
from segmenter.training.sizes import choose_sizes

BLOCKS = 3
"""Blocks whose features are used, evenly spaced; the last is one of them."""


class Start(NamedTuple):
    """The start of a fit."""

    model: Segmenter
    """Has a `multi-linear` decoder that knows nothing yet."""
    recipe: Recipe
    """Recipe of a training run of the same model, at the same sizes."""
    lines: tuple[str, ...]
    """Remarks for the user: weights loaded, sizes chosen."""


def prepare_start(
    weights: str,
    root: str,
    classes: Classes,
    facts: SizeFacts,
    short_side: int | None = None,
    shifts: int = 1,
) -> Start:
    """Build the model of a fit, and choose its sizes as the recipe `finetune` does.

    Args:
        weights: A bundled encoder, an encoder's file, `timm:NAME`, or a whole model.
        root: The data set.
        classes: Its classes.
        facts: Facts of its labelled images.
        short_side: Short side that images are shown at, in pixels; if None, chosen.
        shifts: Shifted views along each axis; see `MultiBlockLinearSpec`.

    Raises:
        UserError: If the weights cannot be used, or the classes cannot be separated.
    """
    sizes = {} if short_side is None else {"short_side": short_side}
    changes = {"data": {"root": root}, "protocol": sizes}
    changes["model"] = {"weights": weights, "decoder": {"kind": "linear"}}
    changes["optimizer"] = {"frozen_blocks": 0}  # an encoder may have few
    recipe = read_recipe(DEFAULT_RECIPE, changes)
    start = starting_model(recipe.model)
    spec = build_spec(recipe, classes, start.spec if start else None)
    choice = choose_sizes(recipe, facts, classes.names, spec.encoder.patch_size)
    blocks = min(BLOCKS, spec.encoder.depth)
    decoder = {"kind": "multi-linear", "blocks": blocks, "shifts": shifts}
    content = choice.recipe.model_dump(mode="json")
    content["model"]["decoder"] = decoder
    licenses = inherited_licenses(recipe, starting_license(recipe.model, start))
    recipe = with_inherited_license(make_recipe(content, "the recipe of the fit"), licenses)
    lines: list[str] = []
    model = build_model(recipe, classes, start, lines.append)
    model.spec = model.spec.model_copy(update={"recipe": None})
    terms = inherited_terms(recipe, licenses)
    thin = "" if shifts > 1 else _thin_line(model, facts)
    return Start(
        model, recipe, tuple(each for each in (*lines, choice.reason, thin, terms) if each)
    )


def _thin_line(model: Segmenter, facts: SizeFacts) -> str:
    """Say which class is thinner than a patch, and what helps; empty if none is."""
    thinnest, short_side = facts.thinnest(), model.spec.protocol.short_side
    if thinnest is None or short_side is None:
        return ""
    num_patches = round(thinnest.share * short_side / model.spec.encoder.patch_size, 1)
    if num_patches >= 1:
        return ""
    name = model.spec.classes.names[thinnest.index]
    return (
        f"{name!r} is typically {num_patches} patches wide: --shifts 2 makes tokens twice as fine, "
        "and takes four times as long"
    )


def starting_model_for(
    weights: str, classes: Classes, short_side: int = 560, blocks: int = BLOCKS
) -> Segmenter:
    """Build the model of a fit for images that are shown whole, at a fixed short side.

    Args:
        weights: As for `prepare_start`.
        classes: The classes to tell apart.
        short_side: Short side that images are shown at, in pixels.
        blocks: Number of evenly spaced blocks whose features are used.

    Raises:
        UserError: If the weights cannot be used, or the classes cannot be separated.
    """
    changes = {
        "data": {"root": "."},
        "optimizer": {"frozen_blocks": 0},
        "model": {"weights": weights, "decoder": {"kind": "multi-linear", "blocks": blocks}},
        "augment": {"crop_size": short_side, "scale_base": short_side},
        "protocol": {"short_side": short_side, "window": None, "stride": None},
    }
    recipe = read_recipe(DEFAULT_RECIPE, changes)
    start = starting_model(recipe.model)
    licenses = inherited_licenses(recipe, starting_license(recipe.model, start))
    recipe = with_inherited_license(recipe, licenses)
    model = build_model(recipe, classes, start, lambda _: None)
    model.spec = model.spec.model_copy(update={"recipe": None})
    return model


def spread(count: int, most: int) -> Sequence[int]:
    """Return at most this number of places of a sequence, evenly spaced."""
    kept = min(count, most)
    return [place * count // kept for place in range(kept)]
