"""EoMT as transformers saves it: `EomtForUniversalSegmentation`, with DINOv2 or DINOv3.

Source: huggingface/transformers `models/eomt/modeling_eomt.py` and
`models/eomt_dinov3/modeling_eomt_dinov3.py`.
"""

import math

from torch import Tensor

from segmenter.checkpoints.foreign.eomt import EoMTFacts, make_eomt
from segmenter.checkpoints.foreign.family import Family, ForeignFile, ForeignModel
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
    facts = EoMTFacts(
        family=HUGGING_FACE_EOMT,
        encoder=encoder,
        masking=weights.get("attn_mask_probs"),
        masking_name="attn_mask_probs",
        normalization=read_normalization(file.path),
        window=config.window,
        listed=config.classes(),
        license="" if has_table else DINOV3_LICENSE,
    )
    return make_eomt(file, tensors, dropped, facts)


def _position_table(table: Tensor, source: str) -> Tensor:
    """Turn (patches, width) into (1, width, rows, columns)."""
    side = math.isqrt(table.shape[0])
    if table.ndim != 2 or side * side != table.shape[0] or not side:
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
    shapes = {name: tuple(tensor.shape) for name, tensor in tensors.items()}
    has = {
        "hidden_size": shapes.get("decoder.queries", (0, 0))[-1],
        "num_queries": shapes.get("decoder.queries", (0,))[0],
        "patch_size": shapes.get("encoder.patch_embed.weight", (0,))[-1],
        "num_hidden_layers": _count(tensors, "encoder.blocks."),
        "num_register_tokens": shapes.get("encoder.prefix_tokens", (0, 1))[1] - 1,
        "num_upscale_blocks": _count(tensors, "decoder.refine."),
        "num_blocks": len(weights["attn_mask_probs"]) if "attn_mask_probs" in weights else None,
        "id2label": shapes.get("decoder.classify.weight", (0,))[0] - 1,
    }
    for name, found in has.items():
        told = len(config.id2label) if name == "id2label" else getattr(config, name)
        if found is not None and told != found:
            raise UserError(
                f"{source}: config.json says {name} {told}, and the tensors have {found}; it is "
                "the config of another model"
            )


def _count(tensors: Tensors, start: str) -> int:
    """Return how many numbered parts there are below a name."""
    return len({name[len(start) :].split(".")[0] for name in tensors if name.startswith(start)})
