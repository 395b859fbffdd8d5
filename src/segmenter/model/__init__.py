"""The model: `Segmenter` is an `Encoder` and a decoder, as a `ModelSpec` describes it."""

from segmenter.model.attention import AttentionMaps, attention_maps
from segmenter.model.segmenter import Segmenter
from segmenter.model.spec import ModelSpec, Protocol

__all__ = ["AttentionMaps", "ModelSpec", "Protocol", "Segmenter", "attention_maps"]
