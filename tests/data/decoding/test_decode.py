"""Images and masks of every format are decoded as their reference decoders do, or refused."""

import contextlib
import io
import struct
import warnings
import zlib
from pathlib import Path

import numpy as np
import pytest
import simplejpeg
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image, ImageOps

from segmenter.data.decoding.decode import Limits, decode_image, decode_mask, read_header
from segmenter.data.decoding.image_formats import IMAGE_SUFFIXES
from segmenter.errors import UserError
from tests.helpers.image_bytes import encode, png_chunk, png_header

RAMP = np.mgrid[0:40, 0:60].sum(0).astype(np.uint8)
IMAGE = np.stack([RAMP, RAMP * 2, 255 - RAMP], axis=2)


def save(tmp_path: Path, image: Image.Image, name: str, **options) -> Path:
    path = tmp_path / name
    image.save(path, **options)
    return path


@pytest.mark.parametrize("kind", ["PNG", "BMP", "TIFF", "WEBP"])
def test_lossless_formats_give_back_every_pixel(kind) -> None:
    options = {"lossless": True} if kind == "WEBP" else {}
    assert np.array_equal(decode_image(encode(Image.fromarray(IMAGE), kind, **options)), IMAGE)


def test_jpeg_is_as_pillow_decodes_it() -> None:
    data = encode(Image.fromarray(IMAGE), "JPEG", quality=90)
    expected = np.array(Image.open(io.BytesIO(data))).astype(int)
    assert np.abs(decode_image(data).astype(int) - expected).max() <= 2


@pytest.mark.parametrize("mode", ["L", "CMYK"])
def test_grey_and_cmyk_jpeg_become_rgb(mode) -> None:
    data = encode(Image.fromarray(IMAGE).convert(mode), "JPEG", quality=95)
    expected = np.array(Image.open(io.BytesIO(data)).convert("RGB")).astype(int)
    assert np.abs(decode_image(data).astype(int) - expected).max() <= 2


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("kind", ["JPEG", "PNG", "TIFF", "WEBP"])
def test_images_are_turned_as_exif_says(kind, orientation, tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[0x0112] = orientation
    data = encode(Image.fromarray(IMAGE), kind, exif=exif)
    upright = np.array(ImageOps.exif_transpose(Image.open(io.BytesIO(data))).convert("RGB"))
    path = tmp_path / "photo"
    path.write_bytes(data)
    assert np.abs(decode_image(path).astype(int) - upright).max() <= 2
    assert read_header(path).size == upright.shape[:2]


def test_exif_does_not_turn_a_mask(tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    path = save(tmp_path, Image.fromarray(RAMP), "mask.png", exif=exif)
    assert np.array_equal(decode_mask(path), RAMP)


def test_16_bit_grey_is_scaled_and_not_clipped() -> None:
    grey = (np.arange(2400, dtype=np.uint16) * 27).reshape(40, 60)
    decoded = decode_image(encode(Image.fromarray(grey), "PNG"))
    assert np.array_equal(decoded, np.repeat((grey >> 8).astype(np.uint8)[:, :, None], 3, axis=2))


@pytest.mark.parametrize("mode", ["RGBA", "LA", "1", "P"])
def test_alpha_palette_and_bits_become_rgb(mode) -> None:
    image = Image.fromarray(IMAGE).convert(mode)
    expected = np.array(image.convert("RGB"))
    assert np.array_equal(decode_image(encode(image, "PNG")), expected)


def test_transparent_palette_shows_its_colors_without_a_warning() -> None:
    image = Image.fromarray(IMAGE).quantize(16)
    data = encode(image, "PNG", transparency=bytes([0, 128] * 8))
    assert np.array_equal(decode_image(data), np.array(image.convert("RGB")))


def test_the_first_frame_of_a_gif_is_taken() -> None:
    frames = [Image.fromarray(RAMP), Image.fromarray(255 - RAMP)]
    data = encode(frames[0], "GIF", save_all=True, append_images=frames[1:])
    assert np.array_equal(decode_image(data)[:, :, 0], RAMP)


@pytest.mark.parametrize("mode", ["I", "F"])
def test_32_bit_images_are_refused(mode) -> None:
    with pytest.raises(UserError, match="32 bits"):
        decode_image(encode(Image.fromarray(RAMP).convert(mode), "TIFF"))


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "BMP", "TIFF", "WEBP", "GIF", "AVIF", "PPM"])
def test_files_cut_in_half_are_refused_by_name_in_one_line(kind, tmp_path: Path) -> None:
    noise = np.random.default_rng(0).integers(0, 256, (40, 60, 3), dtype=np.uint8)
    data = encode(Image.fromarray(noise), kind)
    path = tmp_path / "photo.jpg"
    path.write_bytes(data[: len(data) // 2])
    with pytest.raises(UserError, match=r"photo\.jpg") as caught:
        decode_image(path)
    assert "\n" not in str(caught.value)


def test_a_jpeg_short_of_two_bytes_is_refused() -> None:
    with pytest.raises(UserError):
        decode_image(encode(Image.fromarray(IMAGE), "JPEG")[:-2])


def test_garbage_inside_a_jpeg_is_refused() -> None:
    data = bytearray(encode(Image.fromarray(IMAGE).resize((640, 480)), "JPEG"))
    data[len(data) // 2 : len(data) // 2 + 40] = b"\xff\xd0" * 20
    with pytest.raises(UserError):
        decode_image(bytes(data))


def test_a_wrong_checksum_in_a_png_is_refused() -> None:
    data = bytearray(encode(Image.fromarray(IMAGE), "PNG"))
    data[-20] ^= 1
    with pytest.raises(UserError):
        decode_image(bytes(data))


@pytest.mark.parametrize("data", [b"", b"hello, I am text", b"\xff\xd8\xff", b"RIFF1234WAVEfmt "])
def test_what_is_no_image_is_refused(data) -> None:
    with pytest.raises(UserError):
        decode_image(data)


def test_missing_files_and_folders_are_named(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"no such file: .*a\.png"):
        decode_image(tmp_path / "a.png")
    with pytest.raises(UserError, match="not a file"):
        decode_mask(tmp_path)


def test_a_bomb_is_refused_by_its_header() -> None:
    jpeg = bytearray(encode(Image.fromarray(IMAGE), "JPEG"))
    start_of_frame = jpeg.index(b"\xff\xc0")
    jpeg[start_of_frame + 5 : start_of_frame + 9] = struct.pack(">HH", 65500, 65500)
    png = png_header(20_000, 20_000, 1, 0) + png_chunk(b"IDAT", zlib.compress(b"\0" * 100))
    for data in (bytes(jpeg), png):
        with pytest.raises(UserError, match="pixels"):
            decode_image(data)


def test_limits_hold_for_bytes_pixels_and_sides(tmp_path: Path) -> None:
    path = save(tmp_path, Image.fromarray(IMAGE), "a.png")
    decode_image(path, limits=Limits(max_side=60, max_pixels=2400))
    for limits in (Limits(max_bytes=10), Limits(max_side=59), Limits(max_pixels=2399)):
        with pytest.raises(UserError, match=r"a\.png has"):
            decode_image(path, limits=limits)


@pytest.mark.parametrize("suffix", ["png", "tif", "gif", "bmp", "webp"])
def test_pillows_own_limit_of_pixels_does_not_count(
    suffix, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    options = {"lossless": True} if suffix == "webp" else {}
    path = save(tmp_path, Image.fromarray(RAMP), f"a.{suffix}", **options)
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 100)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert np.array_equal(decode_image(path)[:, :, 0], RAMP)
        decode_mask(path)
    assert Image.MAX_IMAGE_PIXELS == 100


def test_an_image_that_is_too_large_is_told_to_come_as_tiff(tmp_path: Path) -> None:
    for suffix, said in (("png", "save it as TIFF, which"), ("tif", "cut it into smaller ones")):
        path = tmp_path / f"large.{suffix}"
        if suffix == "png":
            path.write_bytes(png_header(20_000, 11_000, 8, 2) + png_chunk(b"IDAT", b""))
        else:
            Image.new("1", (20_000, 11_000)).save(path, compression="group4")
        with pytest.raises(UserError, match=f"11000 x 20000 pixels; .*{said}"):
            decode_image(path)
        with pytest.raises(UserError, match=r"11000 x 20000 pixels; .*cut mask and image into"):
            decode_mask(path)


@pytest.mark.parametrize(
    ("start", "said"),
    [
        (b"RIFF\0\0\0\0AVI LIST", r"a video \(AVI\)"),
        (b"RIFF\0\0\0\0WAVEfmt ", "sound"),
        (b"\x1aE\xdf\xa3", "a video"),
        (b"\n <!DOCTYPE HTML><html>", "a web page; get the image itself"),
        (b"<HTML>", "a web page"),
        (b"\xef\xbb\xbf<?xml version='1.0'?><svg>", "XML, perhaps SVG"),
        (b"version https://git-lfs.github.com/spec/v1", "git lfs pull"),
        (b"PK\x03\x04", "a zip archive; unpack it"),
        (b"\0" * 128 + b"DICM", "a DICOM file"),
        (b'{"version": 5}', "JSON"),
        (b"%PDF-1.7", "PDF; save its page as PNG"),
    ],
)
def test_a_file_other_than_an_image_is_named_by_its_content(start, said, tmp_path: Path) -> None:
    path = tmp_path / "photo.jpg"
    path.write_bytes(start + bytes(200))
    with pytest.raises(UserError, match=f"is {said}" if "git" not in said else said):
        decode_image(path)


@settings(max_examples=60)
@given(
    kind=st.sampled_from(["JPEG", "PNG", "BMP", "TIFF", "WEBP", "GIF", "AVIF", "PPM"]),
    flips=st.lists(st.tuples(st.floats(0, 0.999), st.integers(1, 255)), min_size=1, max_size=8),
)
def test_damaged_bytes_give_a_picture_or_a_user_error(kind, flips) -> None:
    data = bytearray(encode(Image.fromarray(IMAGE), kind))
    for place, change in flips:
        data[int(place * len(data))] ^= change
    with contextlib.suppress(UserError):
        decode_image(bytes(data), limits=Limits(max_pixels=1_000_000))


def test_palette_masks_give_indices_or_colors(tmp_path: Path) -> None:
    indices = (RAMP % 5).astype(np.uint8)
    image = Image.fromarray(indices).convert("P")
    image.putpalette([0, 0, 0, 9, 8, 7, 255, 0, 0, 0, 255, 0, 1, 2, 3])
    path = save(tmp_path, image, "mask.png", transparency=0)
    assert np.array_equal(decode_mask(path), indices)
    assert decode_mask(path, apply_palette=True)[0, 1].tolist() == [9, 8, 7]


@pytest.mark.parametrize("suffix", ["png", "tif", "bmp", "gif", "webp"])
def test_masks_keep_their_values_in_every_lossless_format(suffix, tmp_path: Path) -> None:
    options = {"lossless": True} if suffix == "webp" else {}
    path = save(tmp_path, Image.fromarray(RAMP), f"mask.{suffix}", **options)
    raw = decode_mask(path)
    assert np.array_equal(raw if raw.ndim == 2 else raw[:, :, 0], RAMP)


@pytest.mark.parametrize("suffix", ["png", "tif"])
def test_16_bit_masks_keep_their_values(suffix, tmp_path: Path) -> None:
    values = (RAMP.astype(np.uint16) * 300) % 65000
    raw = decode_mask(save(tmp_path, Image.fromarray(values), f"mask.{suffix}"))
    assert raw.dtype == np.uint16
    assert np.array_equal(raw, values)


def test_one_bit_masks_hold_0_and_1(tmp_path: Path) -> None:
    path = save(tmp_path, Image.fromarray(RAMP > 50), "mask.png")
    assert np.array_equal(decode_mask(path), (RAMP > 50).astype(np.uint8))


@pytest.mark.parametrize("bits", [2, 4])
def test_masks_of_few_bits_hold_the_values_of_the_file(bits, tmp_path: Path) -> None:
    packed = bytes([0, 0b00011011, 0, 0b00011011])
    num_columns = 8 // bits
    path = tmp_path / "mask.png"
    path.write_bytes(
        png_header(num_columns, 2, bits, 0)
        + png_chunk(b"IDAT", zlib.compress(packed))
        + png_chunk(b"IEND", b"")
    )
    expected = [0, 1, 2, 3] if bits == 2 else [1, 11]
    assert decode_mask(path).tolist() == [expected, expected]


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_masks_whose_white_is_0_hold_the_values_of_the_file(dtype, tmp_path: Path) -> None:
    file = io.BytesIO()
    Image.fromarray(np.array([[0, 1], [2, 250]], dtype)).save(file, "TIFF", tiffinfo={262: 1})
    entry = struct.pack("<HHI", 262, 3, 1)
    content = file.getvalue()
    assert content.count(entry + b"\1\0") == 1
    path = tmp_path / "mask.tif"
    path.write_bytes(content.replace(entry + b"\1\0", entry + b"\0\0"))
    assert decode_mask(path).tolist() == [[0, 1], [2, 250]]


def test_alpha_of_a_mask_is_dropped(tmp_path: Path) -> None:
    rgba = Image.fromarray(np.dstack([IMAGE, RAMP]))
    assert np.array_equal(decode_mask(save(tmp_path, rgba, "a.png")), IMAGE)
    grey = Image.fromarray(RAMP).convert("LA")
    assert np.array_equal(decode_mask(save(tmp_path, grey, "b.png")), RAMP)


def test_whole_numbers_of_32_bits_are_read_and_others_refused(tmp_path: Path) -> None:
    values = RAMP.astype(np.int32) * 100
    assert np.array_equal(decode_mask(save(tmp_path, Image.fromarray(values), "a.tif")), values)
    for wrong in (values + 0.5, values + 70_000, values + np.inf):
        path = save(tmp_path, Image.fromarray(wrong.astype(np.float32)), "b.tif")
        with pytest.raises(UserError, match="whole numbers"):
            decode_mask(path)


def test_jpeg_masks_are_decoded(tmp_path: Path) -> None:
    grey = save(tmp_path, Image.fromarray(RAMP), "a.jpg", quality=100)
    assert np.abs(decode_mask(grey).astype(int) - RAMP).max() <= 2
    assert decode_mask(save(tmp_path, Image.fromarray(IMAGE), "b.jpg")).shape == (40, 60, 3)


def test_a_image_too_large_for_the_memory_is_said_to_be_that(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def fail(*_: object) -> None:
        raise MemoryError

    monkeypatch.setattr(simplejpeg, "decode_jpeg", fail)
    with pytest.raises(UserError, match="does not fit into memory"):
        decode_image(encode(Image.fromarray(IMAGE), "JPEG"))


@pytest.mark.parametrize("suffix", [".jfif", ".jpe", ".avif", ".ppm"])
def test_every_suffix_that_is_looked_for_is_read(suffix, tmp_path: Path) -> None:
    path = tmp_path / f"a{suffix}"
    Image.new("RGB", (32, 16), (200, 40, 40)).save(path)
    assert suffix in IMAGE_SUFFIXES
    assert np.abs(decode_image(path).astype(int) - [200, 40, 40]).max() < 8


def test_a_grey_pgm_of_16_bits_keeps_its_brightness(tmp_path: Path) -> None:
    path = tmp_path / "a.pgm"
    path.write_bytes(b"P5 2 1 1023 " + np.array([0, 1023], ">u2").tobytes())
    assert decode_image(path)[0, :, 0].tolist() == [0, 255]


def test_pgm_masks_keep_their_values_or_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "a.pgm"
    path.write_bytes(b"P5 3 1 255 \x00\x01\x07")
    assert decode_mask(path).tolist() == [[0, 1, 7]]
    path.write_bytes(b"P5 3 1 7 \x00\x01\x07")  # Pillow would make 36 of 1
    with pytest.raises(UserError, match="save the mask as PNG"):
        decode_mask(path)


def test_an_avif_image_is_turned_upright(tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.new("RGB", (32, 16)).save(tmp_path / "a.avif", exif=exif)
    assert decode_image(tmp_path / "a.avif").shape == (32, 16, 3)
    assert read_header(tmp_path / "a.avif").size == (32, 16)


@pytest.mark.parametrize(
    ("start", "name"),
    [(b"\0\0\0\x18ftypheic", "HEIC"), (b"\0\0\0\x0cJXL ", "JPEG XL"), (b"P3 1 1", "plain-text")],
)
def test_a_format_that_is_known_and_not_read_is_named(start, name, tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(start + bytes(40))
    with pytest.raises(UserError, match=f"is .*{name}.*; .*; JPEG, PNG"):
        decode_image(tmp_path / "a")
