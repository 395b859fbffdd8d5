"""Masks: what their values mean, and what can be wrong with them."""
