"""Colours that differ for any colour vision."""

from collections.abc import Sequence

import cv2
import numpy as np
from jaxtyping import UInt8
from numpy import ndarray

_FIRST_COLOR = (66, 133, 204)
_NUM_CHOSEN = 256
_LIGHTNESS = (30.0, 90.0)  # CIELAB L*, 0 to 100: neither black nor white
_CHROMA = (15.0, 85.0)  # neither grey nor glaring
_GAMMA = 2.2
_OKABE_ITO = np.array(
    [
        (0, 114, 178),
        (230, 159, 0),
        (0, 158, 115),
        (213, 94, 0),
        (86, 180, 233),
        (204, 121, 167),
        (240, 228, 66),
    ],
    dtype=np.uint8,
)
# Protanopia and deuteranopia on linear RGB: Machado, Oliveira and Fernandes, TVCG 2009.
_DEFICIENCIES = (
    np.array(
        [
            (0.152286, 1.052583, -0.204868),
            (0.114503, 0.786281, 0.099216),
            (-0.003882, -0.048116, 1.051998),
        ]
    ),
    np.array(
        [
            (0.367322, 0.860646, -0.227968),
            (0.280085, 0.672501, 0.047413),
            (-0.011820, 0.042940, 0.968881),
        ]
    ),
)


def distinct_colors(
    count: int, beside: Sequence[tuple[int, int, int]] = ()
) -> UInt8[ndarray, "count 3"]:
    """Choose RGB colours, always the same ones, each as far as can be from all before it.

    The first 256 are chosen by how different they look (CIELAB); later ones only differ.

    Args:
        count: How many.
        beside: Colours that are there already, and that the first 256 are far from too.
    """
    chosen = _farthest_colors(min(count, _NUM_CHOSEN), beside)
    if count <= _NUM_CHOSEN:
        return chosen
    # 41 levels a channel make 68,921 colours, more than there can be classes.
    others = _color_grid(num_levels=41)
    others = others[~np.isin(_packed(others), _packed(chosen))]
    order = np.random.default_rng(0).permutation(len(others))
    return np.concatenate([chosen, others[order[: count - _NUM_CHOSEN]]])


def _farthest_colors(
    count: int, beside: Sequence[tuple[int, int, int]]
) -> UInt8[ndarray, "count 3"]:
    """Take again and again the colour whose nearest taken one is farthest away."""
    candidates = _usable_colors()
    lab = _to_lab(candidates)
    distances = np.full(len(lab), np.inf)
    for other in beside:
        distances = np.minimum(distances, _distances(lab, other))
    first = int(np.argmax(distances) if beside else np.argmin(_distances(lab, _FIRST_COLOR)))
    taken = [first]
    while len(taken) < count:
        distances = np.minimum(distances, np.linalg.norm(lab - lab[taken[-1]], axis=1))
        taken.append(int(np.argmax(distances)))
    return candidates[taken[:count]]


def _color_grid(num_levels: int) -> UInt8[ndarray, "colors 3"]:
    """Return all RGB colours with the given number of levels in each channel."""
    levels = np.linspace(0, 255, num_levels).round().astype(np.uint8)
    return np.stack(np.meshgrid(levels, levels, levels, indexing="ij"), axis=-1).reshape(-1, 3)


def _to_lab(colors: UInt8[ndarray, "colors 3"]) -> ndarray:
    """CIELAB, in which distance is about how different two colours look."""
    return cv2.cvtColor(colors[None].astype(np.float32) / 255, cv2.COLOR_RGB2Lab)[0]


def _distances(lab: ndarray, color: tuple[int, int, int]) -> ndarray:
    """Return the distances of colours in CIELAB from an RGB colour."""
    return np.linalg.norm(lab - _to_lab(np.array([color], dtype=np.uint8)), axis=1)


def _packed(colors: UInt8[ndarray, "colors 3"]) -> ndarray:
    """Return one integer a colour, to compare whole colours."""
    return colors.astype(np.int32) @ np.array([1 << 16, 1 << 8, 1], dtype=np.int32)


def colors_for_all(count: int) -> UInt8[ndarray, "count 3"]:
    """Choose RGB colours that differ for any colour vision, always the same ones.

    The first seven are those of Okabe and Ito ("Color Universal Design", 2008). Each further one is
    as far as can be from all before it, as seen without and with a colour-vision deficiency.

    Args:
        count: Number of colours; above 256, colours of `distinct_colors` follow.
    """
    chosen = _OKABE_ITO[: min(count, _NUM_CHOSEN)]
    candidates = _usable_colors()
    seen = _as_seen(candidates)
    distances = np.full(len(candidates), np.inf)
    for color in chosen:
        distances = np.minimum(distances, _least_distances(seen, color))
    while len(chosen) < min(count, _NUM_CHOSEN):
        color = candidates[int(np.argmax(distances))]
        chosen = np.concatenate([chosen, color[None]])
        distances = np.minimum(distances, _least_distances(seen, color))
    others = distinct_colors(max(count, _NUM_CHOSEN))[_NUM_CHOSEN:]
    return np.concatenate([chosen, others])[:count]


def _usable_colors() -> UInt8[ndarray, "colors 3"]:
    """Colours that are neither black, white, grey nor glaring."""
    candidates = _color_grid(num_levels=16)
    lab = _to_lab(candidates)
    chroma = np.hypot(lab[:, 1], lab[:, 2])
    return candidates[
        (lab[:, 0] >= _LIGHTNESS[0])
        & (lab[:, 0] <= _LIGHTNESS[1])
        & (chroma >= _CHROMA[0])
        & (chroma <= _CHROMA[1])
    ]


def _as_seen(colors: UInt8[ndarray, "colors 3"]) -> ndarray:
    """CIELAB (3, colors, 3), as seen with normal vision, protanopia and deuteranopia."""
    linear = (colors / 255.0) ** _GAMMA
    seen = [linear, *(np.clip(linear @ each.T, 0, 1) for each in _DEFICIENCIES)]
    rgb = [np.rint(255 * each ** (1 / _GAMMA)).astype(np.uint8) for each in seen]
    return np.stack([_to_lab(each) for each in rgb])


def _least_distances(seen: ndarray, color: UInt8[ndarray, " 3"]) -> ndarray:
    """Distances of colours from one, to the vision that separates them least."""
    return np.linalg.norm(seen - _as_seen(color[None]), axis=2).min(axis=0)
