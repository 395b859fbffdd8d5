"""Images of any number of bands in their own type: pictures, `.npy` and `.npz`.

`decode.read_image` reads RGB of 8 bits, and with an `ImageSpec` what that describes.
TIFF files are read by `tiff_bands`.
"""

import zipfile
from io import BufferedReader, BytesIO
from pathlib import Path
from typing import cast

import numpy as np
import simplejpeg
from jaxtyping import Shaped
from numpy import ndarray
from PIL import ImageFile

from segmenter.data.decoding.depth import is_deep, raw_mode
from segmenter.data.decoding.jpeg2000 import Jpeg2000File, layout_of
from segmenter.data.decoding.jpeg2000_samples import read_jpeg2000_samples
from segmenter.data.decoding.npy_masks import ArrayFile, read_header
from segmenter.data.decoding.opencv_samples import opencv_samples
from segmenter.errors import UserError
from segmenter.image_spec import MAX_BANDS, ImageSpec, ImageType, sample_type

ZIP_MAGIC = b"PK\x03\x04"
"""First bytes of a `.npz` file."""
_TIFF_STARTS = (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")
_IMAGE_KEYS = ("image.npy", "arr_0.npy")
"""Members of a `.npz` file that are the image, if it has several."""
_MAX_MEMBERS = 1000
_FEW_BANDS = 32
"""An array whose first axis is at most this long, and whose last is longer, has its bands first."""
_BYTES_PER_PIXEL = 16
"""Bytes per pixel, for as many pixels as a file may have, that bound the values in memory."""
_DEEP_BANDS = (("RGBA", 4), ("RGB", 3), ("LA", 2))
"""Raw modes of Pillow, and their bands."""


def is_tiff(data: bytes) -> bool:
    """Return True for the first bytes of a TIFF file."""
    return data.startswith(_TIFF_STARTS)


def is_npz(path: Path) -> bool:
    """Return True if a file has the suffix of an archive of arrays."""
    return path.suffix.lower() == ".npz"


def array_type(file: BytesIO | BufferedReader, name: str) -> tuple[tuple[int, int], ImageType]:
    """Return (height, width), and bands and type, of a `.npy` or `.npz` file, from its header."""
    magic = file.read(4)
    file.seek(0)
    if magic.startswith(ZIP_MAGIC):
        with zipfile.ZipFile(file) as archive, _opened(archive, name) as member:
            shape, _, dtype = _array_header(member, name)
    else:
        shape, _, dtype = _array_header(file, name)
    return (shape[0], shape[1]), ImageType((*shape, 1)[2], sample_type(dtype))


def picture_type(image: ImageFile.ImageFile) -> ImageType:
    """Return bands and type of an image that Pillow opened; a palette counts as RGB."""
    layout = layout_of(image)
    if layout is not None and image.mode not in {"P", "PA"}:
        deep = "float32" if layout.is_signed else "uint16"
        return ImageType(layout.bands, deep if layout.is_deep else "uint8")
    if is_deep(image):
        mode = raw_mode(image)
        return ImageType(next((n for name, n in _DEEP_BANDS if name in mode), 1), "uint16")
    bands = 3 if image.mode in {"P", "PA"} else len(image.getbands())
    return ImageType(bands, "float32" if image.mode == "F" else "uint8")


def check_samples(size: tuple[int, ...], found: ImageType, max_pixels: int, name: str) -> None:
    """Refuse an image whose values take too much memory, from its header alone."""
    num_bytes = size[0] * size[1] * found.bands * np.dtype(found.dtype).itemsize
    most = _BYTES_PER_PIXEL * max_pixels
    if num_bytes > most:
        raise UserError(
            f"{name} has {size[0]} x {size[1]} pixels with {found}, {num_bytes} bytes; "
            f"at most {most} are read: cut it into smaller ones"
        )


def check_type(found: ImageType, image: ImageSpec, name: str) -> None:
    """Refuse an image with other bands, or of another type, than is wanted."""
    if found != image.file_type:
        raise UserError(f"{name} has {found}, but images with {image.file_type} are wanted")


def read_array(data: bytes, name: str) -> Shaped[ndarray, "height width bands"]:
    """Decode a `.npy` or `.npz` file whose claims were checked; nothing in it is executed.

    No more bytes are unpacked than the header of the array states.

    Raises:
        UserError: If it is cut, or its array is not an image.
    """
    if not data.startswith(ZIP_MAGIC):
        return _array_values(BytesIO(data), name)
    with zipfile.ZipFile(BytesIO(data)) as archive, _opened(archive, name) as file:
        return _array_values(file, name)


def read_bands(
    data: bytes, opened: ImageFile.ImageFile, name: str
) -> Shaped[ndarray, "height width bands"]:
    """Decode all bands of a PNG, a JPEG or another picture that Pillow opened."""
    if opened.format == "JPEG":
        space = "GRAY" if len(opened.getbands()) == 1 else "RGB"
        return simplejpeg.decode_jpeg(data, space)
    if isinstance(opened, Jpeg2000File) and opened.layout.is_deep:
        return read_jpeg2000_samples(opened, data, name)
    if not is_deep(opened):
        opened.info.pop("transparency", None)
        pixels = np.array(opened.convert("RGB") if opened.mode in {"P", "PA"} else opened)
        return pixels if pixels.ndim == 3 else pixels[:, :, None]
    samples = opencv_samples(data)
    if samples is None:
        raise UserError(f"{name} has more than 8 bits in a form that is not read; save it as TIFF")
    samples = np.asarray(samples)
    samples = samples if samples.ndim == 3 else samples[:, :, None]
    order = {3: [2, 1, 0], 4: [2, 1, 0, 3]}.get(samples.shape[2])
    if picture_type(opened).bands == 2 and samples.shape[2] == 4:  # OpenCV repeats the grey
        order = [0, 3]
    return samples if order is None else np.ascontiguousarray(samples[:, :, order])


def as_sample_type(
    values: Shaped[ndarray, "height width channels"], bands: tuple[int, ...], name: str
) -> Shaped[ndarray, "height width channels"]:
    """Return values in the type in which they are kept, after checking that they are finite.

    Args:
        values: Values of the file, in any type.
        bands: Number of each channel in the file, for messages.
        name: What errors call the file.

    Raises:
        UserError: If a value is NaN or infinite.
    """
    values = values.astype(sample_type(values.dtype), copy=False)
    if values.dtype == np.float32 and not np.isfinite(values).all():
        is_bad = ~np.isfinite(values)
        row, column, channel = np.argwhere(is_bad)[0]
        raise UserError(
            f"{name} has {np.count_nonzero(is_bad)} values that are NaN or infinite, the first in "
            f"row {row}, column {column} (from 0) of band {bands[channel]}; give them a value"
        )
    return values


def _opened(archive: zipfile.ZipFile, name: str) -> zipfile.ZipExtFile:
    """Open the array of a `.npz` file that is the image."""
    members = archive.infolist()
    arrays = [each for each in members if each.filename.endswith(".npy")]
    chosen = [each for key in _IMAGE_KEYS for each in arrays if each.filename == key]
    chosen = arrays if len(arrays) == 1 else chosen[:1]
    if len(members) > _MAX_MEMBERS or not chosen:
        names = ", ".join(each.filename for each in members[:5])
        raise UserError(
            f"{name} is an archive of {len(members)} files ({names}); an image is a .npz with one "
            "array, or with one that is named image"
        )
    if chosen[0].flag_bits & 1:
        raise UserError(f"{name} is encrypted; save the array again without a password")
    return cast(zipfile.ZipExtFile, archive.open(chosen[0]))


def _array_header(file: ArrayFile, name: str) -> tuple[tuple[int, ...], bool, np.dtype]:
    shape, is_fortran, dtype = read_header(file, name)
    is_number = dtype.kind in "buif" and dtype.itemsize <= 8
    sides = " x ".join(map(str, shape)) or "no sides"
    if is_number and len(shape) == 3 and shape[0] <= _FEW_BANDS < shape[2]:
        raise UserError(
            f"{name} is an array of {sides}; an image is height x width x bands: "
            "numpy.moveaxis(array, 0, 2)"
        )
    is_image = len(shape) in (2, 3) and min(shape) >= 1 and (*shape, 1)[2] <= MAX_BANDS
    if not is_number or not is_image:
        what = dtype.name if dtype.kind in "buifc" else "objects"
        raise UserError(
            f"{name} holds {what} of {sides}; the array of an image is height x width, or "
            f"height x width x bands (at most {MAX_BANDS}), of real numbers"
        )
    return shape, is_fortran, dtype


def _array_values(file: ArrayFile, name: str) -> Shaped[ndarray, "height width bands"]:
    shape, is_fortran, dtype = _array_header(file, name)
    num_bytes = int(np.prod(shape, dtype=np.int64)) * dtype.itemsize
    content = file.read(num_bytes + 1)
    if len(content) != num_bytes:
        size = "more" if len(content) > num_bytes else "fewer"
        raise UserError(
            f"{name} is cut or damaged: it holds {size} than the {num_bytes} bytes of numbers that "
            "its header states"
        )
    values = np.frombuffer(content, dtype).reshape(shape, order="F" if is_fortran else "C")
    values = values[:, :, None] if values.ndim == 2 else values
    return np.array(values, dtype=dtype.newbyteorder("="), order="C")
