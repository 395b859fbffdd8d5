"""PMT as tue-mps publishes it: a decoder, for the DINOv2 or DINOv3 that it was trained on.

Sources: tue-mps/pmt `image/models/pmt.py`, `image/models/pmd.py`, `image/models/layers.py`,
`image/models/vit.py` and `image/scripts/convert_ckpt.py`. The windows are those of EoMT.
"""

import math
import re
from functools import partial
from typing import Any

import torch
from pydantic import ValidationError
from torch import Tensor

from segmenter.checkpoints.encoders.patch_embedding import resize_patch_embedding
from segmenter.checkpoints.foreign.dino.encoder import DinoEncoder
from segmenter.checkpoints.foreign.dino.named_encoder import read_base
from segmenter.checkpoints.foreign.eomt import (
    check_masking,
    published_side,
    refuse_instances,
    windows_along,
)
from segmenter.checkpoints.foreign.family import (
    Family,
    ForeignFile,
    ForeignModel,
    choose_classes,
    describe_encoder,
    shape_of,
    whole_spec,
)
from segmenter.checkpoints.foreign.hugging_face.names import BLOCK, join_projections
from segmenter.checkpoints.foreign.tensors import Tensors, to_tensors
from segmenter.errors import UserError
from segmenter.files.yaml import first_problem
from segmenter.model.architectures import IMAGENET
from segmenter.model.decoders import PlainMaskDecoderSpec
from segmenter.model.decoders.multi_block_linear import MANY_BATCHES
from segmenter.model.spec import EncoderSpec

_MASKING = "network.decoder.attn_mask_probs"
_DINOV2_PATCH, _RESAMPLED_PATCH = 14, 16
"""Side of DINOv2's patches in pixels: as published, and as tue-mps has timm resample them."""
_RESAMPLED = (
    f"DINOv2's patches of {_DINOV2_PATCH} pixels become {_RESAMPLED_PATCH}, as tue-mps has it"
)
_POSITIONS = "network.encoder.backbone.pos_embed"
_PATCH_EMBEDDING = "encoder.patch_embed.weight"
_LATERAL = r"^network\.decoder\.lateral_projections\.(\d+)\."
_BATCH_NORM = (
    ("weight", "gain"),
    ("bias", "offset"),
    ("running_mean", "norm.mean"),
    ("running_var", "norm.variance"),
)
PMT = Family(
    name="PMT (tue-mps)",
    origin="the PMT checkpoint {}",
    marks=frozenset({"network.decoder.q.weight", "network.decoder.mask_head.0.weight"}),
    heads=("network.decoder.class_head.weight",),
    dropped=r"criterion\.|network\.decoder\.attn_mask_probs$|network\.encoder\.|network\.rope\."
    r"|network\.bn\.\d+\.num_batches_tracked$|network\._attn_mask_probs_fallback$",
    rules=(
        (_LATERAL + r"0\.", r"decoder.laterals.\1.mlp.expand."),
        (_LATERAL + r"2\.", r"decoder.laterals.\1.mlp.reduce."),
        (r"^network\.decoder\.scalers\.(\d+)$", r"decoder.laterals.\1.scale"),
        *(
            (rf"^network\.bn\.(\d+)\.{theirs}$", rf"decoder.laterals.\1.{ours}")
            for theirs, ours in _BATCH_NORM
        ),
        (r"^network\.decoder\.q\.weight$", "decoder.queries"),
        (r"^network\.decoder\.class_head\.", "decoder.head.classify."),
        (r"^network\.decoder\.mask_head\.", "decoder.head.embed."),
        (r"^network\.decoder\.upscale\.(\d+)\.conv1\.", r"decoder.head.refine.\1.0."),
        (r"^network\.decoder\.upscale\.(\d+)\.conv2\.", r"decoder.head.refine.\1.2."),
        (r"^network\.decoder\.upscale\.(\d+)\.norm\.", r"decoder.head.refine.\1.3."),
        (r"^network\.decoder\.decoder_norm\.", "decoder.norm."),
        (r"^network\.decoder\.", "decoder."),
        (r"\.attention\.qkv_proj\.", ".attention.qkv."),
        (r"\.mlp\.up_proj\.", ".mlp.expand."),
        *BLOCK,
    ),
    encoder={},
    decoder={},
    size_policy="pad-crop",
)


def read_pmt(file: ForeignFile) -> ForeignModel:
    """Join the decoder of a file and the encoder that the user names.

    Raises:
        UserError: If no encoder is named or it is of another width, or the file is not a whole
            decoder at the end of its training, or is one for patches of another size.
    """
    source = str(file.path)
    base = read_base(file, "a decoder (PMT)")
    weights = to_tensors(file.state, file.path)
    check_masking(weights.get(_MASKING), source)
    tensors, dropped = PMT.rename(join_projections(weights, source))
    num_queries, width = shape_of(tensors, source, "decoder.queries", 2)
    if width != base.width:
        raise UserError(
            f"{base.path} has {base.width} channels, and the decoder in {source} is for an encoder "
            f"of {width}; give the encoder that it was trained on"
        )
    if "head_dim" in base.fields:
        raise UserError(
            f"{base.path} has heads of {base.fields['head_dim']} channels; PMT is read for "
            "encoders with heads of 64, such as DINOv3 S to H+"
        )
    doublings = _count(tensors, r"decoder\.head\.refine\.(\d{1,3})\.")
    tensors |= base.tensors
    tensors[_PATCH_EMBEDDING] = _fit_patches(base, doublings, source)
    tensors["decoder.queries"] = tensors["decoder.queries"][None]
    decoder = _decoder(tensors, num_queries, doublings, base, source)
    for level in range(decoder.features):
        batches = torch.tensor([MANY_BATCHES])
        tensors[f"decoder.laterals.{level}.norm.num_batches"] = batches
    encoder = describe_encoder(tensors, source, _encoder_fields(base))
    num_classes = shape_of(tensors, source, "decoder.head.classify.weight", 2)[0] - 1
    refuse_instances(num_classes, file)
    side = _table_side(weights, encoder.patch_size)
    protocol = windows_along(side or published_side(num_classes), source)
    classes, notes = choose_classes(num_classes, file.classes, None, source)
    spec = whole_spec(
        source,
        encoder=encoder,
        decoder=decoder,
        size_policy=PMT.size_policy,
        classes=classes,
        normalization=IMAGENET,
        protocol=protocol,
        provenance=f"imported from {PMT.origin.format(file.path.name)} and {base.path.name} "
        f"(SHA-256 {base.sha256})",
        license=base.license if base.is_dinov3 else "",
    )
    if encoder.patch_size != base.tensors[_PATCH_EMBEDDING].shape[2]:
        notes = (_RESAMPLED, *notes)
    notes = (*base.identify(), *notes)
    windows = None if side else partial(windows_along, source=source)
    return ForeignModel(PMT.name, spec, tensors, dropped, notes, windows)


def _table_side(weights: Tensors, patch: int) -> int | None:
    """Return the side of the images, in pixels, if the file holds the positions of a DINOv2."""
    table = weights.get(_POSITIONS)
    if table is None or table.ndim != 3:
        return None
    rows = math.isqrt(table.shape[1])  # the class token may have a position, too
    return rows * patch if table.shape[1] - rows**2 in (0, 1) else None


def _encoder_fields(base: DinoEncoder) -> dict[str, Any]:
    """Describe the encoder; timm smooths the position table of any DINOv2 that it resizes."""
    return base.fields if base.is_dinov3 else base.fields | {"table_antialias": True}


def _fit_patches(base: DinoEncoder, doublings: int, source: str) -> Tensor:
    """Return the patch embedding that the decoder was trained on, which its doublings tell.

    Raises:
        UserError: If the decoder is for patches of another size.
    """
    patch = shape_of(base.tensors, str(base.path), _PATCH_EMBEDDING, 4)[2]
    weight = base.tensors[_PATCH_EMBEDDING]
    if doublings == _doublings_of(patch):
        return weight
    is_dinov2 = not base.is_dinov3 and weight.shape[2:] == (_DINOV2_PATCH, _DINOV2_PATCH)
    if is_dinov2 and doublings == _doublings_of(_RESAMPLED_PATCH):
        return resize_patch_embedding(weight.float(), _RESAMPLED_PATCH)
    raise UserError(
        f"{base.path} has patches of {patch} pixels, for which PMT doubles rows and columns "
        f"{_doublings_of(patch)} times, and the decoder in {source} doubles them {doublings} "
        "times; give the encoder that it was trained on"
    )


def _doublings_of(patch: int) -> int:
    """Return how often tue-mps doubles rows and columns of patches of this side, in pixels."""
    return max(1, int(math.log2(patch)) - 2)


def _decoder(
    tensors: Tensors, num_queries: int, doublings: int, base: DinoEncoder, source: str
) -> PlainMaskDecoderSpec:
    """Describe the decoder, off its shapes; features come from evenly spaced blocks."""
    hidden = shape_of(tensors, source, "decoder.blocks.0.mlp.expand.weight", 2)[0]
    shape_of(tensors, source, "decoder.laterals.0.mlp.expand.weight", 2)
    fields = {
        "queries": num_queries,
        "blocks": _count(tensors, r"decoder\.blocks\.(\d{1,3})\."),
        "features": _count(tensors, r"decoder\.laterals\.(\d{1,3})\."),
        "mlp_ratio": hidden / base.width,
        "doublings": doublings,
        "cells": shape_of(tensors, source, _PATCH_EMBEDDING, 4)[2],
    }
    if fields["features"] > base.depth:
        raise UserError(
            f"{base.path} has {base.depth} blocks, and {source} takes features of "
            f"{fields['features']}"
        )
    try:
        return PlainMaskDecoderSpec.model_validate(fields)
    except ValidationError as error:
        raise UserError(f"{source}: {first_problem(error, EncoderSpec)}") from None


def _count(tensors: Tensors, pattern: str) -> int:
    """Count the numbers that a pattern finds in names."""
    return len({found[1] for name in tensors if (found := re.match(pattern, name))})
