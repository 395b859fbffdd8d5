"""EoMT as transformers saves it: `EomtForUniversalSegmentation`, with DINOv2 or DINOv3.

Source: huggingface/transformers `models/eomt/modeling_eomt.py` and
`models/eomt_dinov3/modeling_eomt_dinov3.py`.
"""

import math

from torch import Tensor

from segmenter.checkpoints.foreign.eomt import EoMTFacts, make_eomt
from segmenter.checkpoints.foreign.family import (
    Family,
    ForeignFile,
    ForeignModel,
    shape_of,
)
from segmenter.checkpoints.foreign.hugging_face.config import (
    EomtConfig,
    read_config,
    read_normalization,
)
from segmenter.checkpoints.foreign.hugging_face.names import (
    BLOCK,
    DINOV3_LICENSE,
    join_projections,
    join_special_tokens,
)
from segmenter.checkpoints.foreign.tensors import Tensors, to_tensors
from segmenter.errors import UserError
from segmenter.numbers import HEAD_DIM

_TABLE = "encoder.position_embeddings.weight"
_MASKING = "attn_mask_probs"
_UNMASKED = (
    "the file lacks attn_mask_probs: its queries are assumed to see all patches, as at the end of "
    "a training; transformers masks them where it is missing"
)
HUGGING_FACE_EOMT = Family(
    name="EoMT (Hugging Face)",
    origin="the EoMT checkpoint {}",
    marks=frozenset({"query.weight", "mask_head.fc1.weight"}),
    heads=("class_predictor.weight",),
    dropped=r"criterion\.|attn_mask_probs$|embeddings\.mask_token$|rope_embeddings\.",
    rules=(
        (r"^embeddings\.patch_embeddings\.(?:projection\.)?", "encoder.patch_embed."),
        (r"^embeddings\.", "encoder."),
        (r"^layers\.", "encoder.blocks."),
        *BLOCK,
        (r"^layernorm\.", "encoder.norm."),
        (r"^query\.weight$", "decoder.queries"),
        (r"^class_predictor\.", "decoder.classify."),
        (r"^mask_head\.fc1\.", "decoder.embed.0."),
        (r"^mask_head\.fc2\.", "decoder.embed.2."),
        (r"^mask_head\.fc3\.", "decoder.embed.4."),
        (r"^upscale_block\.block\.(\d+)\.conv1\.", r"decoder.refine.\1.0."),
        (r"^upscale_block\.block\.(\d+)\.conv2\.", r"decoder.refine.\1.2."),
        (r"^upscale_block\.block\.(\d+)\.layernorm2d\.", r"decoder.refine.\1.3."),
    ),
    encoder={"table_resize": "bicubic", "table_antialias": True, "prefix_positions": False},
    decoder={},
    size_policy="pad-crop",
)


def read_hugging_face_eomt(file: ForeignFile) -> ForeignModel:
    """Turn the weights and the settings of a folder into a model of ours.

    Raises:
        UserError: If weights and `config.json` disagree, or are not a whole EoMT.
    """
    source = str(file.path)
    config = read_config(file.path)
    weights = to_tensors(file.state, file.path)
    _check_heads(config, source)
    tensors, dropped = HUGGING_FACE_EOMT.rename(join_projections(weights, source))
    tensors = join_special_tokens(tensors, source)
    has_table = _TABLE in tensors
    if has_table != (config.model_type == "eomt"):
        told = "DINOv2" if config.model_type == "eomt" else "DINOv3"
        raise UserError(
            f"{source}: config.json says {told}, and the tensors are those of "
            f"{'DINOv2' if has_table else 'DINOv3'}"
        )
    encoder = {**HUGGING_FACE_EOMT.encoder, "layer_norm_eps": config.layer_norm_eps}
    if has_table:
        tensors["encoder.position_table"] = _position_table(tensors.pop(_TABLE), source)
    else:
        encoder |= {"position": "rotary", "rotary_temperature": config.rotary_temperature}
    _check_sizes(config, tensors, weights, source)
    _check_masking(weights, source)
    facts = EoMTFacts(
        family=HUGGING_FACE_EOMT,
        encoder=encoder,
        blocks=config.num_blocks,
        normalization=read_normalization(file.path),
        window=config.window,
        listed=config.classes(),
        license="" if has_table else DINOV3_LICENSE,
        notes=() if _MASKING in weights else (_UNMASKED,),
    )
    return make_eomt(file, tensors, dropped, facts)


def _position_table(table: Tensor, source: str) -> Tensor:
    """Turn (patches, width) into (1, width, rows, columns)."""
    side = math.isqrt(len(table)) if table.ndim == 2 else 0
    if not side or side * side != len(table):
        raise UserError(f"{source}: the position table has shape {tuple(table.shape)}")
    return table.T.unflatten(1, (side, side))[None]


def _check_heads(config: EomtConfig, source: str) -> None:
    """Refuse heads and activations that our blocks do not have."""
    if config.hidden_size != HEAD_DIM * config.num_attention_heads:
        raise UserError(
            f"{source}: config.json says {config.num_attention_heads} attention heads for "
            f"{config.hidden_size} channels; only heads of {HEAD_DIM} channels are read"
        )
    if config.hidden_act != "gelu" or config.use_gated_mlp:
        raise UserError(
            f"{source}: config.json says hidden_act {config.hidden_act!r} and use_gated_mlp "
            f"{str(config.use_gated_mlp).lower()}; only 'gelu' without gates is read"
        )


def _check_sizes(config: EomtConfig, tensors: Tensors, weights: Tensors, source: str) -> None:
    """Refuse a config that says other sizes than the tensors have."""
    num_queries, width = shape_of(tensors, source, "decoder.queries", 2)
    has = {
        "hidden_size": width,
        "num_queries": num_queries,
        "patch_size": shape_of(tensors, source, "encoder.patch_embed.weight", 4)[3],
        "num_hidden_layers": _count(tensors, "encoder.blocks."),
        "num_register_tokens": shape_of(tensors, source, "encoder.prefix_tokens", 3)[1] - 1,
        "num_upscale_blocks": _count(tensors, "decoder.refine."),
        "id2label": shape_of(tensors, source, "decoder.classify.weight", 2)[0] - 1,
    }
    if "encoder.position_table" in tensors:
        rows, patch = tensors["encoder.position_table"].shape[2], has["patch_size"]
        if {side // patch for side in config.sides} != {rows}:
            has["image_size"] = rows * patch
    if _MASKING in weights:
        has["num_blocks"] = shape_of(weights, source, _MASKING, 1)[0]
    for name, found in has.items():
        told = len(config.id2label) if name == "id2label" else getattr(config, name)
        if told != found:
            raise UserError(
                f"{source}: config.json says {name} {told}, and the tensors have {found}; it is "
                "the config of another model"
            )


def _check_masking(weights: Tensors, source: str) -> None:
    """Refuse a model that masks attention at inference, too.

    Some files have -1 for 0: the difference to ones of a release for DINOv3.
    """
    if _MASKING in weights and (weights[_MASKING] > 0).any():
        raise UserError(
            f"{source} still masks attention at inference: attn_mask_probs, the share of queries "
            "that see only their own masks, is not 0, and training with transformers does not "
            "lower it; inference here has no masks: lower it to 0 in the course of the training, "
            "or train with `segmenter train --model.decoder eomt`, which does"
        )


def _count(tensors: Tensors, start: str) -> int:
    """Return how many numbered parts there are below a name."""
    return len({name[len(start) :].split(".")[0] for name in tensors if name.startswith(start)})
