"""From a recipe to the objects it describes: the one file that knows both sides."""

from collections.abc import Callable
from typing import Any, Literal

import numpy as np
import torch
from jaxtyping import Int64
from numpy import ndarray

from segmenter.checkpoints import bundled, own
from segmenter.checkpoints.containers import is_safetensors
from segmenter.checkpoints.encoder_weights import load_encoder_weights
from segmenter.checkpoints.published import read_published
from segmenter.checkpoints.transfer import start_from
from segmenter.classes import Classes
from segmenter.data.folder import Item, LabelledFolder, hold_out
from segmenter.data.loading import SampleStream
from segmenter.data.transforms import CropTransform
from segmenter.errors import UserError
from segmenter.inference.find_images import find_images
from segmenter.model.architectures import HALF, IMAGENET, IMAGENET_ROUNDED, find_architecture
from segmenter.model.protocol import Protocol, published_protocol
from segmenter.model.segmenter import Segmenter
from segmenter.model.spec import (
    AttentionToMaskSpec,
    ClassQueriesSpec,
    DecoderSpec,
    EncoderSpec,
    LinearDecoderSpec,
    MaskTransformerSpec,
    ModelSpec,
    MultiBlockLinearSpec,
    Normalization,
)
from segmenter.model_recipe import ModelRecipe
from segmenter.recipe import Recipe
from segmenter.training.losses import Loss, class_weights
from segmenter.training.teacher import Teacher, load_teacher

_GREY = (127.5, 127.5, 127.5)
_MAX_SCALED_CLASSES = 4
"""Up to so many classes, a layer norm over them is too coarse for a new decoder."""


def training_items(
    recipe: Recipe, data: LabelledFolder
) -> tuple[tuple[Item, ...], tuple[Item, ...]]:
    """The photos to train on, and those to score on during training (none if not wanted).

    A folder without split folders, or without the `val` split, has a share of its training
    photos held out instead.
    """
    wanted = recipe.data.train if set(recipe.data.train) <= set(data.splits) else None
    if wanted is None and set(data.splits) == {"all"}:
        wanted = ("all",)
    train = data.items(*(wanted or recipe.data.train))
    if recipe.data.val is None:
        return train, ()
    if recipe.data.val == "val" and "val" not in data.splits:
        return hold_out(train, recipe.data.hold_out)
    return train, data.items(recipe.data.val)


def build_model(recipe: Recipe, classes: Classes, say: Callable[[str], None]) -> Segmenter:
    """Build the model a recipe describes and give it its starting weights.

    Args:
        recipe: The run.
        classes: The classes of its data.
        say: Told what is taken from the weights, what starts fresh, and what is left unused.

    Raises:
        UserError: If the encoder is unknown, or the weights do not fit.
    """
    given = recipe.model
    start = _starting_model(given)
    spec = build_spec(recipe, classes, start.spec if start else None)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(recipe.seed)
        model = Segmenter(spec)
    if start:
        say(start_from(model, start, str(given.weights), partial=given.partial))
    elif given.weights:
        say(load_encoder_weights(model.encoder, given.weights, partial=given.partial))
    return model


def build_spec(recipe: Recipe, classes: Classes, start: ModelSpec | None = None) -> ModelSpec:
    """Describe the model; `start` is the model it grows from, if it is one of ours."""
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
    decoder = _decoder(given, encoder, classes, start)
    num_asked = getattr(decoder, "blocks", 0)
    if num_asked > encoder.depth:
        raise UserError(
            f"model.decoder {decoder.kind!r} asks for {num_asked} blocks of the encoder, but it "
            f"has {encoder.depth}; set model.decoder_blocks"
        )
    return ModelSpec(
        encoder=encoder,
        decoder=decoder,
        fit=given.fit,
        classes=classes,
        normalization=normalization,
        protocol=_protocol(recipe),
        recipe=recipe.model_dump(mode="json"),
        provenance=recipe.provenance or (start.provenance if start else ""),
        license=recipe.license or (start.license if start else ""),
    )


def build_stream(
    recipe: Recipe,
    model: Segmenter,
    items: tuple[Item, ...],
    pixel_counts: Int64[ndarray, "photos classes"],
) -> SampleStream:
    """The endless, seeded stream of training crops."""
    if recipe.model.in_channels != 3:
        raise UserError(
            f"model.in_channels is {recipe.model.in_channels}, but photos are read as RGB; "
            "set it to 3"
        )
    augment = recipe.augment.model_dump()
    rare_class_crops, rare_class_below = (
        augment.pop("rare_class_crops"),
        augment.pop("rare_class_below"),
    )
    pad_color = _GREY if augment.pop("pad_value") == "grey" else model.spec.normalization.mean
    classes = model.spec.classes
    return SampleStream(
        items,
        classes,
        CropTransform(pad_color=pad_color, ignore_index=classes.ignore_index, **augment),
        seed=recipe.seed,
        pixel_counts=pixel_counts,
        rare_class_crops=rare_class_crops,
        rare_class_below=rare_class_below,
        **_unlabelled(recipe),
    )


def _unlabelled(recipe: Recipe) -> dict[str, Any]:
    """What the stream is told of photos without masks."""
    teacher = recipe.loss.teacher
    if teacher is None or teacher.unlabelled is None:
        return {}
    found = find_images([teacher.unlabelled])
    items = tuple(Item(f"unlabelled/{name}", path, None) for path, name in found)
    return {"unlabelled": items, "unlabelled_crops": teacher.unlabelled_crops}


def build_loss(
    recipe: Recipe, classes: Classes, pixel_counts: Int64[ndarray, "photos classes"]
) -> Loss:
    """What the run minimises; class weights come from the training masks."""
    counts = pixel_counts.sum(axis=0)
    weights = class_weights(recipe.loss.class_weights, classes.names, counts)
    return Loss(recipe.loss, classes.ignore_index, weights)


def build_teacher(recipe: Recipe, classes: Classes, place: torch.device) -> Teacher | None:
    """The trained model that a recipe learns from, if any."""
    given = recipe.loss.teacher
    return load_teacher(given, classes, place) if given else None


def run_identity(
    recipe: Recipe, classes: Classes, items: tuple[Item, ...], teacher: Teacher | None = None
) -> dict[str, Any]:
    """What must be the same when a run is resumed: recipe, classes, photos, and the teacher."""
    fields = recipe.model_dump(mode="json")
    for free in ("workers", "log_every", "save_every", "stop_after", "track"):
        del fields[free]
    described = classes.model_dump(mode="json")
    return {
        "recipe": fields,
        "classes": described,
        "photos": [item.name for item in items],
        **(teacher.identity if teacher else {}),
    }


def _decoder(
    given: ModelRecipe, encoder: EncoderSpec, classes: Classes, start: ModelSpec | None
) -> DecoderSpec:
    """The decoder that a recipe describes."""
    dim = given.decoder_dim or encoder.embed_dim
    asked = {"blocks": given.decoder_blocks, "cells": given.decoder_cells}
    fields = {name: value for name, value in asked.items() if value is not None}
    match given.decoder:
        case "linear":
            return LinearDecoderSpec()
        case "multi-linear":
            return MultiBlockLinearSpec.model_validate(fields)
        case "atm":
            return AttentionToMaskSpec.model_validate(fields | {"dim": dim})
        case "eomt":
            return ClassQueriesSpec.model_validate(fields)
        case "mask":
            return MaskTransformerSpec(
                dim=dim,
                depth=given.decoder_depth,
                qkv_bias=given.decoder_qkv_bias,
                drop_path=given.decoder_drop_path,
                dropout=given.decoder_dropout,
                class_norm=_class_norm(given, classes, start),
                projection_init=given.projection_init,
            )


def _class_norm(
    given: ModelRecipe, classes: Classes, start: ModelSpec | None
) -> Literal["layer", "scale"]:
    """The mask decoder's way from cosines to logits: as asked for, as kept, or by class count."""
    num_logits = len(classes.classes)
    kept = start.decoder if start and start.classes.names == classes.names else None
    if given.decoder_class_norm is not None:
        chosen = given.decoder_class_norm
    elif isinstance(kept, MaskTransformerSpec):
        chosen = kept.class_norm
    else:
        chosen = "scale" if num_logits <= _MAX_SCALED_CLASSES else "layer"
    if chosen == "layer" and num_logits == 1:
        raise UserError(
            "model.decoder_class_norm is 'layer', but a layer norm over one class is a constant "
            "that learns nothing; set it to 'scale', or model.decoder to 'linear'"
        )
    return chosen


def _protocol(recipe: Recipe) -> Protocol:
    """The way of scoring that a recipe describes."""
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
    return published.model_copy(update={"flip": given.flip, "stride": given.stride})


def _encoder(given: ModelRecipe, start: ModelSpec | None) -> tuple[EncoderSpec, Normalization]:
    """The encoder and its normalisation, with what the recipe changes in it."""
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
        "in_channels": given.in_channels,
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
    normalization = _widen(named[given.normalization], given.in_channels)
    return encoder.model_copy(update=changes), normalization


def _tagged(given: ModelRecipe) -> str:
    """The encoder's name, with the tag of downloaded weights, as tags differ in normalisation."""
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


def _starting_model(given: ModelRecipe) -> Segmenter | None:
    """The whole model that `weights` names, or nothing where it names bare encoder weights."""
    weights = given.weights
    if weights is None or weights.startswith("timm:"):
        return None
    path = bundled.resolve(weights)
    if is_safetensors(path):
        return own.read(path) if own.is_own(path) or given.encoder is None else None
    published = read_published(path)
    return published.build(str(path)) if published else None
