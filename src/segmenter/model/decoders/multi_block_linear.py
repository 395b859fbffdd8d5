"""A linear layer on the tokens of several encoder blocks, standardised by channel.

DINOv2 and DINOv3 are evaluated on segmentation with this head. With `shifts`, it scores a grid that
is finer than the patches.
"""

import torch
from jaxtyping import Float, Float64
from torch import Tensor, nn

from segmenter.model.decoders import MultiBlockLinearSpec
from segmenter.model.decoders.decoder import AllReduce, Decoder, evenly_spaced
from segmenter.model.encoder import EncoderParts, Grid
from segmenter.model.shifted_views import shifted_views, stitch
from segmenter.model.spec import EncoderSpec
from segmenter.model.transformer import initialize_linear_and_norm

_EPS = 1e-5
_MOMENTUM = 0.1
MANY_BATCHES = 1 / _MOMENTUM
"""Batches after which the next one moves the statistics as little as all later ones do."""


class MultiBlockLinear(Decoder):
    """Score each patch by one linear layer on several blocks' features."""

    def __init__(self, spec: MultiBlockLinearSpec, encoder: EncoderSpec, num_classes: int) -> None:
        super().__init__()
        depth = encoder.depth
        is_even = spec.spread == "even"
        self.out_indices = (
            evenly_spaced(spec.blocks, depth) if is_even else range(depth - spec.blocks, depth)
        )
        self.shifts = spec.shifts
        dim = encoder.embed_dim * spec.blocks
        self.norm = RunningStatsNorm(dim)
        self.project = nn.Linear(dim, num_classes)
        initialize_linear_and_norm(self)

    def encode(
        self,
        encoder: EncoderParts,
        images: Float[Tensor, "batch channels height width"],
        drop_path_scales: Float[Tensor, "branches batch"] | None = None,
    ) -> tuple[Float[Tensor, "batch tokens features"], Grid]:
        """Encode normalised images, and all shifted views of each; see `Decoder.encode`."""
        if self.shifts == 1:
            return super().encode(encoder, images, drop_path_scales)
        views = shifted_views(images, encoder.spec.patch_size, self.shifts)
        if drop_path_scales is not None:
            drop_path_scales = drop_path_scales.repeat(1, self.shifts**2)
        features, grid = super().encode(encoder, views, drop_path_scales)
        return stitch(features, grid, self.shifts)

    def forward(
        self,
        features: Float[Tensor, "batch patches features"],
        grid: Grid,
        drop_path_scales: Float[Tensor, "branches batch"] | None = None,  # noqa: ARG002 - no branch
    ) -> Float[Tensor, "batch classes rows columns"]:
        """Score each patch."""
        return self.project(self.norm(features)).transpose(1, 2).unflatten(2, grid)

    @property
    def class_embeddings(self) -> Float[Tensor, "classes dim"]:
        """The rows of the linear layer."""
        return self.project.weight

    def discard_step(self) -> None:
        """Drop the statistics of a batch that is computed again."""
        self.norm.drop_batch_stats()

    def after_step(self, all_reduce: AllReduce, *, is_finite: bool) -> None:
        """Move the running statistics towards those of the whole batch."""
        sums = all_reduce(self.norm.pop_batch_stats())
        if is_finite:
            self.norm.update(sums)


class RunningStatsNorm(nn.Module):
    """Batch norm with running statistics, in training as in inference.

    An image's logits therefore do not depend on its batch, nor on how the batch is split into parts
    or over processes. The statistics have no gradient. Each step updates them from the whole batch:
    `pop_batch_stats`, summed over processes, then `update`. It has neither gain nor offset, because
    a linear layer follows.
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

    def drop_batch_stats(self) -> None:
        """Forget the tokens since the last call of `pop_batch_stats`."""
        self._sums = None

    def pop_batch_stats(self) -> Float64[Tensor, " sums"]:
        """Return each channel's sum and sum of squares since the last call, and the token count.

        All are zeros if no batch came in training mode.
        """
        sums, self._sums = self._sums, None
        if sums is None:
            sums = self.mean.new_zeros(2 * len(self.mean) + 1)
        return sums.cpu().double()

    @torch.no_grad()
    def update(self, sums: Float64[Tensor, " sums"]) -> None:
        """Move the statistics towards those of one batch; the first batches weigh alike.

        A batch that came in evaluation mode has no sums, and changes nothing.
        """
        if not sums[-1]:
            return
        first, second = (sums[:-1] / sums[-1]).chunk(2)
        share = max(_MOMENTUM, 1 / (float(self.num_batches) + 1))
        self.mean.lerp_(first.to(self.mean), share)
        self.variance.lerp_((second - first.square()).clamp(min=0).to(self.variance), share)
        self.num_batches += 1

    @torch.no_grad()
    def set_statistics(
        self, mean: Float[Tensor, " channels"], variance: Float[Tensor, " channels"]
    ) -> None:
        """Standardise by statistics that are known; later batches move them slowly."""
        self.mean.copy_(mean)
        self.variance.copy_(variance - _EPS)
        self.num_batches.fill_(MANY_BATCHES)
