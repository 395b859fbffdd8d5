"""Masked attention in training: a query sees the patches of its mask alone, at first (EoMT, PMT).

Masked attention (Cheng et al. 2022) helps queries to find their objects. It is annealed away, block
by block, so that a trained model needs no masks (Kerssies et al. 2025, section 3.3).
"""

import torch
from jaxtyping import Bool, Float
from torch import Tensor
from torch.nn import functional as F

from segmenter.model.decoders.decoder import DrawUniform
from segmenter.model.encoder import Grid

_HIDDEN = -1e9  # added to an attention score
_POWER = 0.9


class MaskAnnealing:
    """The queries that are masked in each block, in a training step.

    Args:
        num_queries: Number of queries.
        num_blocks: Number of blocks that they go through.
    """

    def __init__(self, num_queries: int, num_blocks: int) -> None:
        self.num_queries = num_queries
        self.probabilities = [1.0] * num_blocks
        """The share of queries that are masked in each block."""
        self.is_masked: list[Bool[Tensor, "batch queries"] | None] = [None] * num_blocks
        """The queries that are masked in each block in this pass; None: no query."""

    def before_step(self, progress: float) -> None:
        """Set how many queries are masked at this point of the run, 0 to 1."""
        self.probabilities = mask_probabilities(progress, len(self.probabilities))

    def before_pass(self, draw: DrawUniform, device: torch.device) -> None:
        """Draw the queries that are masked in each block, for each image."""
        num_blocks = len(self.probabilities)
        draws = draw(num_blocks * self.num_queries).chunk(num_blocks, dim=1)
        self.is_masked = [
            (drawn < probability).to(device) if probability else None
            for drawn, probability in zip(draws, self.probabilities, strict=True)
        ]

    @torch.no_grad()
    def bias(
        self,
        masks: Float[Tensor, "batch queries rows columns"],
        grid: Grid,
        num_tokens: int,
        block: int,
        first_patch: int,
    ) -> Float[Tensor, "batch 1 tokens tokens"] | None:
        """Return what hides patches outside of its mask from each masked query, and nothing else.

        Args:
            masks: Logits of the queries' masks.
            grid: Rows and columns of patches.
            num_tokens: Tokens in the block; the queries are the last.
            block: Number of the block, from 0.
            first_patch: Place of the first patch among the tokens.

        Returns:
            Numbers to add to the attention scores; None if no query is masked.
        """
        is_masked = self.is_masked[block]
        if is_masked is None:
            return None
        resized = F.interpolate(masks.float(), grid, mode="bilinear", align_corners=False)
        is_hidden = (resized.flatten(2) <= 0) & is_masked[:, :, None]
        bias = torch.zeros_like(is_hidden, dtype=torch.float32).masked_fill(is_hidden, _HIDDEN)
        after = num_tokens - first_patch - bias.shape[2]
        return F.pad(bias, (first_patch, after, num_tokens - self.num_queries, 0))[:, None]


def mask_probabilities(progress: float, num_blocks: int) -> list[float]:
    """Return the share of masked queries in each block at a point of a run, 0 to 1.

    Unmasking a block takes a sixth of the run. The first block starts after one sixth, the last
    after four sixths, the others at even distances between (the published runs of EoMT with 3 and 4
    blocks, and of PMT with 6, apart from its first block).
    """
    starts = [1 / 6 + place / max(num_blocks - 1, 1) / 2 for place in range(num_blocks)]
    done = [min(max(6 * (progress - start), 0.0), 1.0) for start in starts]
    return [(1 - each) ** _POWER for each in done]
