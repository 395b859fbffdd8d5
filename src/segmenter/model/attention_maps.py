"""Where a model looks: the attention weights of any block, and what their tokens are."""

from dataclasses import dataclass
from typing import Literal, cast

import torch
from jaxtyping import Float
from torch import Tensor

from segmenter.errors import UserError
from segmenter.model.encoder import Grid
from segmenter.model.segmenter import Segmenter
from segmenter.model.transformer import Block

_PARTS = ("encoder", "decoder")


@dataclass(frozen=True, eq=False)
class AttentionMaps:
    """What every token of one block takes from every other, head by head.

    The tokens are, in this order: prefix tokens (class token, distillation token, registers),
    patches row by row, class tokens. The encoder has class tokens only where the decoder puts them
    into its last blocks (`eomt`), the decoder has no prefix.
    """

    weights: Float[Tensor, "batch heads tokens tokens"]
    """How much each token (third axis) takes from each (last axis); a row sums to 1, or is 0 where
    a token takes nothing: the patches in the decoder `atm`."""
    grid: Grid
    """Rows and columns of the patches; with the padding, where the image was padded."""
    num_prefix: int
    num_classes: int

    def of_patch(self, row: int, column: int) -> Float[Tensor, "batch heads rows columns"]:
        """How much one patch takes from each patch.

        Raises:
            UserError: If there is no such patch.
        """
        rows, columns = self.grid
        if not (0 <= row < rows and 0 <= column < columns):
            raise UserError(
                f"no patch at row {row}, column {column}: the image has {rows} rows and "
                f"{columns} columns of patches, counted from 0"
            )
        return self._over_patches(self.num_prefix + row * columns + column)

    def of_class(self, index: int) -> Float[Tensor, "batch heads rows columns"]:
        """How much the token of one class takes from each patch, where there are class tokens.

        Raises:
            UserError: If there is no such class.
        """
        if not 0 <= index < self.num_classes:
            raise UserError(
                f"no class token {index}: there are {self.num_classes}, counted from 0"
                + ("" if self.num_classes else "; class tokens are in a mask decoder alone")
            )
        rows, columns = self.grid
        return self._over_patches(self.num_prefix + rows * columns + index)

    def of_prefix(self, index: int = 0) -> Float[Tensor, "batch heads rows columns"]:
        """How much a prefix token takes from each patch; the first is the encoder's class token.

        Raises:
            UserError: If there is no such token.
        """
        if not 0 <= index < self.num_prefix:
            raise UserError(f"no prefix token {index}: there are {self.num_prefix}, from 0")
        return self._over_patches(index)

    def _over_patches(self, token: int) -> Tensor:
        """The row of one token, patches only, in their places."""
        rows, columns = self.grid
        patches = self.weights[:, :, token, self.num_prefix : self.num_prefix + rows * columns]
        return patches.unflatten(2, self.grid)


def attention_maps(
    model: Segmenter,
    images: Float[Tensor, "batch channels height width"],
    layer: int = -1,
    part: Literal["encoder", "decoder"] = "encoder",
) -> AttentionMaps:
    """Look up where each token of one block looks.

    The blocks before it are run as the model itself runs them, without gradients. A pixel's patch
    is its row and column divided by `model.spec.encoder.patch_size`, rounded down.

    Args:
        model: In eval mode, as `load` gives it.
        images: Normalised, as for the model itself.
        layer: Which block, from 0; -1 is the last.
        part: Blocks of the encoder, or of a decoder that attends (`mask`, `atm`).

    Raises:
        UserError: If there is no such block, or the decoder has none.
    """
    if part not in _PARTS:
        raise UserError(f"part is {' or '.join(_PARTS)}, got {part!r}")
    encoder, decoder = model.encoder, model.decoder
    with torch.no_grad():
        images = model.pad(images)
        if part == "encoder":
            number = _block_number(layer, len(encoder.blocks), part)
            tokens, grid, rotation = decoder.tokens_before(encoder, images, number)
            block = cast(Block, encoder.blocks[number])
            weights = block.attention_weights(tokens, rotation)
            num_prefix = encoder.spec.num_prefix_tokens
            num_queries = tokens.shape[1] - num_prefix - grid[0] * grid[1]
            return AttentionMaps(weights, grid, num_prefix, num_queries)
        if not decoder.num_attention_blocks:
            raise UserError(
                f"the decoder is {model.spec.decoder.kind}: it has no attention; "
                "ask for part='encoder'"
            )
        number = _block_number(layer, decoder.num_attention_blocks, part)
        features, grid = model.encode(images)
        weights = decoder.attention_weights(features, number)
        return AttentionMaps(weights, grid, 0, len(model.spec.classes.classes))


def _block_number(layer: int, depth: int, part: str) -> int:
    """The block that `layer` means, counted from the front."""
    if not -depth <= layer < depth:
        raise UserError(
            f"no layer {layer}: the {part} has {depth} blocks, 0 to {depth - 1}, or -1 to "
            f"{-depth} from the end"
        )
    return layer % depth
