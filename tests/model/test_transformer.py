"""The transformer block that encoder and decoder share."""

import torch

from segmenter.model.transformer import Attention


def test_attention_in_training_on_a_processor_equals_fused_attention() -> None:
    torch.manual_seed(0)
    attention = Attention(128, qkv_bias=True).to(torch.bfloat16)
    tokens = torch.randn(2, 9, 128, dtype=torch.bfloat16)
    with torch.no_grad():
        fused = attention(tokens)
    attention.explicit_up_to = 9
    explicit = attention(tokens)
    assert explicit.requires_grad
    torch.testing.assert_close(explicit.detach(), fused, atol=0.01, rtol=0.05)
