"""EoMT: queries go through the encoder with the patches, and classify masks.

EoMT (Kerssies et al. 2025). A query has a mask, by its comparison with the patches, and either one
of the classes or none. The score of a class at a pixel is the sum over queries of the mask's
sigmoid times the probability of the class; what falls to "no object" is left out.

The decoder gives the logarithms of these scores. So a softmax over classes is a score's share of
the sum of scores, and losses, confidence and calibration need no second branch; a protocol whose
`window_average` is `scores` averages the scores themselves, as published.
"""

import torch
from jaxtyping import Float
from torch import Tensor, nn

from segmenter.model.decoders import EoMTSpec
from segmenter.model.decoders.decoder import DrawUniform, QueryPrediction
from segmenter.model.decoders.joined_queries import JoinedQueries
from segmenter.model.decoders.mask_annealing import MaskAnnealing
from segmenter.model.decoders.mask_head import (
    class_logits,
    classify_masks,
    grid_of_masks,
    mask_embedding,
    refinement,
    summands,
)
from segmenter.model.encoder import EncoderParts, Grid
from segmenter.model.mask_scores import MaskScores
from segmenter.model.spec import EncoderSpec


class EoMT(JoinedQueries):
    """Classify masks of queries that went through the encoder's last blocks with the patches."""

    queries_are_classes = False

    def __init__(self, spec: EoMTSpec, encoder: EncoderSpec, num_classes: int) -> None:
        super().__init__()
        dim = encoder.embed_dim
        self.out_indices = (encoder.depth - 1,)
        self.num_query_blocks = spec.blocks
        self.num_queries = spec.queries
        self.cells = spec.cells
        self.is_binary = num_classes == 1
        self.queries = nn.Parameter(torch.empty(1, spec.queries, dim))
        self.classify = nn.Linear(dim, num_classes + 1)
        """The last row is "no object"."""
        self.embed = mask_embedding(dim)
        self.refine = refinement(dim, spec.doublings)
        self.annealing = MaskAnnealing(spec.queries, spec.blocks) if spec.masking else None
        """In training, masks queries in the last blocks; None: all queries see all patches."""
        # On the meta device nothing is drawn, and `normal_` would import sympy: seconds.
        if not self.queries.is_meta:
            nn.init.normal_(self.queries)

    def forward(
        self,
        features: Float[Tensor, "batch tokens dim"],
        grid: Grid,
        drop_path_scales: Float[Tensor, "branches batch"] | None = None,  # noqa: ARG002 - no branch
    ) -> Float[Tensor, "batch classes rows columns"]:
        """Return the logarithm of each class's score in `cells` rows and columns of each patch.

        One class has a background, whose logit is 0: its own is the logit of its score.
        """
        return class_logits(self.mask_scores(features, grid), is_binary=self.is_binary)

    def mask_scores(self, features: Float[Tensor, "batch tokens dim"], grid: Grid) -> MaskScores:
        """Return the masks and the shares of classes that the scores are summed from."""
        return summands(self, self.classified_masks(features, grid))

    def scores(self, prediction: QueryPrediction) -> Float[Tensor, "batch classes rows columns"]:
        """Return what `forward` does, from the prediction of the queries."""
        return class_logits(summands(self, prediction), is_binary=self.is_binary)

    def grid_of(self, prediction: QueryPrediction) -> Grid:
        """Return the rows and columns of patches that the masks of a prediction cover."""
        return grid_of_masks(self, prediction.masks)

    def classified_masks(
        self, features: Float[Tensor, "batch tokens dim"], grid: Grid
    ) -> QueryPrediction:
        """Return the class logits and the mask logits of each query.

        Args:
            features: Features of the patches, then of the queries: what `encode` returned.
            grid: Rows and columns of patches.

        Returns:
            Masks have 2 ** `doublings` rows and columns for each patch.
        """
        num_patches = grid[0] * grid[1]
        return classify_masks(self, features[:, num_patches:], features[:, :num_patches], grid)

    def predictions(
        self,
        encoder: EncoderParts,
        images: Float[Tensor, "batch channels height width"],
        drop_path_scales: Float[Tensor, "branches batch"] | None = None,
    ) -> tuple[Float[Tensor, "batch tokens dim"], list[QueryPrediction]]:
        """Encode images; predict before each masked block, which the prediction masks, and last."""
        found: list[QueryPrediction] = []
        first = encoder.spec.depth - self.num_query_blocks
        tokens, grid, rotation = self.tokens_before(encoder, images, first, drop_path_scales)
        for place in range(self.num_query_blocks):
            bias = None
            if self.annealing:
                found.append(self.classified_masks(encoder.features(tokens), grid))
                num_tokens = tokens.shape[1]
                first_patch = num_tokens - self.num_queries - grid[0] * grid[1]
                bias = self.annealing.bias(found[-1].masks, grid, num_tokens, place, first_patch)
            tokens = encoder.run_block(first + place, tokens, rotation, drop_path_scales, bias)
        features = encoder.features(encoder.one_per_patch(tokens))
        return features, [*found, self.classified_masks(features, grid)]

    def before_step(self, progress: float) -> None:
        """Set how many queries are masked at this point of the run."""
        if self.annealing:
            self.annealing.before_step(progress)

    def before_pass(self, draw: DrawUniform) -> None:
        """Draw the queries that are masked in each block, for each image."""
        if self.annealing:
            self.annealing.before_pass(draw, self.queries.device)

    @property
    def class_embeddings(self) -> Float[Tensor, "classes dim"]:
        """The rows of the layer that classifies queries, without "no object"."""
        return self.classify.weight[:-1]

    @property
    def query_tokens(self) -> Float[Tensor, "1 queries dim"]:
        """The learned queries."""
        return self.queries
