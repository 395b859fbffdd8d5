"""Read an encoder of DINOv2 or DINOv3 as Meta, Hugging Face or timm stores it, under our names.

EUPE and LingBot-Vision have the tensors of DINOv3, and TIPSv2 those of DINOv2 with one register.

Sources: facebookresearch/dinov3 `dinov3/models/vision_transformer.py`, `dinov3/hub/backbones.py`;
facebookresearch/dinov2 `dinov2/models/vision_transformer.py`; huggingface/transformers
`models/dinov3_vit/modeling_dinov3_vit.py`, `models/tipsv2/modeling_tipsv2.py`,
`conversion_mapping.py`; huggingface/pytorch-image-models `timm/models/eva.py`;
Robbyant/lingbot-vision `README.md`.
"""

import hashlib
import math
import re
from collections.abc import Collection
from pathlib import Path
from typing import Any, NamedTuple

import torch

from segmenter.checkpoints import model_file
from segmenter.checkpoints.foreign.family import shape_of
from segmenter.checkpoints.foreign.hugging_face.names import (
    BLOCK,
    DINOV3_LICENSE,
    join_projections,
    join_special_tokens,
)
from segmenter.checkpoints.foreign.hugging_face.shards import is_index, shard_names
from segmenter.checkpoints.foreign.read_state import read_weights
from segmenter.checkpoints.foreign.tensors import (
    META_SWIGLU,
    TIMM_BLOCK,
    Tensors,
    join_prefix,
    join_tokens,
    rename,
    split_off,
    split_position_table,
)
from segmenter.errors import UserError

DINOV3 = {
    "position": "rotary",
    "rotary_temperature": 100.0,
    "prefix_positions": False,
    "layer_norm_eps": 1e-5,
}
"""Fields of `EncoderSpec` that the shapes of a DINOv3 do not say."""
DINOV2 = {"layer_norm_eps": 1e-6, "table_resize": "bicubic"}
"""The same of a DINOv2."""
_HEAD_DIMS = {4096: 128}
"""Channels of a head by those of a token, where they are not 64: DINOv3's 7B. Shapes do not say."""
_WEB, _SATELLITE = "LVD-1689M", "SAT-493M"
_KNOWN = {
    "08c60483": ("ViT-S/16", _WEB),
    "4057cbaa": ("ViT-S+/16", _WEB),
    "73cec8be": ("ViT-B/16", _WEB),
    "8aa4cbdd": ("ViT-L/16", _WEB),
    "7c1da9a5": ("ViT-H+/16", _WEB),
    "a955f4ea": ("ViT-7B/16", _WEB),
    "eadcf0ff": ("ViT-L/16", _SATELLITE),
    "a6675841": ("ViT-7B/16", _SATELLITE),
}
"""The first digits of the SHA-256 of Meta's files of DINOv3, which their names end with."""
_DROPPED = (
    r"mask_token$|embeddings\.mask_token$|rope_embed\.periods$|local_cls_norm\."
    r"|.*\.attn\.qkv\.bias_mask$|head\.|.*inv_freq$|projectors\."
)
_WRAPPERS = ("vision_encoder.", "vision_model.", "backbone.")
"""Prefixes of an encoder in a larger model: TIPSv2 (Google, transformers), LingBot-Vision."""
_META = (
    (r"^patch_embed\.proj\.", "patch_embed."),
    *TIMM_BLOCK,
    (r"\.ls([12])\.gamma$", r".scale\1.gamma"),
    (r"\.gamma_([12])$", r".scale\1.gamma"),
    *META_SWIGLU,
    (r"^storage_tokens$|^reg_token$", "register_tokens"),
    (r"^", "encoder."),
)
_HUGGING_FACE = (
    (r"^embeddings\.patch_embeddings\.(?:projection\.)?", "encoder.patch_embed."),
    (r"^embeddings\.", "encoder."),
    (r"^(?:model\.|encoder\.)?layer\.", "encoder.blocks."),
    *BLOCK,
    (r"^(?:layer)?norm\.", "encoder.norm."),
)
_GATED = re.compile(r"(blocks\.\d+\.mlp\.)(?:w1|fc1_g)\.(weight|bias)$")


class DinoEncoder(NamedTuple):
    """An encoder under our names."""

    path: Path
    tensors: Tensors
    """All names begin with `encoder.`."""
    fields: dict[str, Any]
    """Fields of `EncoderSpec` that shapes do not say."""
    sha256: str
    """SHA-256 of the file, or of its shards in the order of their names."""

    @property
    def is_dinov3(self) -> bool:
        """True if positions are rotary, as in DINOv3."""
        return "position" in self.fields

    @property
    def is_tipsv2(self) -> bool:
        """True if it has positions and one register, as TIPSv2 alone."""
        tokens = self.tensors["encoder.prefix_tokens"].shape[1]
        has_register = tokens == 2 and "encoder.prefix_positions" not in self.tensors
        return has_register and not self.is_dinov3

    @property
    def license(self) -> str:
        """Return the licence of all that is made from it."""
        if not self.is_dinov3:
            return "Apache-2.0"
        if self.sha256[:8] in _KNOWN:
            return DINOV3_LICENSE
        return (
            f"{DINOV3_LICENSE} If {self.path.name} is another encoder, such as EUPE or "
            "LingBot-Vision, its own terms hold instead."
        )

    @property
    def width(self) -> int:
        """Number of channels."""
        return self.tensors["encoder.norm.weight"].shape[0]

    @property
    def depth(self) -> int:
        """Number of blocks."""
        return len({name.split(".")[2] for name in self.tensors if ".blocks." in name})

    def identify(self) -> tuple[str, ...]:
        """Return a note if the file is not one that Meta publishes.

        Raises:
            UserError: If it is trained on satellite images, as no published decoder is, or is a
                TIPSv2, for which none is published either.
        """
        if self.is_tipsv2:
            raise UserError(
                f"{self.path} is a TIPSv2, whose numerics no decoder or difference is known for; "
                "give a DINOv2 or DINOv3 with --base"
            )
        model, data = _KNOWN.get(self.sha256[:8], ("", ""))
        if data == _SATELLITE:
            raise UserError(
                f"{self.path} is DINOv3's {model} of satellite images ({data}); give the one of "
                f"{_WEB} with --base"
            )
        if model or not self.is_dinov3:
            return ()
        return (
            f"{self.path.name} fits by its shapes, but is not a .pth that Meta publishes, by its "
            f"SHA-256 {self.sha256[:16]}...: make sure that it is the DINOv3 of {_WEB}",
        )


def is_dino(names: Collection[str]) -> bool:
    """Return whether these names are those of an encoder of Meta or Hugging Face."""
    is_meta = "cls_token" in names and {"storage_tokens", "register_tokens"} & set(names)
    has_scale = any(name.endswith(".layer_scale1.lambda1") for name in names)
    return bool(is_meta) or ("embeddings.cls_token" in names and has_scale)


def unwrap(weights: Tensors) -> Tensors:
    """Return the encoder in a model that has more parts; other weights as they are."""
    for prefix in _WRAPPERS:
        inner = {
            n.removeprefix(prefix): each for n, each in weights.items() if n.startswith(prefix)
        }
        if is_dino(inner):
            return inner
    return weights


def read_dino_encoder(path: Path) -> DinoEncoder:
    """Read an encoder of DINOv2 or DINOv3: Meta's `.pth`, or safetensors of transformers or timm.

    Raises:
        UserError: If the file is missing, damaged or dangerous, or holds no such encoder.
    """
    tensors = read_dino_tensors(path)
    is_dinov3 = "encoder.position_table" not in tensors
    fields = dict(DINOV3) if is_dinov3 else _dinov2_fields(tensors)
    width = tensors["encoder.norm.weight"].shape[0]
    if is_dinov3 and width in _HEAD_DIMS:
        fields["head_dim"] = _HEAD_DIMS[width]
    return DinoEncoder(path, tensors, fields, _sha256(path))


def read_dino_tensors(path: Path) -> Tensors:
    """Read the tensors of such an encoder, under our names; its file is not read to its end.

    Raises:
        UserError: As `read_dino_encoder`.
    """
    source = str(path)
    weights, _ = split_off(unwrap(read_weights(path)), _DROPPED)
    if "embeddings.cls_token" in weights:
        tensors = rename(join_projections(weights, source), _HUGGING_FACE)
        tensors = _hugging_face_tokens(tensors, source)
    elif {"cls_token", "patch_embed.proj.weight"} <= weights.keys():
        tensors = _meta_tokens(rename(_join_gates(weights, source), _META), source)
    else:
        raise UserError(
            f"{path} is not an encoder of DINOv2 or DINOv3 in the layout of Meta, transformers or "
            "timm"
        )
    model_file.check_dtypes(tensors, source)
    for name in ("encoder.norm.weight", "encoder.patch_embed.bias"):
        shape_of(tensors, source, name, 1)
    has_table = "encoder.position_table" in tensors
    if not has_table and shape_of(tensors, source, "encoder.patch_embed.weight", 4)[2] == 14:
        raise UserError(
            f"{path} is damaged: a DINOv2, by its patches of 14 pixels, without positions"
        )
    return tensors


def add_differences(differences: Tensors, base: DinoEncoder, source: str) -> Tensors:
    """Add the tensors of an encoder in a file of differences to those of its base.

    Raises:
        UserError: If the base is another encoder.
    """
    whole = dict(base.tensors)
    for name in differences.keys() - whole.keys():
        if name.endswith(".attention.qkv.bias"):  # timm leaves them out where they are zeros
            whole[name] = torch.zeros_like(differences[name])
    wrong = _first_misfit(differences, whole)
    if wrong:
        raise UserError(
            f"{base.path} has {base.depth} blocks of {base.width} channels, and {source} holds "
            f"differences to another encoder ({wrong}); give the DINOv3 that it was trained from"
        )
    return {name: whole[name].float() + each.float() for name, each in differences.items()}


def _first_misfit(differences: Tensors, whole: Tensors) -> str:
    """Name the first tensor that only one of two encoders has, or in another shape; else ''."""
    for name in sorted(differences.keys() | whole.keys()):
        shapes = [
            tuple(each[name].shape) if name in each else None for each in (differences, whole)
        ]
        if shapes[0] != shapes[1]:
            told = " and ".join("missing" if shape is None else str(shape) for shape in shapes)
            return f"{name}: {told}"
    return ""


def _dinov2_fields(tensors: Tensors) -> dict[str, Any]:
    """Describe a DINOv2; those with registers were trained with a smoothed position table."""
    has_registers = "encoder.prefix_positions" not in tensors
    return DINOV2 | {"prefix_positions": not has_registers, "table_antialias": has_registers}


def _hugging_face_tokens(tensors: Tensors, source: str) -> Tensors:
    positions = tensors.pop("encoder.position_embeddings", None)
    if positions is None:
        return join_special_tokens(tensors, source)
    return _with_table(tensors, positions, source)


def _meta_tokens(tensors: Tensors, source: str) -> Tensors:
    positions = tensors.pop("encoder.pos_embed", None)
    if positions is None:
        return join_special_tokens(tensors, source)
    return _with_table(tensors, positions, source)


def _with_table(tensors: Tensors, positions: torch.Tensor, source: str) -> Tensors:
    """Put class token, registers and positions of a DINOv2 into our form.

    The class token has a position, and registers do not. With registers, the position is added to
    the token once; in timm's files, it is already.
    """
    registers = tensors.pop("encoder.register_tokens", None)
    if registers is None:
        return join_prefix({**tensors, "encoder.pos_embed": positions}, source)
    first = tensors.pop("encoder.cls_token")
    is_added = positions.ndim == 3 and math.isqrt(positions.shape[1]) ** 2 == positions.shape[1]
    of_class, table = split_position_table(positions, 0 if is_added else 1, source)
    if not is_added:
        if first.shape != of_class.shape:
            raise UserError(
                f"{source}: the class token has shape {tuple(first.shape)}, expected "
                f"{tuple(of_class.shape)}"
            )
        first = first + of_class
    tensors["encoder.prefix_tokens"] = join_tokens([first, registers], source)
    tensors["encoder.position_table"] = table
    return tensors


def _join_gates(weights: Tensors, source: str) -> Tensors:
    """Join gate and value of SwiGLU, and the biases of queries and values where they are apart."""
    joined = dict(weights)
    for name in weights:
        if found := _GATED.match(name):
            value = name.replace(".w1.", ".w2.").replace(".fc1_g.", ".fc1_x.")
            if value not in joined or joined[value].shape != joined[name].shape:
                raise UserError(f"{source}: {name} needs {value} of the same shape")
            joined[f"{found[1]}fc1.{found[2]}"] = torch.cat([joined.pop(name), joined.pop(value)])
    return _without_key_bias(joined)


def _without_key_bias(weights: Tensors) -> Tensors:
    """Set the bias of the keys to 0, which Meta's code masks and its files may hold as NaN."""
    for name, tensor in weights.items():
        if name.endswith(".attn.qkv.bias") and tensor.ndim == 1 and "pos_embed" not in weights:
            query, key, value = tensor.chunk(3)
            weights[name] = torch.cat([query, torch.zeros_like(key), value])
    return weights


def _sha256(path: Path) -> str:
    """Return the digest of a file, or of the shards that an index lists."""
    digest = hashlib.sha256()
    for each in [path.parent / name for name in shard_names(path)] if is_index(path) else [path]:
        with each.open("rb") as file:
            while part := file.read(1 << 20):
                digest.update(part)
    return digest.hexdigest()
