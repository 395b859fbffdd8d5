"""Label maps as files: pictures, label maps, and the formats of annotation tools."""
