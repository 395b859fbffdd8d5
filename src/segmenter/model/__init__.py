"""The model: `Segmenter` is an `Encoder` and a decoder, as a `ModelSpec` describes it."""

from segmenter.model.attention_maps import AttentionMaps, attention_maps
from segmenter.model.protocol import Protocol
from segmenter.model.segmenter import Segmenter
from segmenter.model.spec import ModelSpec

__all__ = ["AttentionMaps", "ModelSpec", "Protocol", "Segmenter", "attention_maps"]
