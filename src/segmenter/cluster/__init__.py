"""The name of `segmenter.extras.cluster` in 0.1.0, whose documentation tells users to import it."""

from segmenter.extras.cluster import __path__

__all__ = ["__path__"]
