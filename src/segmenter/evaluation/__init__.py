"""Scores of a model on labelled photos, and a page that shows them."""
