"""Learned upsampling of patches."""

from jaxtyping import Float
from torch import Tensor, nn


class Doubling(nn.Sequential):
    """Twice the rows and columns: transposed convolution, then smoothing (EoMT, `ScaleBlock`)."""

    def __init__(self, dim: int, norm_eps: float = 1e-5) -> None:
        super().__init__(
            nn.ConvTranspose2d(dim, dim, kernel_size=2, stride=2),
            nn.GELU(),
            nn.Conv2d(dim, dim, kernel_size=3, padding=1, groups=dim, bias=False),
            ChannelNorm(dim, eps=norm_eps),
        )


class ChannelNorm(nn.LayerNorm):
    """Layer norm over the channels of a map."""

    def forward(
        self, input: Float[Tensor, "batch dim rows columns"]
    ) -> Float[Tensor, "batch dim rows columns"]:
        """Normalise each position by itself."""
        return super().forward(input.permute(0, 2, 3, 1)).permute(0, 3, 1, 2)
