"""From images to label maps."""

from segmenter.inference.predictor import Predictor

__all__ = ["Predictor"]
