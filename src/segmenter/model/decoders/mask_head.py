"""The heads of a model that classifies masks: a class and a mask for each query (EoMT, PMT)."""

from typing import Protocol, runtime_checkable

from jaxtyping import Float
from torch import Tensor, nn

from segmenter.model.decoders.decoder import QueryPrediction
from segmenter.model.decoders.upsampling import Doubling
from segmenter.model.encoder import Grid
from segmenter.model.mask_scores import MaskScores

_NORM_EPS = 1e-6  # of timm, whose norm the published models take
_LARGEST_SCORE = 0.995
"""Nearer to 1, the rounding of a score moves its logit more than graphs may differ."""


@runtime_checkable
class MaskLayers(Protocol):
    """The layers that turn queries and patches into classes and masks."""

    classify: nn.Linear
    """Its last row is "no object"."""
    embed: nn.Sequential
    refine: nn.Sequential
    cells: int
    """Rows and columns of scores for each patch."""


class MaskHead(nn.Module):
    """Classify queries, and compare them with patches: `m_q = <embed(z_q), refine(z_patches)>`.

    Args:
        dim: Channels of queries and patches.
        num_classes: Without "no object".
        doublings: Times that rows and columns of patches are doubled.
        cells: Rows and columns of scores for each patch.
    """

    def __init__(self, dim: int, num_classes: int, doublings: int, cells: int) -> None:
        super().__init__()
        self.cells = cells
        self.classify = nn.Linear(dim, num_classes + 1)
        """The last row is "no object"."""
        self.embed = mask_embedding(dim)
        self.refine = refinement(dim, doublings)

    def forward(
        self,
        queries: Float[Tensor, "batch queries dim"],
        patches: Float[Tensor, "batch patches dim"],
        grid: Grid,
    ) -> QueryPrediction:
        """Return class logits, "no object" last, and mask logits."""
        return classify_masks(self, queries, patches, grid)


def classify_masks(
    layers: MaskLayers,
    queries: Float[Tensor, "batch queries dim"],
    patches: Float[Tensor, "batch patches dim"],
    grid: Grid,
) -> QueryPrediction:
    """Return the class logits of queries, "no object" last, and their mask logits."""
    refined = layers.refine(patches.transpose(1, 2).unflatten(2, grid))
    masks = (layers.embed(queries) @ refined.flatten(2)).unflatten(2, refined.shape[2:])
    return QueryPrediction(layers.classify(queries), masks)


def grid_of_masks(layers: MaskLayers, masks: Float[Tensor, "batch queries rows columns"]) -> Grid:
    """Return the rows and columns of patches that masks cover."""
    doublings = len(layers.refine)
    return masks.shape[2] >> doublings, masks.shape[3] >> doublings


def summands(layers: MaskLayers, prediction: QueryPrediction) -> MaskScores:
    """Return masks and the shares of classes, which scores are summed from."""
    rows, columns = grid_of_masks(layers, prediction.masks)
    return MaskScores.from_logits(*prediction, (rows * layers.cells, columns * layers.cells))


def class_logits(
    scores: MaskScores, *, is_binary: bool
) -> Float[Tensor, "batch classes rows columns"]:
    """Return the logarithms of scores.

    One class has a background, whose logit is 0: its own is the logit of its score.
    """
    logits = scores.log_scores()
    if is_binary:
        logits = logits.float()  # in bfloat16, 0.995 is 1, whose logit is infinite
        logits = logits - (1 - logits.exp().clamp(max=_LARGEST_SCORE)).log()
    return logits


def mask_embedding(dim: int) -> nn.Sequential:
    """Return the MLP of three layers whose outputs for queries are compared with patches."""
    return nn.Sequential(
        nn.Linear(dim, dim),
        nn.GELU(),
        nn.Linear(dim, dim),
        nn.GELU(),
        nn.Linear(dim, dim),
    )


def refinement(dim: int, doublings: int) -> nn.Sequential:
    """Return the layers that double the rows and columns of patches."""
    return nn.Sequential(*(Doubling(dim, _NORM_EPS) for _ in range(doublings)))
