"""Pretrained encoders: their files, and how their weights are fitted to a model."""
