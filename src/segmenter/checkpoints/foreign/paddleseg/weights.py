"""Segmenters of PaddleSeg: `.pdparams`.

Sources: PaddleSeg `paddleseg/models/segmenter.py`, `models/backbones/vision_transformer.py` and
`configs/segmenter`; PaddlePaddle `python/paddle/framework/io.py` for the file.
"""

from collections.abc import Mapping
from typing import Any

import torch

from segmenter.checkpoints.foreign.family import Family, ForeignFile, ForeignModel
from segmenter.checkpoints.foreign.tensors import TIMM_BLOCK, Tensors, join_prefix, to_tensors
from segmenter.errors import UserError
from segmenter.model.protocol import published_protocol

_SPLIT = "UnpackBigParamInfor@@"
_RULES = (
    (r"^backbone\.", "encoder."),
    (r"^encoder\.patch_embed\.proj\.", "encoder.patch_embed."),
    (r"^head\.head\.", "decoder.project."),
    (r"^head\.cls_token$", "decoder.class_tokens"),
    (r"^head\.proj_input\.", "decoder.project_in."),
    (r"^head\.proj_patch\.", "decoder.project_patches."),
    (r"^head\.proj_class\.", "decoder.project_classes."),
    (r"^head\.decoder_norm\.", "decoder.norm."),
    (r"^head\.mask_norm\.", "decoder.norm_logits."),
    (r"^head\.", "decoder."),
    *TIMM_BLOCK,
)

PADDLESEG = Family(
    name="PaddleSeg",
    origin="the PaddleSeg checkpoint {}",
    marks=frozenset({"backbone.patch_embed.proj.weight"}),
    heads=("head.head.weight", "head.cls_token"),
    dropped=r"backbone\.head\.",
    rules=_RULES,
    encoder={"layer_norm_eps": 1e-5, "table_resize": "bicubic", "drop_path": 0.1},
    decoder={"layer_norm_eps": 1e-5, "drop_path": 0.1},
    size_policy="stretch",
)


def read_paddleseg(file: ForeignFile) -> ForeignModel:
    """Turn the table of a `.pdparams` file into a model of ours.

    Raises:
        UserError: If it is not a whole Segmenter, or classes of another number are given.
    """
    source = str(file.path)
    tensors = join_slices(to_tensors(file.state, file.path), file.state, source)
    # Paddle keeps the weight of a linear layer as (in, out); nothing else has two axes.
    tensors = {name: value.T if value.ndim == 2 else value for name, value in tensors.items()}
    tensors, dropped = PADDLESEG.rename(tensors)
    return PADDLESEG.make_model(
        file,
        join_prefix(tensors, source),
        dropped,
        lambda _encoder, _count: published_protocol("paddleseg", window=512),
    )


def join_slices(tensors: Tensors, state: Mapping[str, object], source: str) -> Tensors:
    """Put together what pickle protocols 2 and 3 split: arrays of more than 1 GiB."""
    splits: Any = state.get(_SPLIT, {})
    tensors = dict(tensors)
    try:
        for name, how in splits.items():
            parts = [tensors.pop(part).flatten() for part in how["slices"]]
            tensors[name] = torch.cat(parts).reshape(how["OriginShape"])
    except Exception as error:  # the table may hold anything
        reason = str(error)[:200] or type(error).__name__
        raise UserError(f"{source}: {_SPLIT} does not fit the arrays: {reason}") from None
    return tensors
