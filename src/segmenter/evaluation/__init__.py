"""Scores of a model on labelled images, and a page that shows them."""
