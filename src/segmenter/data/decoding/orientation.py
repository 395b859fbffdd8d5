"""Read the orientation of an image from its EXIF data, and turn its pixels upright."""

import numpy as np
from jaxtyping import Shaped
from numpy import ndarray
from PIL import Image

from segmenter.data.decoding.pillow_warnings import quiet

_EXIF_ORIENTATION = 0x0112
# Orientation -> the arguments of `turn`.
TURNS = {
    2: (False, False, True),
    3: (False, True, True),
    4: (False, True, False),
    5: (True, False, False),
    6: (True, False, True),
    7: (True, True, True),
    8: (True, True, False),
}


def read_orientation(image: Image.Image) -> int:
    """Return the orientation that is left to apply: Pillow turns a TIFF by itself."""
    return 1 if image.format == "TIFF" else stated_orientation(image)


def stated_orientation(image: Image.Image) -> int:
    """Return the EXIF orientation that a file states, 1 where there is none."""
    try:
        with quiet():
            orientation = image.getexif().get(_EXIF_ORIENTATION)
    except Exception:
        # Broken metadata do not make an image unreadable.
        return 1
    return orientation if isinstance(orientation, int) else 1


def upright(
    pixels: Shaped[ndarray, "height width channels"], orientation: int
) -> Shaped[ndarray, "upright_height upright_width channels"]:
    """Turn pixels as an orientation says."""
    return turn(pixels, *TURNS[orientation]) if orientation in TURNS else pixels


def turn(
    pixels: Shaped[ndarray, "height width channels"],
    swap: bool,
    flip_rows: bool,
    flip_columns: bool,
) -> Shaped[ndarray, "turned_height turned_width channels"]:
    """Swap rows and columns first, then reverse the rows, then the columns, each if asked for."""
    pixels = pixels.transpose(1, 0, 2) if swap else pixels
    pixels = pixels[::-1] if flip_rows else pixels
    pixels = pixels[:, ::-1] if flip_columns else pixels
    return np.ascontiguousarray(pixels)
