"""The values of a mask, as they are in its file: no colour is made of them."""

from collections.abc import Callable

import numpy as np
from jaxtyping import Shaped
from numpy import ndarray
from PIL import ImageFile

from segmenter.data.depth import color_values, deep_samples, is_deep, raw_mode
from segmenter.errors import UserError


def values_of(
    image: ImageFile.ImageFile,
    data: bytes,
    name: str,
    load: Callable[[ImageFile.ImageFile], None],
) -> Shaped[ndarray, "height width *channels"] | None:
    """The values of a mask of which the header was read; none where they are colours of 8 bits.

    Args:
        image: The mask.
        data: The bytes of its file.
        name: What errors call it.
        load: Decodes the pixels.

    Raises:
        UserError: If values are negative, fractions or above 65535, or colours need 16 bits.
    """
    _refuse_stretched(image, name)
    step, is_deep_color = _grey_step(image), is_deep(image) and image.mode[0] != "I"
    load(image)
    if is_deep_color:
        return color_values(deep_samples(image, data, name), name)
    if image.mode in {"L", "1"}:
        return np.array(image, dtype=np.uint8) // step
    if image.mode in {"P", "PA", "LA"}:
        return np.array(image.getchannel(0))
    if image.mode.startswith("I;16"):
        return np.array(image).astype(np.uint16)
    if image.mode in {"I", "F"}:
        return _whole_numbers(np.array(image), name)
    return None


def refuse_pages(num_pages: int, format: str, name: str) -> None:
    """Refuse a mask of several pages: each may be a class, and none says which."""
    if num_pages == 1:
        return
    several = f"{num_pages} pages" if format == "TIFF" else "several frames"
    raise UserError(
        f"{name} has {several}; a mask is one page that holds the value of a class at each pixel: "
        "merge the pages into one, or save the one that holds the classes"
    )


def _refuse_stretched(image: ImageFile.ImageFile, name: str) -> None:
    """Refuse a PGM mask whose greatest value is not 255 or 65535: Pillow would scale its values."""
    if image.format == "PPM" and image.tile[0].codec_name != "raw":
        raise UserError(f"{name} is a PGM file of odd range; save the mask as PNG")


def _grey_step(image: ImageFile.ImageFile) -> int:
    """How far apart Pillow spreads the values of grey files with 2 or 4 bits a pixel."""
    return {"L;2": 85, "L;4": 17}.get(raw_mode(image)[:3], 1)


def _whole_numbers(values: Shaped[ndarray, "height width"], name: str) -> ndarray:
    """32-bit values as uint16, where nothing is lost."""
    fits = (values >= 0) & (values <= np.iinfo(np.uint16).max) & (values == np.floor(values))
    if not fits.all():
        raise UserError(
            f"{name} holds {values[~fits][0]} at {np.count_nonzero(~fits)} pixels; "
            "mask values are whole numbers from 0 to 65535"
        )
    return values.astype(np.uint16)
