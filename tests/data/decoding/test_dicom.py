"""DICOM files are read as pydicom reads them, through the limits of all images, or refused."""

import io
from itertools import product
from pathlib import Path

import numpy as np
import pytest

from segmenter.data.decoding.decode import Limits, count_pixels, decode_image, read_header
from segmenter.errors import UserError
from segmenter.image_spec import ImageType, choose_bands
from tests.helpers.band_images import make_values
from tests.helpers.dicom_files import dicom_bytes

pydicom = pytest.importorskip("pydicom", reason="needs pydicom, of the extra medical")

CT = {"RescaleSlope": 2, "RescaleIntercept": -1024}
DEFLATED = "1.2.840.10008.1.2.1.99"


def grey(dtype: str = "uint16") -> np.ndarray:
    return make_values(bands=1, dtype=dtype)[:, :, 0]


def colors() -> np.ndarray:
    return make_values(bands=3, dtype="uint8")


def read_all(data: bytes, bands: int = 1, dtype: str = "uint16") -> np.ndarray:
    return decode_image(data, image=choose_bands("all", ImageType(bands, dtype)))


def pydicom_reads(data: bytes) -> np.ndarray:
    found = pydicom.dcmread(io.BytesIO(data))
    return pydicom.pixels.apply_modality_lut(found.pixel_array, found)


@pytest.mark.parametrize(
    ("syntax", "dtype"),
    [
        *product(("explicit", "implicit", "big", "rle"), ("uint8", "uint16", "int16")),
        *product(("jpeg-2000",), ("uint8", "uint16")),
    ],
)
def test_grey_values_are_those_of_pydicom(syntax: str, dtype: str) -> None:
    data = dicom_bytes(grey(dtype), syntax=syntax)
    found = read_all(data, dtype="float32" if dtype == "int16" else dtype)
    np.testing.assert_array_equal(found[:, :, 0], grey(dtype))
    if syntax in ("explicit", "implicit", "rle"):
        np.testing.assert_array_equal(found[:, :, 0], pydicom_reads(data))


@pytest.mark.parametrize("syntax", ["explicit", "rle", "jpeg", "jpeg-2000"])
def test_colours_are_rgb(syntax: str, tmp_path: Path) -> None:
    path = tmp_path / "photo.dcm"
    path.write_bytes(dicom_bytes(colors(), syntax=syntax))
    assert read_header(path).is_rgb
    difference = decode_image(path).astype(int) - colors()
    assert abs(difference).mean() <= (12 if syntax == "jpeg" else 0)
    np.testing.assert_array_equal(decode_image(path), read_all(path.read_bytes(), 3, "uint8"))


def test_planes_of_colours_are_interleaved() -> None:
    planes = np.ascontiguousarray(np.moveaxis(colors(), 2, 0))
    data = dicom_bytes(colors(), PlanarConfiguration=1, PixelData=planes.tobytes())
    np.testing.assert_array_equal(decode_image(data), colors())


def test_values_are_rescaled(tmp_path: Path) -> None:
    data = dicom_bytes(grey(), **CT)
    (tmp_path / "ct.dcm").write_bytes(data)
    header = read_header(tmp_path / "ct.dcm")
    assert (header.format, header.image_type, header.is_rgb) == (
        "DICOM",
        ImageType(1, "float32"),
        False,
    )
    found = read_all(data, dtype="float32")
    np.testing.assert_array_equal(found[:, :, 0], 2.0 * grey() - 1024)
    np.testing.assert_array_equal(found[:, :, 0], pydicom_reads(data))


@pytest.mark.parametrize("kind", ["MONOCHROME1", "MONOCHROME2"])
def test_rgb_shows_the_window_of_the_file(kind: str) -> None:
    data = dicom_bytes(
        grey(), **CT, WindowCenter=2000, WindowWidth=3000, PhotometricInterpretation=kind
    )
    dataset = pydicom.dcmread(io.BytesIO(data))
    shown = pydicom.pixels.apply_voi_lut(pydicom_reads(data), dataset)
    expected = (shown - shown.min()) / (shown.max() - shown.min()) * 255
    expected = 255 - expected if kind == "MONOCHROME1" else expected
    found = decode_image(data)
    assert found.shape == (37, 53, 3)
    assert abs(found[:, :, 0] - expected).max() <= 0.51


def test_rgb_without_a_window_shows_the_bits_that_are_stored() -> None:
    values = np.minimum(grey(), 4095)
    found = decode_image(dicom_bytes(values, BitsStored=12, HighBit=11))
    np.testing.assert_array_equal(found[:, :, 1], np.rint(values / 4095 * 255))


def test_bits_above_those_that_are_stored_do_not_count() -> None:
    values = np.minimum(grey(), 4095)
    data = dicom_bytes(values | 0xF000, BitsStored=12, HighBit=11)
    np.testing.assert_array_equal(read_all(data)[:, :, 0], values)
    signed = dicom_bytes(np.full((4, 4), 0x0FFF, np.int16), BitsStored=12, HighBit=11)
    assert set(read_all(signed, dtype="float32").ravel()) == {-1.0}


def test_the_first_of_several_frames_is_read(tmp_path: Path) -> None:
    path = tmp_path / "frames.dcm"
    path.write_bytes(dicom_bytes(np.stack([grey(), grey() + 1])))
    assert read_header(path).num_pages == 2
    np.testing.assert_array_equal(read_all(path.read_bytes())[:, :, 0], grey())


def test_pixels_are_counted_by_the_header() -> None:
    assert count_pixels(dicom_bytes(grey())) == 37 * 53


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (dicom_bytes(grey())[:-9], "cut or damaged"),
        (dicom_bytes(grey())[:300], "cut or holds no image"),
        (dicom_bytes(grey(), syntax="rle")[:-40], "cut|damaged"),
        (dicom_bytes(grey(), Rows=60_000, Columns=60_000), "60000 x 60000 pixels"),
        (dicom_bytes(grey(), Rows=3000, Columns=3000), "3922 bytes of pixels, not 18000000"),
        (dicom_bytes(grey(), syntax="rle", Rows=3000), "cut|damaged"),
        (dicom_bytes(grey(), syntax="jpeg-2000", Rows=36), "37 x 53, but it states 36 x 53"),
        (dicom_bytes(colors(), syntax="jpeg", Rows=36), "37 x 53, but it states 36 x 53"),
        (dicom_bytes(grey(), PixelData=None), "without pixels"),
        (dicom_bytes(grey(), Rows=None), "holds no image"),
        (dicom_bytes(grey(), PhotometricInterpretation="PALETTE COLOR"), "PALETTE COLOR"),
        (dicom_bytes(grey(), BitsAllocated=32), "samples of 32 bits"),
        (dicom_bytes(grey(), BitsStored=17), "17 bits stored in 16"),
        (dicom_bytes(grey(), WindowCenter="1e999", WindowWidth=2), "not finite|damaged"),
    ],
)
def test_what_is_damaged_or_not_read_is_refused_in_one_line(data: bytes, message: str) -> None:
    with pytest.raises(UserError, match=message) as refused:
        decode_image(data)
    assert "\n" not in str(refused.value)


@pytest.mark.parametrize(
    ("uid", "name"),
    [(DEFLATED, "Deflated"), ("1.2.840.10008.1.2.4.70", "JPEG Lossless"), ("1.2.3.4", "1.2.3.4")],
)
def test_other_transfer_syntaxes_are_named_before_they_are_unpacked(uid: str, name: str) -> None:
    data = dicom_bytes(grey())
    place = data.index(b"1.2.840.10008.1.2.1\0")
    length = len(uid) + len(uid) % 2
    head = data[: place - 2] + length.to_bytes(2, "little") + uid.encode().ljust(length, b"\0")
    with pytest.raises(UserError, match=f"transfer syntax.*{name}.*not read; convert it"):
        decode_image(head + data[place + 20 :])


def test_the_limits_of_a_service_hold() -> None:
    with pytest.raises(UserError, match="at most 100 are read"):
        decode_image(dicom_bytes(grey()), limits=Limits(max_pixels=100))
