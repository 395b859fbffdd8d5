"""`segmenter check`: everything that is wrong with a data set, found by reading all of it once."""
