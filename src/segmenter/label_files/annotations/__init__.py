"""Label maps as other tools hold them: run lengths, polygons, and the files of labelling tools."""
