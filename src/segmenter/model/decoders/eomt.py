"""Class tokens inside the encoder: no decoder but a comparison at the end.

EoMT (Kerssies et al. 2025), in the form for semantic segmentation: one token a class joins the
patches in the encoder's last blocks. While it learns, a token attends in these blocks only to
patches that are already its class's; this masking is taken back block by block, and a trained model
is a plain ViT. There is no loss on the masks in between: the last norm and comparison judge them.
"""

import math

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional as F

from segmenter.model.encoder import Grid
from segmenter.model.spec import ClassQueriesSpec
from segmenter.model.transformer import initialize_linear_and_norm

_LEAST_SEEN = 1e-6  # the share of attention that is left to masked patches, for finite numbers
_ANNEALING_POWER = 0.9


class ClassQueries(nn.Module):
    """Compare patches with class tokens that went through the encoder's last blocks with them."""

    num_read = 1
    drop_rates: tuple[float, ...] = ()

    def __init__(self, num_classes: int, encoder_dim: int, spec: ClassQueriesSpec) -> None:
        super().__init__()
        self.num_blocks = spec.blocks
        self.class_tokens = nn.Parameter(torch.empty(1, num_classes, encoder_dim))
        self.embed = nn.Sequential(
            nn.Linear(encoder_dim, encoder_dim),
            nn.GELU(),
            nn.Linear(encoder_dim, encoder_dim),
            nn.GELU(),
            nn.Linear(encoder_dim, encoder_dim, bias=False),
        )
        # No bias here: what all classes have alike, a softmax over them does not see.
        self.presence = nn.Linear(encoder_dim, 1, bias=False)
        self.refine = nn.Sequential(
            *(Doubling(encoder_dim) for _ in range(int(math.log2(spec.cells))))
        )
        self.masking: Tensor | None = None
        """For training: how much is masked in each of the last blocks, 0 to 1; see `mask_shares`.
        None: nothing."""
        initialize_linear_and_norm(self)
        nn.init.trunc_normal_(self.class_tokens, std=0.02)

    @property
    def guests(self) -> "ClassQueries":
        """The class tokens, for the encoder."""
        return self

    def forward(
        self,
        tokens: Float[Tensor, "batch tokens dim"],
        grid: Grid,
        branch_scales: Float[Tensor, "branches batch"] | None = None,  # noqa: ARG002 - has no branch
    ) -> Float[Tensor, "batch classes rows columns"]:
        """Score each cell of a patch; `tokens` are the patches of `grid`, then the class tokens."""
        num_patches = grid[0] * grid[1]
        patches = self.refine(tokens[:, :num_patches].transpose(1, 2).unflatten(2, grid))
        classes = tokens[:, num_patches:]
        logits = self.embed(classes) @ patches.flatten(2) + self.presence(classes)
        return logits.unflatten(2, patches.shape[2:])

    @property
    def class_embeddings(self) -> Float[Tensor, "classes dim"]:
        """The learned class tokens."""
        return self.class_tokens[0]

    @torch.no_grad()
    def attention_bias(
        self, tokens: Float[Tensor, "batch tokens dim"], grid: Grid, block: int
    ) -> Float[Tensor, "batch classes patches"] | None:
        """Hide patches from the class tokens that they are not of, as far as `masking` says.

        A patch is seen whole by a class whose probability there is at least an even share, and
        less below that. EoMT hides at a threshold; without a step, rounding (as of a sum over
        processes) cannot change what is seen.
        """
        if self.masking is None:
            return None
        logits = F.adaptive_avg_pool2d(self.forward(tokens, grid), grid).flatten(2).float()
        is_of_class = (logits.softmax(dim=1) * logits.shape[1]).clamp(max=1)
        seen = 1 - self.masking[block] * (1 - is_of_class)
        return seen.clamp(min=_LEAST_SEEN).log()


def mask_shares(progress: float, num_blocks: int) -> Float[Tensor, " num_blocks"] | None:
    """How much is masked in each block at a point of a run, 0 (its start) to 1 (its end).

    One block after the other is unmasked, between the first and the last of `num_blocks + 2` equal
    parts of the run; none once nothing is masked.
    """
    done = progress * (num_blocks + 2) - 1 - torch.arange(num_blocks)
    shares = (1 - done.clamp(0, 1)) ** _ANNEALING_POWER
    return shares if shares.any() else None


class Doubling(nn.Sequential):
    """Twice the rows and columns: transposed convolution, then smoothing (EoMT, `ScaleBlock`)."""

    def __init__(self, dim: int) -> None:
        super().__init__(
            nn.ConvTranspose2d(dim, dim, kernel_size=2, stride=2),
            nn.GELU(),
            nn.Conv2d(dim, dim, kernel_size=3, padding=1, groups=dim, bias=False),
            ChannelNorm(dim),
        )


class ChannelNorm(nn.LayerNorm):
    """Layer norm over the channels of a map."""

    def forward(
        self, input: Float[Tensor, "batch dim rows columns"]
    ) -> Float[Tensor, "batch dim rows columns"]:
        """Normalise each place by itself."""
        return super().forward(input.permute(0, 2, 3, 1)).permute(0, 3, 1, 2)
