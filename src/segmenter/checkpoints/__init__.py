"""Model files: our own, and weights made elsewhere."""

from segmenter.checkpoints.model_file import save
from segmenter.checkpoints.open import load

__all__ = ["load", "save"]
