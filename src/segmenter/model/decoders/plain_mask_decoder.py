"""PMT: queries go through blocks of the decoder's own, on the features of a frozen encoder.

PMT (Cavagnero et al. 2026), "Plain Mask Decoder": the last blocks of EoMT stand behind the encoder,
which stays as it was pretrained and can be shared. Features of several encoder blocks are
standardised, projected and summed; queries and these tokens then attend to each other, patches
with DINOv3's rotary positions.
"""

from typing import cast

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional as F

from segmenter.model.decoders import PlainMaskDecoderSpec
from segmenter.model.decoders.decoder import (
    AllReduce,
    Decoder,
    DrawUniform,
    QueryPrediction,
    evenly_spaced,
)
from segmenter.model.decoders.mask_annealing import MaskAnnealing
from segmenter.model.decoders.mask_head import (
    MaskHead,
    class_logits,
    grid_of_masks,
    summands,
)
from segmenter.model.decoders.multi_block_linear import RunningStatsNorm
from segmenter.model.encoder import EncoderParts, Grid, rotary_positions
from segmenter.model.mask_scores import MaskScores
from segmenter.model.spec import EncoderSpec
from segmenter.model.transformer import Block, Mlp, Rotation

_NORM_EPS = 1e-5


class PlainMaskDecoder(Decoder):
    """Classify masks of queries that go through own blocks with the sum of several features."""

    queries_are_classes = False

    def __init__(self, spec: PlainMaskDecoderSpec, encoder: EncoderSpec, num_classes: int) -> None:
        super().__init__()
        dim = encoder.embed_dim
        self.encoder_spec = encoder
        self.out_indices = evenly_spaced(spec.features, encoder.depth)
        self.num_queries = spec.queries
        self.is_binary = num_classes == 1
        self.annealing = MaskAnnealing(spec.queries, spec.blocks) if spec.masking else None
        """In training, masks queries in the blocks; None: all queries see all patches."""
        self.laterals = nn.ModuleList(Lateral(dim) for _ in range(spec.features))
        self.queries = nn.Parameter(torch.empty(1, spec.queries, dim))
        self.blocks = nn.ModuleList(
            Block(
                dim,
                mlp_ratio=spec.mlp_ratio,
                layer_norm_eps=_NORM_EPS,
                qkv_bias=True,
                head_dim=encoder.head_dim,
                layer_scale=True,
            )
            for _ in range(spec.blocks)
        )
        self.norm = nn.LayerNorm(dim, eps=_NORM_EPS)
        self.head = MaskHead(dim, num_classes, spec.doublings, spec.cells)
        # On the meta device nothing is drawn, and `normal_` would import sympy: seconds.
        if not self.queries.is_meta:
            nn.init.normal_(self.queries)
        for block in self.blocks:
            for scale in (cast(Block, block).scale1, cast(Block, block).scale2):
                nn.init.ones_(cast(nn.Parameter, scale.gamma))

    def encode(
        self,
        encoder: EncoderParts,
        images: Float[Tensor, "batch channels height width"],
        drop_path_scales: Float[Tensor, "branches batch"] | None = None,
    ) -> tuple[Float[Tensor, "batch tokens features"], Grid]:
        """Encode images into the features of several blocks, side by side along channels.

        Returns:
            Features of the patches, row by row, then of the prefix tokens; and the rows and columns
            of the patches.
        """
        tokens, grid, rotation = encoder.embed(images)
        outputs = []
        for index in range(self.out_indices[-1] + 1):
            tokens = encoder.run_block(index, tokens, rotation, drop_path_scales)
            if index in self.out_indices:
                outputs.append(encoder.normalize(encoder.one_per_patch(tokens)))
        features = torch.cat(outputs, dim=-1)
        num_prefix = self.encoder_spec.num_prefix_tokens
        return torch.cat([features[:, num_prefix:], features[:, :num_prefix]], dim=1), grid

    def forward(
        self,
        features: Float[Tensor, "batch tokens features"],
        grid: Grid,
        drop_path_scales: Float[Tensor, "branches batch"] | None = None,  # noqa: ARG002 - no branch
    ) -> Float[Tensor, "batch classes rows columns"]:
        """Return the logarithm of each class's score in `cells` rows and columns of each patch."""
        return self.scores(self.classified_masks(features, grid))

    def mask_scores(
        self, features: Float[Tensor, "batch tokens features"], grid: Grid
    ) -> MaskScores:
        """Return the masks and the shares of classes that the scores are summed from."""
        return summands(self.head, self.classified_masks(features, grid))

    def classified_masks(
        self, features: Float[Tensor, "batch tokens features"], grid: Grid
    ) -> QueryPrediction:
        """Return the class logits, "no object" last, and the mask logits of each query."""
        tokens, rotation = self.tokens_of(features, grid)
        for block in self.blocks:
            tokens = block(tokens, None, rotation)
        return self._predict(tokens, grid)

    def predictions(
        self,
        encoder: EncoderParts,
        images: Float[Tensor, "batch channels height width"],
        drop_path_scales: Float[Tensor, "branches batch"] | None = None,
    ) -> tuple[Float[Tensor, "batch tokens features"], list[QueryPrediction]]:
        """Encode images; predict before each masked block, which the prediction masks, and last."""
        features, grid = self.encode(encoder, images, drop_path_scales)
        tokens, rotation = self.tokens_of(features, grid)
        found: list[QueryPrediction] = []
        for number, block in enumerate(self.blocks):
            bias = None
            if self.annealing:
                found.append(self._predict(tokens, grid))
                bias = self.annealing.bias(found[-1].masks, grid, tokens.shape[1], number, 0)
            tokens = block(tokens, None, rotation, bias)
        return features, [*found, self._predict(tokens, grid)]

    def scores(self, prediction: QueryPrediction) -> Float[Tensor, "batch classes rows columns"]:
        """Return what `forward` does, from the prediction of the queries."""
        return class_logits(summands(self.head, prediction), is_binary=self.is_binary)

    def grid_of(self, prediction: QueryPrediction) -> Grid:
        """Return the rows and columns of patches that the masks of a prediction cover."""
        return grid_of_masks(self.head, prediction.masks)

    def tokens_of(
        self, features: Float[Tensor, "batch tokens features"], grid: Grid
    ) -> tuple[Float[Tensor, "batch _ dim"], Rotation]:
        """Return the input of the first block, patches first and queries last, and its rotation."""
        levels = features.chunk(len(self.laterals), dim=-1)
        laterals = zip(self.laterals, levels, strict=True)
        tokens = torch.stack([lateral(level) for lateral, level in laterals]).sum(dim=0)
        queries = self.queries.expand(tokens.shape[0], -1, -1).to(tokens.dtype)
        tokens = torch.cat([tokens, queries], dim=1)
        return tokens, self._rotation(grid, tokens.shape[1], tokens.device)

    def _predict(self, tokens: Float[Tensor, "batch tokens dim"], grid: Grid) -> QueryPrediction:
        tokens = self.norm(tokens)
        return self.head(tokens[:, -self.num_queries :], tokens[:, : grid[0] * grid[1]], grid)

    def _rotation(self, grid: Grid, num_tokens: int, device: torch.device) -> Rotation:
        """Return the rotary positions of patches, and none for the tokens after them."""
        sine, cosine = (
            part[self.encoder_spec.num_prefix_tokens :]
            for part in rotary_positions(grid, self.encoder_spec, device)
        )
        below = (0, 0, 0, num_tokens - grid[0] * grid[1])
        return F.pad(sine, below), F.pad(cosine, below, value=1.0)

    @property
    def class_embeddings(self) -> Float[Tensor, "classes dim"]:
        """The rows of the layer that classifies queries, without "no object"."""
        return self.head.classify.weight[:-1]

    def before_step(self, progress: float) -> None:
        """Set how many queries are masked at this point of the run."""
        if self.annealing:
            self.annealing.before_step(progress)

    def before_pass(self, draw: DrawUniform) -> None:
        """Draw the queries that are masked in each block, for each image."""
        if self.annealing:
            self.annealing.before_pass(draw, self.queries.device)

    def discard_step(self) -> None:
        """Drop the statistics of a batch that is computed again."""
        for lateral in self.laterals:
            cast(Lateral, lateral).norm.drop_batch_stats()

    def after_step(self, all_reduce: AllReduce, *, is_finite: bool) -> None:
        """Move the running statistics towards those of the whole batch."""
        norms = [cast(Lateral, lateral).norm for lateral in self.laterals]
        sums = all_reduce(torch.stack([norm.pop_batch_stats() for norm in norms]))
        if is_finite:
            for norm, found in zip(norms, sums, strict=True):
                norm.update(found)


class Lateral(nn.Module):
    """Standardise the features of a block, add a projection of them, and scale each channel."""

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.norm = RunningStatsNorm(dim)
        self.gain = nn.Parameter(torch.ones(dim))
        self.offset = nn.Parameter(torch.zeros(dim))
        self.mlp = Mlp(dim, dim // 2)
        self.scale = nn.Parameter(torch.ones(dim))

    def forward(
        self, features: Float[Tensor, "batch tokens dim"]
    ) -> Float[Tensor, "batch tokens dim"]:
        """Project each token by itself."""
        tokens = self.norm(features) * self.gain + self.offset
        return (tokens + self.mlp(tokens)) * self.scale
