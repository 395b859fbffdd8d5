"""The encoder: a plain vision transformer that turns an image into patch tokens (section 3.1).

One class covers AugReg ViTs, DeiT (also distilled), DeiT III, SigLIP 2, EVA-02, DINOv2, DINOv3,
EUPE, LingBot-Vision and TIPSv2, with or without register tokens; `EncoderSpec` has a field for each
difference.
"""

import math
from collections.abc import Iterable, Sequence
from typing import Protocol, runtime_checkable

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional as F

from segmenter.model.spec import EncoderSpec
from segmenter.model.transformer import (
    BRANCHES_PER_BLOCK,
    Block,
    Rotation,
    initialize_linear_and_norm,
    rising_drop_rates,
)

Grid = tuple[int, int]
"""Rows and columns of patches."""
is_exporting = getattr(torch.compiler, "is_exporting", torch.compiler.is_compiling)
"""Return True while a graph is exported; before torch 2.7, also while a model is compiled."""


class Encoder(nn.Module):
    """A plain vision transformer for images of any size (paper, section 3.1)."""

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
                head_dim=spec.head_dim,
                layer_scale=spec.layer_scale,
                mlp="swiglu-norm" if spec.mlp == "swiglu" and spec.mlp_norm else spec.mlp,
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
        """Stochastic depth of each residual branch, in the order of `drop_path_scales`."""
        return rising_drop_rates(self.spec.drop_path, self.spec.depth)

    def forward(
        self,
        images: Float[Tensor, "batch channels height width"],
        drop_path_scales: Float[Tensor, "branches batch"] | None = None,
    ) -> tuple[Float[Tensor, "batch patches dim"], Grid]:
        """Encode normalised images whose sides are at least one patch (paper, equations 1 to 3).

        `z_0 = [E x_1, ..., E x_N] + pos`; then for each block `a = z + MSA(LN(z))` and
        `z = a + MLP(LN(a))`; the features are `LN(z_L)`.

        Args:
            images: Normalised images of any size.
            drop_path_scales: For training: stochastic depth of each residual branch and image.

        Returns:
            The features of the patches, row by row, and the rows and columns of the patches.
        """
        tokens, grid, rotation = self.embed(images)
        blocks = range(len(self.blocks))
        tokens = run_blocks(self, tokens, blocks, rotation, drop_path_scales)
        return self.features(tokens), grid

    def embed(
        self, images: Float[Tensor, "batch channels height width"]
    ) -> tuple[Float[Tensor, "batch tokens dim"], Grid, Rotation | None]:
        """Turn images into tokens: the prefix tokens, then one token for each patch.

        Returns:
            The tokens; the rows and columns of the patches; and the rotary position of each token,
            where the encoder has rotary positions.
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
        return tokens, grid, rotation

    def run_block(
        self,
        index: int,
        tokens: Float[Tensor, "batch tokens dim"],
        rotation: Rotation | None = None,
        drop_path_scales: Float[Tensor, "branches batch"] | None = None,
        bias: Float[Tensor, "batch 1 tokens tokens"] | None = None,
    ) -> Float[Tensor, "batch _ dim"]:
        """Run one block on the tokens; `bias` is added to its attention scores."""
        return self.blocks[index](tokens, block_scales(drop_path_scales, index), rotation, bias)

    def one_per_patch(
        self, tokens: Float[Tensor, "batch tokens dim"]
    ) -> Float[Tensor, "batch _ dim"]:
        """Return one token for each patch, between two blocks; here none was merged."""
        return tokens

    def normalize(
        self, tokens: Float[Tensor, "batch tokens dim"]
    ) -> Float[Tensor, "batch tokens dim"]:
        """Apply the last layer norm."""
        return self.norm(tokens)

    def features(self, tokens: Float[Tensor, "batch tokens dim"]) -> Float[Tensor, "batch _ dim"]:
        """Normalise tokens and drop the prefix tokens."""
        return self.normalize(tokens)[:, self.spec.num_prefix_tokens :]


@runtime_checkable
class EncoderParts(Protocol):
    """The interface of encoders: an `Encoder`, or one that merges tokens between its blocks.

    Its methods are those of `Encoder`.
    """

    spec: EncoderSpec

    def embed(self, images: Tensor) -> tuple[Tensor, Grid, Rotation | None]: ...  # noqa: D102

    def run_block(  # noqa: D102
        self,
        index: int,
        tokens: Tensor,
        rotation: Rotation | None = None,
        drop_path_scales: Tensor | None = None,
        bias: Tensor | None = None,
    ) -> Tensor: ...

    def one_per_patch(self, tokens: Tensor) -> Tensor: ...  # noqa: D102

    def normalize(self, tokens: Tensor) -> Tensor: ...  # noqa: D102

    def features(self, tokens: Tensor) -> Tensor: ...  # noqa: D102


def run_blocks(
    encoder: EncoderParts,
    tokens: Float[Tensor, "batch tokens dim"],
    blocks: Iterable[int],
    rotation: Rotation | None = None,
    drop_path_scales: Float[Tensor, "branches batch"] | None = None,
) -> Float[Tensor, "batch _ dim"]:
    """Run some of an encoder's blocks on the tokens."""
    for index in blocks:
        tokens = encoder.run_block(index, tokens, rotation, drop_path_scales)
    return tokens


def intermediate_features(
    encoder: EncoderParts,
    images: Float[Tensor, "batch channels height width"],
    out_indices: Sequence[int],
    drop_path_scales: Float[Tensor, "branches batch"] | None = None,
) -> tuple[Float[Tensor, "batch patches features"], Grid]:
    """Encode images and concatenate the features of several blocks along channels.

    Args:
        encoder: An encoder.
        images: Normalised, of any size.
        out_indices: Blocks, counted from 0, in rising order.
        drop_path_scales: Stochastic depth of each residual branch and image.

    Returns:
        Features of the patches, row by row, and the rows and columns of the patches.
    """
    tokens, grid, rotation = encoder.embed(images)
    outputs = []
    for index in range(out_indices[-1] + 1):
        tokens = encoder.run_block(index, tokens, rotation, drop_path_scales)
        if index in out_indices:
            outputs.append(encoder.one_per_patch(tokens))
    return torch.cat([encoder.features(output) for output in outputs], dim=-1), grid


def block_scales(drop_path_scales: Tensor | None, block: int) -> Tensor | None:
    """Return the rows of `drop_path_scales` that belong to one block."""
    if drop_path_scales is None:
        return None
    return drop_path_scales[block * BRANCHES_PER_BLOCK : (block + 1) * BRANCHES_PER_BLOCK]


def resize_table(
    table: Float[Tensor, "1 dim rows columns"], grid: Grid, spec: EncoderSpec
) -> Float[Tensor, "1 dim new_rows new_columns"]:
    """Resize the learned position table to another grid of patches."""
    exporting = is_exporting()
    if table.shape[2:] == grid and not exporting:
        return table
    if exporting and (spec.table_antialias or spec.table_offset):
        return _resize_by_products(table, grid, spec)
    factors = [
        (new + spec.table_offset) / old for old, new in zip(table.shape[2:], grid, strict=True)
    ]
    return F.interpolate(
        table,
        size=None if spec.table_offset else grid,
        scale_factor=factors if spec.table_offset else None,
        mode=spec.table_resize,
        antialias=spec.table_antialias,
        align_corners=False,
    )


def _resize_by_products(
    table: Float[Tensor, "1 dim rows columns"], grid: Grid, spec: EncoderSpec
) -> Float[Tensor, "1 dim new_rows new_columns"]:
    """Resize as two matrix products, for graphs, in which the grid is not known.

    OpenVINO smooths in another way, and no operator has an offset that depends on the grid.
    """
    sides = tuple(zip(table.shape[2:], grid, strict=True))
    counts = [torch.arange(new).add(1).max() for _, new in sides]
    is_other = torch.stack([count != old for count, (old, _) in zip(counts, sides, strict=True)])
    offset = spec.table_offset * is_other.any()
    rows, columns = (
        _resizing_weights(old, new, old / (count + offset), spec)
        for (old, new), count in zip(sides, counts, strict=True)
    )
    return rows @ table @ columns.T


def _resizing_weights(
    old: int, new: int, ratio: Float[Tensor, ""], spec: EncoderSpec
) -> Float[Tensor, "new old"]:
    """Return the weight of each old sample in each new one, as torch resizes one axis.

    Args:
        old: Number of samples.
        new: Number of samples afterwards.
        ratio: Distance of new samples, in old ones.
        spec: Says how.
    """
    centers = (torch.arange(new) + 0.5) * ratio
    samples = torch.arange(old)
    if spec.table_antialias:  # the kernel grows with the distance and ends at the border
        distances = (samples + 0.5 - centers[:, None]).abs() / ratio.clamp(min=1)
        weights = _kernel(distances, spec.table_resize, sharpness=-0.5)
        return weights / weights.sum(dim=1, keepdim=True)
    taps = (centers - 0.5).floor()[:, None] + torch.arange(-1, 3)
    weights = _kernel((taps + 0.5 - centers[:, None]).abs(), spec.table_resize, sharpness=-0.75)
    taken = taps.clamp(0, old - 1)[:, :, None] == samples  # the border goes on outside
    return (weights[:, :, None] * taken).sum(dim=1)


def _kernel(distances: Tensor, mode: str, sharpness: float) -> Tensor:
    """Return the weight of samples at a distance: linear, or cubic (Keys 1981)."""
    if mode == "bilinear":
        return (1 - distances).clamp(min=0)
    near = ((sharpness + 2) * distances - (sharpness + 3)) * distances**2 + 1
    far = sharpness * (((distances - 5) * distances + 8) * distances - 4)
    return torch.where(distances < 1, near, torch.where(distances < 2, far, 0.0))


def rotary_positions(grid: Grid, spec: EncoderSpec, device: torch.device) -> Rotation:
    """Return the sine and cosine of each token's rotary position; prefix tokens are not rotated.

    Sources: facebookresearch/dinov3, `layers/rope_position_encoding.py`, where coordinates run
    from -1 to 1 on each axis whatever the grid; baaivision/EVA, `EVA-02/asuka/rope.py`, where they
    count the patches of the grid that the encoder was trained on.
    """
    exponents = torch.arange(spec.head_dim // 4, device=device, dtype=torch.float32)
    exponents = exponents * 4 / spec.head_dim
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
