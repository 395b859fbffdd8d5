"""Encoders of DINOv2 and DINOv3, to which other files add a decoder or differences."""
