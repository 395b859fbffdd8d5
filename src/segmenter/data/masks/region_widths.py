"""Widths of the regions of each class, which decide at which size a model must see an image."""

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from jaxtyping import Float32, Int64, Shaped
from numpy import ndarray

_MAX_LINES = 512
"""Rows, and columns, of a mask that are looked at or few more; evenly spaced."""
_MIN_SHARE_OF_MASKS = 0.01
"""A class in fewer masks decides nothing."""


def region_widths(
    labels: Shaped[ndarray, "height width"], num_classes: int
) -> Float32[ndarray, " classes"]:
    """Return the typical width of each class's regions in a mask, in pixels.

    The width at a pixel is the length of the run of its class through it, along the row or along
    the column, whichever is shorter; that of a class is the median over its pixels, so that stray
    pixels do not matter. A pole is thus as wide as it is thick, and so is a net whose parts all
    touch, which no area of connected regions would tell.

    Args:
        labels: Class indices; others, such as the ignored value, belong to no class.
        num_classes: Number of classes.

    Returns:
        A width for each class; NaN where the mask does not hold the class.
    """
    down, along = (max(side // _MAX_LINES, 1) for side in labels.shape)
    across = _run_lengths(labels[::down])[:, ::along]
    upright = _run_lengths(labels[:, ::along].T)[:, ::down].T
    at_pixels = np.minimum(across, upright)
    seen = labels[::down, ::along]
    widths = np.full(num_classes, np.nan, dtype=np.float32)
    for index in np.unique(seen).tolist():
        if index < num_classes:
            widths[index] = np.median(at_pixels[seen == index])
    return widths


def _run_lengths(lines: Shaped[ndarray, "lines length"]) -> Int64[ndarray, "lines length"]:
    """Return for each pixel the length of the run of equal labels that it lies in."""
    starts = np.ones(lines.shape, dtype=bool)
    starts[:, 1:] = lines[:, 1:] != lines[:, :-1]
    lengths = np.diff(np.flatnonzero(starts), append=lines.size)
    return np.repeat(lengths, lengths).reshape(lines.shape)


class ThinClass(NamedTuple):
    """The class with the thinnest regions."""

    index: int
    share: float
    """Median width of its regions, relative to the short side of their image."""


@dataclass(frozen=True)
class SizeFacts:
    """Sizes of images, and of the regions of each class in them."""

    sizes: Int64[ndarray, "images 2"]
    """Height and width of each image, upright."""
    widths: Float32[ndarray, "images classes"]
    """`region_widths` of each mask."""
    are_maps: bool = False
    """True: every image has a georeference, so that its pixels have a size on the ground."""

    def thinnest(self) -> ThinClass | None:
        """Return the class with the thinnest regions; None if no mask holds a class.

        A class in less than one mask of a hundred does not count.
        """
        shares = self.widths / self.sizes.min(axis=1)[:, None]
        found = []
        for index, of_class in enumerate(shares.T):
            present = of_class[~np.isnan(of_class)]
            if present.size and present.size >= _MIN_SHARE_OF_MASKS * len(shares):
                found.append(ThinClass(index, float(np.median(present))))
        return min(found, key=lambda each: each.share, default=None)


NO_SIZES = SizeFacts(np.zeros((0, 2), dtype=np.int64), np.zeros((0, 0), dtype=np.float32))
"""Facts of no image."""
