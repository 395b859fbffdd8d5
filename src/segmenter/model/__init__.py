"""The model: `Segmenter` is an `Encoder` and a decoder, as a `ModelSpec` describes it."""

from typing import TYPE_CHECKING, Any

from segmenter.model.protocol import EvaluationProtocol
from segmenter.model.spec import ModelSpec

if TYPE_CHECKING:
    from segmenter.model.segmenter import Segmenter

__all__ = ["EvaluationProtocol", "ModelSpec", "Protocol", "Segmenter"]

Protocol = EvaluationProtocol
"""Name of `EvaluationProtocol` in 0.1.0."""


def __getattr__(name: str) -> Any:
    """Import `Segmenter` on first use: a recipe needs the specs, and must not wait for torch."""
    if name != "Segmenter":
        raise AttributeError(f"module 'segmenter.model' has no attribute {name!r}")
    from segmenter.model.segmenter import Segmenter

    return Segmenter
