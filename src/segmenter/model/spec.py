"""The description of a model: everything that is needed to rebuild it, feed it and evaluate it.

A `ModelSpec` travels as JSON inside the model file. Each detail in which the published Segmenter
families differ is a field here, so that no code needs to know which family a model came from.
"""

from typing import Annotated, Any, Literal

from pydantic import AliasChoices, BaseModel, ConfigDict, Field, model_validator

from segmenter.classes import Classes
from segmenter.errors import UserError
from segmenter.image_spec import ImageSpec
from segmenter.model.decoders import DecoderSpec
from segmenter.model.former_kinds import upgrade_spec
from segmenter.model.protocol import EvaluationProtocol
from segmenter.numbers import (
    CHANNELS,
    GRID_SIDE,
    MEAN,
    PATCH_SIZE,
    PREFIX_TOKENS,
    ROTARY_TEMPERATURE,
    STD,
    STRICT,
    TABLE_OFFSET,
    Blocks,
    Epsilon,
    Finite,
    HeadDim,
    MlpRatio,
    Rate,
    Whole,
    Width,
)

GridSide = Annotated[Whole, GRID_SIDE]
SizePolicy = Literal["pad-crop", "pad-squeeze", "center-squeeze", "stretch"]
"""Treatment of sides that are not multiples of the patch; see `ModelSpec.size_policy`."""


class EncoderSpec(BaseModel):
    """A plain vision transformer."""

    model_config = STRICT

    architecture: str
    """Name in timm's catalogue; says where the weights came from, decides nothing."""
    patch_size: Annotated[Whole, PATCH_SIZE]
    embed_dim: Width
    depth: Blocks
    head_dim: HeadDim = 64
    """Channels of an attention head."""
    mlp_ratio: MlpRatio = 4.0
    in_channels: Annotated[Whole, CHANNELS] = 3
    num_prefix_tokens: Annotated[Whole, PREFIX_TOKENS] = 1
    """Class, distillation and register tokens: they attend with the patches, then are dropped."""
    position: Literal["table", "rotary", "both"] = "table"
    """A learned table added to the patches, a rotation of queries and keys, or both (EVA-02)."""
    table_grid: tuple[GridSide, GridSide] | None = None
    """Rows and columns of the learned position table; None where positions are only rotary."""
    table_resize: Literal["bicubic", "bilinear"] = "bicubic"
    table_antialias: bool = False
    table_offset: Annotated[Finite, TABLE_OFFSET] = 0.0
    """Patches that the grid is taken to be larger by where the table is resized: 0.1 in DINOv2's
    own code without registers (`interpolate_offset`)."""
    prefix_positions: bool = True
    """True: the prefix tokens have learned positions too (not in DINOv2 with registers)."""
    rotary_temperature: Annotated[Finite, ROTARY_TEMPERATURE] = 100.0
    """Limit of the slowest rotation's period, as a multiple of the fastest's."""
    rotary_grid: tuple[GridSide, GridSide] | None = None
    """Rows and columns that positions are counted on, whatever the image's own grid (EVA-02);
    None: from -1 to 1 along each side, times two pi (DINOv3)."""
    layer_norm_eps: Epsilon = 1e-6
    layer_scale: bool = False
    mlp: Literal["gelu", "swiglu"] = "gelu"
    mlp_norm: bool = False
    """True: SwiGLU has a layer norm before its last linear layer (EVA-02 from Base on)."""
    qkv_bias: bool = True
    patch_bias: bool = True
    drop_path: Rate = 0.0
    """Stochastic depth of the last block; it rises linearly from 0 at the first."""

    @property
    def table_side(self) -> int | None:
        """Side in pixels of the largest square that has positions; None without a table."""
        return None if self.table_grid is None else min(self.table_grid) * self.patch_size

    @model_validator(mode="after")
    def _check(self) -> "EncoderSpec":
        if (self.position == "rotary") == (self.table_grid is not None):
            verb = "needs" if self.table_grid is None else "has no"
            raise ValueError(f"position {self.position!r} {verb} table_grid")
        if self.embed_dim % self.head_dim:
            raise ValueError(
                f"embed_dim {self.embed_dim} is not a multiple of head_dim {self.head_dim}"
            )
        return self


class Normalization(BaseModel):
    """Mean and standard deviation of each channel, on the scale 0 to 255."""

    model_config = STRICT

    mean: tuple[Annotated[Finite, MEAN], ...]
    std: tuple[Annotated[Finite, STD], ...]

    @model_validator(mode="after")
    def _check(self) -> "Normalization":
        if len(self.mean) != len(self.std):
            raise ValueError(f"mean has {len(self.mean)} channels and std {len(self.std)}")
        return self


class ModelSpec(BaseModel):
    """Everything about a model but its weights.

    Example:
        spec = segmenter.load("street").spec
        spec.encoder.patch_size, spec.decoder.kind, spec.license
        segmenter.Segmenter(spec)  # the same model with random weights
    """

    model_config = STRICT | ConfigDict(serialize_by_alias=True)

    format: Literal[2] = 2
    """Version of the spec."""
    encoder: EncoderSpec
    """Architecture of the encoder."""
    decoder: DecoderSpec
    """Kind and settings of the decoder; see docs/reference/decoders.md."""
    size_policy: SizePolicy = Field(
        "pad-crop",
        validation_alias=AliasChoices("fit", "size_policy"),
        serialization_alias="fit",
    )
    """Treatment of an image whose sides are not multiples of the patch. Model files call it `fit`.

    `pad-crop`: zeros right and below, logits cropped (the paper's code; new models).
    `pad-squeeze`: zeros right and below, logits squeezed to the image (MMSegmentation).
    `center-squeeze`: zeros on all sides, logits squeezed to the image (DINOv2's heads).
    `stretch`: the remainder is not seen, logits are stretched to the image (PaddleSeg).
    """
    classes: Classes
    """Names, colours and mask values of the classes."""
    normalization: Normalization
    """Mean and standard deviation of the pixels, on the scale 0 to 255."""
    protocol: EvaluationProtocol = EvaluationProtocol()
    """Protocol by which the model is used, unless the user chooses otherwise."""
    recipe: dict[str, Any] | None = None
    """The resolved recipe of the run that made the weights."""
    scores: dict[str, Any] = {}
    """Scores of these weights, each under a name that says on which data."""
    provenance: str = ""
    """Origin of the weights and of the data behind them."""
    license: str = ""
    """The terms of use of the weights, in one line; empty: not stated."""

    @model_validator(mode="before")
    @classmethod
    def _upgrade(cls, content: Any) -> Any:
        return upgrade_spec(content)

    @model_validator(mode="after")
    def _check(self) -> "ModelSpec":
        if len(self.normalization.mean) != self.encoder.in_channels:
            raise ValueError(
                f"normalization has {len(self.normalization.mean)} channels, "
                f"the encoder takes {self.encoder.in_channels}"
            )
        if self.image is not None and self.image.channels != self.encoder.in_channels:
            raise ValueError(
                f"images have {self.image.channels} channels, "
                f"the encoder takes {self.encoder.in_channels}"
            )
        window, patch = self.protocol.window, self.encoder.patch_size
        if window is not None and window < patch:
            raise ValueError(f"protocol.window is {window}, less than one patch of {patch}")
        if problem := self.score_problem(self.protocol):
            raise ValueError(problem)
        num_asked = self.decoder.encoder_blocks
        if num_asked > self.encoder.depth:
            raise ValueError(
                f"decoder {self.decoder.kind!r} asks for {num_asked} blocks of the encoder, but it "
                f"has {self.encoder.depth}; set decoder.{self.decoder.encoder_blocks_field}"
            )
        return self

    @property
    def image(self) -> ImageSpec | None:
        """Bands, type and range of the images that the model takes. None: RGB of 8 bits."""
        return self.classes.image

    @property
    def classifies_masks(self) -> bool:
        """True if `Segmenter.mask_scores` returns the scores of all classes."""
        return self.decoder.gives_scores and not self.classes.background

    def score_problem(self, protocol: EvaluationProtocol) -> str | None:
        """Say why a protocol cannot average scores of this model, if it does."""
        if protocol.window_average != "scores":
            return None
        if not self.decoder.gives_scores:
            return f"window_average 'scores' is not for decoder {self.decoder.kind!r}; set 'logits'"
        if self.classes.background:
            return "window_average 'scores' is not for one class beside a background; set 'logits'"
        return None

    def require_files(self) -> None:
        """Raise UserError if no image file has the channels that the model takes."""
        if self.image is None and self.encoder.in_channels != 3:
            raise UserError(f"images have 3 channels, this model takes {self.encoder.in_channels}")

    def require_rgb(self, what: str, instead: str) -> None:
        """Refuse a model of other images than RGB of 8 bits.

        Args:
            what: The part of the package that takes only RGB, such as `videos`.
            instead: What to do, as an order.

        Raises:
            UserError: If the model takes other images.
        """
        self.require_files()
        if self.image is not None:
            raise UserError(
                f"{what} need a model of RGB images of 8 bits, and this one takes {self.image}; "
                f"{instead}"
            )

    def num_patches(self, length: int) -> int:
        """Return how many patches a side of `length` pixels has; see `size_policy`."""
        patch = self.encoder.patch_size
        return max(length // patch, 1) if self.size_policy == "stretch" else -(-length // patch)

    def upsampled_length(self, num_logits: int, length: int) -> int:
        """Return the length that `num_logits` are resized to, before they are cut to `length`."""
        if self.size_policy != "pad-crop":
            return length
        return num_logits * self.encoder.patch_size // self.decoder.logits_per_patch_side
