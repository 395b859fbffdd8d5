"""The encoder: a plain vision transformer that turns an image into patch tokens (section 3.1).

One class covers AugReg ViTs, DeiT (also distilled), DeiT III, SigLIP 2, EVA-02, DINOv2 and DINOv3,
with or without register tokens; in what they differ stands in `EncoderSpec`.
"""

import math
from collections.abc import Sequence
from typing import Protocol, runtime_checkable

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional as F

from segmenter.model.spec import HEAD_DIM, EncoderSpec
from segmenter.model.token_merging import Merging
from segmenter.model.transformer import (
    BRANCHES_PER_BLOCK,
    Block,
    Rotation,
    initialize_linear_and_norm,
    rising_drop_rates,
)

Grid = tuple[int, int]
"""Rows and columns of patches."""


@runtime_checkable
class Guests(Protocol):
    """Class tokens of a decoder that go through the encoder's last blocks with the patches."""

    num_blocks: int
    """How many of the last blocks."""
    class_tokens: nn.Parameter
    """(1, guests, dim)."""

    def attention_bias(
        self, tokens: Float[Tensor, "batch tokens dim"], grid: Grid, block: int
    ) -> Float[Tensor, "batch guests patches"] | None:
        """What is added before the softmax to the patches' scores, in one of those blocks.

        Args:
            tokens: The patches and the guests that go into it, after the encoder's last norm.
            grid: Rows and columns of the patches.
            block: Counted from 0, the first that guests go through.
        """
        ...


class Encoder(nn.Module):
    """A plain ViT; any image size and shape, patch tokens only at the end."""

    def __init__(self, spec: EncoderSpec) -> None:
        super().__init__()
        self.spec = spec
        dim, patch = spec.embed_dim, spec.patch_size
        self.patch_embed = nn.Conv2d(
            spec.in_channels, dim, kernel_size=patch, stride=patch, bias=spec.patch_bias
        )
        self.prefix_tokens = nn.Parameter(torch.empty(1, spec.num_prefix_tokens, dim))
        self.prefix_positions = (
            nn.Parameter(torch.empty(1, spec.num_prefix_tokens, dim))
            if spec.prefix_positions and spec.table_grid
            else None
        )
        self.position_table = (
            nn.Parameter(torch.empty(1, dim, *spec.table_grid)) if spec.table_grid else None
        )
        self.blocks = nn.ModuleList(
            Block(
                dim,
                mlp_ratio=spec.mlp_ratio,
                layer_norm_eps=spec.layer_norm_eps,
                qkv_bias=spec.qkv_bias,
                layer_scale=spec.layer_scale,
                mlp=spec.mlp,
                mlp_norm=spec.mlp_norm,
            )
            for _ in range(spec.depth)
        )
        self.norm = nn.LayerNorm(dim, eps=spec.layer_norm_eps)
        initialize_linear_and_norm(self)
        for table in (self.prefix_tokens, self.prefix_positions, self.position_table):
            if table is not None:
                nn.init.trunc_normal_(table, std=0.02)

    @property
    def drop_rates(self) -> list[float]:
        """Stochastic depth of each residual branch, in the order of `branch_scales`."""
        return rising_drop_rates(self.spec.drop_path, self.spec.depth)

    def forward(
        self,
        images: Float[Tensor, "batch channels height width"],
        branch_scales: Float[Tensor, "branches batch"] | None = None,
        num_read: int = 1,
        guests: Guests | None = None,
        merge_tokens: float | None = None,
    ) -> tuple[Float[Tensor, "batch tokens read_channels"], Grid]:
        """Encode normalised images whose sides are at least one patch.

        Args:
            images: Of any size.
            branch_scales: Stochastic depth of each branch and image.
            num_read: After how many blocks tokens are read, evenly spaced, the last among them;
                their channels come side by side.
            guests: Class tokens that join in the last blocks.
            merge_tokens: For one image: the cosine above which patches are merged on the way
                (`merging.py`); tokens are read one a patch all the same.

        Returns:
            The patch tokens, row by row, then the guests; and the (rows, columns) of the patches.
        """
        depth = len(self.blocks)
        stops = [depth * (number + 1) // num_read for number in range(num_read)]
        read, grid, _ = self.run_blocks(images, stops, branch_scales, guests, merge_tokens)
        num_prefix = self.spec.num_prefix_tokens
        return torch.cat([self.norm(tokens)[:, num_prefix:] for tokens in read], dim=-1), grid

    def run_blocks(
        self,
        images: Float[Tensor, "batch channels height width"],
        stops: Sequence[int],
        branch_scales: Float[Tensor, "branches batch"] | None = None,
        guests: Guests | None = None,
        merge_tokens: float | None = None,
    ) -> tuple[list[Float[Tensor, "batch tokens dim"]], Grid, Rotation | None]:
        """Turn images into tokens, and take them through the blocks as far as the last stop.

        Returns:
            Prefix tokens, patch tokens and guests after so many blocks as each of `stops` says;
            the (rows, columns) of the patches; and what each block needs of their positions.
        """
        patches = self.patch_embed(images)
        grid = (patches.shape[2], patches.shape[3])
        if self.position_table is not None:
            patches = patches + resize_table(self.position_table, grid, self.spec)
        prefix = self.prefix_tokens
        if self.prefix_positions is not None:
            prefix = prefix + self.prefix_positions
        prefix = prefix.expand(images.shape[0], -1, -1).to(patches.dtype)
        tokens = torch.cat([prefix, patches.flatten(2).transpose(1, 2)], dim=1)
        rotation = None
        if self.spec.position != "table":
            rotation = rotary_positions(grid, self.spec, images.device)

        merging = Merging(merge_tokens, grid, self.spec, images.device) if merge_tokens else None
        joins_at = len(self.blocks) - guests.num_blocks if guests else None
        read, bias = [], None
        for index in range(max(stops) + 1):
            if guests and index == joins_at:
                tokens, rotation = join(tokens, rotation, guests.class_tokens)
            if index in stops:
                read.append(merging.unmerge(tokens) if merging else tokens)
            if index == max(stops):
                break
            if guests and joins_at is not None and index >= joins_at:
                seen = self.norm(tokens)[:, self.spec.num_prefix_tokens :]
                bias = guests.attention_bias(seen, grid, index - joins_at)
                if bias is not None:
                    num_others = tokens.shape[1] - bias.shape[1]
                    left, right = self.spec.num_prefix_tokens, bias.shape[1]
                    bias = F.pad(bias, (left, right, num_others, 0))[:, None]
            if merging:
                tokens, rotation = merging.before_block(index, tokens, rotation)
            block = self.blocks[index]
            tokens = block(tokens, block_scales(branch_scales, index), rotation, bias)
        return read, grid, rotation


def join(
    tokens: Float[Tensor, "batch tokens dim"],
    rotation: Rotation | None,
    guests: Float[Tensor, "1 guests dim"],
) -> tuple[Float[Tensor, "batch joint dim"], Rotation | None]:
    """Put guests after the tokens; they have no position."""
    joined = guests.expand(tokens.shape[0], -1, -1).to(tokens.dtype)
    if rotation is not None:
        sine, cosine = rotation
        below = (0, 0, 0, guests.shape[1])
        rotation = F.pad(sine, below), F.pad(cosine, below, value=1.0)
    return torch.cat([tokens, joined], dim=1), rotation


def block_scales(branch_scales: Tensor | None, block: int) -> Tensor | None:
    """The rows of `branch_scales` that belong to one block."""
    if branch_scales is None:
        return None
    return branch_scales[block * BRANCHES_PER_BLOCK : (block + 1) * BRANCHES_PER_BLOCK]


def resize_table(
    table: Float[Tensor, "1 dim rows columns"], grid: Grid, spec: EncoderSpec
) -> Float[Tensor, "1 dim new_rows new_columns"]:
    """Fit the learned position table to another grid of patches."""
    is_exporting = torch.compiler.is_exporting()
    if table.shape[2:] == grid and not is_exporting:
        return table
    if spec.table_antialias and is_exporting:
        return _resize_by_products(table, grid, spec)
    return F.interpolate(
        table, grid, mode=spec.table_resize, antialias=spec.table_antialias, align_corners=False
    )


def _resize_by_products(
    table: Float[Tensor, "1 dim rows columns"], grid: Grid, spec: EncoderSpec
) -> Float[Tensor, "1 dim new_rows new_columns"]:
    """What `F.interpolate` does with antialias; for graphs, as OpenVINO's operator differs."""
    rows, columns = (
        _smoothing_weights(old, new, spec.table_resize)
        for old, new in zip(table.shape[2:], grid, strict=True)
    )
    return rows @ table @ columns.T


def _smoothing_weights(old: int, new: int, mode: str) -> Float[Tensor, "new old"]:
    """What each of `old` samples gives to each of `new`: Pillow's filters, as torch has them."""
    ratio = float(old) / torch.arange(new).add(1).max()
    centers = (torch.arange(new) + 0.5) * ratio
    distances = (torch.arange(old) + 0.5 - centers[:, None]).abs() / ratio.clamp(min=1)
    if mode == "bilinear":
        weights = (1 - distances).clamp(min=0)
    else:
        near = (1.5 * distances - 2.5) * distances**2 + 1
        far = ((-0.5 * distances + 2.5) * distances - 4) * distances + 2
        weights = torch.where(distances < 1, near, torch.where(distances < 2, far, 0.0))
    return weights / weights.sum(dim=1, keepdim=True)


def rotary_positions(grid: Grid, spec: EncoderSpec, device: torch.device) -> Rotation:
    """Sine and cosine of each token's rotary position; prefix tokens have none and stay.

    Sources: facebookresearch/dinov3, `layers/rope_position_encoding.py`, where coordinates run
    from -1 to 1 on each axis whatever the grid; baaivision/EVA, `EVA-02/asuka/rope.py`, where they
    count the patches of the grid that the encoder was trained on.
    """
    exponents = torch.arange(HEAD_DIM // 4, device=device, dtype=torch.float32) * 4 / HEAD_DIM
    periods = spec.rotary_temperature**exponents
    steps = [torch.arange(count, device=device, dtype=torch.float32) for count in grid]
    if spec.rotary_grid is None:
        axes = [
            2 * math.pi * ((step + 0.5) / count * 2 - 1)
            for step, count in zip(steps, grid, strict=True)
        ]
    else:
        axes = [
            step / count * trained
            for step, count, trained in zip(steps, grid, spec.rotary_grid, strict=True)
        ]
    coordinates = torch.stack(torch.meshgrid(*axes, indexing="ij"), dim=-1).flatten(0, 1)
    angles = (coordinates[:, :, None] / periods).flatten(1).tile(1, 2)
    angles = F.pad(angles, (0, 0, spec.num_prefix_tokens, 0))
    return angles.sin(), angles.cos()
