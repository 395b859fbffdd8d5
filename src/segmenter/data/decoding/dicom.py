"""DICOM files of one frame: rescaled values, or grey and colour of 8 bits through their window.

pydicom reads the elements; the pixels are decoded here, by the decoders of other files, so that the
same limits hold. DICOM PS3.3 C.7.6.3 (pixels), C.11.1 (rescale), C.11.2 (window), PS3.5 A, G.
"""

import struct
import warnings
from io import BufferedReader, BytesIO
from typing import Any, Literal, NamedTuple

import numpy as np
import simplejpeg
from jaxtyping import Shaped, UInt8
from numpy import ndarray

from segmenter.data.decoding.jpeg2000 import Jpeg2000File
from segmenter.data.decoding.jpeg2000_samples import read_jpeg2000_samples
from segmenter.data.decoding.pillow_warnings import quiet
from segmenter.data.decoding.tiff_bands import decode_packed_bits
from segmenter.errors import UserError
from segmenter.files.optional import import_optional
from segmenter.image_spec import ImageType

_MAGIC, _MAGIC_AT = b"DICM", 128
_SYNTAX_TAG = 0x0002_0010
_ORDERS: dict[str, Literal["<", ">"]] = {
    "1.2.840.10008.1.2": "<",
    "1.2.840.10008.1.2.1": "<",
    "1.2.840.10008.1.2.2": ">",
}
"""Transfer syntaxes without compression, and their byte order."""
_RLE = "1.2.840.10008.1.2.5"
_JPEG = "1.2.840.10008.1.2.4.50"
_JPEG_2000 = ("1.2.840.10008.1.2.4.90", "1.2.840.10008.1.2.4.91")
_REMEDY = "convert it with `gdcmconv --raw`"
_GREY = ("MONOCHROME1", "MONOCHROME2")
_COLORS = ("RGB", "YBR_FULL", "YBR_FULL_422", "YBR_ICT", "YBR_RCT")
_ELEMENTS = [
    *("TransferSyntaxUID", "Rows", "Columns", "SamplesPerPixel", "NumberOfFrames", "PixelData"),
    *("BitsAllocated", "BitsStored", "PixelRepresentation", "PlanarConfiguration"),
    *("PhotometricInterpretation", "RescaleSlope", "RescaleIntercept"),
    *("WindowCenter", "WindowWidth", "VOILUTFunction", "SpecificCharacterSet"),
]


class DicomImage(NamedTuple):
    """Elements of a DICOM file that say how its pixels are read."""

    height: int
    width: int
    samples: int
    """1: grey. 3: colour."""
    bits: int
    """Allocated to each sample: 8 or 16."""
    bits_stored: int
    """Bits of a sample that are used."""
    is_signed: bool
    is_planar: bool
    photometric: str
    slope: float
    intercept: float
    window: tuple[float, float] | None
    """Centre and width, in rescaled values; None: the file states none."""
    num_frames: int
    syntax: str
    """UID of the transfer syntax."""
    elements: Any
    """Data set of pydicom, with the pixel data if they were requested."""

    @property
    def is_rescaled(self) -> bool:
        """Return True if stored values differ from those that they stand for."""
        return (self.slope, self.intercept) != (1.0, 0.0)

    @property
    def type(self) -> ImageType:
        """Return the bands, and the type in which rescaled values are kept."""
        if self.is_signed or self.is_rescaled:
            return ImageType(self.samples, "float32")
        return ImageType(self.samples, "uint8" if self.bits == 8 else "uint16")


def is_dicom(data: bytes) -> bool:
    """Return True for the first bytes of a DICOM file."""
    return data[_MAGIC_AT : _MAGIC_AT + 4] == _MAGIC


def read_dicom_header(
    file: BytesIO | BufferedReader, name: str, *, with_pixels: bool = False
) -> DicomImage:
    """Read the elements of a DICOM file.

    Args:
        file: Open file; its position becomes arbitrary.
        name: What errors call it.
        with_pixels: Keep the encoded pixels.

    Raises:
        UserError: If pydicom is not installed, or the file is not an image that is read.
    """
    pydicom = import_optional("a DICOM file", "pydicom", extra="medical")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        syntax = _transfer_syntax(file, name)
        file.seek(0)
        elements = pydicom.dcmread(
            file, stop_before_pixels=not with_pixels, specific_tags=_ELEMENTS
        )
        found = _described(elements, syntax, name)
    _check_read(found, name)
    return found


def _transfer_syntax(file: BytesIO | BufferedReader, name: str) -> str:
    """Return the UID of the transfer syntax, before pydicom acts on it.

    Raises:
        UserError: If it is not read, such as a deflated file, which pydicom would unpack whole.
    """
    from pydicom.filereader import data_element_generator

    file.seek(_MAGIC_AT + len(_MAGIC))
    elements = data_element_generator(
        file, is_implicit_VR=False, is_little_endian=True, stop_when=lambda tag, *_: tag >> 16 != 2
    )
    values: dict[int, Any] = {int(each.tag): each.value for each in elements}
    syntax = (values.get(_SYNTAX_TAG) or b"").decode("ascii").strip("\0 ")
    if syntax not in {*_ORDERS, _RLE, _JPEG, *_JPEG_2000}:
        raise UserError(
            f"{name} is a DICOM file with the transfer syntax {_syntax_name(syntax)}, which is not "
            f"read; {_REMEDY}"
        )
    return syntax


def _described(elements: Any, syntax: str, name: str) -> DicomImage:
    """Return what the elements say, of the types that are expected."""
    if elements.get("Rows") is None or elements.get("Columns") is None:
        raise UserError(
            f"{name} is a DICOM file that is cut or holds no image; give one with pixels"
        )
    samples = int(elements.get("SamplesPerPixel", 1))
    bits = int(elements.get("BitsAllocated", 16))
    return DicomImage(
        height=int(elements.Rows),
        width=int(elements.Columns),
        samples=samples,
        bits=bits,
        bits_stored=int(elements.get("BitsStored", bits)),
        is_signed=int(elements.get("PixelRepresentation", 0)) == 1,
        is_planar=int(elements.get("PlanarConfiguration", 0)) == 1 and samples > 1,
        photometric=str(elements.get("PhotometricInterpretation", "")),
        slope=float(elements.get("RescaleSlope") or 1),
        intercept=float(elements.get("RescaleIntercept") or 0),
        window=_window(elements),
        num_frames=int(elements.get("NumberOfFrames") or 1),
        syntax=syntax,
        elements=elements,
    )


def _window(elements: Any) -> tuple[float, float] | None:
    """Return the first window of a file."""
    both = elements.get("WindowCenter"), elements.get("WindowWidth")
    if any(each is None or each == "" for each in both):
        return None
    center, width = (
        float(each[0] if hasattr(each, "__getitem__") and not isinstance(each, str) else each)
        for each in both
    )
    return (center, width) if width >= 1 else None


def _check_read(image: DicomImage, name: str) -> None:
    """Refuse pixels of a kind that is not read.

    Raises:
        UserError: In one line.
    """
    what, wrong = image.photometric, ""
    if what not in (_GREY if image.samples == 1 else _COLORS):
        wrong = f"pixels of the kind {what or '(none)'} with {image.samples} samples"
    elif image.bits not in (8, 16) or (image.samples == 3 and image.bits != 8):
        wrong = f"{image.samples} samples of {image.bits} bits"
    elif not 1 <= image.bits_stored <= image.bits:
        wrong = f"{image.bits_stored} bits stored in {image.bits}"
    elif not np.isfinite([image.slope, image.intercept, *(image.window or ())]).all():
        wrong = "a rescale or window that is not finite"
    if wrong:
        raise UserError(f"{name} is a DICOM file with {wrong}, which is not read; {_REMEDY}")


def _syntax_name(uid: str) -> str:
    from pydicom.uid import UID

    known = UID(uid).name
    return f"{known} ({uid})" if known != uid else uid or "(none)"


def read_dicom_values(image: DicomImage, name: str) -> Shaped[ndarray, "height width samples"]:
    """Return the values of the first frame, rescaled: uint8, uint16 or float32.

    Raises:
        UserError: If the pixels are cut, damaged, or of another size than stated.
    """
    stored = _stored(image, name)
    if not (image.is_signed or image.is_rescaled):
        return stored
    values = stored.astype(np.float64) * image.slope + image.intercept
    return values.astype(np.float32)


def read_dicom_rgb(image: DicomImage, name: str) -> UInt8[ndarray, "height width 3"]:
    """Return the first frame as RGB: grey through the window of the file, or its whole range.

    Raises:
        UserError: As `read_dicom_values`.
    """
    if image.samples == 3:
        return _stored(image, name)
    values = _stored(image, name).astype(np.float64) * image.slope + image.intercept
    least = -(1 << (image.bits_stored - 1)) if image.is_signed else 0
    most = least + (1 << image.bits_stored) - 1
    low, high = sorted(each * image.slope + image.intercept for each in (least, most))
    if image.window is not None:
        center, width = image.window
        # PS3.3 C.11.2.1.2: the window of width 1 is a step; a linear one has width - 1 steps.
        low, high = center - 0.5 - (width - 1) / 2, center - 0.5 + (width - 1) / 2
    if high <= low:
        grey = np.where(values > low, 255.0, 0.0)
    else:
        grey = np.clip((values - low) / (high - low), 0, 1) * 255
    if image.photometric == "MONOCHROME1":
        grey = 255 - grey
    return np.repeat(np.rint(grey).astype(np.uint8), 3, axis=2)


def _stored(image: DicomImage, name: str) -> Shaped[ndarray, "height width samples"]:
    """Decode the first frame to the numbers that are stored, without the bits above them."""
    data = image.elements.get("PixelData")
    if data is None:
        raise UserError(f"{name} is a DICOM file without pixels; give one with an image")
    if image.syntax in _ORDERS:
        values = _plain(image, data, name)
    else:
        values = _encapsulated(image, _first_frame(image, data, name), name)
    if values.shape != (image.height, image.width, image.samples):
        raise UserError(
            f"{name} is cut or damaged: its pixels are {' x '.join(map(str, values.shape))}, but "
            f"it states {image.height} x {image.width} x {image.samples}"
        )
    if image.is_signed:
        shift = 8 * values.dtype.itemsize - image.bits_stored
        signed = values.view(f"i{values.dtype.itemsize}")
        return (signed << shift) >> shift
    return values & np.array((1 << image.bits_stored) - 1, values.dtype)


def _plain(image: DicomImage, data: bytes, name: str) -> Shaped[ndarray, "height width samples"]:
    count = image.height * image.width * image.samples
    dtype = np.dtype(f"u{image.bits // 8}").newbyteorder(_ORDERS[image.syntax])
    if image.photometric == "YBR_FULL_422":
        raise UserError(f"{name} is a DICOM file with halved colours, not read; {_REMEDY}")
    if len(data) < count * dtype.itemsize:
        raise UserError(
            f"{name} is cut or damaged: it has {len(data)} bytes of pixels, not "
            f"{count * dtype.itemsize}"
        )
    flat = np.frombuffer(data, dtype, count).astype(dtype.newbyteorder("="))
    return _as_rgb(image, _interleaved(image, flat))


def _interleaved(image: DicomImage, flat: ndarray) -> Shaped[ndarray, "height width samples"]:
    if image.is_planar:
        planes = flat.reshape(image.samples, image.height, image.width)
        return np.ascontiguousarray(np.moveaxis(planes, 0, 2))
    return flat.reshape(image.height, image.width, image.samples)


def _as_rgb(
    image: DicomImage, values: Shaped[ndarray, "height width samples"]
) -> Shaped[ndarray, "height width samples"]:
    """Convert the colours of YBR_FULL, which are those of JPEG."""
    if image.photometric != "YBR_FULL":
        return values
    from PIL import Image

    return np.array(Image.fromarray(values, "YCbCr").convert("RGB"))


def _first_frame(image: DicomImage, data: bytes, name: str) -> bytes:
    """Return the encoded bytes of the first frame."""
    from pydicom.encaps import generate_frames

    frame = next(generate_frames(data, number_of_frames=image.num_frames), b"")
    if not frame:
        raise UserError(f"{name} is cut or damaged: its first frame has no bytes")
    is_padded = image.syntax in _JPEG_2000 and frame.endswith(b"\xff\xd9\0")
    return frame[:-1] if is_padded else frame


def _encapsulated(
    image: DicomImage, frame: bytes, name: str
) -> Shaped[ndarray, "height width samples"]:
    if image.syntax == _RLE:
        return _as_rgb(image, _run_lengths(image, frame, name))
    if image.syntax == _JPEG:
        height, width, *_ = simplejpeg.decode_jpeg_header(frame)
        _check_frame((int(height), int(width)), image, name)
        return simplejpeg.decode_jpeg(frame, "GRAY" if image.samples == 1 else "RGB")
    with quiet():
        opened = Jpeg2000File(BytesIO(frame))
    layout = opened.layout
    _check_frame((layout.height, layout.width), image, name)
    values = read_jpeg2000_samples(opened, frame, name)
    return values.astype(f"u{image.bits // 8}")


def _check_frame(size: tuple[int, int], image: DicomImage, name: str) -> None:
    if size != (image.height, image.width):
        raise UserError(
            f"{name} is damaged: its pixels are {size[0]} x {size[1]}, but it states "
            f"{image.height} x {image.width}"
        )


def _run_lengths(
    image: DicomImage, frame: bytes, name: str
) -> Shaped[ndarray, "height width samples"]:
    """Decode PS3.5 annex G: each byte of each sample is a segment of packed bits."""
    itemsize = image.bits // 8
    expected = image.samples * itemsize
    if len(frame) < 64 or struct.unpack_from("<I", frame)[0] != expected:
        raise UserError(f"{name} is cut or damaged: its run lengths do not have {expected} parts")
    starts = struct.unpack_from(f"<{expected}I", frame, 4)
    ends = (*starts[1:], len(frame))
    if any(not 64 <= start < end <= len(frame) for start, end in zip(starts, ends, strict=True)):
        raise UserError(f"{name} is cut or damaged: parts of its run lengths lie outside")
    size = image.height, image.width
    planes = [
        decode_packed_bits(frame[start:end], size) for start, end in zip(starts, ends, strict=True)
    ]
    samples = [
        sum(
            planes[sample * itemsize + byte].astype(f"u{itemsize}") << (8 * (itemsize - 1 - byte))
            for byte in range(itemsize)
        )
        for sample in range(image.samples)
    ]
    return np.stack(samples, axis=2).astype(f"u{itemsize}")
