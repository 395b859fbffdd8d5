"""Describe a TIFF that is intact but is not an image to us: bands and types of other kinds."""

import warnings
from collections.abc import Mapping
from io import BufferedReader, BytesIO
from typing import Any

from PIL import ImageFile
from PIL.TiffImagePlugin import (
    BITSPERSAMPLE,
    SAMPLEFORMAT,
    SAMPLESPERPIXEL,
    ImageFileDirectory_v2,
)

from segmenter.data.decoding.jpeg2000 import layout_of
from segmenter.errors import UserError

_KINDS: dict[int, str] = {1: "uint", 2: "int", 3: "float", 5: "complex int", 6: "complex"}
_BIG, _LITTLE_BIG = 43, b"II+\0"
_GEO_TAGS = (33550, 33922, 34264, 34735, 50844)
"""Pixel scale, tie points, transformation, keys, RPCs: any of them makes a TIFF a map."""


def refuse_layout(file: BytesIO | BufferedReader, name: str, *, is_mask: bool) -> None:
    """Say what bands a TIFF holds, and how to make an image or a mask of them.

    Raises:
        UserError: Always, unless its tags are damaged.
    """
    layout = _describe(file)
    if layout is not None:
        way_out = (
            "not a mask; write 1 band of whole numbers, for example with `gdal_translate -ot "
            "UInt16 -b 1`"
            if is_mask
            else "not an image; write 1 or 3 bands of 8 bits, for example with `gdal_translate -ot "
            "Byte -scale -b 1 -b 2 -b 3`"
        )
        raise UserError(f"{name} holds {layout}, in a layout that is {way_out}") from None


def drops_band(image: ImageFile.ImageFile) -> bool:
    """Return True for a fourth band that is not read as RGB; only the header has been read."""
    layout = layout_of(image)
    if layout is not None:
        return layout.bands == 4 and image.mode != "CMYK"
    num_bands = getattr(image, "tag_v2", {}).get(SAMPLESPERPIXEL, 1)
    return image.format == "TIFF" and num_bands == 4 and image.mode != "CMYK"


def count_samples(file: BytesIO | BufferedReader) -> int:
    """Return the samples per pixel of a TIFF, 0 if its tags are damaged; the position stays."""
    place = file.tell()
    try:
        return int(read_tags(file).get(SAMPLESPERPIXEL, 1))
    except Exception:  # whatever damage does to tags
        return 0
    finally:
        file.seek(place)


def is_map(tags: Mapping[int, Any]) -> bool:
    """Return True if the tags of a TIFF say where on the ground it lies."""
    return any(tag in tags for tag in _GEO_TAGS)


def has_georeference(file: BytesIO | BufferedReader) -> bool:
    """Return True for a TIFF that says where on the ground it lies; the position stays."""
    place = file.tell()
    try:
        return is_map(read_tags(file))
    except Exception:  # whatever damage does to tags
        return False
    finally:
        file.seek(place)


def read_tags(file: BytesIO | BufferedReader, offset: int | None = None) -> ImageFileDirectory_v2:
    """Return the tags of an image of a TIFF or BigTIFF; damage raises anything.

    Args:
        file: Open file; its position becomes arbitrary.
        offset: Offset of the tags in the file; None: those of the first image.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        file.seek(0)
        header = file.read(8)
        header += file.read(8) if _BIG in header[2:4] else b""
        if header[3] == _BIG:  # Pillow looks for it where little-endian files have it
            tags = ImageFileDirectory_v2(_LITTLE_BIG + header[4:], prefix=header[:2])
        else:
            tags = ImageFileDirectory_v2(header)
        file.seek(tags.next if offset is None else offset)
        tags.load(file)
    return tags


def _describe(file: BytesIO | BufferedReader) -> str | None:
    """Return bands and type of a TIFF, such as `5 bands of uint8`; None if its tags are damaged."""
    try:
        tags = read_tags(file)
        number = int(tags.get(SAMPLESPERPIXEL, 1))
        bits = tags.get(BITSPERSAMPLE, (1,))
        kind = tags.get(SAMPLEFORMAT, (1,))
    except Exception:  # whatever damage does to tags
        return None
    first = _KINDS.get(kind[0], "")
    return f"{number} band{'s' * (number != 1)} of {first}{bits[0]}" if first else None
