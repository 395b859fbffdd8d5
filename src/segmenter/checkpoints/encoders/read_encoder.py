"""Pretrained encoders as the start of a training run: timm's names, turned into ours."""

import re
from pathlib import Path

import torch
from torch import Tensor

from segmenter.checkpoints.bundled import BUNDLED_ENCODERS, bundled_encoders
from segmenter.checkpoints.encoders.augreg import is_augreg, rename_augreg_tensors
from segmenter.checkpoints.encoders.byte_planes import join_bytes
from segmenter.checkpoints.encoders.eva import join_parts, pair_halves
from segmenter.checkpoints.encoders.matching_weights import account, choose
from segmenter.checkpoints.encoders.patch_embedding import fit_patch_embedding, tell_resize
from segmenter.checkpoints.foreign.dino.encoder import is_dino, read_dino_tensors, unwrap
from segmenter.checkpoints.foreign.read_state import read_weights
from segmenter.checkpoints.foreign.tensors import (
    META_SWIGLU,
    TIMM_BLOCK,
    join_tokens,
    split_position_table,
)
from segmenter.checkpoints.hub import is_hub_name
from segmenter.checkpoints.open import resolve
from segmenter.errors import UserError
from segmenter.files.optional import import_optional
from segmenter.model.encoder import Encoder, resize_table
from segmenter.model.spec import EncoderSpec

_HUB_PREFIX = "timm:"
_RENAMED = (
    (r"^fc_norm\.", "norm."),
    (r"^patch_embed\.proj\.", "patch_embed."),
    *TIMM_BLOCK,
    *META_SWIGLU,
    (r"\.ls([12])\.gamma$", r".scale\1.gamma"),
    (r"\.gamma_([12])$", r".scale\1.gamma"),
)
_PREFIX_TOKENS = ("cls_token", "dist_token", "reg_token")
_CLASSIFIER = re.compile(r"^(head|head_dist|pre_logits|attn_pool|fc_norm|mask_token)(\.|$)")
_LAST_NORM = "norm.weight"
_PATCHES = "patch_embed.proj.weight"


def load_encoder_weights(encoder: Encoder, source: str, *, partial: bool = False) -> str:
    """Start an encoder from weights trained elsewhere.

    Blocks beyond the encoder's depth and the classifier are left out; the position table is
    resized to the encoder's; so is the patch embedding, and one for RGB is inflated to other
    channels.

    Args:
        encoder: Whose parameters are replaced.
        source: A `.safetensors` or `.pth` file with timm's names (DeiT's are the same); a DINOv2,
            DINOv3, EUPE, LingBot-Vision or TIPSv2 in its authors' layout or that of transformers,
            also as its folder or `hf:owner/name`; Google's AugReg `.npz`; the name of a bundled
            encoder; or `timm:NAME` to download.
        partial: Take only what fits by name and shape.

    Returns:
        One line that says what was kept, what starts fresh, and what is left unused.

    Raises:
        UserError: If the file is missing, damaged, or fits another architecture, naming every
            tensor that does not fit; with `partial`, if nothing fits.
    """
    path = Path(source)
    if source.startswith(_HUB_PREFIX):
        weights = _download(source.removeprefix(_HUB_PREFIX))
    elif source in BUNDLED_ENCODERS:
        weights = read_bundled_encoder(source)
    else:
        path = resolve(source) if is_hub_name(source) or path.is_dir() else path
        weights = _read_file(path)
    if is_dino(unwrap(weights)):
        weights, tensors = _dino_tensors(path, encoder.spec)
    else:
        tensors = rename_timm_tensors(weights, encoder, source, partial=partial)
    wanted = encoder.state_dict()
    kept = choose(wanted, tensors, source, partial=partial)
    said = account(source, wanted, kept, [*tensors, *_classifier(weights)])
    said += tell_resize(weights.get(_PATCHES), encoder.spec)
    encoder.load_state_dict(kept, strict=False)
    return said


def _dino_tensors(path: Path, spec: EncoderSpec) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
    """Read an encoder of Meta's or of transformers'.

    Returns:
        Its patch embedding by timm's name, and all tensors under our names, resized to `spec`.
    """
    found = read_dino_tensors(path).items()
    tensors = {name.removeprefix("encoder."): tensor for name, tensor in found}
    patches = tensors["patch_embed.weight"]
    tensors["patch_embed.weight"] = fit_patch_embedding(patches, spec)
    if "position_table" in tensors and spec.table_grid is not None:
        table = tensors["position_table"].float()
        tensors["position_table"] = resize_table(table, spec.table_grid, spec)
    if not spec.qkv_bias:  # as timm, where they are zeros
        tensors = {
            name: tensor
            for name, tensor in tensors.items()
            if not name.endswith(".attention.qkv.bias") or tensor.any()
        }
    return {_PATCHES: patches}, tensors


def rename_timm_tensors(
    weights: dict[str, Tensor], encoder: Encoder, source: str, *, partial: bool = False
) -> dict[str, Tensor]:
    """Give timm's tensors the names of `encoder`'s, and those its shapes that can be resized.

    Raises:
        UserError: If prefix tokens are not tokens, or positions not a grid. Positions that are
            neither keep their name if `partial`.
    """
    spec = encoder.spec
    dropped = _classifier(weights)
    weights = join_parts({name: each for name, each in weights.items() if name not in dropped})
    if spec.rotary_grid is not None:
        weights = pair_halves(weights)
    prefix = [weights.pop(name) for name in _PREFIX_TOKENS if name in weights]
    tensors = {"prefix_tokens": join_tokens(prefix, source)} if prefix else {}
    if not spec.num_prefix_tokens and not prefix:
        tensors["prefix_tokens"] = torch.empty(1, 0, spec.embed_dim)
    tensors |= _pop_positions(weights, spec, source, partial=partial)
    for name, tensor in weights.items():
        for pattern, replacement in _RENAMED:
            name = re.sub(pattern, replacement, name)
        tensors[name] = tensor
    if "patch_embed.weight" in tensors:
        tensors["patch_embed.weight"] = fit_patch_embedding(tensors["patch_embed.weight"], spec)
    return tensors


def _pop_positions(
    weights: dict[str, Tensor], spec: EncoderSpec, source: str, *, partial: bool
) -> dict[str, Tensor]:
    """Take the positions out of timm's tensors; those of the patches get the encoder's grid."""
    if "pos_embed" not in weights or spec.table_grid is None:
        return {}
    num_prefix = spec.num_prefix_tokens if spec.prefix_positions else 0
    try:
        positions, table = split_position_table(weights["pos_embed"], num_prefix, source)
    except UserError:
        if not partial:
            raise
        return {}
    del weights["pos_embed"]
    tensors = {"prefix_positions": positions} if num_prefix else {}
    return tensors | {"position_table": resize_table(table.float(), spec.table_grid, spec)}


def _classifier(weights: dict[str, Tensor]) -> list[str]:
    """Name the tensors of the classifier; EVA-02's last norm is the one before timm's."""
    has_norm = _LAST_NORM in weights
    return [
        name
        for name in weights
        if _CLASSIFIER.match(name) and (has_norm or not name.startswith("fc_norm."))
    ]


def read_bundled_encoder(name: str) -> dict[str, Tensor]:
    """Read the tensors of a bundled encoder, by timm's names; they are float16."""
    planes = read_weights(bundled_encoders()[name])
    return {tensor_name: join_bytes(each) for tensor_name, each in planes.items()}


def _read_file(path: Path) -> dict[str, Tensor]:
    tensors = read_weights(path)
    return rename_augreg_tensors(tensors, str(path)) if is_augreg(tensors) else tensors


def _download(name: str) -> dict[str, Tensor]:
    timm = import_optional(f"timm:{name}", "timm", extra="timm")
    try:
        return timm.create_model(name, pretrained=True, num_classes=0).state_dict()
    except Exception as error:  # an unknown name, no network, a refused licence: all are the user's
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise UserError(f"timm:{name} cannot be loaded from timm: {reason}") from None
