"""Colours that can be told apart, and label maps as PNG files."""

import io
import zlib

import cv2
import numpy as np
from jaxtyping import UInt, UInt8
from numpy import ndarray
from PIL import Image

IGNORED_COLOR = (255, 255, 255)
"""How pixels that do not count are drawn in a colour picture."""

# Label maps are runs of equal numbers: what else zlib can find costs time and saves little.
_PNG_OPTIONS = (
    *(cv2.IMWRITE_PNG_COMPRESSION, 1),
    *(cv2.IMWRITE_PNG_STRATEGY, cv2.IMWRITE_PNG_STRATEGY_RLE),
    *(cv2.IMWRITE_PNG_FILTER, cv2.IMWRITE_PNG_FILTER_NONE),
)
_FIRST_COLOR = (66, 133, 204)
_NUM_CHOSEN = 256
_LIGHTNESS = (30.0, 90.0)  # CIELAB L*, 0 to 100: neither black nor white
_CHROMA = (15.0, 85.0)  # neither grey nor glaring


def distinct_colors(count: int) -> UInt8[ndarray, "count 3"]:
    """Choose RGB colours, always the same ones, each as far as can be from all before it.

    The first 256 are chosen by how different they look (CIELAB); later ones only differ.
    """
    chosen = _farthest_colors(min(count, _NUM_CHOSEN))
    if count <= _NUM_CHOSEN:
        return chosen
    # 41 levels a channel make 68,921 colours, more than there can be classes.
    others = _color_grid(num_levels=41)
    others = others[~np.isin(_packed(others), _packed(chosen))]
    order = np.random.default_rng(0).permutation(len(others))
    return np.concatenate([chosen, others[order[: count - _NUM_CHOSEN]]])


def color_picture(
    labels: UInt[ndarray, "height width"], colors: UInt8[ndarray, "classes 3"], ignore_index: int
) -> UInt8[ndarray, "height width 3"]:
    """Each pixel in the colour of its class, ignored ones in `IGNORED_COLOR`."""
    return _color_table(colors, ignore_index)[labels]


def palette_png(
    labels: UInt[ndarray, "height width"], colors: UInt8[ndarray, "classes 3"], ignore_index: int
) -> bytes:
    """Encode a label map so that any viewer shows it in colour.

    With up to 255 classes the pixels are still the class indices, and the colours a palette. More
    do not fit into a palette: the pixels are then the colours themselves.
    """
    if len(colors) > 255:
        return label_png(color_picture(labels, colors, ignore_index))
    image = Image.fromarray(labels.astype(np.uint8))
    image.putpalette(_color_table(colors, ignore_index).tobytes())
    buffer = io.BytesIO()
    image.save(buffer, "PNG", compress_level=1, compress_type=zlib.Z_RLE)
    return buffer.getvalue()


def label_png(labels: UInt[ndarray, "height width"] | UInt8[ndarray, "height width 3"]) -> bytes:
    """Encode numbers as they are: grey with 8 or 16 bits, as their type says, or RGB."""
    pixels = labels if labels.ndim == 2 else labels[:, :, ::-1]
    _, encoded = cv2.imencode(".png", np.ascontiguousarray(pixels), _PNG_OPTIONS)
    return encoded.tobytes()


def _color_table(
    colors: UInt8[ndarray, "classes 3"], ignore_index: int
) -> UInt8[ndarray, "labels 3"]:
    """A colour for every number that can stand in a label map."""
    table = np.zeros((ignore_index + 1, 3), dtype=np.uint8)
    table[: len(colors)] = colors
    table[ignore_index] = IGNORED_COLOR
    return table


def _farthest_colors(count: int) -> UInt8[ndarray, "count 3"]:
    """Take again and again the colour whose nearest taken one is farthest away."""
    candidates = _color_grid(num_levels=16)
    lab = _to_lab(candidates)
    chroma = np.hypot(lab[:, 1], lab[:, 2])
    is_usable = (
        (lab[:, 0] >= _LIGHTNESS[0])
        & (lab[:, 0] <= _LIGHTNESS[1])
        & (chroma >= _CHROMA[0])
        & (chroma <= _CHROMA[1])
    )
    candidates, lab = candidates[is_usable], lab[is_usable]
    first = _to_lab(np.array([_FIRST_COLOR], dtype=np.uint8))
    taken = [int(np.argmin(np.linalg.norm(lab - first, axis=1)))]
    distances = np.full(len(lab), np.inf)
    while len(taken) < count:
        distances = np.minimum(distances, np.linalg.norm(lab - lab[taken[-1]], axis=1))
        taken.append(int(np.argmax(distances)))
    return candidates[taken[:count]]


def _color_grid(num_levels: int) -> UInt8[ndarray, "colors 3"]:
    """All RGB colours with so many levels in each channel."""
    levels = np.linspace(0, 255, num_levels).round().astype(np.uint8)
    return np.stack(np.meshgrid(levels, levels, levels, indexing="ij"), axis=-1).reshape(-1, 3)


def _to_lab(colors: UInt8[ndarray, "colors 3"]) -> ndarray:
    """CIELAB, in which distance is about how different two colours look."""
    return cv2.cvtColor(colors[None].astype(np.float32) / 255, cv2.COLOR_RGB2Lab)[0]


def _packed(colors: UInt8[ndarray, "colors 3"]) -> ndarray:
    """One integer a colour, to compare whole colours."""
    return colors.astype(np.int32) @ np.array([1 << 16, 1 << 8, 1], dtype=np.int32)
