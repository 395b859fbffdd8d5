"""Learned queries that go through the encoder's last blocks with the patches, as in EoMT."""

from abc import abstractmethod

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn import functional as F

from segmenter.model.decoders.decoder import Decoder
from segmenter.model.encoder import EncoderParts, Grid, run_blocks
from segmenter.model.transformer import Rotation


class JoinedQueries(Decoder):
    """A decoder whose queries join the patches before the last `num_query_blocks` blocks."""

    @property
    @abstractmethod
    def query_tokens(self) -> Float[Tensor, "1 queries dim"]:
        """The learned queries, alike for all images."""

    def attention_bias(
        self,
        encoder: EncoderParts,
        tokens: Float[Tensor, "batch tokens dim"],
        grid: Grid,
        place: int,
    ) -> Tensor | None:
        """Return what is added to attention scores in a block; None adds nothing.

        Args:
            encoder: The encoder.
            tokens: What goes into the block.
            grid: Rows and columns of patches.
            place: Number of the block among those with queries, from 0.
        """
        del encoder, tokens, grid, place
        return None

    def encode(
        self,
        encoder: EncoderParts,
        images: Float[Tensor, "batch channels height width"],
        drop_path_scales: Float[Tensor, "branches batch"] | None = None,
    ) -> tuple[Float[Tensor, "batch tokens dim"], Grid]:
        """Encode images; in the last blocks the queries go with the patches."""
        depth = encoder.spec.depth
        tokens, grid, _ = self.tokens_before(encoder, images, depth, drop_path_scales)
        return encoder.features(encoder.one_per_patch(tokens)), grid

    def tokens_before(
        self,
        encoder: EncoderParts,
        images: Float[Tensor, "batch channels height width"],
        block: int,
        drop_path_scales: Float[Tensor, "branches batch"] | None = None,
    ) -> tuple[Float[Tensor, "batch tokens dim"], Grid, Rotation | None]:
        """Return the input of one block of the encoder, the queries after the patches."""
        first_query_block = encoder.spec.depth - self.num_query_blocks
        tokens, grid, rotation = encoder.embed(images)
        first = range(min(first_query_block, block))
        tokens = run_blocks(encoder, tokens, first, rotation, drop_path_scales)
        if block >= first_query_block:
            tokens, rotation = self.append_queries(tokens, rotation)
        for index in range(first_query_block, block):
            bias = self.attention_bias(encoder, tokens, grid, index - first_query_block)
            tokens = encoder.run_block(index, tokens, rotation, drop_path_scales, bias)
        return tokens, grid, rotation

    def append_queries(
        self, tokens: Float[Tensor, "batch tokens dim"], rotation: Rotation | None
    ) -> tuple[Float[Tensor, "batch _ dim"], Rotation | None]:
        """Put the queries after the tokens of each image; they have no position."""
        queries = self.query_tokens.expand(tokens.shape[0], -1, -1).to(tokens.dtype)
        if rotation is not None:
            sine, cosine = rotation
            below = (0, 0, 0, queries.shape[1])
            rotation = F.pad(sine, below), F.pad(cosine, below, value=1.0)
        return torch.cat([tokens, queries], dim=1), rotation
