"""The model: `Segmenter` is an `Encoder` and a decoder, as a `ModelSpec` describes it."""

from segmenter.model.segmenter import Segmenter
from segmenter.model.spec import ModelSpec, Protocol

__all__ = ["ModelSpec", "Protocol", "Segmenter"]
