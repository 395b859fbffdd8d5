"""Choose crop, scale and windows of a run from its images and the regions in its masks.

A model sees an object as the patches that the object covers. The rule therefore asks for a
short side at which the thinnest class fills a patch, within what the images hold and what a step
and an image may cost. docs/explanation/sizes.md has the measurements behind the numbers here.
"""

import math
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from segmenter.data.masks.region_widths import SizeFacts, ThinClass
from segmenter.recipe import Recipe, make_recipe, read_recipe
from segmenter.recipe.auto import AutoField, chosen_decoder, with_fields

_MIN_SHORT_SIDE = 448
"""Shown smaller, an image is a few hundred patches, which the encoders were not trained for."""
_MAX_SHORT_SIDE = 1064
"""Two windows high: an image of 4 to 3 takes six windows, seconds on a CPU."""
_MAX_ENLARGEMENT = 2.0
"""More pixels than that an image does not hold, however small the things in it are."""
_MAX_CROP = 560
"""1,600 tokens of 14 x 14 pixels: what a step costs does not depend on the images."""
_OVERLAP = 0.1
"""Least overlap of neighbouring windows, as a share of their side."""


class Choice(NamedTuple):
    """The sizes at which a run shows images to its model, and why."""

    recipe: Recipe
    """The recipe, with numbers in place of `auto`."""
    reason: str
    """One line for the user; empty if nothing was to be chosen."""


def choose_sizes(recipe: Recipe, facts: SizeFacts, classes: Sequence[str], patch: int) -> Choice:
    """Replace the `auto` fields of a recipe by numbers; what the user set stays, and counts.

    Args:
        recipe: The run.
        facts: Facts of its training images and masks.
        classes: Names of the classes.
        patch: Side of the model's patches, in pixels.
    """
    if not recipe.auto:
        return Choice(recipe, "")
    own = int(np.median(facts.sizes.min(axis=1))) if len(facts.sizes) else _MAX_CROP
    thinnest = facts.thinnest()
    short_side = recipe.protocol.short_side
    if "protocol.short_side" in recipe.auto:
        best = best_short_side(own, thinnest.share if thinnest else 1.0, patch)
        short_side = None if facts.are_maps else best
    values = _values(recipe, short_side, own, patch)
    if facts.are_maps and "protocol.window" in recipe.auto and values["protocol.window"] is None:
        values |= _windows_for_maps(recipe, own, patch)
    chosen = {field: value for field, value in values.items() if field in recipe.auto}
    content = with_fields(recipe.model_dump(mode="json"), chosen)
    settled = make_recipe(content, "the sizes chosen from the data")
    reason = ""
    if "protocol.short_side" in recipe.auto:
        reason = _reason(settled, own, thinnest, classes, patch)
        if facts.are_maps:
            reason += "; images with a georeference keep their size, as maps do in predict"
    return Choice(settled, reason)


def best_short_side(own: int, share: float, patch: int) -> int:
    """Return the short side at which the thinnest class fills a patch, as far as that is allowed.

    Args:
        own: Short side of the images, in pixels.
        share: Width of the thinnest class's regions, relative to the short side.
        patch: Side of the model's patches, in pixels.

    Returns:
        A multiple of `patch`.
    """
    most = min(max(_MAX_ENLARGEMENT * own, _MAX_CROP), _MAX_SHORT_SIDE)
    wanted = min(max(patch / share, _MIN_SHORT_SIDE), most)
    return max(math.floor(wanted / patch + 0.5), 1) * patch


def _values(
    recipe: Recipe, short_side: int | None, own: int, patch: int
) -> dict[AutoField, int | None]:
    """Return a value for each field that may be `auto`, given the short side."""
    shown = short_side or own
    crop, best_crop = recipe.augment.crop_size, max(min(shown, _MAX_CROP) // patch, 1) * patch
    if "augment.crop_size" in recipe.auto:
        crop = best_crop
    window, stride = recipe.protocol.window, recipe.protocol.stride
    if "protocol.window" in recipe.auto:
        side = max(crop, best_crop)  # a small crop is not a reason for many windows
        window = side if shown >= side + patch else stride
        window = window and max(window, stride or 0)
    if "protocol.stride" in recipe.auto:
        stride = window and _overlapping_stride(window, patch)
    return {
        "protocol.short_side": short_side,
        "augment.scale_base": short_side,
        "augment.crop_size": crop,
        "protocol.window": window,
        "protocol.stride": stride,
    }


def _windows_for_maps(recipe: Recipe, own: int, patch: int) -> dict[AutoField, int | None]:
    """Return windows that hold an image whole, with which `predict` walks over larger maps."""
    window = -(-own // patch) * patch
    if "protocol.stride" in recipe.auto:
        return {"protocol.window": window, "protocol.stride": _overlapping_stride(window, patch)}
    return {"protocol.window": max(window, recipe.protocol.stride or 0)}


def _overlapping_stride(window: int, patch: int) -> int:
    return max(int(window * (1 - _OVERLAP)) // patch * patch, 1)


def _reason(
    recipe: Recipe, own: int, thinnest: ThinClass | None, classes: Sequence[str], patch: int
) -> str:
    """Say in one line what was chosen, and why."""
    short_side, window = recipe.protocol.short_side, recipe.protocol.window
    how = f"in windows of {window}" if window else "without windows"
    shown = (
        f"short side {short_side} (the images have {own})" if short_side else "images as they are"
    )
    line = f"sizes chosen from the data: {shown}, {how}, crops of {recipe.augment.crop_size}"
    if thinnest is None:
        return line
    name, share = classes[thinnest.index], thinnest.share
    return (
        f"{line}; {name!r} is the thinnest class, typically {share * own:.0f} pixels wide, "
        f"{share * (short_side or own) / patch:.1f} patches at this size"
    )


def sizes_so_far(recipe: Recipe, folder: Path) -> Recipe:
    """Return a recipe whose `auto` fields have the numbers of the run in a folder.

    A run that resumes thus keeps the sizes that it began with.

    Raises:
        UserError: If the recipe in the folder cannot be read.
    """
    if not recipe.auto:
        return recipe
    before = read_recipe(str(folder / "recipe.yaml"))
    fields = (field.split(".") for field in recipe.auto)
    content = before.model_dump(mode="json")
    values = {f"{section}.{name}": content[section][name] for section, name in fields}
    if "model.decoder" in recipe.auto:
        values["model.decoder"] = chosen_decoder(recipe.auto, values["model.decoder"])
    return make_recipe(with_fields(recipe.model_dump(mode="json"), values), "the run so far")
