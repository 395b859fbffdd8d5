"""Count the images in a file: pages of a TIFF, frames of an animation.

The first is read. A remark names the rest, which may be masks or images of their own.
"""

import struct
from collections.abc import Iterator
from io import BufferedReader, BytesIO
from typing import NamedTuple

from PIL import ImageFile

from segmenter.data.decoding.pillow_warnings import quiet

_MOST_PAGES = 1000
"""No more are counted: each costs a look into the file."""
_MOST_TAGS = 4096
_NEW_SUBFILE_TYPE, _SUBFILE_TYPE = 254, 255
_REDUCED_OR_MASK = 0b101
_OLD_REDUCED = 2


def count_pages(image: ImageFile.ImageFile, file: BytesIO | BufferedReader) -> int:
    """Count the images in a file, at most 1000; a GIF with several frames counts as 2.

    Previews and transparency masks of a TIFF, which say that they are such, do not count.

    Args:
        image: Image of which only the header was read.
        file: Whose position stays as it is.
    """
    if image.format == "TIFF":
        place = file.tell()
        try:
            return max(count_tiff_pages(file), 1)
        finally:
            file.seek(place)
    if image.format == "GIF":
        with quiet():
            return 2 if getattr(image, "is_animated", False) else 1
    return min(int(getattr(image, "n_frames", 1)), _MOST_PAGES)


def count_tiff_pages(file: BytesIO | BufferedReader) -> int:
    """Count the first page and those after it that are neither previews nor masks."""
    return sum(not page.is_extra for page in walk_pages(file, _MOST_PAGES))


class TiffPage(NamedTuple):
    """A page of a TIFF, as its directory describes it."""

    offset: int
    """Offset of the directory in the file."""
    is_extra: bool
    """True: a preview or mask of another page, and not the first."""


def walk_pages(file: BytesIO | BufferedReader, most: int) -> Iterator[TiffPage]:
    """Yield the pages of a TIFF, until the chain ends, turns back or is damaged.

    Args:
        file: Open file; its position becomes arbitrary.
        most: So many pages at the most.
    """
    file.seek(0)
    start = file.read(16)
    order = "<" if start[:2] == b"II" else ">"
    is_big = 43 in start[2:4]
    count, pointer, entry = ("Q", "Q", 20) if is_big else ("H", "I", 12)
    (offset,) = struct.unpack_from(order + pointer, start, 8 if is_big else 4)
    count, pointer = order + count, order + pointer
    seen: set[int] = set()
    while offset and offset < 1 << 63 and offset not in seen and len(seen) < most:
        seen.add(offset)
        file.seek(offset)
        try:
            (num_tags,) = struct.unpack(count, file.read(struct.calcsize(count)))
            if num_tags > _MOST_TAGS:
                return
            tags = file.read(num_tags * entry)
            is_extra = len(seen) > 1 and _is_extra(tags, order, entry)
            after = file.read(struct.calcsize(pointer))
        except (struct.error, OSError):
            return
        yield TiffPage(offset, is_extra)
        offset = struct.unpack(pointer, after)[0] if len(after) == struct.calcsize(pointer) else 0


def _is_extra(tags: bytes, order: str, entry: int) -> bool:
    """Return True if a page is marked as the preview or the transparency mask of another."""
    for at in range(0, len(tags) - entry + 1, entry):
        tag, kind = struct.unpack_from(order + "HH", tags, at)
        if tag in (_NEW_SUBFILE_TYPE, _SUBFILE_TYPE):
            form = "H" if kind == 3 else "I"
            (value,) = struct.unpack_from(order + form, tags, at + (12 if entry == 20 else 8))
            if tag == _NEW_SUBFILE_TYPE:
                return bool(value & _REDUCED_OR_MASK)
            return value == _OLD_REDUCED
    return False
