"""Maps of labels: which files are written for a GeoTIFF, and its regions as polygons."""
