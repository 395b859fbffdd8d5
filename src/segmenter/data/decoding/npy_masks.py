"""Masks in `.npy` files, as labelling tools write them: read without executing anything."""

from io import BufferedReader, BytesIO
from zipfile import ZipExtFile

import numpy as np
from jaxtyping import Shaped
from numpy import ndarray

from segmenter.errors import UserError

MAGIC = b"\x93NUMPY"
"""First bytes of a `.npy` file."""
_MAX_HEADER = 10_000

ArrayFile = BytesIO | BufferedReader | ZipExtFile
"""The source of an array."""


def read_header(file: ArrayFile, name: str) -> tuple[tuple[int, ...], bool, np.dtype]:
    """Shape, whether columns lie first, and type, of any array.

    Raises:
        UserError: If the file has a version that is not read.
    """
    version = np.lib.format.read_magic(file)
    read = (
        np.lib.format.read_array_header_1_0
        if version == (1, 0)
        else np.lib.format.read_array_header_2_0
    )
    if version not in {(1, 0), (2, 0)}:
        raise UserError(f"{name} is a .npy file of version {version}; 1.0 and 2.0 are read")
    return read(file, max_header_size=_MAX_HEADER)


def read_shape(file: BytesIO, name: str) -> tuple[tuple[int, ...], bool, np.dtype]:
    """Shape, whether columns lie first, and type, from the header of a mask.

    Raises:
        UserError: If it holds anything else than an image of numbers.
    """
    shape, is_fortran, dtype = read_header(file, name)
    is_image = len(shape) == 2 or (len(shape) == 3 and shape[2] in {1, 3})
    if dtype.kind not in "buif" or dtype.itemsize > 8 or not is_image or min(shape) < 1:
        sides = " x ".join(map(str, shape)) or "no sides"
        raise UserError(
            f"{name} holds {dtype.name if dtype.kind in 'buifc' else 'objects'} of {sides}; the "
            "array of a mask is height x width, of whole numbers, one for each class"
        )
    return shape, is_fortran, dtype


def read_values(data: bytes, name: str) -> Shaped[ndarray, "height width *channels"]:
    """Return the numbers of a mask, in the type they have in the file.

    Raises:
        UserError: If the file is cut, or holds anything else than an image of numbers.
    """
    file = BytesIO(data)
    shape, is_fortran, dtype = read_shape(file, name)
    count = int(np.prod(shape, dtype=np.int64))
    content = memoryview(data)[file.tell() :]
    if len(content) != count * dtype.itemsize:
        raise UserError(
            f"{name} is cut or damaged: it has {len(content)} bytes of numbers, not "
            f"{count * dtype.itemsize}"
        )
    values = np.frombuffer(content, dtype).reshape(shape, order="F" if is_fortran else "C")
    return values[:, :, 0] if values.ndim == 3 and shape[2] == 1 else values
