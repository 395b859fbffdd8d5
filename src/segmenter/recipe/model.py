"""What a run trains: encoder, decoder, and where their weights come from."""

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, model_validator

from segmenter import numbers
from segmenter.numbers import OnlyWhole, Real, Whole

Blocks = Annotated[Whole, numbers.BLOCKS]
Rate = Annotated[Real, numbers.RATE]

_STRICT = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)

_OF_DECODERS = {
    "decoder_blocks": ("multi-linear", "atm", "eomt"),
    "decoder_cells": ("eomt",),
    "decoder_masking": ("eomt",),
}


class ModelRecipe(BaseModel):
    """What is trained."""

    model_config = _STRICT

    encoder: str | None = None
    """timm's name of a plain ViT, such as `vit_small_patch16_384`; none: as in `weights`, which
    must then be a model of this package."""
    encoder_depth: Blocks | None = None
    """Keep only the first blocks of the encoder; none: all of them."""
    weights: str | None = None
    """Where the run starts from: an encoder's file, `timm:NAME` (downloaded), or a whole model of
    this package by name or path; none: random weights."""
    partial: bool = False
    """Take from `weights` what fits by name and shape, and start the rest fresh; else only what
    speaks of classes may differ, and position table, depth and channels are fitted."""
    in_channels: Annotated[Whole, numbers.CHANNELS] = 3
    """Channels of the images; weights made for 3 are inflated."""
    patch_size: Annotated[Whole, numbers.PATCH_SIZE] | None = None
    """Side of a patch in pixels, to which the patch embedding is resized as it is loaded
    (FlexiViT); none: as the weights have it."""
    position_grid: Annotated[Whole, numbers.GRID_SIDE] | None = None
    """Rows and columns of the position table, resized from the weights'; none: as they are."""
    position_resize: Literal["bicubic", "bilinear"] | None = None
    """How the position table is fitted to another grid of patches; none: as the weights were
    trained (bicubic for the named encoders)."""
    encoder_layer_norm_eps: Annotated[Real, numbers.EPSILON] | None = None
    """Epsilon of the encoder's layer norms; none: the architecture's own."""
    drop_path: Rate = 0.1
    """Stochastic depth of the encoder's last block, rising linearly from 0."""
    normalization: Literal["encoder", "half", "imagenet", "imagenet-rounded"] = "encoder"
    """Mean and std: the encoder's own, 0.5 / 0.5, or ImageNet's (rounded: as the paper's code)."""
    fit: Literal["pad-crop", "pad-squeeze", "stretch"] = "pad-crop"
    """What happens to images that are no multiple of the patch; see `ModelSpec.fit`."""
    decoder: Literal["linear", "mask", "multi-linear", "atm", "eomt"] = "mask"
    """A linear layer on patch tokens, or a mask transformer, which are the paper's; a linear layer
    on several blocks, attention to mask, or class tokens in the encoder (docs/decoders.md)."""
    decoder_blocks: Blocks | None = None
    """Blocks of the encoder that multi-linear (none: 4) and atm (3) read, evenly spaced, or that
    eomt's class tokens go through (4)."""
    decoder_cells: Annotated[Literal[1, 2, 4, 8], OnlyWhole] | None = None
    """Rows and columns of cells that eomt scores each patch in; none: 4."""
    decoder_masking: bool | None = None
    """Whether eomt's class tokens see at first only patches that are already their class's; none:
    they do. False is for a start from a model that has learned them."""
    decoder_dim: Annotated[Whole, numbers.WIDTH, numbers.IN_HEADS] | None = None
    """Channels of the mask transformer or of atm, a multiple of 64; none: the encoder's width."""
    decoder_depth: Blocks = 2
    """Blocks of the mask transformer."""
    decoder_qkv_bias: bool = True
    """Whether attention in the mask transformer has biases."""
    decoder_drop_path: Rate = 0.0
    """Stochastic depth of the mask transformer's last block."""
    decoder_dropout: Rate = 0.0
    """Dropout in the mask transformer."""
    decoder_class_norm: Literal["layer", "scale"] | None = None
    """How the mask transformer's cosines become logits: by the published layer norm over classes,
    or by a learned scale and bias; none: `scale` for up to 4 classes, unless a decoder is kept."""
    projection_init: Literal["truncated-normal", "scaled-normal"] = "truncated-normal"
    """How the mask transformer's two projections start."""

    @model_validator(mode="after")
    def _check(self) -> "ModelRecipe":
        for field, decoders in _OF_DECODERS.items():
            if getattr(self, field) is not None and self.decoder not in decoders:
                raise ValueError(f"{field} is for {' and '.join(decoders)}, not for {self.decoder}")
        return self
