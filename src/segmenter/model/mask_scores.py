"""Scores of a model that classifies masks, before they are summed over its queries.

Such a model (MaskFormer, Cheng et al. 2021; EoMT) scores class c at pixel x by

    s_c(x) = sum over queries q of sigmoid(m_q(x)) p_q(c)

Masks m have a few rows and columns for each patch, and shares p none, so both together are far
smaller than the scores at all pixels. Inference keeps them, and sums some rows at a time.
"""

import math
from typing import NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn import functional as F

LEAST_SCORE = 1e-30
"""Smallest score, so that its logarithm is finite."""
_LEAST_LOG = math.log(LEAST_SCORE)


class MaskScores(NamedTuple):
    """The masks of queries, and the share of each class in each query."""

    masks: Float[Tensor, "batch queries mask_rows mask_columns"]
    """Logits."""
    shares: Float[Tensor, "batch queries classes"]
    """Probabilities; with that of "no object" they sum to 1."""
    size: tuple[int, int]
    """Rows and columns of scores, to which masks are resized before the sigmoid."""

    @classmethod
    def from_logits(
        cls,
        classes: Float[Tensor, "batch queries classes_and_none"],
        masks: Float[Tensor, "batch queries mask_rows mask_columns"],
        size: tuple[int, int],
    ) -> "MaskScores":
        """Build the scores from class logits, "no object" last, and mask logits of queries."""
        return cls(masks, classes.softmax(dim=-1)[..., :-1], size)

    def log_scores(self) -> Float[Tensor, "batch classes rows columns"]:
        """Return the logarithms of the scores at all rows and columns.

        Scores are summed relative to the largest sigmoid of a pixel, whose own logarithm is added:
        the sigmoid of ONNX Runtime is 0 from -18 downwards, while its softplus is exact.
        """
        masks = F.interpolate(self.masks, self.size, mode="bilinear", align_corners=False)
        logs = -F.softplus(-masks.float())
        largest = logs.amax(dim=1, keepdim=True)
        scores = self.shares.float().transpose(1, 2) @ (logs - largest).exp().flatten(2)
        logs = scores.unflatten(2, masks.shape[2:]).clamp(min=LEAST_SCORE).log() + largest
        return logs.clamp(min=_LEAST_LOG).to(masks.dtype)

    def packed(self) -> Float[Tensor, "batch queries numbers"]:
        """Return masks and shares as one tensor, as a graph with one output has to."""
        return torch.cat([self.masks.flatten(2), self.shares], dim=2)


def unpack(
    packed: Float[Tensor, "batch queries numbers"],
    mask_size: tuple[int, int],
    size: tuple[int, int],
) -> MaskScores:
    """Undo `MaskScores.packed`, given the rows and columns of masks and of scores."""
    count = mask_size[0] * mask_size[1]
    return MaskScores(packed[..., :count].unflatten(2, mask_size), packed[..., count:], size)
