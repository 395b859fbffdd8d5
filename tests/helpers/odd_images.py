"""Files that are not images, are damaged, promise too much, or are images of an unusual kind.

One table, for the command line and for HTTP: each file with the words it is refused with, or with
the pixels it must be read as.
"""

import io
import struct
import zlib
from dataclasses import dataclass

import numpy as np
from jaxtyping import UInt8
from numpy import ndarray
from PIL import Image

from tests.helpers.image_bytes import encode, png_chunk, png_header

# Without torch, whose address space would leave a decoding process too little for images.
_COARSE = np.random.default_rng(5).integers(0, 256, (6, 9, 3), dtype=np.uint8)
IMAGE = _COARSE.repeat(8, axis=0).repeat(8, axis=1)
GREY = IMAGE[:, :, 0]
_ORIENTATION = 0x0112
_PICTURE = Image.fromarray(IMAGE)
_JPEG = encode(_PICTURE, "JPEG", quality=95)
_PNG = encode(_PICTURE, "PNG")
_JP2 = encode(_PICTURE, "JPEG2000")


@dataclass(frozen=True)
class OddImage:
    """A file, and what must become of it."""

    name: str
    data: bytes
    problem: str = ""
    """Words of the sentence it is refused with."""
    code: str = "bad-image"
    """That HTTP refuses it with."""
    pixels: UInt8[ndarray, "height width 3"] | None = None
    """What it shows, turned upright; none: it is refused."""
    levels: int = 0
    """How far a decoded value may be from `pixels`."""


def _rgb(image: Image.Image) -> UInt8[ndarray, "height width 3"]:
    return np.array(image.convert("RGB"))


def _reread(data: bytes) -> UInt8[ndarray, "height width 3"]:
    """The pixels of a file that loses some, by Pillow."""
    return _rgb(Image.open(io.BytesIO(data)))


def _half(data: bytes) -> bytes:
    return data[: len(data) // 2]


def _flipped(data: bytes, place: int) -> bytes:
    return data[:place] + bytes([data[place] ^ 1]) + data[place + 1 :]


def _with_garbage(jpeg: bytes) -> bytes:
    middle = len(jpeg) // 2
    return jpeg[:middle] + b"\xff\xd0" * 20 + jpeg[middle + 40 :]


def _with_size(jpeg: bytes, height: int, width: int) -> bytes:
    place = jpeg.index(b"\xff\xc0") + 5
    return jpeg[:place] + struct.pack(">HH", height, width) + jpeg[place + 4 :]


def _with_jp2_size(side: int) -> bytes:
    """A JPEG 2000 file that states another size in its header and in its codestream."""
    at, header = _JP2.index(b"\xff\x4f\xff\x51"), _JP2.index(b"ihdr") + 4
    size = struct.pack(">II", side, side)
    data = _JP2[:header] + size + _JP2[header + 8 : at + 8]
    return data + size + _JP2[at + 16 :]


def _bomb() -> bytes:
    """400 million pixels of one bit, in 48 kB."""
    rows = zlib.compress(b"\0" * (20_000 * (20_000 // 8 + 1)))
    return png_header(20_000, 20_000, 1, 0) + png_chunk(b"IDAT", rows) + png_chunk(b"IEND", b"")


def _text_bomb() -> bytes:
    """64 MB of text in a chunk before the pixels."""
    place = _PNG.index(b"IDAT") - 4
    text = png_chunk(b"zTXt", b"Comment\0\0" + zlib.compress(b"x" * (64 << 20)))
    return _PNG[:place] + text + _PNG[place:]


def _turned() -> tuple[bytes, UInt8[ndarray, "height width 3"]]:
    """An image whose EXIF data say that it lies on its side."""
    exif = Image.Exif()
    exif[_ORIENTATION] = 6
    data = encode(_PICTURE, "JPEG", quality=95, exif=exif)
    return data, np.rot90(_reread(data), -1)


def _with_broken_exif() -> bytes:
    block = b"Exif\0\0MM\0*\xff\xff\xff\xff"
    return _JPEG[:2] + b"\xff\xe1" + struct.pack(">H", len(block) + 2) + block + _JPEG[2:]


def _animation() -> bytes:
    frames = [Image.fromarray(GREY), Image.fromarray(255 - GREY)]
    return encode(frames[0], "GIF", save_all=True, append_images=frames[1:])


def _refused() -> list[OddImage]:
    damaged, unknown = "is cut, damaged or not an image", "is not an image of a known kind"
    noise = Image.fromarray(np.random.default_rng(0).integers(0, 256, (48, 72, 3), dtype=np.uint8))
    return [
        OddImage("cut-jpeg.jpg", _half(_JPEG), damaged),
        OddImage("short-of-two-bytes.jpg", _JPEG[:-2], damaged),
        OddImage("garbage-inside.jpg", _with_garbage(_JPEG), damaged),
        OddImage("cut-png.png", _half(_PNG), damaged),
        OddImage("wrong-checksum.png", _flipped(_PNG, len(_PNG) - 20), damaged),
        OddImage("cut-webp.webp", _half(encode(noise, "WEBP")), damaged),
        OddImage("cut-tiff.tif", _half(encode(noise, "TIFF")), damaged),
        OddImage("cut-bmp.bmp", _half(encode(noise, "BMP")), damaged),
        OddImage("cut-gif.gif", _half(encode(noise, "GIF")), damaged),
        OddImage("cut.jp2", _half(_JP2), damaged),
        OddImage(
            "short-of-a-byte.j2k", encode(_PICTURE, "JPEG2000", no_jp2=True)[:-1], "has no end"
        ),
        OddImage("huge-jpeg-2000.jp2", _with_jp2_size(65_500), "65500 x 65500 pixels"),
        OddImage("one-bit-bomb.png", _bomb(), "20000 x 20000 pixels"),
        OddImage("huge-header.jpg", _with_size(_JPEG, 65_500, 65_500), "65500 x 65500 pixels"),
        OddImage("text-bomb.png", _text_bomb(), damaged),
        OddImage("no-pixels.png", png_header(0, 0, 8, 2), damaged),
        OddImage("floats.tif", encode(Image.fromarray(GREY).convert("F"), "TIFF"), "32 bits"),
        OddImage("empty.jpg", b"", "is empty", "no-image"),
        OddImage("text.jpg", b"hello, I am text", unknown),
        OddImage("page.png", b"<svg onload='alert(1)'></svg>", "is SVG; draw it"),
    ]


def _read() -> list[OddImage]:
    turned, upright = _turned()
    cmyk = encode(_PICTURE.convert("CMYK"), "JPEG", quality=95)
    grey_16 = GREY.astype(np.uint16) << 8 | 0xAB
    palette = _PICTURE.quantize(16)
    transparent = encode(palette, "PNG", transparency=bytes([0, 128] * 8))
    grey = np.repeat(GREY[:, :, None], 3, axis=2)
    rgba = Image.fromarray(np.dstack([IMAGE, GREY]))
    return [
        OddImage("exif-6.jpg", turned, pixels=upright, levels=2),
        OddImage("broken-exif.jpg", _with_broken_exif(), pixels=_reread(_JPEG), levels=2),
        OddImage("cmyk.jpg", cmyk, pixels=_reread(cmyk), levels=2),
        OddImage("grey-16-bit.png", encode(Image.fromarray(grey_16), "PNG"), pixels=grey),
        OddImage("palette-trns.png", transparent, pixels=_rgb(palette)),
        OddImage("alpha.png", encode(rgba, "PNG"), pixels=IMAGE),
        OddImage("grey.png", encode(Image.fromarray(GREY), "PNG"), pixels=grey),
        OddImage("two-frames.gif", _animation(), pixels=grey),
        OddImage("bmp.bmp", encode(_PICTURE, "BMP"), pixels=IMAGE),
        OddImage("jpeg-2000.jp2", _JP2, pixels=IMAGE),
        OddImage("tiff.tif", encode(_PICTURE, "TIFF"), pixels=IMAGE),
        OddImage("data-behind.png", _PNG + b"PK\3\4" * 100, pixels=IMAGE),
    ]


ODD_IMAGES = [*_refused(), *_read()]
