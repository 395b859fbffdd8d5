"""Build the `ModelSpec` that a recipe describes."""

from typing import Any

import numpy as np
from pydantic import ValidationError

from segmenter.classes import Classes
from segmenter.errors import UserError
from segmenter.files.yaml import first_problem
from segmenter.model.architectures import HALF, IMAGENET, IMAGENET_ROUNDED, find_architecture
from segmenter.model.protocol import Protocol, published_protocol
from segmenter.model.spec import EncoderSpec, ModelSpec, Normalization
from segmenter.recipe import Recipe
from segmenter.recipe.model import ModelRecipe

_RGB = 3
"""Channels of the images that training reads."""


def build_spec(recipe: Recipe, classes: Classes, start: ModelSpec | None = None) -> ModelSpec:
    """Build the spec of a recipe's model; `start` is the spec of the model that it starts from."""
    given = recipe.model
    if len(classes) == 1:
        raise UserError(
            f"the data has one class, {classes.names[0]!r}, and nothing to tell it from; say in "
            'classes.yaml which mask values are all the rest, such as "background: [0]"'
        )
    encoder, normalization = _encoder(given, start)
    frozen = recipe.optimizer.frozen_blocks
    if frozen != "all" and frozen > encoder.depth:
        raise UserError(
            f"optimizer.frozen_blocks is {frozen}, but {encoder.architecture} has only "
            f"{encoder.depth} blocks; `all` freezes the whole encoder"
        )
    kept = start.decoder if start and start.classes.names == classes.names else None
    settled = given.decoder.settle(len(classes.classes), kept)
    try:
        return ModelSpec(
            encoder=encoder,
            decoder=given.decoder.model_copy(update=settled),
            fit=given.fit,
            classes=classes,
            normalization=normalization,
            protocol=_protocol(recipe),
            recipe=recipe.model_dump(mode="json"),
            provenance=recipe.provenance or (start.provenance if start else ""),
            license=recipe.license or (start.license if start else ""),
        )
    except ValidationError as error:
        raise UserError(f"recipe {recipe.name}: {first_problem(error, ModelSpec)}") from None


def _protocol(recipe: Recipe) -> Protocol:
    """Return the evaluation protocol of a recipe."""
    given = recipe.protocol
    if given.rules is None:
        return Protocol(name=recipe.name, **given.model_dump(exclude={"rules"}))
    published = published_protocol(
        given.rules,
        window=given.window,
        stride=given.stride,
        short_side=given.short_side,
        max_ratio=given.max_ratio,
    )
    # Some code bases fix their stride; a recipe says it, as it says every size.
    asked = {"flip": given.flip, "stride": given.stride, "blend": given.blend}
    return published.model_copy(update=asked)


def _encoder(given: ModelRecipe, start: ModelSpec | None) -> tuple[EncoderSpec, Normalization]:
    """Return the encoder with the recipe's changes, and its normalisation."""
    if given.encoder is not None:
        encoder, own_normalization = find_architecture(_tagged(given))
    elif start is not None:
        encoder, own_normalization = start.encoder, start.normalization
    elif str(given.weights).startswith("timm:"):
        encoder, own_normalization = find_architecture(str(given.weights).removeprefix("timm:"))
    else:
        raise UserError(
            f"model.encoder is missing, and model.weights ({given.weights}) is no whole model that "
            "would say it; name the encoder, such as vit_small_patch16_384"
        )
    changes: dict[str, Any] = {
        "in_channels": _RGB,
        "drop_path": given.drop_path,
    }
    if given.position_resize is not None:
        changes["table_resize"] = given.position_resize
    if given.encoder_depth is not None:
        if given.encoder_depth > encoder.depth:
            raise UserError(
                f"model.encoder_depth is {given.encoder_depth}, "
                f"but {encoder.architecture} has only {encoder.depth} blocks"
            )
        changes["depth"] = given.encoder_depth
    if given.patch_size is not None:
        changes["patch_size"] = given.patch_size
    if given.position_grid is not None and encoder.table_grid is not None:
        changes["table_grid"] = (given.position_grid, given.position_grid)
    if given.encoder_layer_norm_eps is not None:
        changes["layer_norm_eps"] = given.encoder_layer_norm_eps
    named = {
        "encoder": own_normalization,
        "half": HALF,
        "imagenet": IMAGENET,
        "imagenet-rounded": IMAGENET_ROUNDED,
    }
    normalization = _widen(named[given.normalization], _RGB)
    return encoder.model_copy(update=changes), normalization


def _tagged(given: ModelRecipe) -> str:
    """Return the encoder's name with the tag of its weights, as tags differ in normalisation."""
    name, weights = str(given.encoder), str(given.weights)
    tag = weights.partition(".")[2] if weights.startswith("timm:") else ""
    return f"{name}.{tag}" if tag and "." not in name else name


def _widen(normalization: Normalization, channels: int) -> Normalization:
    """Repeat mean and std for images that have other channels than RGB."""
    if len(normalization.mean) == channels:
        return normalization
    order = np.arange(channels) % len(normalization.mean)
    return Normalization(
        mean=tuple(normalization.mean[i] for i in order),
        std=tuple(normalization.std[i] for i in order),
    )
