"""Positions of sliding windows over an image, and the weights that blend them."""

from typing import NamedTuple

import numpy as np
from jaxtyping import Float64
from numpy import ndarray


class WindowGrid(NamedTuple):
    """Windows of one size, in rows and columns, that together cover an image."""

    rows: list[int]
    """First pixel row of each row of windows."""
    columns: list[int]
    """First pixel column of each column of windows."""
    height: int
    width: int
    """Height and width of every window, in pixels."""


def window_starts(length: int, window: int, stride: int, spacing: str = "stride") -> list[int]:
    """Return the first pixel of each window along one side; together they cover it.

    The last window is moved back inside the image, as in all published Segmenter code; with
    `spacing` `even`, so are the others, by as much less as they come before it (EoMT). A side that
    is no longer than the window has one window, at 0, which is as long as the side.
    """
    if length <= window:
        return [0]
    starts = [*range(0, length - window, stride), length - window]
    if spacing == "stride":
        return starts
    last = len(starts) - 1
    overlap = len(starts) * window - length  # of all neighbours together
    step = window - overlap / last  # in this order, as EoMT's own code rounds it
    return [*(int(number * step) for number in range(last)), length - window]


def window_grid(
    size: tuple[int, int], window: int, stride: int, spacing: str = "stride"
) -> WindowGrid:
    """Return the windows over an image of `size` (height, width); see `window_starts`."""
    height, width = size
    return WindowGrid(
        rows=window_starts(height, window, stride, spacing),
        columns=window_starts(width, window, stride, spacing),
        height=min(window, height),
        width=min(window, width),
    )


def window_weights(length: int, blend: str) -> Float64[ndarray, " length"]:
    """Return the weight of each pixel along a window's side where windows overlap.

    Args:
        length: Length of the side, in pixels.
        blend: `none` weighs all pixels alike; `linear` falls linearly towards the border, so that
            one window fades into the next.
    """
    if blend == "none":
        return np.ones(length)
    distances = np.arange(length) + 0.5
    return np.minimum(distances, length - distances)
