"""Labelled images: found, decoded, checked, augmented, and fed to training."""

from segmenter.data.decoding.decode import decode_image
from segmenter.data.folder import Item, LabelledFolder, open_folder, read_sample
from segmenter.data.sample import Sample

__all__ = ["Item", "LabelledFolder", "Sample", "decode_image", "open_folder", "read_sample"]
