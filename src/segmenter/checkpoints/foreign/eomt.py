"""EoMT models as tue-mps publishes them: `pytorch_model.bin`, or a checkpoint of Lightning.

Sources: tue-mps/eomt `models/eomt.py`, `models/vit.py`, `models/scale_block.py`, and the windows
and `_add_state_dicts` of `training/lightning_module.py`. An encoder of DINOv2 is whole in the
file, with names of timm. One of DINOv3 has those of transformers. It is whole in a checkpoint of
Lightning, and a published file has its difference to the weights of Meta.
"""

import re
from dataclasses import replace
from functools import partial
from typing import Any, NamedTuple

from pydantic import ValidationError
from torch import Tensor

from segmenter.checkpoints.foreign.dino.encoder import DINOV3, add_differences
from segmenter.checkpoints.foreign.dino.named_encoder import read_base, refuse_base
from segmenter.checkpoints.foreign.family import (
    Family,
    ForeignFile,
    ForeignModel,
    choose_classes,
    describe_encoder,
    shape_of,
    whole_spec,
)
from segmenter.checkpoints.foreign.hugging_face.names import (
    BLOCK,
    DINOV3_LICENSE,
    join_projections,
    join_special_tokens,
)
from segmenter.checkpoints.foreign.tensors import (
    TIMM_BLOCK,
    Tensors,
    join_prefix,
    join_tokens,
    split_position_table,
    to_tensors,
)
from segmenter.classes import Classes
from segmenter.data.published import SETS
from segmenter.errors import UserError
from segmenter.files.yaml import first_problem
from segmenter.model.architectures import IMAGENET
from segmenter.model.decoders import EoMTSpec
from segmenter.model.protocol import EvaluationProtocol, published_protocol
from segmenter.model.spec import EncoderSpec, Normalization

_PATCHES = "network.encoder.backbone.patch_embed.proj.weight"
_MASKING = "network.attn_mask_probs"
_LEAST_OF_WHOLE = {"network.encoder.pixel_mean": 0.0, "network.encoder.backbone.norm.weight": 0.1}
"""Least mean magnitude of these tensors in a whole DINOv3; in a difference, they are about 0."""
_DECODER_RULES = (
    (r"^network\.q\.weight$", "decoder.queries"),
    (r"^network\.class_head\.", "decoder.classify."),
    (r"^network\.mask_head\.", "decoder.embed."),
    (r"^network\.upscale\.(\d+)\.conv1\.", r"decoder.refine.\1.0."),
    (r"^network\.upscale\.(\d+)\.conv2\.", r"decoder.refine.\1.2."),
    (r"^network\.upscale\.(\d+)\.norm\.", r"decoder.refine.\1.3."),
)
_RULES = (
    (r"^network\.encoder\.backbone\.", "encoder."),
    (r"^encoder\.patch_embed\.proj\.", "encoder.patch_embed."),
    *TIMM_BLOCK,
    (r"\.ls([12])\.gamma$", r".scale\1.gamma"),
    *_DECODER_RULES,
)
_DINOV3_RULES = (
    (r"^network\.encoder\.backbone\.(?:patch_embed|embeddings)\.", "encoder."),
    (r"^encoder\.patch_embeddings\.(?:projection\.)?", "encoder.patch_embed."),
    (r"^network\.encoder\.backbone\.(?:layers?\.|model\.layer\.)", "encoder.blocks."),
    (r"^network\.encoder\.backbone\.", "encoder."),
    *BLOCK,
    *_DECODER_RULES,
)
_DROPPED = (
    r"criterion\.|network\.attn_mask_probs$|network\.encoder\.pixel_(mean|std)$"
    r"|network\.encoder\.backbone\.(.*\.)?(mask_token|inv_freq)$"
)

EOMT = Family(
    name="EoMT (tue-mps)",
    origin="the EoMT checkpoint {}",
    marks=frozenset({"network.q.weight", "network.mask_head.0.weight"}),
    heads=("network.class_head.weight",),
    dropped=_DROPPED,
    rules=_RULES,
    encoder={"layer_norm_eps": 1e-6, "table_resize": "bicubic", "table_antialias": True},
    decoder={},
    size_policy="pad-crop",
)
EOMT_DINOV3 = replace(EOMT, name="EoMT (tue-mps), DINOv3", rules=_DINOV3_RULES, encoder=DINOV3)
_DIFFERENCES = replace(EOMT_DINOV3, name="EoMT (tue-mps), differences to DINOv3")
_SIDES = {150: 512, 19: 1024}
"""Sides of the images of published models, by their number of classes; of others, mostly 640."""
_NUM_THINGS = 80


class EoMTFacts(NamedTuple):
    """The part of an EoMT that its tensors, under our names, do not say."""

    family: Family
    encoder: dict[str, Any]
    """Fields of `EncoderSpec`."""
    blocks: int
    """Number of the encoder's last blocks that queries go through."""
    normalization: Normalization
    window: int | None = None
    """Side of the square images of training, in pixels; `None`: that of the position table."""
    window_is_assumed: bool = False
    """True: nothing in the file says `window`."""
    listed: Classes | None = None
    """Classes that the file names."""
    license: str = ""
    made_with: str = ""
    """Other files that the model is made from; empty: none."""
    notes: tuple[str, ...] = ()


def read_eomt(file: ForeignFile) -> ForeignModel:
    """Turn the weights of a file into a model of ours.

    Raises:
        UserError: If it is not a whole EoMT, it lacks the base that it is a difference to, or
            classes of another number are given.
    """
    source = str(file.path)
    weights = to_tensors(file.state, file.path)
    if _PATCHES not in weights and not _is_whole(weights):
        return _read_differences(file, weights)
    refuse_base(file)
    if _PATCHES not in weights:
        return _read_dinov3(file, weights)
    tensors, dropped = EOMT.rename(weights)
    tensors = _join_tokens(tensors, source)
    facts = EoMTFacts(
        family=EOMT,
        encoder=EOMT.encoder | {"prefix_positions": "encoder.prefix_positions" in tensors},
        blocks=_query_blocks(weights, source),
        normalization=_normalization(weights, source),
    )
    return make_eomt(file, tensors, dropped, facts)


def _is_whole(weights: Tensors) -> bool:
    """Return whether an encoder is whole: in a difference, these tensors are 0, or nearly."""
    return all(
        name in weights and weights[name].double().abs().mean() > least
        for name, least in _LEAST_OF_WHOLE.items()
    )


def _read_dinov3(file: ForeignFile, weights: Tensors) -> ForeignModel:
    """Read a checkpoint that holds its whole DINOv3."""
    source = str(file.path)
    tensors, dropped = _rename_dinov3(weights, source)
    facts = EoMTFacts(
        family=EOMT_DINOV3,
        encoder=dict(DINOV3),
        blocks=_query_blocks(weights, source),
        normalization=_normalization(weights, source),
        window=_assumed_side(tensors, source),
        window_is_assumed=True,
        license=DINOV3_LICENSE,
    )
    return make_eomt(file, tensors, dropped, facts)


def _read_differences(file: ForeignFile, weights: Tensors) -> ForeignModel:
    """Add the encoder of a file to the DINOv3 that the user names; all else is whole."""
    source = str(file.path)
    base = read_base(file, "differences to Meta's weights of DINOv3")
    tensors, dropped = _rename_dinov3(weights, source)
    differences = {name: each for name, each in tensors.items() if name.startswith("encoder.")}
    tensors |= add_differences(differences, base, source)
    masking = weights.get(_MASKING)
    if masking is not None and (masking == -1).all():  # a difference too, to ones
        weights[_MASKING] = masking + 1
    facts = EoMTFacts(
        family=_DIFFERENCES,
        encoder=base.fields,
        blocks=_query_blocks(weights, source),
        normalization=IMAGENET,
        window=_assumed_side(tensors, source),
        window_is_assumed=True,
        license=base.license,
        made_with=f" and {base.path.name} (SHA-256 {base.sha256})",
        notes=base.identify(),
    )
    return make_eomt(file, tensors, dropped, facts)


def _rename_dinov3(weights: Tensors, source: str) -> tuple[Tensors, tuple[str, ...]]:
    """Give tensors our names; return the names of those that are dropped, too."""
    tensors, dropped = EOMT_DINOV3.rename(join_projections(weights, source))
    return join_special_tokens(tensors, source), dropped


def _assumed_side(tensors: Tensors, source: str) -> int:
    """Return the side of the images, by the number of classes."""
    return published_side(shape_of(tensors, source, "decoder.classify.weight", 2)[0] - 1)


def published_side(num_classes: int) -> int:
    """Return the side of the square images that most published models of these classes take."""
    return _SIDES.get(num_classes, 640)


def refuse_instances(num_classes: int, file: ForeignFile, listed: Classes | None = None) -> None:
    """Refuse a model of COCO's 80 things, which has no class for the rest of an image.

    Raises:
        UserError: If it has 80 classes, and neither the user nor the file (`listed`) names others.
    """
    if num_classes != _NUM_THINGS or file.classes is not None:
        return
    if listed is None or _are_things(listed):
        raise UserError(
            f"{file.path} has {num_classes} classes, those of COCO's instances: it has none for "
            "the rest of an image, so it has no semantic map; if its classes cover images, name "
            f"them with `segmenter convert {file.path} model.safetensors --classes FILE`"
        )


def _are_things(classes: Classes) -> bool:
    """Return whether most of COCO's things are among these classes, by their names."""
    things = SETS["coco_stuff"].classes().names[:_NUM_THINGS]
    return 2 * len({*things} & {*classes.names}) > _NUM_THINGS


def make_eomt(
    file: ForeignFile, tensors: Tensors, dropped: tuple[str, ...], facts: EoMTFacts
) -> ForeignModel:
    """Make a model from tensors with our names, and what they do not say.

    Raises:
        UserError: If they are not a whole EoMT, or classes of another number are given.
    """
    source = str(file.path)
    encoder = describe_encoder(tensors, source, facts.encoder)
    decoder = _decoder(tensors, facts, encoder, source)
    tensors["decoder.queries"] = tensors["decoder.queries"][None]
    num_classes = shape_of(tensors, source, "decoder.classify.weight", 2)[0] - 1
    if num_classes < 1:
        raise UserError(f'{source} has no class beside "no object"')
    refuse_instances(num_classes, file, facts.listed)
    classes, notes = choose_classes(num_classes, file.classes, facts.listed, source)
    spec = whole_spec(
        source,
        encoder=encoder,
        decoder=decoder,
        size_policy=facts.family.size_policy,
        classes=classes,
        normalization=facts.normalization,
        protocol=windows_along(facts.window or encoder.table_side, source),
        provenance=f"imported from {facts.family.origin.format(file.path.name)}{facts.made_with}",
        license=facts.license,
    )
    return ForeignModel(
        facts.family.name,
        spec,
        tensors,
        dropped,
        (*facts.notes, *notes),
        windows=partial(windows_along, source=source) if facts.window_is_assumed else None,
    )


def _join_tokens(tensors: Tensors, source: str) -> Tensors:
    """Turn class token, registers and position table into ours.

    With registers, as in DINOv2's, patches alone have positions.
    """
    registers = tensors.pop("encoder.reg_token", None)
    if registers is None:
        return join_prefix(tensors, source)
    if "encoder.cls_token" not in tensors or "encoder.pos_embed" not in tensors:
        raise UserError(f"{source} has no encoder with class token and position table")
    first = tensors.pop("encoder.cls_token")
    tensors["encoder.prefix_tokens"] = join_tokens([first, registers], source)
    _, table = split_position_table(tensors.pop("encoder.pos_embed"), 0, source)
    tensors["encoder.position_table"] = table
    return tensors


def _decoder(tensors: Tensors, facts: EoMTFacts, encoder: EncoderSpec, source: str) -> EoMTSpec:
    """Describe the decoder, off its shapes."""
    found = (re.match(r"decoder\.refine\.(\d{1,3})\.", name) for name in tensors)
    doublings = {int(each[1]) for each in found if each}
    fields = {
        "queries": shape_of(tensors, source, "decoder.queries", 2)[0],
        "blocks": facts.blocks,
        "doublings": len(doublings),
        "cells": encoder.patch_size,
    }
    try:
        return EoMTSpec.model_validate(fields)
    except ValidationError as error:
        raise UserError(f"{source}: {first_problem(error, EoMTSpec)}") from None


def _query_blocks(weights: Tensors, source: str) -> int:
    """Count the blocks that queries go through; refuse a model that still masks them."""
    check_masking(weights.get(_MASKING), source)
    return shape_of(weights, source, _MASKING, 1)[0]


def check_masking(masking: Tensor | None, source: str) -> None:
    """Refuse a model in whose blocks queries still see their own masks alone."""
    if masking is not None and masking.any():
        raise UserError(
            f"{source} was saved in the middle of its training: attn_mask_probs, the share of "
            "queries that see only their own masks, is not 0; give the checkpoint of its end"
        )


def _normalization(weights: Tensors, source: str) -> Normalization:
    """Mean and std as the file holds them, on the scale 0 to 1; else ImageNet's."""
    values = {}
    for name in ("mean", "std"):
        tensor = weights.get(f"network.encoder.pixel_{name}")
        if tensor is None:
            return IMAGENET
        values[name] = tuple((tensor.double() * 255).flatten().tolist())
    try:
        return Normalization.model_validate(values)
    except ValidationError as error:
        raise UserError(f"{source}: {first_problem(error, Normalization)}") from None


def windows_along(side: int | None, source: str) -> EvaluationProtocol:
    """Square windows of the training size along the long side; scores are averaged."""
    assert side is not None  # of encoders without a table, the source says it
    try:
        return published_protocol("eomt", window=side, short_side=side)
    except UserError as error:
        raise UserError(f"{source}: {error}") from None
