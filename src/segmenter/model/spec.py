"""What a model is, in full: everything that is needed to rebuild it, feed it and score it.

A `ModelSpec` travels as JSON inside the model file. Each detail in which the published Segmenter
families differ is a field here, so that no code needs to know which family a model came from.
"""

from typing import Annotated, Any, ClassVar, Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator

from segmenter.classes import Classes
from segmenter.model.protocol import Protocol
from segmenter.numbers import (
    BLOCKS,
    CHANNELS,
    EPSILON,
    GRID_SIDE,
    IN_HEADS,
    MEAN,
    MLP_RATIO,
    PATCH_SIZE,
    PREFIX_TOKENS,
    RATE,
    ROTARY_TEMPERATURE,
    STD,
    WIDTH,
    Finite,
)

Width = Annotated[int, WIDTH, IN_HEADS]
Blocks = Annotated[int, BLOCKS]
GridSide = Annotated[int, GRID_SIDE]
Rate = Annotated[Finite, RATE]
Epsilon = Annotated[Finite, EPSILON]
MlpRatio = Annotated[Finite, MLP_RATIO]

_STRICT = ConfigDict(frozen=True, extra="forbid")


class EncoderSpec(BaseModel):
    """A plain vision transformer."""

    model_config = _STRICT

    architecture: str
    """Name in timm's catalogue; says where the weights came from, decides nothing."""
    patch_size: Annotated[int, PATCH_SIZE]
    embed_dim: Width
    depth: Blocks
    mlp_ratio: MlpRatio = 4.0
    in_channels: Annotated[int, CHANNELS] = 3
    num_prefix_tokens: Annotated[int, PREFIX_TOKENS] = 1
    """Class, distillation and register tokens: they attend with the patches, then are dropped."""
    position: Literal["table", "rotary", "both"] = "table"
    """A learned table added to the patches, a rotation of queries and keys, or both (EVA-02)."""
    table_grid: tuple[GridSide, GridSide] | None = None
    """Rows and columns of the learned position table; none where positions are only rotary."""
    table_resize: Literal["bicubic", "bilinear"] = "bicubic"
    table_antialias: bool = False
    prefix_positions: bool = True
    """Whether the prefix tokens have learned positions too (not in DINOv2 with registers)."""
    rotary_temperature: Annotated[Finite, ROTARY_TEMPERATURE] = 100.0
    """What the slowest rotation's period tends to, as a multiple of the fastest's."""
    rotary_grid: tuple[GridSide, GridSide] | None = None
    """Rows and columns that positions are counted on, whatever the image's own grid (EVA-02);
    none: from -1 to 1 along each side, times two pi (DINOv3)."""
    layer_norm_eps: Epsilon = 1e-6
    layer_scale: bool = False
    mlp: Literal["gelu", "swiglu"] = "gelu"
    mlp_norm: bool = False
    """Whether SwiGLU has a layer norm before its last linear layer (EVA-02 from Base on)."""
    qkv_bias: bool = True
    patch_bias: bool = True
    drop_path: Rate = 0.0
    """Stochastic depth of the last block; it rises linearly from 0 at the first."""

    @model_validator(mode="after")
    def _check(self) -> "EncoderSpec":
        if (self.position == "rotary") == (self.table_grid is not None):
            verb = "needs" if self.table_grid is None else "has no"
            raise ValueError(f"position {self.position!r} {verb} table_grid")
        return self


class LinearDecoderSpec(BaseModel):
    """One linear layer on each patch token."""

    model_config = _STRICT

    kind: Literal["linear"] = "linear"
    cells: ClassVar[int] = 1


class MaskTransformerSpec(BaseModel):
    """Class tokens that attend to the patches (paper, section 3.2)."""

    model_config = _STRICT

    kind: Literal["mask"] = "mask"
    cells: ClassVar[int] = 1
    dim: Width
    depth: Blocks = 2
    mlp_ratio: MlpRatio = 4.0
    layer_norm_eps: Epsilon = 1e-5
    qkv_bias: bool = True
    drop_path: Rate = 0.0
    dropout: Rate = 0.0
    class_norm: Literal["layer", "scale"] = "layer"
    """What becomes of the cosines between patch and class tokens: `layer` is the published layer
    norm over classes, a constant for one class and nearly a sign for two; `scale` multiplies them
    by one learned number and adds one a class."""
    projection_init: Literal["truncated-normal", "scaled-normal"] = "truncated-normal"
    """`scaled-normal` is the paper's own code: standard normal times dim ** -0.5."""


class MultiBlockLinearSpec(BaseModel):
    """One linear layer on the standardised patch tokens of several blocks (DINOv2, DINOv3)."""

    model_config = _STRICT

    kind: Literal["multi-linear"] = "multi-linear"
    cells: ClassVar[int] = 1
    blocks: Blocks = 4
    """After how many encoder blocks tokens are read, evenly spaced, the last among them."""


class AttentionToMaskSpec(BaseModel):
    """Class tokens whose attention to the patches is their mask (SegViT)."""

    model_config = _STRICT

    kind: Literal["atm"] = "atm"
    cells: ClassVar[int] = 1
    dim: Width
    blocks: Blocks = 3
    """Encoder blocks whose tokens are attended to, evenly spaced, the last one first."""
    mlp_ratio: MlpRatio = 4.0
    layer_norm_eps: Epsilon = 1e-5


class EoMTSpec(BaseModel):
    """Class tokens that join the patches in the encoder's last blocks (EoMT)."""

    model_config = _STRICT

    kind: Literal["eomt"] = "eomt"
    blocks: Blocks = 4
    """The encoder's last blocks, which class tokens go through with the patches."""
    cells: Literal[1, 2, 4, 8] = 4
    """Rows and columns of cells that each patch is scored in; made by learned doublings."""


DecoderSpec = Annotated[
    LinearDecoderSpec | MaskTransformerSpec | MultiBlockLinearSpec | AttentionToMaskSpec | EoMTSpec,
    Field(discriminator="kind"),
]


class Normalization(BaseModel):
    """What is subtracted from and divides each channel, on the scale 0 to 255."""

    model_config = _STRICT

    mean: tuple[Annotated[Finite, MEAN], ...]
    std: tuple[Annotated[Finite, STD], ...]

    @model_validator(mode="after")
    def _check(self) -> "Normalization":
        if len(self.mean) != len(self.std):
            raise ValueError(f"mean has {len(self.mean)} channels and std {len(self.std)}")
        return self


class ModelSpec(BaseModel):
    """Everything about a model but its weights."""

    model_config = _STRICT

    format: Literal[1] = 1
    encoder: EncoderSpec
    decoder: DecoderSpec
    fit: Literal["pad-crop", "pad-squeeze", "stretch"] = "pad-crop"
    """What happens to an image that is no multiple of the patch.

    `pad-crop`: zeros right and below, logits cropped (the paper's code; new models).
    `pad-squeeze`: zeros right and below, logits squeezed to the image (MMSegmentation).
    `stretch`: the remainder is not seen, logits are stretched to the image (PaddleSeg).
    """
    classes: Classes
    normalization: Normalization
    protocol: Protocol = Protocol()
    recipe: dict[str, Any] | None = None
    """The resolved recipe of the run that made the weights."""
    scores: dict[str, Any] = {}
    """What was measured with these weights, each under a name that says on what."""
    provenance: str = ""
    """Where the weights and the data behind them come from."""
    license: str = ""
    """The terms of use of the weights, in one line; empty: not stated."""

    @model_validator(mode="after")
    def _check(self) -> "ModelSpec":
        if len(self.normalization.mean) != self.encoder.in_channels:
            raise ValueError(
                f"normalization has {len(self.normalization.mean)} channels, "
                f"the encoder takes {self.encoder.in_channels}"
            )
        window, patch = self.protocol.window, self.encoder.patch_size
        if window is not None and window < patch:
            raise ValueError(f"protocol.window is {window}, less than one patch of {patch}")
        num_asked = getattr(self.decoder, "blocks", 0)
        if num_asked > self.encoder.depth:
            raise ValueError(
                f"decoder.blocks is {num_asked}, but the encoder has {self.encoder.depth}"
            )
        return self

    def upsampled_length(self, num_logits: int, length: int) -> int:
        """To which length a side's patch logits are resized, before it is cut to `length`."""
        if self.fit != "pad-crop":
            return length
        return num_logits * self.encoder.patch_size // self.decoder.cells
