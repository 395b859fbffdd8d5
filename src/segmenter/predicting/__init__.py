"""`segmenter predict`: files in, files out."""
