"""Decoders turn features into one logit for each class and patch (paper, section 3.2)."""

from segmenter.model.decoders.attention_to_mask import AttentionToMask
from segmenter.model.decoders.decoder import Decoder
from segmenter.model.decoders.eomt import EoMT
from segmenter.model.decoders.linear import LinearDecoder
from segmenter.model.decoders.mask_transformer import MaskTransformer
from segmenter.model.decoders.multi_block_linear import MultiBlockLinear
from segmenter.model.spec import ModelSpec

DECODERS = {
    "linear": LinearDecoder,
    "mask": MaskTransformer,
    "multi-linear": MultiBlockLinear,
    "atm": AttentionToMask,
    "eomt": EoMT,
}
"""Each decoder by the `kind` of its settings in `model/spec.py`."""


def build_decoder(spec: ModelSpec) -> Decoder:
    """Build the decoder of a model, with random weights."""
    decoder = DECODERS[spec.decoder.kind]
    return decoder(spec.decoder, spec.encoder, len(spec.classes.classes))


__all__ = ["DECODERS", "Decoder", "build_decoder"]
