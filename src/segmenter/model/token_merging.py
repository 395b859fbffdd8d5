"""Token merging: between two blocks of the encoder, similar tokens become one.

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
from segmenter.model.encoder import Encoder, Grid
from segmenter.model.mask_scores import MaskScores
from segmenter.model.segmenter import Segmenter
from segmenter.model.spec import EncoderSpec
from segmenter.model.transformer import Rotation

_TOKENS_AT_ONCE = 4096
"""Tokens that are compared with half of all tokens at once, to bound memory for large images."""


def check_threshold(threshold: float) -> None:
    """Make sure that tokens can be merged above a cosine.

    Raises:
        UserError: If the threshold is not a number above 0 and at most 1.
    """
    is_number = isinstance(threshold, int | float) and not isinstance(threshold, bool)
    if not is_number or not 0 < threshold <= 1:
        raise UserError(
            "merge_threshold is the cosine above which tokens are merged, above 0 and at most 1, "
            f"such as 0.8; got {threshold!r}"
        )


def merged_patch_logits(
    model: Segmenter, images: Float[Tensor, "1 channels height width"], threshold: float
) -> Float[Tensor, "1 classes rows columns"]:
    """Score every class at every patch of one normalised image, with tokens merged on the way.

    See `Segmenter.patch_logits`; tokens whose cosine is above `threshold` are merged.
    """
    encoder = MergingEncoder(model.encoder, threshold)
    return model.decode(*model.decoder.encode(encoder, model.pad(images)))


def merged_mask_scores(
    model: Segmenter, images: Float[Tensor, "1 channels height width"], threshold: float
) -> MaskScores:
    """Return what scores of one normalised image are summed from, with tokens merged on the way."""
    encoder = MergingEncoder(model.encoder, threshold)
    return model.decoder.mask_scores(*model.decoder.encode(encoder, model.pad(images)))


class MergingEncoder:
    """An encoder that merges the tokens of one image between its blocks.

    Args:
        encoder: The encoder, which stays as it is.
        threshold: Tokens whose cosine is above it are merged; at 1 none are.
    """

    def __init__(self, encoder: Encoder, threshold: float) -> None:
        self.spec = encoder.spec
        self._encoder, self._threshold = encoder, threshold

    def embed(
        self, images: Float[Tensor, "1 channels height width"]
    ) -> tuple[Float[Tensor, "1 tokens dim"], Grid, Rotation | None]:
        """Turn an image into tokens, none of which is merged yet; see `Encoder.embed`."""
        tokens, grid, rotation = self._encoder.embed(images)
        self._merging = Merging(self._threshold, grid, self.spec, images.device)
        return tokens, grid, rotation

    def run_block(
        self,
        index: int,
        tokens: Float[Tensor, "1 tokens dim"],
        rotation: Rotation | None = None,
        drop_path_scales: Float[Tensor, "branches 1"] | None = None,
        bias: Float[Tensor, "1 1 tokens tokens"] | None = None,
    ) -> Float[Tensor, "1 _ dim"]:
        """Merge tokens if it is the turn of this block, then take what is left through it.

        `rotation` is that of all tokens, as if none were merged.
        """
        tokens = self._merging.before_block(index, tokens)
        rotation = self._merging.rotation_left(rotation)
        return self._encoder.run_block(index, tokens, rotation, drop_path_scales, bias)

    def one_per_patch(self, tokens: Float[Tensor, "1 tokens dim"]) -> Float[Tensor, "1 _ dim"]:
        """Return for each patch the token that it is in."""
        return self._merging.unmerge(tokens)

    def normalize(self, tokens: Float[Tensor, "1 tokens dim"]) -> Float[Tensor, "1 tokens dim"]:
        """Apply the last layer norm; see `Encoder.normalize`."""
        return self._encoder.normalize(tokens)

    def features(self, tokens: Float[Tensor, "1 tokens dim"]) -> Float[Tensor, "1 _ dim"]:
        """Normalise tokens, and leave out the prefix tokens."""
        return self._encoder.features(tokens)


class Merging:
    """Keep track of the merged tokens of one image, on their way through the blocks.

    Args:
        threshold: Tokens whose cosine is above it are merged; at 1 none are.
        grid: Rows and columns of the patches.
        spec: What the encoder is.
        device: Where the tokens are.
    """

    def __init__(
        self, threshold: float, grid: Grid, spec: EncoderSpec, device: torch.device
    ) -> None:
        self._threshold, self._grid = threshold, grid
        self._num_prefix = spec.num_prefix_tokens
        self._local_block, self._global_block = spec.depth // 6, spec.depth // 2
        self._num_at_first = self._num_prefix + grid[0] * grid[1]
        self._now_in = torch.arange(self._num_at_first, device=device)
        """For each token there was at first: the token that it is in by now."""
        self._kept = self._now_in
        """For each token that is left: the one of the first tokens whose position it has."""

    def before_block(
        self, block: int, tokens: Float[Tensor, "1 tokens dim"]
    ) -> Float[Tensor, "1 _ dim"]:
        """Merge the patch tokens that are alike, if it is the turn of this block, from 0."""
        if block == self._local_block:
            joined = join_windows(self._patches(tokens), self._grid, self._threshold)
            tokens = self._merge(tokens, joined)
        if block == self._global_block:
            joined = join_most_alike(self._patches(tokens), self._threshold)
            tokens = self._merge(tokens, joined)
        return tokens

    def rotation_left(self, rotation: Rotation | None) -> Rotation | None:
        """Leave out the rotary positions of tokens that joined another one.

        A merged token has the position of the token that was joined: a place that the encoder
        knows, while the mean of places far apart is none.
        """
        if rotation is None:
            return None
        sine, cosine = (
            torch.cat([each[self._kept], each[self._num_at_first :]]) for each in rotation
        )
        return sine, cosine

    def unmerge(self, tokens: Float[Tensor, "1 tokens dim"]) -> Float[Tensor, "1 _ dim"]:
        """Give each patch the token that it is in; class tokens, if any, come after them."""
        return torch.cat([tokens[:, self._now_in], tokens[:, len(self._kept) :]], dim=1)

    def _patches(self, tokens: Float[Tensor, "1 tokens dim"]) -> Float[Tensor, "patches dim"]:
        """Return the patch tokens that are left, without prefix and class tokens."""
        return tokens[0, self._num_prefix : len(self._kept)]

    def _merge(
        self, tokens: Float[Tensor, "1 tokens dim"], joined: Int64[Tensor, " patch_tokens"]
    ) -> Float[Tensor, "1 _ dim"]:
        """Merge each patch token with the one that it joins; all others stay as they are.

        A merged token is the mean over the patches in it.
        """
        indices = torch.arange(tokens.shape[1], device=joined.device)
        num_left = len(self._kept)
        prefix, queries = indices[: self._num_prefix], indices[num_left:]
        joined = torch.cat([prefix, joined + self._num_prefix, queries])
        kept, group = joined.unique(return_inverse=True)
        num_patches = self._now_in.bincount(minlength=len(joined)).clamp(min=1)[:, None]
        in_each = num_patches.new_zeros(len(kept), 1).index_add_(0, group, num_patches)
        total = tokens.new_zeros(len(kept), tokens.shape[2], dtype=torch.float32)
        total.index_add_(0, group, tokens[0].float() * num_patches)
        self._now_in = group[self._now_in]
        self._kept = self._kept[kept[: len(kept) - len(queries)]]
        return (total / in_each).to(tokens.dtype)[None]


def join_windows(
    tokens: Float[Tensor, "patches dim"], grid: Grid, threshold: float
) -> Int64[Tensor, " patches"]:
    """Return the token that each joins: the first of its 2 x 2 window if alike, else itself.

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
    """Return the token that each joins: for every other token, the most alike of the rest.

    Where not even that one's cosine is above the threshold, and for all others: itself.
    """
    joined = torch.arange(len(tokens), device=tokens.device)
    if len(tokens) < 2:
        return joined
    directions = F.normalize(tokens.float(), dim=1)
    with torch.autocast(tokens.device.type, enabled=False):  # bfloat16 cannot tell 0.999 from 1
        best = [
            (some @ directions[1::2].T).max(dim=1)
            for some in directions[::2].split(_TOKENS_AT_ONCE)
        ]
    cosines, others = (torch.cat(each) for each in zip(*best, strict=True))
    joins = cosines.clamp(max=1) > threshold
    joined[::2][joins] = 2 * others[joins] + 1
    return joined
