"""EoMT models as tue-mps publishes them: `pytorch_model.bin`, or a checkpoint of Lightning.

Sources: tue-mps/eomt `models/eomt.py`, `models/vit.py`, `models/scale_block.py`, and the windows of
`training/lightning_module.py`. Encoders of DINOv2 are read, whole in the file with timm's names.
"""

import re
from typing import Any, NamedTuple

from pydantic import ValidationError
from torch import Tensor

from segmenter.checkpoints.foreign.family import (
    Family,
    ForeignFile,
    ForeignModel,
    choose_classes,
    describe_encoder,
    shape_of,
    whole_spec,
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
from segmenter.errors import UserError
from segmenter.files.yaml import first_problem
from segmenter.model.architectures import IMAGENET
from segmenter.model.decoders import EoMTQueriesSpec
from segmenter.model.protocol import EvaluationProtocol, published_protocol
from segmenter.model.spec import EncoderSpec, Normalization

_PATCHES = "network.encoder.backbone.patch_embed.proj.weight"
_MASKING = "network.attn_mask_probs"
_RULES = (
    (r"^network\.encoder\.backbone\.", "encoder."),
    (r"^encoder\.patch_embed\.proj\.", "encoder.patch_embed."),
    *TIMM_BLOCK,
    (r"\.ls([12])\.gamma$", r".scale\1.gamma"),
    (r"^network\.q\.weight$", "decoder.queries"),
    (r"^network\.class_head\.", "decoder.classify."),
    (r"^network\.mask_head\.", "decoder.embed."),
    (r"^network\.upscale\.(\d+)\.conv1\.", r"decoder.refine.\1.0."),
    (r"^network\.upscale\.(\d+)\.conv2\.", r"decoder.refine.\1.2."),
    (r"^network\.upscale\.(\d+)\.norm\.", r"decoder.refine.\1.3."),
)

EOMT = Family(
    name="EoMT (tue-mps)",
    origin="the EoMT checkpoint {}",
    marks=frozenset({"network.q.weight", "network.mask_head.0.weight"}),
    heads=("network.class_head.weight",),
    dropped=r"criterion\.|network\.attn_mask_probs$|network\.encoder\.pixel_(mean|std)$"
    r"|network\.encoder\.backbone\.mask_token$",
    rules=_RULES,
    encoder={"layer_norm_eps": 1e-6, "table_resize": "bicubic", "table_antialias": True},
    decoder={},
    size_policy="pad-crop",
)


class EoMTFacts(NamedTuple):
    """The part of an EoMT that its tensors, under our names, do not say."""

    family: Family
    encoder: dict[str, Any]
    """Fields of `EncoderSpec`."""
    masking: Tensor | None
    """By block with queries, the share of queries that see only their own masks; `None`: absent."""
    masking_name: str
    """Name of that tensor in the file."""
    normalization: Normalization
    window: int | None = None
    """Side of the square images of training, in pixels; `None`: that of the position table."""
    listed: Classes | None = None
    """Classes that the file names."""
    license: str = ""
    notes: tuple[str, ...] = ()


def read_eomt(file: ForeignFile) -> ForeignModel:
    """Turn the weights of a file into a model of ours.

    Raises:
        UserError: If it is not a whole EoMT with an encoder of DINOv2, or classes of another number
            are given.
    """
    source = str(file.path)
    if _PATCHES not in file.state:
        raise UserError(
            f"{source} is an EoMT whose encoder is not DINOv2's: files of DINOv3 hold differences "
            "to Meta's weights, which are not added here; give an EoMT with a DINOv2 encoder"
        )
    weights = to_tensors(file.state, file.path)
    tensors, dropped = EOMT.rename(weights)
    tensors = _join_tokens(tensors, source)
    facts = EoMTFacts(
        family=EOMT,
        encoder=EOMT.encoder | {"prefix_positions": "encoder.prefix_positions" in tensors},
        masking=weights.get(_MASKING),
        masking_name=_MASKING,
        normalization=_normalization(weights, source),
    )
    return make_eomt(file, tensors, dropped, facts)


def make_eomt(
    file: ForeignFile, tensors: Tensors, dropped: tuple[str, ...], facts: EoMTFacts
) -> ForeignModel:
    """Make a model from tensors with our names, and what they do not say.

    Raises:
        UserError: If they are not a whole EoMT at the end of its training, or classes of another
            number are given.
    """
    source = str(file.path)
    _check_masking(facts, source)
    encoder = describe_encoder(tensors, source, facts.encoder | _mlp(tensors, source))
    decoder = _decoder(tensors, facts, encoder, source)
    tensors["decoder.queries"] = tensors["decoder.queries"][None]
    num_classes = shape_of(tensors, source, "decoder.classify.weight", 2)[0] - 1
    if num_classes < 1:
        raise UserError(f'{source} has no class beside "no object"')
    classes, notes = choose_classes(num_classes, file.classes, facts.listed, source)
    spec = whole_spec(
        source,
        encoder=encoder,
        decoder=decoder,
        size_policy=facts.family.size_policy,
        classes=classes,
        normalization=facts.normalization,
        protocol=_protocol(facts.window or encoder.table_side, source),
        provenance=f"imported from {facts.family.origin.format(file.path.name)}",
        license=facts.license,
    )
    return ForeignModel(facts.family.name, spec, tensors, dropped, (*facts.notes, *notes))


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


def _mlp(tensors: Tensors, source: str) -> dict[str, object]:
    """Return the fields that tell layer scale and a gated MLP, off the tensors."""
    fields: dict[str, object] = {"layer_scale": "encoder.blocks.0.scale1.gamma" in tensors}
    width, hidden = shape_of(tensors, source, "encoder.blocks.0.mlp.reduce.weight", 2)
    if shape_of(tensors, source, "encoder.blocks.0.mlp.expand.weight", 2)[0] == 2 * hidden:
        fields |= {"mlp": "swiglu", "mlp_ratio": hidden / width}
    return fields


def _decoder(
    tensors: Tensors, facts: EoMTFacts, encoder: EncoderSpec, source: str
) -> EoMTQueriesSpec:
    """Describe the decoder; the file counts the blocks that queries go through."""
    found = (re.match(r"decoder\.refine\.(\d{1,3})\.", name) for name in tensors)
    doublings = {int(each[1]) for each in found if each}
    masking = {} if facts.masking is None else {facts.masking_name: facts.masking}
    fields = {
        "queries": shape_of(tensors, source, "decoder.queries", 2)[0],
        "blocks": shape_of(masking, source, facts.masking_name, 1)[0],
        "doublings": len(doublings),
        "cells": encoder.patch_size,
    }
    try:
        return EoMTQueriesSpec.model_validate(fields)
    except ValidationError as error:
        raise UserError(f"{source}: {first_problem(error, EoMTQueriesSpec)}") from None


def _check_masking(facts: EoMTFacts, source: str) -> None:
    """Refuse a model in whose blocks queries still see their own masks alone."""
    if facts.masking is not None and facts.masking.any():
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


def _protocol(side: int | None, source: str) -> EvaluationProtocol:
    """Square windows of the training size along the long side; scores are averaged."""
    assert side is not None  # of encoders without a table, the source says it
    try:
        return published_protocol("eomt", window=side, short_side=side)
    except UserError as error:
        raise UserError(f"{source}: {error}") from None
