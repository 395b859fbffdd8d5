"""TIFF files of any number of bands, written by GDAL, come back equal."""

import contextlib
import struct
from pathlib import Path

import numpy as np
import pytest

from segmenter.data.decoding.decode import Limits, decode_image, decode_mask, read_header
from segmenter.errors import UserError
from segmenter.image_spec import ImageType, choose_bands
from tests.helpers.band_images import gdal_reads, make_values, spec_of, tiff_bytes

pytest.importorskip("rasterio", reason="needs rasterio, of the extra geo")

TAGS = ((262, 3, 1, 1), (274, 3, 1, 6))
"""Photometric interpretation, and an orientation to write in its place."""
TILES = {"tiled": True, "blockxsize": 16, "blockysize": 32}


@pytest.mark.parametrize("dtype", ["uint8", "uint16", "int16", "float32"])
@pytest.mark.parametrize("bands", [1, 4, 25])
def test_any_type_and_number_of_bands(bands: int, dtype: str) -> None:
    values = make_values(bands=bands, dtype=dtype)
    found = decode_image(tiff_bytes(values), image=spec_of(values))
    np.testing.assert_array_equal(found, values)


@pytest.mark.parametrize(
    "profile",
    [
        {},
        {"compress": "lzw"},
        {"compress": "deflate", "predictor": 2},
        {"compress": "zstd"},
        {"compress": "packbits"},
        {"compress": "lzw", "predictor": 2, **TILES},
        {"compress": "deflate", "interleave": "band"},
        {"compress": "zstd", "predictor": 2, "interleave": "band", **TILES},
        {"bigtiff": "yes", **TILES},
        {"endianness": "big", "compress": "lzw", "predictor": 2},
        {"endianness": "big", "bigtiff": "yes"},
    ],
    ids=lambda profile: " ".join(f"{key}={value}" for key, value in profile.items()) or "plain",
)
def test_any_layout(profile: dict[str, object]) -> None:
    values = make_values(70, 53)
    found = decode_image(tiff_bytes(values, **profile), image=spec_of(values))
    np.testing.assert_array_equal(found, values)


@pytest.mark.parametrize("layout", [{}, TILES, {"interleave": "band"}], ids=str)
def test_the_predictor_of_floats(layout: dict[str, object]) -> None:
    values = make_values(70, 53, dtype="float32")
    data = tiff_bytes(values, compress="deflate", predictor=3, **layout)
    np.testing.assert_array_equal(decode_image(data, image=spec_of(values)), values)


@pytest.mark.parametrize(
    ("bands", "profile"), [(1, {}), (3, {}), (4, {}), (6, {"interleave": "band"})], ids=str
)
def test_jpeg_inside_as_gdal_reads_it(bands: int, profile: dict[str, object]) -> None:
    values = make_values(70, 53, bands=bands, dtype="uint8")
    data = tiff_bytes(values, compress="jpeg", **profile)
    expected = gdal_reads(data)
    found = decode_image(data, image=spec_of(values))
    assert np.abs(found.astype(int) - expected).max() <= 2


def test_the_header_of_a_turned_file_has_the_size_that_is_read(tmp_path: Path) -> None:
    values = make_values(70, 53)
    data = tiff_bytes(values)
    kind_of_grey, orientation = (struct.pack("<HHIH", *tag) for tag in TAGS)
    assert data.count(kind_of_grey) == 1
    path = tmp_path / "turned.tif"
    path.write_bytes(data.replace(kind_of_grey, orientation))
    found = decode_image(path, image=spec_of(values))
    np.testing.assert_array_equal(found, np.rot90(values, -1))
    assert read_header(path).size == found.shape[:2] == (53, 70)


def test_bands_are_chosen_by_number_and_order() -> None:
    values = make_values()
    found = decode_image(tiff_bytes(values), image=spec_of(values, (4, 3, 2)))
    np.testing.assert_array_equal(found, values[:, :, [3, 2, 1]])


def test_other_bands_are_refused_with_both_numbers() -> None:
    wanted = choose_bands(None, ImageType(5, "uint16"))
    with pytest.raises(UserError, match=r"has 4 bands of uint16, but images with 5 bands"):
        decode_image(tiff_bytes(make_values()), image=wanted)


@pytest.mark.parametrize("kept", [0.3, 0.6, 0.95])
def test_a_cut_file_is_refused(kept: float) -> None:
    data = tiff_bytes(make_values(), compress="deflate", interleave="band")
    with pytest.raises(UserError, match=r"cut|damaged"):
        decode_image(data[: int(kept * len(data))], image=spec_of(make_values()))


def test_a_claim_of_too_many_values_is_refused_before_they_are_decoded() -> None:
    values = make_values(64, 64, bands=25, dtype="float32")
    data = tiff_bytes(values, compress="deflate")
    with pytest.raises(UserError, match="64 x 64 pixels with 25 bands of float32, 409600 bytes"):
        decode_image(data, limits=Limits(max_pixels=64 * 64), image=spec_of(values))


def test_no_damaged_byte_raises_anything_but_a_user_error() -> None:
    values = make_values(20, 20)
    whole = tiff_bytes(values, compress="lzw", predictor=2)
    rng = np.random.default_rng(0)
    for _ in range(300):
        data = bytearray(whole)
        for place in rng.integers(0, len(data), 2):
            data[place] = int(rng.integers(256))
        with contextlib.suppress(UserError):
            decode_image(bytes(data), image=spec_of(values))


def test_the_header_of_many_bands_is_read_without_a_word(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    path = tmp_path / "many.tif"
    path.write_bytes(tiff_bytes(make_values(bands=25)))
    header = read_header(path)
    assert (header.size, header.image_type) == ((37, 53), ImageType(25, "uint16"))
    assert caplog.records == []


def test_a_mask_that_is_not_read_is_never_advised_to_be_scaled(tmp_path: Path) -> None:
    path = tmp_path / "mask.tif"
    path.write_bytes(tiff_bytes(make_values(bands=1).astype(np.float64)))
    with pytest.raises(UserError, match=r"1 band of float64.*not a mask") as refusal:
        decode_mask(path)
    assert "scale" not in str(refusal.value)
