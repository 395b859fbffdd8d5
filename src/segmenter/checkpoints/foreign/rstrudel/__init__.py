"""The paper's own code, rstrudel/segmenter: weights, and `variant.yml`."""
