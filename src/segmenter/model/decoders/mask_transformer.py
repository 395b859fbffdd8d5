"""The mask transformer: class tokens attend to the patches (paper, section 3.2, figure 2)."""

from typing import cast

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional as F

from segmenter.model.decoders import MaskTransformerSpec
from segmenter.model.decoders.decoder import Decoder
from segmenter.model.encoder import Grid, block_scales
from segmenter.model.spec import EncoderSpec
from segmenter.model.transformer import Block, initialize_linear_and_norm, rising_drop_rates

_FIRST_SCALE = 10.0
"""Large enough for probabilities near 0 and 1 from the start; learned without a bound."""


class MaskTransformer(Decoder):
    """Let one learned token per class and the patches attend to each other, then compare them.

    `masks = z_patches z_classes^T` of unit vectors (paper, section 3.2). The logit of a class at a
    patch is their cosine similarity, followed by a layer norm over classes or by a learned scale.
    """

    def __init__(self, spec: MaskTransformerSpec, encoder: EncoderSpec, num_classes: int) -> None:
        super().__init__()
        self.out_indices = (encoder.depth - 1,)
        self.num_attention_blocks = spec.depth
        self.drop_rates = rising_drop_rates(spec.drop_path, spec.depth)
        dim = spec.dim or encoder.embed_dim
        self.project_in = nn.Linear(encoder.embed_dim, dim)
        self.class_tokens = nn.Parameter(torch.empty(1, num_classes, dim))
        self.blocks = nn.ModuleList(
            Block(
                dim,
                mlp_ratio=spec.mlp_ratio,
                layer_norm_eps=spec.layer_norm_eps,
                qkv_bias=spec.qkv_bias,
                dropout=spec.dropout,
            )
            for _ in range(spec.depth)
        )
        self.norm = nn.LayerNorm(dim, eps=spec.layer_norm_eps)
        self.project_patches = nn.Linear(dim, dim, bias=False)
        self.project_classes = nn.Linear(dim, dim, bias=False)
        self.norm_logits = (
            ScaledCosine(num_classes)
            if spec.class_norm == "scale"
            else nn.LayerNorm(num_classes, eps=spec.layer_norm_eps)
        )
        initialize_linear_and_norm(self)
        nn.init.trunc_normal_(self.class_tokens, std=0.02)
        # On the meta device nothing is drawn, and `normal_` would import sympy: seconds.
        if spec.projection_init == "scaled-normal" and not self.class_tokens.is_meta:
            for projection in (self.project_patches, self.project_classes):
                nn.init.normal_(projection.weight, std=dim**-0.5)

    def forward(
        self,
        features: Float[Tensor, "batch patches dim"],
        grid: Grid,
        drop_path_scales: Float[Tensor, "branches batch"] | None = None,
    ) -> Float[Tensor, "batch classes rows columns"]:
        """Score each patch."""
        num_patches = features.shape[1]
        tokens = self.norm(self.run_blocks(features, len(self.blocks), drop_path_scales))
        patches = F.normalize(self.project_patches(tokens[:, :num_patches]), dim=-1)
        classes = F.normalize(self.project_classes(tokens[:, num_patches:]), dim=-1)
        masks = self.norm_logits(patches @ classes.transpose(1, 2))
        return masks.transpose(1, 2).unflatten(2, grid)

    @property
    def class_embeddings(self) -> Float[Tensor, "classes dim"]:
        """The learned class tokens."""
        return self.class_tokens[0]

    def attention_weights(
        self, features: Float[Tensor, "batch patches dim"], block: int
    ) -> Float[Tensor, "batch heads tokens tokens"]:
        """Return the attention between patches and class tokens in one block."""
        tokens = self.run_blocks(features, block)
        return cast(Block, self.blocks[block]).attention_weights(tokens)

    def run_blocks(
        self,
        features: Float[Tensor, "batch patches dim"],
        count: int,
        drop_path_scales: Float[Tensor, "branches batch"] | None = None,
    ) -> Float[Tensor, "batch tokens decoder_dim"]:
        """Append the class tokens to the patches and run the first `count` blocks on both."""
        tokens = self.project_in(features)
        classes = self.class_tokens.expand(tokens.shape[0], -1, -1).to(tokens.dtype)
        tokens = torch.cat([tokens, classes], dim=1)
        for index, block in enumerate(self.blocks[:count]):
            tokens = block(tokens, block_scales(drop_path_scales, index))
        return tokens


class ScaledCosine(nn.Module):
    """Turn cosines into logits by a learned scale and a learned bias per class."""

    def __init__(self, num_classes: int) -> None:
        super().__init__()
        self.scale = nn.Parameter(torch.tensor([_FIRST_SCALE]))  # an axis: fully_shard needs one
        self.bias = nn.Parameter(torch.zeros(num_classes))

    def forward(self, cosines: Float[Tensor, "... classes"]) -> Float[Tensor, "... classes"]:
        """Scale cosines of -1 to 1; at the start, logits are -10 to 10."""
        scaled = cosines.to(self.bias.dtype) * self.scale
        # The number of classes has to stand in a graph: OpenVINO adds no bias of 3 to an unknown.
        return scaled.reshape(*cosines.shape[:-1], len(self.bias)) + self.bias
