"""The formats of image and video files: which are read, by which suffix and by which content."""

from collections.abc import Mapping

from PIL import ImageFile
from PIL.AvifImagePlugin import AvifImageFile
from PIL.BmpImagePlugin import BmpImageFile
from PIL.GifImagePlugin import GifImageFile
from PIL.JpegImagePlugin import JpegImageFile
from PIL.PngImagePlugin import PngImageFile
from PIL.PpmImagePlugin import PpmImageFile
from PIL.TiffImagePlugin import TiffImageFile
from PIL.WebPImagePlugin import WebPImageFile

from segmenter.data.decoding import jpeg2000

_PICTURE_SUFFIXES = frozenset(
    {".jpg", ".jpeg", ".jpe", ".jfif", ".mpo", ".png", ".webp", ".tif", ".tiff", ".bmp", ".gif"}
    | {".avif", ".ppm", ".pgm", ".pnm"}
)
IMAGE_SUFFIXES = _PICTURE_SUFFIXES | {
    ".jp2",
    ".j2k",
    ".j2c",
    ".jpc",
    ".jpf",
    ".jpx",
    ".dcm",
    ".dicom",
}
"""Suffixes, in lower case, of the image files that are read."""

MASK_SUFFIXES = _PICTURE_SUFFIXES | {".npy"}
"""Suffixes, in lower case, of the mask files that are read."""

ARRAY_SUFFIXES = frozenset({".npy", ".npz"})
"""Suffixes, in lower case, of arrays. They are images where a folder has no others."""

VIDEO_SUFFIXES = frozenset(
    {".mp4", ".m4v", ".mov", ".mkv", ".webm", ".avi", ".ts", ".mts", ".m2ts", ".3gp", ".3g2"}
)
"""Suffixes, in lower case, of the files that are read as videos."""

UNREAD_VIDEO_SUFFIXES = frozenset(
    {".flv", ".f4v", ".wmv", ".asf", ".mpg", ".mpeg", ".m2v", ".vob", ".ogv", ".ogm", ".rm"}
    | {".rmvb", ".mxf", ".dv", ".divx", ".y4m", ".h264", ".264", ".h265", ".265", ".hevc", ".ivf"}
    | {".m3u8", ".mpd"}
)
"""Suffixes, in lower case, of videos and playlists that are not read: they are refused by name."""

UNREAD_SUFFIXES = frozenset(
    {".heic", ".heif", ".hif", ".jxl", ".jxr", ".svg", ".psd"}
    | {".dng", ".cr2", ".cr3", ".nef", ".arw", ".orf", ".rw2", ".raf", ".raw", ".exr", ".hdr"}
    | {".tga", ".ico", ".pcx", ".pbm", ".pfm", ".xcf", ".eps"}
    | {".nii", ".npy", ".npz", ".ecw", ".sid", ".img", ".hdf", ".h5", ".mat", ".pdf"}
)
"""Suffixes, in lower case, of files that show something but are not read: they are reported."""

_VIDEOS = VIDEO_SUFFIXES | UNREAD_VIDEO_SUFFIXES
REPORTED_SUFFIXES = UNREAD_SUFFIXES | _VIDEOS
"""Suffixes of files that a search for images skips and counts."""

READ_FORMATS = "JPEG, PNG, WebP, TIFF, BMP, GIF, AVIF, JPEG 2000, DICOM, PPM and PGM"
"""For messages."""

LOSSY_FORMATS = frozenset({"JPEG", "AVIF"})
"""As Pillow names them; in such a file the values of a mask are not safe."""

# Called by what a file begins with: `Image.open` would warn of, and cap, what `Limits` allows.
_OPENERS: dict[bytes, type[ImageFile.ImageFile]] = {
    b"\xff\xd8\xff": JpegImageFile,
    b"\x89PNG\r\n\x1a\n": PngImageFile,
    b"II*\0": TiffImageFile,
    b"MM\0*": TiffImageFile,
    b"II+\0": TiffImageFile,
    b"MM\0+": TiffImageFile,
    b"BM": BmpImageFile,
    b"GIF8": GifImageFile,
    # Not P1 to P3, whose numbers are text: a loop in Python would decode them.
    b"P5": PpmImageFile,
    b"P6": PpmImageFile,
    **dict.fromkeys(jpeg2000.STARTS, jpeg2000.Jpeg2000File),
}
_HEIC_BRANDS = frozenset({b"heic", b"heix", b"hevc", b"heim", b"mif1", b"msf1"})
_CONVERT = "convert it to PNG"
_VIDEO = "give it the suffix of a video, such as .mp4 or .mkv, and its frames are labelled"
_SAVED_PAGE = "get the image itself: this is the answer of a web server"
# What a file begins with -> what it is, and what to do.
_UNREAD_STARTS: dict[bytes, tuple[str, str]] = {
    b"\0\0\0\x0cJXL ": ("JPEG XL", _CONVERT),
    b"\xff\x0a": ("JPEG XL", _CONVERT),
    b"II\xbc": ("JPEG XR", _CONVERT),
    b"8BPS": ("PSD", _CONVERT),
    b"\x93NUMPY": ("a NumPy array", "save it as PNG or TIFF; only masks are read as arrays"),
    b"%PDF": ("PDF", "save its page as PNG"),
    b"%!PS": ("PostScript", "save its page as PNG"),
    b"<svg": ("SVG", "draw it at the size that you want, and save that as PNG"),
    b"<?xml": ("XML, perhaps SVG", "draw it at the size that you want, and save that as PNG"),
    b"<!doctype html": ("a web page", _SAVED_PAGE),
    b"<html": ("a web page", _SAVED_PAGE),
    b"{": ("JSON", "give the image, or export masks as PNG"),
    b"version https://git-lfs": ("a pointer of Git LFS", "get the file itself with `git lfs pull`"),
    b"v/1\x01": ("OpenEXR", _CONVERT),
    b"#?RADIANCE": ("Radiance HDR", _CONVERT),
    b"\0\0\1\0": ("an icon", _CONVERT),
    b"SIMPLE  =": ("FITS", _CONVERT),
    b"\x89HDF": ("HDF5", "save the image in it as PNG or TIFF"),
    b"CDF": ("NetCDF", "save the image in it as PNG or TIFF"),
    b"PK\x03\x04": ("a zip archive", "unpack it"),
    b"\x1f\x8b": ("a gzip archive", "unpack it"),
    b"7z\xbc\xaf": ("a 7z archive", "unpack it"),
    b"Rar!": ("a rar archive", "unpack it"),
    b"\x1a\x45\xdf\xa3": ("a video", _VIDEO),
    b"FLV": ("a video", "convert it to .mp4"),
    b"\x30\x26\xb2\x75": ("a video (WMV)", "convert it to .mp4"),
    b"\0\0\1\xba": ("a video (MPEG)", "convert it to .mp4"),
    b"P1": ("a PBM file", _CONVERT),
    b"P2": ("a plain-text PGM file", _CONVERT),
    b"P3": ("a plain-text PPM file", _CONVERT),
    b"P4": ("a PBM file", _CONVERT),
    b"Pf\n": ("a PFM file", _CONVERT),
    b"PF\n": ("a PFM file", _CONVERT),
}
NUM_MAGIC_BYTES = 132
"""So many bytes of a file tell its format."""


def find_opener(magic: bytes) -> type[ImageFile.ImageFile] | None:
    """Return the reader of a file that begins with these bytes; None if the format is not read."""
    if magic[4:12] in {b"ftypavif", b"ftypavis"}:
        return AvifImageFile
    if magic.startswith(b"RIFF") and magic[8:12] == b"WEBP":
        return WebPImageFile
    if magic[8:12] == b"AVI ":  # which begins with RIFF, as WebP does
        return None
    return next((each for start, each in _OPENERS.items() if magic.startswith(start)), None)


def describe_unread(magic: bytes) -> tuple[str, str] | None:
    """Return the format of a file that is known but not read, such as HEIC, and what to do with it.

    None if it is unknown.
    """
    if magic[4:8] == b"ftyp":
        return ("HEIC", _CONVERT) if magic[8:12] in _HEIC_BRANDS else ("a video", _VIDEO)
    if magic.startswith(b"RIFF"):
        return ("a video (AVI)", _VIDEO) if magic[8:12] == b"AVI " else ("sound", "give an image")
    if magic[128:132] == b"DICM":
        return "DICOM", "save it as PNG"
    text = magic.removeprefix(b"\xef\xbb\xbf").lstrip()
    return next(
        (
            said
            for start, said in _UNREAD_STARTS.items()
            if magic.startswith(start) or (start.isascii() and text.lower().startswith(start))
        ),
        None,
    )


def describe_passed_over(counts: Mapping[str, int]) -> str:
    """List the files that were skipped, by suffix, with the remedy; empty if there are none."""
    parts = []
    for is_video, what, remedy in (
        (False, "in formats that are not read", "convert them to JPEG or PNG"),
        (True, "videos", "give each video by its name"),
    ):
        found = {suffix: num for suffix, num in counts.items() if (suffix in _VIDEOS) == is_video}
        if found:
            each = ", ".join(f"{number} {suffix}" for suffix, number in sorted(found.items()))
            total = sum(found.values())
            files = f"{total} {'file' if total == 1 else 'files'} skipped"
            parts.append(f"{files}, {what} ({each}): {remedy}")
    return "; ".join(parts)
