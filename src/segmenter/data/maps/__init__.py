"""Data sets of maps: GeoTIFFs and their labels, cut into windows that are split by area."""
