"""The settings of each decoder, and the name of its class. Nothing here needs torch.

A decoder turns an encoder's features into one logit for each class and patch (paper, section 3.2).
Its settings are `model.decoder` of a recipe and `decoder` of a model file, and have their defaults
here alone. To add a decoder, write a file beside this one with a
subclass of `decoder.Decoder`, and put its settings here, among those of `DecoderSpec`.
"""

from typing import Annotated, Any, ClassVar, Literal, NamedTuple

from pydantic import BaseModel, Field

from segmenter.errors import UserError
from segmenter.numbers import (
    PATCH_SIZE,
    QUERIES,
    STRICT,
    Blocks,
    Epsilon,
    MlpRatio,
    OnlyWhole,
    Rate,
    Whole,
    Width,
)

Queries = Annotated[Whole, QUERIES]
Doublings = Annotated[Literal[1, 2, 3], OnlyWhole]
Cells = Annotated[Whole, PATCH_SIZE]
_MAX_SCALED_CLASSES = 4
"""With at most this many classes, new decoders scale cosines instead of normalising them."""


class QueryMasks(NamedTuple):
    """Masks of queries, each with a class or none; the score of a class is a sum over them."""

    queries: int
    """Number of queries."""
    doublings: int
    """Times that the rows and columns of patches are doubled before masks are computed."""
    cells: int
    """Rows and columns of scores for each patch."""

    @property
    def per_patch_side(self) -> int:
        """Rows and columns of mask logits for each patch."""
        return 2**self.doublings


class DecoderSettings(BaseModel):
    """The settings of a decoder; each decoder has a subclass."""

    model_config = STRICT

    implementation: ClassVar[str]
    """The decoder's file in this folder, and its class in that file."""

    @property
    def query_masks(self) -> QueryMasks | None:
        """Masks of queries that scores are summed from; None: the decoder gives logits alone."""
        return None

    @property
    def gives_scores(self) -> bool:
        """True if each logit is the logarithm of a score, which windows may average."""
        return self.query_masks is not None

    encoder_blocks_field: ClassVar[str] = "blocks"
    """The field that sets `encoder_blocks`."""

    @property
    def encoder_blocks(self) -> int:
        """Smallest number of blocks that the encoder must have."""
        return 1

    @property
    def logits_per_patch_side(self) -> int:
        """Rows and columns of logits for each patch."""
        return 1 if self.query_masks is None else self.query_masks.cells

    @property
    def masks_per_patch_side(self) -> int:
        """Rows and columns of mask logits for each patch, where the decoder `gives_scores`."""
        masks = self.query_masks
        return self.logits_per_patch_side if masks is None else masks.per_patch_side

    @property
    def encoder_passes(self) -> int:
        """Number of views of each image that the encoder processes."""
        return 1

    def numbers_per_patch(self, num_classes: int) -> int:
        """Return how many numbers inference keeps for each patch: logits, or masks."""
        masks = self.query_masks
        return (num_classes if masks is None else masks.queries) * self.masks_per_patch_side**2

    def settle(
        self,
        num_classes: int,  # noqa: ARG002
        kept: "DecoderSettings | None",  # noqa: ARG002
    ) -> dict[str, Any]:
        """Return values for the fields that a recipe leaves open.

        Args:
            num_classes: Number of logits for each patch.
            kept: Settings of the model that a run starts from, if it has the same classes.

        Raises:
            UserError: If the decoder cannot learn these classes.
        """
        return {}


class LinearDecoderSpec(DecoderSettings):
    """One linear layer on each patch token."""

    implementation: ClassVar[str] = "linear.LinearDecoder"

    kind: Literal["linear"] = "linear"
    """The decoder; see docs/reference/decoders.md."""


class MaskTransformerSpec(DecoderSettings):
    """Class tokens that attend to the patches (paper, section 3.2)."""

    implementation: ClassVar[str] = "mask_transformer.MaskTransformer"

    kind: Literal["mask"] = "mask"
    """The decoder; see docs/reference/decoders.md."""
    dim: Width | None = None
    """Channels, a multiple of 64. None: the encoder's width."""
    depth: Blocks = 2
    """Number of blocks."""
    mlp_ratio: MlpRatio = 4.0
    """Hidden channels of each MLP, as a multiple of `dim`."""
    layer_norm_eps: Epsilon = 1e-5
    """Epsilon of the layer norms."""
    qkv_bias: bool = True
    """True: queries, keys and values have biases."""
    drop_path: Rate = 0.0
    """Stochastic depth of the last block; it rises linearly from 0 at the first."""
    dropout: Rate = 0.0
    """Dropout after attention and in the MLPs."""
    class_norm: Literal["layer", "scale"] | None = None
    """Map from the cosines between patch and class tokens to logits. `layer` is the published layer
    norm over classes: a constant for one class, nearly a sign for two. `scale` multiplies them by
    one learned number and adds one for each class. None: in a recipe, `scale` for up to 4 classes
    unless the decoder is kept, else `layer`; in a model file, `layer`."""
    projection_init: Literal["truncated-normal", "scaled-normal"] = "truncated-normal"
    """Initial values of the two projections. `scaled-normal` is the paper's own code: standard
    normal times dim ** -0.5."""

    def settle(self, num_classes: int, kept: DecoderSettings | None) -> dict[str, Any]:
        """Choose `class_norm`: as given, as kept, or by the number of classes."""
        chosen = self.class_norm
        if chosen is None and isinstance(kept, MaskTransformerSpec):
            chosen = kept.class_norm or "layer"
        if chosen is None:
            chosen = "scale" if num_classes <= _MAX_SCALED_CLASSES else "layer"
        if chosen == "layer" and num_classes == 1:
            raise UserError(
                "model.decoder.class_norm is 'layer', but a layer norm over one class is a "
                "constant that learns nothing; set it to 'scale', or model.decoder to 'linear'"
            )
        return {"class_norm": chosen}


class MultiBlockLinearSpec(DecoderSettings):
    """One linear layer on the standardised patch tokens of several blocks (DINOv2, DINOv3)."""

    implementation: ClassVar[str] = "multi_block_linear.MultiBlockLinear"

    kind: Literal["multi-linear"] = "multi-linear"
    """The decoder; see docs/reference/decoders.md."""
    blocks: Blocks = 4
    """Number of encoder blocks whose outputs are concatenated along channels; the last block is
    always one of them."""
    spread: Annotated[
        Literal["even", "last"], Field(exclude_if=lambda spread: spread == "even")
    ] = "even"
    """Choice of these blocks: evenly spaced, or the last ones (DINOv2's multi-scale heads)."""
    shifts: Annotated[Literal[1, 2, 4], OnlyWhole, Field(exclude_if=lambda shifts: shifts == 1)] = 1
    """Shifted views of the image along each axis. Their tokens are interleaved to a grid that is as
    many times as fine, for thin objects; the encoder runs `shifts` x `shifts` times."""

    @property
    def encoder_blocks(self) -> int:
        """The number of blocks that it takes features from."""
        return self.blocks

    @property
    def logits_per_patch_side(self) -> int:
        """Rows and columns of logits for each patch."""
        return self.shifts

    @property
    def encoder_passes(self) -> int:
        """Number of views of each image that the encoder processes."""
        return self.shifts**2


class AttentionToMaskSpec(DecoderSettings):
    """Class tokens whose attention to the patches is their mask (SegViT)."""

    implementation: ClassVar[str] = "attention_to_mask.AttentionToMask"

    kind: Literal["atm"] = "atm"
    """The decoder; see docs/reference/decoders.md."""
    dim: Width | None = None
    """Channels, a multiple of 64. None: the encoder's width."""
    blocks: Blocks = 3
    """Number of evenly spaced encoder blocks whose features are attended to, from the last block
    backwards."""
    mlp_ratio: MlpRatio = 4.0
    """Hidden channels of each MLP, as a multiple of `dim`."""
    layer_norm_eps: Epsilon = 1e-5
    """Epsilon of the layer norms."""

    @property
    def encoder_blocks(self) -> int:
        """The number of blocks that it takes features from."""
        return self.blocks


class JoinedClassTokensSpec(DecoderSettings):
    """Class tokens that go through the encoder's last blocks with the patches."""

    implementation: ClassVar[str] = "joined_class_tokens.JoinedClassTokens"

    kind: Literal["joined-class-tokens"] = "joined-class-tokens"
    """The decoder; see docs/reference/decoders.md."""
    blocks: Blocks = 4
    """Number of the encoder's last blocks that class tokens go through with the patches."""
    cells: Annotated[Literal[1, 2, 4, 8], OnlyWhole] = 4
    """Rows and columns of logits for each patch, by learned upsampling."""
    masking: bool = True
    """True: class tokens attend at first only to patches predicted as their class. Set it to
    False when starting from a model whose class tokens are trained."""

    @property
    def encoder_blocks(self) -> int:
        """The number of blocks that the class tokens go through."""
        return self.blocks

    @property
    def logits_per_patch_side(self) -> int:
        """Rows and columns of logits for each patch."""
        return self.cells


class EoMTSpec(DecoderSettings):
    """Queries that go through the encoder's last blocks, each with a mask and a class (EoMT)."""

    implementation: ClassVar[str] = "eomt.EoMT"

    kind: Literal["eomt"] = "eomt"
    """The decoder; see docs/reference/decoders.md."""
    queries: Queries = 100
    """Number of queries. Each has a mask, and either a class or none ("no object")."""
    blocks: Blocks = 4
    """Number of the encoder's last blocks that queries go through with the patches."""
    doublings: Doublings = 2
    """Times that the rows and columns of patches are doubled by learned upsampling before they are
    compared with queries: 2 for patches of 16 pixels, 1 for 14."""
    cells: Cells = 4
    """Rows and columns of scores for each patch. Masks are resized to them before the sigmoid;
    published models have one for each pixel."""
    masking: bool = True
    """True: in training, a query attends at first only to the patches of its mask, and masks before
    these blocks learn too. Set it to False when starting from a model whose queries are trained."""

    @property
    def encoder_blocks(self) -> int:
        """The number of blocks that the queries go through."""
        return self.blocks

    @property
    def query_masks(self) -> QueryMasks:
        """Masks of queries that scores are summed from."""
        return QueryMasks(self.queries, self.doublings, self.cells)


class PlainMaskDecoderSpec(DecoderSettings):
    """Queries that go through own blocks with features of the encoder (PMT)."""

    implementation: ClassVar[str] = "plain_mask_decoder.PlainMaskDecoder"
    encoder_blocks_field: ClassVar[str] = "features"

    kind: Literal["pmt"] = "pmt"
    """The decoder; see docs/reference/decoders.md."""
    queries: Queries = 100
    """Number of queries; see the decoder `eomt`."""
    blocks: Blocks = 6
    """Number of blocks that queries and patches go through."""
    features: Blocks = 4
    """Number of evenly spaced encoder blocks whose features are projected and summed; the last
    block is always one of them."""
    mlp_ratio: MlpRatio = 1.0
    """Hidden channels of each MLP, as a multiple of the encoder's width."""
    doublings: Doublings = 2
    """Times that rows and columns of patches are doubled; see the decoder `eomt`."""
    cells: Cells = 4
    """Rows and columns of scores for each patch; see the decoder `eomt`."""
    masking: bool = True
    """True: in training, queries attend at first only to the patches of their masks, and masks
    before each block learn too; see the decoder `eomt`."""

    @property
    def encoder_blocks(self) -> int:
        """The number of blocks that it takes features from."""
        return self.features

    @property
    def query_masks(self) -> QueryMasks:
        """Masks of queries that scores are summed from."""
        return QueryMasks(self.queries, self.doublings, self.cells)


DecoderSpec = Annotated[
    LinearDecoderSpec
    | MaskTransformerSpec
    | MultiBlockLinearSpec
    | AttentionToMaskSpec
    | JoinedClassTokensSpec
    | PlainMaskDecoderSpec
    | EoMTSpec,
    Field(discriminator="kind"),
]
