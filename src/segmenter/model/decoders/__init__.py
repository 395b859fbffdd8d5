"""Decoders turn patch tokens into one logit per class and patch (paper, section 3.2)."""

from segmenter.model.decoders.attention_to_mask import AttentionToMask
from segmenter.model.decoders.eomt import ClassQueries
from segmenter.model.decoders.linear import LinearDecoder
from segmenter.model.decoders.mask_transformer import MaskTransformer
from segmenter.model.decoders.multi_block_linear import MultiBlockLinear
from segmenter.model.spec import (
    AttentionToMaskSpec,
    ClassQueriesSpec,
    DecoderSpec,
    LinearDecoderSpec,
    MaskTransformerSpec,
    MultiBlockLinearSpec,
)

Decoder = LinearDecoder | MaskTransformer | MultiBlockLinear | AttentionToMask | ClassQueries


def make_decoder(spec: DecoderSpec, num_classes: int, encoder_dim: int) -> Decoder:
    """Build the decoder that `spec` describes.

    All have the same interface: `num_read` and `guests`, which are what they ask of the encoder;
    `drop_rates`; `class_embeddings`; and `forward(tokens, grid, branch_scales)`, which gives the
    logits of each patch, or of each cell of a patch.
    """
    match spec:
        case LinearDecoderSpec():
            return LinearDecoder(num_classes, encoder_dim)
        case MaskTransformerSpec():
            return MaskTransformer(num_classes, encoder_dim, spec)
        case MultiBlockLinearSpec():
            return MultiBlockLinear(num_classes, encoder_dim, spec)
        case AttentionToMaskSpec():
            return AttentionToMask(num_classes, encoder_dim, spec)
        case ClassQueriesSpec():
            return ClassQueries(num_classes, encoder_dim, spec)
