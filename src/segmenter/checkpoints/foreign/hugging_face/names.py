"""Tensor names of Hugging Face's DINOv2 and DINOv3, turned into ours.

Source: huggingface/transformers `models/dinov2/modeling_dinov2.py`,
`models/dinov3_vit/modeling_dinov3_vit.py`, `models/eomt/modeling_eomt.py`.
"""

import re

import torch

from segmenter.checkpoints.foreign.tensors import Rules, Tensors, join_tokens
from segmenter.errors import UserError

BLOCK: Rules = (
    (r"\.attention\.(?:out_proj|o_proj|output\.dense)\.", ".attention.project."),
    (r"\.layer_scale([12])\.lambda1$", r".scale\1.gamma"),
    (r"\.mlp\.(?:fc1|weights_in)\.", ".mlp.expand."),
    (r"\.mlp\.(?:fc2|weights_out|down_proj)\.", ".mlp.reduce."),
)
"""The inside of a block; what `join_projections` leaves."""
DINOV3_LICENSE = (
    "DINOv3 License (https://ai.meta.com/resources/models-and-libraries/dinov3-license): its terms "
    "hold for all weights made from DINOv3."
)
"""Terms of use of weights that start from DINOv3."""
_PROJECTION = re.compile(
    r"(.*?\.attention\.)(?:attention\.)?([qkv])(?:_proj|uery|ey|alue)\.(weight|bias)$"
)
_GATED = re.compile(r"(.*\.mlp\.)(gate|up)_proj\.(weight|bias)$")


def join_projections(tensors: Tensors, source: str) -> Tensors:
    """Join query, key and value, and gate and value of a gated MLP, into one tensor each.

    DINOv3's keys have no bias: it becomes zeros.

    Raises:
        UserError: If one of them is missing, or of another shape than its neighbours.
    """
    joined = {
        name: tensor
        for name, tensor in tensors.items()
        if not _PROJECTION.match(name) and not _GATED.match(name)
    }
    attention = _grouped(tensors, _PROJECTION)
    for (stem, kind), parts in attention.items():
        if kind == "bias" and "q" in parts and "k" not in parts:
            parts["k"] = torch.zeros_like(parts["q"])
        joined[f"{stem}qkv.{kind}"] = _joined(parts, "qkv", f"{stem}*_proj.{kind}", source)
    for (stem, kind), parts in _grouped(tensors, _GATED).items():
        order = ("gate", "up") if "gate" in parts else ("up",)
        joined[f"{stem}expand.{kind}"] = _joined(parts, order, f"{stem}*_proj.{kind}", source)
    return joined


def join_special_tokens(tensors: Tensors, source: str) -> Tensors:
    """Turn class token and registers into our prefix tokens; the token for masks is not used.

    Raises:
        UserError: If there is no class token.
    """
    tensors = dict(tensors)
    tensors.pop("encoder.mask_token", None)
    names = ("encoder.cls_token", "encoder.register_tokens")
    found = [tensors.pop(name) for name in names if name in tensors]
    if not found:
        raise UserError(f"{source} has no encoder with class token")
    tokens = [token for token in found if token.numel()]
    tensors["encoder.prefix_tokens"] = join_tokens(tokens, source)
    return tensors


def _grouped(
    tensors: Tensors, pattern: re.Pattern[str]
) -> dict[tuple[str, str], dict[str, torch.Tensor]]:
    """Return tensors by the start and the end of their names, and then by what lies between."""
    groups: dict[tuple[str, str], dict[str, torch.Tensor]] = {}
    for name, tensor in tensors.items():
        if found := pattern.match(name):
            groups.setdefault((found[1], found[3]), {})[found[2]] = tensor
    return groups


def _joined(
    parts: dict[str, torch.Tensor], order: tuple[str, ...] | str, name: str, source: str
) -> torch.Tensor:
    missing = [each for each in order if each not in parts]
    if missing or len({parts[each].shape for each in order}) > 1 or not parts[order[0]].ndim:
        shapes = {each: tuple(tensor.shape) for each, tensor in parts.items()}
        raise UserError(f"{source}: {name} has the parts {shapes}; wanted: {', '.join(order)}")
    return torch.cat([parts[each] for each in order])
