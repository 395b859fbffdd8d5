"""Model files: our own, and weights made elsewhere."""

from segmenter.checkpoints.bundled import load
from segmenter.checkpoints.own import save

__all__ = ["load", "save"]
