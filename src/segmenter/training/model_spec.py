"""Build the `ModelSpec` that a recipe describes."""

from pathlib import Path
from typing import Any

import numpy as np
from pydantic import ValidationError

from segmenter.checkpoints.bundled import BUNDLED_ENCODERS
from segmenter.classes import Classes
from segmenter.errors import UserError
from segmenter.files.yaml import first_problem
from segmenter.model.architectures import HALF, IMAGENET, IMAGENET_ROUNDED, find_architecture
from segmenter.model.protocol import EvaluationProtocol, published_protocol
from segmenter.model.spec import EncoderSpec, ModelSpec, Normalization
from segmenter.recipe import Recipe, make_recipe
from segmenter.recipe.auto import chosen_decoder, with_fields
from segmenter.recipe.model import ModelRecipe

_RGB = 3
"""Channels of images without an `ImageSpec`."""
_AUTO = "model.decoder is auto, here {} (--model.decoder KIND chooses another)"


def build_spec(recipe: Recipe, classes: Classes, start: ModelSpec | None = None) -> ModelSpec:
    """Build the spec of a recipe's model; `start` is the spec of the model that it starts from."""
    given = recipe.model
    if len(classes) == 1:
        raise UserError(
            f"the data has one class, {classes.names[0]!r}, and nothing to tell it from; say in "
            'classes.yaml which mask values are all the rest, such as "background: [0]"'
        )
    channels = classes.image.channels if classes.image else _RGB
    encoder, normalization = _encoder(given, start, channels)
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
            size_policy=given.size_policy,
            classes=classes,
            normalization=normalization,
            protocol=_protocol(recipe),
            recipe=recipe.model_dump(mode="json"),
            provenance=recipe.provenance or _provenance(given, start),
            license=recipe.license or (start.license if start else ""),
        )
    except ValidationError as error:
        raise UserError(f"recipe {recipe.name}: {first_problem(error, ModelSpec)}") from None


def choose_decoder(recipe: Recipe, classes: Classes, start: ModelSpec | None) -> Recipe:
    """Replace a decoder that is `auto`: that of the starting model if it has the same classes.

    Args:
        recipe: The run.
        classes: Classes of its data.
        start: Spec of the model that the run starts from; None if it starts from an encoder.

    Returns:
        The recipe, its other `auto` fields as they were.
    """
    if "model.decoder" not in recipe.auto:
        return recipe
    decoder = recipe.model.decoder
    if start is not None and start.classes.names == classes.names:
        decoder = start.decoder
    chosen = chosen_decoder(recipe.auto, decoder.model_dump(mode="json"))
    content = with_fields(recipe.model_dump(mode="json"), recipe.auto | {"model.decoder": chosen})
    return make_recipe(content, _AUTO.format(decoder.kind))


def _provenance(given: ModelRecipe, start: ModelSpec | None) -> str:
    """Return where the starting weights come from; empty if it is not known."""
    if given.weights in BUNDLED_ENCODERS:
        return BUNDLED_ENCODERS[given.weights].provenance
    if start is None or given.weights is None or not start.provenance:
        return ""
    return f"Started from {Path(given.weights).name}: {start.provenance}"


def _protocol(recipe: Recipe) -> EvaluationProtocol:
    """Return the evaluation protocol of a recipe."""
    given = recipe.protocol
    if given.rules is None:
        return EvaluationProtocol(name=recipe.name, **given.model_dump(exclude={"rules"}))
    published = published_protocol(
        given.rules,
        window=given.window,
        stride=given.stride,
        short_side=given.short_side,
        max_ratio=given.max_ratio,
    )
    # Some code bases fix their stride; a recipe says it, as it says every size.
    fields = ("flip", "rotations", "stride", "blend")
    asked = {field: getattr(given, field) for field in fields}
    return published.model_copy(update=asked)


def _encoder(
    given: ModelRecipe, start: ModelSpec | None, channels: int
) -> tuple[EncoderSpec, Normalization]:
    """Return the encoder with the recipe's changes, and its normalisation."""
    if given.encoder is not None:
        encoder, own_normalization = find_architecture(_tagged(given))
    elif start is not None:
        encoder, own_normalization = start.encoder, start.normalization
    else:
        encoder, own_normalization = find_architecture(_architecture_of(given.weights))
    if given.encoder_depth is not None and given.encoder_depth > encoder.depth:
        raise UserError(
            f"model.encoder_depth is {given.encoder_depth}, "
            f"but {encoder.architecture} has only {encoder.depth} blocks"
        )
    fields: dict[str, Any] = {
        "in_channels": channels,
        "drop_path": given.drop_path,
        "table_resize": given.position_resize,
        "depth": given.encoder_depth,
        "patch_size": given.patch_size,
        "layer_norm_eps": given.encoder_layer_norm_eps,
    }
    if given.position_grid is not None and encoder.table_grid is not None:
        fields["table_grid"] = (given.position_grid, given.position_grid)
    changes = {name: value for name, value in fields.items() if value is not None}
    named = {
        "encoder": own_normalization,
        "half": HALF,
        "imagenet": IMAGENET,
        "imagenet-rounded": IMAGENET_ROUNDED,
    }
    normalization = _widen(named[given.normalization], channels)
    return encoder.model_copy(update=changes), normalization


def _architecture_of(weights: str | None) -> str:
    """Return the name of the encoder that weights are for, where the weights tell it."""
    if weights in BUNDLED_ENCODERS:
        return BUNDLED_ENCODERS[weights].architecture
    if str(weights).startswith("timm:"):
        return str(weights).removeprefix("timm:")
    raise UserError(
        f"model.encoder is missing, and model.weights ({weights}) is not a whole model that "
        "states it; name the encoder, such as vit_small_patch16_384"
    )


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
