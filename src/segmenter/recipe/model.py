"""The model of a recipe: encoder, decoder, and their starting weights."""

from typing import Annotated, Literal

from pydantic import BaseModel, BeforeValidator

from segmenter import numbers
from segmenter.model.decoders import DecoderSpec, MaskTransformerSpec
from segmenter.model.spec import SizePolicy
from segmenter.numbers import STRICT, Blocks, Epsilon, Rate, Whole


def with_kind(given: object) -> object:
    """Add the `kind` of a decoder: a name alone means its defaults, and no name means `mask`."""
    if isinstance(given, str):
        return {"kind": given}
    return {"kind": "mask"} | given if isinstance(given, dict) else given


class ModelRecipe(BaseModel):
    """Encoder, decoder, and starting weights."""

    model_config = STRICT

    encoder: str | None = None
    """timm's name of a plain ViT, such as `vit_small_patch16_384`; None: as in `weights`, which
    must then be a model or a bundled encoder."""
    encoder_depth: Blocks | None = None
    """Keep only the first blocks of the encoder; None: all of them."""
    weights: str | None = None
    """Starting weights: a bundled encoder such as `dinov2-small`, an encoder's file, `timm:NAME`
    (downloaded), or a whole model of this package by name or path; None: random weights."""
    allow_partial_weights: bool = False
    """Load the tensors of `weights` that match by name and shape, and initialise the others. False:
    only what depends on the classes may differ, and position table, depth and channels are
    fitted."""
    patch_size: Annotated[Whole, numbers.PATCH_SIZE] | None = None
    """Side of a patch in pixels, to which the patch embedding is resized as it is loaded
    (FlexiViT); None: that of the weights."""
    position_grid: Annotated[Whole, numbers.GRID_SIDE] | None = None
    """Rows and columns of the position table, resized from the weights'; None: as they are."""
    position_resize: Literal["bicubic", "bilinear"] | None = None
    """Resizing of the position table to another grid of patches. None: as the weights were
    trained (bicubic for the named encoders)."""
    encoder_layer_norm_eps: Epsilon | None = None
    """Epsilon of the encoder's layer norms; None: the architecture's own."""
    drop_path: Rate = 0.1
    """Stochastic depth of the encoder's last block, rising linearly from 0."""
    normalization: Literal["encoder", "half", "imagenet", "imagenet-rounded"] = "encoder"
    """Mean and std: the encoder's own, 0.5 / 0.5, or ImageNet's (rounded: as the paper's code)."""
    size_policy: SizePolicy = "pad-crop"
    """Treatment of sides that are not multiples of the patch; see `ModelSpec.size_policy`."""
    decoder: Annotated[DecoderSpec, BeforeValidator(with_kind)] = MaskTransformerSpec()
    """The decoder and its settings, such as `{kind: mask, depth: 2}`; its name alone for their
    defaults (docs/reference/decoders.md). `auto`: that of the model in `weights` if it has the same
    classes, else linear; `{kind: auto, masking: false}` changes a setting of it."""
