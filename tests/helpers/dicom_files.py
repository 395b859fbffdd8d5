"""DICOM files, written by pydicom."""

import io
from typing import Any

import numpy as np


def dicom_bytes(values: np.ndarray, *, syntax: str = "explicit", **elements: Any) -> bytes:
    """A DICOM file of one frame, or of several: (frames, height, width).

    Args:
        values: Grey, or with a last axis of 3 colours.
        syntax: `explicit`, `implicit`, `big`, `rle`, `jpeg` or `jpeg-2000`.
        elements: Such as `RescaleSlope=2`; None removes one.
    """
    import pydicom
    from pydicom.dataset import FileMetaDataset

    is_color = values.shape[-1] == 3
    is_signed = values.dtype.kind == "i"
    bits = 8 * values.dtype.itemsize
    data = pydicom.Dataset()
    data.SOPClassUID = "1.2.840.10008.5.1.4.1.1.7"
    data.SOPInstanceUID = "1.2.3"
    data.Rows, data.Columns = values.shape[-3:-1] if is_color else values.shape[-2:]
    data.SamplesPerPixel = 3 if is_color else 1
    data.PhotometricInterpretation = "RGB" if is_color else "MONOCHROME2"
    if is_color:
        data.PlanarConfiguration = 0
    data.BitsAllocated, data.BitsStored, data.HighBit = bits, bits, bits - 1
    data.PixelRepresentation = int(is_signed)
    if values.ndim == (4 if is_color else 3):
        data.NumberOfFrames = len(values)
    data.file_meta = FileMetaDataset()
    data.file_meta.TransferSyntaxUID = {
        "implicit": pydicom.uid.ImplicitVRLittleEndian,
        "big": pydicom.uid.ExplicitVRBigEndian,
    }.get(syntax, pydicom.uid.ExplicitVRLittleEndian)
    order = ">" if syntax == "big" else "<"
    data.PixelData = values.astype(values.dtype.newbyteorder(order)).tobytes()
    data["PixelData"].VR = "OB" if bits == 8 and syntax != "implicit" else "OW"
    if syntax == "rle":
        data.compress(pydicom.uid.RLELossless, generate_instance_uid=False)
    elif syntax in ("jpeg", "jpeg-2000"):
        _encapsulate(data, values, syntax)
    for name, value in elements.items():
        setattr(data, name, value) if value is not None else delattr(data, name)
    file = io.BytesIO()
    data.save_as(file, enforce_file_format=True)
    return file.getvalue()


def _encapsulate(data: Any, values: np.ndarray, syntax: str) -> None:
    import pydicom
    import simplejpeg
    from PIL import Image
    from pydicom.encaps import encapsulate

    if syntax == "jpeg":
        color = "RGB" if values.ndim == 3 else "GRAY"
        pixels = values if values.ndim == 3 else values[:, :, None]
        frame = simplejpeg.encode_jpeg(np.ascontiguousarray(pixels), colorspace=color)
        data.file_meta.TransferSyntaxUID = pydicom.uid.JPEGBaseline8Bit
    else:
        file = io.BytesIO()
        Image.fromarray(values).save(file, "JPEG2000", no_jp2=True)
        frame = file.getvalue()
        data.file_meta.TransferSyntaxUID = pydicom.uid.JPEG2000Lossless
    data.PixelData = encapsulate([frame])
    data["PixelData"].VR = "OB"
