"""Tensors of other code bases: out of stubs, and under other names."""

import math
import re
from collections.abc import Iterable, Mapping
from pathlib import Path

import torch
from torch import Tensor

from segmenter.checkpoints.foreign.pickle.stubs import Array, TensorClaim
from segmenter.errors import UserError

Tensors = dict[str, Tensor]
Rules = Iterable[tuple[str, str]]
"""Patterns of names, and what becomes of them."""

TIMM_BLOCK: Rules = (
    (r"\.attn\.qkv\.", ".attention.qkv."),
    (r"\.attn\.proj\.", ".attention.project."),
    (r"\.mlp\.fc1\.", ".mlp.expand."),
    (r"\.mlp\.fc2\.", ".mlp.reduce."),
)
"""The inside of a transformer block in timm, and in the code bases that took it from there."""
META_SWIGLU: Rules = (
    (r"\.mlp\.w12\.", ".mlp.expand."),
    (r"\.mlp\.w3\.", ".mlp.reduce."),
)
"""Meta's gated MLP, gate and value in one layer, in DINOv2's giant and TIPSv2's."""


def to_tensors(table: Mapping[str, object], path: Path) -> Tensors:
    """Return the tensors of a table of stubs; PaddlePaddle may wrap them as (name, array).

    Tensors, as safetensors have them, stay as they are.

    Raises:
        UserError: If one is not what it claims, or all together claim more than the file holds.
    """
    claims: dict[str, Array | TensorClaim] = {}
    for name, value in table.items():
        if type(value) is tuple and len(value) == 2 and isinstance(value[0], str):
            value = value[1]
        if isinstance(value, Array | TensorClaim) and isinstance(name, str):
            claims[name] = value
    tensors = {
        name: value
        for name, value in table.items()
        if isinstance(value, Tensor) and isinstance(name, str)
    }
    left = path.stat().st_size
    for name, claim in claims.items():
        try:
            left -= claim.num_bytes
            if left < 0:
                raise ValueError("more, with the tensors before it, than the whole file holds")
            tensors[name] = claim.tensor()
        except Exception as error:  # what a stub holds may be anything
            reason = str(error)[:200] or type(error).__name__
            raise UserError(f"{path}: the tensor {name[:100]} is {reason}; refused") from None
    return tensors


def rename(tensors: Tensors, rules: Rules) -> Tensors:
    """Give tensors other names; each rule is tried in turn."""
    renamed = {}
    for name, tensor in tensors.items():
        for pattern, replacement in rules:
            name = re.sub(pattern, replacement, name)
        renamed[name] = tensor
    return renamed


def split_off(tensors: Tensors, pattern: str) -> tuple[Tensors, tuple[str, ...]]:
    """Tensors whose names do not match, and the names of those that do."""
    dropped = {name: tensor for name, tensor in tensors.items() if re.match(pattern, name)}
    kept = {name: tensor for name, tensor in tensors.items() if name not in dropped}
    return kept, tuple(dropped)


def split_position_table(
    positions: Tensor, num_prefix: int, source: str, grid: tuple[int, int] | None = None
) -> tuple[Tensor, Tensor]:
    """Split (1, prefix + patches, dim) into prefix positions and (1, dim, rows, columns).

    Raises:
        UserError: If the patches do not form this grid, or a square one if none is given.
    """
    if positions.ndim != 3 or positions.shape[0] != 1 or 0 in positions.shape:
        raise UserError(f"{source}: the position table has shape {tuple(positions.shape)}")
    prefix, patches = positions[:, :num_prefix], positions[:, num_prefix:]
    side = math.isqrt(patches.shape[1])
    rows, columns = grid or (side, side)
    if rows * columns != patches.shape[1] or patches.shape[1] == 0:
        shape = f"grid of {rows} x {columns}" if grid else "square grid"
        raise UserError(
            f"{source}: {patches.shape[1]} patch positions do not form a {shape} "
            f"(after {num_prefix} prefix tokens); the weights fit another encoder"
        )
    return prefix, patches.transpose(1, 2).unflatten(2, (rows, columns))


def join_prefix(tensors: Tensors, source: str, grid: tuple[int, int] | None = None) -> Tensors:
    """Turn class token, distillation token and position table of an encoder into ours."""
    tensors = dict(tensors)
    tokens = [
        tensors.pop(name) for name in ("encoder.cls_token", "encoder.dist_token") if name in tensors
    ]
    if not tokens or "encoder.pos_embed" not in tensors:
        raise UserError(f"{source} has no encoder with class token and position table")
    tensors["encoder.prefix_tokens"] = join_tokens(tokens, source)
    positions = tensors.pop("encoder.pos_embed")
    tensors["encoder.prefix_positions"], tensors["encoder.position_table"] = split_position_table(
        positions, len(tokens), source, grid
    )
    return tensors


def join_tokens(tokens: list[Tensor], source: str) -> Tensor:
    """Put class token, distillation token and registers into one (1, tokens, dim).

    Raises:
        UserError: If there is none, or one is no (1, tokens, dim), or of another width than the
            first.
    """
    shapes = [tuple(token.shape) for token in tokens]
    if not shapes or any(
        len(shape) != 3 or shape[0] != 1 or shape[2] != shapes[0][2] for shape in shapes
    ):
        raise UserError(f"{source}: the prefix tokens have the shapes {shapes}")
    return torch.cat(tokens, dim=1)
