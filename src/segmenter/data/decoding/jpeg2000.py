"""Headers of JPEG 2000 files: ISO/IEC 15444-1, annexes A (codestream) and I (JP2 boxes)."""

import os
import struct
from io import BufferedReader, BytesIO
from typing import NamedTuple, cast

from PIL import ImageFile
from PIL.Jpeg2KImagePlugin import Jpeg2KImageFile

from segmenter.errors import UserError

_CODESTREAM = b"\xff\x4f\xff\x51"
BOXES = b"\0\0\0\x0cjP  "
STARTS = (_CODESTREAM, BOXES)
"""First bytes of a codestream, and of a JP2 file."""
_END = b"\xff\xd9"
_MOST_BOXES = 1000
_PILLOW_BANDS = 4
REMEDY = "convert it with `gdal_translate -of GTiff -co COMPRESS=DEFLATE`"
"""For messages."""


class Jpeg2000Layout(NamedTuple):
    """Samples of a JPEG 2000 file, from the SIZ segment of its codestream."""

    height: int
    width: int
    bands: int
    bits: int
    """Bits of each sample, 1 to 38."""
    is_signed: bool
    span: tuple[int, int]
    """First byte of the codestream, and the byte after its last."""
    is_ended: bool
    """True: the codestream ends with its end marker."""

    @property
    def is_deep(self) -> bool:
        """Return True if the samples are not unsigned numbers of at most 8 bits."""
        return self.bits > 8 or self.is_signed


class Jpeg2000File(Jpeg2KImageFile):
    """An image that Pillow opened, with the layout of its codestream."""

    def _open(self) -> None:
        file = cast("BytesIO | BufferedReader", self.fp)
        self.layout = read_jpeg2000_layout(file, "the image")
        super()._open()
        if self.size != (self.layout.width, self.layout.height):
            raise SyntaxError("its header and its codestream state different sizes")


def layout_of(image: ImageFile.ImageFile) -> Jpeg2000Layout | None:
    """Return the layout of a JPEG 2000 file that was opened; None for another format."""
    return image.layout if isinstance(image, Jpeg2000File) else None


def read_jpeg2000_layout(file: BytesIO | BufferedReader, name: str) -> Jpeg2000Layout:
    """Read the SIZ segment of a JPEG 2000 file; the position becomes 0.

    Raises:
        UserError: If it is damaged, or has bands that are not read.
    """
    size = file.seek(0, os.SEEK_END)
    start, end = _find_codestream(file, size, name)
    file.seek(start)
    fixed = file.read(42)
    file.seek(max(end - 2, start))
    is_ended = file.read(2) == _END
    if len(fixed) < 42 or not fixed.startswith(_CODESTREAM):
        raise UserError(f"{name} is cut, damaged or not an image: its codestream has no size")
    _, _, right, bottom, left, top = struct.unpack_from(">HHIIII", fixed, 4)
    (bands,) = struct.unpack_from(">H", fixed, 40)
    file.seek(start + 42)
    parts = file.read(3 * min(bands, _PILLOW_BANDS))
    file.seek(0)
    if not 1 <= bands <= _PILLOW_BANDS:
        raise UserError(f"{name} is JPEG 2000 with {bands} bands; 1 to 4 are read: {REMEDY}")
    if len(parts) != 3 * bands or right <= left or bottom <= top:
        raise UserError(f"{name} is cut, damaged or not an image: its codestream has no bands")
    if len({parts[band * 3] for band in range(bands)}) > 1:
        raise UserError(f"{name} is JPEG 2000 whose bands have different bits; {REMEDY}")
    bits, is_signed = (parts[0] & 0x7F) + 1, bool(parts[0] & 0x80)
    return Jpeg2000Layout(
        bottom - top, right - left, bands, bits, is_signed, (start, end), is_ended
    )


def check_jpeg2000(layout: Jpeg2000Layout, name: str) -> None:
    """Refuse a codestream that is cut, and samples that no decoder returns unchanged.

    Raises:
        UserError: In one line, with what the file holds.
    """
    if not layout.is_ended:
        raise UserError(f"{name} is cut or damaged: its codestream has no end")
    decodes = layout.bands == 1 or (layout.bands in (3, 4) and not layout.is_signed)
    if layout.bits > 16 or (layout.is_deep and not decodes):
        sign = "signed " if layout.is_signed else ""
        raise UserError(
            f"{name} is JPEG 2000 with {layout.bands} bands of {sign}{layout.bits} bits, which is "
            f"not read; {REMEDY}"
        )


def _find_codestream(file: BytesIO | BufferedReader, size: int, name: str) -> tuple[int, int]:
    """Return the first byte of the codestream, and the byte after its last."""
    file.seek(0)
    if file.read(4) == _CODESTREAM:
        return 0, size
    at = 0
    for _ in range(_MOST_BOXES):
        file.seek(at)
        head = file.read(8)
        if len(head) < 8:
            break
        length, kind = struct.unpack(">I4s", head)
        skipped = 8
        if length == 1:
            (length,), skipped = struct.unpack(">Q", file.read(8)), 16
        end = size if length == 0 else at + length
        if end > size or length in range(1, skipped):
            break
        if kind == b"jp2c":
            return at + skipped, end
        at = end
    raise UserError(f"{name} is cut, damaged or not an image: it has no codestream")
