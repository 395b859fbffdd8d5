"""PMT as tue-mps publishes it: a decoder, for the DINOv2 or DINOv3 that it was trained on.

Sources: tue-mps/pmt `image/models/pmt.py`, `image/models/pmd.py`, `image/models/layers.py`, and
`image/scripts/convert_ckpt.py`. The windows are those of EoMT.
"""

import re

import torch
from pydantic import ValidationError

from segmenter.checkpoints.foreign.dino.encoder import DinoEncoder
from segmenter.checkpoints.foreign.dino.named_encoder import read_base
from segmenter.checkpoints.foreign.eomt import (
    check_masking,
    published_side,
    refuse_instances,
    side_note,
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
from segmenter.model.spec import EncoderSpec

_MASKING = "network.decoder.attn_mask_probs"
_MANY_BATCHES = 10.0  # so that the first step of a training moves the statistics as later ones do
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
            decoder at the end of its training.
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
    tensors |= base.tensors
    tensors["decoder.queries"] = tensors["decoder.queries"][None]
    decoder = _decoder(tensors, num_queries, width, base, source)
    for level in range(decoder.features):
        batches = torch.tensor([_MANY_BATCHES])
        tensors[f"decoder.laterals.{level}.norm.num_batches"] = batches
    encoder = describe_encoder(tensors, source, base.fields)
    num_classes = shape_of(tensors, source, "decoder.head.classify.weight", 2)[0] - 1
    refuse_instances(num_classes, file)
    side = published_side(num_classes)
    classes, notes = choose_classes(num_classes, file.classes, None, source)
    spec = whole_spec(
        source,
        encoder=encoder,
        decoder=decoder,
        size_policy=PMT.size_policy,
        classes=classes,
        normalization=IMAGENET,
        protocol=windows_along(side, source),
        provenance=f"imported from {PMT.origin.format(file.path.name)} and {base.path.name} "
        f"(SHA-256 {base.sha256})",
        license=base.license if base.is_dinov3 else "",
    )
    notes = (*base.identify(), side_note(side, num_classes), *notes)
    return ForeignModel(PMT.name, spec, tensors, dropped, notes)


def _decoder(
    tensors: Tensors, num_queries: int, width: int, base: DinoEncoder, source: str
) -> PlainMaskDecoderSpec:
    """Describe the decoder, off its shapes; features come from evenly spaced blocks."""
    hidden = shape_of(tensors, source, "decoder.blocks.0.mlp.expand.weight", 2)[0]
    shape_of(tensors, source, "decoder.laterals.0.mlp.expand.weight", 2)
    fields = {
        "queries": num_queries,
        "blocks": _count(tensors, r"decoder\.blocks\.(\d{1,3})\."),
        "features": _count(tensors, r"decoder\.laterals\.(\d{1,3})\."),
        "mlp_ratio": hidden / width,
        "doublings": _count(tensors, r"decoder\.head\.refine\.(\d{1,3})\."),
        "cells": shape_of(tensors, source, "encoder.patch_embed.weight", 4)[2],
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
