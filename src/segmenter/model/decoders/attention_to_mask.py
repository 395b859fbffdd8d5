"""Attention to mask: the attention of a class token to the patches is the mask of its class.

SegViT (Zhang et al. 2022): one token per class attends to the features of several encoder
blocks in turn, and its attention scores are its mask. Here a class has one logit per patch, the sum
of its masks and of its presence in the image, trained by the loss over pixels like every decoder.
"""

from typing import cast

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional as F

from segmenter.model.decoders import AttentionToMaskSpec
from segmenter.model.decoders.decoder import Decoder, evenly_spaced
from segmenter.model.encoder import Grid
from segmenter.model.spec import EncoderSpec
from segmenter.model.transformer import Mlp, initialize_linear_and_norm
from segmenter.numbers import HEAD_DIM


class AttentionToMask(Decoder):
    """Sum the attention scores of one learned token per class over several encoder blocks."""

    def __init__(self, spec: AttentionToMaskSpec, encoder: EncoderSpec, num_classes: int) -> None:
        super().__init__()
        self.out_indices = evenly_spaced(spec.blocks, encoder.depth)
        self.num_attention_blocks = spec.blocks
        dim = spec.dim or encoder.embed_dim
        self.class_tokens = nn.Parameter(torch.empty(1, num_classes, dim))
        self.blocks = nn.ModuleList(
            AttentionToMaskBlock(encoder.embed_dim, dim, spec) for _ in range(spec.blocks)
        )
        self.norm = nn.LayerNorm(dim, eps=spec.layer_norm_eps)
        # No bias: a softmax ignores a constant that all classes share.
        self.presence = nn.Linear(dim, 1, bias=False)
        initialize_linear_and_norm(self)
        nn.init.trunc_normal_(self.class_tokens, std=0.02)

    def forward(
        self,
        features: Float[Tensor, "batch patches features"],
        grid: Grid,
        drop_path_scales: Float[Tensor, "branches batch"] | None = None,  # noqa: ARG002 - no branch
    ) -> Float[Tensor, "batch classes rows columns"]:
        """Score each patch."""
        classes, masks = self.run_blocks(features, len(self.blocks))
        logits = sum(masks) + self.presence(self.norm(classes))
        return logits.unflatten(2, grid)

    @property
    def class_embeddings(self) -> Float[Tensor, "classes dim"]:
        """The learned class tokens."""
        return self.class_tokens[0]

    def attention_weights(
        self, features: Float[Tensor, "batch patches features"], block: int
    ) -> Float[Tensor, "batch heads all_tokens all_tokens"]:
        """Return the attention of class tokens to patches in one block; patches have none."""
        classes, _ = self.run_blocks(features, block)
        attending = cast(AttentionToMaskBlock, self.blocks[block])
        weights = attending.scores(classes, self._features_of(features, block)).softmax(dim=-1)
        return F.pad(weights, (0, weights.shape[2], weights.shape[3], 0))

    def run_blocks(
        self, features: Float[Tensor, "batch patches features"], count: int
    ) -> tuple[Float[Tensor, "batch classes dim"], list[Float[Tensor, "batch classes patches"]]]:
        """Take the class tokens through the first `count` blocks, and keep their masks."""
        classes = self.class_tokens.expand(features.shape[0], -1, -1).to(features.dtype)
        masks = []
        for index, block in enumerate(self.blocks[:count]):
            classes, mask = block(classes, self._features_of(features, index))
            masks.append(mask)
        return classes, masks

    def _features_of(self, features: Tensor, block: int) -> Tensor:
        """Return the features that a block attends to: the first block takes the last ones."""
        num_blocks = len(self.blocks)
        return features.chunk(num_blocks, dim=-1)[num_blocks - 1 - block]


class AttentionToMaskBlock(nn.Module):
    """Cross-attention from class tokens to patches, then an MLP, each on a residual branch."""

    def __init__(self, encoder_dim: int, dim: int, spec: AttentionToMaskSpec) -> None:
        super().__init__()
        self.num_heads = dim // HEAD_DIM
        self.norm1 = nn.LayerNorm(dim, eps=spec.layer_norm_eps)
        self.query = nn.Linear(dim, dim)
        self.key = nn.Linear(encoder_dim, dim)
        self.value = nn.Linear(encoder_dim, dim)
        self.project = nn.Linear(dim, dim)
        self.norm2 = nn.LayerNorm(dim, eps=spec.layer_norm_eps)
        self.mlp = Mlp(dim, int(dim * spec.mlp_ratio))

    def forward(
        self,
        classes: Float[Tensor, "batch classes dim"],
        patches: Float[Tensor, "batch patches encoder_dim"],
    ) -> tuple[Float[Tensor, "batch classes dim"], Float[Tensor, "batch classes patches"]]:
        """Refine the class tokens; their mask is the mean of the heads' scores."""
        scores = self.scores(classes, patches)
        value = self._heads(self.value(patches))
        gathered = (scores.softmax(dim=-1) @ value).transpose(1, 2).flatten(2)
        classes = classes + self.project(gathered)
        classes = classes + self.mlp(self.norm2(classes))
        return classes, scores.mean(dim=1)

    def scores(
        self,
        classes: Float[Tensor, "batch classes dim"],
        patches: Float[Tensor, "batch patches encoder_dim"],
    ) -> Float[Tensor, "batch heads classes patches"]:
        """Return the scaled product of each class token with each patch, before the softmax."""
        query, key = self._heads(self.query(self.norm1(classes))), self._heads(self.key(patches))
        return query @ key.transpose(-2, -1) * HEAD_DIM**-0.5

    def _heads(self, tokens: Tensor) -> Tensor:
        """Split the channels into heads: (batch, heads, tokens, HEAD_DIM)."""
        return tokens.unflatten(2, (self.num_heads, HEAD_DIM)).transpose(1, 2)
