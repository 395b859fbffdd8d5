"""A linear layer on the tokens of several encoder blocks, standardised by channel.

The head that DINOv2 and DINOv3 are measured with on segmentation.
"""

import torch
from jaxtyping import Float
from torch import Tensor, nn

from segmenter.model.encoder import Grid
from segmenter.model.spec import MultiBlockLinearSpec
from segmenter.model.transformer import initialize_linear_and_norm

_EPS = 1e-5
_MOMENTUM = 0.1


class MultiBlockLinear(nn.Module):
    """Score each patch by one linear layer on several blocks' tokens."""

    guests = None
    drop_rates: tuple[float, ...] = ()

    def __init__(self, num_classes: int, encoder_dim: int, spec: MultiBlockLinearSpec) -> None:
        super().__init__()
        self.num_read = spec.blocks
        dim = encoder_dim * spec.blocks
        self.norm = RunningNorm(dim)
        self.project = nn.Linear(dim, num_classes)
        initialize_linear_and_norm(self)

    def forward(
        self,
        tokens: Float[Tensor, "batch patches read_channels"],
        grid: Grid,
        branch_scales: Float[Tensor, "branches batch"] | None = None,  # noqa: ARG002 - has no branch
    ) -> Float[Tensor, "batch classes rows columns"]:
        """Score each patch; `grid` is the (rows, columns) that `tokens` was flattened from."""
        return self.project(self.norm(tokens)).transpose(1, 2).unflatten(2, grid)

    @property
    def class_embeddings(self) -> Float[Tensor, "classes dim"]:
        """What patches are compared with: the rows of the linear layer."""
        return self.project.weight


class RunningNorm(nn.Module):
    """Batch norm by the statistics of the batches before, in training as in use.

    So a photo's logits do not depend on the batch it comes in, nor on how the batch is cut into
    parts or shared out over processes. The statistics have no gradient. They move after each step,
    by those of the whole batch: `take_sums`, added up over processes, then `move`. There is no gain
    and no offset, as a linear layer follows.
    """

    mean: Tensor
    variance: Tensor
    num_batches: Tensor

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.register_buffer("mean", torch.zeros(dim))
        self.register_buffer("variance", torch.ones(dim))
        self.register_buffer("num_batches", torch.zeros(1))
        self._sums: Tensor | None = None

    def forward(
        self, tokens: Float[Tensor, "batch tokens channels"]
    ) -> Float[Tensor, "batch tokens channels"]:
        """Standardise each channel."""
        if self.training:
            flat = tokens.detach().flatten(0, 1).float()
            count = flat.new_full((1,), flat.shape[0])
            sums = torch.cat([flat.sum(dim=0), flat.square().sum(dim=0), count])
            self._sums = sums if self._sums is None else self._sums + sums
        return (tokens - self.mean) * (self.variance + _EPS).rsqrt()

    def take_sums(self) -> list[float]:
        """Sum and sum of squares of each channel since the last call, and the number of tokens."""
        sums, self._sums = self._sums, None
        return [] if sums is None else sums.tolist()

    @torch.no_grad()
    def move(self, sums: list[float]) -> None:
        """Move the statistics towards those of one batch; the first batches weigh alike."""
        *both, count = sums
        first, second = torch.tensor(both, dtype=torch.float64).div(count).chunk(2)
        share = max(_MOMENTUM, 1 / (float(self.num_batches) + 1))
        self.mean.lerp_(first.to(self.mean), share)
        self.variance.lerp_((second - first.square()).clamp(min=0).to(self.variance), share)
        self.num_batches += 1
