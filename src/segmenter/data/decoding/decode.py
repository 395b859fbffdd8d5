"""Image and mask files to arrays: strict, bounded, and by the same rules for every format.

JPEG is decoded by simplejpeg, the rest by Pillow. A file that is cut or damaged is an error and
never a picture; a header that promises too much is refused before a pixel is decoded.
"""

from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from io import BufferedReader, BytesIO
from pathlib import Path

import numpy as np
import simplejpeg
from jaxtyping import Shaped, UInt8
from numpy import ndarray
from PIL import ImageFile
from PIL.TiffImagePlugin import TiffImageFile

from segmenter.data.decoding.bands import (
    ZIP_MAGIC,
    array_type,
    as_sample_type,
    check_samples,
    check_type,
    is_npz,
    is_tiff,
    picture_type,
    read_array,
    read_bands,
)
from segmenter.data.decoding.depth import (
    as_bytes,
    choose_bits,
    deep_samples,
    exact_bits,
    is_deep,
    is_white_zero,
    stated_bits,
)
from segmenter.data.decoding.dicom import (
    is_dicom,
    read_dicom_header,
    read_dicom_rgb,
    read_dicom_values,
)
from segmenter.data.decoding.image_formats import (
    NUM_MAGIC_BYTES,
    READ_FORMATS,
    describe_unread,
    find_opener,
)
from segmenter.data.decoding.jpeg2000 import (
    Jpeg2000File,
    check_jpeg2000,
    layout_of,
    read_jpeg2000_layout,
)
from segmenter.data.decoding.no_data import fill_no_data, tells_no_data
from segmenter.data.decoding.npy_masks import MAGIC, read_shape
from segmenter.data.decoding.ome_tiff import read_ome, read_ome_values
from segmenter.data.decoding.orientation import (
    TURNS,
    read_orientation,
    stated_orientation,
    upright,
)
from segmenter.data.decoding.pages import count_pages, count_tiff_pages
from segmenter.data.decoding.pillow_warnings import load, quiet
from segmenter.data.decoding.raw_masks import npy_values, refuse_pages, values_of
from segmenter.data.decoding.tiff_bands import read_layout, read_tiff
from segmenter.data.decoding.tiff_layout import (
    count_samples,
    drops_band,
    has_georeference,
    refuse_layout,
)
from segmenter.errors import UserError
from segmenter.image_spec import ImageSpec, ImageType


@dataclass(frozen=True)
class Limits:
    """Limits of a file's claims before it is decoded; a service sets lower ones."""

    max_bytes: int = 200 << 20
    """Size of the file."""
    max_side: int = 65_535
    """Height and width, in pixels."""
    max_pixels: int = 200_000_000
    """Height times width."""
    is_mask: bool = False
    """The file is a mask, which is only read whole."""


FILE_LIMITS = Limits()
"""For files on the user's own disk."""

_RGB = ImageType(3, "uint8")
_USE_BANDS = "a model that is trained on such images takes them (docs/how-to/bands.md)"
_ORIENTATION = 274  # TIFF's tag
_MORE_BANDS = ("LA", "RGBA", "RGBX", "RGBa")
"""Modes of Pillow with a band that RGB lacks."""
_PILLOW_SAMPLES = 6
"""Most samples per pixel of a TIFF that Pillow opens."""


@dataclass(frozen=True)
class Header:
    """Header of an image file: everything known before its pixels are decoded."""

    format: str
    """Format, by Pillow's name: JPEG, PNG, WEBP, TIFF, BMP, GIF, AVIF, JPEG2000, PPM."""
    stored_size: tuple[int, int]
    """Width and height, before the image is turned upright."""
    orientation: int
    """Orientation of EXIF: 1 if the image is upright or states none."""
    is_deep: bool = False
    """True: more than 8 bits a sample."""
    num_pages: int = 1
    """Pages or frames in the file; the first is read."""
    drops_band: bool = False
    """True: a TIFF or JPEG 2000 file with a fourth band, which is not read."""
    image_type: ImageType = _RGB
    """Bands of the file, and the type of their values."""
    is_rgb: bool = True
    """True: the file can be read as RGB of 8 bits."""
    is_map: bool = False
    """True: a TIFF with a georeference."""

    @property
    def size(self) -> tuple[int, int]:
        """Height and width, upright."""
        width, height = self.stored_size
        return (width, height) if self.swaps_sides else (height, width)

    @property
    def is_turned(self) -> bool:
        """Return True if the image is turned or mirrored when it is read."""
        return self.orientation in TURNS

    @property
    def swaps_sides(self) -> bool:
        """Return True if turning the image upright makes rows of its columns."""
        return TURNS.get(self.orientation, (False,))[0]


@dataclass(frozen=True)
class DecodedImage:
    """An image, and what was found out on the way to it."""

    pixels: Shaped[ndarray, "height width channels"]
    """Upright: RGB of 8 bits, or what an `ImageSpec` describes."""
    bits: int | None = None
    """Bits a sample of a file that does not fix them, as it was read; None: it does, as with 8."""
    num_pages: int = 1
    """Pages or frames in the file, of which this is the first; see `pages.count_pages`."""
    drops_band: bool = False
    """True: the file is TIFF or JPEG 2000 with a fourth band, which was not read."""


def decode_image(
    source: Path | bytes,
    *,
    limits: Limits = FILE_LIMITS,
    image_bits: int | None = None,
    image: ImageSpec | None = None,
) -> Shaped[ndarray, "height width channels"]:
    """Decode an image to RGB, turned upright as its EXIF data say; or to the channels of `image`.

    Alpha is dropped, grey is repeated, more than 8 bits a sample are brought to 8 (`depth.py` says
    where white lies), and of several frames or pages the first is taken.

    Args:
        source: A file, or the bytes of one.
        limits: What is refused unseen.
        image_bits: Bits a sample of images that have more than 8; None: each file's own.
        image: Bands and type of the files, which are then read as they are; None: RGB of 8 bits.

    Returns:
        uint8 (height, width, 3), or as `image` says.

    Raises:
        UserError: If it is missing, cut, damaged, too large or not an image of a known kind.
    """
    return read_image(source, limits=limits, image_bits=image_bits, image=image).pixels


def read_image(
    source: Path | bytes,
    *,
    limits: Limits = FILE_LIMITS,
    image_bits: int | None = None,
    image: ImageSpec | None = None,
) -> DecodedImage:
    """Decode an image as `decode_image` does, and return facts on its file, too.

    Raises:
        UserError: As `decode_image`.
    """
    name, data = _read(source, limits)
    with _naming(name):
        if is_dicom(data):
            return _read_dicom(data, image, limits, name)
        if image is not None:
            return _read_channels(data, image, limits, name)
        file = BytesIO(data)
        if is_tiff(data) and (ome := read_ome(file, name)):
            raise UserError(
                f"{name} is an OME-TIFF with {ome.type}, and RGB of 8 bits is wanted; {_USE_BANDS}"
            )
        opened = _open(file, name, limits)
        found, num_pages, drops = None, count_pages(opened, file), drops_band(opened)
        if opened.format == "JPEG":
            pixels = simplejpeg.decode_jpeg(data, "RGB")
        elif is_deep(opened):
            exact, stated = exact_bits(opened), stated_bits(opened, data)
            if layout_of(opened) is None:
                load(opened)
            samples = deep_samples(opened, data, name)
            bits = exact or choose_bits(samples, stated, image_bits, name)
            found = None if exact else bits
            pixels = as_bytes(samples, bits)
            pixels = 255 - pixels if is_white_zero(opened) else pixels
        else:
            load(opened)
            pixels = _rgb(opened, name)
            if (
                isinstance(opened, TiffImageFile)
                and opened.mode not in {"P", "PA"}
                and tells_no_data(opened.tag_v2)
            ):
                pixels = fill_no_data(pixels, opened.tag_v2, _every_band(opened, data, name))
        return DecodedImage(upright(pixels, read_orientation(opened)), found, num_pages, drops)


def _every_band(
    opened: TiffImageFile, data: bytes, name: str
) -> Shaped[ndarray, "height width bands"] | None:
    """Return all bands of a TIFF, of which RGB drops one; None if RGB has all that are read."""
    if opened.mode in _MORE_BANDS:
        return np.array(opened)
    if drops_band(opened):
        with suppress(UserError):  # in a form that only Pillow reads
            return read_tiff(data, read_layout(BytesIO(data), name), name)
    return None


def _read_channels(data: bytes, image: ImageSpec, limits: Limits, name: str) -> DecodedImage:
    """Read the bands that `image` names, in the type of the file."""
    orientation = num_pages = 1
    if data.startswith((MAGIC, ZIP_MAGIC)):
        size, found = array_type(BytesIO(data), name)
        _check_claims(size, found, image, limits, name)
        values = read_array(data, name)
    elif is_tiff(data) and (ome := read_ome(BytesIO(data), name)):
        _check_claims(ome.size, ome.type, image, limits, name)
        values = read_ome_values(data, ome, name)
        num_pages = ome.num_images
    elif is_tiff(data):
        layout = read_layout(BytesIO(data), name)
        _check_claims((layout.height, layout.width), layout.type, image, limits, name)
        values = fill_no_data(read_tiff(data, layout, name), layout.tags)
        orientation = layout.tags.get(_ORIENTATION, 1)
        num_pages = max(count_tiff_pages(BytesIO(data)), 1)
    else:
        opened = _open(BytesIO(data), name, limits)
        _check_claims(opened.size[::-1], picture_type(opened), image, limits, name)
        values = read_bands(data, opened, name)
        orientation = read_orientation(opened)
        num_pages = count_pages(opened, BytesIO(data))
    channels = as_sample_type(image.choose(values), image.bands, name)
    return DecodedImage(upright(channels, orientation), num_pages=num_pages)


def _read_dicom(data: bytes, image: ImageSpec | None, limits: Limits, name: str) -> DecodedImage:
    """Read the first frame of a DICOM file: as RGB through its window, or its rescaled values."""
    found = read_dicom_header(BytesIO(data), name)
    size = found.height, found.width
    _check_size(size, name, limits)
    if image is not None:
        _check_claims(size, found.type, image, limits, name)
    found = read_dicom_header(BytesIO(data), name, with_pixels=True)
    if image is None:
        return DecodedImage(read_dicom_rgb(found, name), num_pages=found.num_frames)
    values = image.choose(read_dicom_values(found, name))
    pixels = as_sample_type(values, image.bands, name)
    return DecodedImage(pixels, num_pages=found.num_frames)


def _check_claims(
    size: tuple[int, ...], found: ImageType, image: ImageSpec, limits: Limits, name: str
) -> None:
    """Refuse, from its header, an image that is too large or not of the type that is wanted."""
    _check_size(size, name, limits)
    check_samples(size, found, limits.max_pixels, name)
    check_type(found, image, name)


def decode_mask(
    path: Path, *, apply_palette: bool = False, limits: Limits = FILE_LIMITS
) -> Shaped[ndarray, "height width *channels"]:
    """Decode the raw values of a mask: uint8, uint16 or int32 (H, W), or uint8 RGB (H, W, 3).

    They are int32 where some are negative, or `classes.NO_DATA`: no number (NaN), or the value that
    a GeoTIFF gives to pixels without data, if no class could have it. A `.npy` file is read too.
    Values are those in the file: a palette's indices, 0 and 1 for 1 bit a pixel, 0 to 15 for 4.
    Alpha is dropped, and EXIF orientation is not applied, except that of a TIFF.

    Args:
        path: The file.
        apply_palette: Give the colours of a palette instead of its indices.
        limits: What is refused unseen.

    Raises:
        UserError: As for `decode_image`, if values are fractions or above 65535, and if the file
            holds several pages or frames.
    """
    limits = replace(limits, is_mask=True)
    name, data = _read(path, limits)
    with _naming(name):
        if data.startswith(MAGIC):
            _check_size(read_shape(BytesIO(data), name)[0], name, limits)
            return npy_values(data, name)
        file = BytesIO(data)
        image = _open(file, name, limits)
        refuse_pages(count_pages(image, file), str(image.format), name)
        if image.format == "JPEG2000":
            raise UserError(f"{name} is JPEG 2000, which is not read as a mask; save it as PNG")
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
    """Count the pixels that the header of an image states.

    Raises:
        UserError: If they are too many, or the bytes are not an image of a known kind.
    """
    name, data = _read(data, limits)
    with _naming(name):
        height, width = _claimed_size(data, name, limits)
        return height * width


def _claimed_size(data: bytes, name: str, limits: Limits) -> tuple[int, int]:
    """Return height and width from the header of any image, as it is stored."""
    try:
        width, height = _open(BytesIO(data), name, limits).size
        return height, width
    except UserError:
        if is_dicom(data):
            found = read_dicom_header(BytesIO(data), name)
            size = found.height, found.width
        elif is_tiff(data):
            layout = read_layout(BytesIO(data), name)
            size = layout.height, layout.width
        elif data.startswith((MAGIC, ZIP_MAGIC)):
            size, _ = array_type(BytesIO(data), name)
        else:
            raise
    _check_size(size, name, limits)
    return size


def read_header(path: Path, *, limits: Limits = FILE_LIMITS) -> Header:
    """Read what a file says of itself, without its pixels.

    Raises:
        UserError: If it is missing, too large or not an image of a known kind.
    """
    _check_bytes(path, limits)
    with _naming(str(path)), path.open("rb") as file:
        magic = file.read(NUM_MAGIC_BYTES)
        file.seek(0)
        if magic.startswith(MAGIC) or (magic.startswith(ZIP_MAGIC) and is_npz(path)):
            size, found = array_type(file, str(path))
            _check_size(size, str(path), limits)
            return Header("NPY", (size[1], size[0]), 1, image_type=found, is_rgb=False)
        if is_dicom(magic):
            return _dicom_header(file, str(path), limits)
        if is_tiff(magic) and (ome := read_ome(file, str(path))):
            _check_size(ome.size, str(path), limits)
            (height, width), pages = ome.size, ome.num_images
            return Header(
                "TIFF", (width, height), 1, num_pages=pages, image_type=ome.type, is_rgb=False
            )
        try:
            image = _open(file, str(path), limits)
        except UserError:
            if not is_tiff(magic):
                raise
            return _bands_header(file, str(path), limits)
        # Pillow would decode a whole PNG to look for EXIF data behind the pixels.
        may_turn = image.format != "PNG" or "exif" in image.info
        orientation = stated_orientation(image) if may_turn else 1
        width, height = image.size
        if image.format == "TIFF" and TURNS.get(orientation, (False,))[0]:
            width, height = height, width  # Pillow gives the size upright
        pages = count_pages(image, file)
        found = _type_in(image, file, str(path))
        return Header(
            str(image.format),
            (width, height),
            orientation,
            is_deep(image),
            pages,
            drops_band(image),
            found,
            is_rgb=_has_white(image),
            is_map=is_tiff(magic) and has_georeference(file),
        )


def _dicom_header(file: BufferedReader, name: str, limits: Limits) -> Header:
    """Return the header of a DICOM file, which is a picture if it has 8 bits, unrescaled."""
    found = read_dicom_header(file, name)
    _check_size((found.height, found.width), name, limits)
    return Header(
        "DICOM",
        (found.width, found.height),
        1,
        num_pages=found.num_frames,
        image_type=found.type,
        is_rgb=found.type.dtype == "uint8",
    )


def _has_white(image: ImageFile.ImageFile) -> bool:
    """Return True if the type of the samples says how bright white is."""
    layout = layout_of(image)
    if layout is not None:
        return not layout.is_signed
    return image.mode not in {"I", "F"} or is_deep(image)


def _type_in(image: ImageFile.ImageFile, file: BufferedReader, name: str) -> ImageType:
    """Return bands and type of an image that Pillow opened."""
    if image.format != "TIFF":
        return picture_type(image)
    try:
        return read_layout(file, name).type
    except UserError:  # such as a palette, or 1 bit a sample: a picture all the same
        return picture_type(image)


def _bands_header(file: BufferedReader, name: str, limits: Limits) -> Header:
    """Return the header of a TIFF whose bands make no picture."""
    layout = read_layout(file, name)
    size = layout.height, layout.width
    _check_size(size, name, limits)
    pages = max(count_tiff_pages(file), 1)
    return Header(
        "TIFF",
        (size[1], size[0]),
        int(layout.tags.get(_ORIENTATION, 1)),
        num_pages=pages,
        image_type=layout.type,
        is_rgb=False,
        is_map=has_georeference(file),
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
    """Return a name for messages, and the bytes."""
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
        what = f"is {unread[0]}; {unread[1]}" if unread else "is not an image of a known kind"
        raise UserError(f"{name} {what if magic else 'is empty'}; {READ_FORMATS} are read")
    if opener is TiffImageFile and count_samples(file) > _PILLOW_SAMPLES:
        refuse_layout(file, name, is_mask=limits.is_mask)  # Pillow would write to the terminal
    if opener is Jpeg2000File:
        check_jpeg2000(read_jpeg2000_layout(file, name), name)
    try:
        with quiet():
            image = opener(file)
    except SyntaxError:
        if opener is TiffImageFile:
            refuse_layout(file, name, is_mask=limits.is_mask)
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
    """Remedy for an image on the user's own disk that is too large."""
    if limits.is_mask:
        return "; cut mask and image into smaller ones"
    if limits != FILE_LIMITS:
        return ""
    if name.lower().endswith((".tif", ".tiff")):
        return "; cut it into smaller ones, or label it whole with `segmenter predict`"
    return "; save it as TIFF, which `segmenter predict` reads in bands of rows, or cut it"


def _rgb(image: ImageFile.ImageFile, name: str) -> UInt8[ndarray, "height width 3"]:
    if image.mode in {"I", "F"}:
        raise UserError(
            f"{name} has 32 bits a pixel, whose white level is unknown; save it with 8 or 16"
        )
    # Else Pillow warns that it is dropped.
    image.info.pop("transparency", None)
    return np.array(image.convert("RGB"))
