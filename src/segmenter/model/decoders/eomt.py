"""EoMT: queries go through the encoder with the patches, and classify masks.

EoMT (Kerssies et al. 2025). A query has a mask, by its comparison with the patches, and either one
of the classes or none. The score of a class at a pixel is the sum over queries of the mask's
sigmoid times the probability of the class; what falls to "no object" is left out.

The decoder gives the logarithms of these scores. So a softmax over classes is a score's share of
the sum of scores, and losses, confidence and calibration need no second branch; a protocol whose
`window_average` is `scores` averages the scores themselves, as published.
"""

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn
from torch.nn import functional as F

from segmenter.model.decoders import EoMTSpec
from segmenter.model.decoders.decoder import DrawUniform, QueryPrediction
from segmenter.model.decoders.joined_queries import JoinedQueries
from segmenter.model.decoders.mask_head import mask_embedding, refinement
from segmenter.model.encoder import EncoderParts, Grid
from segmenter.model.mask_scores import MaskScores
from segmenter.model.spec import EncoderSpec

_LARGEST_SCORE = 1 - 1e-6  # so that its logit is finite
_HIDDEN = -1e9  # added to an attention score
_ANNEALING_POWER = 0.9


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
        self.masking = spec.masking
        self.mask_probabilities = [1.0] * spec.blocks
        """In training, the share of queries that are masked in each of the last blocks."""
        self.is_masked: list[Bool[Tensor, "batch queries"] | None] = [None] * spec.blocks
        """The queries that are masked in a pass; None: none is."""
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
        return self._logits(self.mask_scores(features, grid))

    def mask_scores(self, features: Float[Tensor, "batch tokens dim"], grid: Grid) -> MaskScores:
        """Return the masks and the shares of classes that the scores are summed from."""
        return self._mask_scores(self.classified_masks(features, grid), grid)

    def scores(self, prediction: QueryPrediction) -> Float[Tensor, "batch classes rows columns"]:
        """Return what `forward` does, from the prediction of the queries."""
        return self._logits(self._mask_scores(prediction, self.grid_of(prediction)))

    def grid_of(self, prediction: QueryPrediction) -> Grid:
        """Return the rows and columns of patches that the masks of a prediction cover."""
        per_patch = 2 ** len(self.refine)
        return prediction.masks.shape[2] // per_patch, prediction.masks.shape[3] // per_patch

    def _mask_scores(self, prediction: QueryPrediction, grid: Grid) -> MaskScores:
        size = grid[0] * self.cells, grid[1] * self.cells
        return MaskScores.from_logits(prediction.classes, prediction.masks, size)

    def _logits(self, scores: MaskScores) -> Float[Tensor, "batch classes rows columns"]:
        logits = scores.log_scores()
        if self.is_binary:
            logits = logits - (1 - logits.exp().clamp(max=_LARGEST_SCORE)).log()
        return logits

    def classified_masks(
        self, features: Float[Tensor, "batch tokens dim"], grid: Grid
    ) -> QueryPrediction:
        """Return the class logits and the mask logits of each query.

        Args:
            features: Of the patches, then of the queries: what `encode` returned.
            grid: Rows and columns of patches.

        Returns:
            Masks have 2 ** `doublings` rows and columns for each patch.
        """
        num_patches = grid[0] * grid[1]
        patches = self.refine(features[:, :num_patches].transpose(1, 2).unflatten(2, grid))
        queries = features[:, num_patches:]
        masks = (self.embed(queries) @ patches.flatten(2)).unflatten(2, patches.shape[2:])
        return QueryPrediction(self.classify(queries), masks)

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
            if self.masking:
                found.append(self.classified_masks(encoder.features(tokens), grid))
                bias = self.mask_bias(found[-1].masks, grid, tokens.shape[1], place)
            tokens = encoder.run_block(first + place, tokens, rotation, drop_path_scales, bias)
        features = encoder.features(encoder.one_per_patch(tokens))
        return features, [*found, self.classified_masks(features, grid)]

    @torch.no_grad()
    def mask_bias(
        self,
        masks: Float[Tensor, "batch queries rows columns"],
        grid: Grid,
        num_tokens: int,
        place: int,
    ) -> Float[Tensor, "batch 1 tokens tokens"] | None:
        """Hide the patches outside of its mask from each masked query; it sees all other tokens."""
        is_masked = self.is_masked[place]
        if is_masked is None:
            return None
        resized = F.interpolate(masks.float(), grid, mode="bilinear", align_corners=False)
        is_hidden = (resized.flatten(2) <= 0) & is_masked[:, :, None]
        bias = torch.zeros_like(is_hidden, dtype=torch.float32).masked_fill(is_hidden, _HIDDEN)
        num_queries, num_patches = bias.shape[1:]
        before = num_tokens - num_queries - num_patches
        return F.pad(bias, (before, num_queries, num_tokens - num_queries, 0))[:, None]

    def before_step(self, progress: float) -> None:
        """Set how many queries are masked at this point of the run."""
        self.mask_probabilities = mask_probabilities(progress, self.num_query_blocks)

    def before_pass(self, draw: DrawUniform) -> None:
        """Draw the queries that are masked in each block, for each image."""
        if not self.masking:
            return
        draws = draw(self.num_query_blocks * self.num_queries)
        self.is_masked = [
            (drawn < probability).to(self.queries.device) if probability else None
            for drawn, probability in zip(
                draws.chunk(self.num_query_blocks, dim=1), self.mask_probabilities, strict=True
            )
        ]

    @property
    def class_embeddings(self) -> Float[Tensor, "classes dim"]:
        """The rows of the layer that classifies queries, without "no object"."""
        return self.classify.weight[:-1]

    @property
    def query_tokens(self) -> Float[Tensor, "1 queries dim"]:
        """The learned queries."""
        return self.queries


def mask_probabilities(progress: float, num_blocks: int) -> list[float]:
    """Return the share of masked queries in each block at a point of a run, 0 to 1.

    The run has six equal parts. Each block is unmasked during one of them: the first block in the
    second part, the last in the fifth, the others evenly between (the published runs with 3 and 4
    blocks).
    """
    starts = [1 / 6 + place / max(num_blocks - 1, 1) / 2 for place in range(num_blocks)]
    done = [min(max(6 * (progress - start), 0.0), 1.0) for start in starts]
    return [(1 - each) ** _ANNEALING_POWER for each in done]
