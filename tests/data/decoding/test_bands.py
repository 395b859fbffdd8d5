"""Arrays and pictures as images of any bands and type."""

import io
import zipfile
import zlib
from pathlib import Path

import cv2
import numpy as np
import pytest
from PIL import Image

from segmenter.data.decoding.decode import decode_image, read_header
from segmenter.data.decoding.set_bands import value_quantiles
from segmenter.errors import UserError
from segmenter.image_spec import ImageType, choose_bands
from tests.helpers.band_images import make_values, npy_bytes, spec_of
from tests.helpers.image_bytes import png_chunk, png_header


def npz_bytes(**arrays: np.ndarray) -> bytes:
    file = io.BytesIO()
    np.savez_compressed(file, **arrays)
    return file.getvalue()


@pytest.mark.parametrize("dtype", ["uint8", "uint16", "int16", "float32", "float64"])
def test_an_array_is_read_in_its_type(dtype: str) -> None:
    values = make_values(bands=5, dtype=dtype)
    found = decode_image(npy_bytes(values), image=spec_of(values))
    np.testing.assert_array_equal(found, values.astype(spec_of(values).dtype))


def test_an_array_of_two_axes_has_one_band() -> None:
    values = make_values(bands=1, dtype="float32")
    found = decode_image(npy_bytes(values[:, :, 0]), image=spec_of(values))
    np.testing.assert_array_equal(found, values)


def test_an_archive_of_one_array_or_with_one_named_image_is_read() -> None:
    values = make_values()
    alone, named = npz_bytes(anything=values), npz_bytes(image=values, other=values[:2])
    for data in (alone, named):
        np.testing.assert_array_equal(decode_image(data, image=spec_of(values)), values)


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (npz_bytes(a=np.zeros(3), b=np.zeros(3)), "archive of 2 files"),
        (npy_bytes(np.zeros((4, 40, 40), np.uint16)), r"numpy.moveaxis\(array, 0, 2\)"),
        (npy_bytes(np.zeros((4, 4, 4, 4))), "float64 of 4 x 4 x 4 x 4"),
        (npy_bytes(np.zeros((4, 4), complex)), "complex128"),
        (npy_bytes(make_values())[:-9], "cut or damaged"),
    ],
    ids=["two arrays", "bands first", "four axes", "complex", "cut"],
)
def test_what_is_no_image_is_refused_in_one_line(data: bytes, message: str) -> None:
    with pytest.raises(UserError, match=message) as refused:
        decode_image(data, image=spec_of(make_values()))
    assert "\n" not in str(refused.value)


def test_objects_are_never_unpickled() -> None:
    file = io.BytesIO()
    np.save(file, np.array([[{}]], dtype=object), allow_pickle=True)
    with pytest.raises(UserError, match="objects"):
        decode_image(file.getvalue(), image=spec_of(make_values()))


def test_a_bomb_in_an_archive_is_refused_by_its_header() -> None:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive:
        header = io.BytesIO()
        shape = (60_000, 60_000, 4)
        np.lib.format.write_array_header_1_0(
            header, {"descr": "<u2", "fortran_order": False, "shape": shape}
        )
        archive.writestr("image.npy", header.getvalue() + bytes(1 << 20))
    with pytest.raises(UserError, match="60000 x 60000 pixels"):
        decode_image(file.getvalue(), image=spec_of(make_values()))


def test_a_value_that_is_no_number_is_said_with_its_place() -> None:
    values = make_values(dtype="float32")
    values[3, 5, 2], values[4, 5, 1] = np.nan, np.inf
    with pytest.raises(UserError, match=r"2 values .* row 3, column 5 \(from 0\) of band 3"):
        decode_image(npy_bytes(values), image=spec_of(values))


def test_one_dead_column_does_not_change_the_range_of_an_image() -> None:
    pixels = np.full((1024, 1024, 1), 500, np.uint16)
    pixels[:, 64] = 0
    assert value_quantiles(pixels).min() == 500


def test_grey_and_alpha_of_sixteen_bits_are_two_bands() -> None:
    values = make_values(4, 5, bands=2, dtype="uint16")
    rows = b"".join(b"\0" + row.astype(">u2").tobytes() for row in values)
    chunks = png_chunk(b"IDAT", zlib.compress(rows)) + png_chunk(b"IEND", b"")
    data = png_header(5, 4, 16, 4) + chunks
    np.testing.assert_array_equal(decode_image(data, image=spec_of(values)), values)


def test_a_png_of_sixteen_bits_keeps_them() -> None:
    values = make_values(bands=3)
    data = cv2.imencode(".png", values[:, :, ::-1])[1].tobytes()
    np.testing.assert_array_equal(decode_image(data, image=spec_of(values)), values)


def test_a_picture_of_eight_bits_is_read_as_without_a_spec(tmp_path: Path) -> None:
    values = make_values(bands=3, dtype="uint8")
    path = tmp_path / "photo.png"
    Image.fromarray(values).save(path)
    found = decode_image(path, image=choose_bands("all", ImageType(3, "uint8")))
    np.testing.assert_array_equal(found, decode_image(path))


@pytest.mark.parametrize(
    ("name", "expected", "is_rgb"),
    [
        ("deep.png", ImageType(3, "uint16"), True),
        ("grey.png", ImageType(1, "uint8"), True),
        ("bands.npy", ImageType(4, "uint16"), False),
        ("bands.npz", ImageType(4, "uint16"), False),
    ],
)
def test_a_header_says_bands_and_type(
    tmp_path: Path, name: str, expected: ImageType, is_rgb: bool
) -> None:
    values = make_values()
    contents = {
        "deep.png": cv2.imencode(".png", values[:, :, :3])[1].tobytes(),
        "grey.png": cv2.imencode(".png", values[:, :, 0].astype(np.uint8))[1].tobytes(),
        "bands.npy": npy_bytes(values),
        "bands.npz": npz_bytes(image=values),
    }
    (tmp_path / name).write_bytes(contents[name])
    header = read_header(tmp_path / name)
    assert (header.image_type, header.is_rgb) == (expected, is_rgb)
    assert header.size == (37, 53)
