"""Class tokens go through the encoder's last blocks with the patches, and are compared with them.

A variant of EoMT (Kerssies et al. 2025) with one token per class in place of queries, which learns
by a loss over pixels. Early in training, a class token attends in these blocks only to patches that
are predicted as its class. This masking is removed block by block, so a trained model is a plain
ViT. The intermediate masks have no loss of their own; they are computed as the output is, by the
last norm and the comparison.
"""

import math

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional as F

from segmenter.model.decoders import JoinedClassTokensSpec
from segmenter.model.decoders.joined_queries import JoinedQueries
from segmenter.model.decoders.upsampling import Doubling
from segmenter.model.encoder import EncoderParts, Grid
from segmenter.model.spec import EncoderSpec
from segmenter.model.transformer import initialize_linear_and_norm

_LEAST_SEEN = 1e-6  # masked patches keep this share, so that its logarithm is finite
_ANNEALING_POWER = 0.9


class JoinedClassTokens(JoinedQueries):
    """Compare patches with class tokens that went through the encoder's last blocks with them."""

    def __init__(self, spec: JoinedClassTokensSpec, encoder: EncoderSpec, num_classes: int) -> None:
        super().__init__()
        dim = encoder.embed_dim
        self.out_indices = (encoder.depth - 1,)
        self.num_query_blocks = spec.blocks
        self.class_tokens = nn.Parameter(torch.empty(1, num_classes, dim))
        self.embed = nn.Sequential(
            nn.Linear(dim, dim),
            nn.GELU(),
            nn.Linear(dim, dim),
            nn.GELU(),
            nn.Linear(dim, dim, bias=False),
        )
        # No bias: a softmax ignores a constant that all classes share.
        self.presence = nn.Linear(dim, 1, bias=False)
        self.refine = nn.Sequential(*(Doubling(dim) for _ in range(int(math.log2(spec.cells)))))
        self._learns_masked = spec.masking
        self.masking: Tensor | None = None
        """In training, the masked share in each of the last blocks, 0 to 1; see `mask_shares`.
        None: nothing is masked."""
        initialize_linear_and_norm(self)
        nn.init.trunc_normal_(self.class_tokens, std=0.02)

    def forward(
        self,
        features: Float[Tensor, "batch tokens dim"],
        grid: Grid,
        drop_path_scales: Float[Tensor, "branches batch"] | None = None,  # noqa: ARG002 - no branch
    ) -> Float[Tensor, "batch classes rows columns"]:
        """Score each patch in `cells` rows and columns, from patches followed by class tokens."""
        num_patches = grid[0] * grid[1]
        patches = self.refine(features[:, :num_patches].transpose(1, 2).unflatten(2, grid))
        classes = features[:, num_patches:]
        logits = self.embed(classes) @ patches.flatten(2) + self.presence(classes)
        return logits.unflatten(2, patches.shape[2:])

    @property
    def class_embeddings(self) -> Float[Tensor, "classes dim"]:
        """The learned class tokens."""
        return self.class_tokens[0]

    @property
    def query_tokens(self) -> Float[Tensor, "1 queries dim"]:
        """One token per class."""
        return self.class_tokens

    def attention_bias(
        self,
        encoder: EncoderParts,
        tokens: Float[Tensor, "batch tokens dim"],
        grid: Grid,
        place: int,
    ) -> Float[Tensor, "batch 1 tokens tokens"] | None:
        """Hide patches from class tokens in a block, as `masking` says; see `attention_mask`."""
        if self.masking is None:
            return None
        mask = self.attention_mask(encoder.features(tokens), grid, self.masking[place])
        others = tokens.shape[1] - mask.shape[1]
        prefix, queries = encoder.spec.num_prefix_tokens, mask.shape[1]
        return F.pad(mask, (prefix, queries, others, 0))[:, None]

    @torch.no_grad()
    def attention_mask(
        self, features: Float[Tensor, "batch tokens dim"], grid: Grid, share: Float[Tensor, ""]
    ) -> Float[Tensor, "batch classes patches"]:
        """Hide from each class token the patches of other classes; a share of 0 hides nothing.

        A patch is fully visible to a class whose probability there is at least 1 / classes, and
        less below that. EoMT has a threshold instead; without one, rounding (such as of a sum
        over processes) cannot flip the visibility of a patch.

        Returns:
            The bias that is added to attention scores before the softmax: 0 or less.
        """
        logits = F.adaptive_avg_pool2d(self.forward(features, grid), grid).flatten(2).float()
        is_of_class = (logits.softmax(dim=1) * logits.shape[1]).clamp(max=1)
        seen = 1 - share * (1 - is_of_class)
        return seen.clamp(min=_LEAST_SEEN).log()

    def before_step(self, progress: float) -> None:
        """Set how much is masked at this point of the run."""
        if not self._learns_masked:
            return
        shares = mask_shares(progress, self.num_query_blocks)
        self.masking = None if shares is None else shares.to(self.class_tokens.device)


def mask_shares(progress: float, num_blocks: int) -> Float[Tensor, " num_blocks"] | None:
    """Return the masked share of each block at a point of a run, 0 (its start) to 1 (its end).

    One block after the other is unmasked, between the first and the last of `num_blocks + 2` equal
    parts of the run. Returns None once nothing is masked.
    """
    done = progress * (num_blocks + 2) - 1 - torch.arange(num_blocks)
    shares = (1 - done.clamp(0, 1)) ** _ANNEALING_POWER
    return shares if shares.any() else None
