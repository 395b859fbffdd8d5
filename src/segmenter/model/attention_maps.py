"""Attention weights of any block, and the meaning of their tokens."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Literal, cast

import torch
from jaxtyping import Float
from torch import Tensor, nn

from segmenter.errors import UserError
from segmenter.model.encoder import Grid
from segmenter.model.segmenter import Segmenter
from segmenter.model.transformer import Block, Rotation

Part = Literal["encoder", "decoder"]
_PARTS = ("encoder", "decoder")


@dataclass(frozen=True, eq=False)
class AttentionMaps:
    """Attention weights of one block, from every token to every other, head by head.

    The tokens are, in this order: prefix tokens (class token, distillation token, registers),
    patches row by row, class tokens. The encoder has class tokens only where the decoder puts them
    into its last blocks (`joined-class-tokens`). The decoder has no prefix tokens.

    Example:
        maps = segmenter.attention_maps(model, images)
        maps.of_patch(row=12, column=30)  # (batch, heads, rows, columns)
    """

    weights: Float[Tensor, "batch heads tokens tokens"]
    """Weights with which each token (third axis) attends to each token (last axis). A row sums to
    1, or is 0 where a token attends to nothing, as patches in the decoder `atm`."""
    grid: Grid
    """Rows and columns of the patches, including padding."""
    num_prefix: int
    """Number of prefix tokens."""
    num_classes: int
    """Number of class tokens."""

    def of_patch(self, row: int, column: int) -> Float[Tensor, "batch heads rows columns"]:
        """Return the weights with which one patch attends to each patch.

        Raises:
            UserError: If the patch does not exist.
        """
        rows, columns = self.grid
        if not (0 <= row < rows and 0 <= column < columns):
            raise UserError(
                f"no patch at row {row}, column {column}: the image has {rows} rows and "
                f"{columns} columns of patches, counted from 0"
            )
        return self._over_patches(self.num_prefix + row * columns + column)

    def of_class(self, index: int) -> Float[Tensor, "batch heads rows columns"]:
        """Return the weights with which one class token attends to each patch.

        Raises:
            UserError: If the class does not exist.
        """
        if not 0 <= index < self.num_classes:
            raise UserError(
                f"no class token {index}: there are {self.num_classes}, counted from 0"
                + ("" if self.num_classes else "; class tokens are in a mask decoder alone")
            )
        rows, columns = self.grid
        return self._over_patches(self.num_prefix + rows * columns + index)

    def of_prefix(self, index: int = 0) -> Float[Tensor, "batch heads rows columns"]:
        """Return a prefix token's weights on each patch; the first is the encoder's class token.

        Raises:
            UserError: If the token does not exist.
        """
        if not 0 <= index < self.num_prefix:
            raise UserError(f"no prefix token {index}: there are {self.num_prefix}, from 0")
        return self._over_patches(index)

    def _over_patches(self, token: int) -> Tensor:
        """Return the row of one token, patches only, in their places."""
        rows, columns = self.grid
        patches = self.weights[:, :, token, self.num_prefix : self.num_prefix + rows * columns]
        return patches.unflatten(2, self.grid)


def attention_maps(
    model: Segmenter,
    images: Float[Tensor, "batch channels height width"],
    layer: int = -1,
    part: Part = "encoder",
) -> AttentionMaps:
    """Return the attention weights of every token in one block.

    The blocks before it are run as the model itself runs them, without gradients. A pixel's patch
    is its row and column divided by `model.spec.encoder.patch_size`, rounded down.

    Args:
        model: In eval mode, as `load` returns it.
        images: Normalised, as for the model itself.
        layer: Number of the block, from 0; -1 is the last.
        part: Blocks of the encoder, or of a decoder that attends (`mask`, `atm`).

    Raises:
        UserError: If the block does not exist, or the decoder has none.

    Example:
        model = segmenter.load("street")
        images = model.normalize(torch.zeros(1, 3, 448, 448, dtype=torch.uint8))
        segmenter.attention_maps(model, images, layer=5).weights.shape  # 1, heads, tokens, tokens
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
            num_classes = _num_class_tokens(model, tokens, grid)
            return AttentionMaps(weights, grid, num_prefix, num_classes)
        if not decoder.num_attention_blocks:
            raise UserError(
                f"the decoder is {model.spec.decoder.kind}: it has no attention; "
                "ask for part='encoder'"
            )
        number = _block_number(layer, decoder.num_attention_blocks, part)
        features, grid = model.encode(images)
        weights = decoder.attention_weights(features, number)
        return AttentionMaps(weights, grid, 0, len(model.spec.classes.classes))


def all_attention_maps(
    model: Segmenter, images: Float[Tensor, "batch channels height width"]
) -> Iterator[tuple[Part, int, AttentionMaps]]:
    """Yield the attention of each block, with its part and number; the model runs once.

    They equal those of `attention_maps`, which runs the blocks before each one again.

    Args:
        model: In eval mode, as `load` returns it.
        images: Normalised, as for the model itself.
    """
    inputs: list[tuple[Tensor, Rotation | None]] = []

    def keep_input(_: nn.Module, given: tuple, named: dict[str, Any]) -> None:
        tokens, *others = given
        rotation = others[1] if len(others) > 1 else named.get("rotation")
        inputs.append((tokens, rotation))

    encoder, decoder = model.encoder, model.decoder
    hooks = [
        block.register_forward_pre_hook(keep_input, with_kwargs=True) for block in encoder.blocks
    ]
    try:
        with torch.no_grad():
            features, grid = model.encode(model.pad(images))
    finally:
        for hook in hooks:
            hook.remove()
    if model.spec.decoder.encoder_passes > 1:  # of shifted views, the first is shown
        inputs = [(tokens[: len(images)], rotation) for tokens, rotation in inputs]
        shifts = model.spec.decoder.logits_per_patch_side
        grid = grid[0] // shifts, grid[1] // shifts
    num_prefix = encoder.spec.num_prefix_tokens
    for number, (tokens, rotation) in enumerate(inputs):
        with torch.no_grad():
            weights = cast(Block, encoder.blocks[number]).attention_weights(tokens, rotation)
        num_classes = _num_class_tokens(model, tokens, grid)
        yield "encoder", number, AttentionMaps(weights, grid, num_prefix, num_classes)
    for number in range(decoder.num_attention_blocks):
        with torch.no_grad():
            weights = decoder.attention_weights(features, number)
        yield "decoder", number, AttentionMaps(weights, grid, 0, len(model.spec.classes.classes))


def _num_class_tokens(model: Segmenter, tokens: Tensor, grid: Grid) -> int:
    """Return how many of a block's tokens are class tokens; queries of another kind are none."""
    if not model.decoder.queries_are_classes:
        return 0
    return tokens.shape[1] - model.encoder.spec.num_prefix_tokens - grid[0] * grid[1]


def _block_number(layer: int, depth: int, part: str) -> int:
    """Return the block that `layer` means, counted from the front."""
    if not -depth <= layer < depth:
        raise UserError(
            f"no layer {layer}: the {part} has {depth} blocks, 0 to {depth - 1}, or -1 to "
            f"{-depth} from the end"
        )
    return layer % depth
