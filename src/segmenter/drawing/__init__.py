"""Pictures of label maps: colours, overlays with a legend, and their files."""

from segmenter.drawing.overlay import (
    class_shares,
    encode_jpeg,
    overlay,
    overlay_with_legend,
    shown_classes,
    smaller_size,
)
from segmenter.drawing.palette import (
    color_picture,
    color_table,
    indexed_png,
    label_map_png,
    label_png,
    palette_png,
    recolored,
)

__all__ = [
    "class_shares",
    "color_picture",
    "color_table",
    "encode_jpeg",
    "indexed_png",
    "label_map_png",
    "label_png",
    "overlay",
    "overlay_with_legend",
    "palette_png",
    "recolored",
    "shown_classes",
    "smaller_size",
]
