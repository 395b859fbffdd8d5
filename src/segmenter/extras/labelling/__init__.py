"""`segmenter label`: masks made by hand, with the help of a model."""
