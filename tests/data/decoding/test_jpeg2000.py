"""JPEG 2000 files are read as GDAL reads them, or refused in one line."""

import struct
from pathlib import Path

import numpy as np
import pytest

from segmenter.data.decoding.decode import decode_image, decode_mask, read_header
from segmenter.errors import UserError
from segmenter.image_spec import ImageType, choose_bands
from tests.helpers.band_images import gdal_reads, jp2_bytes, make_values

pytest.importorskip("rasterio", reason="needs rasterio, of the extra geo")

KINDS = [
    *(("uint8", 8, bands) for bands in (1, 2, 3, 4)),
    *(("uint16", bits, bands) for bits in (12, 15, 16) for bands in (1, 3, 4)),
    ("int16", 16, 1),
]


def values_of(dtype: str, bits: int, bands: int) -> np.ndarray:
    values = make_values(bands=bands, dtype=dtype)
    return np.minimum(values, 4095) if bits == 12 else values


@pytest.mark.parametrize("suffix", [".jp2", ".j2k"])
@pytest.mark.parametrize(("dtype", "bits", "bands"), KINDS)
def test_all_bands_are_read_as_gdal_reads_them(
    dtype: str, bits: int, bands: int, suffix: str, tmp_path: Path, capfd
) -> None:
    values = values_of(dtype, bits, bands)
    path = tmp_path / f"image{suffix}"
    path.write_bytes(jp2_bytes(values, bits, suffix))
    header = read_header(path)
    kept = "float32" if dtype == "int16" else dtype
    assert (header.image_type, header.is_rgb) == (ImageType(bands, kept), dtype != "int16")
    assert header.drops_band == (bands == 4)
    found = decode_image(path, image=choose_bands("all", header.image_type))
    assert found.dtype == kept
    np.testing.assert_array_equal(found, values)
    np.testing.assert_array_equal(found, gdal_reads(path.read_bytes()))
    assert capfd.readouterr() == ("", "")


def test_twelve_bits_as_rgb_have_their_white_at_4095() -> None:
    values = values_of("uint16", 12, 3)
    np.testing.assert_array_equal(decode_image(jp2_bytes(values, 12)), values >> 4)


@pytest.mark.parametrize(
    ("dtype", "bands", "message"),
    [("uint8", 5, "with 5 bands; 1 to 4 are read"), ("int16", 3, "3 bands of signed 16 bits")],
)
def test_other_layouts_are_refused_with_a_remedy(dtype: str, bands: int, message: str) -> None:
    data = jp2_bytes(make_values(bands=bands, dtype=dtype), 8 if dtype == "uint8" else 16)
    with pytest.raises(UserError, match=f"{message}.*gdal_translate") as refused:
        decode_image(data)
    assert "\n" not in str(refused.value)


def test_signed_values_are_no_rgb() -> None:
    data = jp2_bytes(make_values(bands=1, dtype="int16"), 16)
    with pytest.raises(UserError, match="signed values of 16 bits"):
        decode_image(data)


def test_a_claim_of_many_bands_allocates_nothing() -> None:
    data = bytearray(jp2_bytes(make_values(bands=1, dtype="uint8"), 8, ".j2k"))
    struct.pack_into(">H", data, 40, 65535)
    with pytest.raises(UserError, match="65535 bands"):
        decode_image(bytes(data))


def test_a_header_of_another_size_than_the_codestream_is_refused() -> None:
    data = bytearray(jp2_bytes(make_values(bands=1, dtype="uint8"), 8))
    struct.pack_into(">I", data, data.index(b"ihdr") + 4, 36)
    with pytest.raises(UserError, match="different sizes"):
        decode_image(bytes(data))


def test_a_mask_is_asked_for_as_png(tmp_path: Path) -> None:
    path = tmp_path / "mask.jp2"
    path.write_bytes(jp2_bytes(make_values(bands=1, dtype="uint8"), 8))
    with pytest.raises(UserError, match="JPEG 2000, which is not read as a mask; save it as PNG"):
        decode_mask(path)
