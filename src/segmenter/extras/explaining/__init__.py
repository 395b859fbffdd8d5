"""Explain the labels of a model: attention, confidence, class embeddings."""
