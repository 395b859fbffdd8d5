"""Fewer tokens for the encoder: those that are alike go on as one.

ALGM (Norouzi et al., "ALGM: Adaptive Local-then-Global Token Merging for Efficient Semantic
Segmentation with Plain Vision Transformers", CVPR 2024), here on weights that were trained without
it. A sixth of the way through the blocks, windows of 2 x 2 patches that are alike on average become
one token each; half way, every other token joins the one that is most like it, wherever in the
image that is (the matching of ToMe, Bolya et al., ICLR 2023). Alike means: a cosine above one
threshold, the user's. At the end each patch gets the token that it is in.
"""

import torch
from jaxtyping import Float, Int64
from torch import Tensor
from torch.nn import functional as F

from segmenter.errors import UserError
from segmenter.model.spec import EncoderSpec
from segmenter.model.transformer import Rotation

_TOKENS_AT_ONCE = 4096
"""That are compared with half of all: a bound on memory, for large images."""


def check_threshold(threshold: float) -> None:
    """Make sure that tokens can be merged above a cosine.

    Raises:
        UserError: If it is none.
    """
    is_number = isinstance(threshold, int | float) and not isinstance(threshold, bool)
    if not is_number or not 0 < threshold <= 1:
        raise UserError(
            "merge_tokens is the cosine above which tokens are merged, above 0 and at most 1, such "
            f"as 0.8; got {threshold!r}"
        )


class Merging:
    """Which tokens of one image are merged, on their way through the blocks.

    Args:
        threshold: Tokens whose cosine is above it are merged; at 1 none are.
        grid: Rows and columns of the patches.
        spec: What the encoder is.
        device: Where the tokens are.
    """

    def __init__(
        self, threshold: float, grid: tuple[int, int], spec: EncoderSpec, device: torch.device
    ) -> None:
        self._threshold, self._grid = threshold, grid
        self._num_prefix = spec.num_prefix_tokens
        self._local_block, self._global_block = spec.depth // 6, spec.depth // 2
        num_tokens = self._num_prefix + grid[0] * grid[1]
        self._now_in = torch.arange(num_tokens, device=device)
        """For each token there was at first: the token that it is in by now."""
        self._num_left = num_tokens
        """Without guests, which come after them and are not merged."""

    def before_block(
        self, block: int, tokens: Float[Tensor, "1 tokens dim"], rotation: Rotation | None
    ) -> tuple[Float[Tensor, "1 fewer_tokens dim"], Rotation | None]:
        """Merge the patch tokens that are alike, if it is the turn of this block, from 0."""
        if block == self._local_block:
            joined = join_windows(self._patches(tokens), self._grid, self._threshold)
            tokens, rotation = self._merge(tokens, rotation, joined)
        if block == self._global_block:
            joined = join_most_alike(self._patches(tokens), self._threshold)
            tokens, rotation = self._merge(tokens, rotation, joined)
        return tokens, rotation

    def unmerge(self, tokens: Float[Tensor, "1 tokens dim"]) -> Float[Tensor, "1 all_tokens dim"]:
        """Give each patch the token that it is in; guests, if there are any, come after them."""
        return torch.cat([tokens[:, self._now_in], tokens[:, self._num_left :]], dim=1)

    def _patches(self, tokens: Float[Tensor, "1 tokens dim"]) -> Float[Tensor, "patches dim"]:
        """The patch tokens that are left, without prefix and guests."""
        return tokens[0, self._num_prefix : self._num_left]

    def _merge(
        self,
        tokens: Float[Tensor, "1 tokens dim"],
        rotation: Rotation | None,
        joined: Int64[Tensor, " patch_tokens"],
    ) -> tuple[Float[Tensor, "1 fewer_tokens dim"], Rotation | None]:
        """Merge each patch token with the one that it joins; all others stay as they are.

        A merged token is the mean over the patches in it. Where positions are rotary, it has that
        of the token that was joined: a place that the encoder knows, while the mean of places far
        apart is none.
        """
        indices = torch.arange(tokens.shape[1], device=joined.device)
        prefix, guests = indices[: self._num_prefix], indices[self._num_left :]
        joined = torch.cat([prefix, joined + self._num_prefix, guests])
        kept, group = joined.unique(return_inverse=True)
        num_patches = self._now_in.bincount(minlength=len(joined)).clamp(min=1)[:, None]
        in_each = num_patches.new_zeros(len(kept), 1).index_add_(0, group, num_patches)
        total = tokens.new_zeros(len(kept), tokens.shape[2], dtype=torch.float32)
        total.index_add_(0, group, tokens[0].float() * num_patches)
        self._now_in = group[self._now_in]
        self._num_left = len(kept) - len(guests)
        if rotation is not None:
            rotation = rotation[0][kept], rotation[1][kept]
        return (total / in_each).to(tokens.dtype)[None], rotation


def join_windows(
    tokens: Float[Tensor, "patches dim"], grid: tuple[int, int], threshold: float
) -> Int64[Tensor, " patches"]:
    """The token that each joins: the first of its 2 x 2 window if that is alike, else itself.

    A window is alike if the mean of the cosines of its six pairs is above the threshold. The last
    row and column of an odd grid are in no window.
    """
    joined = torch.arange(len(tokens), device=tokens.device)
    rows, columns = (length // 2 for length in grid)
    windows = joined.view(grid)[: 2 * rows, : 2 * columns].reshape(rows, 2, columns, 2)
    windows = windows.transpose(1, 2).reshape(rows * columns, 4)
    # The square of a sum of four unit vectors is 4, and twice the cosine of each pair.
    sums = F.normalize(tokens.float(), dim=1)[windows].sum(dim=1)
    cosines = (sums.square().sum(dim=1) - 4) / 12
    alike = windows[cosines.clamp(max=1) > threshold]
    return joined.scatter(0, alike.flatten(), alike[:, :1].expand(-1, 4).flatten())


def join_most_alike(
    tokens: Float[Tensor, "tokens dim"], threshold: float
) -> Int64[Tensor, " tokens"]:
    """The token that each joins: the first, third, ... the one of the others that is most alike.

    Where not even that one's cosine is above the threshold, and for all others: itself.
    """
    joined = torch.arange(len(tokens), device=tokens.device)
    if len(tokens) < 2:
        return joined
    directions = F.normalize(tokens.float(), dim=1)
    with torch.autocast(tokens.device.type, enabled=False):  # bfloat16 is no match for 0.999
        best = [
            (some @ directions[1::2].T).max(dim=1)
            for some in directions[::2].split(_TOKENS_AT_ONCE)
        ]
    cosines, others = (torch.cat(each) for each in zip(*best, strict=True))
    joins = cosines.clamp(max=1) > threshold
    joined[::2][joins] = 2 * others[joins] + 1
    return joined
