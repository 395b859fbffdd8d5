"""Image and mask files to arrays: strict, bounded, and by the same rules for every format.

JPEG is decoded by simplejpeg, the rest by Pillow. A file that is cut or damaged is an error and
never a picture; a header that promises too much is refused before a pixel is decoded.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from io import BufferedReader, BytesIO
from pathlib import Path

import numpy as np
import simplejpeg
from jaxtyping import Shaped, UInt8
from numpy import ndarray
from PIL import ImageFile
from PIL.TiffImagePlugin import TiffImageFile

from segmenter.data.decoding.depth import (
    as_bytes,
    choose_bits,
    deep_samples,
    exact_bits,
    is_deep,
    is_white_zero,
    stated_bits,
)
from segmenter.data.decoding.image_formats import (
    NUM_MAGIC_BYTES,
    READ_FORMATS,
    describe_unread,
    find_opener,
)
from segmenter.data.decoding.npy_masks import MAGIC, read_shape
from segmenter.data.decoding.orientation import TURNS, read_orientation, upright
from segmenter.data.decoding.pages import count_pages
from segmenter.data.decoding.pillow_warnings import load, quiet
from segmenter.data.decoding.raw_masks import npy_values, refuse_pages, values_of
from segmenter.data.decoding.tiff_layout import drops_band, refuse_layout
from segmenter.errors import UserError


@dataclass(frozen=True)
class Limits:
    """What a file may promise before it is decoded; a service sets lower ones."""

    max_bytes: int = 200 << 20
    """Size of the file."""
    max_side: int = 65_535
    """Height and width, in pixels."""
    max_pixels: int = 200_000_000
    """Height times width."""


FILE_LIMITS = Limits()
"""For files on the user's own disk."""


@dataclass(frozen=True)
class Header:
    """What a file says of itself before its pixels."""

    format: str
    """As Pillow calls it: JPEG, PNG, WEBP, TIFF, BMP, GIF, AVIF, PPM."""
    stored_size: tuple[int, int]
    """Width and height, before the image is turned upright."""
    orientation: int
    """Of EXIF: 1 where the image is upright, or nothing is said."""
    is_deep: bool = False
    """Whether there are more than 8 bits a sample."""
    num_pages: int = 1
    """Pages or frames in the file; the first is read."""
    drops_band: bool = False
    """Whether the file is a TIFF with a fourth band, which is not read."""

    @property
    def size(self) -> tuple[int, int]:
        """Height and width, upright."""
        width, height = self.stored_size
        return (width, height) if self.swaps_sides else (height, width)

    @property
    def is_turned(self) -> bool:
        """Whether the image is turned or mirrored when it is read."""
        return self.orientation in TURNS

    @property
    def swaps_sides(self) -> bool:
        """Whether turning the image upright makes rows of its columns."""
        return TURNS.get(self.orientation, (False,))[0]


@dataclass(frozen=True)
class DecodedImage:
    """An image, and what was found out on the way to it."""

    pixels: UInt8[ndarray, "height width 3"]
    """RGB, upright."""
    bits: int | None = None
    """Bits a sample of a file that does not fix them, as it was read; None: it does, as with 8."""
    num_pages: int = 1
    """Pages or frames in the file, of which this is the first; see `pages.count_pages`."""
    drops_band: bool = False
    """Whether the file is a TIFF with a fourth band, which was not read."""


def decode_image(
    source: Path | bytes, *, limits: Limits = FILE_LIMITS, image_bits: int | None = None
) -> UInt8[ndarray, "height width 3"]:
    """Decode an image to RGB, turned upright as its EXIF data say.

    Alpha is dropped, grey is repeated, more than 8 bits a sample are brought to 8 (`depth.py` says
    where white lies), and of several frames or pages the first is taken.

    Args:
        source: A file, or the bytes of one.
        limits: What is refused unseen.
        image_bits: Bits a sample of images that have more than 8; None: each file's own.

    Raises:
        UserError: If it is missing, cut, damaged, too large or not an image of a known kind.
    """
    return read_image(source, limits=limits, image_bits=image_bits).pixels


def read_image(
    source: Path | bytes, *, limits: Limits = FILE_LIMITS, image_bits: int | None = None
) -> DecodedImage:
    """As `decode_image`, with what was found out on the way.

    Raises:
        UserError: As `decode_image`.
    """
    name, data = _read(source, limits)
    with _naming(name):
        file = BytesIO(data)
        image = _open(file, name, limits)
        found, num_pages, drops = None, count_pages(image, file), drops_band(image)
        if image.format == "JPEG":
            pixels = simplejpeg.decode_jpeg(data, "RGB")
        elif is_deep(image):
            exact, stated = exact_bits(image), stated_bits(image, data)
            load(image)
            samples = deep_samples(image, data, name)
            bits = exact or choose_bits(samples, stated, image_bits, name)
            found = None if exact else bits
            pixels = as_bytes(samples, bits)
            pixels = 255 - pixels if is_white_zero(image) else pixels
        else:
            load(image)
            pixels = _rgb(image, name)
        return DecodedImage(upright(pixels, read_orientation(image)), found, num_pages, drops)


def decode_mask(
    path: Path, *, apply_palette: bool = False, limits: Limits = FILE_LIMITS
) -> Shaped[ndarray, "height width *channels"]:
    """Decode the raw values of a mask: uint8, uint16 or int32 (H, W), or uint8 RGB (H, W, 3).

    They are int32 where some are negative, or `classes.NO_DATA`: no number (NaN), or the value that
    a GeoTIFF gives to pixels without data, if no class could have it. A `.npy` file is read too.
    Values are those in the file: a palette's indices, 0 and 1 for 1 bit a pixel, 0 to 15 for 4.
    Alpha is dropped, and EXIF orientation is not applied.

    Args:
        path: The file.
        apply_palette: Give the colours of a palette instead of its indices.
        limits: What is refused unseen.

    Raises:
        UserError: As for `decode_image`, if values are fractions or above 65535, and if the file
            holds several pages or frames.
    """
    name, data = _read(path, limits)
    with _naming(name):
        if data.startswith(MAGIC):
            _check_size(read_shape(BytesIO(data), name)[0], name, limits)
            return npy_values(data, name)
        file = BytesIO(data)
        image = _open(file, name, limits)
        refuse_pages(count_pages(image, file), str(image.format), name)
        if image.format == "JPEG":
            if image.mode == "L":
                return simplejpeg.decode_jpeg(data, "GRAY")[:, :, 0]
            return simplejpeg.decode_jpeg(data, "RGB")
        shown_as_rgb = image.mode in {"P", "PA"} and apply_palette
        values = None if shown_as_rgb else values_of(image, data, name, load)
        if values is None:
            load(image)
            return _rgb(image, name)
        return values


def count_pixels(data: bytes, *, limits: Limits = FILE_LIMITS) -> int:
    """Pixels that the bytes of an image promise, from the header alone.

    Raises:
        UserError: If they are too many, or the bytes are not an image of a known kind.
    """
    name, data = _read(data, limits)
    with _naming(name):
        width, height = _open(BytesIO(data), name, limits).size
        return width * height


def read_header(path: Path, *, limits: Limits = FILE_LIMITS) -> Header:
    """Read what a file says of itself, without its pixels.

    Raises:
        UserError: If it is missing, too large or not an image of a known kind.
    """
    _check_bytes(path, limits)
    with _naming(str(path)), path.open("rb") as file:
        if file.read(len(MAGIC)) == MAGIC:
            file.seek(0)
            (height, width, *_), _, _ = read_shape(BytesIO(file.read(1 << 14)), str(path))
            _check_size((height, width), str(path), limits)
            return Header("NPY", (width, height), 1)
        file.seek(0)
        image = _open(file, str(path), limits)
        # Pillow would decode a whole PNG to look for EXIF data behind the pixels.
        may_turn = image.format != "PNG" or "exif" in image.info
        orientation = read_orientation(image) if may_turn else 1
        pages = count_pages(image, file)
        return Header(
            str(image.format), image.size, orientation, is_deep(image), pages, drops_band(image)
        )


def _check_bytes(path: Path, limits: Limits) -> None:
    try:
        num_bytes = path.stat().st_size
        if not path.is_file():
            raise UserError(f"{path} is not a file; give an image")
    except FileNotFoundError:
        raise UserError(f"no such file: {path}") from None
    except OSError as error:
        raise UserError(f"{path} cannot be read: {error.strerror}") from None
    if num_bytes > limits.max_bytes:
        raise UserError(f"{path} has {num_bytes} bytes; at most {limits.max_bytes} are read")


def _read(source: Path | bytes, limits: Limits) -> tuple[str, bytes]:
    """A name for messages, and the bytes."""
    if isinstance(source, bytes):
        if len(source) > limits.max_bytes:
            raise UserError(
                f"the image has {len(source)} bytes; at most {limits.max_bytes} are read"
            )
        return "the image", source
    _check_bytes(source, limits)
    try:
        return str(source), source.read_bytes()
    except OSError as error:
        raise UserError(f"{source} cannot be read: {error.strerror}") from None


@contextmanager
def _naming(name: str) -> Iterator[None]:
    """Turn what decoders raise on bad bytes (struct.error, KeyError, ...) into one line."""
    try:
        yield
    except UserError:
        raise
    except MemoryError:
        raise UserError(f"{name} does not fit into memory; give one of fewer pixels") from None
    except Exception as error:
        reason = (str(error).splitlines() or [type(error).__name__])[0]
        raise UserError(f"{name} is cut, damaged or not an image: {reason}") from None


def _open(file: BytesIO | BufferedReader, name: str, limits: Limits) -> ImageFile.ImageFile:
    """Read the header and check its promises; no pixel is decoded yet."""
    magic = file.read(NUM_MAGIC_BYTES)
    file.seek(0)
    opener = find_opener(magic)
    if opener is None:
        unread = describe_unread(magic)
        what = f"is {unread[0]}; {unread[1]}" if unread else "is no image of a known kind"
        raise UserError(f"{name} {what if magic else 'is empty'}; {READ_FORMATS} are read")
    try:
        with quiet():
            image = opener(file)
    except SyntaxError:
        if opener is TiffImageFile:
            refuse_layout(file, name)
        raise
    _check_size(image.size[::-1], name, limits)
    return image


def _check_size(shape: tuple[int, ...], name: str, limits: Limits) -> None:
    """Refuse a height and width that are too large."""
    height, width = shape[:2]
    if max(width, height) > limits.max_side or width * height > limits.max_pixels:
        raise UserError(
            f"{name} has {height} x {width} pixels; at most {limits.max_pixels} are read, "
            f"and {limits.max_side} a side{_way_out(name, limits)}"
        )


def _way_out(name: str, limits: Limits) -> str:
    """What to do with an image on the user's own disk that is too large."""
    if limits != FILE_LIMITS:
        return ""
    if name.lower().endswith((".tif", ".tiff")):
        return "; cut it into smaller ones, or label it whole with `segmenter predict`"
    return "; save it as TIFF, which `segmenter predict` reads in bands of rows, or cut it"


def _rgb(image: ImageFile.ImageFile, name: str) -> UInt8[ndarray, "height width 3"]:
    if image.mode in {"I", "F"}:
        raise UserError(
            f"{name} has 32 bits a pixel, which does not say how bright white is; "
            "save it with 8 or 16"
        )
    # Else Pillow warns that it is dropped.
    image.info.pop("transparency", None)
    return np.array(image.convert("RGB"))
