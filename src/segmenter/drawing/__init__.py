"""Pictures of label maps: colours, overlays with a legend, and their files."""

from segmenter.drawing.overlay import (
    class_shares,
    encode_jpeg,
    overlay,
    overlay_with_legend,
    shown_classes,
    smaller_size,
)
from segmenter.drawing.palette import color_picture, distinct_colors, label_png, palette_png

__all__ = [
    "class_shares",
    "color_picture",
    "distinct_colors",
    "encode_jpeg",
    "label_png",
    "overlay",
    "overlay_with_legend",
    "palette_png",
    "shown_classes",
    "smaller_size",
]
