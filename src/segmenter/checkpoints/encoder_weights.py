"""Pretrained encoders as the start of a training run: timm's names, turned into ours."""

import re
from pathlib import Path

import torch
from torch import Tensor
from torch.nn import functional as F

from segmenter.checkpoints.augreg import is_augreg, rename_augreg_tensors
from segmenter.checkpoints.containers import is_safetensors
from segmenter.checkpoints.family import TIMM_BLOCK, split_position_table, to_tensors
from segmenter.checkpoints.own import check_fit, read_tensors
from segmenter.checkpoints.published import read_state
from segmenter.errors import UserError
from segmenter.model.encoder import Encoder

_HUB_PREFIX = "timm:"
_RENAMED = (
    (r"^patch_embed\.proj\.", "patch_embed."),
    *TIMM_BLOCK,
    (r"\.ls([12])\.gamma$", r".scale\1.gamma"),
    (r"\.gamma_([12])$", r".scale\1.gamma"),
)
_PREFIX_TOKENS = ("cls_token", "dist_token", "reg_token")
_CLASSIFIER = re.compile(r"^(head|head_dist|pre_logits|fc_norm|mask_token)(\.|$)")


def load_encoder_weights(encoder: Encoder, source: str) -> None:
    """Start an encoder from weights trained elsewhere.

    Blocks beyond the encoder's depth and the classifier are left out; the position table is
    resized to the encoder's; a patch embedding made for RGB is inflated to other channels.

    Args:
        encoder: Whose parameters are replaced.
        source: A `.safetensors` or `.pth` file with timm's names (DeiT's are the same), Google's
            AugReg `.npz`, or `timm:NAME` to download.

    Raises:
        UserError: If the file is missing, damaged, or fits another architecture.
    """
    if source.startswith(_HUB_PREFIX):
        weights = _download(source.removeprefix(_HUB_PREFIX))
    else:
        weights = _read_file(Path(source))
    tensors = rename_timm_tensors(weights, encoder, source)
    check_fit(encoder.state_dict(), tensors, source)
    encoder.load_state_dict({name: tensor.float() for name, tensor in tensors.items()})


def rename_timm_tensors(
    weights: dict[str, Tensor], encoder: Encoder, source: str
) -> dict[str, Tensor]:
    """Give timm's tensors the names and shapes of `encoder`'s."""
    spec = encoder.spec
    weights = {name: tensor for name, tensor in weights.items() if not _CLASSIFIER.match(name)}
    prefix = [weights.pop(name) for name in _PREFIX_TOKENS if name in weights]
    tensors = {"prefix_tokens": torch.cat(prefix, dim=1)} if prefix else {}
    if "pos_embed" in weights and encoder.position_table is not None:
        num_prefix = spec.num_prefix_tokens if spec.prefix_positions else 0
        positions, table = split_position_table(weights.pop("pos_embed"), num_prefix, source)
        if num_prefix:
            tensors["prefix_positions"] = positions
        grid = encoder.position_table.shape[2:]
        tensors["position_table"] = F.interpolate(
            table.float(), grid, mode=spec.table_resize, antialias=spec.table_antialias
        )
    for name, tensor in weights.items():
        block = re.match(r"^blocks\.(\d+)\.", name)
        if block and int(block[1]) >= spec.depth:
            continue
        for pattern, replacement in _RENAMED:
            name = re.sub(pattern, replacement, name)
        tensors[name] = tensor
    if "patch_embed.weight" in tensors:
        tensors["patch_embed.weight"] = inflate_patch_embedding(
            tensors["patch_embed.weight"], spec.in_channels
        )
    return tensors


def inflate_patch_embedding(weight: Tensor, in_channels: int) -> Tensor:
    """Fit an RGB patch embedding to other channels: repeat R, G, B and keep the response's size."""
    channels = weight.shape[1]
    if in_channels == channels:
        return weight
    repeated = weight[:, torch.arange(in_channels) % channels]
    return repeated * (channels / in_channels)


def _read_file(path: Path) -> dict[str, Tensor]:
    if not path.is_file():
        raise UserError(f"no such file of encoder weights: {path}")
    if is_safetensors(path):
        return read_tensors(path)[0]
    state, _ = read_state(path)
    tensors = to_tensors(state, path)
    if not tensors:
        raise UserError(f"{path} holds no table of tensors")
    return rename_augreg_tensors(tensors, str(path)) if is_augreg(tensors) else tensors


def _download(name: str) -> dict[str, Tensor]:
    try:
        import timm
    except ImportError:
        raise UserError(
            f"timm:{name} needs timm: install it with `pip install 'vit-segmenter[timm]'`"
        ) from None
    try:
        return timm.create_model(name, pretrained=True, num_classes=0).state_dict()
    except Exception as error:  # an unknown name, no network, a refused licence: all are the user's
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise UserError(f"timm:{name} cannot be had: {reason}") from None
