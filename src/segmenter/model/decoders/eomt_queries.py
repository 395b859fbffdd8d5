"""EoMT as published: queries go through the encoder with the patches, and classify masks.

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

from segmenter.model.decoders import EoMTQueriesSpec
from segmenter.model.decoders.eomt import Doubling
from segmenter.model.decoders.joined_queries import JoinedQueries
from segmenter.model.encoder import Grid
from segmenter.model.mask_scores import MaskScores
from segmenter.model.spec import EncoderSpec
from segmenter.model.transformer import initialize_linear_and_norm

_NORM_EPS = 1e-6  # of timm, whose norm EoMT takes


class EoMTQueries(JoinedQueries):
    """Classify masks of queries that went through the encoder's last blocks with the patches."""

    queries_are_classes = False

    def __init__(self, spec: EoMTQueriesSpec, encoder: EncoderSpec, num_classes: int) -> None:
        super().__init__()
        dim = encoder.embed_dim
        self.out_indices = (encoder.depth - 1,)
        self.num_query_blocks = spec.blocks
        self.cells = spec.cells
        self.queries = nn.Parameter(torch.empty(1, spec.queries, dim))
        self.classify = nn.Linear(dim, num_classes + 1)
        """The last row is "no object"."""
        self.embed = nn.Sequential(
            nn.Linear(dim, dim),
            nn.GELU(),
            nn.Linear(dim, dim),
            nn.GELU(),
            nn.Linear(dim, dim),
        )
        self.refine = nn.Sequential(*(Doubling(dim, _NORM_EPS) for _ in range(spec.doublings)))
        initialize_linear_and_norm(self)
        nn.init.trunc_normal_(self.queries, std=0.02)

    def forward(
        self,
        features: Float[Tensor, "batch tokens dim"],
        grid: Grid,
        drop_path_scales: Float[Tensor, "branches batch"] | None = None,  # noqa: ARG002 - no branch
    ) -> Float[Tensor, "batch classes rows columns"]:
        """Return the logarithm of each class's score in `cells` rows and columns of each patch."""
        return self.mask_scores(features, grid).log_scores()

    def mask_scores(self, features: Float[Tensor, "batch tokens dim"], grid: Grid) -> MaskScores:
        """Return the masks and the shares of classes that the scores are summed from."""
        classes, masks = self.classified_masks(features, grid)
        shares = classes.softmax(dim=-1)[..., :-1]
        return MaskScores(masks, shares, (grid[0] * self.cells, grid[1] * self.cells))

    def classified_masks(
        self, features: Float[Tensor, "batch tokens dim"], grid: Grid
    ) -> tuple[
        Float[Tensor, "batch queries classes_and_none"], Float[Tensor, "batch queries rows columns"]
    ]:
        """Return the class logits and the mask logits of each query.

        Args:
            features: Of the patches, then of the queries: what `encode` returned.
            grid: Rows and columns of patches.

        Returns:
            Class logits, "no object" last; mask logits, 2 ** `doublings` rows and columns a patch.
        """
        num_patches = grid[0] * grid[1]
        patches = self.refine(features[:, :num_patches].transpose(1, 2).unflatten(2, grid))
        queries = features[:, num_patches:]
        masks = (self.embed(queries) @ patches.flatten(2)).unflatten(2, patches.shape[2:])
        return self.classify(queries), masks

    @property
    def class_embeddings(self) -> Float[Tensor, "classes dim"]:
        """The rows of the layer that classifies queries, without "no object"."""
        return self.classify.weight[:-1]

    @property
    def query_tokens(self) -> Float[Tensor, "1 queries dim"]:
        """The learned queries."""
        return self.queries
