"""Turn timm's tensors of EVA-02 (and DINOv3's SwiGLU) into joined layers and our rotation.

EVA-02 turns neighbouring channels of a head together, and we, as DINOv3, those half a head apart.
Queries and keys only meet in their product, which the order of their channels does not change: so
they are brought into our order once, and there is one rotation.
"""

import re

import torch
from torch import Tensor

from segmenter.numbers import HEAD_DIM

_WHOLES = {
    "attn.qkv.weight": ("attn.q_proj.weight", "attn.k_proj.weight", "attn.v_proj.weight"),
    "attn.qkv.bias": ("attn.q_proj.bias", "attn.v_proj.bias"),
    "mlp.fc1.weight": ("mlp.fc1_g.weight", "mlp.fc1_x.weight"),
    "mlp.fc1.bias": ("mlp.fc1_g.bias", "mlp.fc1_x.bias"),
}
_FUSED_BIAS = re.compile(r"\.attn\.([qv])_bias$")


def join_parts(weights: dict[str, Tensor]) -> dict[str, Tensor]:
    """Join layers with the same input: queries, keys and values; gate and value of SwiGLU.

    Keys have no bias: theirs is 0. Parts that do not go together keep their names.
    """
    joined = {_FUSED_BIAS.sub(r".attn.\1_proj.bias", name): each for name, each in weights.items()}
    blocks = {found[0] for name in joined if (found := re.match(r"blocks\.\d+\.", name))}
    for block in sorted(blocks):
        for whole, names in _WHOLES.items():
            parts = [joined[block + name] for name in names if block + name in joined]
            is_whole = len(parts) == len(names) and parts[0].ndim
            if not is_whole or any(part.shape != parts[0].shape for part in parts):
                continue
            for name in names:
                del joined[block + name]
            if whole == "attn.qkv.bias":
                parts.insert(1, torch.zeros_like(parts[0]))
            joined[block + whole] = torch.cat(parts)
    return joined


def pair_halves(weights: dict[str, Tensor]) -> dict[str, Tensor]:
    """Bring the channels of EVA-02's queries and keys into the order of our rotation."""
    return {
        name: _pair_halves(tensor) if re.search(r"\.attn\.qkv\.\w+$", name) else tensor
        for name, tensor in weights.items()
    }


def _pair_halves(qkv: Tensor) -> Tensor:
    """Put the even channels of each head before the odd ones, except in values."""
    if not qkv.numel() or not qkv.ndim or qkv.shape[0] % (3 * HEAD_DIM):
        return qkv
    query, key, value = qkv.chunk(3)
    query, key = (
        part.unflatten(0, (-1, HEAD_DIM // 2, 2)).transpose(1, 2).flatten(0, 2)
        for part in (query, key)
    )
    return torch.cat([query, key, value])
