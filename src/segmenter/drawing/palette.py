"""Label maps as coloured pictures and PNG files."""

import io
import zlib
from collections.abc import Sequence

import cv2
import numpy as np
from jaxtyping import UInt, UInt8
from numpy import ndarray
from PIL import Image

from segmenter.classes import Classes
from segmenter.classes.colors import colors_for_all
from segmenter.options import Palette

IGNORED_COLOR = (255, 255, 255)
"""Colour of ignored pixels."""

# Label maps are runs of equal numbers: what else zlib can find costs time and saves little.
_PNG_OPTIONS = (
    *(cv2.IMWRITE_PNG_COMPRESSION, 1),
    *(cv2.IMWRITE_PNG_STRATEGY, cv2.IMWRITE_PNG_STRATEGY_RLE),
    *(cv2.IMWRITE_PNG_FILTER, cv2.IMWRITE_PNG_FILTER_NONE),
)


def color_picture(
    labels: UInt[ndarray, "height width"], colors: UInt8[ndarray, "classes 3"], ignore_index: int
) -> UInt8[ndarray, "height width 3"]:
    """Return each pixel in the colour of its class, ignored ones in `IGNORED_COLOR`."""
    return color_table(colors, range(len(colors)), ignore_index)[labels]


def palette_png(
    labels: UInt[ndarray, "height width"], colors: UInt8[ndarray, "classes 3"], ignore_index: int
) -> bytes:
    """Encode a label map so that any viewer shows it in colour.

    With up to 255 classes the pixels are still the class indices, and the colours a palette. More
    do not fit into a palette: the pixels are then the colours themselves.
    """
    if len(colors) > 255:
        return label_png(color_picture(labels, colors, ignore_index))
    return label_map_png(labels, colors, ignore_index)


def label_map_png(
    labels: UInt[ndarray, "height width"], colors: UInt8[ndarray, "classes 3"], ignore_index: int
) -> bytes:
    """Encode the class index of each pixel; with up to 255 classes, viewers show their colours.

    As in Pascal VOC, the colours are the palette of the file. With more classes the file is grey,
    with 16 bits.
    """
    if len(colors) > 255:
        return label_png(labels)
    table = color_table(colors, range(len(colors)), ignore_index)
    return indexed_png(labels.astype(np.uint8), table)


def indexed_png(values: UInt8[ndarray, "height width"], table: UInt8[ndarray, "values 3"]) -> bytes:
    """Encode values as the indices of a palette, `table`, with which viewers show them."""
    image = Image.fromarray(values)
    image.putpalette(table.tobytes())
    buffer = io.BytesIO()
    image.save(buffer, "PNG", bits=8, compress_level=1, compress_type=zlib.Z_RLE)
    return buffer.getvalue()


def label_png(labels: UInt[ndarray, "height width"] | UInt8[ndarray, "height width 3"]) -> bytes:
    """Encode numbers as they are: grey with 8 or 16 bits, as their type says, or RGB."""
    pixels = labels if labels.ndim == 2 else labels[:, :, ::-1]
    _, encoded = cv2.imencode(".png", np.ascontiguousarray(pixels), _PNG_OPTIONS)
    return encoded.tobytes()


def color_table(
    colors: UInt8[ndarray, "classes 3"], values: Sequence[int], ignored: int
) -> UInt8[ndarray, "numbers 3"]:
    """Return a colour for each number from 0 to `ignored`.

    Args:
        colors: RGB of the classes.
        values: The number that stands for each class.
        ignored: The largest number; `IGNORED_COLOR`, unless it is a class. Others are black.
    """
    table = np.zeros((ignored + 1, 3), dtype=np.uint8)
    table[ignored] = IGNORED_COLOR
    table[list(values)] = colors
    return table


def recolored(classes: Classes, palette: Palette) -> Classes:
    """Return classes in the colours to draw with: their own, or distinct ones."""
    if palette == "classes":
        return classes
    colors = colors_for_all(len(classes.classes)).tolist()
    infos = (
        info.model_copy(update={"color": tuple(color)})
        for info, color in zip(classes.classes, colors, strict=True)
    )
    return classes.model_copy(update={"classes": tuple(infos)})
