"""TIFF files of any number of bands: their type, and their values band by band.

Pillow opens only the TIFFs whose bands make a picture. Its libtiff decompresses all. So the file is
described anew, with the same compressed strips or tiles, as a grey image whose pixels are the bytes
of the samples; libtiff decodes that, and types, predictors and bands are applied here.
"""

import struct
import warnings
from collections.abc import Sequence
from io import BufferedReader, BytesIO
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Shaped, UInt8
from numpy import ndarray
from PIL.TiffImagePlugin import TiffImageFile

from segmenter.data.decoding.pillow_warnings import load, quiet
from segmenter.data.decoding.tiff_layout import read_tags
from segmenter.errors import UserError
from segmenter.image_spec import MAX_BANDS, ImageType, sample_type

_WIDTH, _HEIGHT, _BITS, _COMPRESSION, _PHOTOMETRIC = 256, 257, 258, 259, 262
_FILL_ORDER, _STRIP_OFFSETS, _SAMPLES, _STRIP_ROWS, _STRIP_BYTES = 266, 273, 277, 278, 279
_PLANAR, _PREDICTOR, _TILE_WIDTH, _TILE_HEIGHT, _TILE_OFFSETS = 284, 317, 322, 323, 324
_TILE_BYTES, _SAMPLE_FORMAT, _JPEG_TABLES = 325, 339, 347
_PLAIN, _JPEG, _PACK_BITS = 1, 7, 32773
_COMPRESSIONS = {
    _PLAIN: "none",
    5: "LZW",
    _JPEG: "JPEG",
    8: "Deflate",
    _PACK_BITS: "PackBits",
    32946: "Deflate",
    34925: "LZMA",
    50000: "ZSTD",
}
_WHITE_IS_ZERO, _RGB, _PALETTE, _SEPARATED, _YCBCR = 0, 2, 3, 5, 6
_DTYPES = {
    (1, 8): "u1",
    (1, 16): "u2",
    (1, 32): "u4",
    (2, 8): "i1",
    (2, 16): "i2",
    (2, 32): "i4",
    (3, 16): "f2",
    (3, 32): "f4",
    (3, 64): "f8",
}
"""(Sample format, bits) -> NumPy's type."""
_MAX_CHUNK = 1 << 30
"""Bytes of a decompressed strip or tile."""
_CONVERT = "convert it with `gdal_translate -co COMPRESS=DEFLATE`"


class TiffLayout(NamedTuple):
    """An image in a TIFF file, from its tags."""

    height: int
    width: int
    bands: int
    dtype: np.dtype
    """Type of the samples, in the byte order of the file."""
    is_planar: bool
    """True: each band has strips or tiles of its own."""
    tags: Any
    """The tags by number."""

    @property
    def type(self) -> ImageType:
        """Return the bands, and the type in which their values are kept."""
        return ImageType(self.bands, sample_type(self.dtype))


def read_layout(file: BytesIO | BufferedReader, name: str, offset: int | None = None) -> TiffLayout:
    """Read the tags of a TIFF file.

    Args:
        file: Open file; its position becomes arbitrary.
        name: What errors call it.
        offset: Offset of the tags of a page; None: those of the first.

    Raises:
        UserError: If its samples have a type that is not read.
    """
    file.seek(0)
    is_little = file.read(2) == b"II"
    tags = read_tags(file, offset)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # values are read when they are asked for
        bands = int(tags.get(_SAMPLES, 1))
        bits = set(tags.get(_BITS, (1,)))
        kinds = set(tags.get(_SAMPLE_FORMAT, (1,)))
        height, width = int(tags[_HEIGHT]), int(tags[_WIDTH])
    code = _DTYPES.get((min(kinds), min(bits))) if len(kinds) == len(bits) == 1 else None
    if code is None:
        raise UserError(
            f"{name} has samples of {' and '.join(map(str, sorted(bits)))} bits in a form that is "
            "not read; uint8, uint16, int16 and float32 are"
        )
    if not 1 <= bands <= MAX_BANDS:
        raise UserError(f"{name} has {bands} bands; at most {MAX_BANDS} are read")
    if tags.get(_PHOTOMETRIC) == _PALETTE:
        raise UserError(f"{name} has a palette, whose indices are not measured values; save as RGB")
    dtype = np.dtype(code).newbyteorder("<" if is_little else ">")
    return TiffLayout(height, width, bands, dtype, tags.get(_PLANAR, 1) == 2 and bands > 1, tags)


def read_tiff(data: bytes, layout: TiffLayout, name: str) -> Shaped[ndarray, "height width bands"]:
    """Decode all bands of an image, in the type of the file and the byte order of the machine.

    Args:
        data: The bytes of the file.
        layout: As `read_layout` gives it; its claims have been checked against the limits.
        name: What errors call the file.

    Raises:
        UserError: If its compression is not read, or a strip or tile lies outside the file.
    """
    tags, bands = layout.tags, layout.bands
    compression = int(tags.get(_COMPRESSION, 1))
    if compression not in _COMPRESSIONS or tags.get(_FILL_ORDER, 1) != 1:
        known = ", ".join(dict.fromkeys(_COMPRESSIONS.values()))
        raise UserError(f"{name} has TIFF compression {compression}; read are {known}: {_CONVERT}")
    if compression == _JPEG and layout.dtype.itemsize > 1:
        raise UserError(f"{name} holds JPEG of more than 8 bits, which is not read; {_CONVERT}")
    if compression == _JPEG and not layout.is_planar and bands == 3:
        return _as_pillow_reads(data).reshape(layout.height, layout.width, bands)
    if compression == _JPEG and not layout.is_planar and bands not in (1, 4):
        raise UserError(f"{name} holds JPEG of {bands} bands side by side, not read; {_CONVERT}")
    chunks = _find_chunks(layout, len(data), name)
    if not layout.is_planar:
        values = _read_plane(data, layout, chunks, bands)
    else:
        values = np.empty((layout.height, layout.width, bands), layout.dtype.newbyteorder("="))
        size = len(chunks) // bands
        for band in range(bands):
            part = chunks[band * size : (band + 1) * size]
            values[:, :, band] = _read_plane(data, layout, part, 1)[:, :, 0]
    if tags.get(_PHOTOMETRIC) == _WHITE_IS_ZERO and values.dtype.kind == "u":
        values = np.iinfo(values.dtype).max - values
    return values


def decode_packed_bits(data: bytes, size: tuple[int, int]) -> UInt8[ndarray, "height width"]:
    """Decode the run lengths of PackBits, which DICOM has too, to the bytes of (height, width)."""
    tags = {_COMPRESSION: _PACK_BITS, _JPEG_TABLES: None, _PHOTOMETRIC: 1, _SAMPLES: 1}
    chunks = [_Chunk(0, len(data))]
    file = _as_bytes_image(data, chunks, size=size, chunk_size=size, tags=tags, is_tiled=False)
    return _as_pillow_reads(file).reshape(size)


class _Chunk(NamedTuple):
    """One compressed strip or tile."""

    start: int
    size: int


def _find_chunks(layout: TiffLayout, num_bytes: int, name: str) -> list[_Chunk]:
    """Return the strips or tiles of a file, after checking that they lie inside it."""
    tags = layout.tags
    is_tiled = _TILE_OFFSETS in tags
    offsets = tags[_TILE_OFFSETS if is_tiled else _STRIP_OFFSETS]
    sizes = tags.get(_TILE_BYTES if is_tiled else _STRIP_BYTES)
    if sizes is None and len(offsets) == 1:
        sizes = (num_bytes - offsets[0],)
    down, across = _chunk_shape(layout)
    expected = -(-layout.height // down) * -(-layout.width // across)
    expected *= layout.bands if layout.is_planar else 1
    if sizes is None or not len(offsets) == len(sizes) == expected:
        raise UserError(f"{name} is cut or damaged: it lacks strips or tiles")
    if _TILE_OFFSETS in tags and down * across * layout.bands * layout.dtype.itemsize > _MAX_CHUNK:
        raise UserError(f"{name} has tiles of {down} x {across} pixels, too large to read")
    chunks = [_Chunk(int(start), int(size)) for start, size in zip(offsets, sizes, strict=True)]
    if any(not 8 <= start <= start + size <= num_bytes or size == 0 for start, size in chunks):
        raise UserError(f"{name} is cut, or has tiles without data; {_CONVERT}")
    return chunks


def _chunk_shape(layout: TiffLayout) -> tuple[int, int]:
    """Return the height and width of a strip or tile, in pixels."""
    tags = layout.tags
    if _TILE_OFFSETS in tags:
        return max(int(tags[_TILE_HEIGHT]), 1), max(int(tags[_TILE_WIDTH]), 1)
    return min(max(int(tags.get(_STRIP_ROWS, layout.height)), 1), layout.height), layout.width


def _read_plane(
    data: bytes, layout: TiffLayout, chunks: Sequence[_Chunk], samples: int
) -> Shaped[ndarray, "height width samples"]:
    """Decode bands that lie side by side, and undo their predictor."""
    rows, across = _chunk_shape(layout)
    num_chunks_across = -(-layout.width // across)
    is_four_in_jpeg = layout.tags.get(_COMPRESSION) == _JPEG and samples == 4
    pixel = 1 if is_four_in_jpeg else samples * layout.dtype.itemsize
    file = _as_bytes_image(
        data,
        chunks,
        size=(layout.height, num_chunks_across * across * pixel),
        chunk_size=(rows, across * pixel),
        tags={
            _COMPRESSION: layout.tags.get(_COMPRESSION, 1),
            _JPEG_TABLES: layout.tags.get(_JPEG_TABLES),
            _PHOTOMETRIC: _SEPARATED if is_four_in_jpeg else 1,
            _SAMPLES: 4 if is_four_in_jpeg else 1,
        },
        is_tiled=_TILE_OFFSETS in layout.tags,
    )
    decoded = _as_pillow_reads(file).reshape(layout.height, num_chunks_across, -1)
    predictor = layout.tags.get(_PREDICTOR, 1)
    if predictor == 3:
        values = _undo_float_predictor(decoded, layout.dtype.itemsize, samples)
    else:
        values = decoded.view(layout.dtype).astype(layout.dtype.newbyteorder("="), copy=False)
    values = values.reshape(layout.height, num_chunks_across, across, samples)
    if predictor == 2:
        unsigned = values.view(f"u{values.dtype.itemsize}")
        values = np.add.accumulate(unsigned, axis=2, dtype=unsigned.dtype).view(values.dtype)
    whole = values.reshape(layout.height, num_chunks_across * across, samples)
    return np.ascontiguousarray(whole[:, : layout.width])


def _undo_float_predictor(
    decoded: UInt8[ndarray, "height chunks bytes"], itemsize: int, samples: int
) -> Shaped[ndarray, "height chunks numbers"]:
    """Undo predictor 3 (Adobe's technical note 3): differences of bytes, sorted by significance."""
    height, chunks, num_bytes = decoded.shape
    differences = decoded.reshape(height, chunks, num_bytes // samples, samples)
    planes = np.add.accumulate(differences, axis=2, dtype=np.uint8)
    planes = planes.reshape(height, chunks, itemsize, num_bytes // itemsize)
    big_endian = np.ascontiguousarray(planes.swapaxes(2, 3)).view(f">f{itemsize}")
    return big_endian[..., 0].astype(f"f{itemsize}")


def _as_bytes_image(
    data: bytes,
    chunks: Sequence[_Chunk],
    *,
    size: tuple[int, int],
    chunk_size: tuple[int, int],
    tags: dict[int, Any],
    is_tiled: bool,
) -> bytes:
    """Write a TIFF file of 8 bits a sample that holds the same compressed strips or tiles."""
    starts, position = [], 8
    for chunk in chunks:
        starts.append(position)
        position += chunk.size
    offsets, sizes, rows = (
        (_TILE_OFFSETS, _TILE_BYTES, _TILE_HEIGHT)
        if is_tiled
        else (_STRIP_OFFSETS, _STRIP_BYTES, _STRIP_ROWS)
    )
    entries = {
        _WIDTH: [size[1]],
        _HEIGHT: [size[0]],
        _BITS: [8] * tags[_SAMPLES],
        _COMPRESSION: [tags[_COMPRESSION]],
        _PHOTOMETRIC: [tags[_PHOTOMETRIC]],
        _SAMPLES: [tags[_SAMPLES]],
        offsets: starts,
        sizes: [chunk.size for chunk in chunks],
        rows: [chunk_size[0]],
    } | ({_TILE_WIDTH: [chunk_size[1]]} if is_tiled else {})
    directory, extra = [], b""
    after = position + 2 + 12 * (len(entries) + (tags[_JPEG_TABLES] is not None)) + 4
    for tag, numbers in entries.items():
        code, kind = ("H", 3) if tag in _SHORTS else ("I", 4)
        directory.append((tag, kind, len(numbers), struct.pack(f"<{len(numbers)}{code}", *numbers)))
    if tags[_JPEG_TABLES] is not None:
        directory.append((_JPEG_TABLES, 7, len(tags[_JPEG_TABLES]), tags[_JPEG_TABLES]))
    packed = struct.pack("<H", len(directory))
    for tag, kind, count, content in sorted(directory):
        if len(content) > 4:
            place = after + len(extra)
            extra += content + b"\0" * (len(content) % 2)
            content = struct.pack("<I", place)
        packed += struct.pack("<HHI", tag, kind, count) + content.ljust(4, b"\0")
    view = memoryview(data)
    parts = (view[start : start + length] for start, length in chunks)
    header = b"II*\0" + struct.pack("<I", position)
    return b"".join((header, *parts, packed, b"\0\0\0\0", extra))


_SHORTS = {_BITS, _COMPRESSION, _PHOTOMETRIC, _SAMPLES}
"""Tags of 16 bits."""


def _as_pillow_reads(data: bytes) -> UInt8[ndarray, "..."]:
    """Decode a TIFF file that Pillow knows."""
    with quiet():
        image = TiffImageFile(BytesIO(data))
    load(image)
    return np.array(image)
