"""The values of a mask, as they are in its file: no colour is made of them."""

from collections.abc import Callable

import numpy as np
from jaxtyping import Shaped
from numpy import ndarray
from PIL import ImageFile

from segmenter.classes import NO_DATA
from segmenter.data.decoding.depth import (
    color_values,
    deep_colors,
    is_deep,
    is_white_zero,
    raw_mode,
)
from segmenter.data.decoding.no_data import stated_no_data
from segmenter.data.decoding.npy_masks import read_values
from segmenter.errors import UserError

_MAX_VALUE = 65535


def values_of(
    image: ImageFile.ImageFile,
    data: bytes,
    name: str,
    load: Callable[[ImageFile.ImageFile], None],
) -> Shaped[ndarray, "height width *channels"] | None:
    """Return the values of a mask whose header was read; None if they are colours of 8 bits.

    Args:
        image: The mask.
        data: The bytes of its file.
        name: What errors call it.
        load: Decodes the pixels.

    Raises:
        UserError: If values are fractions or above 65535, or colours need 16 bits.
    """
    _refuse_stretched(image, name)
    step, is_deep_color = _grey_step(image), is_deep(image) and image.mode[0] != "I"
    load(image)
    if is_deep_color:
        return color_values(deep_colors(np.array(image.convert("RGB")), data, name), name)
    if image.mode in {"L", "1"}:
        values = np.array(image, dtype=np.uint8)
        if image.mode == "L" and is_white_zero(image):  # Pillow inverts them, as a picture
            values = 255 - values
        return values // step
    if image.mode in {"P", "PA", "LA"}:
        return np.array(image.getchannel(0))
    if image.mode.startswith("I;16"):
        return np.array(image).astype(np.uint16)
    if image.mode in {"I", "F"}:
        return _whole_numbers(np.array(image), name, _nodata(image))
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
    """Return the factor by which Pillow spreads the values of grey files of 2 or 4 bits."""
    return {"L;2": 85, "L;4": 17}.get(raw_mode(image)[:3], 1)


def npy_values(data: bytes, name: str) -> Shaped[ndarray, "height width *channels"]:
    """Return the values of a mask in a `.npy` file: uint8, uint16 or int32, or uint8 RGB.

    Raises:
        UserError: If it holds anything else.
    """
    values = read_values(data, name)
    if values.ndim == 3:
        colors = _whole_numbers(values, name)
        if colors.dtype != np.uint16:
            raise UserError(f"{name} holds colours below 0; those of a mask are 0 to 255")
        return color_values(colors, name)
    if values.dtype == np.bool_ or values.dtype == np.uint8:
        return values.astype(np.uint8)
    return _whole_numbers(values, name)


def _whole_numbers(
    values: Shaped[ndarray, "height width *channels"], name: str, nodata: float | None = None
) -> Shaped[ndarray, "height width *channels"]:
    """Values of any type as uint16, or as int32 where some are negative or no number.

    Args:
        values: Values of the file.
        name: What errors call it.
        nodata: A value that means no data, as the file says; it becomes `NO_DATA`, and so does NaN.

    Raises:
        UserError: If one is a fraction or above 65535.
    """
    # NumPy 2.0 crashes where it compares int16 of the other byte order with 65535.
    values = values.astype(values.dtype.newbyteorder("="), copy=False)
    none = np.isnan(values)
    if nodata is not None and not 0 <= nodata <= _MAX_VALUE:
        none |= values == (np.float32(nodata) if values.dtype == np.float32 else nodata)
    fits = (values > NO_DATA) & (values <= _MAX_VALUE) & (values == np.floor(values)) | none
    if not fits.all():
        raise UserError(
            f"{name} holds {values[~fits][0]} at {np.count_nonzero(~fits)} pixels; "
            "mask values are whole numbers from 0 to 65535, or negative ones that are ignored"
        )
    if not none.any() and values.min(initial=0) >= 0:
        return values.astype(np.uint16)
    return np.where(none, NO_DATA, values).astype(np.int32)


def _nodata(image: ImageFile.ImageFile) -> float | None:
    """Return the value of pixels without data, as GDAL writes it into a TIFF; None without one."""
    nodata = stated_no_data(getattr(image, "tag_v2", {}))
    if nodata is None:
        return None
    # Pillow reads samples of 32 bits as signed.
    return nodata - (1 << 32) if 1 << 31 <= nodata < 1 << 32 else nodata
