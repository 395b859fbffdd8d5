"""The transformer block that encoder and decoder share (paper, section 3.1).

Stochastic depth is not drawn here. Training passes `drop_path_scales`, for each residual branch and
image 0 (dropped) or 1 / (1 - rate) (kept), so that a draw is a function of the seed and the
position of the image in the run.
"""

from typing import Literal

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional as F

from segmenter.numbers import HEAD_DIM

BRANCHES_PER_BLOCK = 2
Rotation = tuple[Tensor, Tensor]
"""Sine and cosine, each (tokens, channels of a head), of the rotary position of each token."""


class Attention(nn.Module):
    """Multi-head self-attention: `softmax(Q K^T / sqrt(d)) V`, d channels a head (section 3.1)."""

    def __init__(
        self, dim: int, *, qkv_bias: bool, head_dim: int = HEAD_DIM, dropout: float = 0.0
    ) -> None:
        super().__init__()
        self.head_dim = head_dim
        self.num_heads = dim // head_dim
        self.dropout = dropout
        self.explicit_up_to = 0
        """In training, sequences of at most this many tokens are computed by plain matrix products
        instead of the fused function; see `training.parallel.choose_attention`."""
        self.qkv = nn.Linear(dim, 3 * dim, bias=qkv_bias)
        self.project = nn.Linear(dim, dim)

    def forward(
        self,
        tokens: Float[Tensor, "batch tokens channels"],
        rotation: Rotation | None = None,
        bias: Float[Tensor, "batch 1 tokens tokens"] | None = None,
    ) -> Float[Tensor, "batch tokens channels"]:
        """Let each token attend to all tokens; `bias` is added before the softmax."""
        query, key, value = self._heads(tokens, rotation)
        dropout = self.dropout if self.training else 0.0
        is_explicit = query.requires_grad and query.shape[2] <= self.explicit_up_to
        if is_explicit and not dropout:
            scores = (query * self.head_dim**-0.5) @ key.transpose(-2, -1)
            weights = (scores if bias is None else scores + bias).softmax(dim=-1)
            gathered = weights.to(value.dtype) @ value
        else:
            bias = None if bias is None else bias.to(query.dtype)
            gathered = F.scaled_dot_product_attention(
                query, key, value, attn_mask=bias, dropout_p=dropout
            )
        return self.project(gathered.transpose(1, 2).flatten(2))

    def weights(
        self, tokens: Float[Tensor, "batch tokens channels"], rotation: Rotation | None = None
    ) -> Float[Tensor, "batch heads tokens tokens"]:
        """Return the attention from each token (third axis) to each (last axis); rows sum to 1."""
        query, key, _ = self._heads(tokens, rotation)
        return (query @ key.transpose(-2, -1) * self.head_dim**-0.5).softmax(dim=-1)

    def _heads(self, tokens: Tensor, rotation: Rotation | None) -> tuple[Tensor, Tensor, Tensor]:
        """Return query, key and value, each (batch, heads, tokens, head_dim)."""
        split = (3, self.num_heads, self.head_dim)
        query, key, value = self.qkv(tokens).unflatten(2, split).permute(2, 0, 3, 1, 4)
        if rotation is not None:
            query, key = rotate(query, rotation), rotate(key, rotation)
        return query, key, value


def rotate(heads: Float[Tensor, "batch heads tokens dim"], rotation: Rotation) -> Tensor:
    """Rotate each token by its position; channel i of d pairs with i + d / 2 (RoFormer)."""
    sine, cosine = rotation
    half = sine.shape[-1] // 2  # slices, as OpenVINO does not take `chunk` here
    first, second = heads[..., :half], heads[..., half:]
    turned = heads * cosine + torch.cat([-second, first], dim=-1) * sine
    return turned.to(heads.dtype)


class Mlp(nn.Sequential):
    """Two linear layers with exact GELU between them."""

    def __init__(self, dim: int, hidden_dim: int, dropout: float = 0.0) -> None:
        super().__init__()
        self.expand = nn.Linear(dim, hidden_dim)
        self.activation = nn.GELU()
        self.dropout1 = nn.Dropout(dropout)
        self.reduce = nn.Linear(hidden_dim, dim)
        self.dropout2 = nn.Dropout(dropout)

    def hidden(self, tokens: Float[Tensor, "*axes channels"]) -> Float[Tensor, "*axes hidden"]:
        """Return the input of the last linear layer, without dropout."""
        return self.activation(self.expand(tokens))


class SwiGlu(nn.Module):
    """SwiGLU: `W3 (silu(W1 x) * W2 x)`, with an optional norm before W3 (EVA-02, DINOv3)."""

    def __init__(self, dim: int, hidden_dim: int, *, norm_eps: float | None = None) -> None:
        super().__init__()
        self.expand = nn.Linear(dim, 2 * hidden_dim)
        self.norm = nn.Identity() if norm_eps is None else nn.LayerNorm(hidden_dim, eps=norm_eps)
        self.reduce = nn.Linear(hidden_dim, dim)

    def forward(self, tokens: Float[Tensor, "*axes channels"]) -> Float[Tensor, "*axes channels"]:
        """Transform each token by itself."""
        return self.reduce(self.hidden(tokens))

    def hidden(self, tokens: Float[Tensor, "*axes channels"]) -> Float[Tensor, "*axes hidden"]:
        """Return the input of the last linear layer."""
        gate, value = self.expand(tokens).chunk(2, dim=-1)
        return self.norm(F.silu(gate) * value)


class LayerScale(nn.Module):
    """One learned factor per channel (CaiT; used by DeiT III, DINOv2 and DINOv3)."""

    def __init__(self, dim: int, initial: float = 1e-5) -> None:
        super().__init__()
        self.gamma = nn.Parameter(torch.full((dim,), initial))

    def forward(self, tokens: Float[Tensor, "*axes channels"]) -> Float[Tensor, "*axes channels"]:
        """Scale each channel."""
        return tokens * self.gamma


class Block(nn.Module):
    """Pre-norm transformer block: attention, then MLP, each on a residual branch."""

    def __init__(
        self,
        dim: int,
        *,
        mlp_ratio: float,
        layer_norm_eps: float,
        qkv_bias: bool,
        head_dim: int = HEAD_DIM,
        layer_scale: bool = False,
        mlp: Literal["gelu", "swiglu", "swiglu-norm"] = "gelu",
        dropout: float = 0.0,
    ) -> None:
        super().__init__()
        hidden_dim = int(dim * mlp_ratio)
        self.norm1 = nn.LayerNorm(dim, eps=layer_norm_eps)
        self.attention = Attention(dim, qkv_bias=qkv_bias, head_dim=head_dim, dropout=dropout)
        self.scale1 = LayerScale(dim) if layer_scale else nn.Identity()
        self.norm2 = nn.LayerNorm(dim, eps=layer_norm_eps)
        self.mlp = (
            Mlp(dim, hidden_dim, dropout)
            if mlp == "gelu"
            else SwiGlu(dim, hidden_dim, norm_eps=layer_norm_eps if mlp == "swiglu-norm" else None)
        )
        self.scale2 = LayerScale(dim) if layer_scale else nn.Identity()

    def forward(
        self,
        tokens: Float[Tensor, "batch tokens channels"],
        drop_path_scales: Float[Tensor, "2 batch"] | None = None,
        rotation: Rotation | None = None,
        bias: Float[Tensor, "batch 1 tokens tokens"] | None = None,
    ) -> Float[Tensor, "batch tokens channels"]:
        """Apply the block to tokens.

        Args:
            tokens: Tokens of each image.
            drop_path_scales: Multiplies the two branches of each image.
            rotation: Rotary position of each token, where the encoder has rotary positions.
            bias: Added to the attention scores, before the softmax.
        """
        keep1, keep2 = (
            (1.0, 1.0) if drop_path_scales is None else drop_path_scales[:, :, None, None]
        )
        tokens = tokens + keep1 * self.scale1(self.attention(self.norm1(tokens), rotation, bias))
        return tokens + keep2 * self.scale2(self.mlp(self.norm2(tokens)))

    def attention_weights(
        self, tokens: Float[Tensor, "batch tokens channels"], rotation: Rotation | None = None
    ) -> Float[Tensor, "batch heads tokens tokens"]:
        """Return the attention weights of this block for its input; see `Attention.weights`."""
        return self.attention.weights(self.norm1(tokens), rotation)


def rising_drop_rates(last: float, depth: int) -> list[float]:
    """Stochastic depth of each residual branch: 0 in the first block, `last` in the last."""
    return [
        last * block / max(depth - 1, 1)
        for block in range(depth)
        for _ in range(BRANCHES_PER_BLOCK)
    ]


def initialize_linear_and_norm(module: nn.Module) -> None:
    """Initialise as published: linear weights truncated normal 0.02, biases 0, norms 1 and 0."""
    for part in module.modules():
        if isinstance(part, nn.Linear):
            nn.init.trunc_normal_(part.weight, std=0.02)
            if part.bias is not None:
                nn.init.zeros_(part.bias)
        elif isinstance(part, nn.LayerNorm):
            nn.init.ones_(part.weight)
            nn.init.zeros_(part.bias)
